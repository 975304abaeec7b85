//! How connections end: drain, close, loss; and that nothing of them stays.

use std::sync::Arc;
use std::time::Duration;

use hikyaku::{
    Closed, ClosedBy, Connection, Error, ErrorCode, Exchange, Identity, Limits, Result, Router, Server,
    Transport,
};
use hikyaku_mux::Dir;
use hikyaku_wire::exchange::Goaway;
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
use tokio::sync::Notify;

use super::raw::*;
use crate::common::{ALL, pair, pair_with};

/// Longer than any test may take: who waits for it, hangs.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn how_it_ended(connection: &Connection) -> Closed {
    match soon(connection.closed()).await {
        Error::Closed(closed) => closed,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_server_with_idle_clients_drains_at_once() {
    for transport in ALL {
        let common = pair(transport, echo_router()).await;
        common.client.call::<_, u8>("echo/1", "", &7_u8).await.unwrap();
        soon(common.server.drain(FOR_EVER)).await;
        let closed = how_it_ended(&common.client).await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Us, ErrorCode::NO_ERROR), "{transport}");
        while !common.server.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn both_sides_may_drain_at_once() {
    for transport in ALL {
        let common = pair(transport, echo_router()).await;
        let of_server = common.server.connections().pop().unwrap();
        soon(async { tokio::join!(common.client.drain_within(FOR_EVER), of_server.drain_within(FOR_EVER)) })
            .await;
        assert!(common.client.is_closed() && of_server.is_closed(), "{transport}");
    }
}

#[tokio::test]
async fn a_client_may_drain_and_its_open_exchange_is_finished() {
    async fn slow(mut exchange: Exchange) -> Result<()> {
        // The answer is given when the other side is leaving already.
        let number: u8 = exchange.receive().await?;
        exchange.connection().draining().await;
        exchange.reply(&number).await
    }
    for transport in ALL {
        let common = pair(transport, Router::new().route("slow/1", slow)).await;
        let mut exchange = common.client.open("slow/1", "").await.unwrap();
        exchange.send(&7_u8).await.unwrap();
        let client = common.client.clone();
        let draining = tokio::spawn(async move { client.drain_within(FOR_EVER).await });
        assert_eq!(soon(exchange.receive::<u8>()).await.unwrap(), 7, "{transport}");
        soon(exchange.ended()).await.unwrap();
        drop(exchange);
        soon(draining).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_has_just_accepted_a_connection_drains_it_too() {
    let server = echo_server(Limits::default()).await;
    for _ in 0..20 {
        let connecting = tokio::spawn(hikyaku::connect(server.address(), server.id()).into_future());
        tokio::task::yield_now().await;
        drop(connecting);
    }
    soon(server.drain(Duration::from_secs(2))).await;
    assert!(server.connections().iter().all(Connection::is_closed));
    let late = hikyaku::connect(server.address(), server.id()).timeout(Duration::from_millis(500)).await;
    assert!(late.is_err());
}

/// GOAWAY from the peer's control stream, whose HELLO was heard already.
async fn goaway_of<S>(raw: &mut Raw<S>) -> Goaway
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let control = raw.control.expect("HELLO was heard");
    let mut heard = Vec::new();
    raw.until(|mux| {
        while let Ok(Some(bytes)) = mux.read(control, 1024) {
            heard.extend_from_slice(&bytes);
        }
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(heard.clone().into());
        match decoder.next() {
            Ok(Some(Piece::Frame { ty: FrameType::GOAWAY, payload })) => {
                Some(Goaway::decode(&payload).unwrap())
            }
            _ => None,
        }
    })
    .await
}

//= S3.50 (test)
//= S3.70 (test)
//= S3.71 (test)
//= S3.73 (test)
#[tokio::test]
async fn a_draining_side_says_goaway_refuses_what_is_new_and_closes_when_the_time_is_over() {
    let server = echo_server(Limits::default()).await;
    let mut raw = Raw::greeted(server.address()).await;
    let old = raw.say(Dir::Bi, &exchange("echo/1", &[(FrameType::MESSAGE, &[0x07])])).await;
    raw.until(|mux| mux.read(old, 1).ok()).await;
    let draining = tokio::spawn(async move { server.drain(Duration::from_secs(2)).await });
    let goaway = goaway_of(&mut raw).await;
    assert_eq!((goaway.code, goaway.grace_ms), (ErrorCode::GOING_AWAY, 2000));
    // What is new is refused unread, in both directions.
    let new = raw.say(Dir::Bi, &exchange("echo/1", &[])).await;
    assert_eq!(raw.hear(new).await, Err(u64::from(ErrorCode::REFUSED.0)));
    assert_eq!(raw.hear_stop(new).await, u64::from(ErrorCode::REFUSED.0));
    raw.mux.reset(new, 0);
    // What is old goes on.
    raw.say_on(old, &frames(&[(FrameType::MESSAGE, &[0x08]), (FrameType::END, &[])])).await;
    raw.mux.finish(old).unwrap();
    let rest = raw.hear(old).await.unwrap();
    assert!(rest.ends_with(&frames(&[(FrameType::MESSAGE, &[0x08]), (FrameType::END, &[])])), "{rest:x?}");
    // This peer does not close, as it should.
    assert_eq!(raw.ended().await.code, ErrorCode::GOING_AWAY);
    soon(draining).await.unwrap();
}

//= S3.72 (test)
//= S3.73 (test)
#[tokio::test]
async fn a_side_that_got_goaway_opens_nothing_and_closes_after_its_last_exchange() {
    let (connection, mut raw) = client_of_raw(Router::new(), Limits::default()).await;
    let mut last = connection.open("a/1", "").await.unwrap();
    last.finish().await.unwrap();
    let id = raw.until(|mux| mux.accept(Dir::Bi)).await;
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 60_000, message: String::new() }.encode();
    raw.say_on(raw.own_control.unwrap(), &frames(&[(FrameType::GOAWAY, &goaway)])).await;
    soon(connection.draining()).await;
    assert!(matches!(connection.open("a/1", "").await, Err(Error::Refused)));
    raw.ping().await;
    assert_eq!((raw.mux.accept(Dir::Bi), raw.mux.close_reason()), (None, None));
    raw.say_on(id, &frames(&[(FrameType::END, &[])])).await;
    raw.mux.finish(id).unwrap();
    raw.flush().await;
    soon(last.ended()).await.unwrap();
    drop(last);
    assert_eq!(raw.ended().await.code, ErrorCode::NO_ERROR);
}

#[tokio::test]
async fn somebody_who_waits_for_a_free_stream_learns_of_goaway() {
    let limits = Limits { max_exchanges: 1, ..Limits::default() };
    let common = pair_with(Transport::Local, echo_router(), Router::new(), limits).await;
    let mut first = common.client.open("echo/1", "").await.unwrap();
    first.flush().await.unwrap();
    let client = common.client.clone();
    let waiting = tokio::spawn(async move { client.open("echo/1", "").await.map(drop) });
    tokio::task::yield_now().await;
    let of_server = common.server.connections().pop().unwrap();
    let draining = tokio::spawn(async move { of_server.drain_within(FOR_EVER).await });
    assert!(matches!(soon(waiting).await.unwrap(), Err(Error::Refused)));
    first.finish().await.unwrap();
    soon(first.ended()).await.unwrap();
    drop(first);
    soon(draining).await.unwrap();
}

#[tokio::test]
async fn a_clients_last_handle_closes_its_connection() {
    for transport in ALL {
        let common = pair(transport, echo_router()).await;
        let of_server = common.server.connections().pop().unwrap();
        let (clone, exchange) = (common.client.clone(), common.client.open("echo/1", "").await.unwrap());
        drop(common.client);
        drop(clone);
        assert!(!of_server.is_closed(), "{transport}: an exchange holds it");
        drop(exchange);
        let closed = how_it_ended(&of_server).await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Peer, ErrorCode::NO_ERROR), "{transport}");
    }
}

//= S6.7 (test)
#[tokio::test]
async fn closing_a_peer_closes_all_of_its_connections_and_nobody_elses() {
    let server = echo_server(Limits::default()).await;
    let (revoked, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let connect = async |identity: &Identity, transport| {
        hikyaku::connect(server.address(), server.id()).identity(identity).transport(transport).await.unwrap()
    };
    let of_revoked = [connect(&revoked, Transport::Tcp).await, connect(&revoked, Transport::Quic).await];
    let of_other = [connect(&other, Transport::Tcp).await, connect(&other, Transport::Quic).await];
    assert_eq!(server.close_peer(revoked.id(), ErrorCode::REVOKED, "the device was revoked"), 2);
    for connection in &of_revoked {
        let closed = how_it_ended(connection).await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Peer, ErrorCode::REVOKED));
        assert_eq!(closed.reason, "the device was revoked");
    }
    for connection in &of_other {
        assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    }
    assert_eq!(server.close_peer(revoked.id(), ErrorCode::REVOKED, "again"), 0);
}

//= S6.7 (test)
#[tokio::test]
async fn a_device_revoked_while_it_is_looked_up_does_not_slip_in() {
    let (looking, revoked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (looking.clone(), revoked.clone());
    let server = Server::builder(Identity::generate().unwrap())
        .authorize(move |_| {
            let (tell, wait) = (tell.clone(), wait.clone());
            async move {
                tell.notify_one();
                // It was found; then it was revoked; then the answer arrives.
                wait.notified().await;
                Ok(hikyaku::Admission::Member(()))
            }
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    let device = Identity::generate().unwrap();
    let connect = hikyaku::connect(server.address(), server.id()).identity(&device).transport(Transport::Tcp);
    let connecting = tokio::spawn(connect.into_future());
    soon(looking.notified()).await;
    assert_eq!(server.close_peer(device.id(), ErrorCode::REVOKED, "revoked"), 1);
    revoked.notify_one();
    assert_eq!(soon(connecting).await.unwrap().unwrap_err().code(), ErrorCode::REVOKED);
    while !server.connections().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Waits until as many tasks live as did before, and no connection.
async fn baseline(server: &Server, tasks: usize) {
    let metrics = tokio::runtime::Handle::current().metrics();
    soon(async {
        while !server.connections().is_empty() || metrics.num_alive_tasks() > tasks {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Begins exchanges of every kind, then goes without a word.
async fn use_and_kill(client: Connection, nth: usize) {
    let mut echo = client.open("echo/1", "").await.unwrap();
    echo.send(&nth).await.unwrap();
    let mut deaf = client.open("deaf/1", "").await.unwrap();
    let datagrams = deaf.datagrams();
    deaf.flush().await.unwrap();
    let _ = datagrams.send(b"to be forgotten");
    if nth.is_multiple_of(2) {
        let _: usize = echo.receive().await.unwrap();
    }
    if nth.is_multiple_of(3) {
        client.abort(ErrorCode::NO_ERROR, "");
    }
}

#[tokio::test]
async fn two_thousand_connections_that_come_and_are_killed_leave_nothing_behind() {
    let server = echo_server(Limits::default()).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for nth in 0..2000 {
        let (client, io) = tokio::io::duplex(4096);
        server.serve_io(io, Key::new().id(), ());
        let client = hikyaku::local::connect(client, Router::new(), Limits::default()).await.unwrap();
        use_and_kill(client, nth).await;
    }
    baseline(&server, tasks).await;
}

#[tokio::test]
async fn two_hundred_tcp_connections_that_are_cut_leave_nothing_behind() {
    let server = echo_server(Limits::default()).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for nth in 0..200 {
        let connect = hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp);
        use_and_kill(connect.await.unwrap(), nth).await;
        // And one that is not even a proper end: the socket goes in the middle.
        let mut raw = Raw::greeted(server.address()).await;
        raw.say(Dir::Bi, &exchange("deaf/1", &[(FrameType::MESSAGE, &[0x07])])).await;
        drop(raw);
    }
    baseline(&server, tasks).await;
}

#[tokio::test]
async fn a_peer_that_reads_nothing_does_not_keep_a_closed_connection_alive() {
    async fn pour(mut exchange: Exchange) -> Result<()> {
        loop {
            exchange.send_data(vec![0; 1 << 20].into()).await?;
        }
    }
    let router = Router::new().route("pour/1", pour);
    let server = Server::builder(Identity::generate().unwrap()).router(router).start().await.unwrap();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let key = Key::new();
    let mut raw = Raw::client(server.address(), &key).await;
    raw.greet().await;
    // Much more is on its way than the sockets hold, and this side does not read any more.
    raw.say(Dir::Bi, &exchange("pour/1", &[])).await;
    raw.hear_once().await;
    let of_server = server.connections().pop().unwrap();
    assert_eq!(server.close_peer(key.id(), ErrorCode::REVOKED, ""), 1);
    soon(of_server.close()).await;
    drop(of_server);
    baseline(&server, tasks).await;
    drop(raw);
}
