//! Exchanges: one conversation between two programs, on one stream.
//!
//! A call, a stream of answers, an upload, a duplex talk and a server's push are all the same thing: one side opens
//! an exchange, both may send messages and data, each says END when it has said everything. Dropping an exchange
//! that is not finished cancels it, and the other side is told. Spec: chapter 3, "Exchanges".

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
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
/// Room for what a small exchange says beside its first frame's payload.
const FIRST_FEED: usize = 128;
/// The longest DATA frame; more bytes are more frames.
const MAX_DATA_FRAME: usize = 16 * 1024 * 1024;

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

/// The sending direction of an exchange.
///
/// Every method may be cancelled: what it was sending is then sent whole by the next one, or not at all.
pub struct Sender {
    stream: Option<SendStream>,
    connection: Connection,
    /// Whole frames that were fed.
    buffer: BytesMut,
    /// On its way into the stream: frames, and after them the bytes that complete the last one.
    unsent: [Bytes; 2],
    state: SendState,
    deadline: Option<Instant>,
    /// Where an unfinished stream goes back to, so that whoever runs the handler can say how it ended.
    ticket: Option<Arc<Ticket>>,
    guard: Arc<ExchangeGuard>,
}

/// How far this direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendState {
    /// Messages and data may follow.
    Open,
    /// END or ERROR was fed; it is on its way.
    Ending,
    /// The stream has ended, or was reset.
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
        let (buffer, unsent, state) = (BytesMut::new(), Default::default(), SendState::Open);
        Self { stream: Some(stream), connection, buffer, unsent, state, deadline, ticket, guard }
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
    //= S3.83
    pub async fn send_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.feed_encoded(item).await?;
        self.flush().await
    }

    //= S3.14
    async fn feed_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.check_open()?;
        let (size, limit) = (item.len() as u64, self.connection.peer_limits().max_message);
        if size > limit {
            return Err(Error::TooLarge { what: "message", size, name: "max_message", limit });
        }
        self.feed_frame(FrameType::MESSAGE, item);
        if self.buffer.len() >= FEED_LIMIT { self.flush().await } else { Ok(()) }
    }

    /// Sends bytes as DATA, uncopied, waiting for the peer's credit.
    pub async fn send_data(&mut self, mut data: Bytes) -> Result<()> {
        self.check_open()?;
        loop {
            self.write().await?;
            let chunk = data.split_to(data.len().min(MAX_DATA_FRAME));
            frame::encode_header(FrameType::DATA, chunk.len() as u64, &mut self.buffer);
            self.unsent = [self.buffer.split().freeze(), chunk];
            self.write().await?;
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<()> {
        if self.state == SendState::Ending {
            return self.end().await;
        }
        self.write().await?;
        if !self.buffer.is_empty() {
            self.unsent = [self.buffer.split().freeze(), Bytes::new()];
            self.write().await?;
        }
        Ok(())
    }

    /// Says END: everything was said, and it went well.
    pub async fn finish(&mut self) -> Result<()> {
        if self.state != SendState::Ending {
            self.check_open()?;
            self.feed_frame(FrameType::END, &[]);
        }
        self.end().await
    }

    /// Answers with a failure, which ends this direction. Details that exceed the peer's limit are left out.
    pub async fn fail(&mut self, mut failure: Failure) -> Result<()> {
        self.check_open()?;
        if failure.details.len() as u64 > self.connection.peer_limits().max_metadata {
            failure.details.clear();
        }
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

    /// The peer's OPEN has arrived.
    pub(crate) fn set_opened(&self) {
        self.guard.set_opened();
    }

    /// Whether a write was abandoned half-way: what follows may have to wait for it.
    pub(crate) fn is_stuck(&self) -> bool {
        self.unsent.iter().any(|chunk| !chunk.is_empty())
    }

    /// Higher is sent first; 0 at the beginning.
    pub fn set_priority(&mut self, priority: i32) {
        if let Some(stream) = &mut self.stream {
            stream.set_priority(priority);
        }
    }

    pub(crate) fn feed_frame(&mut self, ty: FrameType, payload: &[u8]) {
        if self.buffer.capacity() == 0 {
            // In one go: most exchanges say little more.
            self.buffer.reserve(payload.len() + FIRST_FEED);
        }
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

    /// Sends END or ERROR, which were fed, and ends the stream.
    //= S3.43
    async fn end(&mut self) -> Result<()> {
        self.state = SendState::Ending;
        self.write().await?;
        if !self.buffer.is_empty() {
            self.unsent = [self.buffer.split().freeze(), Bytes::new()];
            self.write().await?;
        }
        self.state = SendState::Finished;
        if let Some(stream) = &mut self.stream {
            stream.finish();
        }
        Ok(())
    }

    /// Hands `unsent` to the stream. Should this future be dropped half-way, the rest is still there.
    async fn write(&mut self) -> Result<()> {
        if !self.is_stuck() {
            return Ok(());
        }
        let stream = self.stream.as_mut().ok_or(Error::AlreadyFinished)?;
        let unsent = &mut self.unsent;
        within(self.deadline, async {
            for chunk in unsent {
                stream.write(chunk).await?;
            }
            Ok(())
        })
        .await?;
        self.guard.set_opened();
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.state == SendState::Open { Ok(()) } else { Err(Error::AlreadyFinished) }
    }
}

impl Drop for Sender {
    //= S3.48
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if let Some(ticket) = self.ticket.take() {
            let left = Sender {
                stream: Some(stream),
                connection: self.connection.clone(),
                buffer: std::mem::take(&mut self.buffer),
                unsent: std::mem::take(&mut self.unsent),
                state: self.state,
                deadline: None,
                ticket: None,
                guard: self.guard.clone(),
            };
            *ticket.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
            return;
        }
        if self.state != SendState::Finished {
            stream.reset(giving_up(self.deadline).0);
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

/// The receiving direction of an exchange.
pub struct Receiver {
    stream: RecvStream,
    inbound: Inbound,
    connection: Connection,
    deadline: Option<Instant>,
    over: bool,
    /// The peer's ERROR, until its stream has ended too.
    failure: Option<Failure>,
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
        Self { stream, inbound, connection, deadline, over: false, failure: None, _guard: guard }
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

    /// What arrives next, or `None` when the peer has said END: only then was everything heard. May be cancelled
    /// without loss.
    //= S3.44
    pub async fn next(&mut self) -> Result<Option<Incoming>> {
        loop {
            let said = match (self.said().await, self.failure.take()) {
                (said, None) => said?,
                // The stream behind an ERROR was only followed to see that nothing comes after it.
                (Err(error @ (Error::Frame(_) | Error::Protocol { .. })), Some(_)) => return Err(error),
                (_, Some(failure)) => {
                    self.over = true;
                    return Err(Error::Failure(failure));
                }
            };
            match said {
                Some(Said::Message(item)) => return Ok(Some(Incoming::Message(item))),
                Some(Said::Data { chunk, .. }) if chunk.is_empty() => {}
                Some(Said::Data { chunk, .. }) => return Ok(Some(Incoming::Data(chunk))),
                // END and ERROR count once the stream has ended too: what follows them would be a broken peer's.
                Some(Said::End) => {}
                Some(Said::Failed(failure)) => self.failure = Some(failure),
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

    /// Whether only the peer's END was left unread and its stream's end is here as well: then nothing is given up.
    fn has_ended(&mut self) -> bool {
        while let Ok(Some(Said::End)) = self.inbound.next() {}
        if self.inbound.end_of_stream().is_err() {
            return false;
        }
        let rest = pin!(self.stream.read(READ_CHUNK));
        matches!(rest.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(None)))
    }

    /// Frames out of order or out of shape end the connection; a message out of shape fails its exchange alone.
    //= S3.46
    //= S3.65
    fn broken(&mut self, error: Error) -> Error {
        if let Error::Frame(_) | Error::Protocol { .. } = &error {
            self.connection.abort(error.code(), &error.to_string());
        }
        self.stop(ErrorCode::CANCELLED);
        error
    }
}

impl Drop for Receiver {
    //= S3.48
    fn drop(&mut self) {
        if !self.over && !self.has_ended() {
            self.stream.stop(giving_up(self.deadline).0);
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
