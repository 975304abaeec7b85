//! STREAMS_BLOCKED (RFC 9000 §19.14).
//!
//! > A sender SHOULD send a STREAMS_BLOCKED frame (type=0x16 or 0x17) when it wishes to open a stream but is unable
//! > to do so due to the maximum stream limit set by its peer […] Receipt of a frame that encodes a larger stream
//! > ID MUST be treated as a connection error of type STREAM_LIMIT_ERROR or FRAME_ENCODING_ERROR.

use super::max_streams::MAX_STREAM_COUNT;
use super::{Cursor, DecodeError};
use crate::Dir;
use crate::violation::Violation;
use hikyaku_wire::varint;

/// The sender has opened all `limit` streams that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamsBlocked {
    pub(crate) dir: Dir,
    pub(crate) limit: u64,
}

impl StreamsBlocked {
    pub(crate) const TYPE_BI: u64 = 0x16;
    pub(crate) const TYPE_UNI: u64 = 0x17;

    pub(crate) fn decode(ty: u64, cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let limit = cursor.varint()?;
        if limit > MAX_STREAM_COUNT {
            return Err(Violation::encoding("a limit of more than 2^60 streams").in_frame(ty).into());
        }
        Ok(Self { dir: if ty == Self::TYPE_BI { Dir::Bi } else { Dir::Uni }, limit })
    }

    pub(crate) fn ty(&self) -> u64 {
        if self.dir == Dir::Bi { Self::TYPE_BI } else { Self::TYPE_UNI }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(self.ty(), out);
        varint::encode(self.limit, out);
    }
}
