//! The source of a tree: several paths as one bundle, hashed while it is walked.
//!
//! Like [`crate::Outgoing`] for one file: what is remembered is small, and enough to go on from any offset that a
//! receiver has, in another process too. Spec: S5.10, S5.16, section 5.6.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hikyaku_wire::bundle::Done;
use hikyaku_wire::files::{Accept, BLOCK_LEN, Block, Close, Offer, Overwrite, PutOptions, Target};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};
use minicbor::{Decode, Encode};

use crate::error::{FilesError, Result};
use crate::names::NameError;
use crate::progress::{Progress, Stage};
use crate::reader::{Blocks, Said};
use crate::sift::{Answers, Sifted, Sifting};
use crate::source::{MAX_MILESTONES, Saved, new_transfer, source_error};
use crate::tree::{self, GROUP, GROUP_LEN, Tree};
use crate::walk::{Place, Trouble, Walk, WalkBranches, WalkOptions};

/// The bytes between the first milestones.
const FIRST_STRIDE: u64 = 64 * 1024 * 1024;
/// A record is shorter than this, so the one that a milestone cuts begins at most so far before it.
const LONGEST_RECORD: usize = 192 * 1024;

/// Files and directories to be sent as one tree.
#[derive(Clone)]
pub struct OutgoingTree {
    tops: Arc<[(Vec<u8>, PathBuf)]>,
    offer: Offer,
    options: WalkOptions,
    /// What tells this way of walking from others.
    walked: Vec<u8>,
    known: Arc<Mutex<Known>>,
}

/// What was learned while it was read.
#[derive(Default)]
struct Known {
    milestones: Milestones,
    troubles: Vec<Trouble>,
    counts: Done,
}

/// The hash and the walk at some offsets, in order.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
struct Milestones {
    #[n(0)]
    stride: u64,
    #[n(1)]
    passed: Vec<(Saved, Place)>,
}

impl Default for Milestones {
    fn default() -> Self {
        Self { stride: FIRST_STRIDE, passed: Vec::new() }
    }
}

/// [`OutgoingTree`] as bytes.
#[derive(Encode, Decode)]
#[cbor(map)]
struct TreeBytes {
    #[n(0)]
    tops: Vec<(Saved, Saved)>,
    #[n(1)]
    offer: Offer,
    #[n(2)]
    milestones: Milestones,
    #[n(3)]
    walked: Option<Saved>,
}

impl OutgoingTree {
    /// Looks at the paths, each under its own last component, and prepares to send them together under `name`.
    ///
    /// # Errors
    /// A path that does not exist or has no last component, two paths with the same one.
    pub fn new(
        paths: &[PathBuf],
        name: Option<&[u8]>,
        target: Target,
        put: PutOptions,
        options: WalkOptions,
    ) -> Result<Self> {
        let mut tops = BTreeMap::new();
        for path in paths {
            let own = path.file_name().ok_or(FilesError::Name(NameError::Empty))?.as_bytes().to_vec();
            path.symlink_metadata().map_err(|error| source_error(path, error))?;
            if tops.insert(own, path.clone()).is_some() {
                let twice =
                    io::Error::new(io::ErrorKind::AlreadyExists, "another path has the same last component");
                return Err(source_error(path, twice));
            }
        }
        let tops: Arc<[_]> = tops.into_iter().collect();
        let first = tops.first().map(|(name, _)| name.as_slice());
        let name = name.or(first).ok_or(FilesError::Name(NameError::Empty))?.to_vec();
        // A room may have an older version of it, which is a bundle, too; a directory may have some of its files.
        let replaces = matches!(put.overwrite, Some(Overwrite::Newer | Overwrite::Always));
        let parts = put.parts.or((replaces || matches!(target, Target::Room(_))).then_some(true));
        let put = PutOptions { parts, ..put };
        let several = u64::try_from(tops.len()).ok().filter(|count| *count > 1);
        let offer = Offer {
            transfer: new_transfer()?,
            tops: several,
            target,
            name,
            kind: EntryKind::Tree,
            size: None,
            meta: None,
            options: Some(put),
        };
        let walked = walked(&options);
        Ok(Self { tops, offer, options, walked, known: Arc::default() })
    }

    /// The transfer's name.
    pub fn transfer(&self) -> TransferId {
        self.offer.transfer
    }

    /// What is offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.tops.iter().map(|(_, path)| path.as_path())
    }

    /// What was not carried so far, and the counts.
    pub fn troubles(&self) -> (Vec<Trouble>, Done) {
        let known = self.known();
        (known.troubles.clone(), known.counts)
    }

    /// Whether this and another transfer carry the same paths to the same place.
    pub fn is_same_source(&self, other: &Self) -> bool {
        let what =
            |of: &Self| (of.tops.clone(), of.offer.name.clone(), of.offer.target.clone(), of.offer.options);
        what(self) == what(other) && self.walked == other.walked
    }

    /// The whole state but the walk's options, for a file of the caller's.
    pub fn encode(&self) -> Vec<u8> {
        let saved = |bytes: &[u8]| Saved(bytes.to_vec());
        let tops = self.tops.iter().map(|(name, path)| (saved(name), saved(path.as_os_str().as_bytes())));
        hikyaku_wire::cbor::encode(&TreeBytes {
            tops: tops.collect(),
            offer: self.offer.clone(),
            milestones: self.known().milestones.clone(),
            walked: Some(saved(&self.walked)),
        })
    }

    /// Reads what [`OutgoingTree::encode`] wrote; `None` when it is something else. The options are the caller's.
    pub fn decode(bytes: &[u8], options: WalkOptions) -> Option<Self> {
        let read: TreeBytes = minicbor::decode(bytes).ok()?;
        let path = |saved: Saved| PathBuf::from(std::ffi::OsStr::from_bytes(&saved.0));
        let tops = read.tops.into_iter().map(|(name, at)| (name.0, path(at))).collect();
        let known = Known { milestones: read.milestones, ..Known::default() };
        let walked = read.walked.map(|walked| walked.0).unwrap_or_default();
        Some(Self { tops, offer: read.offer, options, walked, known: Arc::new(Mutex::new(known)) })
    }

    /// Reads what a receiver accepts: the rest of the bundle, or what of a listing it wants.
    pub(crate) fn read(&self, accept: &Accept, answers: Answers) -> Result<TreeReading> {
        if accept.list != Some(true) {
            return Ok(TreeReading::Plain(Box::new(self.read_from(accept.from, accept.prefix)?)));
        }
        let outgoing = self.clone();
        let tell = move |sifted: Sifted| {
            let mut known = outgoing.known();
            (known.troubles, known.counts) = (sifted.troubles, sifted.done);
        };
        let sifting = Sifting::new(self.branches(), accept, answers, tell)?;
        Ok(TreeReading::Sifted(Box::new(sifting)))
    }

    /// The tree to be listed and read.
    pub(crate) fn branches(&self) -> WalkBranches {
        let roots = self.offer.options.is_some_and(|options| options.checksum == Some(true));
        WalkBranches::new(self.tops.clone(), self.options.clone(), roots)
    }

    /// Walks so that the bundle is read from `from` on. `prefix` is the receiver's hash of what lies before.
    //= S5.10
    //= S5.16
    pub(crate) fn read_from(&self, from: u64, prefix: Option<Root>) -> Result<ReadingTree> {
        if !from.is_multiple_of(GROUP_LEN) {
            return Err(FilesError::Range {
                reason: "the receiver asks for a part of a group",
                offset: from,
                len: 0,
            });
        }
        let milestone = self.known().milestones.before(from);
        let mut reading = match milestone {
            None => {
                let walk = Walk::new(self.tops.clone(), self.options.clone());
                ReadingTree { outgoing: self.clone(), walk, tree: Tree::default(), end: None }
            }
            Some((tree, place)) => {
                let skip = tree.groups() * GROUP_LEN - place.offset;
                let mut walk = Walk::resume(self.tops.clone(), self.options.clone(), &place)?;
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                while walk.written().len() < skip && !walk.is_finished() {
                    walk.step()?;
                }
                walk.consume(skip);
                ReadingTree { outgoing: self.clone(), walk, tree, end: None }
            }
        };
        while reading.offset() < from {
            if reading.fill(GROUP)? < GROUP {
                return Err(FilesError::SourceChanged("it became shorter"));
            }
            reading.take(GROUP);
        }
        match prefix {
            Some(prefix) if reading.tree.root() != Some(prefix) => {
                Err(FilesError::SourceChanged("the part that was sent before is different now"))
            }
            _ => Ok(reading),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options in a form that can be kept and compared.
fn walked(options: &WalkOptions) -> Vec<u8> {
    [&[u8::from(options.attributes)], options.filter_key.as_slice()].concat()
}

impl Milestones {
    /// The last one at or before `offset`.
    fn before(&self, offset: u64) -> Option<(Tree, Place)> {
        self.passed.iter().rev().find_map(|(tree, place)| {
            let tree = Tree::decode(&tree.0).ok()?;
            let at = tree.groups() * GROUP_LEN;
            (at <= offset && place.offset <= at).then(|| (tree, place.clone()))
        })
    }

    fn is_next(&self, offset: u64) -> bool {
        offset == self.stride.saturating_mul(self.passed.len() as u64 + 1)
    }

    fn pass(&mut self, tree: &Tree, place: Place) {
        self.passed.push((Saved(tree.encode()), place));
        if self.passed.len() == MAX_MILESTONES {
            let mut index = 0;
            self.passed.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride = self.stride.saturating_mul(2);
        }
    }
}

/// A tree being read: whole, or what of it is wanted.
pub(crate) enum TreeReading {
    Plain(Box<ReadingTree>),
    Sifted(Box<Sifting<WalkBranches>>),
}

impl Blocks for TreeReading {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        match self {
            Self::Plain(reading) => reading.next(progress),
            Self::Sifted(sifting) => sifting.next(progress),
        }
    }

    fn skipped(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Sifted(sifting) => sifting.skipped(),
        }
    }

    fn close(self) -> Result<Close> {
        match self {
            Self::Plain(reading) => reading.close(),
            Self::Sifted(sifting) => sifting.close(),
        }
    }
}

/// A tree being read.
pub(crate) struct ReadingTree {
    outgoing: OutgoingTree,
    walk: Walk,
    /// The whole groups read.
    tree: Tree,
    /// Present when the last bytes were read: the size.
    end: Option<u64>,
}

impl ReadingTree {
    fn offset(&self) -> u64 {
        self.end.unwrap_or(self.tree.groups() * GROUP_LEN)
    }

    /// Walks until `count` bytes are there, or all; says how many.
    fn fill(&mut self, count: usize) -> Result<usize> {
        while self.walk.written().len() < count && !self.walk.is_finished() {
            self.walk.step()?;
        }
        Ok(self.walk.written().len().min(count))
    }

    /// As [`ReadingTree::fill`] for a block that a milestone follows: the place of the record that lies across its end.
    fn fill_to_milestone(&mut self, count: usize) -> Result<Option<Place>> {
        let end = self.offset() + count as u64;
        self.fill(count.saturating_sub(LONGEST_RECORD))?;
        let mut place = None;
        while self.walk.written().len() < count && !self.walk.is_finished() {
            place = Some(self.walk.place());
            self.walk.step()?;
        }
        Ok(place.filter(|place| place.offset <= end && !self.walk.is_finished()))
    }

    /// Hashes and gives away the first `count` bytes: whole groups but at the end. Returns the chaining values.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut cvs = Vec::with_capacity(count.div_ceil(GROUP) * 32);
        let offset = self.offset();
        let bytes = self.walk.written().get(..count).unwrap_or_default();
        for (index, piece) in bytes.chunks(GROUP).enumerate() {
            let group = tree::group(offset + (index * GROUP) as u64, piece);
            cvs.extend(group.cv);
            self.tree.push(&group);
        }
        self.walk.consume(count);
        if !count.is_multiple_of(GROUP) {
            self.end = Some(offset + count as u64);
        }
        cvs
    }
}

impl Blocks for ReadingTree {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        let offset = self.offset();
        let want = usize::try_from(BLOCK_LEN).unwrap_or(0);
        let is_milestone = self.outgoing.known().milestones.is_next(offset + BLOCK_LEN);
        if progress.is_observed() {
            self.walk.observe(progress);
        }
        let (place, len) = progress.local().time(Stage::Disk, || {
            let place = if is_milestone { self.fill_to_milestone(want)? } else { None };
            Ok::<_, FilesError>((place, self.fill(want)?))
        })?;
        if len == 0 {
            return Ok(None);
        }
        let (bytes, cvs) = progress.local().time(Stage::Cpu, || {
            let bytes = Bytes::copy_from_slice(self.walk.written().get(..len).unwrap_or_default());
            (bytes, self.take(len))
        });
        let mut known = self.outgoing.known();
        known.counts = self.walk.counts();
        if let Some(place) = place {
            known.milestones.pass(&self.tree, place);
        }
        Ok(Some(Said::Block(Block { entry: None, offset, len: len as u64, cvs }, bytes)))
    }

    fn close(self) -> Result<Close> {
        let (troubles, _) = self.walk.troubles();
        self.outgoing.known().troubles = troubles.to_vec();
        let root = self.tree.root().ok_or(FilesError::SourceChanged("its root is not known"))?;
        Ok(Close { entry: None, size: self.offset(), root })
    }
}

#[cfg(test)]
mod tests;
