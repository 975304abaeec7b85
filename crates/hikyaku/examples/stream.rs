//! A stream of answers with back-pressure: the producer makes numbers as fast as they are taken, and no faster. Nobody
//! wrote a queue, a pause or an acknowledgement: the receiver's credit is all there is.
//! `cargo run --example stream -p hikyaku`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hikyaku::{Exchange, Identity, Incoming, Limits, Result, Router, Server};

/// Bytes in each of the 64 pieces that are asked for.
const PIECE: u64 = 1024 * 1024;
const PIECES: u64 = 64;

#[tokio::main]
async fn main() -> Result<()> {
    // How much the producer has got rid of.
    let produced = Arc::new(AtomicU64::new(0));
    let counter = produced.clone();
    let produce = move |mut exchange: Exchange| {
        let produced = counter.clone();
        async move {
            for piece in 0..PIECES {
                // Waits here while the reader has not taken enough of what was sent before.
                exchange.send_data(vec![piece as u8; PIECE as usize].into()).await?;
                produced.fetch_add(1, Ordering::Relaxed);
            }
            exchange.finish().await
        }
    };
    let router = Router::new().route("example.org/numbers/1", produce);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;

    // A reader that holds at most 2 MiB unread.
    let limits = Limits { stream_window: 2 * PIECE, connection_window: 4 * PIECE, ..Limits::default() };
    let connection = hikyaku::connect(server.address(), server.id()).limits(limits).await?;
    let mut exchange = connection.open("example.org/numbers/1", "").await?;
    exchange.finish().await?;

    let (mut taken, mut pauses, mut furthest_ahead) = (0, 0, 0);
    while let Some(incoming) = exchange.next().await? {
        let Incoming::Data(chunk) = incoming else { continue };
        taken += chunk.len() as u64;
        let ahead = produced.load(Ordering::Relaxed).saturating_sub(taken / PIECE);
        furthest_ahead = furthest_ahead.max(ahead);
        // A slow reader: a pause for each piece.
        if taken / PIECE > pauses {
            pauses += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    println!(
        "Taken: {taken} bytes, all of them; the producer was never more than {furthest_ahead} MiB ahead"
    );
    assert_eq!(taken, PIECE * PIECES);
    assert!(furthest_ahead < PIECES / 2, "the producer did not wait");
    Ok(())
}
