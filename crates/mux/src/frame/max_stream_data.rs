//! MAX_STREAM_DATA (RFC 9000 §19.10).
//!
//! > A MAX_STREAM_DATA frame (type=0x11) is used in flow control to inform a peer of the maximum amount of data
//! > that can be sent on a stream.

use super::{Cursor, DecodeError};
use crate::StreamId;
use hikyaku_wire::varint;

/// Credit for one stream, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxStreamData {
    pub(crate) id: StreamId,
    pub(crate) maximum: u64,
}

impl MaxStreamData {
    pub(crate) const TYPE: u64 = 0x11;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: cursor.varint()?.into(), maximum: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.id.into(), out);
        varint::encode(self.maximum, out);
    }
}
