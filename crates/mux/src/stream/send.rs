//! The sending half of a stream.
//!
//! ```text
//!        o
//!        | Create Stream (Sending)
//!        v
//!    +-------+
//!    | Ready | Send RESET_STREAM
//!    |       |-----------------------.
//!    +-------+                       |
//!        |                           |
//!        | Send STREAM /             |
//!        |      STREAM_DATA_BLOCKED  |
//!        v                           |
//!    +-------+                       |
//!    | Send  | Send RESET_STREAM     |
//!    |       |---------------------->|
//!    +-------+                       |
//!        |                           |
//!        | Send STREAM + FIN         |
//!        v                           v
//!    +-------+                   +-------+
//!    | Data  | Send RESET_STREAM | Reset |
//!    | Sent  |------------------>| Sent  |
//!    +-------+                   +-------+
//!        |                           |
//!        | Recv ACKs                 | Recv ACK
//!        v                           v
//!    +-------+                   +-------+
//!    | Data  |                   | Reset |
//!    | Recvd |                   | Recvd |
//!    +-------+                   +-------+                       (RFC 9000 §3.1, figure 2)
//! ```
//!
//! In QMux a frame counts as acknowledged when the transport has taken it (draft §4), so *Data Sent* and *Reset
//! Sent* are over at once: then the half is gone. One thing keeps it: after STOP_SENDING it stays until the
//! application has ended the stream too, so that the application always learns why.

use crate::WriteError;
use crate::flow::Credit;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// What a piece in the buffer costs beyond its bytes.
const PIECE_OVERHEAD: usize = 32;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum State {
    /// Ready and Send: the application may write.
    Open,
    /// The application has finished; FIN goes out with or behind the last byte.
    Finishing,
    /// Data Sent: FIN went out.
    DataSent,
    /// RESET_STREAM with this code waits to be sent.
    Resetting(u64),
    /// Reset Sent: RESET_STREAM went out.
    ResetSent,
}

/// What one stream has yet to send.
//= S2.28
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct SendHalf {
    state: State,
    /// The code of the peer's STOP_SENDING.
    stopped: Option<u64>,
    /// The application has finished or reset the stream, or heard that it cannot finish it.
    released: bool,
    /// The first piece of the buffer, empty if there is none. Most streams never have another one, and need no queue.
    front: Bytes,
    /// Those behind it.
    rest: VecDeque<Bytes>,
    buffered: usize,
    credit: Credit,
    pub(crate) priority: i32,
    /// Whether the stream is in the schedule.
    pub(crate) scheduled: bool,
    write_blocked: bool,
}

impl SendHalf {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            state: State::Open,
            stopped: None,
            released: false,
            front: Bytes::new(),
            rest: VecDeque::new(),
            buffered: 0,
            credit: Credit::new(limit),
            priority: 0,
            scheduled: false,
            write_blocked: false,
        }
    }

    /// The code of the peer's STOP_SENDING, if one came in time.
    pub(crate) fn stopped(&self) -> Option<u64> {
        self.stopped
    }

    /// Takes what fits of `data`.
    pub(crate) fn write(&mut self, data: &mut Bytes, buffer: usize) -> Result<usize, WriteError> {
        if let Some(code) = self.stopped {
            return Err(WriteError::Stopped(code));
        }
        if self.state != State::Open {
            return Err(WriteError::Closed);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let room = buffer.max(1).saturating_sub(self.held());
        if room == 0 {
            self.write_blocked = true;
            return Err(WriteError::Blocked);
        }
        let piece = data.split_to(room.min(data.len()));
        let length = piece.len();
        self.buffered += length;
        if self.front.is_empty() {
            self.front = piece;
        } else {
            self.rest.push_back(piece);
        }
        Ok(length)
    }

    /// Bytes in the buffer and what they cost beside.
    pub(crate) fn held(&self) -> usize {
        let pieces = usize::from(!self.front.is_empty()) + self.rest.len();
        self.buffered + PIECE_OVERHEAD * pieces
    }

    /// The application finishes; true when FIN must go out by itself, because no byte waits before it.
    pub(crate) fn finish(&mut self) -> Result<bool, WriteError> {
        if let Some(code) = self.stopped {
            self.released = true;
            return Err(WriteError::Stopped(code));
        }
        if self.state != State::Open {
            return Err(WriteError::Closed);
        }
        self.state = State::Finishing;
        self.released = true;
        Ok(self.buffered == 0)
    }

    /// The application resets; true when RESET_STREAM must go out.
    pub(crate) fn reset(&mut self, code: u64) -> bool {
        self.released = true;
        self.begin_reset(code)
    }

    /// STOP_SENDING came; true when RESET_STREAM must go out and the application must hear of it.
    //= S2.27
    // RFC 9000 §3.5: "An endpoint that receives a STOP_SENDING frame MUST send a RESET_STREAM frame if the stream
    // is in the 'Ready' or 'Send' state."
    pub(crate) fn stop(&mut self, code: u64) -> bool {
        let resets = self.begin_reset(code);
        if resets {
            self.stopped = Some(code);
        }
        resets
    }

    fn begin_reset(&mut self, code: u64) -> bool {
        let open = matches!(self.state, State::Open | State::Finishing);
        if open {
            self.state = State::Resetting(code);
            self.drop_buffer();
        }
        open
    }

    pub(crate) fn drop_buffer(&mut self) {
        (self.front, self.rest) = (Bytes::new(), VecDeque::new());
        self.buffered = 0;
    }

    /// The code and final size of RESET_STREAM, which is now sent.
    pub(crate) fn take_reset(&mut self) -> Option<(u64, u64)> {
        let State::Resetting(code) = self.state else { return None };
        self.state = State::ResetSent;
        Some((code, self.credit.used()))
    }

    /// The offset of a FIN without bytes, which is now sent.
    pub(crate) fn take_fin(&mut self) -> Option<u64> {
        (self.state == State::Finishing && self.buffered == 0).then(|| {
            self.state = State::DataSent;
            self.credit.used()
        })
    }

    /// The state's name in the specification's table.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &'static str {
        match (self.state, self.stopped, self.released) {
            (State::Open, ..) => "open",
            (State::Finishing, ..) => "finishing",
            (State::Resetting(_), Some(_), false) => "stopped",
            (State::Resetting(_), ..) => "resetting",
            (State::ResetSent, Some(_), false) => "told to stop",
            (State::ResetSent | State::DataSent, ..) => "over",
        }
    }

    #[cfg(test)]
    pub(crate) fn credit(&self) -> &Credit {
        &self.credit
    }

    /// The offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.credit.used()
    }

    /// How many bytes could be sent now, were it for this stream alone.
    pub(crate) fn sendable(&self) -> usize {
        self.buffered.min(usize::try_from(self.credit.left()).unwrap_or(usize::MAX))
    }

    /// Whether the last byte of the buffer ends the stream.
    pub(crate) fn ends_with(&self, bytes: usize) -> bool {
        self.state == State::Finishing && self.buffered == bytes
    }

    //= S2.18
    /// Moves `bytes` bytes (at most [`SendHalf::sendable`]) to `out`. This is the only copy on the way out.
    pub(crate) fn transmit(&mut self, bytes: usize, out: &mut Vec<u8>) {
        let mut left = bytes;
        while left > 0 && !self.front.is_empty() {
            let length = left.min(self.front.len());
            out.extend_from_slice(&self.front[..length]);
            left -= length;
            if length == self.front.len() {
                self.front = self.rest.pop_front().unwrap_or_default();
            } else {
                self.front.advance(length);
            }
        }
        self.buffered -= bytes;
        self.credit.spend(bytes as u64);
        if self.buffered == 0 {
            if self.rest.capacity() > SMALL_QUEUE {
                self.rest = VecDeque::new();
            }
            if self.state == State::Finishing {
                self.state = State::DataSent;
            }
        }
    }

    /// True once after a blocked write, when half of the buffer is free again.
    pub(crate) fn becomes_writable(&mut self, buffer: usize) -> bool {
        let writable = self.write_blocked && self.held() <= buffer / 2;
        if writable {
            self.write_blocked = false;
        }
        writable
    }

    pub(crate) fn raise_credit(&mut self, limit: u64) -> bool {
        self.credit.raise(limit)
    }

    /// Bytes wait and there is no credit for them, and the peer has not been told.
    pub(crate) fn is_blocked_news(&self) -> bool {
        self.buffered > 0 && self.credit.is_blocked_news()
    }

    /// The limit for STREAM_DATA_BLOCKED, which is now sent.
    pub(crate) fn take_blocked(&mut self) -> Option<u64> {
        if self.buffered > 0 { self.credit.blocked_at() } else { None }
    }

    /// Everything was said on the wire and the application knows how it ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::DataSent | State::ResetSent) && self.released
    }
}
