//! Parcels: what a file transfer is called, and the two events it leaves in a room.
//!
//! A parcel in a room is two events: [`Parcel`] when the sender begins, [`ParcelEnd`] when it is settled,
//! aborted or expired. Spec: chapter 5.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::chat::DeviceId;

/// The type name of the event that begins a parcel.
pub const PARCEL: &str = "parcel";
/// The type name of the event that ends a parcel.
pub const PARCEL_END: &str = "parcel-end";

/// The longest name a parcel may have, in bytes.
pub const MAX_NAME: usize = 255;

/// The name of one transfer: 128 random bits made by the sender, and kept until the receipt arrives.
///
/// Offering the same transfer again resumes it, or repeats its receipt; it is never a second transfer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct TransferId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// The BLAKE3 hash of a whole object: its name in the vault, and what both ends print.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Root(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

/// What a parcel or an entry of it is. Only [`EntryKind::File`] is in use; the others are reserved for trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryKind {
    /// A regular file.
    #[n(0)]
    File,
    /// A directory with everything in it.
    #[n(1)]
    Tree,
    /// A symbolic link, kept as a link.
    #[n(2)]
    Symlink,
}

/// The event `parcel`: somebody began to send something into the room. Its sequence number is the permalink.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Parcel {
    /// The transfer that carries it.
    #[n(0)]
    pub transfer: TransferId,
    /// The name, bytes as the sender's file system has them (1 to 255).
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// File or tree.
    #[n(2)]
    pub kind: EntryKind,
    /// The size in bytes, where the sender knew it.
    #[n(3)]
    pub bytes: Option<u64>,
    /// The number of entries, where it is a tree and the sender knew it.
    #[n(4)]
    pub entries: Option<u64>,
    /// The metadata of a single file; a tree has its own in its manifest.
    #[n(5)]
    pub meta: Option<Metadata>,
    /// The one device that it is meant for; all of everybody's when there is none.
    #[n(6)]
    pub device: Option<Addressee>,
}

/// A device that a parcel is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Addressee {
    /// The device.
    #[n(0)]
    pub id: DeviceId,
    /// What it was called then. The server's word.
    #[n(1)]
    pub name: String,
}

/// What is kept of a file beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Metadata {
    /// Permission bits, 0 to 0o777; a receiver strips the rest.
    #[n(0)]
    pub mode: Option<u32>,
    /// Modification time: seconds since 1970, may be negative.
    #[n(1)]
    pub mtime: Option<i64>,
    /// The nanoseconds of the modification time, 0 to 999,999,999.
    #[n(2)]
    pub mtime_ns: Option<u32>,
}

/// How a parcel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EndStatus {
    /// Whole, verified and durable: it can be fetched.
    #[n(0)]
    Settled,
    /// It will never be whole.
    #[n(1)]
    Aborted,
    /// It was whole and its time is over.
    #[n(2)]
    Expired,
}

/// The event `parcel-end`: what became of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ParcelEnd {
    /// The sequence number of the `parcel` event in the same room and epoch.
    #[n(0)]
    pub parcel: u64,
    /// How it ended.
    #[n(1)]
    pub status: EndStatus,
    /// The root of the object, present when settled.
    #[n(2)]
    pub root: Option<Root>,
    /// The size in bytes, present when settled.
    #[n(3)]
    pub bytes: Option<u64>,
    /// The number of entries, present when a settled tree.
    #[n(4)]
    pub entries: Option<u64>,
}

/// An event of a room, as files need to name it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EventRef {
    /// The room's name.
    #[n(0)]
    pub room: String,
    /// The epoch; the current one when absent.
    #[n(1)]
    pub epoch: Option<u32>,
    /// The sequence number.
    #[n(2)]
    pub seq: u64,
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `room:seq`, or `room:epoch.seq` where the epoch is explicit.
impl fmt::Display for EventRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Some(epoch) => write!(f, "#{}:{epoch}.{}", self.room.escape_debug(), self.seq),
            None => write!(f, "#{}:{}", self.room.escape_debug(), self.seq),
        }
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
