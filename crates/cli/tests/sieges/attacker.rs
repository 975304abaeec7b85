//! A client that means ill: it has keys, TLS and QMux of its own, and says as much of a conversation as it wants, as
//! slowly as it wants, from whatever loopback address it wants.
//!
//! It uses rustls and the state machine of `hikyaku-mux`, never the library's own connections: those end well.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, ReadError, Side, StreamId};
use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::{self, FrameType};
use hikyaku_wire::hello::{Hello, HelloLimits};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Somebody with a key.
#[derive(Clone)]
pub struct Attacker {
    tls: TlsConnector,
    quic: quinn::ClientConfig,
    server: SocketAddr,
}

impl Attacker {
    /// Somebody with a key that nobody knows.
    pub fn stranger(server: SocketAddr) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Self::with(server, certificate.der().clone(), key)
    }

    /// Whoever stole the key of the only server known in `home`.
    pub fn member(server: SocketAddr, home: &Path) -> Self {
        let known = std::fs::read_dir(home.join("servers")).unwrap().next().unwrap().unwrap();
        let pem = std::fs::read(known.path().join("identity.pem")).unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).unwrap().into();
        Self::with(server, CertificateDer::from_pem_slice(&pem).unwrap(), key)
    }

    fn with(server: SocketAddr, certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"hikyaku/1-qx02".to_vec()];
        config.enable_sni = false;
        let mut over_quic = config.clone();
        over_quic.alpn_protocols = vec![b"hikyaku/1".to_vec()];
        let over_quic = quinn::crypto::rustls::QuicClientConfig::try_from(over_quic).unwrap();
        let quic = quinn::ClientConfig::new(Arc::new(over_quic));
        Self { tls: TlsConnector::from(Arc::new(config)), quic, server }
    }

    /// A TCP connection from an address of this computer. Closing it tells the server at once with a reset (`linger`
    /// zero) or after a proper farewell.
    pub async fn dial(&self, from: Ipv4Addr, reset: bool) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        if reset {
            stream.set_zero_linger()?;
        }
        Ok(stream)
    }

    /// A QUIC connection from an address of this computer.
    pub async fn connect_quic(&self, from: Ipv4Addr) -> io::Result<quinn::Connection> {
        let endpoint = quinn::Endpoint::client(SocketAddr::new(from.into(), 0))?;
        let connecting = endpoint.connect_with(self.quic.clone(), self.server, "hikyaku.invalid");
        connecting.map_err(io::Error::other)?.await.map_err(io::Error::other)
    }

    /// A socket that has sent the first packets of a QUIC handshake, and nobody who would go on with it.
    pub async fn begin_quic(&self, from: Ipv4Addr) -> io::Result<tokio::net::UdpSocket> {
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let endpoint = quinn::Endpoint::client(SocketAddr::new(from.into(), 0))?;
        let _connecting = endpoint.connect_with(self.quic.clone(), sink.local_addr()?, "hikyaku.invalid");
        let socket = tokio::net::UdpSocket::bind(SocketAddr::new(from.into(), 0)).await?;
        socket.connect(self.server).await?;
        let mut packet = vec![0; 65_536];
        // A hello with a post-quantum share fills two.
        for _ in 0..2 {
            let length = sink.recv(&mut packet).await?;
            socket.send(&packet[..length]).await?;
        }
        Ok(socket)
    }

    /// The handshake over anything.
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.tls.connect(ServerName::try_from("hikyaku.invalid").unwrap(), stream).await
    }

    /// The first flight of a handshake.
    pub fn client_hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("hikyaku.invalid").unwrap();
        let mut connection = rustls::ClientConnection::new(self.tls.config().clone(), name).unwrap();
        let mut flight = Vec::new();
        connection.write_tls(&mut flight).unwrap();
        flight
    }
}

/// Trusts whoever answers: who attacks does not care.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A socket that breaks after so many bytes, both directions together.
pub struct Cut<S> {
    inner: S,
    left: usize,
}

impl<S> Cut<S> {
    pub fn new(inner: S, after: usize) -> Self {
        Self { inner, left: after }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(Err(broken()));
        }
        let mut some = vec![0; buf.remaining().min(this.left).min(4096)];
        let mut read = ReadBuf::new(&mut some);
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
        this.left -= read.filled().len();
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(Err(broken()));
        }
        let some = &bytes[..bytes.len().min(this.left)];
        let written = std::task::ready!(Pin::new(&mut this.inner).poll_write(cx, some))?;
        this.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The frames of an exchange as far as the attacker wants to say them.
pub fn exchange(protocol: &str, method: &str, messages: &[&[u8]], end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(FrameType::OPEN, &Open::new(protocol, method).encode(), &mut out);
    messages.iter().for_each(|message| frame::encode(FrameType::MESSAGE, message, &mut out));
    if end {
        frame::encode(FrameType::END, &[], &mut out);
    }
    out
}

/// The control stream: its type, and HELLO.
pub fn control() -> Vec<u8> {
    let hello = Hello {
        limits: HelloLimits { max_message: 1 << 20, max_metadata: 4096, max_datagram: 1000 },
        extensions: Vec::new(),
        agent: "attacker".into(),
    };
    let mut out = vec![0x00];
    frame::encode(FrameType::HELLO, &hello.encode(), &mut out);
    out
}

/// QMux over a stream that is encrypted already.
pub struct Talk<S> {
    stream: S,
    pub mux: Connection,
    buffer: Box<[u8; 16 * 1024]>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Begins with the transport parameters, as every QMux peer.
    pub fn new(stream: S) -> Self {
        Self::with(stream, Config::default())
    }

    /// The same, with credit and limits of its own.
    pub fn with(stream: S, config: Config) -> Self {
        let mux = Connection::new(Side::Client, config, Instant::now());
        Self { stream, mux, buffer: Box::new([0; 16 * 1024]) }
    }

    /// Sends what is ready to go.
    pub async fn send(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        while self.mux.poll_transmit(Instant::now(), &mut out, 16_384) {}
        if !out.is_empty() {
            self.stream.write_all(&out).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Takes in what comes next; an error when nothing will.
    pub async fn receive(&mut self) -> io::Result<()> {
        let read = self.stream.read(&mut self.buffer[..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.mux.handle_input(Instant::now(), Bytes::copy_from_slice(&self.buffer[..read]));
        while self.mux.poll_event().is_some() {}
        match self.mux.close_reason() {
            Some(reason) => Err(io::Error::other(reason.to_string())),
            None => Ok(()),
        }
    }

    /// Talks until the peer allows a stream, and opens it.
    pub async fn open(&mut self, dir: Dir) -> io::Result<StreamId> {
        loop {
            self.send().await?;
            if let Some(id) = self.mux.open(dir) {
                return Ok(id);
            }
            self.receive().await?;
        }
    }

    /// Writes all of it, as the peer's credit allows.
    pub async fn write(&mut self, id: StreamId, bytes: &[u8]) -> io::Result<()> {
        self.write_shared(id, Bytes::copy_from_slice(bytes)).await
    }

    /// The same, of bytes that many have in common.
    pub async fn write_shared(&mut self, id: StreamId, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.mux.write(id, &mut bytes) {
                Ok(_) => self.send().await?,
                Err(hikyaku_mux::WriteError::Blocked) => self.receive().await?,
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(())
    }

    /// Says HELLO.
    pub async fn greet(&mut self) -> io::Result<()> {
        let id = self.open(Dir::Uni).await?;
        self.write(id, &control()).await
    }

    /// Everything that the peer answers on a stream, until it ends or the peer gives it up.
    pub async fn answer(&mut self, id: StreamId) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        loop {
            match self.mux.read(id, usize::MAX) {
                Ok(Some(bytes)) => answer.extend_from_slice(&bytes),
                Ok(None) | Err(ReadError::Reset(_) | ReadError::Closed) => return Ok(answer),
                Err(ReadError::Blocked) => {
                    self.send().await?;
                    self.receive().await?;
                }
            }
        }
    }

    /// Keeps the connection and reads nothing, until the peer ends it.
    pub async fn linger(&mut self) -> io::Result<()> {
        loop {
            self.send().await?;
            self.receive().await?;
        }
    }

    /// The stream below, for bytes that no state machine would send.
    pub fn raw(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// One of 16 million loopback addresses.
pub fn address(number: u64) -> Ipv4Addr {
    let [.., b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(127, b, c, d.clamp(1, 254))
}
