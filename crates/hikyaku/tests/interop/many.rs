//! Ten thousand exchanges, a thousand at once, whoever opens them: as many as the other side permits, and not one more.

use std::sync::Arc;

use bytes::Bytes;
use hikyaku::{Exchange, Limits, Result, Router};
use hikyaku_mux::Side;
use hikyaku_wire::frame::FrameType;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use web_transport_trait::SendStream as _;

use crate::raw::{frames, soon};
use crate::stranger::{Heard, Meeting, ROLES};

const AT_ONCE: usize = 1_000;
const IN_ALL: u32 = 10_000;

/// Echoes one message once a thousand are there: they are open at the same time, or nobody gets an answer.
fn gather() -> Router {
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    Router::new().route("gather/1", move |mut exchange: Exchange| {
        let barrier = barrier.clone();
        async move {
            let number: u32 = exchange.receive().await?;
            barrier.wait().await;
            exchange.reply(&number).await
        }
    })
}

fn limits() -> Limits {
    Limits { max_exchanges: AT_ONCE as u64, ..Limits::default() }
}

fn number(number: u32) -> Vec<u8> {
    minicbor::to_vec(number).unwrap()
}

/// All are asked for at once: nine thousand wait for a free stream.
async fn they_ask(side: Side) {
    let meeting = Arc::new(Meeting::with(side, gather(), limits(), qmux::Config::default()).await);
    let mut calls = JoinSet::new();
    for nth in 0..IN_ALL {
        let meeting = meeting.clone();
        calls.spawn(async move {
            let message = number(nth);
            let (mut send, mut heard) =
                meeting.ask("gather/1", &[(FrameType::MESSAGE, &message), (FrameType::END, &[])]).await;
            send.finish().unwrap();
            assert_eq!(heard.frame().await, Some((FrameType::MESSAGE, Bytes::from(message))));
            assert_eq!(heard.frame().await, Some((FrameType::END, Bytes::new())));
            assert_eq!(heard.frame().await, None);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert!(!meeting.ours.is_closed());
}

async fn we_ask(side: Side) {
    let mut theirs = qmux::Config::default();
    // Half as many again: `qmux` keeps up to a third of its limit to itself until more has ended.
    theirs.max_streams_bidi = AT_ONCE as u64 / 2 * 3 + 1;
    let meeting = Arc::new(Meeting::with(side, Router::new(), limits(), theirs).await);
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let answering = meeting.clone();
    let answers = tokio::spawn(async move {
        let mut answers = JoinSet::new();
        for _ in 0..IN_ALL {
            let (mut send, mut heard): (_, Heard) = answering.accept().await;
            let barrier = barrier.clone();
            answers.spawn(async move {
                assert_eq!(heard.frame().await.unwrap().0, FrameType::OPEN);
                let (ty, message) = heard.frame().await.unwrap();
                assert_eq!(ty, FrameType::MESSAGE);
                assert_eq!(heard.frame().await.unwrap().0, FrameType::END);
                assert_eq!(heard.frame().await, None);
                barrier.wait().await;
                send.write_all(&frames(&[(FrameType::MESSAGE, &message), (FrameType::END, &[])]))
                    .await
                    .unwrap();
                send.finish().unwrap();
                // The answer must have left before the stream is let go.
                send.closed().await.unwrap();
            });
        }
        while let Some(done) = answers.join_next().await {
            done.unwrap();
        }
    });
    let mut calls = JoinSet::new();
    for nth in 0..IN_ALL {
        let ours = meeting.ours.clone();
        calls.spawn(async move {
            let answer: Result<u32> = ours.call("gather/1", "", &nth).await;
            assert_eq!(answer.unwrap(), nth);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    soon(answers).await.unwrap();
    assert!(!meeting.ours.is_closed());
}

#[tokio::test]
async fn ten_thousand_exchanges_of_theirs_a_thousand_at_once_are_answered_by_our_server() {
    they_ask(Side::Server).await;
}

#[tokio::test]
async fn ten_thousand_exchanges_of_theirs_a_thousand_at_once_are_answered_by_our_client() {
    they_ask(Side::Client).await;
}

#[tokio::test]
async fn ten_thousand_exchanges_of_our_server_a_thousand_at_once_are_answered() {
    we_ask(Side::Server).await;
}

#[tokio::test]
async fn ten_thousand_exchanges_of_our_client_a_thousand_at_once_are_answered() {
    we_ask(Side::Client).await;
}

/// The thousand-and-first stream waits until one of the thousand is over.
#[tokio::test]
async fn no_stream_is_opened_beyond_the_limit_and_each_that_ends_makes_room_for_one() {
    async fn wait(mut exchange: Exchange) -> Result<()> {
        while exchange.next().await?.is_some() {}
        exchange.finish().await
    }
    for side in ROLES {
        let limits = Limits { max_exchanges: 3, ..Limits::default() };
        let router = Router::new().route("wait/1", wait).route("echo/1", crate::common::echo);
        let meeting = Meeting::with(side, router, limits, qmux::Config::default()).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(meeting.ask("wait/1", &[]).await);
        }
        for _ in 0..3 {
            {
                let more = meeting.ask("echo/1", &[]);
                tokio::pin!(more);
                let blocked = once(more.as_mut()).await;
                assert!(blocked.is_none(), "{side:?}: a fourth stream");
            }
            let (mut send, mut heard) = open.remove(0);
            send.write_all(&frames(&[(FrameType::END, &[])])).await.unwrap();
            send.finish().unwrap();
            assert_eq!(heard.frame().await, Some((FrameType::END, Bytes::new())));
            assert_eq!(heard.frame().await, None);
            soon(meeting.echoes(7)).await;
            open.push(soon(meeting.ask("wait/1", &[])).await);
        }
    }
}

async fn once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
