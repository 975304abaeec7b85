//! Control streams, strange streams, datagrams, grease: what a peer may do beside its exchanges.

use std::time::Duration;

use hikyaku::{DatagramError, Error, ErrorCode, Exchange, Identity, Limits, Result, Router, Server};
use hikyaku_mux::{CloseReason, Dir, Side, TransportCode};
use hikyaku_wire::codes::is_reserved;
use hikyaku_wire::exchange::{Goaway, encode_datagram, exchange_number};
use hikyaku_wire::frame::FrameType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw::*;

/// A reserved number: nobody knows it, for ever.
const GREASE: u64 = 0x1f * 1000 + 0x21;

fn goaway() -> Vec<u8> {
    Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 60_000, message: String::new() }.encode()
}

/// What becomes of a client that says `bytes` on its first unidirectional stream; and that nobody else notices.
async fn says(bytes: &[u8]) -> Ended {
    let server = echo_server(Limits::default()).await;
    let mut bystander = Raw::greeted(server.address()).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    raw.say(Dir::Uni, bytes).await;
    let ended = raw.ended().await;
    bystander.lives().await;
    ended
}

//= S3.20 (test)
#[tokio::test]
async fn both_sides_open_a_control_stream_first_and_say_hello() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(hikyaku::local::connect(near, Router::new(), Limits::default()));
    let mut raw = Raw::over(far, Side::Server).await;
    // Its first stream, and of that the first bytes.
    let hello = raw.hear_hello().await;
    assert!(hello.limits.max_message >= 65_536 && hello.limits.max_metadata >= 4_096);
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &hello.encode())])).await;
    soon(connecting).await.unwrap().unwrap();

    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    raw.hear_hello().await;
}

//= S3.31 (test)
#[tokio::test]
async fn no_extension_is_listed_but_grease() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let hello = raw.hear_hello().await;
    assert!(!hello.extensions.is_empty());
    assert!(hello.extensions.iter().all(|id| is_reserved(*id)), "{hello:?}");
}

/// Answers with more than every peer takes.
async fn much(mut exchange: Exchange) -> Result<()> {
    exchange.reply(&"x".repeat(100_000)).await
}

//= S3.30 (test)
#[tokio::test]
async fn an_answer_that_not_every_peer_takes_waits_for_the_hello_that_says_whether_this_one_does() {
    let router = Router::new().route("much/1", much).route("echo/1", crate::common::echo);
    let server = Server::builder(Identity::generate().unwrap()).router(router).start().await.unwrap();
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let asks = |protocol| exchange(protocol, &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]);
    let much = raw.ask(&asks("much/1")).await;
    // What everybody takes waits for nothing.
    raw.lives().await;
    raw.greet().await;
    let heard = raw.hear(much).await.unwrap();
    assert!(heard.len() > 100_000 && heard.ends_with(&frames(&[(FrameType::END, &[])])), "{}", heard.len());
    // Who takes less than that is told so, and that it is its own limit.
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let much = raw.ask(&asks("much/1")).await;
    let mut least = hello();
    least.limits.max_message = 65_536;
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &least.encode())])).await;
    let failure = raw.hear_failure(much).await;
    assert_eq!(failure.code, ErrorCode::LIMIT);
    assert!(failure.message.contains("65536"), "{}", failure.message);
}

//= S3.25 (test)
#[tokio::test]
async fn nobody_opens_an_exchange_before_the_peers_hello() {
    // A client: its `connect` waits.
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(async {
        let connection = hikyaku::local::connect(near, Router::new(), Limits::default()).await?;
        connection.call::<_, u8>("echo/1", "", &7_u8).await
    });
    let mut raw = Raw::over(far, Side::Server).await;
    raw.hear_hello().await;
    raw.ping().await;
    assert_eq!(raw.mux.accept(Dir::Bi), None);
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &hello().encode())])).await;
    raw.until(|mux| mux.accept(Dir::Bi)).await;
    connecting.abort();

    // A server that would like to ask its client.
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    raw.hear_hello().await;
    let of_server = server.connections().pop().unwrap();
    let asking = tokio::spawn(async move {
        let mut exchange = of_server.open("push/1", "").await?;
        exchange.flush().await
    });
    raw.ping().await;
    assert_eq!(raw.mux.accept(Dir::Bi), None);
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &hello().encode())])).await;
    raw.until(|mux| mux.accept(Dir::Bi)).await;
    soon(asking).await.unwrap().unwrap();
}

//= S3.24 (test)
//= S3.90 (test)
#[tokio::test]
async fn a_peer_that_does_not_say_hello_in_time_is_closed_and_told_the_limit() {
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let ended = raw.ended().await;
    assert_eq!(ended.code, ErrorCode::HANDSHAKE_TIMEOUT);
    assert!(ended.reason.contains("handshake_timeout of 300ms"), "{ended:?}");
}

//= S3.22 (test)
//= S3.65 (test)
#[tokio::test]
async fn frames_before_hello_and_wrong_ones_after_it_end_that_connection_alone() {
    let goaway = goaway();
    let hello = hello().encode();
    for first in [FrameType::GOAWAY, FrameType::OPEN, FrameType::MESSAGE, FrameType::DATA, FrameType::ERROR] {
        let ended = says(&control(&[(first, &goaway), (FrameType::HELLO, &hello)])).await;
        assert_eq!(ended.code, ErrorCode::HELLO_MISSING, "{first}");
    }
    for second in [FrameType::HELLO, FrameType::OPEN, FrameType::MESSAGE, FrameType::DATA, FrameType::ERROR] {
        let ended = says(&control(&[(FrameType::HELLO, &hello), (second, &hello)])).await;
        assert_eq!(ended.code, ErrorCode::FRAME_UNEXPECTED, "{second}");
    }
}

#[tokio::test]
async fn a_hello_or_goaway_that_is_not_one_is_a_message_error() {
    let hello = hello().encode();
    let beyond = super::raw::hello();
    let too_many = hikyaku_wire::hello::Hello { extensions: (0..65).collect(), ..beyond.clone() }.encode();
    let too_long = hikyaku_wire::hello::Hello { agent: "x".repeat(257), ..beyond }.encode();
    for wrong in
        [&[][..], &[0x00], &[0xa0], &[0xbf, 0xff], &[&hello[..], &[0x00]].concat(), &too_many, &too_long]
    {
        let ended = says(&control(&[(FrameType::HELLO, wrong)])).await;
        assert_eq!(ended.code, ErrorCode::MESSAGE_ERROR, "{wrong:x?}");
    }
    let ended = says(&control(&[(FrameType::HELLO, &hello), (FrameType::GOAWAY, &[0xa0])])).await;
    assert_eq!(ended.code, ErrorCode::MESSAGE_ERROR);
}

//= S3.23 (test)
#[tokio::test]
async fn there_is_one_control_stream_and_it_never_ends() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    raw.say(Dir::Uni, &[0x00]).await;
    assert_eq!(raw.ended().await.code, ErrorCode::PROTOCOL_VIOLATION);

    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let control = raw.greet().await;
    raw.mux.finish(control).unwrap();
    assert_eq!(raw.ended().await.code, ErrorCode::CONTROL_STREAM_CLOSED);

    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let control = raw.greet().await;
    raw.lives().await;
    raw.mux.reset(control, ErrorCode::REFUSED.0.into());
    assert_eq!(raw.ended().await.code, ErrorCode::CONTROL_STREAM_CLOSED);
}

//= S3.21 (test)
#[tokio::test]
async fn a_unidirectional_stream_of_unknown_type_is_stopped_and_harmless() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    for ty in [&[0x01][..], &[0x3f], &[0x7f, 0xff], &[0x80, 0x01, 0x00, 0x00]] {
        let id = raw.say(Dir::Uni, &[ty, b"whatever follows"].concat()).await;
        assert_eq!(raw.hear_stop(id).await, u64::from(ErrorCode::UNKNOWN_STREAM_TYPE.0));
        raw.mux.reset(id, 0);
    }
    // Ended or reset before it said what it is.
    let id = raw.say(Dir::Uni, &[0x40]).await;
    raw.mux.finish(id).unwrap();
    let id = raw.say(Dir::Uni, &[0x40]).await;
    raw.mux.reset(id, 7);
    raw.lives().await;
}

//= S3.95 (test)
#[tokio::test]
async fn grease_on_every_extension_point_is_harmless() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let grease = (FrameType(GREASE), &b"grease"[..]);
    // HELLO with a greased key at each level, and a greased extension id: {0: {0, 1, 2, grease}, 1: [id], 2: "", grease}
    let key = [0x19, 0x79, 0x39];
    assert_eq!(u64::from(u16::from_be_bytes([key[1], key[2]])), GREASE);
    let limits =
        [&[0xa4, 0x00, 0x1a, 0x00, 0x01, 0x00, 0x00, 0x01, 0x19, 0x10, 0x00, 0x02, 0x00][..], &key, &[0xf6]];
    let hello =
        [&[0xa4, 0x00][..], &limits.concat(), &[0x01, 0x81], &key, &[0x02, 0x60], &key, &[0x80]].concat();
    let control = control(&[grease, grease, (FrameType::HELLO, &hello), grease]);
    raw.say(Dir::Uni, &control).await;
    raw.hear_hello().await;
    let stream_type = [0x80, 0x00, 0x79, 0x39];
    let strange = raw.say(Dir::Uni, &stream_type).await;
    assert_eq!(raw.hear_stop(strange).await, u64::from(ErrorCode::UNKNOWN_STREAM_TYPE.0));
    raw.mux.reset(strange, GREASE);
    // OPEN with a greased key, between greased frames.
    let open = [&[0xa3, 0x00, 0x66][..], b"echo/1", &[0x01, 0x60], &key, &[0xf5]].concat();
    let asked = frames(&[
        grease,
        (FrameType::OPEN, &open),
        grease,
        (FrameType::MESSAGE, &[0x07]),
        grease,
        (FrameType::END, &[]),
        grease,
    ]);
    let id = raw.ask(&asked).await;
    let answer = frames(&[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]);
    assert_eq!(raw.hear(id).await.unwrap(), answer);
    // A cancel with a greased code.
    let id = raw.say(Dir::Bi, &exchange("deaf/1", &[])).await;
    raw.mux.reset(id, GREASE);
    raw.mux.stop(id, GREASE);
    raw.lives().await;
}

#[tokio::test]
async fn a_malformed_first_byte_ends_that_connection_alone() {
    let server = echo_server(Limits::default()).await;
    let mut bystander = Raw::greeted(server.address()).await;
    // Of QMux: a record larger than any may be.
    let mut stream = tls_to(server.address(), client_tls(Some(&Key::new()), &[ALPN])).await.unwrap();
    stream.write_all(&[0xff; 8]).await.unwrap();
    let mut heard = Vec::new();
    let _ = soon(stream.read_to_end(&mut heard)).await;
    // A record that holds CONNECTION_CLOSE of the transport: FRAME_ENCODING_ERROR.
    assert!(heard.windows(2).any(|bytes| bytes == [0x1c, 0x07]), "{heard:x?}");
    // The same later, in the middle of a decent conversation.
    let mut raw = Raw::greeted(server.address()).await;
    raw.lives().await;
    raw.write_below(&[0xff; 8]).await;
    let reason = raw.close_reason().await;
    let encoding = TransportCode::FRAME_ENCODING_ERROR;
    assert!(
        matches!(reason, CloseReason::Transport { code, local: false, .. } if code == encoding),
        "{reason:?}"
    );
    bystander.lives().await;
}

#[tokio::test]
async fn garbage_on_the_tcp_port_is_turned_away_and_nobody_notices() {
    let server = echo_server(Limits::default()).await;
    let mut bystander = Raw::greeted(server.address()).await;
    for garbage in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 300], &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01]]
    {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        // An alert, an end, or a reset; never anything else, and never silence.
        let _ = soon(stream.read_to_end(&mut heard)).await;
        assert!(heard.is_empty() || heard[0] == 0x15, "{heard:x?}");
    }
    bystander.lives().await;
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn a_datagram_without_a_number_is_an_error_and_one_of_nobody_is_not() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    let mut nobodys = Vec::new();
    encode_datagram(4000, b"for nobody", &mut nobodys);
    raw.mux.send_datagram(nobodys.into()).unwrap();
    raw.lives().await;
    for wrong in [&b""[..], &[0x40], &[0x40, 0x01, 0x07], &[0xc0, 0x00]] {
        let mut raw = Raw::greeted(server.address()).await;
        raw.mux.send_datagram(bytes::Bytes::copy_from_slice(wrong)).unwrap();
        assert_eq!(raw.ended().await.code, ErrorCode::DATAGRAM_ERROR, "{wrong:x?}");
    }
}

//= S3.56 (test)
//= S3.57 (test)
#[tokio::test]
async fn a_datagram_waits_for_its_open_and_keeps_to_the_peers_limit() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(hikyaku::local::connect(near, Router::new(), Limits::default()));
    let mut raw = Raw::over(far, Side::Server).await;
    let mut modest = hello();
    modest.limits.max_datagram = 10;
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &modest.encode())])).await;
    let connection = soon(connecting).await.unwrap().unwrap();
    let mut exchange = connection.open("game/1", "").await.unwrap();
    let datagrams = exchange.datagrams();
    assert_eq!(datagrams.send(b"too early"), Err(DatagramError::NotOpened));
    exchange.flush().await.unwrap();
    assert_eq!(datagrams.send(&[0; 11]), Err(DatagramError::TooLarge { size: 11, limit: 10 }));
    datagrams.send(&[7; 10]).unwrap();
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    let heard = raw.until(hikyaku_mux::Connection::recv_datagram).await;
    let mut expected = Vec::new();
    encode_datagram(exchange_number(id.into()), &[7; 10], &mut expected);
    assert_eq!(heard, expected);
    drop(exchange);
    assert_eq!(datagrams.send(b"too late"), Err(DatagramError::Closed));
}

#[tokio::test]
async fn a_peer_that_takes_no_datagrams_is_sent_none() {
    async fn hold(exchange: Exchange) -> Result<()> {
        exchange.connection().closed().await;
        Ok(())
    }
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting =
        tokio::spawn(hikyaku::local::connect(near, Router::new().route("hold/1", hold), Limits::default()));
    let mut raw = Raw::over(far, Side::Server).await;
    let mut without = hello();
    without.limits.max_datagram = 0;
    raw.say(Dir::Uni, &control(&[(FrameType::HELLO, &without.encode())])).await;
    let connection = soon(connecting).await.unwrap().unwrap();
    let mut exchange = connection.open("game/1", "").await.unwrap();
    exchange.flush().await.unwrap();
    assert_eq!(exchange.datagrams().send(b""), Err(DatagramError::Unsupported));
}

//= S3.66 (test)
#[tokio::test]
async fn what_a_peer_says_at_the_end_is_escaped_wherever_it_is_shown() {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let hostile = "\u{1b}[31mred\u{202e}\r\nlies";
    raw.mux.close(std::time::Instant::now(), 0x0b, hostile.into());
    raw.flush().await;
    let error = soon(connection.closed()).await;
    let Error::Closed(closed) = &error else { panic!("{error:?}") };
    assert_eq!(closed.reason, hostile, "programs get it as it came");
    assert!(!error.to_string().chars().any(hikyaku::is_hostile), "{error}");
}

//= S3.91 (test)
#[tokio::test(start_paused = true)]
async fn an_idle_client_pings_every_fifteen_seconds_at_most_and_stays() {
    let limits = Limits { keep_alive: Duration::from_secs(1), ..Limits::default() };
    let (connection, mut raw) = client_of_raw(Router::new(), limits).await;
    let began = tokio::time::Instant::now();
    // The state machine answers pings by itself; what it sends is how they show.
    let mut said = Vec::new();
    while !raw.mux.poll_transmit(std::time::Instant::now(), &mut said, 1 << 16) {
        raw.hear_once().await;
    }
    assert!(said.windows(8).any(|bytes| bytes == 0xf48c_6752_9ef8_c7be_u64.to_be_bytes()), "{said:x?}");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(60), "{waited:?}");
    assert!(!connection.is_closed());
}
