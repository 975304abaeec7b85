//! Bundles: a directory tree as one canonical stream of bytes.
//!
//! A bundle is a sequence of records, `type (varint) · length (varint) · payload`, in the order of a walk: a directory's
//! entries by their names' bytes, what is inside a directory between its [`Enter`] and its [`Leave`]. The same tree is
//! the same bytes, so a bundle has a root, can be resumed at an offset, kept in a vault and proved in ranges like any
//! file. Payloads of the headers are CBOR; content is raw. Reading one: `hikyaku_files::bundle`. Spec: section 5.6.

use minicbor::{Decode, Encode};

use crate::files::Component;
use crate::parcel::{Metadata, Root};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType(pub u64);

impl RecordType {
    /// A directory begins: [`Enter`].
    pub const ENTER: Self = Self(0x01);
    /// The directory that was entered last ends: [`Leave`].
    pub const LEAVE: Self = Self(0x02);
    /// A regular file begins: [`FileHead`].
    pub const FILE: Self = Self(0x03);
    /// The file's next bytes, raw: [`PIECE_LEN`] of them, or the rest.
    pub const BYTES: Self = Self(0x04);
    /// The file's next bytes are zero: their number as a varint, whole pieces.
    pub const HOLE: Self = Self(0x05);
    /// The file ends: [`FileEnd`].
    pub const END: Self = Self(0x06);
    /// A symbolic link: [`Symlink`].
    pub const SYMLINK: Self = Self(0x07);
    /// A second name of a file that came earlier: [`HardLink`].
    pub const HARD_LINK: Self = Self(0x08);
    /// Something that is not carried: [`LeftOut`].
    pub const LEFT_OUT: Self = Self(0x09);
    /// The last record: [`Done`].
    pub const DONE: Self = Self(0x0a);
    /// The next files of the listing are not carried, because the receiver has them: their number as a varint.
    pub const KEPT: Self = Self(0x0b);
}

/// A file's content is cut at the multiples of this many bytes; a whole piece of zeros is part of a hole.
pub const PIECE_LEN: u64 = 64 * 1024;

/// The longest payload of a header (every record but BYTES), in bytes: room for names, links and attributes.
pub const MAX_HEADER: u64 = 128 * 1024;

/// The longest target of a symbolic link, in bytes.
pub const MAX_LINK: usize = 4095;

/// The most extended attributes of one entry.
pub const MAX_ATTRIBUTES: usize = 256;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Attribute {
    /// Its name, as bytes: `user.comment`.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its value.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// A directory begins.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enter {
    /// Its name: one component.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
}

/// A directory ends. What was made inside it changed its time, so metadata comes here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Leave {
    /// The directory's metadata.
    #[n(0)]
    pub meta: Option<Metadata>,
    /// Its extended attributes, if they are carried.
    #[cbor(n(1), decode_with = "crate::cbor::few_if_any::<_, _, MAX_ATTRIBUTES>")]
    pub attributes: Option<Vec<Attribute>>,
}

/// A regular file begins; its content follows, then its [`FileEnd`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FileHead {
    /// Its name: one component.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its size in bytes. The content has exactly as many, unless its end says that it failed.
    #[n(1)]
    pub size: u64,
    /// Its metadata.
    #[n(2)]
    pub meta: Option<Metadata>,
    /// Its extended attributes, if they are carried.
    #[cbor(n(3), decode_with = "crate::cbor::few_if_any::<_, _, MAX_ATTRIBUTES>")]
    pub attributes: Option<Vec<Attribute>>,
    /// Where its content begins: whole pieces before it are at the receiver, which has asked for this.
    #[n(4)]
    pub from: Option<u64>,
}

/// A file ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FileEnd {
    /// Absent when the content is whole; else why it is not, and nothing of it may be kept.
    #[n(0)]
    pub failed: Option<Reason>,
}

/// Why something is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Reason(#[n(0)] pub u32);

impl Reason {
    /// The source changed while it was read.
    pub const CHANGED: Self = Self(0);
    /// The source could not be read.
    pub const UNREADABLE: Self = Self(1);
    /// The source was gone when it was its turn.
    pub const VANISHED: Self = Self(2);
    /// A device, a FIFO or a socket: only files, directories and links are carried.
    pub const SPECIAL: Self = Self(3);
    /// Its name, depth or size is beyond what a bundle carries.
    pub const LIMIT: Self = Self(4);
}

/// A symbolic link. It is made as a link and never followed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Symlink {
    /// Its name: one component.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Where it points, as written: 1 to [`MAX_LINK`] bytes.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub target: Vec<u8>,
    /// Its metadata (only the time can be kept).
    #[n(2)]
    pub meta: Option<Metadata>,
}

/// A second name of a file that came earlier.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HardLink {
    /// The new name: one component.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// The path of the first one, from the top of the bundle.
    #[n(1)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, 1024>")]
    pub to: Vec<Component>,
}

/// Something in the source that is not carried, so that the receiver can say so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LeftOut {
    /// Its name: one component.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Why.
    #[n(1)]
    pub reason: Reason,
}

/// The end of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Done {
    /// How many directories, files and links it has.
    #[n(0)]
    pub entries: u64,
    /// The sum of its files' sizes.
    #[n(1)]
    pub bytes: u64,
    /// How many things were left out or failed.
    #[n(2)]
    pub left_out: u64,
    /// How many files were listed and not carried.
    #[n(3)]
    pub kept: Option<u64>,
    /// The chain over them; present when `kept` is.
    #[n(4)]
    pub chain: Option<Root>,
}
