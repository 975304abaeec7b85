//! What a peer's bytes cost while nobody reads them, counted in allocations. A process of its own, because what others
//! allocate would be counted as well.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common::pair;
use hikyaku::{Exchange, Incoming, Result, Router, Sender, Transport};
use peak_alloc::PeakAlloc;
use tokio::sync::Semaphore;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const MIB: usize = 1024 * 1024;
/// What is read before the rest is left lying once more.
const FIRST: usize = 6 * MIB;
/// More than twice what any window lets through.
const WHOLE: usize = 48 * MIB;
/// What is handed over at once.
const PIECE: usize = 64 * 1024;
/// What both ends need beside the bytes.
const BESIDE: usize = 4 * MIB;

/// Reads [`FIRST`] bytes once it is allowed, and the rest once it is allowed again.
async fn slow(mut exchange: Exchange, allowed: Arc<Semaphore>) -> Result<()> {
    allowed.acquire().await.unwrap().forget();
    let mut read = 0;
    while let Some(Incoming::Data(data)) = exchange.next().await? {
        let before = read;
        read += data.len();
        if before < FIRST && read >= FIRST {
            allowed.acquire().await.unwrap().forget();
        }
    }
    exchange.reply(&(read as u64)).await
}

/// Hands over as much as the transport takes without anybody reading, and says how much that was.
async fn fill(sender: &mut Sender, piece: &Bytes) -> usize {
    let mut taken = 0;
    loop {
        let sent =
            std::pin::pin!(sender.send_data(piece.clone())).poll(&mut Context::from_waker(Waker::noop()));
        match sent {
            Poll::Ready(sent) => sent.unwrap(),
            // A member's credit comes a little after the connection.
            Poll::Pending if taken < FIRST => {
                sender.flush().await.unwrap();
            }
            Poll::Pending => return taken,
        }
        taken += piece.len();
    }
}

/// Waits until so many more bytes are allocated than `before`.
async fn held(before: usize, bytes: usize) {
    let arrived = async {
        while PeakAlloc.current_usage() < before + bytes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.expect("what was sent arrives");
}

/// Whether nothing is read, or some and then nothing again.
#[tokio::test]
async fn what_a_slow_reader_leaves_unread_over_quic_costs_little_more_than_its_bytes() {
    let allowed = Arc::new(Semaphore::new(0));
    let gate = allowed.clone();
    let router = Router::new().route("slow/1", move |exchange| slow(exchange, gate.clone()));
    let pair = pair(Transport::Quic, router).await;
    let piece = Bytes::from(vec![7; PIECE]);
    let (mut sender, mut receiver) = pair.client.open("slow/1", "").await.unwrap().split();
    sender.flush().await.unwrap();

    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let window = fill(&mut sender, &piece).await;
    held(before, window - window / 16).await;
    let sending = tokio::spawn(async move {
        let mut sent = window;
        while sent < WHOLE {
            sender.send_data(piece.clone()).await.unwrap();
            sent += PIECE;
        }
        sender.finish().await.unwrap();
        sender
    });
    allowed.add_permits(1);
    held(before, window - window / 16).await;
    allowed.add_permits(1);
    let read: u64 = receiver.receive().await.unwrap();
    let most = PeakAlloc.peak_usage() - before;
    drop(sending.await.unwrap());

    assert!(read >= WHOLE as u64);
    assert!(window > FIRST, "a window of {window} bytes");
    assert!(most <= window + window / 4 + BESIDE, "{most} bytes for a window of {window}");
}
