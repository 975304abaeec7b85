//! How a client finds its server, and how a server is found: sockets, addresses, the race of transports.

use std::future::IntoFuture as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hikyaku::{Error, Identity, Limits, Prefer, Server, Transport};

use super::raw::*;

//= S1.1 (test)
#[tokio::test]
async fn port_0_takes_one_number_for_tcp_and_udp_with_one_key() {
    let server = echo_server(Limits::default()).await;
    assert_ne!(server.address().port(), 0);
    assert_eq!(server.addresses(), [server.address()]);
    for transport in [Transport::Tcp, Transport::Quic] {
        let connection = hikyaku::connect(server.address(), server.id()).transport(transport).await.unwrap();
        assert_eq!(connection.remote_address(), Some(server.address()));
        assert_eq!((connection.peer(), connection.transport()), (server.id(), transport));
    }
}

#[tokio::test]
async fn a_busy_port_is_named_whichever_protocol_has_it() {
    let listen = |address| Server::builder(Identity::generate().unwrap()).listen(address).start();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for address in [tcp.local_addr().unwrap(), udp.local_addr().unwrap()] {
        let error = listen(address).await.err().expect("the port is busy");
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.to_lowercase().contains("in use"), "{text}");
    }
}

#[tokio::test]
async fn the_unspecified_address_of_ipv6_serves_both_families() {
    let address = "[::]:0".parse().unwrap();
    let server = Server::builder(Identity::generate().unwrap()).router(echo_router()).listen(address);
    let server = server.start().await.unwrap();
    let port = server.address().port();
    for host in ["127.0.0.1", "[::1]"] {
        for transport in [Transport::Tcp, Transport::Quic] {
            let address = format!("{host}:{port}");
            let connection = hikyaku::connect(address, server.id()).transport(transport).await.unwrap();
            assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7, "{host} {transport}");
        }
    }
}

/// An address where nobody listens, neither on TCP nor on UDP.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server of `key` on TCP alone: bytes go to and fro between its port and a real one.
async fn tcp_only(server: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// The same on UDP alone, for one client.
async fn udp_only(server: SocketAddr) -> SocketAddr {
    let outside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inside.connect(server).await.unwrap();
    let address = outside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((count, from)) = outside.recv_from(&mut there) => {
                    // The client also knocks once, with one byte from another socket, to hear whether anybody is there.
                    if count > 1 {
                        client = Some(from);
                        let _ = inside.send(&there[..count]).await;
                    }
                }
                Ok(count) = inside.recv(&mut back) => {
                    let _ = outside.send_to(&back[..count], client.unwrap()).await;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn where_udp_is_blocked_tcp_is_taken_and_the_other_way_round() {
    let server = echo_server(Limits::default()).await;
    for prefer in [Prefer::Interactive, Prefer::Bulk] {
        let address = tcp_only(server.address()).await;
        let connection = hikyaku::connect(address, server.id()).prefer(prefer).await.unwrap();
        assert_eq!(connection.transport(), Transport::Tcp);
        let address = udp_only(server.address()).await;
        let connection = hikyaku::connect(address, server.id()).prefer(prefer).await.unwrap();
        assert_eq!(connection.transport(), Transport::Quic);
        assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn where_both_answer_the_preferred_one_is_taken() {
    let server = echo_server(Limits::default()).await;
    for (prefer, transport) in [(Prefer::Interactive, Transport::Quic), (Prefer::Bulk, Transport::Tcp)] {
        let connection = hikyaku::connect(server.address(), server.id()).prefer(prefer).await.unwrap();
        assert_eq!(connection.transport(), transport);
    }
}

//= S1.2 (test)
#[tokio::test]
async fn every_address_is_tried_and_named_before_a_server_is_unreachable() {
    let (first, second) = (nobody(), nobody());
    let addresses = format!("{first}, {second},no.such.host.invalid:1");
    // Nobody has to wait until the time is over: the hosts say that nobody listens.
    let connecting = soon(hikyaku::connect(addresses, Key::new().id()).timeout(PATIENCE * 2).into_future());
    let Err(Error::Unreachable(tried)) = connecting.await else { panic!("somebody answered") };
    for address in [first, second] {
        for transport in ["tcp", "quic"] {
            let named = format!("{address} over {transport}");
            assert!(tried.iter().any(|line| line.starts_with(&named)), "{named}: {tried:?}");
        }
    }
    assert!(tried.iter().any(|line| line.starts_with("no.such.host.invalid:1")), "{tried:?}");
}

//= S1.2 (test)
//= S6.11 (test)
#[tokio::test]
async fn the_host_is_found_behind_addresses_that_are_dead_or_belong_to_others() {
    let (server, other) = (echo_server(Limits::default()).await, echo_server(Limits::default()).await);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let addresses =
        format!("no.such.host.invalid:1,{},{},{},{}", nobody(), silent.1, other.address(), server.address());
    for transport in [Transport::Auto, Transport::Tcp, Transport::Quic] {
        let connect = hikyaku::connect(&addresses, server.id()).transport(transport);
        let connection = connect.await.unwrap();
        assert_eq!((connection.peer(), connection.remote_address()), (server.id(), Some(server.address())));
    }
}

#[tokio::test]
async fn somebody_else_at_one_address_is_said_even_if_another_address_is_silent() {
    let other = echo_server(Limits::default()).await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = format!("{},{}", silent.local_addr().unwrap(), other.address());
    let connect = hikyaku::connect(addresses, Key::new().id()).transport(Transport::Tcp);
    let error = connect.timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::IdentityRefused { found, .. } if found == other.id()), "{error}");
}

#[tokio::test]
async fn silence_is_unreachable_and_says_how_long_it_lasted() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let connect = hikyaku::connect(address, Key::new().id()).timeout(Duration::from_millis(500));
    let Err(Error::Unreachable(tried)) = connect.await else { panic!("somebody answered") };
    assert!(tried.iter().any(|line| line.contains("over tcp: no connection after 0.5 s")), "{tried:?}");
    let empty = hikyaku::connect(" , ", Key::new().id()).await.unwrap_err();
    assert!(empty.to_string().contains("no address was given"), "{empty}");
}
