//! QX_PING (draft-ietf-quic-qmux-02 §4.3).
//!
//! > Type 0x348c67529ef8c7bd is used for sending a ping (i.e., request the peer to respond). Type
//! > 0x348c67529ef8c7be is used in response.

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// A question, or the answer to the one with the same sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) response: bool,
    pub(crate) sequence: u64,
}

impl Ping {
    pub(crate) const TYPE_REQUEST: u64 = 0x348c_6752_9ef8_c7bd;
    pub(crate) const TYPE_RESPONSE: u64 = 0x348c_6752_9ef8_c7be;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(Self { response: ty == Self::TYPE_RESPONSE, sequence: cursor.varint()? })
    }

    pub(crate) fn ty(&self) -> u64 {
        if self.response { Self::TYPE_RESPONSE } else { Self::TYPE_REQUEST }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(self.ty(), out);
        varint::encode(self.sequence, out);
    }
}
