//! DATA_BLOCKED (RFC 9000 §19.12).
//!
//! > A sender SHOULD send a DATA_BLOCKED frame (type=0x14) when it wishes to send data but is unable to do so due
//! > to connection-level flow control.

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// The sender has used the connection's credit up to `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataBlocked {
    pub(crate) limit: u64,
}

impl DataBlocked {
    pub(crate) const TYPE: u64 = 0x14;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { limit: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.limit, out);
    }
}
