//! Bounds on how many may come: at N and at N + 1. Spec: chapter 3.8.

use std::sync::Arc;
use std::time::Duration;

use hikyaku::{Admission, Error, ErrorCode, Identity, Limits, Server, Transport};
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

#[tokio::test]
async fn max_handshakes_go_on_at_once_and_one_more_is_turned_away() {
    let limits = Limits { max_handshakes: 4, ..Limits::default() };
    let server = echo_server(limits).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(server.address()).await.unwrap());
    }
    // The fifth is closed at once; the four are waited for.
    let mut fifth = TcpStream::connect(server.address()).await.unwrap();
    assert!(matches!(soon(fifth.read(&mut [0; 16])).await, Ok(0) | Err(_)));
    let mut first = idle.remove(0);
    assert!(first.try_read(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    // One gives up, and there is room for a real one.
    first.shutdown().await.unwrap();
    let connect = || hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp);
    let connection = soon(async {
        loop {
            if let Ok(connection) = connect().await {
                break connection;
            }
        }
    })
    .await;
    assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
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
