//! DATAGRAM (RFC 9221 §4).
//!
//! > DATAGRAM frames are used to transmit application data in an unreliable manner. The Type field in the DATAGRAM
//! > frame takes the form 0b0011000X (or the values 0x30 and 0x31). The least significant bit of the Type field in
//! > the DATAGRAM frame is the LEN bit (0x01).

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// One datagram, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) payload: &'a [u8],
    /// The length of the whole frame, which `max_datagram_frame_size` limits.
    pub(crate) frame_len: usize,
}

impl<'a> Datagram<'a> {
    pub(crate) const TYPE: u64 = 0x30;
    pub(crate) const TYPE_WITH_LENGTH: u64 = 0x31;
    /// Type and Length as this side encodes them: one byte and at most two.
    pub(crate) const MAX_HEADER: usize = 3;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let length = if ty == Self::TYPE_WITH_LENGTH { cursor.varint()? } else { cursor.left() as u64 };
        let payload = cursor.take(length)?;
        Ok(Self { payload, frame_len: cursor.position() })
    }

    pub(crate) fn encode(payload: &[u8], out: &mut Vec<u8>) {
        varint::encode(Self::TYPE_WITH_LENGTH, out);
        varint::encode(payload.len() as u64, out);
        out.extend_from_slice(payload);
    }
}
