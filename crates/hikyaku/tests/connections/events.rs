//! Events: what happens is told once, with its fields, on both sides.

use std::time::Duration;

use hikyaku::events::{By, ClosedFrom, Event, Log, Name, Refusal};
use hikyaku::{Admission, Error, ErrorCode, Exchange, Failure, Identity, Limits, Router, Server, Transport};

use super::common::echo;

/// A server and a client whose events are kept.
async fn observed(transport: Transport, router: Router) -> (Server, hikyaku::Connection, Log, Log) {
    let (of_server, of_client) = (Log::default(), Log::default());
    let identity = Identity::generate().unwrap();
    let server =
        Server::builder(identity).observe(of_server.observer()).router(router).start().await.unwrap();
    let client = hikyaku::connect(server.address(), server.id())
        .transport(transport)
        .observe(of_client.observer())
        .await
        .unwrap();
    (server, client, of_server, of_client)
}

#[tokio::test]
async fn both_sides_tell_of_one_handshake_one_hello_and_one_close() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (server, client, of_server, of_client) = observed(transport, Router::new()).await;
        of_server.until(|event| matches!(event, Event::HelloReceived { .. })).await;
        let mut numbers = std::collections::HashSet::new();
        for log in [&of_server, &of_client] {
            for record in log.records() {
                if let Event::HandshakeCompleted { transport: over, group, .. } = &record.event {
                    assert_eq!(*over, transport);
                    assert_eq!(group.as_ref().map(|group| group.as_str()), Some("X25519MLKEM768"));
                    assert!(numbers.insert(record.connection), "one connection, one handshake");
                }
                if let Event::HelloReceived { agent, .. } = &record.event {
                    assert!(agent.as_str().starts_with("hikyaku/"), "{agent}");
                }
            }
        }
        assert_eq!(numbers.len(), 2);
        assert!(client.negotiated().is_some_and(hikyaku::Negotiated::is_post_quantum));
        client.close().await;
        let closed = |by: ClosedFrom| move |event: &Event| matches!(event, Event::ConnectionClosed { by: of, code: ErrorCode::NO_ERROR, .. } if *of == by);
        of_server.until(closed(ClosedFrom::Remote)).await;
        of_client.until(closed(ClosedFrom::Local)).await;
        for (counts, side) in [(server.counts(), "server"), (client.counts(), "client")] {
            for name in [Name::HandshakeCompleted, Name::HelloReceived, Name::ConnectionClosed] {
                assert_eq!(counts.of(name), 1, "{name} of the {side}");
            }
        }
    }
}

/// Answers well, with a failure, never, and by breaking.
fn moody() -> Router {
    Router::new()
        .route("echo/1", echo)
        .route("no/1", async |_: Exchange| Err(Failure::new(ErrorCode::DENIED, "no").into()))
        .route("never/1", async |_: Exchange| std::future::pending().await)
        .route("broken/1", async |_: Exchange| panic!("on purpose"))
}

#[tokio::test]
async fn every_exchange_is_opened_once_and_ends_once_the_way_its_answer_did() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (server, client, of_server, of_client) = observed(transport, moody()).await;
        let _: u8 = client.call("echo/1", "a", &7_u8).await.unwrap();
        let refused = client.call::<_, u8>("no/1", "", &7_u8).await;
        assert!(matches!(refused, Err(Error::Failure(_))));
        let broken = client.call::<_, u8>("broken/1", "", &7_u8).await;
        assert!(matches!(broken, Err(Error::Failure(_))));
        let mut given_up = client.open("never/1", "").await.unwrap();
        given_up.flush().await.unwrap();
        of_server.until_count(4, |event| matches!(event, Event::ExchangeOpened { .. })).await;
        drop(given_up);
        for (log, side) in [(&of_server, By::Peer), (&of_client, By::Us)] {
            let cancelled = |event: &Event| matches!(event, Event::ExchangeCancelled { .. });
            log.until(cancelled).await;
            let count = |wanted: &dyn Fn(&Event) -> bool| log.count(wanted);
            assert_eq!(count(&|event| matches!(event, Event::ExchangeOpened { by, .. } if *by == side)), 4);
            assert_eq!(count(&|event| matches!(event, Event::ExchangeEnded { by, .. } if *by == side)), 1);
            let failed = |wanted: ErrorCode| {
                count(&|event| matches!(event, Event::ExchangeFailed { code, .. } if *code == wanted))
            };
            assert_eq!((failed(ErrorCode::DENIED), failed(ErrorCode::INTERNAL)), (1, 1));
            let code = |event: &Event| {
                matches!(event, Event::ExchangeCancelled { code: Some(ErrorCode::CANCELLED), .. })
            };
            assert_eq!((count(&cancelled), count(&code)), (1, 1), "{:?}", log.records());
        }
        assert_eq!(server.counts().of(Name::HandlerPanicked), 1);
        assert_eq!(server.counts().of(Name::HandlerFailed), 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_turned_away_says_why_exactly_once() {
    let refuse = |code: ErrorCode| {
        let log = Log::default();
        let builder = Server::builder(Identity::generate().unwrap())
            .authorize(move |_| async move { Err::<Admission<()>, _>(Failure::new(code, "not you")) })
            .observe(log.observer());
        (log, builder)
    };
    for transport in [Transport::Tcp, Transport::Quic] {
        for (code, reason) in [(ErrorCode::DENIED, Refusal::Denied), (ErrorCode::REVOKED, Refusal::Revoked)] {
            let (log, builder) = refuse(code);
            let server = builder.start().await.unwrap();
            hikyaku::connect(server.address(), server.id()).transport(transport).await.unwrap_err();
            log.until(|event| matches!(event, Event::ConnectionRefused { .. })).await;
            let such = |event: &Event| matches!(event, Event::ConnectionRefused { reason: of, peer: Some(_), .. } if *of == reason);
            assert_eq!(log.count(such), 1, "{:?}", log.records());
            assert_eq!(server.counts().of(Name::ConnectionRefused), 1);
            assert_eq!(server.counts().of(Name::ConnectionAccepted), 0);
        }
    }
}

#[tokio::test]
async fn a_limit_that_is_reached_tells_its_name_its_value_and_whose_it_is() {
    let log = Log::default();
    let limits = Limits { max_connections: 0, ..Limits::default() };
    let builder = Server::builder(Identity::generate().unwrap()).limits(limits).observe(log.observer());
    let server = builder.start().await.unwrap();
    hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp).await.unwrap_err();
    log.until(|event| matches!(event, Event::ConnectionRefused { reason: Refusal::Connections, .. })).await;
    let reached = Event::LimitReached { limit: "max_connections", value: 0, owner: By::Us };
    assert_eq!(log.count(|event| *event == reached), 1);

    // A caller that says nothing.
    let log = Log::default();
    let limits = Limits { handshake_timeout: Duration::from_millis(50), ..Limits::default() };
    let builder = Server::builder(Identity::generate().unwrap()).limits(limits).observe(log.observer());
    let server = builder.start().await.unwrap();
    let _silent = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    log.until(|event| matches!(event, Event::ConnectionRefused { reason: Refusal::HandshakeTimeout, .. }))
        .await;
}

#[tokio::test]
async fn a_race_tells_who_started_who_won_and_who_lost() {
    let log = Log::default();
    let server = Server::builder(Identity::generate().unwrap()).start().await.unwrap();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let both = format!("{nobody},{}", server.address());
    hikyaku::connect(both, server.id()).transport(Transport::Tcp).observe(log.observer()).await.unwrap();
    assert_eq!(log.count(|event| matches!(event, Event::TransportStarted { .. })), 2);
    let lost = |event: &Event| matches!(event, Event::TransportLost { remote, error: Some(_), .. } if *remote == nobody);
    assert_eq!(log.count(lost), 1, "{:?}", log.records());
    let won =
        |event: &Event| matches!(event, Event::TransportWon { remote, .. } if *remote == server.address());
    assert_eq!(log.count(won), 1, "{:?}", log.records());
}
