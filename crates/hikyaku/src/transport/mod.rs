//! Links: one connection's streams and datagrams, whatever carries them.
//!
//! The session above knows streams, credit and codes; it does not know whether QUIC or QMux moves them. A link
//! is an enum and not a trait because there are exactly two models of it, and everything on the hot path is then
//! a match instead of a virtual call. Spec: chapter 2.

pub(crate) mod mux;
pub(crate) mod quic;
pub(crate) mod socket;
pub(crate) mod tls_stream;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hikyaku_wire::recording::Kind;

use crate::budget::Windows;
use crate::error::{Closed, ClosedBy};
use crate::recording::Tap;

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// Whichever of QUIC and TCP answers first; `Prefer` says which is asked first.
    #[default]
    Auto,
    /// QMux over TLS 1.3 over TCP.
    Tcp,
    /// QUIC over UDP.
    Quic,
    /// QMux over a byte stream of the program's own: a pipe in memory or a Unix socket. The program vouches for
    /// the peer.
    Local,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Local => "local",
        })
    }
}

/// How one stream's half ended before its time.
#[derive(Debug, Clone)]
pub(crate) enum StreamError {
    /// The peer gave up sending, with this code.
    Reset(u64),
    /// The peer gave up reading, with this code.
    Stopped(u64),
    /// The half was already ended on this side.
    Ended,
    /// The connection is gone.
    Lost(Closed),
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// Larger than the peer takes, or than every binding can carry.
    #[error("the datagram has {size} bytes, and the peer takes {limit} at most")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The peer takes no datagrams.
    #[error("the peer takes no datagrams")]
    Unsupported,
    /// The peer has not been told of the exchange yet.
    #[error("the exchange has not been opened yet: flush it before its first datagram")]
    NotOpened,
    /// The transport has no room now; the datagram was not sent.
    #[error("the transport has no room for a datagram now")]
    Blocked,
    /// The exchange or its connection is over.
    #[error("the exchange is over")]
    Closed,
}

/// How long bytes on their way out have waited, measured from the first time that somebody asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// For the socket, which was full.
    pub socket: Duration,
    /// For the peer's credit, while the socket was not full.
    pub credit: Duration,
}

/// One connection's streams and datagrams. Cloning shares it.
#[derive(Clone)]
pub(crate) enum Link {
    Quic(quic::QuicLink),
    Mux(mux::MuxLink),
}

/// The sending half of a stream.
pub(crate) enum SendStream {
    Quic(quinn::SendStream, Option<Tap>),
    Mux(mux::MuxSend),
}

/// The receiving half of a stream.
pub(crate) enum RecvStream {
    Quic(quinn::RecvStream, Option<Tap>),
    Mux(mux::MuxRecv),
}

/// Both halves of a bidirectional stream.
pub(crate) type Bidirectional = (SendStream, RecvStream);

impl Link {
    /// Opens a bidirectional stream, waiting for the peer's credit.
    pub(crate) async fn open_bi(&self) -> Result<Bidirectional, Closed> {
        match self {
            Self::Quic(link) => Ok(link.with_tap(link.open_bi().await?)),
            Self::Mux(link) => link.open_bi().await.map(|(s, r)| (SendStream::Mux(s), RecvStream::Mux(r))),
        }
    }

    /// Opens a unidirectional stream, waiting for the peer's credit.
    pub(crate) async fn open_uni(&self) -> Result<SendStream, Closed> {
        match self {
            Self::Quic(link) => Ok(SendStream::Quic(link.open_uni().await?, link.tap.clone())),
            Self::Mux(link) => link.open_uni().await.map(SendStream::Mux),
        }
    }

    /// The next bidirectional stream that the peer opens.
    pub(crate) async fn accept_bi(&self) -> Result<Bidirectional, Closed> {
        match self {
            Self::Quic(link) => Ok(link.with_tap(link.accept_bi().await?)),
            Self::Mux(link) => link.accept_bi().await.map(|(s, r)| (SendStream::Mux(s), RecvStream::Mux(r))),
        }
    }

    /// The next unidirectional stream that the peer opens.
    pub(crate) async fn accept_uni(&self) -> Result<RecvStream, Closed> {
        match self {
            // Boxed, because every connection waits here for as long as it lives, and most are of the other kind.
            Self::Quic(link) => Ok(RecvStream::Quic(Box::pin(link.accept_uni()).await?, link.tap.clone())),
            Self::Mux(link) => link.accept_uni().await.map(RecvStream::Mux),
        }
    }

    pub(crate) fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        match self {
            Self::Quic(link) => link.send_datagram(datagram),
            Self::Mux(link) => link.send_datagram(datagram),
        }
    }

    pub(crate) async fn receive_datagram(&self) -> Result<Bytes, Closed> {
        match self {
            Self::Quic(link) => Box::pin(link.receive_datagram()).await,
            Self::Mux(link) => link.receive_datagram().await,
        }
    }

    /// Ends the connection at once; what was not delivered yet may be lost.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        match self {
            Self::Quic(link) => link.close(code, reason),
            Self::Mux(link) => link.close(code, reason),
        }
    }

    /// Waits until the connection has ended, however it does.
    pub(crate) async fn closed(&self) -> Closed {
        match self {
            Self::Quic(link) => Box::pin(link.closed()).await,
            Self::Mux(link) => link.closed().await,
        }
    }

    /// How the connection ended, if it has.
    pub(crate) fn close_reason(&self) -> Option<Closed> {
        match self {
            Self::Quic(link) => link.close_reason(),
            Self::Mux(link) => link.close_reason(),
        }
    }

    /// Whether this side has closed it.
    pub(crate) fn was_closed_here(&self) -> bool {
        self.close_reason().is_some_and(|closed| closed.by == ClosedBy::Us)
    }

    /// Waits until the last bytes of a closed connection have left.
    pub(crate) async fn flushed(&self) {
        match self {
            Self::Quic(link) => link.flushed().await,
            Self::Mux(link) => link.flushed().await,
        }
    }

    /// Raises the tiny first credit to what an authorised peer gets.
    pub(crate) fn raise(&self, windows: Windows, bidirectional: u64, unidirectional: u64) {
        match self {
            Self::Quic(link) => link.raise(windows, bidirectional, unidirectional),
            Self::Mux(link) => link.raise(windows, bidirectional, unidirectional),
        }
    }

    /// Gives an authorised peer more credit.
    pub(crate) fn widen(&self, window: u64) {
        match self {
            Self::Quic(link) => link.widen(window),
            Self::Mux(link) => link.widen(window),
        }
    }

    /// Lets an authorised peer have more exchanges open.
    pub(crate) fn allow_exchanges(&self, exchanges: u64) {
        match self {
            Self::Quic(link) => link.allow_exchanges(exchanges),
            Self::Mux(link) => link.allow_exchanges(exchanges),
        }
    }

    /// Lets more wait in the transport to be sent.
    pub(crate) fn widen_send(&self, window: u64) {
        match self {
            Self::Quic(link) => link.widen_send(window),
            Self::Mux(link) => link.widen_send(window),
        }
    }

    /// A round trip measured now; over QUIC, which measures all the time, the estimate.
    pub(crate) async fn ping(&self) -> Result<Duration, Closed> {
        match self {
            Self::Quic(link) => link.close_reason().map_or_else(|| Ok(link.rtt()), Err),
            Self::Mux(link) => link.ping().await,
        }
    }

    /// The last measured round trip.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Quic(link) => Some(link.rtt()),
            Self::Mux(link) => link.rtt(),
        }
    }

    /// What bytes on their way out have waited for; `None` over QUIC, where quinn does not tell.
    pub(crate) fn waits(&self) -> Option<Waits> {
        match self {
            Self::Quic(_) => None,
            Self::Mux(link) => Some(link.waits()),
        }
    }

    pub(crate) fn remote_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Quic(link) => Some(link.remote_address()),
            Self::Mux(link) => link.remote_address(),
        }
    }
}

impl SendStream {
    /// The QUIC stream id.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Quic(stream, _) => quinn::VarInt::from(stream.id()).into_inner(),
            Self::Mux(stream) => stream.id(),
        }
    }

    /// Hands over all of `chunk`, waiting for credit as often as needed. What is not handed over yet stays in `chunk`,
    /// so that a dropped future loses nothing.
    pub(crate) async fn write(&mut self, chunk: &mut Bytes) -> Result<(), StreamError> {
        match self {
            Self::Quic(stream, tap) => {
                while !chunk.is_empty() {
                    let before = tap.as_ref().map(|_| chunk.clone());
                    let written = stream.write_chunks(std::slice::from_mut(chunk)).await;
                    quic::record_written(stream, tap, before, chunk, &written);
                    written.map_err(quic::write_error)?;
                }
                Ok(())
            }
            Self::Mux(stream) => stream.write(chunk).await,
        }
    }

    /// Ends the stream after what was written.
    pub(crate) fn finish(&mut self) {
        match self {
            // The only error is that the stream is over already, which is what was asked for.
            Self::Quic(stream, tap) => {
                quic::record_over(stream.id(), tap, false, Kind::Fin, None);
                drop(stream.finish());
            }
            Self::Mux(stream) => stream.finish(),
        }
    }

    /// Gives up sending; the peer learns the code.
    pub(crate) fn reset(&mut self, code: u32) {
        match self {
            Self::Quic(stream, tap) => {
                quic::record_over(stream.id(), tap, false, Kind::Reset, Some(code.into()));
                drop(stream.reset(code.into()));
            }
            Self::Mux(stream) => stream.reset(code),
        }
    }

    /// Higher is sent first; streams of equal priority take turns.
    /// What is written from here on is worth a write of its own: it is not kept until others have spoken.
    pub(crate) fn hurry(&mut self) {
        if let Self::Mux(stream) = self {
            stream.hurry();
        }
    }

    pub(crate) fn set_priority(&mut self, priority: i32) {
        match self {
            Self::Quic(stream, _) => drop(stream.set_priority(priority)),
            Self::Mux(stream) => stream.set_priority(priority),
        }
    }

    /// Resolves when the peer needs nothing more from this half: `Ok` when it took everything including the end,
    /// an error when it stopped reading or the connection is gone.
    pub(crate) fn done(&self) -> Done {
        match self {
            Self::Quic(stream, _) => {
                let stopped = stream.stopped();
                Done::Quic(Box::pin(async move { quic::done(stopped.await) }))
            }
            Self::Mux(stream) => Done::Mux(stream.done()),
        }
    }
}

/// Waits until the peer needs nothing more from a sending half. It is part of every exchange and of every connection, so
/// quinn's, which is large, is boxed.
pub(crate) enum Done {
    Quic(Pin<Box<dyn Future<Output = Result<(), StreamError>> + Send>>),
    Mux(mux::Done),
}

impl Future for Done {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Quic(done) => done.as_mut().poll(cx),
            Self::Mux(done) => Pin::new(done).poll(cx),
        }
    }
}

impl RecvStream {
    /// The next bytes, at most `max`, or `None` at the end of the stream.
    pub(crate) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, StreamError> {
        match self {
            Self::Quic(stream, tap) => {
                let read = stream.read_chunk(max, true).await;
                quic::record_read(stream, tap, &read);
                match read {
                    Ok(chunk) => Ok(chunk.map(|c| c.bytes)),
                    Err(error) => Err(quic::read_error(error)),
                }
            }
            Self::Mux(stream) => stream.read(max).await,
        }
    }

    /// Gives up reading; the peer learns the code.
    pub(crate) fn stop(&mut self, code: u32) {
        match self {
            Self::Quic(stream, tap) => {
                quic::record_over(stream.id(), tap, false, Kind::Stop, Some(code.into()));
                drop(stream.stop(code.into()));
            }
            Self::Mux(stream) => stream.stop(code),
        }
    }
}
