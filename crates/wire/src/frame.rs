//! Session frames inside a stream: `type (varint) · length (varint) · payload`. Spec: chapter 3, Frames.
//!
//! Writing is two functions; reading is [`Decoder`], which takes the bytes of one stream in whatever pieces they
//! arrive and gives back whole frames, and bulk data as it comes.

mod decoder;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::BufMut;

pub use decoder::{Decoder, Piece};

use crate::codes::{self, ErrorCode, FRAME_TYPES};
use crate::varint;

/// The longest header: two varints.
pub const MAX_HEADER: usize = 2 * varint::MAX_LEN;

/// Appends one frame to `out`.
///
/// ```
/// use hikyaku_wire::frame::{self, FrameType};
/// let mut out = Vec::new();
/// frame::encode(FrameType::MESSAGE, &[0x0a], &mut out);
/// assert_eq!(out, [0x11, 0x01, 0x0a]);
/// ```
pub fn encode(ty: FrameType, payload: &[u8], out: &mut impl BufMut) {
    encode_header(ty, payload.len() as u64, out);
    out.put_slice(payload);
}

/// Appends the header of a frame whose payload of `length` bytes the caller sends itself, uncopied.
//= S2.1
pub fn encode_header(ty: FrameType, length: u64, out: &mut impl BufMut) {
    varint::encode(ty.0, out);
    varint::encode(length, out);
}

/// The type of a session frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameType(pub u64);

impl FrameType {
    /// Whether the type is reserved for grease (`0x1f * N + 0x21`): unknown for ever.
    pub const fn is_reserved(self) -> bool {
        codes::is_reserved(self.0)
    }

    /// The registered name, if this type is registered.
    pub fn name(self) -> Option<&'static str> {
        FRAME_TYPES.iter().find(|(ty, _, _)| *ty == self).map(|(_, name, _)| *name)
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(out, "{name} ({:#04x})", self.0),
            None => write!(out, "unknown frame ({:#04x})", self.0),
        }
    }
}

impl fmt::Debug for FrameType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// How long a frame of each kind may be, in bytes of payload. What this side told the peer in HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// MESSAGE. It is buffered whole, so it must also fit a quarter of the stream's window.
    pub max_message: u64,
    /// HELLO, GOAWAY, OPEN and ERROR. They are buffered whole. At least the `max_metadata` told in HELLO and
    /// [`FrameLimits::METADATA_OVERHEAD`].
    pub max_metadata: u64,
    /// DATA. It is never buffered; the limit bounds how long an ERROR may have to wait behind it.
    pub max_data_frame: u64,
    /// Frames of unknown type, which are skipped.
    pub max_skipped: u64,
}

impl FrameLimits {
    /// What an OPEN or ERROR may be longer than its metadata or details: room for names, message and keys.
    pub const METADATA_OVERHEAD: u64 = 2048;

    /// The limits of a peer that is not enrolled (spec: chapter 6, Strangers).
    //= S6.25
    pub const STRANGER: FrameLimits =
        FrameLimits { max_message: 4096, max_metadata: 4096, max_data_frame: 0, max_skipped: 4096 };
}

impl Default for FrameLimits {
    fn default() -> Self {
        FrameLimits {
            max_message: 1024 * 1024,
            max_metadata: 4 * 1024 + FrameLimits::METADATA_OVERHEAD,
            max_data_frame: 16 * 1024 * 1024,
            max_skipped: 64 * 1024,
        }
    }
}

/// What is wrong with a peer's frame. After one, nothing more can be read from the stream.
//= S3.90
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type or length takes more bytes than it needs.
    #[error("the peer's frame {field} {value:#x} is not in its shortest form")]
    NotShortest {
        /// `type` or `length`.
        field: &'static str,
        /// The number itself.
        value: u64,
    },
    /// The payload is longer than this side said it accepts.
    #[error("the peer's {ty} of {length} bytes exceeds our {limit_name} of {limit} bytes")]
    TooLong {
        /// The frame's type.
        ty: FrameType,
        /// The length its header claims.
        length: u64,
        /// The limit it exceeds.
        limit: u64,
        /// The name of the limit in [`FrameLimits`].
        limit_name: &'static str,
    },
    /// END carries a payload.
    #[error("the peer's END carries {length} bytes; it must be empty")]
    EndNotEmpty {
        /// The length its header claims.
        length: u64,
    },
    /// The stream ended inside a frame.
    #[error("the peer's stream ended inside {}", inside(.ty))]
    Truncated {
        /// The frame it ended in; `None` when it ended inside the header.
        ty: Option<FrameType>,
    },
}

fn inside(ty: &Option<FrameType>) -> String {
    ty.map_or_else(|| "a frame header".to_owned(), |ty| ty.to_string())
}

impl FrameError {
    /// The code that tells the peer.
    pub fn code(&self) -> ErrorCode {
        match self {
            FrameError::NotShortest { .. } | FrameError::EndNotEmpty { .. } => ErrorCode::FRAME_ERROR,
            FrameError::TooLong { .. } => ErrorCode::LIMIT_EXCEEDED,
            FrameError::Truncated { .. } => ErrorCode::TRUNCATED,
        }
    }
}
