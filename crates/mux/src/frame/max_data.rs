//! MAX_DATA (RFC 9000 §19.9).
//!
//! > A MAX_DATA frame (type=0x10) is used in flow control to inform the peer of the maximum amount of data that
//! > can be sent on the connection as a whole.

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// Credit for the connection, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxData {
    pub(crate) maximum: u64,
}

impl MaxData {
    pub(crate) const TYPE: u64 = 0x10;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { maximum: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.maximum, out);
    }
}
