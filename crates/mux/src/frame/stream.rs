//! STREAM (RFC 9000 §19.8).
//!
//! > STREAM frames implicitly create a stream and carry stream data. The Type field in the STREAM frame takes the
//! > form 0b00001XXX […] The OFF bit (0x04) […] The LEN bit (0x02) […] The FIN bit (0x01) indicates that the frame
//! > marks the end of the stream.

use super::{Cursor, DecodeError};
use crate::StreamId;
use crate::violation::Violation;
use hikyaku_wire::varint;

/// Everything of a STREAM frame but its payload, of which `length` bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamHeader {
    pub(crate) id: StreamId,
    pub(crate) offset: u64,
    pub(crate) length: usize,
    pub(crate) fin: bool,
}

const OFF: u64 = 0x04;
const LEN: u64 = 0x02;
const FIN: u64 = 0x01;

impl StreamHeader {
    pub(crate) const FIRST_TYPE: u64 = 0x08;
    pub(crate) const LAST_TYPE: u64 = 0x0f;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let id = cursor.varint()?.into();
        let offset = if ty & OFF != 0 { cursor.varint()? } else { 0 };
        let length = if ty & LEN != 0 {
            let length = cursor.varint()?;
            cursor.within(length)?
        } else {
            cursor.left()
        };
        let header = Self { id, offset, length, fin: ty & FIN != 0 };
        // RFC 9000 §19.8: "The largest offset delivered on a stream -- the sum of the offset and data length --
        // cannot exceed 2^62-1".
        if header.end() > varint::MAX {
            return Err(Violation::encoding("the stream would be longer than 2^62 - 1 bytes")
                .in_frame(ty)
                .into());
        }
        Ok(header)
    }

    /// The offset behind the last byte of the frame.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }

    /// The encoded length without the Length field.
    pub(crate) fn len_without_length(id: StreamId, offset: u64) -> usize {
        1 + varint::len(id.into()) + if offset == 0 { 0 } else { varint::len(offset) }
    }

    /// Appends the header; without a Length field the payload must fill the rest of the record.
    pub(crate) fn encode(&self, with_length: bool, out: &mut Vec<u8>) {
        let off = if self.offset == 0 { 0 } else { OFF };
        let len = if with_length { LEN } else { 0 };
        varint::encode(Self::FIRST_TYPE | off | len | u64::from(self.fin), out);
        varint::encode(self.id.into(), out);
        if self.offset != 0 {
            varint::encode(self.offset, out);
        }
        if with_length {
            varint::encode(self.length as u64, out);
        }
    }
}
