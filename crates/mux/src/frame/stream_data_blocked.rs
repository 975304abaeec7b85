//! STREAM_DATA_BLOCKED (RFC 9000 §19.13).
//!
//! > A sender SHOULD send a STREAM_DATA_BLOCKED frame (type=0x15) when it wishes to send data but is unable to do
//! > so due to stream-level flow control.

use super::{Cursor, DecodeError};
use crate::StreamId;
use hikyaku_wire::varint;

/// The sender has used the stream's credit up to `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamDataBlocked {
    pub(crate) id: StreamId,
    pub(crate) limit: u64,
}

impl StreamDataBlocked {
    pub(crate) const TYPE: u64 = 0x15;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: cursor.varint()?.into(), limit: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.id.into(), out);
        varint::encode(self.limit, out);
    }
}
