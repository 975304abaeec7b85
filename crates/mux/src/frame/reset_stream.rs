//! RESET_STREAM (RFC 9000 §19.4).
//!
//! > An endpoint uses a RESET_STREAM frame (type=0x04) to abruptly terminate the sending part of a stream.
//! > After sending a RESET_STREAM, an endpoint ceases transmission and retransmission of STREAM frames on the
//! > identified stream.

use super::{Cursor, DecodeError};
use crate::StreamId;
use hikyaku_wire::varint;

/// The sender gives the stream up after `final_size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResetStream {
    pub(crate) id: StreamId,
    pub(crate) code: u64,
    pub(crate) final_size: u64,
}

impl ResetStream {
    pub(crate) const TYPE: u64 = 0x04;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: cursor.varint()?.into(), code: cursor.varint()?, final_size: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.id.into(), out);
        varint::encode(self.code, out);
        varint::encode(self.final_size, out);
    }
}
