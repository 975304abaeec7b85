//! What the shell keeps, and that it does not keep it longer than somebody waits.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

#[tokio::test]
async fn nobody_who_waits_for_a_streams_end_is_remembered_after_giving_up() {
    let (near, far) = tokio::io::duplex(4096);
    let limits = Limits::default();
    let client = MuxLink::spawn(near, Side::Client, &limits, None);
    let _server = MuxLink::spawn(far, Side::Server, &limits, None);
    let (send, _receive) = client.open_bi().await.expect("the server grants one stream");
    let waiting = || client.shared.lock().finishers.len();
    {
        let (mut one, mut other) = (pin!(send.done()), pin!(send.done()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut cx).is_pending() && other.as_mut().poll(&mut cx).is_pending());
        assert_eq!(waiting(), 1, "both wait for one thing");
    }
    assert_eq!(waiting(), 0);
}

/// A driver that always has something to send and the task that feeds it keep each other ready. Whatever arrives on any
/// socket of the thread meanwhile must be seen after a few turns, however seldom the runtime itself would look.
#[test]
fn a_bulk_stream_that_never_waits_does_not_hide_what_arrives() {
    const BOUND: usize = 8 * 1024 * 1024;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().event_interval(u32::MAX).build().unwrap();
    let moved = runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let limits = Limits::default();
        let client = MuxLink::spawn(near, Side::Client, &limits, None);
        let server = MuxLink::spawn(far, Side::Server, &limits, None);
        let (mut send, mut receive) = client.open_bi().await.unwrap();
        send.write(&mut Bytes::from_static(b"pour")).await.unwrap();
        let (mut pour, _asked) = server.accept_bi().await.unwrap();
        tokio::spawn(async move {
            let block = Bytes::from(vec![7; 256 * 1024]);
            while pour.write(&mut block.clone()).await.is_ok() {}
        });
        // It is readable from the beginning, which only a look at the sockets tells.
        let (mut sender, arrived) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut sender, b"answer").unwrap();
        arrived.set_nonblocking(true).unwrap();
        let arrived = tokio::net::UnixStream::from_std(arrived).unwrap();
        let answer = tokio::spawn(async move { arrived.readable().await });
        let mut moved = 0;
        while moved <= BOUND && !answer.is_finished() {
            moved += receive.read(256 * 1024).await.unwrap().unwrap().len();
        }
        moved
    });
    assert!(moved <= BOUND, "more than {BOUND} bytes went by, and nobody looked");
}
