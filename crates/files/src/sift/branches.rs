//! A tree that can be listed and, some entries later, be read: a walk over directories (`walk/branches.rs`) or a bundle in a
//! vault (`object_tree.rs`); and the chain over what is listed and not carried. Spec: section 5.7.

use hikyaku_wire::bundle::{HardLink, Leave, LeftOut, Reason, Symlink};
use hikyaku_wire::files::{AttributesDigest, Listed};
use hikyaku_wire::parcel::{Metadata, Root};

use crate::bundle::Writer;
use crate::error::Result;

/// What comes next in a tree. Directories come as they are entered and left.
#[derive(Debug)]
pub(crate) enum Entry {
    Enter(Vec<u8>),
    Leave,
    File(ListedFile),
    Symlink(Symlink),
    HardLink(HardLink),
    LeftOut(LeftOut),
}

/// A regular file as it is when it is listed.
#[derive(Clone, Debug)]
pub(crate) struct ListedFile {
    pub(crate) name: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) meta: Metadata,
    /// Whether hard links to it may follow.
    pub(crate) links: bool,
    pub(crate) root: Option<Root>,
    /// What its extended attributes are, where they are carried.
    pub(crate) attributes: Option<AttributesDigest>,
    /// Where it is found again, for the tree itself.
    pub(crate) place: u64,
}

/// A tree that is listed first and read afterwards, in the same order.
pub(crate) trait Branches: Send + 'static {
    /// The next entry of the listing; `None` at its end.
    fn list(&mut self) -> Result<Option<Entry>>;
    /// The reading follows the listing into a directory.
    fn enter(&mut self, name: &[u8]);
    /// It leaves the directory entered last.
    fn leave(&mut self) -> Leave;
    /// Writes the beginning of a listed file, whose content is wanted from an offset on. On an error nothing is written.
    fn begin(&mut self, file: &ListedFile, from: u64, writer: &mut Writer) -> Result<Result<(), Reason>>;
    /// Writes the file's next piece; at its end, the end, and its size or why it failed.
    fn step(&mut self, writer: &mut Writer) -> Result<Option<Result<u64, Reason>>>;
}

/// The chain over files that are listed and not carried. Both ends compute it from the listing.
//= S5.64
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain([u8; 32]);

impl Chain {
    /// The chain with one more file: its name, size, time and, when files are compared by them, its root and attributes.
    pub fn push(
        &mut self,
        name: &[u8],
        size: u64,
        (seconds, nanoseconds): (i64, u32),
        (root, attributes): (Option<Root>, Option<AttributesDigest>),
    ) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(name).update(&[0]).update(&size.to_be_bytes());
        hasher.update(&seconds.to_be_bytes()).update(&nanoseconds.to_be_bytes());
        if let Some(root) = root {
            hasher.update(&root.0);
        }
        if let Some(attributes) = attributes {
            hasher.update(&attributes.0);
        }
        self.0 = *hasher.finalize().as_bytes();
    }

    /// Its value: of no file, 32 zero bytes.
    pub fn value(self) -> Root {
        Root(self.0)
    }
}

impl Entry {
    /// As the receiver hears of it ahead; the rest comes in the bundle alone.
    pub(crate) fn listed(&self) -> Listed {
        match self {
            Self::Enter(name) => Listed::Enter(name.clone()),
            Self::Leave => Listed::Leave,
            Self::File(file) => Listed::File {
                name: file.name.clone(),
                size: file.size,
                mtime: file.meta.mtime.unwrap_or(0),
                mtime_ns: file.meta.mtime_ns.unwrap_or(0),
                mode: file.meta.mode.unwrap_or(0),
                links: file.links,
                root: file.root,
                attributes: file.attributes,
            },
            Self::Symlink(link) => Listed::Other(link.name.clone()),
            Self::HardLink(link) => Listed::Other(link.name.clone()),
            Self::LeftOut(left_out) => Listed::Other(left_out.name.clone()),
        }
    }

    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        64 + match self {
            Self::Enter(name) => name.len(),
            Self::Leave => 0,
            Self::File(file) => file.name.len() + 64,
            Self::Symlink(link) => link.name.len() + link.target.len(),
            Self::HardLink(link) => link.to.iter().map(|name| name.0.len() + 24).sum(),
            Self::LeftOut(left_out) => left_out.name.len(),
        }
    }
}
