//! A reader that stops in the middle of much: it holds its window and no more, everybody else goes on, and when it reads
//! again everything arrives. (quinn-proto 0.11.17 broke just this, so the same is asked of QUIC, between two of ours.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hikyaku::{Exchange, Incoming, Limits, Result, Router};
use hikyaku_wire::frame::{self, FrameType};
use tokio::sync::Semaphore;
use web_transport_trait::SendStream as _;

use crate::common::{self, pair_with};
use crate::raw::*;
use crate::stranger::{Count, Meeting, ROLES, is_pattern, pattern};

const MIB: u64 = 1024 * 1024;
const PIECE: usize = 256 * 1024;

/// What one scene moves, and how long its reader stops; in an ordinary test only until all the others have spoken.
#[derive(Clone, Copy)]
struct Size {
    bytes: u64,
    pause: Duration,
}

const ORDINARY: Size = Size { bytes: 32 * MIB, pause: Duration::ZERO };
const SOAK: Size = Size { bytes: 256 * MIB, pause: Duration::from_secs(10) };

fn limits() -> Limits {
    Limits { stream_window: 4 * MIB, connection_window: 8 * MIB, ..Limits::default() }
}

/// A reader of ours: it counts what it reads, stops in the middle, and goes on when it is let.
#[derive(Clone)]
struct Reader {
    read: Count,
    go_on: Arc<Semaphore>,
    total: u64,
}

impl Reader {
    fn of(total: u64) -> Self {
        Self { read: Count::default(), go_on: Arc::new(Semaphore::new(0)), total }
    }

    fn router(&self) -> Router {
        let reader = self.clone();
        Router::new().route("echo/1", common::echo).route("sink/1", move |exchange: Exchange| {
            let reader = reader.clone();
            async move { reader.sink(exchange).await }
        })
    }

    async fn sink(self, mut exchange: Exchange) -> Result<()> {
        while let Some(incoming) = exchange.next().await? {
            let Incoming::Data(data) = incoming else { continue };
            assert!(is_pattern(self.read.now(), &data), "bytes were lost, doubled or swapped");
            self.read.add(data.len());
            if self.read.now() >= self.total / 2 && self.go_on.available_permits() == 0 {
                drop(self.go_on.acquire().await);
            }
        }
        exchange.reply(&self.read.now()).await
    }

    /// Waits for the stop, and until the writer has used all credit that it may still get: it gets more when a quarter of
    /// the window was read, so at least three quarters of it are there. Then it holds that much, while `others` speak.
    async fn stop(&self, written: &Count, pause: Duration, others: impl Future<Output = ()>) {
        self.read.reaches(self.total / 2).await;
        let window = limits().stream_window;
        written.reaches(self.read.now() + window / 4 * 3).await;
        others.await;
        tokio::time::sleep(pause).await;
        let held = written.now() - self.read.now();
        // Frame headers count as bytes of the stream, so data alone cannot reach the window.
        assert!(held <= window + SLACK, "{held} bytes are unread, and the window has {window}");
        self.go_on.add_permits(1);
    }
}

/// Bytes that a writer counts and that have not left its own side: one piece.
const SLACK: u64 = PIECE as u64;

async fn they_pour(size: Size) {
    for side in ROLES {
        let reader = Reader::of(size.bytes);
        let meeting = Arc::new(Meeting::with(side, reader.router(), limits(), qmux::Config::default()).await);
        let (mut send, mut heard) = meeting.ask("sink/1", &[]).await;
        let (written, count) = (Count::default(), Count::default());
        let count_to = written.clone();
        let pouring = tokio::spawn(async move {
            while count.now() < size.bytes {
                let mut bytes = Vec::new();
                frame::encode(FrameType::DATA, &pattern(count.now(), PIECE), &mut bytes);
                let (mut bytes, header) = (Bytes::from(bytes), 5);
                assert_eq!(bytes.len(), PIECE + header);
                while !bytes.is_empty() {
                    let taken = send.write_buf(&mut bytes.split_to(bytes.len().min(16_000))).await.unwrap();
                    count_to.add(taken);
                }
                count.add(PIECE);
            }
            send.write_all(&frames(&[(FrameType::END, &[])])).await.unwrap();
            send.finish().unwrap();
        });
        reader
            .stop(&written, size.pause, async {
                for nth in 0..100 {
                    meeting.echoes(nth).await;
                }
            })
            .await;
        pouring.await.unwrap();
        reader.read.reaches(size.bytes).await;
        let (ty, message) = heard.frame().await.unwrap();
        assert_eq!((ty, message), (FrameType::MESSAGE, Bytes::from(minicbor::to_vec(size.bytes).unwrap())));
        soon(meeting.echoes(1)).await;
    }
}

async fn we_pour(size: Size) {
    for side in ROLES {
        let mut theirs = qmux::Config::default();
        (theirs.max_data, theirs.max_stream_data_bidi_remote) = (8 * MIB, 4 * MIB);
        let meeting = Arc::new(Meeting::with(side, Router::new(), limits(), theirs).await);
        let mut exchange = meeting.ours.open("sink/1", "").await.unwrap();
        exchange.flush().await.unwrap();
        let (_send, mut heard) = meeting.accept().await;
        assert_eq!(heard.frame().await.unwrap().0, FrameType::OPEN);
        let written = Count::default();
        let count = written.clone();
        let pouring = tokio::spawn(async move {
            while count.now() < size.bytes {
                exchange.send_data(pattern(count.now(), PIECE)).await.unwrap();
                count.add(PIECE);
            }
            exchange.finish().await.unwrap();
            exchange
        });
        let mut read = 0;
        let mut stopped = false;
        loop {
            match heard.frame().await.unwrap() {
                (FrameType::DATA, data) => {
                    assert!(is_pattern(read, &data), "bytes were lost, doubled or swapped");
                    read += data.len() as u64;
                }
                (FrameType::END, _) => break,
                other => panic!("{other:?}"),
            }
            if read >= size.bytes / 2 && !stopped {
                stopped = true;
                // All of its credit that we can still get, and our own send buffer behind it.
                let window = 4 * MIB;
                written.reaches(read + window / 2).await;
                for nth in 0..100 {
                    let (answer, ()) = tokio::join!(meeting.ours.call::<_, u8>("echo/1", "", &nth), async {
                        let (mut send, mut heard) = meeting.accept().await;
                        while heard.frame().await.is_some_and(|(ty, _)| ty != FrameType::END) {}
                        let answer = minicbor::to_vec(nth).unwrap();
                        let answer = frames(&[(FrameType::MESSAGE, &answer), (FrameType::END, &[])]);
                        send.write_all(&answer).await.unwrap();
                        send.finish().unwrap();
                        send.closed().await.unwrap();
                    });
                    assert_eq!(answer.unwrap(), nth);
                }
                tokio::time::sleep(size.pause).await;
                let held = written.now() - read;
                assert!(held <= window + MIB + SLACK, "{held} bytes are unread, their window has {window}");
            }
        }
        assert_eq!(read, size.bytes);
        drop(pouring.await.unwrap());
    }
}

/// The same between two of ours.
async fn between_ours(transport: hikyaku::Transport, size: Size) {
    let reader = Reader::of(size.bytes);
    let pair = pair_with(transport, reader.router(), Router::new(), limits()).await;
    let mut exchange = pair.client.open("sink/1", "").await.unwrap();
    let written = Count::default();
    let count = written.clone();
    let pouring = tokio::spawn(async move {
        while count.now() < size.bytes {
            exchange.send_data(pattern(count.now(), PIECE)).await.unwrap();
            count.add(PIECE);
        }
        exchange.finish().await.unwrap();
        exchange
    });
    let window = limits().stream_window;
    reader.read.reaches(size.bytes / 2).await;
    written.reaches(reader.read.now() + window / 4 * 3).await;
    for nth in 0..100 {
        assert_eq!(soon(pair.client.call::<_, u8>("echo/1", "", &nth)).await.unwrap(), nth);
    }
    tokio::time::sleep(size.pause).await;
    let held = written.now() - reader.read.now();
    // What waits on the writer's own side: quinn's send window, our send buffer.
    let own = match transport {
        hikyaku::Transport::Quic => Limits::default().connection_window,
        _ => MIB,
    };
    assert!(held <= window + own + SLACK, "{transport}: {held} bytes are unread, the window has {window}");
    reader.go_on.add_permits(1);
    let mut exchange = pouring.await.unwrap();
    assert_eq!(exchange.receive::<u64>().await.unwrap(), size.bytes, "{transport}");
}

#[tokio::test]
async fn our_reader_that_stops_holds_its_window_and_gets_everything_of_theirs_later() {
    they_pour(ORDINARY).await;
}

#[tokio::test]
async fn their_reader_that_stops_stops_nobody_else_and_gets_everything_of_ours_later() {
    we_pour(ORDINARY).await;
}

#[tokio::test]
async fn between_two_of_ours_a_reader_that_stops_gets_everything_later_over_quic_too() {
    for transport in common::ALL {
        between_ours(transport, ORDINARY).await;
    }
}

#[tokio::test]
#[ignore = "256 MiB each, with a pause of 10 s: cargo xtask soak interop"]
async fn a_reader_that_stops_for_ten_seconds_in_the_middle_of_256_mib_gets_everything() {
    they_pour(SOAK).await;
    we_pour(SOAK).await;
    for transport in common::ALL {
        between_ours(transport, SOAK).await;
    }
}
