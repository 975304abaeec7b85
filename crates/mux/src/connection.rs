//! The connection: every public operation, and how they reach the parts.

use crate::{CloseReason, Config, DatagramError, Dir, Event, ReadError, Side, StreamId, WriteError};
use bytes::Bytes;
use std::time::Instant;

/// One QMux connection, without its transport.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    config: Config,
    now: Instant,
    closed: Option<CloseReason>,
}

#[allow(unused_variables)]
impl Connection {
    /// A connection whose transport has just become available.
    pub fn new(side: Side, config: Config, now: Instant) -> Self {
        Self { side, config, now, closed: None }
    }

    /// Which endpoint this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Takes bytes from the transport, in any pieces. Never fails: a peer's mistake closes the connection.
    ///
    /// Payloads of STREAM frames are kept as slices of `input`; hand in at most 128 KiB at once so that a slice
    /// never holds much more memory than it uses (small payloads of a large `input` are copied for that reason).
    pub fn handle_input(&mut self, now: Instant, input: Bytes) {}

    /// The transport ended: nothing more can be received.
    pub fn handle_end(&mut self, now: Instant) {}

    /// Appends whole records to `out`, about `budget` bytes at most, and returns whether it appended anything.
    ///
    /// Call it when the transport has room, and again until it returns false; what is not yet taken can still be
    /// overtaken by something more urgent.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, budget: usize) -> bool {
        false
    }

    /// When [`Connection::handle_timeout`] wants to be called, if nothing else happens. Poll it after each call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time asked for by [`Connection::poll_timeout`] has come. Harmless when it has not.
    pub fn handle_timeout(&mut self, now: Instant) {}

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Opens a stream; `None` while the peer allows no more (`Event::Available` follows).
    pub fn open(&mut self, dir: Dir) -> Option<StreamId> {
        None
    }

    /// The next stream that the peer opened; `None` when there is none (`Event::Opened` follows).
    pub fn accept(&mut self, dir: Dir) -> Option<StreamId> {
        None
    }

    /// Takes bytes from the front of `data` to be sent on the stream, and returns how many: at least one unless
    /// `data` is empty, fewer than all when the send buffer ends.
    pub fn write(&mut self, id: StreamId, data: &mut Bytes) -> Result<usize, WriteError> {
        Err(WriteError::Closed)
    }

    /// Says that nothing follows on the stream. What was written is still sent.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        Err(WriteError::Closed)
    }

    /// Gives the sending direction up: what is not yet sent is dropped and the peer is told `code`.
    pub fn reset(&mut self, id: StreamId, code: u64) {}

    /// Gives the receiving direction up: what is unread is dropped and the peer is told `code`.
    pub fn stop(&mut self, id: StreamId, code: u64) {}

    /// Streams of a higher priority are sent first; equal ones take turns. The first priority is 0.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) {}

    /// The next bytes of the stream, at most `max`; `None` once, at its end.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError> {
        Err(ReadError::Closed)
    }

    /// Queues a datagram.
    pub fn send_datagram(&mut self, payload: Bytes) -> Result<(), DatagramError> {
        Err(DatagramError::Closed)
    }

    /// The next received datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        None
    }

    /// The largest payload `send_datagram` takes; `None` when the peer accepts none (or before `Connected`).
    pub fn max_datagram_size(&self) -> Option<usize> {
        None
    }

    /// How many received datagrams were dropped because the application did not take them in time.
    pub fn datagrams_dropped(&self) -> u64 {
        0
    }

    /// Sets how many received bytes may be unread on all streams together. Credit already given stays given.
    pub fn set_receive_window(&mut self, bytes: u64) {}

    /// Sets how many streams the peer may have open at one time. Credit already given stays given.
    pub fn set_max_concurrent_streams(&mut self, dir: Dir, count: u64) {}

    /// Asks the peer for a sign of life; `Event::Pong` follows. Pings not yet sent are one ping.
    pub fn ping(&mut self, now: Instant) {}

    /// Closes the connection at once: streams end, what is buffered is dropped, the peer is told.
    pub fn close(&mut self, now: Instant, code: u64, reason: Bytes) {}

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Whether the connection is over and everything that must be written was taken by `poll_transmit`:
    /// the shell may shut the transport's sending side down.
    pub fn is_drained(&self) -> bool {
        false
    }
}
