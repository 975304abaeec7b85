//! QMux records: `Size (varint) · Frames` on the byte stream (draft §3.2), read and written.

mod reader;
mod writer;

pub(crate) use reader::{Piece, Reader};
pub(crate) use writer::{MAX_RECORD, Writer};
