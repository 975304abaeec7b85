//! A close over QUIC reaches the peer, however full the connection is. Between the two stands a relay that can swallow
//! what the server says: then nothing that the client has sent is ever acknowledged.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hikyaku::{ClosedBy, Connection, Error, ErrorCode, Limits, Transport};
use tokio::net::UdpSocket;

use super::raw::*;

/// Carries the datagrams of one QUIC client to a server and back.
struct Relay {
    address: SocketAddr,
    swallows_answers: Arc<AtomicBool>,
    /// Datagrams that went to the server.
    carried: Arc<AtomicUsize>,
}

impl Relay {
    async fn towards(server: SocketAddr) -> Self {
        let any_port = SocketAddr::new(server.ip(), 0);
        let near = UdpSocket::bind(any_port).await.unwrap();
        let far = UdpSocket::bind(any_port).await.unwrap();
        far.connect(server).await.unwrap();
        let relay = Self {
            address: near.local_addr().unwrap(),
            swallows_answers: Arc::default(),
            carried: Arc::default(),
        };
        let (swallow, carried) = (relay.swallows_answers.clone(), relay.carried.clone());
        tokio::spawn(async move {
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = None;
            loop {
                tokio::select! {
                    // A probe for a closed port has one byte, and is no client.
                    Ok((length, from)) = near.recv_from(&mut there) => {
                        if length == 1 {
                            continue;
                        }
                        client = Some(from);
                        carried.fetch_add(1, Ordering::Relaxed);
                        let _ = far.send(&there[..length]).await;
                    }
                    Ok(length) = far.recv(&mut back) => {
                        if let Some(client) = client.filter(|_| !swallow.load(Ordering::Relaxed)) {
                            let _ = near.send_to(&back[..length], client).await;
                        }
                    }
                }
            }
        });
        relay
    }

    /// Waits until the client says nothing more: its congestion window is full.
    async fn silence(&self) {
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, self.carried.load(Ordering::Relaxed))
            != self.carried.load(Ordering::Relaxed)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// quinn-proto 0.11.19 never sends it: see `transport/quic/congestion.rs`.
#[tokio::test]
async fn a_close_over_quic_is_said_although_the_congestion_window_is_full() {
    let server = echo_server(Limits::default()).await;
    let relay = Relay::towards(server.address()).await;
    let connect = hikyaku::connect(relay.address, server.id()).transport(Transport::Quic);
    let client: Connection = soon(connect.into_future()).await.unwrap();
    let of_server = server.connections().pop().unwrap();
    let mut bulk = client.open("deaf/1", "").await.unwrap();
    bulk.flush().await.unwrap();
    relay.silence().await;
    relay.swallows_answers.store(true, Ordering::Relaxed);
    soon(bulk.send_data(vec![0; 1 << 20].into())).await.unwrap();
    relay.silence().await;
    // The exchange is given up, which would be acknowledged; the close is not, and needs no window.
    drop(bulk);
    client.abort(ErrorCode::NO_ERROR, "goodbye");
    let Error::Closed(closed) = soon(of_server.closed()).await else { panic!("it was closed") };
    assert_eq!(
        (closed.by, closed.code, closed.reason.as_str()),
        (ClosedBy::Peer, ErrorCode::NO_ERROR, "goodbye")
    );
}

/// Connections end in the middle of what they do, again and again, and the server hears of every end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_many_hasty_closes_over_quic_is_heard() {
    let server = echo_server(Limits::default()).await;
    for nth in 0..40_usize {
        let connect = hikyaku::connect(server.address(), server.id()).transport(Transport::Quic);
        let client: Connection = soon(connect.into_future()).await.unwrap();
        let mut exchange = client.open("echo/1", "").await.unwrap();
        exchange.send(&nth).await.unwrap();
        if nth.is_multiple_of(2) {
            assert_eq!(soon(exchange.receive::<usize>()).await.unwrap(), nth);
        }
        if nth.is_multiple_of(3) {
            exchange.send_data(vec![0; 100_000].into()).await.unwrap();
        }
        drop(exchange);
        client.abort(ErrorCode::NO_ERROR, "");
    }
    soon(async {
        while !server.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The clock stands still as long as anybody has something to do: whoever waits for nothing but time would move it on.
#[tokio::test(start_paused = true)]
async fn whoever_closes_over_quic_waits_until_the_peer_has_heard_and_no_longer() {
    for drains in [false, true] {
        let server = echo_server(Limits::default()).await;
        let connect = hikyaku::connect(server.address(), server.id()).transport(Transport::Quic);
        let client: Connection = soon(connect.into_future()).await.unwrap();
        assert_eq!(client.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
        let of_server = server.connections().pop().unwrap();
        let begun = tokio::time::Instant::now();
        if drains {
            client.drain().await
        } else {
            client.close().await
        }
        // A probe timeout is longer than the 25 ms for which an acknowledgement may be put off; three would be waited for.
        assert!(begun.elapsed() < Duration::from_millis(3 * 25), "{:?}", begun.elapsed());
        assert!(of_server.is_closed(), "the peer has heard");
    }
}
