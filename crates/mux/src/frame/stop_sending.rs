//! STOP_SENDING (RFC 9000 §19.5).
//!
//! > An endpoint uses a STOP_SENDING frame (type=0x05) to communicate that incoming data is being discarded on
//! > receipt per application request. STOP_SENDING requests that a peer cease transmission on a stream.

use super::{Cursor, DecodeError};
use crate::StreamId;
use hikyaku_wire::varint;

/// The receiver wants no more of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSending {
    pub(crate) id: StreamId,
    pub(crate) code: u64,
}

impl StopSending {
    pub(crate) const TYPE: u64 = 0x05;

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { id: cursor.varint()?.into(), code: cursor.varint()? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.id.into(), out);
        varint::encode(self.code, out);
    }
}
