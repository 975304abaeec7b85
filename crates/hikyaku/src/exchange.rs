//! Exchanges: one conversation between two programs, on one stream.
//!
//! A call, a stream of answers, an upload, a duplex talk and a server's push are all the same thing: one side opens
//! an exchange, both may send messages and data, each says END when it has said everything. Dropping an exchange
//! that is not finished cancels it, and the other side is told. Spec: chapter 3, "Exchanges".

mod guard;
mod receiver;
mod sender;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hikyaku_wire::codes::ErrorCode;
use minicbor::{Decode, Encode};

use crate::connection::Connection;
use crate::datagrams::Datagrams;
use crate::error::{Error, Failure, Result};
use crate::identity::KeyId;

pub(crate) use guard::{ExchangeGuard, Outcome};
pub use receiver::Receiver;
pub use sender::{Encoded, Sender};
pub(crate) use sender::{SendState, Ticket};

/// What arrives on an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message: one CBOR item that keeps the profile.
    Message(Bytes),
    /// Some bytes of a DATA frame, in any size. Frames are a matter of transport; only the bytes count.
    Data(Bytes),
}

/// One conversation with the peer. `C` is the connection's context, which authorisation made.
///
/// ```no_run
/// # async fn handler(mut exchange: hikyaku::Exchange) -> hikyaku::Result<()> {
/// let question: String = exchange.receive().await?;
/// exchange.reply(&question.to_uppercase()).await
/// # }
/// ```
pub struct Exchange<C = ()> {
    sender: Sender,
    receiver: Receiver,
    request: Arc<Request>,
    context: Arc<C>,
}

/// What OPEN said.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) protocol: String,
    pub(crate) method: String,
    pub(crate) metadata: Bytes,
}

impl<C> Exchange<C> {
    pub(crate) fn new(sender: Sender, receiver: Receiver, request: Request, context: Arc<C>) -> Self {
        Self { sender, receiver, request: Arc::new(request), context }
    }

    /// The application protocol, such as `chat/1`.
    pub fn protocol(&self) -> &str {
        &self.request.protocol
    }

    /// What of it is asked for, such as `send`; may be empty.
    pub fn method(&self) -> &str {
        &self.request.method
    }

    /// What the opener sent beside its messages; at most 4 KiB, often empty.
    pub fn metadata(&self) -> &Bytes {
        &self.request.metadata
    }

    /// When the exchange must be over. Both sides enforce it.
    pub fn deadline(&self) -> Option<Instant> {
        self.sender.deadline
    }

    /// What authorisation knows of the peer.
    pub fn context(&self) -> &C {
        &self.context
    }

    /// The same, to keep beyond the exchange.
    pub fn shared_context(&self) -> Arc<C> {
        self.context.clone()
    }

    /// The peer's key.
    pub fn peer(&self) -> KeyId {
        self.connection().peer()
    }

    /// The connection it runs on, on which more exchanges may be opened towards the peer.
    pub fn connection(&self) -> &Connection {
        &self.sender.connection
    }

    /// Sends one message now, waiting for the peer's credit.
    pub async fn send<M: Encode<()>>(&mut self, message: &M) -> Result<()> {
        self.sender.send(message).await
    }

    /// Puts one message into the buffer; it leaves with the next send, receive, flush or finish.
    pub async fn feed<M: Encode<()>>(&mut self, message: &M) -> Result<()> {
        self.sender.feed(message).await
    }

    /// Sends an already encoded CBOR item as a message, unchanged.
    pub async fn send_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.sender.send_encoded(item).await
    }

    /// Sends bytes as one DATA frame, uncopied, waiting for the peer's credit.
    pub async fn send_data(&mut self, data: Bytes) -> Result<()> {
        self.sender.send_data(data).await
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<()> {
        self.sender.flush().await
    }

    /// Says END: everything was said, and it went well.
    pub async fn finish(&mut self) -> Result<()> {
        self.sender.finish().await
    }

    /// Sends the last message and END in one go.
    pub async fn reply<M: Encode<()>>(&mut self, message: &M) -> Result<()> {
        self.sender.feed(message).await?;
        self.sender.finish().await
    }

    /// Makes room for an answer before it is made: see [`Sender::reserve`].
    pub fn reserve(&mut self, wanted: u64, least: u64) -> Result<u64> {
        self.sender.reserve(wanted, least)
    }

    /// Answers with a failure, which ends this side of the exchange.
    pub async fn fail(&mut self, failure: Failure) -> Result<()> {
        self.sender.fail(failure).await
    }

    /// The next message, decoded. END is [`Error::Ended`] here; where it is a possible answer, use [`Exchange::next`].
    pub async fn receive<M: for<'b> Decode<'b, ()>>(&mut self) -> Result<M> {
        self.flush_to_hear().await?;
        self.receiver.receive().await
    }

    /// What arrives next, or `None` when the peer has said END: only then was everything heard.
    pub async fn next(&mut self) -> Result<Option<Incoming>> {
        self.flush_to_hear().await?;
        self.receiver.next().await
    }

    /// Expects the peer's END and nothing else.
    pub async fn ended(&mut self) -> Result<()> {
        self.flush_to_hear().await?;
        self.receiver.ended().await
    }

    /// The datagrams of this exchange: small, fast, and never promised.
    pub fn datagrams(&self) -> Datagrams {
        Datagrams::new(self.connection().clone(), self.sender.stream_id(), &self.sender.guard)
    }

    /// Higher is sent first; 0 at the beginning. Bulk should go below 0.
    pub fn set_priority(&mut self, priority: i32) {
        self.sender.set_priority(priority);
    }

    /// Both directions apart, to be used by two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Sends what was fed. That the peer reads no more is no reason not to hear what it says: it may say why.
    async fn flush_to_hear(&mut self) -> Result<()> {
        match self.sender.flush().await {
            Err(Error::Cancelled(_)) => Ok(()),
            flushed => flushed,
        }
    }
}

/// With which code an exchange is given up.
//= S3.54
fn giving_up(deadline: Option<Instant>) -> ErrorCode {
    match deadline {
        Some(at) if at <= Instant::now() => ErrorCode::STREAM_DEADLINE,
        _ => ErrorCode::CANCELLED,
    }
}

/// Runs `work` until the deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        None => work.await,
        Some(at) => tokio::time::timeout_at(at.into(), work).await.unwrap_or(Err(Error::Deadline)),
    }
}
