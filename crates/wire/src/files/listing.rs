//! Listing a tree ahead of its bytes, so that what the receiver has is not sent. Spec: section 5.7.

use minicbor::{Decode, Encode};

use super::Older;
use crate::parcel::Root;

/// The most entries one [`List`] has.
pub const MAX_LISTED: usize = 512;
/// The most entries that may be listed before the tree's bytes say what became of them.
pub const MAX_AHEAD: usize = 16_384;

/// What of a tree comes next.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct List {
    /// How many files were listed before these.
    #[n(0)]
    pub first: u64,
    /// Everything in the order of the bundle.
    #[n(1)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, 512>")]
    pub entries: Vec<Listed>,
    /// Whether the listing ends here.
    #[n(2)]
    pub last: Option<bool>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Listed {
    /// A directory begins.
    #[n(0)]
    Enter(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// It ends.
    #[n(1)]
    Leave,
    /// A regular file.
    #[n(2)]
    File {
        /// Its name: one component.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        name: Vec<u8>,
        /// Its size in bytes.
        #[n(1)]
        size: u64,
        /// Its modification time in seconds since 1970.
        #[n(2)]
        mtime: i64,
        /// The nanoseconds of it.
        #[n(3)]
        mtime_ns: u32,
        /// Its permission bits.
        #[n(4)]
        mode: u32,
        /// Whether other names of it follow as hard links.
        #[n(5)]
        links: bool,
        /// Its root, when files are compared by it.
        #[n(6)]
        root: Option<Root>,
        /// What its extended attributes are, where they are carried.
        #[n(7)]
        attributes: Option<AttributesDigest>,
    },
    /// Something else that has this name: a link, or something that is not carried.
    #[n(3)]
    Other(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
}

/// What says whether two files have the same extended attributes: the beginning of a BLAKE3 hash over them (S5.67).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct AttributesDigest(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// Which of the files that were listed are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Wants {
    /// How many files were answered before these.
    #[n(0)]
    pub first: u64,
    /// A [`Verdict`] for each of the files that follow, in the order of the listing.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub verdicts: Vec<u8>,
    /// Of the one that is [`Verdict::REST`]: the bytes that are there, whole pieces.
    #[n(2)]
    pub from: Option<u64>,
    /// Older versions of some of them, in order: their pieces follow, in the same order.
    #[cbor(n(3), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, 512>", default)]
    pub older: Vec<OlderFile>,
}

/// An older version of a wanted file of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OlderFile {
    /// Which file: how many were listed before it.
    #[n(0)]
    pub file: u64,
    /// What is there.
    #[n(1)]
    pub older: Older,
}

/// What a receiver says of a listed file. Those from 0x80 on are not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(pub u8);

impl Verdict {
    /// Wanted: there is nothing of that name.
    pub const NEW: Self = Self(0);
    /// Wanted: it takes the place of what is there.
    pub const REPLACES: Self = Self(1);
    /// Wanted: it will get another name.
    pub const RENAMED: Self = Self(2);
    /// Wanted from an offset on: the beginning is there.
    pub const REST: Self = Self(3);
    /// Wanted for the names that follow as hard links; its own is taken.
    pub const LINKED: Self = Self(4);
    /// Not wanted: it is there.
    pub const SAME: Self = Self(0x80);
    /// Not wanted: something else has the name and stays.
    pub const TAKEN: Self = Self(0x81);
    /// Not wanted: what is there is newer.
    pub const OLDER: Self = Self(0x82);
    /// Not wanted: its name and an earlier one differ by case or by composition alone.
    pub const COLLIDES: Self = Self(0x83);
    /// Not wanted: this time others of the tree are asked for.
    pub const UNASKED: Self = Self(0x84);

    /// Whether the file is to be sent.
    pub fn is_wanted(self) -> bool {
        self.0 < 0x80
    }
}
