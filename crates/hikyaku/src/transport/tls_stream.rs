//! TLS over TCP, on rustls' unbuffered interface: a connection that says nothing holds no buffer at all.
//!
//! Received and encrypted bytes lie in buffers of the thread. A connection keeps only what a socket left over: the
//! beginning of a record whose rest has not arrived, or records that the socket did not take. Reads are large, so that a
//! busy connection makes one system call for many records. Spec: chapter 1, "TLS".
//!
//! ```text
//!   socket ─▶ WIRE (thread) ─▶ decrypt ─▶ the reader's buffer        the writer's bytes ─▶ encrypt ─▶ SEALED (thread) ─▶ socket
//!                  └▶ incoming: a part of a record                                outgoing: what the socket left ◀┘
//! ```

mod depth;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, CommonState, Error as TlsError, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::socket;
pub(super) use depth::FEW;
use depth::{Depth, Holds};

/// Received bytes that a thread decrypts at once: eight full records.
const WIRE: usize = 8 * (MAX_PLAIN + OVERHEAD);
/// Bytes encrypted and handed to the socket at once: eight full records.
const PLAIN: usize = 8 * MAX_PLAIN;
/// The largest payload of a record.
const MAX_PLAIN: usize = 16 * 1024;
/// What a record of ours adds: header, content type, tag.
const OVERHEAD: usize = 5 + 1 + 16;
/// The largest record that a peer may send, which pads it to the limit (RFC 8446 §5.2).
const LARGEST_RECORD: usize = 5 + MAX_PLAIN + 256;
/// Room for a KeyUpdate that rustls may put before the records.
const KEY_UPDATE: usize = 64;
/// Bytes read at once while shaking hands.
const HANDSHAKE_READ: usize = 4 * 1024;
/// What the peer may say before the handshake is over: rustls takes handshake messages of 64 KiB.
const HANDSHAKE_LIMIT: usize = 128 * 1024;

thread_local! {
    static WIRE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SEALED_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A TLS connection whose handshake is over.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    session: Session,
    /// Received and not yet decrypted: a part of a record.
    incoming: Vec<u8>,
    /// Decrypted and not yet read; only where the reader's buffer was too small.
    unread: Vec<u8>,
    /// Encrypted and not yet taken by the socket.
    outgoing: Vec<u8>,
    /// The peer has said that it sends no more.
    ended: bool,
    /// This side has.
    closing: bool,
    depth: Depth,
}

/// Boxed, because it is large and is moved from the handshake's task into the connection's.
enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What a step of the session is given to put things into, and to encrypt.
struct Work<'a> {
    plain: &'a mut dyn FnMut(&[u8]),
    outgoing: &'a mut Vec<u8>,
}

/// What comes after a step.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Next {
    /// Another step.
    Again,
    /// More bytes from the peer.
    Read,
    /// The same, and the handshake is not over.
    Handshake,
    /// The peer has said that it sends no more; another step.
    Ended,
}

impl TlsStream {
    /// Shakes hands as the server.
    pub(crate) async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Self::shake_hands(tcp, Session::Server(Box::new(session))).await
    }

    /// Shakes hands as the client.
    pub(crate) async fn connect(
        tcp: TcpStream,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        Self::shake_hands(tcp, Session::Client(Box::new(session))).await
    }

    /// What the handshake has agreed on.
    pub(crate) fn session(&self) -> &CommonState {
        self.session.common()
    }

    async fn shake_hands(tcp: TcpStream, session: Session) -> io::Result<Self> {
        let (incoming, unread, outgoing) = Default::default();
        let depth = Depth::new(Duration::ZERO);
        let mut this = Self { tcp, session, incoming, unread, outgoing, ended: false, closing: false, depth };
        // The longest wait for the peer's words: about a round trip, for either side.
        let (mut received, mut waited) = (Vec::new(), Duration::ZERO);
        loop {
            let next = this.advance(&mut received);
            // An alert is told to the peer as well as may be.
            let sent = this.send_all().await;
            let (next, ()) = (next?, sent?);
            if next == Next::Ended || received.len() > HANDSHAKE_LIMIT {
                return Err(invalid(TlsError::HandshakeNotComplete));
            }
            if next == Next::Read && !this.session().is_handshaking() {
                this.incoming = received.as_slice().to_vec();
                this.depth = Depth::new(waited);
                return Ok(this);
            }
            received.reserve(HANDSHAKE_READ);
            let asked = Instant::now();
            if this.tcp.read_buf(&mut received).await? == 0 {
                return Err(cut_off());
            }
            waited = waited.max(asked.elapsed());
        }
    }

    /// Takes in what there is of the handshake, and perhaps of what follows it.
    fn advance(&mut self, received: &mut Vec<u8>) -> io::Result<Next> {
        let Self { session, unread, outgoing, .. } = self;
        let mut work = Work { plain: &mut |plain| unread.extend_from_slice(plain), outgoing };
        let (used, next) = session.take_in(received, &mut work);
        received.drain(..used);
        next
    }

    async fn send_all(&mut self) -> io::Result<()> {
        let outgoing = std::mem::take(&mut self.outgoing);
        self.tcp.write_all(&outgoing).await
    }

    /// Writes what the socket left over before.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            let rest = self.outgoing.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if sent == self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..sent);
        }
        result
    }

    /// Reads the socket into `wire` and decrypts what is whole, until there is plaintext or an end.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Vec<u8>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        wire.resize(WIRE, 0);
        loop {
            let kept = self.incoming.len();
            // As much as the reader surely has room for, but always enough to complete a record. What is kept is a part
            // of a record or, rarely, of a handshake message, which rustls limits to 64 KiB.
            let most = buffer.remaining().max(kept + LARGEST_RECORD).min(WIRE);
            if kept >= most {
                return Poll::Ready(Err(invalid(TlsError::General("a message is too long".to_owned()))));
            }
            let mut fresh = ReadBuf::new(wire.get_mut(kept..most).unwrap_or_default());
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut fresh))?;
            let count = fresh.filled().len();
            if count == 0 {
                return Poll::Ready(Err(cut_off()));
            }
            if let Some(front) = wire.get_mut(..kept) {
                front.copy_from_slice(&self.incoming);
            }
            let received = wire.get_mut(..kept + count).unwrap_or_default();
            let before = buffer.filled().len();
            let (used, result) = self.decrypt(received, buffer);
            self.incoming = received.get(used..).unwrap_or_default().to_vec();
            // An alert or a KeyUpdate goes out as soon as the socket takes it.
            if !self.outgoing.is_empty()
                && let Poll::Ready(Err(error)) = self.poll_send(cx)
            {
                return Poll::Ready(Err(error));
            }
            result?;
            if buffer.filled().len() > before || self.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Decrypts the whole records at the front of `received` and returns their length.
    fn decrypt(&mut self, received: &mut [u8], buffer: &mut ReadBuf<'_>) -> (usize, io::Result<()>) {
        let Self { session, unread, outgoing, ended, .. } = self;
        let mut plain = |plain: &[u8]| {
            let (now, later) = plain.split_at(plain.len().min(buffer.remaining()));
            buffer.put_slice(now);
            unread.extend_from_slice(later);
        };
        let mut work = Work { plain: &mut plain, outgoing };
        let mut at = 0;
        loop {
            let rest = received.get_mut(at..).unwrap_or_default();
            let (used, next) = session.take_in(rest, &mut work);
            at += used;
            match next {
                Ok(Next::Ended) => *ended = true,
                next => return (at, next.map(|_| ())),
            }
        }
    }

    /// Encrypts `plain` and writes it; what the socket leaves over is kept.
    fn send(&mut self, cx: &mut Context<'_>, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        // rustls remembers where in `incoming` it stopped, so it has to be there.
        let incoming = &mut self.incoming;
        let length = match &mut self.session {
            Session::Client(session) => seal(session.process_tls_records(incoming), plain, sealed),
            Session::Server(session) => seal(session.process_tls_records(incoming), plain, sealed),
        }?;
        let sealed = sealed.get(..length).unwrap_or_default();
        let mut sent = 0;
        while let Some(rest) = sealed.get(sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => sent += count?,
                Poll::Pending => {
                    self.outgoing.extend_from_slice(rest);
                    break;
                }
            }
        }
        match self.depth.wrote(!self.outgoing.is_empty(), Instant::now) {
            Some(Holds { unsent, all }) => {
                all.map_or(Ok(()), |all| socket::widen(&self.tcp, all))?;
                socket::set_depth(&self.tcp, unsent)
            }
            None => Ok(()),
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buffer.remaining());
            buffer.put_slice(this.unread.get(..count).unwrap_or_default());
            this.unread = this.unread.get(count..).unwrap_or_default().to_vec();
            return Poll::Ready(Ok(()));
        }
        if this.ended || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut wire = WIRE_BUFFER.take();
        let result = this.poll_receive(cx, &mut wire, buffer);
        WIRE_BUFFER.set(wire);
        result
    }
}

impl AsyncWrite for TlsStream {
    /// Takes bytes only while nothing is left over from before.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send(cx))?;
        let plain = plain.get(..PLAIN).unwrap_or(plain);
        let mut sealed = SEALED_BUFFER.take();
        let result = this.send(cx, plain, &mut sealed);
        SEALED_BUFFER.set(sealed);
        Poll::Ready(result.map(|()| plain.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.closing, true) {
            let (mut sealed, incoming) = (Vec::new(), &mut this.incoming);
            let length = match &mut this.session {
                Session::Client(session) => say_end(session.process_tls_records(incoming), &mut sealed),
                Session::Server(session) => say_end(session.process_tls_records(incoming), &mut sealed),
            }?;
            this.outgoing.extend_from_slice(sealed.get(..length).unwrap_or_default());
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

impl Session {
    fn common(&self) -> &CommonState {
        match self {
            Self::Client(session) => session,
            Self::Server(session) => session,
        }
    }

    /// Takes in `received` until more is needed or the peer has ended; says how much of it was used.
    fn take_in(&mut self, received: &mut [u8], work: &mut Work<'_>) -> (usize, io::Result<Next>) {
        let mut used = 0;
        loop {
            let rest = received.get_mut(used..).unwrap_or_default();
            let (more, next) = self.step(rest, work);
            used += more;
            match next {
                Ok(Next::Again) => {}
                Ok(next) => return (used, Ok(next)),
                Err(error) => {
                    // What rustls has to say about it, an alert, is to be had from it still. It must not look any
                    // further: a second failure would be its own.
                    while self.common().wants_write() {
                        let rest = received.get_mut(used..).unwrap_or_default();
                        used += self.step(rest, work).0;
                    }
                    return (used, Err(error));
                }
            }
        }
    }

    /// Does what the next state asks for; says how much of `received` it used.
    fn step(&mut self, received: &mut [u8], work: &mut Work<'_>) -> (usize, io::Result<Next>) {
        match self {
            Self::Client(session) => step(session.process_tls_records(received), work),
            Self::Server(session) => step(session.process_tls_records(received), work),
        }
    }
}

/// Does what one state of the session asks for.
fn step<D>(status: UnbufferedStatus<'_, '_, D>, work: &mut Work<'_>) -> (usize, io::Result<Next>) {
    let UnbufferedStatus { mut discard, state, .. } = status;
    let next = match state.map_err(invalid) {
        Ok(ConnectionState::ReadTraffic(mut records)) => loop {
            match records.next_record() {
                Some(Ok(record)) => {
                    (work.plain)(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Err(invalid(error)),
                None => break Ok(Next::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            let start = work.outgoing.len();
            let length = match message.encode(&mut []) {
                Err(EncodeError::InsufficientSize(size)) => size.required_size,
                _ => 0,
            };
            work.outgoing.resize(start + length, 0);
            let encoded = message.encode(work.outgoing.get_mut(start..).unwrap_or_default());
            encoded.map(|_| Next::Again).map_err(io::Error::other)
        }
        // It is in `outgoing`, which is sent before anything else.
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Read),
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Handshake),
        Ok(ConnectionState::PeerClosed) => Ok(Next::Ended),
        Ok(ConnectionState::Closed) => Ok(Next::Read),
        // Early data, which no configuration of ours accepts.
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(error),
    };
    (discard, next)
}

/// Encrypts `plain` into `sealed`, which grows as needed, and says how long that became.
fn seal<D>(status: UnbufferedStatus<'_, '_, D>, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<usize> {
    let needed = plain.len() + plain.len().div_ceil(MAX_PLAIN) * OVERHEAD + KEY_UPDATE;
    with_room(writing(status)?, sealed, needed, |traffic, sealed| traffic.encrypt(plain, sealed))
}

/// The same for the alert that ends a connection in good order.
fn say_end<D>(status: UnbufferedStatus<'_, '_, D>, sealed: &mut Vec<u8>) -> io::Result<usize> {
    with_room(writing(status)?, sealed, 2 * KEY_UPDATE, |traffic, sealed| traffic.queue_close_notify(sealed))
}

/// Between two reads a session is ready to write, and wants nothing else.
fn writing<'c, D>(status: UnbufferedStatus<'c, '_, D>) -> io::Result<WriteTraffic<'c, D>> {
    match status.state.map_err(invalid)? {
        ConnectionState::WriteTraffic(traffic) => Ok(traffic),
        ConnectionState::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        state => Err(io::Error::other(format!("TLS is not ready to write: {state:?}"))),
    }
}

fn with_room<D>(
    mut traffic: WriteTraffic<'_, D>,
    sealed: &mut Vec<u8>,
    mut needed: usize,
    mut encrypt: impl FnMut(&mut WriteTraffic<'_, D>, &mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<usize> {
    loop {
        if sealed.len() < needed {
            sealed.resize(needed, 0);
        }
        match encrypt(&mut traffic, sealed) {
            Ok(length) => return Ok(length),
            Err(EncryptError::InsufficientSize(size)) if size.required_size > needed => {
                needed = size.required_size;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn invalid(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The byte stream ended and TLS did not: whoever cuts it may have cut something off.
fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed the TCP connection without ending TLS")
}

#[cfg(test)]
mod tests;
