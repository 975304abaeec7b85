//! A client that means ill: it has keys, TLS and QMux of its own, and says as much of a conversation as it wants, as
//! slowly as it wants, from whatever loopback address it wants.
//!
//! It uses the keys and the TLS of `hikyaku-peers` and the state machine of `hikyaku-mux`, never the library's own connections:
//! those end well.

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
use hikyaku_peers::{ALPN, ALPN_QUIC, Key, client_tls, name};
use hikyaku_wire::frame::FrameType;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What an attacker over QUIC lets come and does not read.
const UNREAD: u32 = 64 * 1024;

/// Somebody with a key.
#[derive(Clone)]
pub struct Attacker {
    tls: TlsConnector,
    quic: Arc<quinn::crypto::rustls::QuicClientConfig>,
    server: SocketAddr,
}

impl Attacker {
    /// Somebody with a key that nobody knows.
    pub fn stranger(server: SocketAddr) -> Self {
        Self::with(server, &Key::new())
    }

    /// Whoever stole the key of the only server known in `home`.
    pub fn member(server: SocketAddr, home: &Path) -> Self {
        let known = std::fs::read_dir(home.join("servers")).unwrap().next().unwrap().unwrap();
        Self::with(server, &Key::from_pem(&std::fs::read(known.path().join("identity.pem")).unwrap()))
    }

    fn with(server: SocketAddr, key: &Key) -> Self {
        let config = |alpn| {
            let mut config = client_tls(Some(key), &[alpn]);
            config.enable_sni = false;
            config
        };
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(config(ALPN_QUIC)).unwrap();
        Self { tls: TlsConnector::from(Arc::new(config(ALPN))), quic: Arc::new(quic), server }
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

    /// A QUIC connection from an address of this computer. It gives each stream `window` bytes of credit, and takes no more than
    /// [`UNREAD`] in all that it does not read.
    pub async fn connect_quic(&self, from: Ipv4Addr, window: u64) -> io::Result<quinn::Connection> {
        let endpoint = quinn::Endpoint::client(SocketAddr::new(from.into(), 0))?;
        let mut transport = quinn::TransportConfig::default();
        let window = quinn::VarInt::from_u64(window).map_err(io::Error::other)?;
        transport.stream_receive_window(window).receive_window(UNREAD.into());
        let mut config = quinn::ClientConfig::new(self.quic.clone());
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, self.server, "hikyaku.invalid");
        connecting.map_err(io::Error::other)?.await.map_err(io::Error::other)
    }

    /// A socket that has sent the first packets of a QUIC handshake, and nobody who would go on with it.
    pub async fn begin_quic(&self, from: Ipv4Addr) -> io::Result<tokio::net::UdpSocket> {
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let endpoint = quinn::Endpoint::client(SocketAddr::new(from.into(), 0))?;
        let config = quinn::ClientConfig::new(self.quic.clone());
        let _connecting = endpoint.connect_with(config, sink.local_addr()?, "hikyaku.invalid");
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
        self.tls.connect(name(), stream).await
    }

    /// The first flight of a handshake.
    pub fn client_hello(&self) -> Vec<u8> {
        let mut flight = Vec::new();
        self.handshaking().write_tls(&mut flight).unwrap();
        flight
    }

    /// A handshake that goes as far as its caller wants.
    pub fn handshaking(&self) -> rustls::ClientConnection {
        rustls::ClientConnection::new(self.tls.config().clone(), name()).unwrap()
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
    let messages = messages.iter().map(|message| (FrameType::MESSAGE, *message));
    let said: Vec<_> = messages.chain(end.then_some((FrameType::END, &[][..]))).collect();
    hikyaku_peers::exchange(protocol, method, &said)
}

/// The control stream: its type, and HELLO.
pub fn control() -> Vec<u8> {
    hikyaku_peers::control(&[(FrameType::HELLO, &hikyaku_peers::hello().encode())])
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
