//! PADDING (RFC 9000 §19.1).
//!
//! > A PADDING frame (type=0x00) has no semantic value. […] A PADDING frame has no content. That is, a PADDING
//! > frame consists of the single byte that identifies the frame as a PADDING frame.

use super::Cursor;

/// A run of PADDING frames, as many as have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Padding {
    pub(crate) length: usize,
}

impl Padding {
    pub(crate) const TYPE: u64 = 0x00;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Self {
        Self { length: 1 + cursor.skip_while(|byte| byte == 0) }
    }
}
