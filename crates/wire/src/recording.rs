//! Recordings: what passed on connections after decryption, in a file. Format: `docs/recording.md`.
//!
//! A recording is [`MAGIC`] and then entries, each `length (varint) · CBOR map`. It is written by whoever holds the
//! connection and read by `hikyaku inspect`, and it is no part of the protocol.

use minicbor::{Decode, Encode};

use crate::cbor::blob;
use crate::cbor::{self, CborError, Limits};
use crate::varint;

/// The first bytes of a recording; the last one is the version of the format.
pub const MAGIC: &[u8; 8] = b"hikyrec\x01";
/// The longest entry, in bytes, without its length.
pub const MAX_ENTRY: usize = 1 << 20;
/// The most bytes that one entry carries; more become several entries.
pub const MAX_BYTES: usize = 512 * 1024;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Microseconds since the recording began.
    #[n(0)]
    pub at: u64,
    /// The connection, numbered within the recording program.
    #[n(1)]
    pub connection: u64,
    /// What it is.
    #[n(2)]
    pub kind: Kind,
    /// Whether the recording side received it; it sent it otherwise.
    #[n(3)]
    pub received: bool,
    /// The stream, where there is one.
    #[n(4)]
    pub stream: Option<u64>,
    /// The bytes, where there are some.
    #[cbor(n(5), with = "blob", has_nil)]
    pub bytes: Option<bytes::Bytes>,
    /// The code of a reset, a stop or a close.
    #[n(6)]
    pub code: Option<u64>,
    /// What there is to say: of a connection `client over quic to 127.0.0.1:4747`, of a close its reason.
    #[n(7)]
    pub text: Option<String>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// The connection begins; nothing of it comes earlier.
    #[n(0)]
    Begin,
    /// Bytes of the decrypted byte stream under QMux (TCP).
    #[n(1)]
    Records,
    /// Bytes of one stream (QUIC, whose packets are not recorded).
    #[n(2)]
    Stream,
    /// The stream's end in this direction.
    #[n(3)]
    Fin,
    /// The stream was given up by its sender.
    #[n(4)]
    Reset,
    /// The stream was given up by its receiver.
    #[n(5)]
    Stop,
    /// A datagram.
    #[n(6)]
    Datagram,
    /// The connection is over.
    #[n(7)]
    End,
}

impl Entry {
    /// An entry that says nothing yet but what it is.
    pub fn new(at: u64, connection: u64, kind: Kind, received: bool) -> Self {
        Self { at, connection, kind, received, stream: None, bytes: None, code: None, text: None }
    }

    /// Appends the entry with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let item = cbor::encode(self);
        varint::encode(item.len() as u64, out);
        out.extend_from_slice(&item);
    }

    /// Reads an entry without its length.
    pub fn decode(item: &[u8]) -> Result<Self, CborError> {
        cbor::decode(item, &Limits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_the_same_and_an_unknown_kind_is_an_error() {
        let entry = Entry {
            stream: Some(4),
            bytes: Some(bytes::Bytes::from_static(b"bytes")),
            code: Some(7),
            text: Some("text".to_owned()),
            ..Entry::new(1, 2, Kind::Stream, true)
        };
        let mut out = Vec::new();
        entry.encode(&mut out);
        let (length, size) = varint::decode(&out).unwrap();
        assert_eq!(out.len() as u64 - size as u64, length);
        assert_eq!(Entry::decode(&out[size..]), Ok(entry));
        assert!(matches!(
            Entry::decode(&[0xa4, 0, 0, 1, 0, 2, 0x18, 99, 3, 0xf4]),
            Err(CborError::Shape { .. })
        ));
    }
}
