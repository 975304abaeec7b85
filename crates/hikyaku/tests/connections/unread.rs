//! Answers that wait, because nobody reads them or because it is not known whether they may be said: they have a bound.

use hikyaku::events::{Event, Log};
use hikyaku::{ErrorCode, Exchange, Identity, Limits, Result, Router, Server, Transport};
use hikyaku_wire::frame::FrameType;

use super::raw::*;

/// Answers with 64 KiB, whatever is asked.
async fn page(mut exchange: Exchange) -> Result<()> {
    exchange.reply(&"x".repeat(64 * 1024)).await
}

/// Room for two pages that wait.
fn little_memory() -> Limits {
    Limits {
        max_memory: 8 * 1024 * 1024,
        stream_window: 256 * 1024,
        connection_window: 256 * 1024,
        ..Limits::default()
    }
}

/// A client that gives no credit for any answer: what is asked is held at the server. It has not said HELLO yet.
async fn deaf(server: &Server) -> Raw<ClientStream> {
    let stream = tls_to(server.address(), client_tls(Some(&Key::new()), &[ALPN])).await.unwrap();
    let config = hikyaku_mux::Config { stream_receive_window: 100, ..hikyaku_mux::Config::default() };
    Raw::with(stream, hikyaku_mux::Side::Client, config).await
}

/// Whoever asks and does not read makes a server hold no more than its part of the quarter; then the rest is refused with BUSY,
/// or given up when its answer finds no room, and the others are answered.
//= S3.93 (test)
#[tokio::test]
async fn answers_that_nobody_reads_have_a_bound_and_the_others_are_answered() {
    let router = Router::new().route("page/1", page).route("echo/1", crate::common::echo);
    let log = Log::default();
    let server = Server::builder(Identity::generate().unwrap())
        .limits(little_memory())
        .observe(log.observer())
        .router(router)
        .start()
        .await
        .unwrap();
    let mut raw = deaf(&server).await;
    raw.greet().await;
    let mut asked = Vec::new();
    for _ in 0..200 {
        let id = raw.ask(&exchange("page/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])).await;
        asked.push(id);
    }
    raw.ping().await;
    let reached = |event: &Event| matches!(event, Event::LimitReached { limit: "max_memory", .. });
    log.until(reached).await;
    let member = hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp).await.unwrap();
    assert_eq!(member.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    let text: String = soon(member.call("page/1", "", &7_u8)).await.unwrap();
    assert_eq!(text.len(), 64 * 1024);
    // Once they are read or given up, there is room again.
    for id in asked {
        raw.mux.stop(id, 0);
    }
    raw.ping().await;
    soon(async {
        loop {
            let id =
                raw.ask(&exchange("echo/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])).await;
            if raw.hear(id).await.is_ok_and(|heard| heard.len() == 5) {
                break;
            }
        }
    })
    .await;
}

/// A few answers that wait weigh as much as their bytes: two have room here, and it is not their exchanges that fill it.
//= S3.93 (test)
#[tokio::test]
async fn what_waits_to_be_said_is_counted_by_its_bytes() {
    let router = Router::new().route("page/1", page).route("echo/1", crate::common::echo);
    let server = Server::builder(Identity::generate().unwrap())
        .limits(little_memory())
        .router(router)
        .start()
        .await
        .unwrap();
    let mut raw = deaf(&server).await;
    raw.greet().await;
    let question = exchange("page/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(raw.ask(&question).await);
        raw.lives().await;
    }
    // The third is not held: it is given up as soon as it would have to wait.
    let third = raw.ask(&question).await;
    assert_eq!(raw.hear(third).await, Err(u64::from(ErrorCode::LIMIT.0)));
    // Nobody listens to the first any more: its bytes are free for another.
    raw.mux.stop(waiting[0], 0);
    soon(async {
        loop {
            let next = raw.ask(&question).await;
            raw.lives().await;
            let said = loop {
                match raw.mux.read(next, 1000) {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            if said == Err(hikyaku_mux::ReadError::Blocked) {
                break;
            }
            assert_eq!(said, Err(hikyaku_mux::ReadError::Reset(ErrorCode::LIMIT.0.into())));
        }
    })
    .await;
}

/// So does one that waits for HELLO, because not every peer takes a message of its size.
//= S3.93 (test)
#[tokio::test]
async fn what_waits_for_hello_is_counted_by_its_bytes() {
    let router = Router::new().route("page/1", page);
    let server = Server::builder(Identity::generate().unwrap())
        .limits(little_memory())
        .router(router)
        .start()
        .await
        .unwrap();
    let mut raw = deaf(&server).await;
    let question = exchange("page/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]);
    for _ in 0..2 {
        raw.ask(&question).await;
    }
    let third = raw.ask(&question).await;
    let failure = raw.hear_failure(third).await;
    assert!(failure.message.contains("(max_memory)"), "{failure:?}");
}
