//! TLS that believes everybody, or shows what it should not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{ALPN, Key, PATIENCE};

/// What must happen, or the test fails instead of hanging.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

/// Believes every certificate, and counts how many it was shown.
#[derive(Debug)]
pub struct Credulous {
    provider: CryptoProvider,
    /// Certificates that a server was shown.
    pub shown: AtomicUsize,
}

impl Credulous {
    /// One that was shown nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { provider: provider::default_provider(), shown: AtomicUsize::new(0) })
    }

    /// The key of the certificate has to be there, whoever's it is.
    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
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
        self.signed(message, certificate, signature)
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
        self.signed(message, certificate, signature)
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

/// A name, which means nothing here.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("anything.example").unwrap()
}

/// A client's end of TLS over TCP.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;
/// A server's end of it.
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
    /// The socket.
    pub listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listening {
    /// On a free port of this computer.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// Takes one caller, and its half of the handshake.
    pub async fn accept(&self, config: ServerConfig) -> std::io::Result<ServerStream> {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        soon(TlsAcceptor::from(Arc::new(config)).accept(stream)).await
    }
}
