//! The source of a transfer: one open regular file, hashed while it is read, and watched for changes.
//!
//! What the sender remembers ([`Outgoing`]) is small whatever the size: who the file was when it was offered, and the
//! tree at a few milestones, so that going on from anywhere reads a small part of it again. Spec: S5.16, S5.19.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hikyaku_wire::files::{Accept, BLOCK_LEN, Block, Close, Offer, Overwrite, PutOptions, Target};
use hikyaku_wire::parcel::{EntryKind, Metadata, Root, TransferId};
use minicbor::{Decode, Encode};

use crate::error::{FilesError, Result};
use crate::names::escape;
use crate::progress::{Meter, Stage};
use crate::reader::buffers::Buffers;
use crate::tree::{self, GROUP, GROUP_LEN, Tree};
use crate::vault::read_at;
use crate::versions::OLDER_FROM;

/// The most milestones that are kept; when there are more, every other one is dropped.
pub(crate) const MAX_MILESTONES: usize = 256;
/// Buffers that are remembered: QUIC keeps bytes until they are acknowledged.
const MOST_BUFFERS: usize = 32;
/// The bytes between the first milestones.
const FIRST_STRIDE: u64 = 64 * 1024 * 1024;

/// Which file it is and which state of it: enough to notice that it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Fingerprint {
    #[n(0)]
    device: u64,
    #[n(1)]
    inode: u64,
    #[n(2)]
    size: u64,
    #[n(3)]
    modified: (i64, i64),
    #[n(4)]
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The same from the system's own form.
    pub(crate) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// A file to be sent, and everything needed to go on after a break: in this process or, through
/// [`Outgoing::encode`], in another.
#[derive(Clone, Debug)]
pub struct Outgoing {
    path: PathBuf,
    offer: Offer,
    fingerprint: Fingerprint,
    milestones: Arc<Mutex<Milestones>>,
}

/// The tree at some offsets, in order.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
struct Milestones {
    #[n(0)]
    stride: u64,
    #[n(1)]
    trees: Vec<Saved>,
}

/// A tree as bytes.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct Saved(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) Vec<u8>,
);

/// [`Outgoing`] as bytes.
#[derive(Encode, Decode)]
#[cbor(map)]
struct OutgoingBytes {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    path: Vec<u8>,
    #[n(1)]
    offer: Offer,
    #[n(2)]
    fingerprint: Fingerprint,
    #[n(3)]
    milestones: Milestones,
}

impl Outgoing {
    /// Looks at a file and prepares to send it under its own name or another, as a new transfer.
    pub fn new(path: &Path, name: Option<&[u8]>, target: Target) -> Result<Self> {
        let (_, meta) = open(path)?;
        let own = path.file_name().map(|name| name.as_bytes());
        let name = name.or(own).ok_or(FilesError::Name(crate::names::NameError::Empty))?.to_vec();
        let offer = Offer {
            transfer: new_transfer()?,
            name,
            kind: EntryKind::File,
            size: Some(meta.len()),
            meta: Some(Metadata {
                mode: Some(meta.mode() & 0o777),
                mtime: Some(meta.mtime()),
                mtime_ns: u32::try_from(meta.mtime_nsec()).ok(),
            }),
            options: parts_of(&target, meta.len()),
            target,
            tops: None,
        };
        let milestones = Milestones { stride: FIRST_STRIDE, trees: Vec::new() };
        let fingerprint = Fingerprint::of(&meta);
        Ok(Self { path: path.to_owned(), offer, fingerprint, milestones: Arc::new(Mutex::new(milestones)) })
    }

    /// The same without a promise of its size: nothing is set aside for it at the receiver.
    pub fn without_size(mut self) -> Self {
        self.offer.size = None;
        self
    }

    /// The same, with something to ask of the receiver's disk. Where that does not say otherwise, parts that the receiver
    /// has in an older version are not sent.
    #[must_use]
    pub fn with_options(mut self, options: PutOptions) -> Self {
        let parts = options.parts.or(parts_of(&self.offer.target, self.size()).and_then(|usual| usual.parts));
        let replaces = matches!(options.overwrite, Some(Overwrite::Newer | Overwrite::Always));
        let parts = parts.or((replaces && self.size() >= OLDER_FROM).then_some(true));
        self.offer.options = Some(PutOptions { parts, ..options });
        self
    }

    /// The transfer's name.
    pub fn transfer(&self) -> TransferId {
        self.offer.transfer
    }

    /// What is offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.fingerprint.size
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this and another transfer carry the same unchanged file to the same place, so that one can go on for the
    /// other.
    pub fn is_same_source(&self, other: &Self) -> bool {
        let what = |of: &Self| {
            let options = PutOptions { parts: None, ..of.offer.options.unwrap_or_default() };
            (of.offer.name.clone(), of.offer.target.clone(), options)
        };
        self.path == other.path && self.fingerprint == other.fingerprint && what(self) == what(other)
    }

    /// The whole state, for a file of the caller's: another process can go on with it.
    pub fn encode(&self) -> Vec<u8> {
        hikyaku_wire::cbor::encode(&OutgoingBytes {
            path: self.path.as_os_str().as_bytes().to_vec(),
            offer: self.offer.clone(),
            fingerprint: self.fingerprint,
            milestones: self.milestones().clone(),
        })
    }

    /// Reads what [`Outgoing::encode`] wrote; `None` when it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read: OutgoingBytes = minicbor::decode(bytes).ok()?;
        Some(Self {
            path: std::ffi::OsStr::from_bytes(&read.path).into(),
            offer: read.offer,
            fingerprint: read.fingerprint,
            milestones: Arc::new(Mutex::new(read.milestones)),
        })
    }

    /// Opens the source to be read from `from` on. `prefix` is the receiver's hash of what lies before.
    ///
    /// Blocks while it reads from the last milestone before `from` once more.
    //= S5.10
    //= S5.16
    pub(crate) fn read_from(&self, from: u64, prefix: Option<Root>) -> Result<Reading> {
        let (file, meta) = open(&self.path)?;
        self.check(&meta)?;
        let size = self.fingerprint.size;
        if !from.is_multiple_of(GROUP_LEN) || from > size {
            return Err(FilesError::Range {
                reason: "the receiver asks for bytes that are not there",
                offset: from,
                len: 0,
            });
        }
        let tree = self.milestones().before(from);
        let (end, buffers) = (None, Buffers::new(MOST_BUFFERS));
        let mut reading = Reading { outgoing: self.clone(), file, tree, end, buffers };
        let mut buffer = vec![0; GROUP];
        while reading.offset() < from {
            if read_at(&reading.file, reading.offset(), &mut buffer)? < GROUP {
                return Err(FilesError::SourceChanged("it became shorter"));
            }
            let group = tree::group(reading.offset(), &buffer);
            reading.tree.push(&group);
        }
        match prefix {
            Some(prefix) if reading.tree.root() != Some(prefix) => {
                Err(FilesError::SourceChanged("the part that was sent before is different now"))
            }
            _ => Ok(reading),
        }
    }

    /// Opens the source to be read as its receiver asks. Where that names contents which it has, ours is compared with
    /// them first: if it is one of them, nothing is left to be read but the close.
    //= S5.73
    pub(crate) fn read_for(&self, accept: &Accept) -> Result<Reading> {
        if accept.from == 0 && !accept.known.is_empty() {
            let (mut reading, meter) = (self.read_from(0, None)?, Meter::default());
            while reading.next(&meter)?.is_some() {}
            if reading.tree.root().is_some_and(|root| accept.known.contains(&root)) {
                return Ok(reading);
            }
        }
        self.read_from(accept.from, accept.prefix)
    }

    //= S5.19
    fn check(&self, meta: &std::fs::Metadata) -> Result<()> {
        let now = Fingerprint::of(meta);
        let was = &self.fingerprint;
        match now {
            _ if now == *was => Ok(()),
            _ if now.size != was.size => Err(FilesError::SourceChanged("its size is different")),
            _ if now.modified != was.modified => Err(FilesError::SourceChanged("it was written to")),
            _ if now.inode != was.inode => {
                Err(FilesError::SourceChanged("it is another file of the same name"))
            }
            _ => Err(FilesError::SourceChanged("its metadata changed")),
        }
    }

    fn milestones(&self) -> MutexGuard<'_, Milestones> {
        self.milestones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Milestones {
    /// The last one at or before `offset`; the empty tree when there is none.
    fn before(&self, offset: u64) -> Tree {
        let trees = self.trees.iter().rev().filter_map(|saved| Tree::decode(&saved.0).ok());
        trees.into_iter().find(|tree| tree.groups() * GROUP_LEN <= offset).unwrap_or_default()
    }

    fn pass(&mut self, tree: &Tree) {
        let offset = tree.groups() * GROUP_LEN;
        let next = self.stride.saturating_mul(self.trees.len() as u64 + 1);
        if offset != next {
            return;
        }
        self.trees.push(Saved(tree.encode()));
        if self.trees.len() == MAX_MILESTONES {
            // The second, fourth, … lie at the multiples of twice the stride.
            let mut index = 0;
            self.trees.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride = self.stride.saturating_mul(2);
        }
    }
}

/// A source being read.
pub(crate) struct Reading {
    outgoing: Outgoing,
    file: File,
    /// The whole groups read.
    tree: Tree,
    /// Present when the file's last bytes were read: the size.
    end: Option<u64>,
    buffers: Buffers,
}

impl Reading {
    /// Whether all of it was read.
    pub(crate) fn is_over(&self) -> bool {
        self.offset() >= self.outgoing.size()
    }

    fn offset(&self) -> u64 {
        self.end.unwrap_or(self.tree.groups() * GROUP_LEN)
    }

    /// The next block and its bytes, or `None` when everything was read.
    pub(crate) fn next(&mut self, meter: &Meter) -> Result<Option<(Block, Bytes)>> {
        let size = self.outgoing.fingerprint.size;
        let offset = self.offset();
        let want = usize::try_from(size.saturating_sub(offset).min(BLOCK_LEN)).unwrap_or(0);
        if want == 0 {
            return Ok(None);
        }
        let mut buffer = self.buffers.take(want);
        let read = meter.time(Stage::Disk, || read_at(&self.file, offset, &mut buffer))?;
        if read < want {
            return Err(FilesError::SourceChanged("it became shorter"));
        }
        let mut cvs = Vec::with_capacity(want.div_ceil(GROUP) * 32);
        meter.time(Stage::Cpu, || {
            for piece in buffer.chunks(GROUP) {
                let group = tree::group(self.tree.groups() * GROUP_LEN, piece);
                cvs.extend(group.cv);
                self.tree.push(&group);
                self.outgoing.milestones().pass(&self.tree);
            }
        });
        let len = want as u64;
        if !len.is_multiple_of(GROUP_LEN) {
            self.end = Some(offset + len);
        }
        Ok(Some((Block { entry: None, offset, len, cvs }, self.buffers.give(buffer))))
    }

    /// What was read, provided that the source is still what it was.
    pub(crate) fn close(self) -> Result<Close> {
        let meta = self.file.metadata().map_err(|error| source_error(&self.outgoing.path, error))?;
        self.outgoing.check(&meta)?;
        let root = self.tree.root().ok_or(FilesError::SourceChanged("its root is not known"))?;
        Ok(Close { entry: None, size: self.offset(), root })
    }
}

/// What is asked for where nothing else is: a room may have an older version.
fn parts_of(target: &Target, size: u64) -> Option<PutOptions> {
    let may_have = matches!(target, Target::Room(_)) && size >= OLDER_FROM;
    may_have.then(|| PutOptions { parts: Some(true), ..PutOptions::default() })
}

/// Opens a regular file; anything else (a FIFO would hang) is an error.
fn open(path: &Path) -> Result<(File, std::fs::Metadata)> {
    let error = |error| source_error(path, error);
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(error)?;
    let meta = file.metadata().map_err(error)?;
    if !meta.is_file() {
        let what = match meta.file_type() {
            kind if kind.is_dir() => "is a directory; only regular files are sent yet",
            kind if kind.is_fifo() => "is a pipe; only regular files are sent yet",
            _ => "is not a regular file",
        };
        return Err(error(io::Error::new(io::ErrorKind::InvalidInput, what)));
    }
    Ok((file, meta))
}

/// A name for a new transfer.
pub(crate) fn new_transfer() -> Result<TransferId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| FilesError::Vault(io::Error::other(error).into()))?;
    Ok(TransferId(id))
}

pub(crate) fn source_error(path: &Path, error: io::Error) -> FilesError {
    FilesError::Source { path: escape(path.as_os_str().as_bytes()).to_string(), error }
}

#[cfg(test)]
mod tests;
