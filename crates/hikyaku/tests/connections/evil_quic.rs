//! A server over QUIC that has the right key and means ill, against our client. What it may do to the handshake is in
//! `identity` and `impostors`; what it may say over TCP, and to the whole program, in the suite of the second
//! implementation (`tests/peer`), which has no QUIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::{Connection, Error, ErrorCode, KeyId, Limits, Result, Transport};
use hikyaku_wire::codes::StreamType;
use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
use quinn::crypto::rustls::QuicServerConfig;

use super::raw::*;

/// The evil server: it accepts one client at a time, and the test says the rest.
struct Evil {
    endpoint: quinn::Endpoint,
    id: KeyId,
}

impl Evil {
    fn new() -> Self {
        let key = Key::new();
        let crypto = QuicServerConfig::try_from(server_tls(&key, &[ALPN_QUIC])).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.datagram_send_buffer_size(1 << 24);
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        Self { endpoint, id: key.id() }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    /// A client of ours comes, and what it makes of it while `deeds` are done to it.
    async fn meets<T, F: Future<Output = T>>(
        &self,
        limits: Limits,
        deeds: impl FnOnce(quinn::Connection) -> F,
    ) -> (Result<Connection>, T) {
        let connecting = hikyaku::connect(self.address(), self.id).transport(Transport::Quic).limits(limits);
        let client = tokio::spawn(connecting.into_future());
        let guest = soon(async { self.endpoint.accept().await.unwrap().await }).await.unwrap();
        let done = soon(deeds(guest)).await;
        (soon(client).await.unwrap(), done)
    }

    /// The same, after a HELLO as it should be, which is kept.
    async fn greets(&self) -> (Connection, quinn::Connection, quinn::SendStream) {
        let (client, (guest, control)) = self
            .meets(Limits::default(), |guest| async move {
                let control = says(&guest, &control(&[(FrameType::HELLO, &hello().encode())])).await;
                (guest, control)
            })
            .await;
        (client.unwrap(), guest, control)
    }
}

async fn says(guest: &quinn::Connection, bytes: &[u8]) -> quinn::SendStream {
    let mut stream = guest.open_uni().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// The code with which our client closed.
async fn closed_with(guest: &quinn::Connection) -> ErrorCode {
    match soon(guest.closed()).await {
        quinn::ConnectionError::ApplicationClosed(closed) => {
            ErrorCode::from_wire(closed.error_code.into_inner())
        }
        other => panic!("the client did not close: {other:?}"),
    }
}

/// That the client is still of use: it asks, and the server answers.
async fn lives(client: &Connection, guest: &quinn::Connection) {
    let asking = client.call::<_, u8>("echo/1", "", &7_u8);
    let answering = async {
        let (mut send, mut receive) = guest.accept_bi().await.unwrap();
        receive.read_to_end(1 << 16).await.unwrap();
        let answer = frames(&[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])]);
        send.write_all(&answer).await.unwrap();
        send.finish().unwrap();
        send
    };
    let (answer, _send) = soon(async { tokio::join!(asking, answering) }).await;
    assert_eq!(answer.unwrap(), 7);
}

#[tokio::test]
async fn a_quic_server_that_is_silent_after_the_handshake_is_given_up() {
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let (client, code) = Evil::new().meets(limits, |guest| async move { closed_with(&guest).await }).await;
    assert!(client.is_err());
    assert_eq!(code, ErrorCode::HANDSHAKE_TIMEOUT);
}

#[tokio::test]
async fn a_quic_server_that_closes_at_once_is_an_error_with_its_code_and_no_panic() {
    for code in [0_u32, ErrorCode::REVOKED.0, ErrorCode::LIMIT_EXCEEDED.0, u32::MAX] {
        let hostile = "\u{1b}[2J\u{202e}gone".repeat(20);
        let (client, ()) = Evil::new()
            .meets(Limits::default(), |guest| {
                guest.close(code.into(), hostile.as_bytes());
                std::future::ready(())
            })
            .await;
        let error = client.unwrap_err();
        assert!(!error.to_string().contains(['\u{1b}', '\u{202e}']), "{error:?}");
        // A server that hangs up before it has said who it is may not have been reached at all.
        assert!(matches!(error, Error::Closed(_) | Error::Unreachable(_)), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn a_quic_server_that_says_hello_wrongly_loses_the_client_with_the_precise_code() {
    let good = hello().encode();
    let cases: [(&str, Vec<u8>, ErrorCode); 5] = [
        ("no CBOR", control(&[(FrameType::HELLO, &[0xff])]), ErrorCode::MESSAGE_ERROR),
        ("GOAWAY before it", control(&[(FrameType::GOAWAY, &[0xa0])]), ErrorCode::HELLO_MISSING),
        (
            "twice",
            control(&[(FrameType::HELLO, &good), (FrameType::HELLO, &good)]),
            ErrorCode::FRAME_UNEXPECTED,
        ),
        (
            "an OPEN behind it",
            control(&[(FrameType::HELLO, &good), (FrameType::OPEN, &Open::new("x/1", "").encode())]),
            ErrorCode::FRAME_UNEXPECTED,
        ),
        (
            "a length of 2^61",
            [&[0x00, 0x01][..], &[0xe0, 0, 0, 0, 0, 0, 0, 0]].concat(),
            ErrorCode::LIMIT_EXCEEDED,
        ),
    ];
    for (what, bytes, expected) in cases {
        let evil = Evil::new();
        let deeds = |guest: quinn::Connection| async move {
            let _control = says(&guest, &bytes).await;
            closed_with(&guest).await
        };
        let (_, code) = evil.meets(Limits::default(), deeds).await;
        assert_eq!(code, expected, "{what}");
    }
}

#[tokio::test]
async fn a_quic_server_that_ends_doubles_or_resets_the_control_stream_loses_the_client() {
    for (what, expected) in [
        ("ends", ErrorCode::CONTROL_STREAM_CLOSED),
        ("resets", ErrorCode::CONTROL_STREAM_CLOSED),
        ("doubles", ErrorCode::PROTOCOL_VIOLATION),
    ] {
        let (client, guest, mut control) = Evil::new().greets().await;
        let mut _second = None;
        match what {
            "ends" => control.finish().unwrap(),
            "resets" => control.reset(7_u8.into()).unwrap(),
            _ => _second = Some(says(&guest, &[0x00]).await),
        }
        assert_eq!(closed_with(&guest).await, expected, "{what}");
        assert!(matches!(soon(client.closed()).await, Error::Closed(_)));
    }
}

#[tokio::test]
async fn quic_streams_of_unknown_types_are_stopped_one_by_one_and_nothing_else_happens() {
    let (client, guest, _control) = Evil::new().greets().await;
    // As many at once as are permitted, again and again.
    for nth in 0..100_u64 {
        let mut bytes = Vec::new();
        hikyaku_wire::varint::encode(0x1f * nth + 0x21, &mut bytes);
        bytes.extend([7; 1000]);
        let mut stream = soon(guest.open_uni()).await.unwrap();
        // It may be stopped in the middle.
        let _ = stream.write_all(&bytes).await;
        let stopped = soon(stream.stopped()).await.unwrap().expect("nobody reads it");
        assert_eq!(ErrorCode::from_wire(stopped.into_inner()), ErrorCode::UNKNOWN_STREAM_TYPE);
        // What was stopped is reset, or it would keep its place.
        let _ = stream.reset(0_u8.into());
    }
    assert_ne!(StreamType::CONTROL.0, 0x21);
    lives(&client, &guest).await;
}

#[tokio::test]
async fn a_flood_of_quic_datagrams_for_nobody_is_dropped_and_counted() {
    let (client, guest, _control) = Evil::new().greets().await;
    let payload = [vec![0x40, 0x64], vec![7; 900]].concat();
    let flood = async {
        for _ in 0..20_000 {
            guest.send_datagram_wait(payload.clone().into()).await.unwrap();
        }
    };
    soon(flood).await;
    soon(async {
        while client.datagrams_dropped() < 1_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lives(&client, &guest).await;
    // One that cannot be read at all ends the connection.
    guest.send_datagram(vec![0x40].into()).unwrap();
    assert_eq!(closed_with(&guest).await, ErrorCode::DATAGRAM_ERROR);
}

#[tokio::test]
async fn an_exchange_that_a_quic_server_opens_with_a_client_that_answers_nothing_is_told_so() {
    let (client, guest, _control) = Evil::new().greets().await;
    let (mut send, mut receive) = soon(guest.open_bi()).await.unwrap();
    send.write_all(&exchange("files/1", &[(FrameType::END, &[])])).await.unwrap();
    send.finish().unwrap();
    let heard = soon(receive.read_to_end(1 << 16)).await.unwrap();
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(heard.into());
    let Ok(Some(Piece::Frame { ty: FrameType::ERROR, payload })) = decoder.next() else {
        panic!("no ERROR: {decoder:?}");
    };
    let failure = hikyaku_wire::exchange::Failure::decode(&payload).unwrap();
    assert_eq!(failure.code, ErrorCode::UNKNOWN_PROTOCOL);
    lives(&client, &guest).await;
}

/// Its answer is not an answer: every way in which a stream can lie.
#[tokio::test]
async fn answers_over_quic_that_lie_fail_their_exchange_or_the_connection_and_nothing_hangs() {
    let message = |item: &[u8]| frames(&[(FrameType::MESSAGE, item), (FrameType::END, &[])]);
    let cases = [
        ("nothing", vec![], ErrorCode::TRUNCATED),
        ("no END", frames(&[(FrameType::MESSAGE, &[0x07])]), ErrorCode::TRUNCATED),
        ("half a frame", vec![0x11, 0x05, 0x07], ErrorCode::TRUNCATED),
        ("off the profile", message(&[0x9f, 0xff]), ErrorCode::INVALID_MESSAGE),
        ("another shape", message(&[0x61, 0x61]), ErrorCode::INVALID_MESSAGE),
        (
            "an OPEN",
            frames(&[(FrameType::OPEN, &Open::new("x/1", "").encode())]),
            ErrorCode::FRAME_UNEXPECTED,
        ),
        ("something behind END", [message(&[0x07]), message(&[0x07])].concat(), ErrorCode::FRAME_UNEXPECTED),
    ];
    for (what, answer, expected) in cases {
        let (client, guest, _control) = Evil::new().greets().await;
        let asking = client.call::<_, u8>("echo/1", "", &7_u8);
        let answering = async {
            let (mut send, mut receive) = guest.accept_bi().await.unwrap();
            receive.read_to_end(1 << 16).await.unwrap();
            // The client may have heard enough.
            let _ = send.write_all(&answer).await;
            let _ = send.finish();
            send
        };
        let (answer, _send) = soon(async { tokio::join!(asking, answering) }).await;
        let error = answer.expect_err(what);
        assert_eq!(error.code(), expected, "{what}: {error:?}");
    }
}
