//! What callers of a transfer rely on.

use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn a_transfer_ends_with_its_caller() {
    let (held, dropped) = oneshot::channel::<()>();
    let transfer = beside_the_connection(async move {
        let _held = held;
        std::future::pending::<Result<()>>().await
    });
    tokio::select! {
        biased;
        _ = transfer => unreachable!("nothing ends it"),
        () = tokio::task::yield_now() => {}
    }
    assert!(dropped.await.is_err(), "it goes on without anybody");
}
