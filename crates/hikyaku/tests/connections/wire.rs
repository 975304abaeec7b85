//! Exchanges as they are on the wire: order of frames, ends, cancels, deadlines, limits.

use std::time::Duration;

use bytes::Bytes;
use hikyaku::{CallOptions, Error, ErrorCode, Exchange, Failure, Incoming, Limits, Result, Router, Server};
use hikyaku_mux::Dir;
use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType, Piece};

use super::raw::*;

const MESSAGE: (FrameType, &[u8]) = (FrameType::MESSAGE, &[0x07]);
const END: (FrameType, &[u8]) = (FrameType::END, &[]);

/// How a client fares that says `bytes` on one exchange; that nobody else notices.
async fn fares(bytes: &[u8]) -> Ended {
    let server = echo_server(Limits::default()).await;
    let mut bystander = Raw::greeted(server.address()).await;
    let mut raw = Raw::greeted(server.address()).await;
    raw.say(Dir::Bi, bytes).await;
    let ended = raw.ended().await;
    bystander.lives().await;
    ended
}

//= S3.40 (test)
//= S3.43 (test)
//= S3.65 (test)
#[tokio::test]
async fn frames_out_of_order_end_that_connection_alone() {
    let failure = Failure::new(ErrorCode::DENIED, "no").encode();
    let error = (FrameType::ERROR, &failure[..]);
    let (open, hello) = (Open::new("echo/1", "").encode(), hello().encode());
    let (open, hello) = ((FrameType::OPEN, &open[..]), (FrameType::HELLO, &hello[..]));
    for first in [MESSAGE, (FrameType::DATA, &[1]), END, error, hello] {
        assert_eq!(fares(&frames(&[first])).await.code, ErrorCode::FRAME_UNEXPECTED, "{first:?}");
    }
    for later in [open, hello] {
        let ended = fares(&exchange("echo/1", &[MESSAGE, later])).await;
        assert_eq!(ended.code, ErrorCode::FRAME_UNEXPECTED, "{later:?}");
    }
    for last in [END, error] {
        let ended = fares(&exchange("echo/1", &[last, MESSAGE])).await;
        assert_eq!(ended.code, ErrorCode::FRAME_UNEXPECTED, "after {last:?}");
    }
}

//= S3.90 (test)
#[tokio::test]
async fn malformed_and_too_long_frames_end_that_connection_and_the_limit_is_named() {
    // Not in the shortest form: the type, the length. END with a payload.
    for wrong in [&[0x40, 0x11, 0x01, 0x07][..], &[0x11, 0x40, 0x01, 0x07], &[0x13, 0x01, 0x07]] {
        let ended = fares(&[&exchange("echo/1", &[])[..], wrong].concat()).await;
        assert_eq!(ended.code, ErrorCode::FRAME_ERROR, "{wrong:x?}");
    }
    let too_long = [
        (FrameType::MESSAGE, 1 << 20, "max_message"),
        (FrameType::ERROR, 4096 + 2048, "max_metadata"),
        (FrameType::DATA, 16 << 20, "max_data_frame"),
        (FrameType(0x21), 64 << 10, "max_skipped"),
    ];
    for (ty, limit, name) in too_long {
        let mut bytes = exchange("echo/1", &[]);
        frame::encode_header(ty, limit + 1, &mut bytes);
        let ended = fares(&bytes).await;
        assert_eq!(ended.code, ErrorCode::LIMIT_EXCEEDED, "{ty}");
        assert!(ended.reason.contains(&format!("our {name} of {limit} bytes")), "{ended:?}");
    }
}

#[tokio::test]
async fn an_open_that_is_not_one_is_answered_and_the_connection_lives() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    for open in [Open::new("", "").encode(), Open::new("x".repeat(65), "").encode(), vec![0xa0], vec![]] {
        let id = raw.ask(&frames(&[(FrameType::OPEN, &open), END])).await;
        assert_eq!(raw.hear_failure(id).await.code, ErrorCode::INVALID_MESSAGE, "{open:x?}");
    }
    raw.lives().await;
}

//= S3.42 (test)
#[tokio::test]
async fn an_unknown_protocol_is_answered_and_the_connection_lives() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    let id = raw.ask(&exchange("nothing/7", &[END])).await;
    assert_eq!(raw.hear_failure(id).await.code, ErrorCode::UNKNOWN_PROTOCOL);
    raw.lives().await;
}

//= S3.46 (test)
#[tokio::test]
async fn a_message_off_the_profile_ends_its_exchange_alone() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Nothing, an indefinite length, a tag, a float, a key twice, two items.
    for wrong in [&[][..], &[0x9f, 0xff], &[0xc1, 0x00], &[0xf9, 0, 0], &[0xa2, 0, 0, 0, 0], &[0, 0]] {
        let id = raw.say(Dir::Bi, &exchange("echo/1", &[(FrameType::MESSAGE, wrong)])).await;
        assert_eq!(raw.hear_failure(id).await.code, ErrorCode::INVALID_MESSAGE, "{wrong:x?}");
        raw.mux.reset(id, 0);
    }
    raw.lives().await;
    // An opener that may no longer speak stops reading instead.
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let call = tokio::spawn(async move { (connection.call::<_, u8>("a/1", "", &7_u8).await, connection) });
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    raw.say_on(id, &frames(&[(FrameType::MESSAGE, &[0x9f, 0xff])])).await;
    assert_eq!(raw.hear_stop(id).await, u64::from(ErrorCode::CANCELLED.0));
    let (answer, connection) = soon(call).await.unwrap();
    assert!(matches!(answer, Err(Error::Message(_))), "{answer:?}");
    assert!(!connection.is_closed());
}

//= S3.61 (test)
#[tokio::test]
async fn an_error_that_is_not_one_is_a_message_error() {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let call = tokio::spawn(async move { connection.call::<_, u8>("a/1", "", &7_u8).await });
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    raw.say_on(id, &frames(&[(FrameType::ERROR, &[0xa0])])).await;
    assert_eq!(raw.ended().await.code, ErrorCode::MESSAGE_ERROR);
    assert!(soon(call).await.unwrap().is_err());
}

/// What `call` makes of an answer of these bytes, ended by FIN or by nothing.
async fn answered(bytes: &[u8], fin: bool) -> Result<u8> {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let options = CallOptions { deadline: Some(Duration::from_millis(300)), ..CallOptions::default() };
    let call = tokio::spawn(async move { connection.call_with("a/1", "", &7_u8, options).await });
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    raw.say_on(id, bytes).await;
    if fin {
        raw.mux.finish(id).unwrap();
    }
    raw.until(|_| call.is_finished().then_some(())).await;
    soon(call).await.unwrap()
}

//= S3.44 (test)
//= S3.45 (test)
#[tokio::test]
async fn only_end_and_then_fin_is_success() {
    assert_eq!(answered(&frames(&[MESSAGE, END]), true).await.unwrap(), 7);
    assert!(matches!(answered(&frames(&[MESSAGE, END]), false).await, Err(Error::Deadline)));
    assert!(matches!(answered(&frames(&[MESSAGE]), true).await, Err(Error::Truncated)));
    assert!(matches!(answered(&[], true).await, Err(Error::Truncated)));
    // In the middle of a frame, too.
    assert!(matches!(answered(&[0x11, 0x02, 0x18], true).await, Err(Error::Truncated)));
    let failure = Failure::new(ErrorCode::DENIED, "no").encode();
    let denied = answered(&frames(&[(FrameType::ERROR, &failure)]), true).await;
    assert!(matches!(denied, Err(Error::Failure(failure)) if failure.code == ErrorCode::DENIED));
}

#[tokio::test]
async fn a_question_cut_short_is_never_heard_as_a_whole_one() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    let id = raw.ask(&exchange("echo/1", &[MESSAGE])).await;
    assert_eq!(raw.hear_failure(id).await.code, ErrorCode::INVALID_MESSAGE);
    raw.lives().await;
}

//= S3.48 (test)
#[tokio::test]
async fn an_exchange_that_is_dropped_is_cancelled_in_both_directions() {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let mut exchange = connection.open("a/1", "").await.unwrap();
    exchange.send(&7_u8).await.unwrap();
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    drop(exchange);
    assert_eq!(raw.hear(id).await, Err(u64::from(ErrorCode::CANCELLED.0)));
    assert_eq!(raw.hear_stop(id).await, u64::from(ErrorCode::CANCELLED.0));
}

//= S3.54 (test)
#[tokio::test]
async fn an_opener_gives_up_at_its_deadline_whatever_the_answerer_does() {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let options = CallOptions { deadline: Some(Duration::from_millis(100)), ..CallOptions::default() };
    let mut exchange = connection.open_with("a/1", "", options).await.unwrap();
    exchange.send(&7_u8).await.unwrap();
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    let error = soon(exchange.receive::<u8>()).await.unwrap_err();
    assert!(matches!(error, Error::Deadline) && error.to_string().contains("outcome is unknown"), "{error}");
    drop(exchange);
    assert_eq!(raw.hear(id).await, Err(u64::from(ErrorCode::STREAM_DEADLINE.0)));
    assert_eq!(raw.hear_stop(id).await, u64::from(ErrorCode::STREAM_DEADLINE.0));
}

//= S3.53 (test)
#[tokio::test]
async fn an_answerer_ends_an_exchange_whose_time_has_passed() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    for ms in [0, 50] {
        let open = Open { deadline_ms: Some(ms), ..Open::new("deaf/1", "") }.encode();
        let id = raw.ask(&frames(&[(FrameType::OPEN, &open), END])).await;
        assert_eq!(raw.hear_failure(id).await.code, ErrorCode::DEADLINE_EXCEEDED);
    }
    // The longest time there is, is no limit and no mistake.
    let open = Open { deadline_ms: Some((1 << 53) - 1), ..Open::new("echo/1", "") }.encode();
    let id = raw.ask(&frames(&[(FrameType::OPEN, &open), END])).await;
    assert_eq!(raw.hear(id).await.unwrap(), frames(&[END]));
}

//= S3.55 (test)
#[tokio::test]
async fn asking_on_behalf_of_somebody_takes_no_more_time_than_is_left() {
    async fn relay(exchange: Exchange) -> Result<()> {
        let options = CallOptions::on_behalf_of(&exchange);
        let asked = exchange.connection().open_with("further/1", "", options).await?;
        assert!(asked.deadline().unwrap() <= exchange.deadline().unwrap() + Duration::from_millis(1));
        assert!(CallOptions::on_behalf_of(&asked).deadline.unwrap() <= Duration::from_secs(30));
        let mut exchange = exchange;
        exchange.finish().await
    }
    let pair = crate::common::pair(hikyaku::Transport::Local, Router::new().route("relay/1", relay)).await;
    let options = CallOptions { deadline: Some(Duration::from_secs(30)), ..CallOptions::default() };
    let mut exchange = pair.client.open_with("relay/1", "", options).await.unwrap();
    exchange.finish().await.unwrap();
    exchange.ended().await.unwrap();
}

/// All frames of a stream's bytes, DATA by its length alone.
fn seen(bytes: Vec<u8>) -> Vec<(FrameType, usize)> {
    let mut decoder = Decoder::new(FrameLimits { max_data_frame: u64::MAX >> 2, ..FrameLimits::default() });
    decoder.push(bytes.into());
    let mut seen = Vec::new();
    while let Some(piece) = decoder.next().unwrap() {
        match piece {
            Piece::Frame { ty, payload } => seen.push((ty, payload.len())),
            Piece::Data { chunk, .. } => seen.push((FrameType::DATA, chunk.len())),
        }
    }
    seen
}

//= S3.14 (test)
#[tokio::test]
async fn no_frame_exceeds_what_the_peer_accepts() {
    async fn fail(_: Exchange) -> Result<()> {
        Err(Failure::new(ErrorCode::DENIED, "x".repeat(3000)).with_details(vec![0; 4097]).into())
    }
    let (connection, mut raw) = client_of_raw(Router::new().route("fail/1", fail), Limits::default()).await;
    // DATA in frames of 16 MiB.
    let sending = tokio::spawn(async move {
        let mut exchange = connection.open("a/1", "").await.unwrap();
        exchange.send_data(Bytes::from(vec![0; (16 << 20) + 1])).await.unwrap();
        exchange.finish().await.unwrap();
        let _ = exchange.next().await;
        connection
    });
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    let frames_seen = seen(raw.hear(id).await.unwrap());
    let data: Vec<_> =
        frames_seen.iter().filter(|(ty, _)| *ty == FrameType::DATA).map(|(_, length)| *length).collect();
    assert_eq!(data, [16 << 20, 1]);
    // ERROR without what makes it too long.
    let asked = raw.ask(&exchange("fail/1", &[END])).await;
    let failure = raw.hear_failure(asked).await;
    assert_eq!((failure.message.len(), failure.details.len()), (1024, 0));
    raw.mux.reset(id, 0);
    raw.flush().await;
    let connection = soon(sending).await.unwrap();
    // Metadata.
    let options = CallOptions { metadata: vec![0; 4097].into(), ..CallOptions::default() };
    let error = connection.open_with("a/1", "", options).await.err().unwrap();
    assert!(
        matches!(error, Error::TooLarge { name: "max_metadata", size: 4097, limit: 4096, .. }),
        "{error}"
    );
}

//= S3.83 (test)
#[tokio::test]
async fn a_relayed_message_is_the_same_bytes() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Keys out of order, unknown to anybody.
    let item = [0xa2, 0x18, 0x64, 0x61, 0x62, 0x01, 0xf6];
    let said = [(FrameType::MESSAGE, &item[..]), END];
    let id = raw.ask(&exchange("echo/1", &said)).await;
    assert_eq!(raw.hear(id).await.unwrap(), frames(&said));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_whole_question_is_heard() {
    async fn deny(_: Exchange) -> Result<()> {
        Err(Failure::new(ErrorCode::DENIED, "not even read").into())
    }
    for transport in crate::common::ALL {
        let pair = crate::common::pair(transport, Router::new().route("deny/1", deny)).await;
        // More than every window: it cannot be sent whole.
        let mut exchange = pair.client.open("deny/1", "").await.unwrap();
        let sent = exchange.send_data(Bytes::from(vec![0; 64 << 20])).await;
        assert!(matches!(sent, Err(Error::Cancelled(_))), "{transport}: {sent:?}");
        let error = soon(exchange.next()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::DENIED, "{transport}");
    }
}

#[tokio::test]
async fn a_cancelled_send_harms_neither_its_frame_nor_what_follows() {
    async fn count(mut exchange: Exchange) -> Result<()> {
        let mut bytes = 0_u64;
        while let Some(incoming) = exchange.next().await? {
            match incoming {
                Incoming::Data(data) => bytes += data.len() as u64,
                Incoming::Message(_) => exchange.send(&bytes).await?,
            }
        }
        exchange.finish().await
    }
    for transport in crate::common::ALL {
        let pair = crate::common::pair(transport, Router::new().route("count/1", count)).await;
        let mut exchange = pair.client.open("count/1", "").await.unwrap();
        let mut sent = 0;
        // As often as it takes until one of them did not get through at once.
        loop {
            sent += 8 << 20;
            let sending = exchange.send_data(Bytes::from(vec![7; 8 << 20]));
            tokio::select! {
                biased;
                done = sending => done.unwrap(),
                () = tokio::task::yield_now() => break,
            }
        }
        exchange.send(&0_u8).await.unwrap();
        assert_eq!(soon(exchange.receive::<u64>()).await.unwrap(), sent, "{transport}");
        exchange.finish().await.unwrap();
        exchange.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error_of_its_exchange_alone() {
    async fn broken(mut exchange: Exchange) -> Result<()> {
        let number: Option<u8> = exchange.receive().await?;
        exchange.reply(&number.expect("a number")).await
    }
    for transport in crate::common::ALL {
        let pair = crate::common::pair(transport, Router::new().route("broken/1", broken)).await;
        let error = pair.client.call::<_, u8>("broken/1", "", &None::<u8>).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::INTERNAL, "{transport}");
        assert_eq!(pair.client.call::<_, u8>("broken/1", "", &Some(7_u8)).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn an_exchange_without_an_open_is_given_up_in_time() {
    let limits = Limits { open_timeout: Duration::from_millis(100), ..Limits::default() };
    let server: Server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    let id = raw.say(Dir::Bi, &[0x10]).await;
    assert_eq!(raw.hear(id).await, Err(u64::from(ErrorCode::STREAM_DEADLINE.0)));
    raw.lives().await;
}
