//! QX_TRANSPORT_PARAMETERS (draft-ietf-quic-qmux-02 §4.2).
//!
//! > The QX_TRANSPORT_PARAMETERS frame is the first frame sent by endpoints. […] The QX_TRANSPORT_PARAMETERS frame
//! > MUST only be sent as the first frame.

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// What an endpoint can take, still encoded: `parameters` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransportParametersFrame<'a> {
    pub(crate) parameters: &'a [u8],
}

impl<'a> TransportParametersFrame<'a> {
    /// `\xffQMX\r\n\r\n` on the wire: neither HTTP/1.1 nor HTTP/2 begins like this.
    pub(crate) const TYPE: u64 = 0x3f51_5330_0d0a_0d0a;

    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let length = cursor.varint()?;
        Ok(Self { parameters: cursor.take(length)? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(Self::TYPE, out);
        varint::encode(self.parameters.len() as u64, out);
        out.extend_from_slice(self.parameters);
    }
}
