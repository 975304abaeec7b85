//! CONNECTION_CLOSE (RFC 9000 §19.19).
//!
//! > An endpoint sends a CONNECTION_CLOSE frame (type=0x1c or 0x1d) to notify its peer that the connection is being
//! > closed. […] The application-specific variant of CONNECTION_CLOSE (type 0x1d) does not include this field
//! > [Frame Type].

use super::{Cursor, DecodeError};
use hikyaku_wire::varint;

/// More of a reason than this is neither sent nor kept.
pub(crate) const MAX_REASON: usize = 1024;

/// The connection ends: because of the frame `frame_type`, or by the application when it is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionClose<'a> {
    pub(crate) code: u64,
    pub(crate) frame_type: Option<u64>,
    pub(crate) reason: &'a [u8],
}

impl<'a> ConnectionClose<'a> {
    pub(crate) const TYPE_TRANSPORT: u64 = 0x1c;
    pub(crate) const TYPE_APPLICATION: u64 = 0x1d;
    pub(crate) const MAX_REASON: usize = MAX_REASON;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let code = cursor.varint()?;
        let frame_type = if ty == Self::TYPE_TRANSPORT { Some(cursor.varint()?) } else { None };
        let length = cursor.varint()?;
        Ok(Self { code, frame_type, reason: cursor.take(length)? })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(
            if self.frame_type.is_some() { Self::TYPE_TRANSPORT } else { Self::TYPE_APPLICATION },
            out,
        );
        varint::encode(self.code, out);
        if let Some(frame_type) = self.frame_type {
            varint::encode(frame_type, out);
        }
        varint::encode(self.reason.len() as u64, out);
        out.extend_from_slice(self.reason);
    }
}
