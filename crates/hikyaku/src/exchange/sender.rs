//! The sending direction of an exchange. Spec: chapter 3, "Exchanges".

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hikyaku_wire::cbor;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::frame::{self, FrameType};
use minicbor::Encode;
use tokio::sync::Notify;

use super::{ExchangeGuard, Outcome, giving_up, within};
use crate::budget::{Held, NoRoom};
use crate::connection::{Connection, Inner};
use crate::error::{Error, Failure, Result};
use crate::events::{By, event};
use crate::session::established;
use crate::transport::{SendStream, Waits};

/// Fed messages are sent by themselves once they fill this many bytes.
const FEED_LIMIT: usize = 64 * 1024;
/// Room for what a small exchange says beside its first frame's payload.
const FIRST_FEED: usize = 128;
/// The longest DATA frame; more bytes are more frames.
const MAX_DATA_FRAME: usize = 16 * 1024 * 1024;

/// The sending direction of an exchange.
///
/// Every method may be cancelled: what it was sending is then sent whole by the next one, or not at all.
pub struct Sender {
    stream: Option<SendStream>,
    pub(super) connection: Connection,
    /// Whole frames that were fed.
    buffer: BytesMut,
    /// On its way into the stream: frames, and after them the bytes that complete the last one.
    unsent: [Bytes; 2],
    /// Room for what the transport does not take.
    waiting: Held,
    /// The last bytes on their way are shared with others, and cost nothing here.
    shares: bool,
    state: SendState,
    pub(super) deadline: Option<Instant>,
    /// Where an unfinished stream goes back to, so that whoever runs the handler can say how it ended.
    ticket: Option<Arc<Ticket>>,
    pub(super) guard: Arc<ExchangeGuard>,
}

/// A message that is encoded once and sent to many: cloning it and sending it copies nothing.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The whole frame.
    frame: Bytes,
    /// Bytes of the message in it.
    size: u64,
}

impl Encoded {
    /// Encodes a message.
    //= S3.14
    pub fn new<M: Encode<()>>(message: &M) -> Self {
        let item = cbor::encode(message);
        let mut frame = BytesMut::with_capacity(item.len() + FIRST_FEED);
        frame::encode(FrameType::MESSAGE, &item, &mut frame);
        Self { frame: frame.freeze(), size: item.len() as u64 }
    }

    /// The message: one CBOR item.
    pub fn item(&self) -> Bytes {
        let header = self.frame.len().saturating_sub(usize::try_from(self.size).unwrap_or(0));
        self.frame.slice(header..)
    }
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
    back: Notify,
}

impl Ticket {
    /// Waits until it is there.
    pub(crate) async fn given_back(&self) {
        self.back.notified().await;
    }

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
        let (buffer, unsent, waiting) = (BytesMut::new(), Default::default(), Held::default());
        let (stream, shares, state) = (Some(stream), false, SendState::Open);
        Self { stream, connection, buffer, unsent, waiting, shares, state, deadline, ticket, guard }
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

    /// Sends a message that many others are sent too, waiting for the peer's credit. It leaves at once: where many
    /// connections have something to say, waiting for all of them would only make each forget what it had at hand.
    pub async fn send_shared(&mut self, message: &Encoded) -> Result<()> {
        self.send_frame(message.clone(), true).await
    }

    /// Sends a message that was encoded before, and copies nothing of it: while a large one waits for the peer's credit,
    /// it is there once.
    pub async fn send_whole(&mut self, message: Encoded) -> Result<()> {
        self.send_frame(message, false).await
    }

    /// Makes room for an answer before it is made: `wanted` bytes, or half of that, and half again, down to `least`. Returns
    /// how many there are. A peer that does not read finds less and less; 4 KiB are always there.
    ///
    /// # Errors
    /// [`Error::NoRoom`], to be returned from the handler: the exchange fails with BUSY, and nothing was done.
    pub fn reserve(&mut self, wanted: u64, least: u64) -> Result<u64> {
        let inner = self.connection.inner();
        self.waiting.grow_some(&inner.share, wanted, least).map_err(|full| no_room(inner, full, true))
    }

    /// The same until the answer is over: for what is read ahead of it, and what of that waits to be sent.
    ///
    /// # Errors
    /// [`Error::NoRoom`], to be returned from the handler.
    pub fn keep_room(&mut self, wanted: u64, least: u64) -> Result<u64> {
        let inner = self.connection.inner();
        self.waiting.keep_some(&inner.share, wanted, least).map_err(|full| no_room(inner, full, true))
    }

    async fn send_frame(&mut self, message: Encoded, shares: bool) -> Result<()> {
        self.check_message(message.size).await?;
        self.write().await?;
        self.unsent = [self.buffer.split().freeze(), message.frame];
        self.shares = shares;
        if let Some(stream) = self.stream.as_mut().filter(|_| shares) {
            stream.hurry();
        }
        self.write().await
    }

    /// Whether a message of this size may be sent. What not every peer takes waits for HELLO, which tells whether this one does:
    /// an exchange may be here before it.
    //= S3.30
    async fn check_message(&mut self, size: u64) -> Result<()> {
        self.check_open()?;
        if size > self.connection.peer_limits().max_message {
            // It lies here meanwhile, and takes its room as one does that waits for credit.
            let inner = self.connection.inner();
            self.waiting.grow_answer(&inner.share, size).map_err(|full| no_room(inner, full, false))?;
            within(self.deadline, established(&self.connection)).await?;
        }
        let limit = self.connection.peer_limits().max_message;
        if size > limit {
            let (events, owner) = (&self.connection.inner().events, By::Peer);
            event!(*events, LimitReached { limit: "max_message", value: limit, owner });
            return Err(Error::TooLarge { what: "message", size, name: "max_message", limit });
        }
        Ok(())
    }

    //= S3.14
    async fn feed_encoded(&mut self, item: &[u8]) -> Result<()> {
        self.check_message(item.len() as u64).await?;
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
        self.end_with(Outcome::Ended).await
    }

    /// Answers with a failure, which ends this direction. Details that exceed the peer's limit are left out.
    pub async fn fail(&mut self, mut failure: Failure) -> Result<()> {
        self.check_open()?;
        if failure.details.len() as u64 > self.connection.peer_limits().max_metadata {
            failure.details.clear();
        }
        self.feed_frame(FrameType::ERROR, &failure.encode());
        self.end_with(Outcome::Failed(failure.code)).await
    }

    /// Waits until the peer's transport has everything, or until it stopped reading.
    pub(crate) async fn delivered(&self) {
        if let Some(stream) = &self.stream {
            // Either way there is nothing left to wait for.
            let _ = stream.done().await;
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn guard(&self) -> &ExchangeGuard {
        &self.guard
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

    /// How long bytes on their way out on this connection have waited, and for what; measured from the first call on.
    /// `None` over QUIC, where it is not known.
    pub fn waits(&self) -> Option<Waits> {
        self.connection.inner().link().waits()
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
        self.guard.set_outcome(By::Us, Outcome::Cancelled(code));
        if let Some(stream) = &mut self.stream {
            stream.reset(code.0);
        }
    }

    async fn end_with(&mut self, outcome: Outcome) -> Result<()> {
        self.state = SendState::Ending;
        self.end().await?;
        self.guard.set_outcome(By::Us, outcome);
        Ok(())
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
        self.waiting.clear(&self.connection.inner().share);
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
        let inner = self.connection.inner();
        let [first, second] = &self.unsent;
        let bytes = (first.len() + second.len()) as u64;
        let counted = if self.shares { first.len() as u64 } else { bytes };
        let (unsent, waiting) = (&mut self.unsent, &mut self.waiting);
        let mut written = pin!(within(self.deadline, async {
            for chunk in unsent {
                stream.write(chunk).await?;
            }
            Ok(())
        }));
        let mut is_counted = false;
        //= S3.93
        let written = poll_fn(|cx| {
            let polled = written.as_mut().poll(cx);
            if polled.is_pending() && !std::mem::replace(&mut is_counted, true) {
                waiting.grow_answer(&inner.share, counted).map_err(|full| no_room(inner, full, false))?;
            }
            polled
        });
        let written = written.await;
        if written.is_ok() {
            waiting.said(&inner.share);
            self.shares = false;
            inner.sent(bytes);
            self.guard.set_opened();
        }
        written
    }

    fn check_open(&self) -> Result<()> {
        if self.state == SendState::Open { Ok(()) } else { Err(Error::AlreadyFinished) }
    }
}

/// What is to be said waits, and there is no room for it to wait in.
fn no_room(inner: &Inner, NoRoom { name, limit }: NoRoom, nothing_done: bool) -> Error {
    event!(inner.events, LimitReached { limit: name, value: limit, owner: By::Us });
    Error::NoRoom { name, limit, nothing_done }
}

impl Drop for Sender {
    //= S3.48
    fn drop(&mut self) {
        self.waiting.clear(&self.connection.inner().share);
        let Some(mut stream) = self.stream.take() else { return };
        if let Some(ticket) = self.ticket.take() {
            let left = Sender {
                stream: Some(stream),
                connection: self.connection.clone(),
                buffer: std::mem::take(&mut self.buffer),
                unsent: std::mem::take(&mut self.unsent),
                waiting: Held::default(),
                shares: self.shares,
                state: self.state,
                deadline: None,
                ticket: None,
                guard: self.guard.clone(),
            };
            *ticket.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
            ticket.back.notify_one();
            return;
        }
        if self.state != SendState::Finished {
            let code = giving_up(self.deadline);
            self.guard.set_outcome(By::Us, Outcome::Cancelled(code));
            stream.reset(code.0);
        }
    }
}
