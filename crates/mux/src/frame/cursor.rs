//! Reads the fields of one frame from the part of a record that has arrived.

use crate::violation::Violation;
use hikyaku_wire::varint;

/// Why a frame could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The record goes on; so far nothing is wrong.
    Incomplete,
    /// The connection must close.
    Invalid(Violation),
}

impl From<Violation> for DecodeError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(violation)
    }
}

/// A position in a record: `bytes` have arrived, of `left` that the record holds.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    left: usize,
    at: usize,
    frame_type: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], left: usize) -> Self {
        Self { bytes, left, at: 0, frame_type: 0 }
    }

    /// Names the frame in the errors that follow.
    pub(crate) fn set_frame_type(&mut self, ty: u64) {
        self.frame_type = ty;
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The rest of the record, arrived or not.
    pub(crate) fn left(&self) -> usize {
        self.left.saturating_sub(self.at)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some((value, length)) = varint::decode(rest) {
            if length <= self.left() {
                self.at += length;
                return Ok(value);
            }
            return Err(self.truncated());
        }
        let length = rest.first().map_or(1, |first| varint::encoded_len(*first));
        Err(if length <= self.left() { DecodeError::Incomplete } else { self.truncated() })
    }

    /// The next `length` bytes; they must all have arrived.
    pub(crate) fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = self.within(length)?;
        let bytes = self.bytes.get(self.at..self.at + length).ok_or(DecodeError::Incomplete)?;
        self.at += length;
        Ok(bytes)
    }

    /// `length`, if the record holds that much.
    pub(crate) fn within(&self, length: u64) -> Result<usize, DecodeError> {
        usize::try_from(length).ok().filter(|length| *length <= self.left()).ok_or_else(|| self.truncated())
    }

    /// Skips what `same` accepts and returns how many bytes that was.
    pub(crate) fn skip_while(&mut self, same: impl Fn(u8) -> bool) -> usize {
        let end = self.left.min(self.bytes.len());
        let rest = self.bytes.get(self.at..end).unwrap_or_default();
        let run = rest.iter().position(|byte| !same(*byte)).unwrap_or(rest.len());
        self.at += run;
        run
    }

    //= S2.2
    //= S2.12
    fn truncated(&self) -> DecodeError {
        Violation::encoding("the record ends inside a frame").in_frame(self.frame_type).into()
    }
}
