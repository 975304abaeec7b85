//! Connections: what two programs share once they know each other.

mod inner;

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Open, milliseconds};
use hikyaku_wire::frame::{FrameLimits, FrameType};
use hikyaku_wire::hello::HelloLimits;
use minicbor::{Decode, Encode};
use tokio::sync::Notify;

use crate::budget::Share;
use crate::error::{Error, Result};
use crate::events::{By, Counts, Dropped, Recorder, Text, event};
use crate::exchange::{Exchange, ExchangeGuard, Receiver, Request, Sender};
use crate::identity::KeyId;
use crate::limits::{Limits, MIN_MESSAGE, MIN_METADATA};
use crate::recording::Tap;
use crate::session::datagrams::Demux;
use crate::session::inbound::Inbound;
use crate::tls::Negotiated;
use crate::transport::{Bidirectional, Link, Transport};

pub(crate) use inner::Inner;

/// What is assumed of a peer whose HELLO has not arrived yet: the least that any peer accepts. Its exchanges may
/// overtake HELLO on QUIC.
//= S3.30
const ASSUMED_LIMITS: HelloLimits =
    HelloLimits { max_message: MIN_MESSAGE, max_metadata: MIN_METADATA, max_datagram: 0 };

/// A connection to one peer, whose key is known. Cloning shares it; a client's last clone closes it.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    _close: Option<Arc<CloseOnDrop>>,
}

/// What a connection is made with, beside its link and its peer.
pub(crate) struct Setup {
    pub(crate) transport: Transport,
    pub(crate) limits: Arc<Limits>,
    pub(crate) share: Share,
    pub(crate) stranger: bool,
    /// The last clone closes it.
    pub(crate) close_on_drop: bool,
    pub(crate) events: Arc<Recorder>,
    /// What TLS agreed on, where there is TLS.
    pub(crate) negotiated: Option<Negotiated>,
    pub(crate) tap: Option<Tap>,
}

/// A client's connection ends when nobody holds it any more.
struct CloseOnDrop(Link);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(ErrorCode::NO_ERROR.0, "");
    }
}

/// What a peer said in its HELLO.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerHello {
    /// What it accepts, in bytes.
    pub limits: HelloLimits,
    /// What it calls itself, such as `hikyaku/0.1.0`.
    pub agent: Text,
}

/// How an exchange is opened.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// The exchange must be over after this time; both sides enforce it.
    pub deadline: Option<Duration>,
    /// Travels with OPEN, beside the messages; at most 4 KiB.
    pub metadata: Bytes,
}

impl CallOptions {
    /// For a question that is asked to answer `exchange`: it has the time that is left of that one, and no more.
    //= S3.55
    pub fn on_behalf_of<C>(exchange: &Exchange<C>) -> Self {
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        Self { deadline: exchange.deadline().map(left), metadata: Bytes::new() }
    }
}

impl Connection {
    pub(crate) fn new(link: Link, peer: KeyId, setup: Setup) -> Self {
        let close = setup.close_on_drop.then(|| Arc::new(CloseOnDrop(link.clone())));
        Self { inner: Arc::new(Inner::new(link, peer, setup)), _close: close }
    }

    /// Opens an exchange. OPEN leaves with the first message, or when something is awaited.
    pub async fn open(&self, protocol: &str, method: &str) -> Result<Exchange> {
        self.open_with(protocol, method, CallOptions::default()).await
    }

    /// Opens an exchange with a deadline or metadata.
    pub async fn open_with(&self, protocol: &str, method: &str, options: CallOptions) -> Result<Exchange> {
        // A time that no clock can hold is no limit.
        let deadline = options.deadline.and_then(|after| Instant::now().checked_add(after));
        let opened = self.open_stream(&options);
        let stream = match deadline {
            None => opened.await?,
            Some(at) => tokio::time::timeout_at(at.into(), opened).await.map_err(|_| Error::Deadline)??,
        };
        let open = Open {
            protocol: protocol.to_owned(),
            method: method.to_owned(),
            // What is left of it: waiting for a free stream has taken its part.
            deadline_ms: deadline.map(|at| milliseconds(at.saturating_duration_since(Instant::now()))),
            metadata: (!options.metadata.is_empty()).then(|| options.metadata.clone()),
        };
        let inbound = Inbound::asking(self.frame_limits());
        let (mut sender, receiver) = self.halves(stream, By::Us, inbound, deadline);
        if !sender.guard().is_admitted() {
            // GOAWAY came while the stream was being opened. Nothing was said on it.
            return Err(Error::Refused);
        }
        sender.guard().announce(&open.protocol, &open.method);
        sender.feed_frame(FrameType::OPEN, &open.encode());
        let request = Request { protocol: open.protocol, method: open.method, metadata: options.metadata };
        Ok(Exchange::new(sender, receiver, request, Arc::new(())))
    }

    /// A new stream, as soon as the peer has said HELLO and has credit for it, and unless it is going away.
    //= S3.25
    //= S3.72
    async fn open_stream(&self, options: &CallOptions) -> Result<Bidirectional> {
        if !self.inner.has_hello() {
            crate::session::established(self).await?;
        }
        let limit = self.peer_limits().max_metadata.min(Open::MAX_METADATA as u64);
        let size = options.metadata.len() as u64;
        if size > limit {
            let owner = By::Peer;
            event!(self.inner.events, LimitReached { limit: "max_metadata", value: limit, owner });
            return Err(Error::TooLarge { what: "metadata", size, name: "max_metadata", limit });
        }
        if self.inner.is_peer_going_away() {
            return Err(Error::Refused);
        }
        tokio::select! {
            biased;
            opened = self.inner.link.open_bi() => Ok(opened?),
            () = self.when(Inner::is_peer_going_away) => Err(Error::Refused),
        }
    }

    /// One question, one answer. It is asked once, whatever happens: repeating is for those who know the question.
    //= S3.63
    pub async fn call<Q, A>(&self, protocol: &str, method: &str, question: &Q) -> Result<A>
    where
        Q: Encode<()>,
        A: for<'b> Decode<'b, ()>,
    {
        self.call_with(protocol, method, question, CallOptions::default()).await
    }

    /// One question, one answer, with a deadline or metadata.
    pub async fn call_with<Q, A>(
        &self,
        protocol: &str,
        method: &str,
        question: &Q,
        options: CallOptions,
    ) -> Result<A>
    where
        Q: Encode<()>,
        A: for<'b> Decode<'b, ()>,
    {
        let mut exchange = self.open_with(protocol, method, options).await?;
        match exchange.reply(question).await {
            // The peer reads no more of the question; it may have answered nevertheless, and says so.
            Ok(()) | Err(Error::Cancelled(_)) => {}
            Err(error) => return Err(error),
        }
        let answer = exchange.receive().await?;
        exchange.ended().await?;
        Ok(answer)
    }

    /// The peer's key.
    pub fn peer(&self) -> KeyId {
        self.inner.peer
    }

    /// What carries this connection.
    pub fn transport(&self) -> Transport {
        self.inner.transport
    }

    /// The peer's network address, where it has one.
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.inner.link.remote_address()
    }

    /// The last measured round trip; over TCP it is measured by keep-alive pings, so a young connection has none.
    pub fn rtt(&self) -> Option<Duration> {
        self.inner.link.rtt()
    }

    /// Measures a round trip of the transport. Over TCP it asks and waits for the answer; QUIC measures all the time and
    /// gives its estimate.
    pub async fn ping(&self) -> Result<Duration> {
        Ok(self.inner.link.ping().await?)
    }

    /// What the peer said in its HELLO: what it accepts, and what it calls itself. `None` until it has arrived.
    pub fn peer_hello(&self) -> Option<PeerHello> {
        let limits = *self.inner.peer_limits.get()?;
        Some(PeerHello { limits, agent: self.inner.peer_agent.get()?.clone() })
    }

    /// Datagrams that arrived here and were dropped: for an unknown exchange, or for a full queue.
    pub fn datagrams_dropped(&self) -> u64 {
        self.inner.with_demux(|_| Dropped::Unclaimed, |demux| demux.dropped(Instant::now()))
    }

    /// What TLS agreed on; nothing on a local connection, which has none.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.inner.negotiated.as_ref()
    }

    /// How often each event has happened on this connection; who has counted to 2^32 − 1 stays there.
    pub fn counts(&self) -> Counts {
        self.inner.events.counts()
    }

    /// Waits until the connection has ended and says how.
    pub async fn closed(&self) -> Error {
        Error::Closed(self.inner.link.closed().await)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.link.close_reason().is_some()
    }

    /// Waits until either side has said that it is going away: time for a long exchange to come to an end.
    pub async fn draining(&self) {
        self.when(|inner| inner.is_going_away() || inner.link.close_reason().is_some()).await;
    }

    /// Closes without losing anything: no new exchange is taken, the open ones may finish, and the side that received
    /// last closes. After [`Limits::drain_timeout`] the connection is closed anyway.
    pub async fn drain(&self) {
        self.drain_within(self.inner.limits.drain_timeout).await;
    }

    /// The same with another time limit.
    pub async fn drain_within(&self, time: Duration) {
        crate::session::drain(&self.inner, time).await;
        self.inner.link.flushed().await;
    }

    /// Closes at once and waits until the peer has been told. For the side that has received everything it asked for.
    pub async fn close(&self) {
        self.inner.link.close(ErrorCode::NO_ERROR.0, "");
        self.inner.link.flushed().await;
    }

    /// Ends the connection at once with a code; what was not delivered yet is lost.
    pub fn abort(&self, code: ErrorCode, reason: &str) {
        self.inner.link.close(code.0, reason);
    }

    /// What the peer accepts.
    pub(crate) fn peer_limits(&self) -> HelloLimits {
        self.inner.peer_limits.get().copied().unwrap_or(ASSUMED_LIMITS)
    }

    /// The frames this side accepts.
    pub(crate) fn frame_limits(&self) -> FrameLimits {
        self.inner.frame_limits()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.inner.link
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Counts an exchange in and makes its two directions.
    pub(crate) fn halves(
        &self,
        (send, receive): Bidirectional,
        by: By,
        inbound: Inbound,
        deadline: Option<Instant>,
    ) -> (Sender, Receiver) {
        let guard = ExchangeGuard::new(&self.inner, by, send.id());
        let sender = Sender::new(send, self.clone(), deadline, None, guard.clone());
        (sender, Receiver::new(receive, inbound, self.clone(), deadline, guard))
    }

    pub(crate) fn register_datagrams(&self, exchange: u64) -> Arc<Notify> {
        self.inner.with_demux(|_| Dropped::Unclaimed, |demux| demux.register(exchange, Instant::now()))
    }

    pub(crate) fn unregister_datagrams(&self, exchange: u64) {
        self.inner.with_demux(|_| Dropped::Unread, |demux| demux.unregister(exchange));
    }

    pub(crate) fn take_datagram(&self, exchange: u64) -> Option<Bytes> {
        self.demux().take(exchange)
    }

    /// Waits until `condition` holds.
    pub(crate) async fn when(&self, condition: impl Fn(&Inner) -> bool) {
        self.inner.when(condition).await;
    }

    fn demux(&self) -> MutexGuard<'_, Demux> {
        self.inner.demux()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} over {})", self.peer(), self.transport())
    }
}
