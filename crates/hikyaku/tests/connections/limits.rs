//! Bounds on how many may come: at N and at N + 1. Spec: chapter 3.8.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::{Admission, Error, ErrorCode, Identity, Incoming, Limits, Result, Retry, Server, Transport};
use hikyaku_mux::Dir;
use hikyaku_wire::frame::FrameType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::raw::*;

//= S3.90 (test)
#[tokio::test]
async fn max_connections_are_served_and_one_more_is_told_the_limit() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let limits = Limits { max_connections: 3, ..Limits::default() };
        let server = echo_server(limits).await;
        let connect = || hikyaku::connect(server.address(), server.id()).transport(transport).into_future();
        let mut served = Vec::new();
        for _ in 0..3 {
            served.push(connect().await.unwrap());
        }
        let error = connect().await.unwrap_err();
        let Error::Closed(closed) = &error else { panic!("{transport}: {error:?}") };
        assert_eq!(closed.code, ErrorCode::LIMIT_EXCEEDED);
        assert!(closed.reason.contains("3 connections (max_connections)"), "{closed:?}");
        for connection in &served {
            assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
        }
        // One goes, and there is room again.
        served.pop().unwrap().close().await;
        while server.connections().len() == 3 {
            tokio::task::yield_now().await;
        }
        connect().await.unwrap();
    }
}

//= S3.90 (test)
#[tokio::test]
async fn one_key_gets_its_share_of_the_connections_and_others_come_in_beside_it() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let server = echo_server(Limits { max_connections_per_key: 2, ..Limits::default() }).await;
        let greedy = Identity::generate().unwrap();
        let connect = |identity: &Identity| {
            let connecting = hikyaku::connect(server.address(), server.id()).identity(identity);
            connecting.transport(transport).into_future()
        };
        let mut served = vec![connect(&greedy).await.unwrap(), connect(&greedy).await.unwrap()];
        let error = connect(&greedy).await.unwrap_err();
        let Error::Closed(closed) = &error else { panic!("{transport}: {error:?}") };
        assert_eq!(closed.code, ErrorCode::LIMIT_EXCEEDED);
        assert!(closed.reason.contains("2 connections of one key (max_connections_per_key)"), "{closed:?}");
        connect(&Identity::generate().unwrap()).await.unwrap();
        // One goes, and there is room again.
        served.pop().unwrap().close().await;
        soon(async { while connect(&greedy).await.is_err() {} }).await;
        assert_eq!(served[0].call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn those_who_are_looked_up_count_as_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(move |_| {
            let waiting = waiting.clone();
            async move {
                waiting.acquire().await.unwrap().forget();
                Ok(Admission::Member(()))
            }
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    let connect = || hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp).into_future();
    let attempts: Vec<_> = (0..8).map(|_| tokio::spawn(connect())).collect();
    // Six are turned away although nobody has been let in.
    soon(async {
        while attempts.iter().filter(|attempt| attempt.is_finished()).count() < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    gate.add_permits(8);
    let mut served = 0;
    for attempt in attempts {
        match soon(attempt).await.unwrap() {
            Ok(_) => served += 1,
            Err(error) => assert_eq!(error.code(), ErrorCode::LIMIT_EXCEEDED, "{error}"),
        }
    }
    assert_eq!(served, 2);
}

/// TCP connections that say nothing, one after the other, from `127.0.0.<last>`.
async fn silent_from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    soon(socket.connect(address)).await.unwrap()
}

/// Whether the server keeps the connection open, as far as it has said.
async fn is_turned_away(stream: &mut TcpStream) -> bool {
    matches!(soon(stream.read(&mut [0; 16])).await, Ok(0) | Err(_))
}

fn is_kept(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn max_unauthenticated_are_taken_at_once_and_one_more_is_turned_away() {
    let limits = Limits { max_unauthenticated: 4, early_drop: 4, ..Limits::default() };
    let server = echo_server(limits).await;
    let mut idle = Vec::new();
    for last in 1..=4 {
        idle.push(silent_from(last, server.address()).await);
    }
    // The fifth is closed at once; the four are waited for.
    assert!(is_turned_away(&mut silent_from(5, server.address()).await).await);
    assert!(idle.iter().all(is_kept));
    // One gives up, and there is room for a real one.
    idle.remove(0).shutdown().await.unwrap();
    let connect = || hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp);
    let connection = soon(async {
        loop {
            if let Ok(connection) = connect().await {
                break connection;
            }
        }
    })
    .await;
    // Who is known takes no such place: there is room for another one.
    assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    connect().await.unwrap();
}

#[tokio::test]
async fn one_address_gets_its_share_of_the_places_and_others_come_in_beside_it() {
    let limits = Limits { max_unauthenticated_per_network: 2, ..Limits::default() };
    let server = echo_server(limits).await;
    let flood = [silent_from(9, server.address()).await, silent_from(9, server.address()).await];
    assert!(is_turned_away(&mut silent_from(9, server.address()).await).await);
    assert!(flood.iter().all(is_kept));
    // Over QUIC the same address is refused as well, as soon as it is proved to be its own; the reason is told.
    let other = hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp).await.unwrap();
    assert_eq!(other.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    let closed = quic_from(9, &server).await.unwrap_err();
    let quinn::ConnectionError::ApplicationClosed(close) = &closed else { panic!("{closed:?}") };
    assert_eq!(ErrorCode::from_wire(close.error_code.into_inner()), ErrorCode::LIMIT_EXCEEDED);
    let reason = String::from_utf8_lossy(&close.reason);
    assert!(reason.contains("2 connections"), "{reason}");
    assert!(reason.contains("127.0.0.9 (max_unauthenticated_per_network)"), "{reason}");
    quic_from(8, &server).await.unwrap();
}

/// A QUIC client at `127.0.0.<last>`: how its connection ends within its first stream, if it does.
async fn quic_from(last: u8, server: &Server) -> Result<(), quinn::ConnectionError> {
    let (_endpoint, connecting) = quic_client(SocketAddr::from(([127, 0, 0, last], 0)), server);
    let connection = soon(connecting).await?;
    // The server's control stream comes only to those who were let in.
    soon(connection.accept_uni()).await.map(|_| ())
}

fn quic_client(from: SocketAddr, server: &Server) -> (quinn::Endpoint, quinn::Connecting) {
    let tls = client_tls(Some(&Key::new()), &[ALPN_QUIC]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(from).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, server.address(), "anything.example").unwrap();
    (endpoint, connecting)
}

/// Strangers hold the places of the unknown for as long as they stay: keys cost nothing.
#[tokio::test]
async fn strangers_count_as_unknown_and_members_do_not() {
    let member = Identity::generate().unwrap();
    let known = member.id();
    let limits = Limits { max_unauthenticated: 4, early_drop: 4, ..Limits::default() };
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(move |peer| async move {
            Ok(if peer.id == known { Admission::Member(()) } else { Admission::Stranger(()) })
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    let connect =
        || hikyaku::connect(server.address(), server.id()).identity(&member).transport(Transport::Tcp);
    let mut members = Vec::new();
    for _ in 0..6 {
        members.push(connect().await.unwrap());
    }
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(Raw::greeted(server.address()).await);
    }
    assert!(connect().await.is_err(), "no place is free");
    assert_eq!(members[0].call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    drop(strangers.pop());
    soon(async { while connect().await.is_err() {} }).await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_to_an_end_is_ended() {
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = echo_server(limits).await;
    let mut silent = TcpStream::connect(server.address()).await.unwrap();
    assert!(matches!(soon(silent.read(&mut [0; 16])).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_look_up_that_does_not_come_to_an_end_is_ended() {
    let limits = Limits { handshake_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(|_| std::future::pending::<Result<Admission<()>, _>>())
        .start()
        .await
        .unwrap();
    let mut raw = Raw::client(server.address(), &Key::new()).await;
    let ended = raw.ended().await;
    assert_eq!(ended.code, ErrorCode::HANDSHAKE_TIMEOUT);
    assert!(ended.reason.contains("handshake_timeout of 500ms"), "{ended:?}");
}

#[tokio::test]
async fn a_connection_on_which_nothing_happens_is_ended() {
    let limits = Limits { idle_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Without a word: there is nobody to say it to.
    let reason = raw.close_reason().await;
    assert_eq!(reason, hikyaku_mux::CloseReason::TransportEnded);
}

/// The beginning of a MESSAGE of `length` bytes, and `given` bytes of it.
fn begun(length: u16, given: usize) -> Vec<u8> {
    let content = (length - 3).to_be_bytes();
    let header = [0x11, 0x80, 0x00, (length >> 8) as u8, length as u8, 0x59, content[0], content[1]];
    [&header[..], &vec![0; given - 3]].concat()
}

//= S3.93 (test)
#[tokio::test]
async fn messages_that_are_not_whole_have_a_bound_over_all_exchanges_and_the_newest_is_told_to_come_again() {
    let limits = Limits { max_buffered: 64 * 1024, ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    // Two halves of 32 KiB are what there is room for.
    let start = [exchange("echo/1", &[]), begun(60_000, 32 * 1024 - 2)].concat();
    let halves = [raw.say(Dir::Bi, &start).await, raw.say(Dir::Bi, &start).await];
    raw.ping().await;
    let third = raw.ask(&start).await;
    let failure = raw.hear_failure(third).await;
    assert_eq!(failure.code, ErrorCode::BUSY);
    assert!(failure.message.contains("65536 bytes (max_buffered)"), "{}", failure.message);
    assert_eq!(failure.retry, Retry::After(Duration::from_secs(1)));
    // One of the two ends and is answered; then there is room again.
    raw.lives().await;
    raw.mux.reset(halves[0], 0);
    raw.ping().await;
    let again = exchange("echo/1", &[(FrameType::MESSAGE, &whole(32_000)), (FrameType::END, &[])]);
    let id = raw.ask(&again).await;
    assert_eq!(raw.hear(id).await.unwrap().len(), frames(&[(FrameType::MESSAGE, &whole(32_000))]).len() + 2);
}

/// An item of `length` bytes.
fn whole(length: u16) -> Vec<u8> {
    [&[0x59][..], &(length - 3).to_be_bytes(), &vec![0; usize::from(length) - 3]].concat()
}

/// Who already did something with the exchange cannot say that nothing was done.
//= S3.93 (test)
#[tokio::test]
async fn a_later_message_that_finds_no_room_ends_its_exchange_for_good() {
    let limits = Limits { max_buffered: 64 * 1024, ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    let hoard = [exchange("echo/1", &[]), begun(60_000, 58 * 1024)].concat();
    raw.say(Dir::Bi, &hoard).await;
    raw.ping().await;
    let id = raw.say(Dir::Bi, &exchange("echo/1", &[(FrameType::MESSAGE, &[0x07])])).await;
    let mut echoed = 0;
    raw.until(|mux| {
        while echoed < 3
            && let Ok(Some(bytes)) = mux.read(id, 3 - echoed)
        {
            echoed += bytes.len();
        }
        (echoed == 3).then_some(())
    })
    .await;
    raw.say_on(id, &begun(60_000, 32 * 1024)).await;
    let failure = raw.hear_failure(id).await;
    assert_eq!((failure.code, failure.retry), (ErrorCode::LIMIT, Retry::No), "{}", failure.message);
    raw.lives().await;
}

//= S3.92 (test)
#[tokio::test]
async fn a_message_that_is_never_whole_ends_its_exchange_in_time_and_no_other() {
    let limits = Limits { message_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    let id = raw.say(Dir::Bi, &[exchange("echo/1", &[]), begun(60_000, 100)].concat()).await;
    let failure = raw.hear_failure(id).await;
    assert_eq!(failure.code, ErrorCode::LIMIT);
    assert!(failure.message.contains("message_timeout of 200ms"), "{}", failure.message);
    // Even a header of one byte has that time only; between frames there is no hurry.
    let id = raw.say(Dir::Bi, &[exchange("echo/1", &[]), vec![0x11]].concat()).await;
    assert_eq!(raw.hear_failure(id).await.code, ErrorCode::LIMIT);
    raw.lives().await;
}

/// Everybody holds all that can be held, and somebody who comes later is served all the same: over both transports.
#[tokio::test]
async fn while_many_hold_all_they_can_a_late_member_is_served() {
    let limits = Limits {
        max_memory: 4 * 1024 * 1024,
        stream_window: 256 * 1024,
        connection_window: 256 * 1024,
        ..Limits::default()
    };
    let server = echo_server(limits).await;
    let mut hoarders = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::greeted(server.address()).await;
        for _ in 0..32 {
            raw.say(Dir::Bi, &[exchange("echo/1", &[]), begun(60_000, 16 * 1024)].concat()).await;
        }
        raw.ping().await;
        hoarders.push(raw);
    }
    for transport in [Transport::Tcp, Transport::Quic] {
        let late = hikyaku::connect(server.address(), server.id()).transport(transport).await.unwrap();
        assert_eq!(late.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
        // Bulk has little credit, and goes on: far more than any window goes through.
        let mut bulk = late.open("echo/1", "").await.unwrap();
        let (mut back, mut sent) = (0, 0);
        while back < 2 * 1024 * 1024 {
            if sent < 2 * 1024 * 1024 {
                bulk.send_data(vec![7; 8 * 1024].into()).await.unwrap();
                sent += 8 * 1024;
            }
            match soon(bulk.next()).await.unwrap() {
                Some(Incoming::Data(data)) => back += data.len(),
                other => panic!("{transport}: {other:?}"),
            }
        }
    }
}

//= S3.94 (test)
#[tokio::test]
async fn frames_that_carry_nothing_have_a_bound_over_all_streams_of_a_connection() {
    let limits = Limits { max_void_frames: 100, ..Limits::default() };
    let server = echo_server(limits).await;
    let mut raw = Raw::greeted(server.address()).await;
    let unknown = frames(&[(FrameType(0x21), &[])]).repeat(60);
    let empty = frames(&[(FrameType::DATA, &[])]).repeat(40);
    raw.say(Dir::Bi, &[exchange("echo/1", &[]), unknown].concat()).await;
    let other = raw.say(Dir::Bi, &[exchange("echo/1", &[]), empty].concat()).await;
    raw.ping().await;
    raw.lives().await;
    // A second later there would be a hundred more; so many at once are too many at any time.
    raw.say_on(other, &frames(&[(FrameType::DATA, &[])]).repeat(101)).await;
    let ended = raw.ended().await;
    assert_eq!(ended.code, ErrorCode::LIMIT_EXCEEDED);
    assert!(
        ended.reason.contains("100 frames in a second that carry nothing (max_void_frames)"),
        "{ended:?}"
    );
    // The control stream has no other purse.
    let mut raw = Raw::greeted(server.address()).await;
    let control = raw.own_control.unwrap();
    raw.say_on(control, &frames(&[(FrameType(0x21), &[])]).repeat(101)).await;
    assert_eq!(raw.ended().await.code, ErrorCode::LIMIT_EXCEEDED);
}
