//! The credits of both sides, used up and given again: of one stream, of all streams together, of unidirectional streams.

use bytes::Bytes;
use hikyaku::{Exchange, Incoming, Limits, Result, Router};
use hikyaku_wire::frame::{self, FrameType};
use tokio::task::JoinSet;
use web_transport_trait::{SendStream as _, Session as _};

use crate::raw::*;
use crate::stranger::{Meeting, ROLES, is_pattern, pattern};

const KIB: u64 = 1024;
const BYTES: u64 = 3 * 1024 * KIB;
/// Streams at once: their windows together exceed the connection's.
const STREAMS: u64 = 6;

/// Reads everything and says how much it was.
async fn sink(mut exchange: Exchange) -> Result<()> {
    let mut read = 0;
    while let Some(incoming) = exchange.next().await? {
        if let Incoming::Data(data) = incoming {
            assert!(is_pattern(read, &data));
            read += data.len() as u64;
        }
    }
    exchange.reply(&read).await
}

/// Six streams of 3 MiB each through a window of 256 KiB per stream and 512 KiB for all: every limit is reached all the
/// time, and none of them is exceeded, or the receiver would have closed the connection.
#[tokio::test]
async fn much_passes_through_small_windows_of_ours() {
    for side in ROLES {
        let limits = Limits {
            stream_window: 256 * KIB,
            connection_window: 512 * KIB,
            max_message: 64 * KIB,
            max_exchanges: STREAMS,
            ..Limits::default()
        };
        let router = Router::new().route("sink/1", sink);
        let meeting = std::sync::Arc::new(Meeting::with(side, router, limits, qmux::Config::default()).await);
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let meeting = meeting.clone();
            streams.spawn(async move {
                let (mut send, mut heard) = meeting.ask("sink/1", &[]).await;
                let mut bytes = Vec::new();
                frame::encode(FrameType::DATA, &pattern(0, BYTES as usize), &mut bytes);
                frame::encode(FrameType::END, &[], &mut bytes);
                send.write_all(&bytes).await.unwrap();
                send.finish().unwrap();
                let read = Bytes::from(minicbor::to_vec(BYTES).unwrap());
                assert_eq!(heard.frame().await, Some((FrameType::MESSAGE, read)));
            });
        }
        while let Some(done) = streams.join_next().await {
            done.unwrap();
        }
    }
}

#[tokio::test]
async fn much_passes_through_small_windows_of_theirs() {
    for side in ROLES {
        let mut theirs = qmux::Config::default();
        (theirs.max_data, theirs.max_stream_data_bidi_remote) = (40_000, 9_000);
        theirs.max_streams_bidi = STREAMS;
        let meeting =
            std::sync::Arc::new(Meeting::with(side, Router::new(), Limits::default(), theirs).await);
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let ours = meeting.ours.clone();
            streams.spawn(async move {
                let mut exchange = ours.open("sink/1", "").await.unwrap();
                exchange.send_data(pattern(0, BYTES as usize / 4)).await.unwrap();
                exchange.finish().await.unwrap();
                // The peer reads and says nothing.
                exchange.ended().await.unwrap();
            });
            let meeting = meeting.clone();
            streams.spawn(async move {
                let (mut send, mut heard) = meeting.accept().await;
                assert_eq!(heard.frame().await.unwrap().0, FrameType::OPEN);
                let mut read = 0;
                while let Some((FrameType::DATA, data)) = heard.frame().await {
                    assert!(is_pattern(read, &data));
                    read += data.len() as u64;
                }
                assert_eq!((read, heard.frame().await), (BYTES / 4, None));
                send.write_all(&frames(&[(FrameType::END, &[])])).await.unwrap();
                send.finish().unwrap();
                send.closed().await.unwrap();
            });
        }
        while let Some(done) = streams.join_next().await {
            done.unwrap();
        }
    }
}

/// Unidirectional streams: one is the control stream, the others are of a kind nobody knows and end at once; each that
/// ended makes room for one.
#[tokio::test]
async fn unidirectional_streams_are_counted_and_given_again() {
    for side in ROLES {
        let limits = Limits { max_unidirectional: 4, ..Limits::default() };
        let router = Router::new().route("echo/1", crate::common::echo);
        let meeting = Meeting::with(side, router, limits, qmux::Config::default()).await;
        for _ in 0..100 {
            let mut strange = soon(meeting.theirs.open_uni()).await.unwrap();
            strange.write_all(&[0x21, 0, 0]).await.unwrap();
            assert!(soon(strange.closed()).await.is_err(), "it is stopped");
        }
        soon(meeting.echoes(1)).await;
    }
}
