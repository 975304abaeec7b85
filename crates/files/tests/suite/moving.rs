//! A transfer that goes on from elsewhere: another address of the sender's, another transport.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hikyaku::{Admission, Connection, Exchange, Identity, KeyId, Peer, Router, Server, Transport, connect};
use hikyaku_files::rooms::Owner;
use hikyaku_files::{Destination, FilesClient, Outgoing, Progress};
use tokio::net::UdpSocket;

use crate::resuming::cut_at;
use crate::world::*;

const LEN: usize = 24 * 1024 * 1024 + 12_345;
/// Where somebody is whose network has changed.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Who came, as the server saw it.
type Seen = Arc<Mutex<Vec<(Transport, IpAddr)>>>;

/// The world's files on a network.
async fn serve(world: &World) -> (Server<Owner>, Seen) {
    let (files, seen) = (world.server.clone(), Seen::default());
    let router =
        Router::new().route("files/1", move |exchange: Exchange<Owner>| files.clone().handle(exchange));
    let noted = seen.clone();
    let server = Server::builder(Identity::generate().unwrap()).authorize(move |peer: Peer| {
        noted.lock().unwrap().extend(peer.address.map(|address| (peer.transport, address.ip())));
        async { Ok(Admission::Member(ADA)) }
    });
    (server.router(router).start().await.unwrap(), seen)
}

/// An address whose datagrams reach the server as if they came from [`ELSEWHERE`].
async fn moved(server: SocketAddr) -> SocketAddr {
    let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let far = UdpSocket::bind((ELSEWHERE, 0)).await.unwrap();
    far.connect(server).await.unwrap();
    let address = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut out, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((length, from)) = near.recv_from(&mut out) => {
                    client = Some(from);
                    let _ = far.send(&out[..length]).await;
                }
                Ok(length) = far.recv(&mut back) => {
                    if let Some(client) = client {
                        let _ = near.send_to(&back[..length], client).await;
                    }
                }
            }
        }
    });
    address
}

async fn dial(address: SocketAddr, pin: KeyId, transport: Transport) -> Connection {
    connect(address, pin).transport(transport).await.unwrap()
}

//= S5.16 (test)
#[tokio::test]
async fn an_upload_goes_on_over_another_transport_from_another_address() {
    let world = World::new();
    let (server, seen) = serve(&world).await;
    let (path, data) = world.file("f", LEN);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();

    let connection = dial(server.address(), server.id(), Transport::Tcp).await;
    let (progress, view) = Progress::new();
    let cut = tokio::spawn(cut_at(connection.clone(), view, 20 << 20));
    let error = FilesClient::new(connection).send_file(&outgoing, &progress).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    drop(progress);
    cut.await.unwrap();

    let connection = dial(moved(server.address()).await, server.id(), Transport::Quic).await;
    let (progress, view) = Progress::new();
    let receipt = FilesClient::new(connection).send_file(&outgoing, &progress).await.unwrap();
    assert_eq!(receipt.root.0, *blake3::hash(&data).as_bytes());
    assert!(view.borrow().from >= 2 << 20, "went on from {}", view.borrow().from);
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), data);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(*seen.lock().unwrap(), [(Transport::Tcp, here), (Transport::Quic, ELSEWHERE.into())]);
}

//= S5.16 (test)
#[tokio::test]
async fn a_download_goes_on_over_another_transport_from_another_address() {
    let world = World::new();
    let (server, seen) = serve(&world).await;
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let destination = Destination::new(world.path("into"));

    let connection = dial(moved(server.address()).await, server.id(), Transport::Quic).await;
    let (progress, view) = Progress::new();
    let cut = tokio::spawn(cut_at(connection.clone(), view, 12 << 20));
    let error = FilesClient::new(connection).get_file(&event(1), &destination, &progress).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    cut.await.unwrap();

    let connection = dial(server.address(), server.id(), Transport::Tcp).await;
    let (progress, view) = Progress::new();
    FilesClient::new(connection).get_file(&event(1), &destination, &progress).await.unwrap();
    assert!(view.borrow().from >= 12 << 20, "went on from {}", view.borrow().from);
    assert_eq!(std::fs::read(world.path("into/f")).unwrap(), data);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(*seen.lock().unwrap(), [(Transport::Quic, ELSEWHERE.into()), (Transport::Tcp, here)]);
}
