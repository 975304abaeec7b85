//! What a sender may ask of the disk that it sends to: what becomes of names that are taken, what is compared, and when
//! bytes are durable. Spec: `put-options`, sections 5.2 and 5.6.

use minicbor::{Decode, Encode};

/// What a sender asks of the disk it sends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PutOptions {
    /// What becomes of a name that is taken; [`Overwrite::Never`] when it is not said.
    #[n(0)]
    pub overwrite: Option<Overwrite>,
    /// When data must be durable; [`Synced::Batch`] for trees and [`Synced::Each`] for files when it is not said.
    #[n(1)]
    pub synced: Option<Synced>,
    /// Whether symbolic links that lead out of the tree are made too.
    #[n(2)]
    pub all_links: Option<bool>,
    /// Whether names of one directory that differ by case or by composition alone are refused, all but the first.
    #[n(3)]
    pub distinct: Option<bool>,
    /// Whether files are compared by their roots instead of size and time.
    #[n(4)]
    pub checksum: Option<bool>,
    /// Whether only the answers to a listing are asked for: nothing is sent, nothing is made.
    #[n(5)]
    pub dry_run: Option<bool>,
    /// Whether a name that is the same as an earlier one gets another instead of not being made.
    #[n(6)]
    pub aside: Option<bool>,
    /// Whether the sender can name parts of an older version instead of sending them, if the receiver has one.
    #[n(7)]
    pub parts: Option<bool>,
}

/// What becomes of a file whose name is taken at the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Overwrite {
    /// The one that is there stays; the new one failed.
    #[n(0)]
    #[default]
    Never,
    /// The one with the later modification time stays.
    #[n(1)]
    Newer,
    /// The new one takes its place.
    #[n(2)]
    Always,
    /// The new one gets another name: `name~1`, `name~2`, …
    #[n(3)]
    Rename,
}

/// How the bytes reached the disk before the receipt was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Synced {
    /// Not synchronised: a power cut may lose it.
    #[n(0)]
    None,
    /// Synchronised together with others.
    #[n(1)]
    Batch,
    /// This file and its directory were synchronised.
    #[n(2)]
    Each,
}
