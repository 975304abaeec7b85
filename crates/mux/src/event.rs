//! What a connection tells its application.

use crate::{CloseReason, Dir, StreamId};
use std::time::Duration;

/// Something happened that the application may be waiting for.
///
/// `Readable`, `Writable`, `Opened`, `Available` and `DatagramsUnblocked` are edges: each comes once after the
/// matching call said "not now" (`Opened` also the first time). So: try first, wait for the event only after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer's transport parameters arrived: streams and datagrams may flow.
    Connected,
    /// The peer opened at least one stream: call `accept` until it returns `None`.
    Opened(Dir),
    /// `open` found no credit and now there is some.
    Available(Dir),
    /// A `read` that was blocked has something to say: bytes, the end, or a reset.
    Readable(StreamId),
    /// A `write` that was blocked may go on.
    Writable(StreamId),
    /// The peer wants no more bytes on this stream; what was buffered is gone and the stream is reset with the
    /// same code. `write` and `finish` say so too, until the application finishes or resets the stream.
    Stopped {
        /// The stream the peer stopped reading.
        id: StreamId,
        /// The peer's application error code.
        code: u64,
    },
    /// Everything of this stream's sending direction, the end or the reset included, was taken by `poll_transmit`.
    Finished(StreamId),
    /// At least one datagram arrived: call `recv_datagram` until it returns `None`.
    Datagram,
    /// `send_datagram` found no room and now there is some.
    DatagramsUnblocked,
    /// The answer to the newest `ping`.
    Pong {
        /// From the moment the ping was taken by `poll_transmit` to its answer.
        rtt: Duration,
    },
    /// The connection is over; no other event follows. Every stream call now says `Closed`.
    Closed(CloseReason),
}

/// How far the sending direction of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// It may still be written to, or not everything written was taken by `poll_transmit` yet.
    Open,
    /// The peer stopped reading, with this code.
    Stopped(u64),
    /// Everything was taken by `poll_transmit`, or there is no such stream any more.
    Over,
}
