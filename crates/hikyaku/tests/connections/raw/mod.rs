//! Peers that say what a test wants: keys and certificates of any shape, TLS as told, QMux by the state machine of
//! `hikyaku-mux`, and above it any bytes.

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use hikyaku::{ErrorCode, Exchange, Identity, KeyId, Limits, Result, Router, Server};
use hikyaku_mux::{CloseReason, Config, Connection, Dir, Event, Side, StreamId};
use hikyaku_wire::exchange::{Failure, Open};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::{Hello, HelloLimits};
use rcgen::PublicKeyData as _;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// No test waits longer than this for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const ALPN: &[u8] = b"hikyaku/1-qx02";
pub const ALPN_QUIC: &[u8] = b"hikyaku/1";

/// What must happen, or the test fails instead of hanging.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// A key with a certificate of any shape.
pub struct Key {
    pub pair: rcgen::KeyPair,
    pub chain: Vec<CertificateDer<'static>>,
}

impl Key {
    pub fn new() -> Self {
        Self::with(&rcgen::PKCS_ED25519, |_| {})
    }

    /// A key of `algorithm`, whose certificate `shape` may change.
    pub fn with(
        algorithm: &'static rcgen::SignatureAlgorithm,
        shape: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Self {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        shape(&mut parameters);
        let certificate = parameters.self_signed(&pair).unwrap().der().clone();
        Self { pair, chain: vec![certificate] }
    }

    /// The id as the specification defines it, computed here once more.
    pub fn id(&self) -> KeyId {
        let key_info = self.pair.subject_public_key_info();
        KeyId::from_bytes(digest(&SHA256, &key_info).as_ref().try_into().unwrap())
    }

    pub fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pair.serialize_der()))
    }

    /// The same as a file that the library reads.
    pub fn identity(&self) -> Identity {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let block = |label: &str, der: &[u8]| {
            let base64 = data_encoding::BASE64.encode(der);
            format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
        };
        let pem = block("PRIVATE KEY", &self.pair.serialize_der()) + &block("CERTIFICATE", &self.chain[0]);
        std::fs::write(&path, pem).unwrap();
        Identity::load(&path).unwrap()
    }
}

/// Believes every certificate, and counts how many it was shown.
#[derive(Debug)]
pub struct Credulous {
    provider: CryptoProvider,
    pub shown: AtomicUsize,
}

impl Credulous {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { provider: provider::default_provider(), shown: AtomicUsize::new(0) })
    }
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.shown.fetch_add(1, Ordering::SeqCst);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that believes every server, with this key or none.
pub fn client_tls(key: Option<&Key>, alpn: &[&[u8]]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Credulous::new());
    let mut config = match key {
        Some(key) => builder.with_client_auth_cert(key.chain.clone(), key.private()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A server that believes every client.
pub fn server_tls(key: &Key, alpn: &[&[u8]]) -> ServerConfig {
    server_tls_showing(key.chain.clone(), key, alpn, Credulous::new())
}

/// A server that shows this chain and signs with that key, whether they belong together or not.
pub fn server_tls_showing(
    chain: Vec<CertificateDer<'static>>,
    signer: &Key,
    alpn: &[&[u8]],
    verifier: Arc<Credulous>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Showing::new(chain, signer)));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// A client that shows this chain and signs with that key, whatever the server asks for.
pub fn client_tls_showing(chain: Vec<CertificateDer<'static>>, signer: &Key) -> ClientConfig {
    let mut config = client_tls(None, &[ALPN]);
    config.client_auth_cert_resolver = Arc::new(Showing::new(chain, signer));
    config
}

/// Shows one chain, and signs with one key.
#[derive(Debug)]
struct Showing(Arc<CertifiedKey>);

impl Showing {
    fn new(chain: Vec<CertificateDer<'static>>, signer: &Key) -> Self {
        let signer = provider::sign::any_supported_type(&signer.private()).unwrap();
        Self(Arc::new(CertifiedKey::new(chain, signer)))
    }
}

impl ResolvesServerCert for Showing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for Showing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from("anything.example").unwrap()
}

pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;
pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// TLS with a server. With TLS 1.3 a client is done before the server has judged its certificate.
pub async fn tls_to(address: SocketAddr, config: ClientConfig) -> std::io::Result<ClientStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name(), stream)).await
}

/// What the server says to a client that completed its own half of the handshake: the alert, or nothing.
pub async fn verdict(mut stream: ClientStream) -> std::io::Result<usize> {
    soon(stream.read(&mut [0; 1024])).await
}

/// A listening socket of an evil server, to be accepted once.
pub struct Listening {
    pub listener: TcpListener,
    pub address: SocketAddr,
}

impl Listening {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub async fn accept(&self, config: ServerConfig) -> std::io::Result<ServerStream> {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        soon(TlsAcceptor::from(Arc::new(config)).accept(stream)).await
    }
}

/// How a connection ended, as the peer in the test saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: ErrorCode,
    pub reason: String,
}

/// A peer that keeps the rules of QMux and may break all others.
pub struct Raw<S> {
    io: S,
    pub mux: Connection,
    /// The peer's control stream, and this side's, once they are open.
    pub control: Option<StreamId>,
    pub own_control: Option<StreamId>,
}

impl Raw<ClientStream> {
    /// A client of `server` that has said nothing yet.
    pub async fn client(address: SocketAddr, key: &Key) -> Self {
        let stream = tls_to(address, client_tls(Some(key), &[ALPN])).await.unwrap();
        Self::over(stream, Side::Client).await
    }

    /// A client with a key of its own that has said HELLO and heard the server's.
    pub async fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::client(address, &Key::new()).await;
        raw.greet().await;
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn over(io: S, side: Side) -> Self {
        Self::with(io, side, Config::default()).await
    }

    /// The same, with other limits of its own.
    pub async fn with(io: S, side: Side, config: Config) -> Self {
        let mux = Connection::new(side, config, Instant::now());
        let mut raw = Self { io, mux, control: None, own_control: None };
        raw.until(|mux| (mux.max_datagram_size().is_some() || mux.close_reason().is_some()).then_some(()))
            .await;
        raw
    }

    /// Moves bytes until `done` gives something.
    pub async fn until<T>(&mut self, mut done: impl FnMut(&mut Connection) -> Option<T>) -> T {
        soon(async {
            loop {
                self.flush().await;
                if let Some(found) = done(&mut self.mux) {
                    self.flush().await;
                    return found;
                }
                self.hear_once().await;
            }
        })
        .await
    }

    /// Takes in what the next read gives.
    pub async fn hear_once(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        match self.io.read(&mut buffer).await {
            Ok(0) | Err(_) => self.mux.handle_end(Instant::now()),
            Ok(count) => self.mux.handle_input(Instant::now(), Bytes::from(buffer).slice(..count)),
        }
    }

    /// Sends what there is to be sent. A peer that has hung up already is met when reading.
    pub async fn flush(&mut self) {
        let mut out = Vec::new();
        while self.mux.poll_transmit(Instant::now(), &mut out, 1 << 16) {}
        if self.io.write_all(&out).await.is_ok() {
            let _ = self.io.flush().await;
        }
    }

    /// Bytes below QMux: whatever the test wants in the middle of the records.
    pub async fn write_below(&mut self, bytes: &[u8]) {
        self.flush().await;
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Opens a stream and says `bytes` on it.
    pub async fn say(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        let id = self.until(|mux| mux.open(dir)).await;
        self.say_on(id, bytes).await;
        id
    }

    pub async fn say_on(&mut self, id: StreamId, bytes: &[u8]) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            // Blocked means: first the peer has to take some. An ended connection is the test's to notice.
            match self.mux.write(id, &mut bytes) {
                Ok(_) => self.flush().await,
                Err(_) if self.mux.close_reason().is_some() => return,
                Err(_) => self.hear_once().await,
            }
        }
        self.flush().await;
    }

    /// Says bytes on a new bidirectional stream and ends it.
    pub async fn ask(&mut self, bytes: &[u8]) -> StreamId {
        let id = self.say(Dir::Bi, bytes).await;
        let _ = self.mux.finish(id);
        self.flush().await;
        id
    }

    /// A control stream with a decent HELLO; then waits for the peer's.
    pub async fn greet(&mut self) -> StreamId {
        let control = self.say(Dir::Uni, &control(&[(FrameType::HELLO, &hello().encode())])).await;
        self.own_control = Some(control);
        self.hear_hello().await;
        control
    }

    /// The peer's HELLO.
    pub async fn hear_hello(&mut self) -> Hello {
        let control = self.until(|mux| mux.accept(Dir::Uni)).await;
        self.control = Some(control);
        let mut heard = Vec::new();
        self.until(|mux| {
            while let Ok(Some(bytes)) = mux.read(control, 1024) {
                heard.extend_from_slice(&bytes);
            }
            let mut decoder = Decoder::new(FrameLimits::default());
            decoder.push(Bytes::copy_from_slice(heard.get(1..)?));
            match decoder.next() {
                Ok(Some(Piece::Frame { ty: FrameType::HELLO, payload })) => {
                    Some(Hello::decode(&payload).unwrap())
                }
                _ => None,
            }
        })
        .await
    }

    /// Everything until the stream's end, or the code it was reset with.
    pub async fn hear(&mut self, id: StreamId) -> Result<Vec<u8>, u64> {
        let mut heard = Vec::new();
        self.until(|mux| {
            loop {
                match mux.read(id, 1 << 16) {
                    Ok(Some(bytes)) => heard.extend_from_slice(&bytes),
                    Ok(None) => return Some(Ok(std::mem::take(&mut heard))),
                    Err(hikyaku_mux::ReadError::Reset(code)) => return Some(Err(code)),
                    Err(hikyaku_mux::ReadError::Blocked) => return None,
                    Err(error) => panic!("the stream is gone: {error} {:?}", mux.close_reason()),
                }
            }
        })
        .await
    }

    /// The ERROR that ends the stream.
    pub async fn hear_failure(&mut self, id: StreamId) -> Failure {
        let heard = self.hear(id).await.expect("the stream ends");
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(heard.into());
        loop {
            match decoder.next() {
                Ok(Some(Piece::Frame { ty: FrameType::ERROR, payload })) => {
                    return Failure::decode(&payload).unwrap();
                }
                Ok(Some(_)) => {}
                other => panic!("no ERROR: {other:?}"),
            }
        }
    }

    /// The code with which the peer stopped reading a stream.
    pub async fn hear_stop(&mut self, id: StreamId) -> u64 {
        self.event(|event| match event {
            Event::Stopped { id: stopped, code } if stopped == id => Some(code),
            _ => None,
        })
        .await
    }

    /// The first event that `wanted` takes; those before it are gone.
    pub async fn event<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        self.until(|mux| std::iter::from_fn(|| mux.poll_event()).find_map(&mut wanted)).await
    }

    /// There and back once: whatever the peer was about to send has arrived.
    pub async fn ping(&mut self) {
        self.mux.ping(Instant::now());
        self.event(|event| matches!(event, Event::Pong { .. }).then_some(())).await;
    }

    /// How the peer closed the connection: by the session's own codes.
    pub async fn ended(&mut self) -> Ended {
        match self.until(|mux| mux.close_reason().cloned()).await {
            CloseReason::Application { code, reason } => Ended {
                code: ErrorCode::from_wire(code),
                reason: String::from_utf8(reason.to_vec()).unwrap(),
            },
            other => panic!("the peer did not close the connection: {other:?}"),
        }
    }

    /// How the connection ended, whoever ended it and by whatever rule.
    pub async fn close_reason(&mut self) -> CloseReason {
        self.until(|mux| mux.close_reason().cloned()).await
    }

    /// That the connection lives: one more echo goes through.
    pub async fn lives(&mut self) {
        let id = self.ask(&exchange("echo/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])).await;
        assert_eq!(
            self.hear(id).await.unwrap(),
            frames(&[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])
        );
    }
}

/// The library as a client, and the server it talks to: over a pipe, greeted.
pub async fn client_of_raw(router: Router, limits: Limits) -> (hikyaku::Connection, Raw<DuplexStream>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(hikyaku::local::connect(near, router, limits));
    let mut raw = Raw::over(far, Side::Server).await;
    raw.greet().await;
    (soon(connecting).await.unwrap().unwrap(), raw)
}

/// Frames, one after another.
pub fn frames(list: &[(FrameType, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (ty, payload) in list {
        frame::encode(*ty, payload, &mut out);
    }
    out
}

/// The bytes of a control stream.
pub fn control(list: &[(FrameType, &[u8])]) -> Vec<u8> {
    [&[0x00][..], &frames(list)].concat()
}

/// OPEN and what follows it.
pub fn exchange(protocol: &str, list: &[(FrameType, &[u8])]) -> Vec<u8> {
    [frames(&[(FrameType::OPEN, &Open::new(protocol, "").encode())]), frames(list)].concat()
}

pub fn hello() -> Hello {
    let limits = HelloLimits { max_message: 1 << 20, max_metadata: 4096, max_datagram: 1000 };
    Hello { limits, extensions: vec![], agent: "raw".to_owned() }
}

/// A server that knows everybody and echoes.
pub async fn echo_server(limits: Limits) -> Server {
    Server::builder(Identity::generate().unwrap()).limits(limits).router(echo_router()).start().await.unwrap()
}

pub fn echo_router() -> Router {
    Router::new().route("echo/1", crate::common::echo).route("deaf/1", deaf)
}

/// Waits for ever, reading nothing.
async fn deaf(exchange: Exchange) -> Result<()> {
    std::future::pending::<()>().await;
    drop(exchange);
    Ok(())
}
