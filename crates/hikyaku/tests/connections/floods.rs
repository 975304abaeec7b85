//! Under fire: floods of handshakes, slow peers at every state, packets with made-up addresses, no descriptors left.
//! Who was there before stays, and who is decent gets in. Spec: chapter 3.8.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::events::{Event, Log, Name, Refusal};
use hikyaku::{Admission, Connection, Identity, Limits, Server, Transport};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::raw::*;

/// A server that echoes, and what happens at it.
async fn watched(limits: Limits) -> (Server, Log) {
    let log = Log::default();
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .observe(log.observer())
        .router(echo_router())
        .start()
        .await
        .unwrap();
    (server, log)
}

async fn connect(server: &Server, transport: Transport) -> hikyaku::Result<Connection> {
    hikyaku::connect(server.address(), server.id()).transport(transport).await
}

async fn is_answered(connection: &Connection) {
    assert_eq!(soon(connection.call::<_, u8>("echo/1", "", &7_u8)).await.unwrap(), 7);
}

async fn tcp_from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, last], 0).into())?;
    socket.connect(to).await
}

fn quic_client() -> quinn::ClientConfig {
    let tls = client_tls(Some(&Key::new()), &[ALPN_QUIC]);
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// From 25 addresses a hundred open connections again and again and say nothing: three times as many as there are places.
#[tokio::test]
async fn a_flood_of_half_open_connections_keeps_nobody_out_for_long_and_disturbs_nobody_inside() {
    let limits = Limits {
        max_unauthenticated: 32,
        early_drop: 16,
        max_unauthenticated_per_network: 4,
        handshake_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let (server, log) = watched(limits).await;
    let members =
        [connect(&server, Transport::Tcp).await.unwrap(), connect(&server, Transport::Quic).await.unwrap()];
    let address = server.address();
    let flood: Vec<_> = (0..100_u8)
        .map(|nth| {
            tokio::spawn(async move {
                loop {
                    let Ok(mut stream) = tcp_from(100 + nth / 4, address).await else { continue };
                    // Until it is turned away or its time is over.
                    let _ = stream.read(&mut [0; 1]).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    let early = |event: &Event| matches!(event, Event::ConnectionRefused { reason: Refusal::EarlyDrop, .. });
    log.until(early).await;
    for member in &members {
        is_answered(member).await;
    }
    // Somebody decent tries again when turned away, over either transport.
    for transport in [Transport::Tcp, Transport::Quic] {
        let late = soon(async {
            loop {
                if let Ok(late) = connect(&server, transport).await {
                    break late;
                }
            }
        })
        .await;
        is_answered(&late).await;
    }
    for member in &members {
        is_answered(member).await;
    }
    let turned_away = log.count(|event| matches!(event, Event::ConnectionRefused { .. }));
    assert!(turned_away >= 68, "{turned_away} were turned away");
    assert!(log.count(|event| matches!(event, Event::ConnectionsTurnedAway { .. })) >= 1, "it is told aloud");
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

/// When many are at the door, QUIC clients have to prove their addresses first, and get in all the same.
#[tokio::test]
async fn when_many_are_at_the_door_a_quic_client_proves_its_address_and_gets_in() {
    let limits = Limits { max_unauthenticated: 16, early_drop: 16, ..Limits::default() };
    let (server, log) = watched(limits).await;
    drop(connect(&server, Transport::Quic).await.unwrap());
    assert_eq!(server.counts().of(Name::RetrySent), 0, "nobody has to while it is quiet");
    let mut idle = Vec::new();
    for last in 1..=8 {
        idle.push(tcp_from(last, server.address()).await.unwrap());
    }
    soon(async {
        while log.count(|event| matches!(event, Event::ConnectionStarted { .. })) < 9 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let member = connect(&server, Transport::Quic).await.unwrap();
    is_answered(&member).await;
    assert_eq!(server.counts().of(Name::RetrySent), 1);
    assert_eq!(server.counts().of(Name::ConnectionRefused), 0);
}

/// The packets with which a QUIC client of ours begins, as many as it sends before it hears anything.
async fn first_packets() -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let _connecting = endpoint.connect_with(quic_client(), sink.local_addr().unwrap(), "anything.example");
    let mut packets = Vec::new();
    let mut buffer = [0; 65_536];
    // A hello with a post-quantum share fills two packets.
    while packets.len() < 2 {
        let length = soon(sink.recv(&mut buffer)).await.unwrap();
        packets.push(buffer[..length].to_vec());
    }
    packets
}

/// Somebody sends a hello from an address that is not its own: whoever has it gets no more than three times as much,
/// however long the server tries.
#[tokio::test]
async fn an_address_that_was_not_proved_gets_at_most_three_times_what_it_sent() {
    let limits = Limits { handshake_timeout: Duration::from_secs(2), ..Limits::default() };
    let (server, log) = watched(limits).await;
    for count in [1, 2] {
        let packets = first_packets().await;
        let sent = &packets[..count];
        let victim = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut bytes_sent = 0;
        for packet in sent {
            bytes_sent += victim.send_to(packet, server.address()).await.unwrap();
        }
        let before = log.count(|event| matches!(event, Event::ConnectionRefused { .. }));
        let (mut heard, mut buffer) = (0, [0; 65_536]);
        soon(async {
            loop {
                tokio::select! {
                    Ok(length) = victim.recv(&mut buffer) => heard += length,
                    () = tokio::time::sleep(Duration::from_millis(10)) => {
                        // The server has given up by now.
                        if log.count(|event| matches!(event, Event::ConnectionRefused { .. })) > before {
                            break;
                        }
                    }
                }
            }
        })
        .await;
        println!("{bytes_sent} bytes sent, {heard} bytes heard");
        assert!(heard > 0, "the server answers");
        assert!(heard <= 3 * bytes_sent, "{heard} bytes for {bytes_sent}");
    }
}

/// A proof of address that is asked for is smaller than the packet it answers, and nothing else follows.
#[tokio::test]
async fn a_demand_for_proof_is_smaller_than_what_it_answers() {
    let limits = Limits { max_unauthenticated: 1, early_drop: 1, ..Limits::default() };
    let (server, log) = watched(limits).await;
    let packets = first_packets().await;
    let victim = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    victim.send_to(&packets[0], server.address()).await.unwrap();
    log.until(|event| matches!(event, Event::RetrySent { .. })).await;
    let heard = soon(victim.recv(&mut [0; 65_536])).await.unwrap();
    assert!(heard < packets[0].len(), "{heard} bytes for {}", packets[0].len());
    assert_eq!(server.counts().of(Name::ConnectionStarted), 0, "nothing was computed for it");
}

/// Speaks for a client whose connection, from a certain byte on, carries a byte at a time, slowly.
async fn slow_from(fast: usize, to: SocketAddr) -> SocketAddr {
    let listening = Listening::new().await;
    let address = listening.address;
    tokio::spawn(async move {
        let (client, _) = listening.listener.accept().await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let (mut left, mut buffer) = (fast, [0; 4096]);
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            let (quick, slow) = buffer[..length].split_at(left.min(length));
            left -= quick.len();
            if to_server.write_all(quick).await.is_err() {
                return;
            }
            for byte in slow {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if to_server.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        }
    });
    address
}

/// One byte at a time, from every fiftieth byte of a connection on: no state waits longer than its deadline.
#[tokio::test]
async fn slow_peers_are_ended_in_every_state_and_the_others_do_not_notice() {
    let brief = Duration::from_millis(600);
    let limits = Limits {
        handshake_timeout: brief,
        open_timeout: brief,
        message_timeout: brief,
        stranger_timeout: brief,
        idle_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let member = Identity::generate().unwrap();
    let known = member.id();
    let log = Log::default();
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .observe(log.observer())
        .authorize(move |peer| async move {
            Ok(if peer.id == known { Admission::Member(()) } else { Admission::Stranger(()) })
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    let decent = soon(
        hikyaku::connect(server.address(), server.id())
            .identity(&member)
            .transport(Transport::Tcp)
            .into_future(),
    )
    .await
    .unwrap();
    // ClientHello, certificate, parameters, HELLO: about 2,500 bytes.
    let slow: Vec<_> = (0..50)
        .map(|nth| {
            let (to, pin) = (server.address(), server.id());
            tokio::spawn(async move {
                let address = slow_from(nth * 50, to).await;
                let connected = hikyaku::connect(address, pin).transport(Transport::Tcp).await;
                match connected {
                    // It was quick enough to be a stranger, who may not stay.
                    Ok(connection) => drop(soon(connection.closed()).await),
                    Err(error) => drop(error),
                }
            })
        })
        .collect();
    for peer in slow {
        is_answered(&decent).await;
        soon(peer).await.unwrap();
    }
    soon(async {
        while server.connections().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    is_answered(&decent).await;
    let in_handshake =
        |event: &Event| matches!(event, Event::ConnectionRefused { reason: Refusal::HandshakeTimeout, .. });
    assert!(log.count(in_handshake) >= 10, "{}", log.count(in_handshake));
    let reached = |name: &'static str| move |event: &Event| matches!(event, Event::LimitReached { limit, .. } if *limit == name);
    assert!(log.count(reached("handshake_timeout")) + log.count(reached("stranger_timeout")) >= 5);
}

const FEW_DESCRIPTORS: &str = "HIKYAKU_TEST_FEW_DESCRIPTORS";

/// Not a test of its own: the server of the next one, in a process with few descriptors. It does nothing unless asked to.
#[tokio::test]
async fn server_with_few_descriptors() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return;
    }
    let few = rustix::process::Rlimit { current: Some(48), maximum: Some(48) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    let limits = Limits {
        max_unauthenticated: 1000,
        early_drop: 1000,
        max_unauthenticated_per_network: 1000,
        ..Limits::default()
    };
    let server = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .observe(|record| {
            if record.event.name() == Name::AcceptFailed {
                println!("{}", record.event);
            }
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    println!("serving {} {}", server.address(), server.id());
    // Until the test goes.
    let _ = tokio::io::stdin().read(&mut [0; 1]).await;
}

#[tokio::test]
async fn without_descriptors_accepting_waits_and_those_inside_live() {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "floods::server_with_few_descriptors", "--nocapture"])
        .env(FEW_DESCRIPTORS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = async |wanted: &str| {
        soon(async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the server lives");
                // The test harness has its own words on the same line.
                if let Some(at) = line.find(wanted) {
                    break line[at + wanted.len()..].to_owned();
                }
            }
        })
        .await
    };
    let serving = until("serving ").await;
    let (address, id) = serving.split_once(' ').unwrap();
    let (address, id): (SocketAddr, hikyaku::KeyId) = (address.parse().unwrap(), id.parse().unwrap());
    let connect = |transport| hikyaku::connect(address, id).transport(transport).into_future();
    let inside = [connect(Transport::Tcp).await.unwrap(), connect(Transport::Quic).await.unwrap()];
    let mut crowd = Vec::new();
    for _ in 0..64 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    until("accept_failed").await;
    for member in &inside {
        is_answered(member).await;
    }
    // QUIC needs no descriptor of its own: it goes on letting people in.
    is_answered(&connect(Transport::Quic).await.unwrap()).await;
    drop(crowd);
    let late = soon(connect(Transport::Tcp)).await.unwrap();
    is_answered(&late).await;
    for member in &inside {
        is_answered(member).await;
    }
}
