//! Codes, datagrams, pings and closes, both ways and in both roles.

use std::time::Duration;

use bytes::Bytes;
use hikyaku::{ClosedBy, Error, ErrorCode, Exchange, Limits, Router};
use hikyaku_wire::exchange::{decode_datagram, encode_datagram};
use hikyaku_wire::frame::FrameType;
use tokio::sync::mpsc;
use web_transport_trait::{Error as _, RecvStream as _, SendStream as _, Session as _, Stats as _};

use crate::raw::*;
use crate::stranger::{Meeting, ROLES, pattern};

/// Hands every exchange to the scene, which then holds it for the handler.
fn handed() -> (Router, mpsc::UnboundedReceiver<Exchange>) {
    let (give, take) = mpsc::unbounded_channel();
    let router =
        Router::new().route("echo/1", crate::common::echo).route("hand/1", move |exchange: Exchange| {
            let given = give.send(exchange);
            async move {
                // The scene ends the exchange, and with it the handler is dropped at the latest.
                if given.is_ok() {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        });
    (router, take)
}

/// Codes of theirs, small and large, known and not.
const CODES: [u32; 4] = [0, 0x0b, 0x7777, u32::MAX];

#[tokio::test]
async fn their_resets_and_stops_reach_us_with_their_codes() {
    for side in ROLES {
        let (router, mut exchanges) = handed();
        let meeting = Meeting::with(side, router, Limits::default(), qmux::Config::default()).await;
        for code in CODES {
            let expected = ErrorCode::from_wire(code.into());
            // Theirs is the opener.
            let (mut send, mut heard) = meeting.ask("hand/1", &[(FrameType::MESSAGE, &[0x07])]).await;
            let mut exchange = soon(exchanges.recv()).await.unwrap();
            assert_eq!(exchange.receive::<u8>().await.unwrap(), 7);
            send.reset(code);
            let error = soon(exchange.receive::<u8>()).await.unwrap_err();
            assert!(gives_up(&error, expected), "{side:?} {code:#x}: {error:?}");
            heard.receive.stop(code);
            let error = soon(async {
                loop {
                    if let Err(error) = exchange.send(&1_u8).await {
                        return error;
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert!(gives_up(&error, expected), "{side:?} {code:#x}: {error:?}");
            // Ours is.
            let mut exchange = meeting.ours.open("any/1", "").await.unwrap();
            exchange.flush().await.unwrap();
            let (mut send, mut heard) = meeting.accept().await;
            assert_eq!(heard.frame().await.unwrap().0, FrameType::OPEN);
            send.reset(code);
            let error = soon(exchange.receive::<u8>()).await.unwrap_err();
            assert!(gives_up(&error, expected), "{side:?} {code:#x}: {error:?}");
        }
        soon(meeting.echoes(1)).await;
    }
}

fn gives_up(error: &Error, expected: ErrorCode) -> bool {
    match error {
        Error::Cancelled(code) => *code == expected,
        Error::Refused => expected == ErrorCode::REFUSED,
        Error::Truncated => expected == ErrorCode::TRUNCATED,
        Error::Deadline => expected == ErrorCode::STREAM_DEADLINE,
        _ => false,
    }
}

#[tokio::test]
async fn our_resets_and_stops_reach_them_with_our_codes() {
    for side in ROLES {
        let (router, mut exchanges) = handed();
        let meeting = Meeting::with(side, router, Limits::default(), qmux::Config::default()).await;
        // We give up an exchange of ours.
        let mut exchange = meeting.ours.open("any/1", "").await.unwrap();
        exchange.send(&7_u8).await.unwrap();
        let (mut send, mut heard) = meeting.accept().await;
        assert_eq!(heard.frame().await.unwrap().0, FrameType::OPEN);
        assert_eq!(heard.frame().await.unwrap().0, FrameType::MESSAGE);
        drop(exchange);
        let error = heard.try_frame().await.unwrap_err();
        assert_eq!(error.stream_error(), Some(ErrorCode::CANCELLED.0), "{side:?}");
        let error = soon(send.closed()).await.unwrap_err();
        assert_eq!(error.stream_error(), Some(ErrorCode::CANCELLED.0), "{side:?}");
        // And what is over for us before it has begun: a stream without OPEN.
        let (mut send, receive) = meeting.theirs.open_bi().await.unwrap();
        send.finish().unwrap();
        let error = crate::stranger::Heard::new(receive).try_frame().await.unwrap_err();
        assert_eq!(error.stream_error(), Some(ErrorCode::TRUNCATED.0), "{side:?}");
        // A kind of stream that we do not know is stopped.
        let mut strange = meeting.theirs.open_uni().await.unwrap();
        strange.write_all(&[0x21, 0, 0, 0]).await.unwrap();
        let error = soon(strange.closed()).await.unwrap_err();
        assert_eq!(error.stream_error(), Some(ErrorCode::UNKNOWN_STREAM_TYPE.0), "{side:?}");
        exchanges.close();
        soon(meeting.echoes(1)).await;
    }
}

#[tokio::test]
async fn datagrams_pass_both_ways_up_to_the_limit_of_each_side() {
    for side in ROLES {
        let (router, mut exchanges) = handed();
        let meeting = Meeting::with(side, router, Limits::default(), qmux::Config::default()).await;
        let (_send, _heard) = meeting.ask("hand/1", &[(FrameType::MESSAGE, &[0x07])]).await;
        let mut exchange = soon(exchanges.recv()).await.unwrap();
        let datagrams = exchange.datagrams();
        assert_eq!(exchange.receive::<u8>().await.unwrap(), 7);
        let mut number = None;
        for size in [0, 1, 999, 1000] {
            datagrams.send(&pattern(0, size)).unwrap();
            let (exchange, payload) =
                decode_datagram(soon(meeting.theirs.recv_datagram()).await.unwrap()).unwrap();
            assert_eq!(payload, pattern(0, size));
            number = Some(exchange);
        }
        assert!(datagrams.send(&pattern(0, 1001)).is_err(), "HELLO said 1,000");
        let number = number.unwrap();
        let theirs = |size| {
            let mut out = Vec::new();
            encode_datagram(number, &pattern(0, size), &mut out);
            meeting.theirs.send_datagram(out.into()).unwrap();
        };
        for size in [0, 1, 999, 1000] {
            theirs(size);
            assert_eq!(soon(datagrams.receive()).await.unwrap(), pattern(0, size));
        }
        // One byte more is dropped and counted, and the next one is not harmed.
        assert_eq!(meeting.ours.datagrams_dropped(), 0);
        theirs(1001);
        theirs(3);
        assert_eq!(soon(datagrams.receive()).await.unwrap(), pattern(0, 3));
        assert_eq!(meeting.ours.datagrams_dropped(), 1);
        // The transport's own limit, which is larger: their largest datagram is taken by the state machine.
        assert!(meeting.theirs.max_datagram_size() >= 1_200);
        assert!(
            meeting.theirs.send_datagram(vec![0; meeting.theirs.max_datagram_size() + 1].into()).is_err()
        );
        theirs(meeting.theirs.max_datagram_size() - 8);
        theirs(4);
        assert_eq!(soon(datagrams.receive()).await.unwrap(), pattern(0, 4));
        soon(meeting.echoes(1)).await;
    }
}

#[tokio::test]
async fn their_pings_are_answered() {
    for side in ROLES {
        let mut theirs = qmux::Config::default();
        theirs.rtt_interval = Duration::from_millis(1);
        let router = Router::new().route("echo/1", crate::common::echo);
        let meeting = Meeting::with(side, router, Limits::default(), theirs).await;
        soon(async {
            while meeting.theirs.stats().rtt().is_none() {
                meeting.echoes(1).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn closes_carry_their_code_and_words_both_ways() {
    for side in ROLES {
        let meeting = Meeting::with(side, Router::new(), Limits::default(), qmux::Config::default()).await;
        meeting.ours.abort(ErrorCode::REVOKED, "not any more");
        let error = soon(meeting.theirs.closed()).await;
        assert_eq!(error.session_error(), Some((ErrorCode::REVOKED.0, "not any more".to_owned())));

        let meeting = Meeting::with(side, Router::new(), Limits::default(), qmux::Config::default()).await;
        let mut exchange = meeting.ours.open("any/1", "").await.unwrap();
        exchange.flush().await.unwrap();
        meeting.theirs.close(0x7777, "see you");
        let Error::Closed(closed) = soon(meeting.ours.closed()).await else { panic!() };
        assert_eq!(
            (closed.by, closed.code, closed.reason.as_str()),
            (ClosedBy::Peer, ErrorCode(0x7777), "see you")
        );
        assert!(matches!(soon(exchange.receive::<u8>()).await, Err(Error::Closed(same)) if same == closed));
    }
}

/// GOAWAY, the last exchange, and the close by the side that received last.
#[tokio::test]
async fn we_drain_with_them_without_losing_an_answer() {
    for side in ROLES {
        let (router, mut exchanges) = handed();
        let meeting = Meeting::with(side, router, Limits::default(), qmux::Config::default()).await;
        let (mut send, mut heard) =
            meeting.ask("hand/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]).await;
        send.finish().unwrap();
        let mut exchange = soon(exchanges.recv()).await.unwrap();
        let ours = meeting.ours.clone();
        let draining = tokio::spawn(async move { ours.drain_within(Duration::from_secs(3600)).await });
        soon(exchange.connection().draining()).await;
        let (_send, mut late) = meeting.ask("echo/1", &[]).await;
        assert_eq!(
            late.try_frame().await.unwrap_err().stream_error(),
            Some(ErrorCode::REFUSED.0),
            "{side:?}"
        );
        let number: u8 = exchange.receive().await.unwrap();
        exchange.reply(&number).await.unwrap();
        assert_eq!(heard.frame().await, Some((FrameType::MESSAGE, Bytes::from_static(&[0x07]))));
        assert_eq!(heard.frame().await, Some((FrameType::END, Bytes::new())));
        assert_eq!(heard.frame().await, None);
        // They have everything, and say so by closing.
        meeting.theirs.close(ErrorCode::NO_ERROR.0, "");
        soon(draining).await.unwrap();
    }
}
