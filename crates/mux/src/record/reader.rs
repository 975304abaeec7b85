//! Cuts the byte stream into frames and pieces of STREAM payload, however it arrives.
//!
//! Nothing waits for a whole record, and nothing is reserved for a Size: a STREAM payload is passed on piece by piece as slices of the input, and only
//! the bytes of an unfinished header or small frame are kept. So a reader holds no buffer while a record is only
//! partly there, and a peer that sends slowly costs nothing.

use crate::StreamId;
use crate::frame::{self, DecodeError, Frame, StreamHeader};
use crate::parameters::DEFAULT_MAX_RECORD_SIZE;
use crate::violation::Violation;
use bytes::Bytes;
use hikyaku_wire::varint;

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A whole frame, STREAM excepted.
    Frame(Frame<'a>),
    /// A STREAM frame and as much of its payload as is there; `done` when that is all.
    Stream { header: StreamHeader, payload: Bytes, done: bool },
    /// The payload goes on.
    Payload { id: StreamId, payload: Bytes, fin: bool, done: bool },
    /// Everything that arrived is used up.
    NeedMore,
}

/// A STREAM payload that has not arrived completely.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Unfinished {
    id: StreamId,
    left: usize,
    fin: bool,
}

/// The position in the byte stream, between two pieces of input.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Reader {
    /// Bytes of the current record that are not used up, arrived or not; 0 between two records.
    left: usize,
    /// The beginning of a Size field or a frame whose rest has not arrived; never longer than a record.
    //= S2.13
    stash: Vec<u8>,
    /// The frame that was completed from the stash, while the caller looks at it.
    completed: Vec<u8>,
    unfinished: Option<Unfinished>,
    records: u64,
}

impl Reader {
    /// How many records are complete.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Reads on in `input` from `at`, which it moves.
    pub(crate) fn next<'a>(&'a mut self, input: &'a Bytes, at: &mut usize) -> Result<Piece<'a>, Violation> {
        self.completed = Vec::new();
        if self.left == 0 && !self.begin_record(input, at)? {
            return Ok(Piece::NeedMore);
        }
        if let Some(unfinished) = self.unfinished.take() {
            return Ok(self.go_on(unfinished, input, at));
        }
        let there = (self.left - self.stash.len()).min(input.len() - *at);
        if there == 0 {
            return Ok(Piece::NeedMore);
        }
        if !self.stash.is_empty() {
            return self.frame_across_inputs(input, at, there);
        }
        let bytes = input.get(*at..*at + there).unwrap_or_default();
        match frame::decode(bytes, self.left) {
            Ok((frame, length)) => {
                *at += length;
                self.use_up(length);
                Ok(match frame {
                    Frame::Stream(header) => self.begin_payload(header, input, at),
                    frame => Piece::Frame(frame),
                })
            }
            Err(DecodeError::Incomplete) => {
                self.stash.extend_from_slice(bytes);
                *at += there;
                Ok(Piece::NeedMore)
            }
            Err(DecodeError::Invalid(violation)) => Err(violation),
        }
    }

    /// Reads the Size field; false when it has not arrived.
    fn begin_record(&mut self, input: &Bytes, at: &mut usize) -> Result<bool, Violation> {
        let rest = input.get(*at..).unwrap_or_default();
        let mut field = [0; varint::MAX_LEN];
        let kept = self.stash.len();
        let fresh = rest.len().min(varint::MAX_LEN - kept);
        field[..kept].copy_from_slice(&self.stash);
        field[kept..kept + fresh].copy_from_slice(&rest[..fresh]);
        let Some((size, length)) = varint::decode(&field[..kept + fresh]) else {
            self.stash.extend_from_slice(rest);
            *at = input.len();
            return Ok(false);
        };
        *at += length - kept;
        self.stash = Vec::new();
        if size == 0 {
            return Err(Violation::protocol("a record without a frame"));
        }
        //= S2.11
        if size > DEFAULT_MAX_RECORD_SIZE {
            let reason =
                format!("a record of {size} bytes exceeds max_record_size {DEFAULT_MAX_RECORD_SIZE}");
            return Err(Violation::encoding(reason));
        }
        self.left = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(true)
    }

    /// Reads a frame of which some bytes came with earlier input, copying at most twice what it needs.
    fn frame_across_inputs<'a>(
        &'a mut self,
        input: &'a Bytes,
        at: &mut usize,
        there: usize,
    ) -> Result<Piece<'a>, Violation> {
        let kept = self.stash.len();
        let mut fresh = there.min(frame::MAX_CONTROL_FRAME);
        let (header, length) = loop {
            self.stash.truncate(kept);
            self.stash.extend_from_slice(input.get(*at..*at + fresh).unwrap_or_default());
            match frame::decode(&self.stash, self.left) {
                Ok((Frame::Stream(header), length)) => break (Some(header), length),
                Ok((_, length)) => break (None, length),
                Err(DecodeError::Incomplete) if fresh == there => {
                    *at += there;
                    return Ok(Piece::NeedMore);
                }
                Err(DecodeError::Incomplete) => fresh = there.min(2 * fresh.max(kept)),
                Err(DecodeError::Invalid(violation)) => return Err(violation),
            }
        };
        *at += length.saturating_sub(kept);
        let left = self.left;
        self.use_up(length);
        self.completed = std::mem::take(&mut self.stash);
        if let Some(header) = header {
            return Ok(self.begin_payload(header, input, at));
        }
        // Decoded again, because the loop above could not hand out what it went on changing.
        Ok(frame::decode(&self.completed, left).map_or(Piece::NeedMore, |(frame, _)| Piece::Frame(frame)))
    }

    fn begin_payload(&mut self, header: StreamHeader, input: &Bytes, at: &mut usize) -> Piece<'static> {
        let (payload, left) = self.take_payload(header.length, input, at);
        if left > 0 {
            self.unfinished = Some(Unfinished { id: header.id, left, fin: header.fin });
        }
        Piece::Stream { header, payload, done: left == 0 }
    }

    fn go_on(&mut self, unfinished: Unfinished, input: &Bytes, at: &mut usize) -> Piece<'static> {
        let Unfinished { id, left, fin } = unfinished;
        let (payload, left) = self.take_payload(left, input, at);
        if left > 0 {
            self.unfinished = Some(Unfinished { id, left, fin });
            if payload.is_empty() {
                return Piece::NeedMore;
            }
        }
        Piece::Payload { id, payload, fin, done: left == 0 }
    }

    /// At most `length` bytes of what is there, and how many of them are still to come.
    fn take_payload(&mut self, length: usize, input: &Bytes, at: &mut usize) -> (Bytes, usize) {
        let there = length.min(input.len() - *at);
        let payload = if there == 0 { Bytes::new() } else { input.slice(*at..*at + there) };
        *at += there;
        self.use_up(there);
        (payload, length - there)
    }

    fn use_up(&mut self, bytes: usize) {
        self.left -= bytes;
        self.records += u64::from(self.left == 0);
    }
}
