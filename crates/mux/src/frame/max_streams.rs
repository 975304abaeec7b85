//! MAX_STREAMS (RFC 9000 §19.11).
//!
//! > A MAX_STREAMS frame (type=0x12 or 0x13) informs the peer of the cumulative number of streams of a given type
//! > it is permitted to open. […] This value cannot exceed 2^60 […] Receipt of a frame that permits opening of a
//! > stream larger than this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR.

use super::{Cursor, DecodeError};
use crate::Dir;
use crate::violation::Violation;
use hikyaku_wire::varint;

/// More streams of one direction than this do not fit a stream number.
pub(crate) const MAX_STREAM_COUNT: u64 = 1 << 60;

/// Credit for streams, counted from the beginning of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxStreams {
    pub(crate) dir: Dir,
    pub(crate) maximum: u64,
}

impl MaxStreams {
    pub(crate) const TYPE_BI: u64 = 0x12;
    pub(crate) const TYPE_UNI: u64 = 0x13;
    pub(crate) const LIMIT: u64 = MAX_STREAM_COUNT;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let maximum = cursor.varint()?;
        if maximum > MAX_STREAM_COUNT {
            return Err(Violation::encoding("more than 2^60 streams are allowed").in_frame(ty).into());
        }
        Ok(Self { dir: if ty == Self::TYPE_BI { Dir::Bi } else { Dir::Uni }, maximum })
    }

    pub(crate) fn ty(&self) -> u64 {
        if self.dir == Dir::Bi { Self::TYPE_BI } else { Self::TYPE_UNI }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(self.ty(), out);
        varint::encode(self.maximum, out);
    }
}
