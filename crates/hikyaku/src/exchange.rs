//! Exchanges: one conversation between two programs, on one stream.
//!
//! A call, a stream of answers, an upload, a duplex talk and a server's push are all the same thing: one side opens
//! an exchange, both may send messages and data, each says END when it has said everything. Dropping an exchange
//! that is not finished cancels it, and the other side is told. Spec: chapter 3, "Exchanges".

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hikyaku_wire::cbor::{self, CborError};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::frame::{self, FrameType};
use minicbor::{Decode, Encode};

use crate::connection::{Connection, ExchangeGuard};
use crate::datagrams::Datagrams;
use crate::error::{Error, Failure, Result};
use crate::identity::KeyId;
use crate::session::inbound::{Inbound, Said};
use crate::transport::{RecvStream, SendStream};

/// Bytes read from a stream at once.
const READ_CHUNK: usize = 256 * 1024;
/// Fed messages are sent by themselves once they fill this many bytes.
const FEED_LIMIT: usize = 64 * 1024;

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

    /// Answers with a failure, which ends this side of the exchange.
    pub async fn fail(&mut self, failure: Failure) -> Result<()> {
        self.sender.fail(failure).await
    }

    /// The next message, decoded. END is [`Error::Ended`] here; where it is a possible answer, use [`Exchange::next`].
    pub async fn receive<M: for<'b> Decode<'b, ()>>(&mut self) -> Result<M> {
        self.sender.flush().await?;
        self.receiver.receive().await
    }

    /// What arrives next, or `None` when the peer has said END: only then was everything heard.
    pub async fn next(&mut self) -> Result<Option<Incoming>> {
        self.sender.flush().await?;
        self.receiver.next().await
    }

    /// Expects the peer's END and nothing else.
    pub async fn ended(&mut self) -> Result<()> {
        self.sender.flush().await?;
        self.receiver.ended().await
    }

    /// The datagrams of this exchange: small, fast, and never promised.
    pub fn datagrams(&self) -> Datagrams {
        Datagrams::new(self.connection().clone(), self.sender.stream_id())
    }

    /// Higher is sent first; 0 at the beginning. Bulk should go below 0.
    pub fn set_priority(&mut self, priority: i32) {
        self.sender.set_priority(priority);
    }

    /// Both directions apart, to be used by two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The sending direction of an exchange.
pub struct Sender {
    stream: Option<SendStream>,
    connection: Connection,
    buffer: BytesMut,
    state: SendState,
    deadline: Option<Instant>,
    /// Where an unfinished stream goes back to, so that whoever runs the handler can say how it ended.
    ticket: Option<Arc<Ticket>>,
    _guard: Arc<ExchangeGuard>,
}

/// How far this direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendState {
    /// Between two frames.
    Open,
    /// Inside a write: if it is abandoned now, the stream cannot be continued.
    Writing,
    /// END or ERROR was said.
    Finished,
}

/// An unfinished sending half, left behind by a handler.
#[derive(Default)]
pub(crate) struct Ticket {
    left: Mutex<Option<Sender>>,
}

impl Ticket {
    pub(crate) fn take(&self) -> Option<Sender> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Sender {
    pub(crate) fn new(
        stream: SendStream,
        connection: Connection,
        deadline: Option<Instant>,
        ticket: Option<Arc<Ticket>>,
        guard: Arc<ExchangeGuard>,
    ) -> Self {
        let (buffer, state) = (BytesMut::new(), SendState::Open);
        Self { stream: Some(stream), connection, buffer, state, deadline, ticket, _guard: guard }
    }

    /// Sends one message now, waiting for the peer's credit.
    pub async fn send<M: Encode<()>>(&mut self, message: &M) -> Result<()> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Puts one message into the buffer; it leaves with the next send, flush or finish.
    pub async fn feed<M: Encode<()>>(&mut self, message: &M) -> Result<()> {
        self.feed_encoded(&cbor::encode(message)).await
    }

    /// Sends an already encoded CBOR item as a message, unchanged.
    pub async fn send_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.feed_encoded(item).await?;
        self.flush().await
    }

    async fn feed_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.check_open()?;
        let (size, limit) = (item.len() as u64, self.connection.peer_limits().max_message);
        if size > limit {
            return Err(Error::TooLarge { what: "message", size, name: "max_message", limit });
        }
        self.feed_frame(FrameType::MESSAGE, item);
        if self.buffer.len() >= FEED_LIMIT { self.flush().await } else { Ok(()) }
    }

    /// Sends bytes as one DATA frame, uncopied, waiting for the peer's credit.
    pub async fn send_data(&mut self, data: Bytes) -> Result<()> {
        self.check_open()?;
        frame::encode_header(FrameType::DATA, data.len() as u64, &mut self.buffer);
        let header = self.buffer.split().freeze();
        self.write([header, data]).await
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.check_open()?;
        let fed = self.buffer.split().freeze();
        self.write([fed]).await
    }

    /// Says END: everything was said, and it went well.
    pub async fn finish(&mut self) -> Result<()> {
        self.check_open()?;
        self.feed_frame(FrameType::END, &[]);
        self.end().await
    }

    /// Answers with a failure, which ends this direction.
    pub async fn fail(&mut self, failure: Failure) -> Result<()> {
        self.check_open()?;
        self.feed_frame(FrameType::ERROR, &failure.encode());
        self.end().await
    }

    /// Waits until the peer's transport has everything, or until it stopped reading.
    pub(crate) async fn delivered(&self) {
        if let Some(stream) = &self.stream {
            // Either way there is nothing left to wait for.
            let _ = stream.done().await;
        }
    }

    pub(crate) fn stream_id(&self) -> u64 {
        self.stream.as_ref().map_or(0, SendStream::id)
    }

    pub(crate) fn state(&self) -> SendState {
        self.state
    }

    /// Higher is sent first; 0 at the beginning.
    pub fn set_priority(&mut self, priority: i32) {
        if let Some(stream) = &mut self.stream {
            stream.set_priority(priority);
        }
    }

    pub(crate) fn feed_frame(&mut self, ty: FrameType, payload: &[u8]) {
        frame::encode(ty, payload, &mut self.buffer);
    }

    /// What a handler is given: if it leaves the stream unfinished, the stream goes back to its runner.
    pub(crate) fn with_ticket(mut self, ticket: Arc<Ticket>, deadline: Option<Instant>) -> Self {
        self.ticket = Some(ticket);
        self.deadline = deadline;
        self
    }

    /// The runner of a handler speaks after the handler did, whatever time it is.
    pub(crate) fn without_deadline(mut self) -> Self {
        self.deadline = None;
        self.ticket = None;
        self
    }

    pub(crate) fn reset(&mut self, code: ErrorCode) {
        self.state = SendState::Finished;
        if let Some(stream) = &mut self.stream {
            stream.reset(code.0);
        }
    }

    async fn end(&mut self) -> Result<()> {
        let fed = self.buffer.split().freeze();
        self.write([fed]).await?;
        self.state = SendState::Finished;
        if let Some(stream) = &mut self.stream {
            stream.finish();
        }
        Ok(())
    }

    async fn write<const N: usize>(&mut self, chunks: [Bytes; N]) -> Result<()> {
        let stream = self.stream.as_mut().ok_or(Error::AlreadyFinished)?;
        // Should this future be dropped half-way, the state says so.
        self.state = SendState::Writing;
        within(self.deadline, async {
            for chunk in chunks {
                stream.write(chunk).await?;
            }
            Ok(())
        })
        .await?;
        self.state = SendState::Open;
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.state == SendState::Open { Ok(()) } else { Err(Error::AlreadyFinished) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if let Some(ticket) = self.ticket.take() {
            let left = Sender {
                stream: Some(stream),
                connection: self.connection.clone(),
                buffer: std::mem::take(&mut self.buffer),
                state: self.state,
                deadline: None,
                ticket: None,
                _guard: self._guard.clone(),
            };
            *ticket.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
            return;
        }
        if self.state != SendState::Finished {
            let mut stream = stream;
            stream.reset(ErrorCode::CANCELLED.0);
        }
    }
}

/// The receiving direction of an exchange.
pub struct Receiver {
    stream: RecvStream,
    inbound: Inbound,
    connection: Connection,
    deadline: Option<Instant>,
    over: bool,
    _guard: Arc<ExchangeGuard>,
}

impl Receiver {
    pub(crate) fn new(
        stream: RecvStream,
        inbound: Inbound,
        connection: Connection,
        deadline: Option<Instant>,
        guard: Arc<ExchangeGuard>,
    ) -> Self {
        Self { stream, inbound, connection, deadline, over: false, _guard: guard }
    }

    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The next message, decoded. END is [`Error::Ended`] here; where it is a possible answer, use [`Receiver::next`].
    pub async fn receive<M: for<'b> Decode<'b, ()>>(&mut self) -> Result<M> {
        match self.next().await? {
            Some(Incoming::Message(item)) => decode(&item),
            Some(Incoming::Data(_)) => Err(Error::UnexpectedData),
            None => Err(Error::Ended),
        }
    }

    /// What arrives next, or `None` when the peer has said END: only then was everything heard.
    pub async fn next(&mut self) -> Result<Option<Incoming>> {
        loop {
            match self.said().await? {
                Some(Said::Message(item)) => return Ok(Some(Incoming::Message(item))),
                Some(Said::Data { chunk, .. }) if chunk.is_empty() => {}
                Some(Said::Data { chunk, .. }) => return Ok(Some(Incoming::Data(chunk))),
                // END counts once the stream has ended too: what follows it would be a broken peer's.
                Some(Said::End) => {}
                Some(Said::Failed(failure)) => {
                    self.over = true;
                    return Err(Error::Failure(failure));
                }
                // The state machine gives OPEN to the one who asked for it, and refuses any other.
                Some(Said::Open(_)) => return Err(self.broken(Error::UnexpectedData)),
                None => return Ok(None),
            }
        }
    }

    /// Expects the peer's END and nothing else.
    pub async fn ended(&mut self) -> Result<()> {
        match self.next().await? {
            None => Ok(()),
            Some(Incoming::Data(_)) => Err(Error::UnexpectedData),
            Some(Incoming::Message(_)) => {
                Err(Failure::new(ErrorCode::INVALID_MESSAGE, "a message came where the end was expected")
                    .into())
            }
        }
    }

    /// The next thing said, or `None` at a good end.
    pub(crate) async fn said(&mut self) -> Result<Option<Said>> {
        if self.over {
            return Ok(None);
        }
        loop {
            match self.inbound.next() {
                Ok(Some(said)) => return Ok(Some(said)),
                Ok(None) => {}
                Err(error) => return Err(self.broken(error)),
            }
            let stream = &mut self.stream;
            let chunk = within(self.deadline, async { Ok(stream.read(READ_CHUNK).await?) }).await?;
            match chunk {
                Some(chunk) => self.inbound.push(chunk),
                None => {
                    self.over = true;
                    self.inbound.end_of_stream()?;
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) fn stop(&mut self, code: ErrorCode) {
        self.over = true;
        self.stream.stop(code.0);
    }

    /// Frames out of order or out of shape end the connection; a message out of shape fails its exchange alone.
    fn broken(&mut self, error: Error) -> Error {
        self.over = true;
        if let Error::Frame(_) | Error::Protocol { .. } = &error {
            self.connection.abort(error.code(), &error.to_string());
        }
        error
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.over {
            self.stream.stop(ErrorCode::CANCELLED.0);
        }
    }
}

/// Decodes an item that [`Inbound`] has checked against the profile already.
fn decode<M: for<'b> Decode<'b, ()>>(item: &[u8]) -> Result<M> {
    minicbor::decode(item).map_err(|error| Error::Message(CborError::Shape { reason: error.to_string() }))
}

/// Runs `work` until the deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match deadline {
        None => work.await,
        Some(at) => tokio::time::timeout_at(at.into(), work).await.unwrap_or(Err(Error::Deadline)),
    }
}
