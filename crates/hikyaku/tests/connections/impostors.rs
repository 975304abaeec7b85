//! Clients and servers that are not what they should be, met over both transports. Beside `identity`, whose cases are about
//! what a certificate means.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hikyaku::{Admission, Error, ErrorCode, Exchange, Identity, Limits, Result, Router, Server, Transport};
use hikyaku_wire::exchange::{Failure, Goaway, Open};
use hikyaku_wire::frame::FrameType;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::UdpSocket;

use super::raw::*;
use crate::common::echo;

const NETWORK: [Transport; 2] = [Transport::Tcp, Transport::Quic];

fn alpn(transport: Transport) -> &'static [u8] {
    if transport == Transport::Quic { ALPN_QUIC } else { ALPN }
}

fn quic_config(tls: ClientConfig) -> quinn::ClientConfig {
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Whether the server lets a client in that handshakes so: its first stream has to arrive. The error is its alert.
async fn lets_in(server: &Server, transport: Transport, mut tls: ClientConfig) -> Result<(), String> {
    if tls.alpn_protocols.is_empty() {
        tls.alpn_protocols = vec![alpn(transport).to_vec()];
    }
    if transport == Transport::Tcp {
        let stream = tls_to(server.address(), tls).await.map_err(|error| error.to_string())?;
        return match verdict(stream).await {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
    }
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(quic_config(tls), server.address(), "anything.example").unwrap();
    let connection = soon(connecting).await.map_err(|error| error.to_string())?;
    soon(connection.accept_uni()).await.map(drop).map_err(|error| error.to_string())
}

/// A client's configuration with this chain and signer; the transport's own name is offered.
fn showing(chain: Vec<CertificateDer<'static>>, signer: &Key) -> ClientConfig {
    let mut tls = client_tls_showing(chain, signer);
    tls.alpn_protocols.clear();
    tls
}

fn big_certificate() -> Key {
    Key::with(&rcgen::PKCS_ED25519, |parameters| {
        let filling =
            rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![0; 1 << 20]);
        parameters.custom_extensions.push(filling);
    })
}

//= S1.4 (test)
//= S1.5 (test)
//= S6.3 (test)
#[tokio::test]
async fn no_client_comes_in_without_exactly_one_ed25519_certificate_and_its_key() {
    for transport in NETWORK {
        let server = echo_server(Limits::default()).await;
        let (device, other) = (Key::new(), Key::new());
        let (p256, rsa) =
            (Key::with(&rcgen::PKCS_ECDSA_P256_SHA256, |_| {}), Key::with(&rcgen::PKCS_RSA_SHA256, |_| {}));
        let big = big_certificate();
        let cases = [
            ("no certificate", client_tls(None, &[])),
            ("another's certificate", showing(other.chain.clone(), &device)),
            ("two certificates", showing([device.chain.clone(), other.chain.clone()].concat(), &device)),
            ("a P-256 key", showing(p256.chain.clone(), &p256)),
            ("an RSA key", showing(rsa.chain.clone(), &rsa)),
            ("a certificate of 1 MiB", showing(big.chain.clone(), &big)),
        ];
        for (what, tls) in cases {
            let refused = lets_in(&server, transport, tls).await;
            assert!(refused.is_err(), "{what} over {transport}");
        }
        assert!(server.connections().is_empty(), "{transport}");
        lets_in(&server, transport, showing(device.chain.clone(), &device)).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_with_a_certificate_of_a_mebibyte_is_refused_in_the_handshake() {
    let host = big_certificate();
    for transport in NETWORK {
        let listening = Listening::new().await;
        let address = listening.address;
        let config = |name| server_tls(&host, &[name]);
        let crypto = QuicServerConfig::try_from(config(ALPN_QUIC)).unwrap();
        let endpoint = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), address);
        let (endpoint, tcp) = (endpoint.unwrap(), config(ALPN));
        let serving = tokio::spawn(async move {
            tokio::select! {
                accepted = listening.accept(tcp) => accepted.is_ok(),
                Some(incoming) = endpoint.accept() => incoming.await.is_ok(),
            }
        });
        let connected = soon(hikyaku::connect(address, host.id()).transport(transport).into_future()).await;
        assert!(connected.is_err(), "{transport}");
        assert!(!soon(serving).await.unwrap(), "{transport}: the handshake came to its end");
    }
}

/// The key is the identity: a certificate is only what carries it.
//= S1.9 (test)
#[tokio::test]
async fn two_certificates_of_one_key_are_one_identity() {
    let (host, device) = (Key::new(), Key::new());
    let again = |key: &Key| {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "made again");
        parameters.self_signed(&key.pair).unwrap().der().clone()
    };
    let renewed = |key: &Key| Key {
        pair: rcgen::KeyPair::try_from(key.pair.serialize_der()).unwrap(),
        chain: vec![again(key)],
    };
    let (host_again, device_again) = (renewed(&host), renewed(&device));
    assert_ne!(host.chain, host_again.chain);
    for transport in NETWORK {
        for (host_shown, device_shown) in [(&host, &device), (&host_again, &device_again)] {
            let server = Server::builder(host_shown.identity()).router(echo_router()).start().await.unwrap();
            let connect = hikyaku::connect(server.address(), host.id()).identity(&device_shown.identity());
            let connection = connect.transport(transport).await.unwrap();
            assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
            assert_eq!(server.connections()[0].peer(), device.id(), "{transport}");
        }
    }
}

//= S1.6 (test)
//= S1.7 (test)
#[tokio::test]
async fn over_quic_another_application_protocol_is_refused_by_either_side() {
    let server = echo_server(Limits::default()).await;
    for offered in [&b"h3"[..], ALPN, b"hikyaku/2"] {
        let error = lets_in(&server, Transport::Quic, client_tls(Some(&Key::new()), &[offered])).await;
        assert!(error.unwrap_err().contains("peer doesn't support any known protocol"), "{offered:?}");
    }
    let key = Key::new();
    let crypto = QuicServerConfig::try_from(server_tls(&key, &[b"h3"])).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let other = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = other.local_addr().unwrap();
    let serving = tokio::spawn(async move { other.accept().await.unwrap().await.is_ok() });
    let connected = soon(hikyaku::connect(address, key.id()).transport(Transport::Quic).into_future()).await;
    assert!(matches!(connected, Err(Error::Unreachable(_))), "{connected:?}");
    assert!(!soon(serving).await.unwrap());
}

/// The client keeps everything that a server gives it and would send its question with the first packet. There is nothing.
//= S1.10 (test)
#[tokio::test]
async fn nothing_is_resumed_and_nothing_is_sent_before_the_handshake_is_over() {
    let server = echo_server(Limits::default()).await;
    let hopeful = |name: &[u8]| {
        let mut tls = client_tls(Some(&Key::new()), &[name]);
        tls.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        tls.enable_early_data = true;
        tls
    };
    let tls = hopeful(ALPN);
    for _ in 0..2 {
        let stream = tls_to(server.address(), tls.clone()).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let mut raw = Raw::over(stream, hikyaku_mux::Side::Client).await;
        raw.greet().await;
        raw.lives().await;
    }
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quic_config(hopeful(ALPN_QUIC));
    for _ in 0..2 {
        let connecting = endpoint.connect_with(config.clone(), server.address(), "anything.example").unwrap();
        let Err(connecting) = connecting.into_0rtt() else { panic!("there is a ticket to begin with") };
        let connection = soon(connecting).await.unwrap();
        soon(connection.accept_uni()).await.unwrap();
        let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
        assert_eq!(data.protocol.as_deref(), Some(ALPN_QUIC));
    }
}

/// Whatever a stranger begins with, it is answered or its connection ends, and no route of members is reached.
//= S6.20 (test)
#[tokio::test]
async fn a_stranger_that_sends_every_type_of_frame_reaches_nobody() {
    let reached = Arc::new(AtomicUsize::new(0));
    let counting = reached.clone();
    let router = Router::new().stranger_route("enroll/1", echo).route("echo/1", move |exchange: Exchange| {
        counting.fetch_add(1, Ordering::SeqCst);
        echo(exchange)
    });
    let server = Server::builder(Identity::generate().unwrap())
        .authorize(|_| async { Ok(Admission::Stranger(())) })
        .router(router)
        .start()
        .await
        .unwrap();
    let open = Open::new("echo/1", "").encode();
    let hello = hello().encode();
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 1, message: String::new() }.encode();
    let failure = Failure::new(ErrorCode::DENIED, "no").encode();
    let frame_types: [(FrameType, &[u8], ErrorCode, ErrorCode); 9] = [
        // The type, a payload, what follows when it comes first, and what when it comes after OPEN of `enroll/1`.
        (FrameType::HELLO, &hello, ErrorCode::FRAME_UNEXPECTED, ErrorCode::FRAME_UNEXPECTED),
        (FrameType::GOAWAY, &goaway, ErrorCode::FRAME_UNEXPECTED, ErrorCode::FRAME_UNEXPECTED),
        (FrameType::OPEN, &open, ErrorCode::ENROLL_REQUIRED, ErrorCode::FRAME_UNEXPECTED),
        (FrameType::MESSAGE, &[0x07], ErrorCode::FRAME_UNEXPECTED, ErrorCode::NO_ERROR),
        (FrameType::DATA, &[0x07], ErrorCode::LIMIT_EXCEEDED, ErrorCode::LIMIT_EXCEEDED),
        (FrameType::END, &[], ErrorCode::FRAME_UNEXPECTED, ErrorCode::NO_ERROR),
        (FrameType::ERROR, &failure, ErrorCode::FRAME_UNEXPECTED, ErrorCode::NO_ERROR),
        // Never assigned, and a type that nobody knows: skipped.
        (FrameType(0x21), &[0x07], ErrorCode::TRUNCATED, ErrorCode::NO_ERROR),
        (FrameType(0x1234), &[0x07], ErrorCode::TRUNCATED, ErrorCode::NO_ERROR),
    ];
    for (ty, payload, first, second) in frame_types {
        let after_open = exchange("enroll/1", &[(ty, payload)]);
        for (said, expected) in [(frames(&[(ty, payload)]), first), (after_open, second)] {
            let mut raw = Raw::greeted(server.address()).await;
            let id = raw.ask(&said).await;
            let found = match expected {
                ErrorCode::NO_ERROR => {
                    // The echo is heard to its end, or the exchange fails; the connection goes on.
                    let _ = raw.hear(id).await;
                    raw.ping().await;
                    ErrorCode::NO_ERROR
                }
                ErrorCode::ENROLL_REQUIRED => raw.hear_failure(id).await.code,
                ErrorCode::TRUNCATED => ErrorCode::from_wire(raw.hear(id).await.unwrap_err()),
                _ => raw.ended().await.code,
            };
            assert_eq!(found, expected, "{ty}");
        }
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

/// Carries the packets of one client to whichever server it is told, as if that server had the other's address.
async fn relay(to: tokio::sync::watch::Receiver<SocketAddr>) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let (mut up, mut down) = ([0; 65_536], [0; 65_536]);
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut up) => {
                    client = Some(from);
                    let server = *to.borrow();
                    let _ = back.send_to(&up[..length], server).await;
                }
                Ok((length, from)) = back.recv_from(&mut down) => {
                    if let Some(client) = client && from == *to.borrow() {
                        let _ = front.send_to(&down[..length], client).await;
                    }
                }
            }
        }
    });
    address
}

/// The key of stateless resets comes of the host key, so that a server's successor can say that it knows nothing of its
/// predecessor's connections; nobody else can.
#[tokio::test]
async fn a_server_with_the_same_key_tells_the_clients_of_its_predecessor_that_it_does_not_know_them() {
    let host = Identity::generate().unwrap();
    let start =
        async |identity: Identity| Server::builder(identity).router(echo_router()).start().await.unwrap();
    let predecessor = start(host.clone()).await;
    let (successor, another) = (start(host.clone()).await, start(Identity::generate().unwrap()).await);
    let (to, relayed) = tokio::sync::watch::channel(predecessor.address());
    let address = relay(relayed).await;
    let connect = || hikyaku::connect(address, host.id()).transport(Transport::Quic).into_future();
    let connection = connect().await.unwrap();
    assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    // Somebody else's resets are not believed: the connection only gets no answer, and goes on afterwards.
    to.send(another.address()).unwrap();
    let unanswered = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        connection.call::<_, u8>("echo/1", "", &7_u8),
    );
    assert!(unanswered.await.is_err());
    assert!(!connection.is_closed());
    to.send(predecessor.address()).unwrap();
    assert_eq!(soon(connection.call::<_, u8>("echo/1", "", &7_u8)).await.unwrap(), 7);
    to.send(successor.address()).unwrap();
    let error = soon(connection.call::<_, u8>("echo/1", "", &7_u8)).await.unwrap_err();
    let Error::Closed(closed) = &error else { panic!("{error:?}") };
    assert_eq!(closed.reason, "the peer has forgotten this connection");
    connect().await.unwrap();
}
