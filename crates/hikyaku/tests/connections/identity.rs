//! Who is at the other end: keys, certificates, TLS. A verifier that says yes to everything fails here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hikyaku::{
    Admission, Connection, Error, ErrorCode, Failure, Identity, KeyId, Limits, Result, Server, Transport,
};
use rcgen::PublicKeyData as _;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw::*;

const NETWORK: [Transport; 2] = [Transport::Tcp, Transport::Quic];

/// A client that expects `pin` meets a server that shows `chain` and signs with `signer`. What the client makes of it,
/// and how many client certificates the server got to see.
async fn meet(
    transport: Transport,
    chain: Vec<CertificateDer<'static>>,
    signer: &Key,
    pin: KeyId,
) -> (Result<Connection>, usize) {
    let verifier = Credulous::new();
    let config = |alpn| server_tls_showing(chain.clone(), signer, &[alpn], verifier.clone());
    let listening = Listening::new().await;
    let address = listening.address;
    let quic = quinn::crypto::rustls::QuicServerConfig::try_from(config(ALPN_QUIC)).unwrap();
    let quic = quinn::ServerConfig::with_crypto(Arc::new(quic));
    let endpoint = quinn::Endpoint::server(quic, address).unwrap();
    let tcp = config(ALPN);
    let server = tokio::spawn(async move {
        tokio::select! {
            accepted = listening.accept(tcp) => drop(accepted),
            Some(incoming) = endpoint.accept() => drop(incoming.await),
        }
    });
    let connected = soon(hikyaku::connect(address, pin).transport(transport).into_future()).await;
    soon(server).await.unwrap();
    (connected, verifier.shown.load(Ordering::SeqCst))
}

//= S1.8 (test)
#[tokio::test]
async fn a_host_with_another_key_is_refused_and_learns_nothing_of_the_caller() {
    for transport in NETWORK {
        let (expected, found) = (Key::new(), Key::new());
        let (connected, shown) = meet(transport, found.chain.clone(), &found, expected.id()).await;
        let error = connected.unwrap_err();
        assert!(
            matches!(&error, Error::IdentityRefused { expected: e, found: f } if (*e, *f) == (expected.id(), found.id())),
            "{transport}: {error}"
        );
        assert_eq!(error.code(), ErrorCode::IDENTITY_REFUSED);
        assert_eq!(shown, 0, "{transport}: the client's certificate was sent");
    }
}

//= S1.4 (test)
//= S1.5 (test)
#[tokio::test]
async fn a_host_that_shows_the_right_certificate_without_its_key_is_refused() {
    for transport in NETWORK {
        let (host, thief) = (Key::new(), Key::new());
        let (connected, shown) = meet(transport, host.chain.clone(), &thief, host.id()).await;
        assert!(connected.is_err(), "{transport}");
        assert_eq!(shown, 0, "{transport}: the client's certificate was sent");
    }
}

//= S6.3 (test)
#[tokio::test]
async fn a_host_that_adds_intermediates_is_refused() {
    for transport in NETWORK {
        let (host, other) = (Key::new(), Key::new());
        let chain = [host.chain.clone(), other.chain.clone()].concat();
        let (connected, shown) = meet(transport, chain, &host, host.id()).await;
        assert!(connected.is_err(), "{transport}");
        assert_eq!(shown, 0, "{transport}: the client's certificate was sent");
    }
}

//= S6.3 (test)
#[tokio::test]
async fn a_host_whose_key_is_not_ed25519_is_refused_even_if_its_id_is_expected() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let host = Key::with(algorithm, |_| {});
        let (connected, shown) = meet(Transport::Tcp, host.chain.clone(), &host, host.id()).await;
        assert!(connected.is_err(), "{algorithm:?}");
        assert_eq!(shown, 0, "the client's certificate was sent");
    }
}

/// What the server answers to a client that shows `chain` and signs with `signer`.
async fn shown_to_server(chain: Vec<CertificateDer<'static>>, signer: &Key) -> String {
    let server = echo_server(Limits::default()).await;
    let stream = tls_to(server.address(), client_tls_showing(chain, signer)).await.unwrap();
    let alert = verdict(stream).await.expect_err("the server accepted it").to_string();
    assert!(server.connections().is_empty());
    alert
}

//= S1.4 (test)
//= S1.5 (test)
#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let server = echo_server(Limits::default()).await;
    let stream = tls_to(server.address(), client_tls(None, &[ALPN])).await.unwrap();
    let alert = verdict(stream).await.expect_err("the server accepted it").to_string();
    assert!(alert.contains("CertificateRequired"), "{alert}");
}

//= S1.5 (test)
#[tokio::test]
async fn a_client_that_shows_somebody_elses_certificate_is_refused() {
    let (victim, thief) = (Key::new(), Key::new());
    let alert = shown_to_server(victim.chain, &thief).await;
    assert!(alert.contains("received fatal alert"), "{alert}");
}

//= S6.3 (test)
#[tokio::test]
async fn a_client_that_adds_intermediates_is_refused() {
    let (device, other) = (Key::new(), Key::new());
    let alert = shown_to_server([device.chain.clone(), other.chain].concat(), &device).await;
    assert!(alert.contains("received fatal alert"), "{alert}");
}

//= S6.3 (test)
#[tokio::test]
async fn a_client_whose_certificate_is_not_of_an_ed25519_key_is_refused() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let device = Key::with(algorithm, |_| {});
        // Signed with its own key, and with one whose signatures the server accepts.
        for signer in [&device, &Key::new()] {
            let alert = shown_to_server(device.chain.clone(), signer).await;
            assert!(alert.contains("received fatal alert"), "{alert}");
        }
    }
}

//= S1.9 (test)
//= S6.2 (test)
#[tokio::test]
async fn names_and_dates_and_issuers_of_certificates_mean_nothing() {
    let odd = || {
        Key::with(&rcgen::PKCS_ED25519, |parameters| {
            parameters.not_before = rcgen::date_time_ymd(1999, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2000, 1, 1);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, "somebody else entirely");
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        })
    };
    let (host, device) = (odd(), odd());
    let server = Server::builder(host.identity()).router(echo_router()).start().await.unwrap();
    for transport in NETWORK {
        let connect = hikyaku::connect(server.address(), host.id()).identity(&device.identity());
        let connection = connect.transport(transport).await.unwrap();
        assert_eq!(connection.call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
        assert_eq!(server.connections()[0].peer(), device.id());
        connection.close().await;
        while !server.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

//= S6.1 (test)
#[tokio::test]
async fn the_id_of_a_key_is_the_hash_of_its_44_bytes_in_52_characters() {
    let key = Key::new();
    assert_eq!(key.pair.subject_public_key_info().len(), 44);
    assert_eq!(key.identity().id(), key.id());
    let text = key.id().to_string();
    assert_eq!(text, data_encoding::BASE32_NOPAD.encode(key.id().as_bytes()).to_lowercase());
    assert_eq!(text.len(), 52);
}

//= S6.5 (test)
#[test]
fn a_private_key_is_its_owners_alone_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.pem");
    // Many at once make one key, and all get that one.
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Identity::load_or_generate(&path).unwrap().id())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    // Something else under that name is not touched.
    std::fs::write(&path, "a precious poem").unwrap();
    assert!(Identity::load_or_generate(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"a precious poem");
}

#[test]
fn a_key_with_the_certificate_of_another_is_no_identity() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("one.pem"), directory.path().join("other.pem"));
    Identity::load_or_generate(&path).unwrap();
    Identity::load_or_generate(&other).unwrap();
    let halves = |path| {
        std::fs::read_to_string(path)
            .unwrap()
            .split_once("-----BEGIN CERT")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap()
    };
    let mixed = format!("{}-----BEGIN CERT{}", halves(&path).0, halves(&other).1);
    std::fs::write(&path, mixed).unwrap();
    let error = Identity::load(&path).unwrap_err().to_string();
    assert!(error.contains("do not belong together"), "{error}");
}

//= S1.3 (test)
#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let server = echo_server(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // A ClientHello without supported_versions: version, random, no session, one suite, no compression, groups,
    // signatures.
    let groups = [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x1d];
    let signatures = [0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x08, 0x07];
    let extensions = [&groups[..], &signatures].concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [&[0x03, 0x03][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0], &length, &extensions].concat();
    stream.write_all(&handshake_record(0x01, &body)).await.unwrap();
    let mut alert = Vec::new();
    soon(stream.read_to_end(&mut alert)).await.unwrap();
    // Fatal, protocol_version.
    assert_eq!(alert, [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]);
}

//= S1.3 (test)
#[tokio::test]
async fn a_server_of_tls_1_2_is_refused() {
    let listening = Listening::new().await;
    let connecting = tokio::spawn(
        hikyaku::connect(listening.address, Key::new().id()).transport(Transport::Tcp).into_future(),
    );
    let (mut stream, _) = soon(listening.listener.accept()).await.unwrap();
    soon(stream.read(&mut [0; 4096])).await.unwrap();
    let body = [&[0x03, 0x03][..], &[7; 32], &[0, 0xc0, 0x2b, 0]].concat();
    stream.write_all(&handshake_record(0x02, &body)).await.unwrap();
    let mut alert = Vec::new();
    soon(stream.read_to_end(&mut alert)).await.unwrap();
    // Behind it may stand a ChangeCipherSpec for the sake of old middle boxes.
    assert!(alert.ends_with(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]), "{alert:x?}");
    assert!(matches!(soon(connecting).await.unwrap(), Err(Error::Unreachable(_))));
}

fn handshake_record(ty: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[ty][..], &length[1..], body].concat();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[0x16, 0x03, 0x01][..], &length, &message].concat()
}

//= S1.6 (test)
//= S1.7 (test)
#[tokio::test]
async fn a_client_of_another_application_protocol_is_refused_in_the_handshake() {
    let server = echo_server(Limits::default()).await;
    // QUIC's own name is another one over TCP.
    for offered in [&[&b"h2"[..]][..], &[ALPN_QUIC], &[b"hikyaku/1-qx01"]] {
        let error = tls_to(server.address(), client_tls(Some(&Key::new()), offered)).await.unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
    let error = tls_to(server.address(), client_tls(Some(&Key::new()), &[])).await.unwrap_err();
    assert!(error.to_string().contains("received fatal alert"), "{error}");
    // One of several is enough.
    tls_to(server.address(), client_tls(Some(&Key::new()), &[b"h2", ALPN])).await.unwrap();
}

//= S1.7 (test)
#[tokio::test]
async fn a_server_of_another_application_protocol_is_refused_and_told_nothing() {
    let key = Key::new();
    for chosen in [&[&b"h2"[..]][..], &[]] {
        let listening = Listening::new().await;
        let connecting = tokio::spawn(
            hikyaku::connect(listening.address, key.id()).transport(Transport::Tcp).into_future(),
        );
        if let Ok(mut stream) = listening.accept(server_tls(&key, chosen)).await {
            let mut heard = Vec::new();
            let _ = soon(stream.read_to_end(&mut heard)).await;
            assert_eq!(heard, b"", "the client spoke QMux to a server that does not");
        }
        assert!(matches!(soon(connecting).await.unwrap(), Err(Error::Unreachable(_))), "{chosen:?}");
    }
}

//= S1.6 (test)
//= S1.11 (test)
#[tokio::test]
async fn a_client_names_the_protocol_and_not_the_server() {
    let listening = Listening::new().await;
    let address = format!("localhost:{}", listening.address.port());
    let connecting =
        tokio::spawn(hikyaku::connect(address, Key::new().id()).transport(Transport::Tcp).into_future());
    let (stream, _) = soon(listening.listener.accept()).await.unwrap();
    let start = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let start = soon(start).await.unwrap();
    let hello = start.client_hello();
    assert_eq!(hello.server_name(), None);
    assert_eq!(hello.alpn().unwrap().collect::<Vec<_>>(), [ALPN]);
    assert_eq!(hello.named_groups().unwrap()[0], NamedGroup::X25519MLKEM768, "post-quantum first");
    connecting.abort();
}

/// Counts the tickets a server sends.
#[derive(Debug, Default)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

//= S1.10 (test)
#[tokio::test]
async fn a_server_sends_no_resumption_tickets() {
    let server = echo_server(Limits::default()).await;
    let tickets = Arc::new(Tickets::default());
    let mut config = client_tls(Some(&Key::new()), &[ALPN]);
    config.resumption = Resumption::store(tickets.clone());
    let stream = tls_to(server.address(), config).await.unwrap();
    let mut raw = Raw::over(stream, hikyaku_mux::Side::Client).await;
    raw.greet().await;
    raw.lives().await;
    assert_eq!(tickets.0.load(Ordering::SeqCst), 0);
}

//= S6.6 (test)
#[tokio::test]
async fn a_device_is_looked_up_on_every_connection() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let server = Server::builder(Identity::generate().unwrap())
        .authorize(move |_| {
            let nth = counting.fetch_add(1, Ordering::SeqCst);
            async move {
                match nth {
                    0 => Ok(Admission::Member(())),
                    _ => Err(Failure::new(ErrorCode::REVOKED, "not any more")),
                }
            }
        })
        .router(echo_router())
        .start()
        .await
        .unwrap();
    let device = Identity::generate().unwrap();
    let connect =
        || hikyaku::connect(server.address(), server.id()).identity(&device).transport(Transport::Tcp);
    assert_eq!(connect().await.unwrap().call::<_, u8>("echo/1", "", &7_u8).await.unwrap(), 7);
    assert_eq!(connect().await.unwrap_err().code(), ErrorCode::REVOKED);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refused_device_is_told_the_code_and_the_message() {
    for transport in NETWORK {
        let server = Server::builder(Identity::generate().unwrap())
            .authorize(|_| async {
                Err::<Admission<()>, _>(Failure::new(
                    ErrorCode::IDENTITY_REFUSED,
                    "devices of this year only",
                ))
            })
            .router(echo_router())
            .start()
            .await
            .unwrap();
        let error = hikyaku::connect(server.address(), server.id()).transport(transport).await.unwrap_err();
        let Error::Closed(closed) = &error else { panic!("{error:?}") };
        assert_eq!(closed.code, ErrorCode::IDENTITY_REFUSED, "{transport}");
        assert_eq!(closed.reason, "devices of this year only");
    }
}

#[tokio::test]
async fn a_quic_client_that_moves_to_another_address_stays_who_it_was() {
    let server = echo_server(Limits::default()).await;
    let device = Key::new();
    let tls = client_tls(Some(&device), &[ALPN_QUIC]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let raw = endpoint.connect_with(config, server.address(), "anything.example").unwrap().await.unwrap();
    let hello = control(&[(hikyaku_wire::frame::FrameType::HELLO, &hello().encode())]);
    let mut control = raw.open_uni().await.unwrap();
    control.write_all(&hello).await.unwrap();
    let ask = async || {
        let (mut send, mut receive) = raw.open_bi().await.unwrap();
        send.write_all(&exchange("echo/1", &[(hikyaku_wire::frame::FrameType::END, &[])])).await.unwrap();
        send.finish().unwrap();
        soon(receive.read_to_end(1024)).await.unwrap();
        let of_server = server.connections().pop().unwrap();
        (of_server.remote_address().unwrap(), of_server.peer())
    };
    let (before, peer) = ask().await;
    assert_eq!(peer, device.id());
    endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let (after, peer) = ask().await;
    assert_ne!(before, after, "the client has moved");
    assert_eq!(peer, device.id());
}
