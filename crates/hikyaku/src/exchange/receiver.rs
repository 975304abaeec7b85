//! The receiving direction of an exchange. Spec: chapter 3, "Exchanges".

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use hikyaku_wire::cbor::CborError;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::milliseconds;
use hikyaku_wire::frame::FrameError;
use minicbor::Decode;

use super::{ExchangeGuard, Incoming, Outcome, giving_up, within};
use crate::budget::{Held, NoRoom};
use crate::connection::Connection;
use crate::error::{Error, Failure, Result};
use crate::events::{By, event};
use crate::session::inbound::{Inbound, Said};
use crate::transport::RecvStream;

/// Bytes read from a stream at once.
const READ_CHUNK: usize = 256 * 1024;

/// The receiving direction of an exchange.
pub struct Receiver {
    stream: RecvStream,
    inbound: Inbound,
    connection: Connection,
    deadline: Option<Instant>,
    over: bool,
    /// Room for what is held of messages.
    held: Held,
    /// Since when a frame is not whole.
    begun: Option<Instant>,
    /// Frames that carried nothing, as far as they are counted.
    void: u64,
    /// Something was handed out already.
    heard: bool,
    /// The peer's ERROR, until its stream has ended too.
    failure: Option<Failure>,
    guard: Arc<ExchangeGuard>,
}

impl Receiver {
    pub(crate) fn new(
        stream: RecvStream,
        inbound: Inbound,
        connection: Connection,
        deadline: Option<Instant>,
        guard: Arc<ExchangeGuard>,
    ) -> Self {
        let (held, begun, void, heard) = (Held::default(), None, 0, false);
        Self {
            stream,
            inbound,
            connection,
            deadline,
            over: false,
            held,
            begun,
            void,
            heard,
            failure: None,
            guard,
        }
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
                    self.guard.set_outcome(By::Peer, Outcome::Failed(failure.code));
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
            Some(Incoming::Message(_)) => Err(Error::UnexpectedMessage),
        }
    }

    /// The next thing said, or `None` at a good end.
    pub(crate) async fn said(&mut self) -> Result<Option<Said>> {
        if self.over {
            return Ok(None);
        }
        // Whoever asks for more has done with what came before.
        self.held.shrink(&self.connection.inner().share, self.inbound.held());
        loop {
            let next = self.inbound.next();
            self.count_void()?;
            match next {
                Ok(Some(said)) => return self.hand_out(said).map(Some),
                Ok(None) => self.make_room(0)?,
                Err(error) => return Err(self.broken(error)),
            }
            let read = self.read().await;
            if let Err(error @ (Error::Cancelled(_) | Error::Refused)) = &read {
                self.guard.set_outcome(By::Peer, Outcome::Cancelled(error.code()));
            }
            match read? {
                Some(chunk) => {
                    self.connection.inner().consumed(chunk.len() as u64);
                    self.inbound.push(chunk);
                }
                None => {
                    self.over = true;
                    if let Err(error) = self.inbound.end_of_stream() {
                        self.guard.set_outcome(By::Peer, Outcome::Cancelled(error.code()));
                        return Err(error);
                    }
                    if self.failure.is_none() {
                        self.guard.set_outcome(By::Peer, Outcome::Ended);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Makes room for so many bytes until the peer has said everything: for what is gathered of them.
    ///
    /// # Errors
    /// [`Error::NoRoom`], to be returned from the handler.
    pub fn keep_room(&mut self, bytes: u64) -> Result<()> {
        let inner = self.connection.inner();
        let kept = self.held.keep_some(&inner.share, bytes, bytes).map_err(|NoRoom { name, limit }| {
            event!(inner.events, LimitReached { limit: name, value: limit, owner: By::Us });
            Error::NoRoom { name, limit, nothing_done: true }
        });
        kept.map(|_| ())
    }

    pub(crate) fn stop(&mut self, code: ErrorCode) {
        self.over = true;
        self.guard.set_outcome(By::Peer, Outcome::Cancelled(code));
        self.stream.stop(code.0);
        self.inbound.give_up();
        self.void = 0;
        self.held.clear(&self.connection.inner().share);
    }

    /// The stream's next bytes. A frame that was begun has to be whole in time.
    //= S3.92
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let stream = &mut self.stream;
        let read = within(self.deadline, async { Ok(stream.read(READ_CHUNK).await?) });
        if !self.inbound.is_inside_frame() {
            self.begun = None;
            return read.await;
        }
        let limit = self.connection.inner().limits.message_timeout;
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let Some(at) = begun.checked_add(limit) else { return read.await };
        match tokio::time::timeout_at(at.into(), read).await {
            Ok(read) => read,
            Err(_) => {
                let value = milliseconds(limit);
                event!(
                    self.connection.inner().events,
                    LimitReached { limit: "message_timeout", value, owner: By::Us }
                );
                self.stop(ErrorCode::CANCELLED);
                Err(Error::Stalled(limit))
            }
        }
    }

    /// Gives out what was said; the room it takes stays its own until more is asked for.
    fn hand_out(&mut self, said: Said) -> Result<Said> {
        self.begun = None;
        let (size, is_open) = match &said {
            Said::Message(item) => (item.len(), false),
            Said::Data { chunk, .. } => (chunk.len(), false),
            said => (0, matches!(said, Said::Open(_))),
        };
        self.make_room(size as u64)?;
        self.heard |= !is_open;
        Ok(said)
    }

    /// Counts the frames that came and carried nothing.
    fn count_void(&mut self) -> Result<()> {
        let void = self.inbound.void_frames();
        let new = void - std::mem::replace(&mut self.void, void);
        if new == 0 {
            return Ok(());
        }
        let counted = self.connection.inner().count_void(new);
        counted.map_err(|error| self.broken(error))
    }

    /// Room for what is held, and so many bytes beside it.
    //= S3.93
    fn make_room(&mut self, more: u64) -> Result<()> {
        let (share, needed) = (&self.connection.inner().share, self.inbound.held() + more);
        self.held.grow(share, needed).map_err(|NoRoom { name, limit }| {
            let nothing_done = !self.heard;
            let events = &self.connection.inner().events;
            event!(*events, LimitReached { limit: name, value: limit, owner: By::Us });
            self.stop(ErrorCode::CANCELLED);
            Error::NoRoom { name, limit, nothing_done }
        })
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
        if let Error::Frame(FrameError::TooLong { limit: value, limit_name: limit, .. }) = error {
            event!(self.connection.inner().events, LimitReached { limit, value, owner: By::Us });
        }
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
        self.held.clear(&self.connection.inner().share);
        if self.over {
            return;
        }
        if self.has_ended() {
            return self.guard.set_outcome(By::Peer, Outcome::Ended);
        }
        let code = giving_up(self.deadline);
        self.guard.set_outcome(By::Peer, Outcome::Cancelled(code));
        self.stream.stop(code.0);
    }
}

/// Decodes an item that [`Inbound`] has checked against the profile already.
fn decode<M: for<'b> Decode<'b, ()>>(item: &[u8]) -> Result<M> {
    minicbor::decode(item).map_err(|error| Error::Message(CborError::Shape { reason: error.to_string() }))
}
