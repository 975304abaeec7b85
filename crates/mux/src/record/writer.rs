//! Builds one record at the end of an output buffer.

use crate::parameters::DEFAULT_MAX_RECORD_SIZE;
use hikyaku_wire::varint;

//= S2.10
/// The Frames of the largest record that is sent: with its Size field it fills one TLS record exactly.
pub(crate) const MAX_RECORD: usize = DEFAULT_MAX_RECORD_SIZE as usize;

/// The Size field while it is not known yet: it will fit two bytes, because [`MAX_RECORD`] does.
const SIZE_FIELD: usize = 2;

/// A record in the making.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    capacity: usize,
}

impl<'a> Writer<'a> {
    /// Begins a record of at most `capacity` bytes of frames.
    pub(crate) fn new(out: &'a mut Vec<u8>, capacity: usize) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; SIZE_FIELD]);
        Self { out, start, capacity: capacity.min(MAX_RECORD) }
    }

    fn size(&self) -> usize {
        self.out.len() - self.start - SIZE_FIELD
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// How many bytes still fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.size())
    }

    /// Makes room for one large frame: a record may exceed its budget, never [`MAX_RECORD`].
    pub(crate) fn extend_to_max(&mut self) {
        self.capacity = MAX_RECORD;
    }

    /// Where frames are appended; the caller asked [`Writer::room`] before.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Writes the Size field, or takes the record back when it is empty. Returns whether there is one.
    pub(crate) fn finish(self) -> bool {
        let size = self.size();
        debug_assert!(size <= MAX_RECORD, "the caller asked for room");
        if size == 0 {
            self.out.truncate(self.start);
        } else if varint::len(size as u64) == 1 {
            // Moving at most 63 bytes is cheaper than sending one more byte with every small record.
            self.out[self.start] = size as u8;
            self.out.remove(self.start + 1);
        } else {
            let field = (size as u16 | 0x4000).to_be_bytes();
            self.out[self.start..self.start + SIZE_FIELD].copy_from_slice(&field);
        }
        size != 0
    }
}
