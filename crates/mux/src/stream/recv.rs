//! The receiving half of a stream.
//!
//! ```text
//!        o
//!        | Recv STREAM / STREAM_DATA_BLOCKED / RESET_STREAM
//!        | Create Bidirectional Stream (Sending)
//!        | Recv MAX_STREAM_DATA / STOP_SENDING (Bidirectional)
//!        | Create Higher-Numbered Stream
//!        v
//!    +-------+
//!    | Recv  | Recv RESET_STREAM
//!    |       |-----------------------.
//!    +-------+                       |
//!        |                           |
//!        | Recv STREAM + FIN         |
//!        v                           |
//!    +-------+                       |
//!    | Size  | Recv RESET_STREAM     |
//!    | Known |---------------------->|
//!    +-------+                       |
//!        |                           |
//!        | Recv All Data             |
//!        v                           v
//!    +-------+ Recv RESET_STREAM +-------+
//!    | Data  |--- (optional) --->| Reset |
//!    | Recvd |  Recv All Data    | Recvd |
//!    +-------+<-- (optional) ----+-------+
//!        |                           |
//!        | App Read All Data         | App Read Reset
//!        v                           v
//!    +-------+                   +-------+
//!    | Data  |                   | Reset |
//!    | Read  |                   | Read  |
//!    +-------+                   +-------+                       (RFC 9000 §3.2, figure 3)
//! ```
//!
//! STREAM frames come in order (draft §4.1), so *Size Known* and *Data Recvd* are one state. *Data Read* and *Reset
//! Read* are the end: then the half is gone. An application that stops the stream stays in *Recv* (what arrives is
//! thrown away) until the final size is known, because credit must be given back exactly.

use crate::ReadError;
use crate::flow::Window;
use crate::frame::StreamHeader;
use crate::violation::Violation;
use bytes::Bytes;
use std::collections::VecDeque;

/// A slice of the input is kept only if it uses at least an eighth of it; smaller ones are copied, so that a
/// peer cannot make a few unread bytes hold a large buffer.
const WORTH_KEEPING: usize = 8;

/// Pieces shorter than this are always copied (the input may itself be a slice of something larger), and joined
/// while they wait, so that neither their buffers nor their number costs more than their bytes.
const SMALL_PIECE: usize = 4096;

/// Joined pieces are not made longer than this.
const JOINED: usize = 16 * 1024;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
enum State {
    /// Recv.
    Open,
    /// Data Recvd: the end is in the buffer.
    DataReceived,
    /// Reset Recvd, with the peer's code.
    ResetReceived(u64),
}

/// What `read` finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes(Bytes),
    End,
}

/// What one stream has received and the application has not read.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct RecvHalf {
    state: State,
    /// The application reads no more: what arrives is thrown away.
    stopped: bool,
    read_blocked: bool,
    window: Window,
    chunks: VecDeque<Bytes>,
    /// Small pieces behind the chunks, joined.
    tail: Vec<u8>,
}

impl RecvHalf {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            state: State::Open,
            stopped: false,
            read_blocked: false,
            window: Window::new(window),
            chunks: VecDeque::new(),
            tail: Vec::new(),
        }
    }

    /// Checks a STREAM frame before its payload: size, order and credit of the stream.
    pub(crate) fn begin_frame(&mut self, header: &StreamHeader) -> Result<(), Violation> {
        let received = self.window.received();
        //= S2.26
        // RFC 9000 §4.5: "Once a final size for a stream is known, it cannot change."
        if self.state != State::Open && (header.end() > received || header.fin && header.end() != received) {
            return Err(Violation::final_size(format!(
                "stream {} ended at {received} and now reaches {}",
                header.id,
                header.end()
            )));
        }
        if header.fin && header.end() < received {
            return Err(Violation::final_size(format!(
                "stream {} ends at {} after {received} bytes",
                header.id,
                header.end()
            )));
        }
        //= S2.18
        if header.offset != received {
            return Err(Violation::protocol(format!(
                "stream {} goes on at {} instead of {received}",
                header.id, header.offset
            )));
        }
        let length = header.length as u64;
        //= S2.22
        if !self.window.receive(length) {
            return Err(Violation::flow_control(format!(
                "stream {} reaches {}, its limit is {}",
                header.id,
                header.end(),
                self.window.advertised()
            )));
        }
        Ok(())
    }

    /// Keeps a piece of the payload. Returns how many bytes nobody will read: all or none.
    pub(crate) fn push(&mut self, piece: Bytes, input: usize) -> u64 {
        if self.stopped || self.state != State::Open {
            self.window.consume(piece.len() as u64);
            return piece.len() as u64;
        }
        if piece.is_empty() {
            return 0;
        }
        if piece.len() < SMALL_PIECE || piece.len().saturating_mul(WORTH_KEEPING) < input {
            if self.tail.len() + piece.len() > JOINED {
                self.seal_tail();
            }
            self.tail.extend_from_slice(&piece);
        } else {
            self.seal_tail();
            self.chunks.push_back(piece);
        }
        0
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// The payload of a frame with FIN is complete.
    pub(crate) fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::DataReceived;
        }
    }

    /// RESET_STREAM. Returns the bytes that count as received for the connection, and those that nobody will read.
    pub(crate) fn reset(&mut self, code: u64, final_size: u64) -> Result<(u64, u64), Violation> {
        let received = self.window.received();
        //= S2.26
        if final_size < received || self.state != State::Open && final_size != received {
            return Err(Violation::final_size(format!(
                "RESET_STREAM says {final_size} bytes, and {received} were received"
            )));
        }
        if !self.window.receive(final_size - received) {
            return Err(Violation::flow_control(format!(
                "RESET_STREAM says {final_size} bytes, the limit is {}",
                self.window.advertised()
            )));
        }
        if self.state != State::Open {
            return Ok((0, 0));
        }
        self.state = State::ResetReceived(code);
        let unread = self.drop_buffer();
        let missing = final_size - received;
        self.window.consume(missing);
        Ok((missing, missing + unread))
    }

    /// Forgets what is unread and returns how much that was.
    fn drop_buffer(&mut self) -> u64 {
        let unread = self.unread();
        self.chunks = VecDeque::new();
        self.tail = Vec::new();
        self.window.consume(unread);
        unread
    }

    fn unread(&self) -> u64 {
        let chunks: usize = self.chunks.iter().map(Bytes::len).sum();
        (chunks + self.tail.len()) as u64
    }

    /// The application reads no more. Returns what was unread, and whether the peer must be told.
    pub(crate) fn stop(&mut self) -> (u64, bool) {
        let news = !self.stopped && self.state == State::Open;
        self.stopped = true;
        // Nobody waits any more.
        self.read_blocked = false;
        (self.drop_buffer(), news)
    }

    /// The next bytes, at most `max`.
    pub(crate) fn read(&mut self, max: usize) -> Result<Received, ReadError> {
        if self.stopped {
            return Err(ReadError::Closed);
        }
        if self.chunks.is_empty() {
            // Most that arrives is small and read at once: it needs no queue.
            if (1..=max).contains(&self.tail.len()) {
                let piece = Bytes::from(std::mem::take(&mut self.tail));
                self.window.consume(piece.len() as u64);
                return Ok(Received::Bytes(piece));
            }
            self.seal_tail();
        }
        let Some(front) = self.chunks.front_mut() else {
            return match self.state {
                State::Open => {
                    self.read_blocked = true;
                    Err(ReadError::Blocked)
                }
                State::DataReceived => Ok(Received::End),
                State::ResetReceived(code) => Err(ReadError::Reset(code)),
            };
        };
        let piece = if front.len() > max.max(1) {
            front.split_to(max.max(1))
        } else {
            self.chunks.pop_front().unwrap_or_default()
        };
        if self.chunks.is_empty() && self.chunks.capacity() > SMALL_QUEUE {
            self.chunks = VecDeque::new();
        }
        self.window.consume(piece.len() as u64);
        Ok(Received::Bytes(piece))
    }

    /// The state's name in the specification's table.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &'static str {
        match (self.state, self.stopped) {
            (State::Open, false) => "receiving",
            (State::Open, true) => "stopped",
            (State::DataReceived, _) => "all received",
            (State::ResetReceived(_), _) => "reset",
        }
    }

    #[cfg(test)]
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Whether a read would not block.
    pub(crate) fn has_news(&self) -> bool {
        !self.chunks.is_empty() || !self.tail.is_empty() || self.state != State::Open
    }

    /// True once after a blocked read.
    pub(crate) fn becomes_readable(&mut self) -> bool {
        std::mem::take(&mut self.read_blocked)
    }

    /// Whether the peer should hear of new credit.
    pub(crate) fn is_credit_due(&self) -> bool {
        self.state == State::Open && !self.stopped && self.window.is_due()
    }

    /// The limit for MAX_STREAM_DATA, which is now sent.
    pub(crate) fn advertise(&mut self) -> Option<u64> {
        self.is_credit_due().then(|| self.window.advertise())
    }

    /// Stopped by the application, and the final size is known.
    pub(crate) fn is_over(&self) -> bool {
        self.stopped && self.state != State::Open
    }

    /// Nothing is left that an application could still read after the connection ended.
    pub(crate) fn is_worthless(&self) -> bool {
        self.stopped || self.chunks.is_empty() && self.tail.is_empty() && self.state == State::Open
    }
}
