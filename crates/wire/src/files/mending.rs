//! What has decayed in a store, and who still has it: `mend`: → [`MendRequest`] ← [`Lacking`] → ([`super::Step::Block`], one
//! DATA frame)* → [`super::Step::Close`] ← [`Mended`]. Spec: section 5.12.

use minicbor::{Decode, Encode};

use super::Wanted;
use crate::parcel::{EntryKind, Root};

/// The method that gives a server back what of a parcel has decayed there.
pub const MEND: &str = "mend";
/// The most groups of which one [`Lacking`] says that they have decayed.
pub const MAX_LACKING: usize = 4096;

/// Which parcel is to be mended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MendRequest {
    /// The parcel.
    #[n(0)]
    pub wanted: Wanted,
}

/// What of it is not what it was. Whoever has it sends these bytes and no others.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Lacking {
    /// The root of the whole.
    #[n(0)]
    pub root: Root,
    /// Its size in bytes.
    #[n(1)]
    pub size: u64,
    /// Whether it is a file or the bundle of a tree.
    #[n(2)]
    pub kind: EntryKind,
    /// What has decayed, in order: whole groups, or the last one. Nothing where all of it is right.
    #[cbor(n(3), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_LACKING>", default)]
    pub spans: Vec<Span>,
    /// Whether there is more than is named: to be asked again.
    #[n(4)]
    pub more: Option<bool>,
}

/// Bytes of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Span {
    /// Where they begin.
    #[n(0)]
    pub offset: u64,
    /// How many they are.
    #[n(1)]
    pub len: u64,
}

/// What was sent is verified, in its place and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Mended {
    /// How many bytes were mended with what was sent.
    #[n(0)]
    pub bytes: u64,
    /// Whether the chaining values had decayed too, and were computed anew from the bytes.
    #[n(1)]
    pub values: Option<bool>,
}
