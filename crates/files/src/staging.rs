//! Temporary files: where a file lives until it is whole.
//!
//! One transfer has up to three files in one directory: `<id>.part` (the bytes), `<id>.journal` (what of them is
//! verified and durable) and, in a vault, `<id>.tree` (the chaining values). The part is locked while it is open. The
//! journal is written when the first mark or the publishing needs it, so a small file costs few synchronisations.
//! Invariants: data is durable before its mark; a final name appears only by [`Staged::publish`]. Spec: S5.30–S5.35.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::parcel::{Root, TransferId};

use crate::disk::{self, Promise};
use crate::jail::{Dir, FileId, Found, try_lock};
use crate::journal::{Contents, MAX_JOURNAL};
use crate::names::SafeName;

mod pair;
mod publishing;
mod staged;

pub(crate) use pair::Pair;
pub(crate) use publishing::Place;
pub(crate) use staged::Staged;

mod peek;

pub(crate) use peek::Peek;

/// A directory of temporary files.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: Dir,
    prefix: &'static str,
    /// Bytes of the disk that transfers leave free.
    keep_free: u64,
}

/// What is found under a transfer's name.
pub(crate) enum Opened {
    /// Its temporary file, new or known.
    Staged(Box<Staged>),
    /// It got its final name before.
    Settled(Settled),
}

/// A transfer that is over.
#[derive(Debug)]
pub(crate) struct Settled {
    /// What was transferred, as it was first said.
    pub(crate) header: Vec<u8>,
    pub(crate) root: Root,
    pub(crate) size: u64,
    /// What became of it, as its owner noted it; nothing where a crash came before that.
    pub(crate) outcome: Option<Vec<u8>>,
}

/// A transfer that left something in the directory.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) transfer: TransferId,
    pub(crate) contents: Contents,
    pub(crate) idle: Duration,
}

#[derive(Clone, Debug)]
struct Names {
    part: SafeName,
    journal: SafeName,
    /// A journal that is about to replace the other.
    fresh: SafeName,
    tree: SafeName,
    /// A directory being made.
    dir: SafeName,
}

/// What the temporary file of a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// It becomes a file.
    File,
    /// It becomes an object, with its chaining values beside it.
    Object,
    /// It is empty and holds the lock; a directory beside it becomes the tree.
    Tree,
}

impl Staging {
    /// Uses a directory that is ours alone (`prefix` empty) or somebody's (`prefix` keeps our files apart).
    pub(crate) fn new(dir: Dir, prefix: &'static str, keep_free: u64) -> Self {
        Self { dir, prefix, keep_free }
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Opens the temporary file of a transfer. `header` says what is transferred; the journal keeps it.
    ///
    /// `published` is asked when the journal says that publishing was begun and the temporary file is gone.
    pub(crate) fn open(
        &self,
        transfer: TransferId,
        header: &[u8],
        layout: Layout,
        published: impl FnOnce(Root, u64, u64) -> io::Result<bool>,
    ) -> Result<Opened, VaultError> {
        let names = self.names(transfer);
        let mut contents = self.read(&names)?;
        if let (Some((root, size, inode)), None) = (contents.sealing, contents.settled)
            && self.dir.identify(&names.part)?.is_none()
            && published(root, size, inode)?
        {
            contents.settled = Some((root, size));
        }
        if let Some((root, size)) = contents.settled {
            disk::promise(Promise::Names);
            let (header, outcome) = (contents.begin.unwrap_or_default(), contents.outcome);
            return Ok(Opened::Settled(Settled { header, root, size, outcome }));
        }
        let (file, known) = self.open_part(&names)?;
        // Under the lock, the journal is nobody else's: what was read before it may be old.
        let mut contents = self.read(&names)?;
        let is_there = match layout {
            Layout::Tree => self.dir.find(&names.dir)? == Some(Found::Directory),
            Layout::File | Layout::Object => file.metadata()?.len() >= contents.mark.verified,
        };
        if !known || !is_there {
            contents = Contents::default();
        }
        if layout != Layout::Tree {
            contents.sealing = None;
        }
        let tree =
            if layout == Layout::Object { Some(open_or_create(&self.dir, &names.tree)?) } else { None };
        let mut staged = Staged {
            dir: self.dir.try_clone()?,
            names,
            pair: Pair::of(file, tree),
            journal: None,
            header: contents.begin.clone().unwrap_or_else(|| header.to_vec()),
            contents,
            keep_free: self.keep_free,
            reserved: 0,
            prints: None,
        };
        if staged.contents.begin.is_some() {
            staged.rewrite_journal()?;
        } else {
            staged.dir.remove(&staged.names.journal)?;
        }
        Ok(Opened::Staged(Box::new(staged)))
    }

    /// Removes everything that a transfer left, unless it is open.
    pub(crate) fn discard(&self, transfer: TransferId) -> Result<(), VaultError> {
        let names = self.names(transfer);
        if let Some(file) = self.dir.open_file(&names.part, true)?
            && !try_lock(&file)?
        {
            return Err(VaultError::Busy);
        }
        Ok(names.remove(&self.dir)?)
    }

    /// A file whose publishing was begun, and whose temporary file is gone: its root, its size, and its inode.
    pub(crate) fn published(
        &self,
        transfer: TransferId,
        header: &[u8],
    ) -> io::Result<Option<(Root, u64, u64)>> {
        let names = self.names(transfer);
        let contents = self.read(&names)?;
        let is_this = contents.begin.as_deref() == Some(header) && self.dir.identify(&names.part)?.is_none();
        Ok(contents.sealing.filter(|_| is_this))
    }

    /// Removes what a transfer that is settled needs no more, in case a crash came before that: its journal is its receipt.
    pub(crate) fn tidy(&self, transfer: TransferId) -> io::Result<()> {
        let names = self.names(transfer);
        self.dir.remove_all(&names.dir)?;
        self.dir.remove(&names.fresh)?;
        self.dir.remove(&names.part)
    }

    /// Every transfer that left something.
    pub(crate) fn list(&self) -> Result<Vec<Left>, VaultError> {
        let mut transfers: Vec<TransferId> =
            self.dir.names()?.iter().filter_map(|name| self.transfer_of(name.as_bytes())).collect();
        transfers.sort_unstable();
        transfers.dedup();
        transfers.into_iter().map(|transfer| self.left(transfer)).collect()
    }

    /// What one transfer left, if it did.
    pub(crate) fn find(&self, transfer: TransferId) -> Result<Option<Left>, VaultError> {
        let names = self.names(transfer);
        for name in [&names.part, &names.journal, &names.fresh, &names.tree, &names.dir] {
            if self.dir.identify(name)?.is_some() {
                return self.left(transfer).map(Some);
            }
        }
        Ok(None)
    }

    fn left(&self, transfer: TransferId) -> Result<Left, VaultError> {
        let names = self.names(transfer);
        let idle = self.idle(&names.part)?.min(self.idle(&names.journal)?);
        Ok(Left { transfer, contents: self.read(&names)?, idle })
    }

    /// What an unfinished transfer has brought so far: the bytes of its file, and the directory of its tree.
    pub(crate) fn brought(&self, transfer: TransferId) -> io::Result<(u64, Option<Dir>)> {
        let names = self.names(transfer);
        let part = self.dir.entry(&names.part)?.and_then(|part| part.size).unwrap_or(0);
        let made = match self.dir.find(&names.dir)? {
            Some(Found::Directory) => Some(self.dir.open_child(&names.dir)?),
            _ => None,
        };
        Ok((part, made))
    }

    fn open_part(&self, names: &Names) -> Result<(File, bool), VaultError> {
        for _ in 0..16 {
            let (file, known) = match self.dir.open_file(&names.part, true)? {
                Some(file) => (file, true),
                None => match self.dir.create(&names.part) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    created => (created.map_err(|error| full(&self.dir, 0, error))?, false),
                },
            };
            if !try_lock(&file)? {
                return Err(VaultError::Busy);
            }
            // Whoever had it before may have renamed or removed it while we waited for nothing.
            if self.dir.identify(&names.part)? == Some(FileId::of_file(&file)?) {
                return Ok((file, known));
            }
        }
        Err(VaultError::Busy)
    }

    fn read(&self, names: &Names) -> io::Result<Contents> {
        let Some(file) = self.dir.open_file(&names.journal, false)? else { return Ok(Contents::default()) };
        let length = file.metadata()?.len().min(MAX_JOURNAL);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Contents::parse(&bytes))
    }

    fn idle(&self, name: &SafeName) -> io::Result<Duration> {
        let Some(file) = self.dir.open_file(name, false)? else { return Ok(Duration::MAX) };
        Ok(file.metadata()?.modified()?.elapsed().unwrap_or_default())
    }

    fn names(&self, transfer: TransferId) -> Names {
        let name = |suffix| SafeName::own(format!("{}{transfer}.{suffix}", self.prefix));
        Names {
            part: name("part"),
            journal: name("journal"),
            fresh: name("journal.new"),
            tree: name("tree"),
            dir: name("dir"),
        }
    }

    fn transfer_of(&self, name: &[u8]) -> Option<TransferId> {
        let rest = name.strip_prefix(self.prefix.as_bytes())?;
        let (hex, suffix) = rest.split_at_checked(32)?;
        if !matches!(suffix, b".part" | b".journal" | b".journal.new" | b".tree" | b".dir") {
            return None;
        }
        let mut id = [0; 16];
        for (byte, digits) in id.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(TransferId(id))
    }
}

impl Names {
    fn remove(&self, dir: &Dir) -> io::Result<()> {
        dir.remove_all(&self.dir)?;
        dir.remove(&self.part)?;
        dir.remove(&self.tree)?;
        dir.remove(&self.fresh)?;
        dir.remove(&self.journal)
    }
}

/// Tells a full disk from a broken one.
pub(crate) fn full(dir: &Dir, needed: u64, error: io::Error) -> VaultError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            VaultError::Full { free: dir.free_space().unwrap_or(0), needed }
        }
        _ => VaultError::Io(error),
    }
}

fn open_or_create(dir: &Dir, name: &SafeName) -> Result<File, VaultError> {
    match dir.open_file(name, true)? {
        Some(file) => Ok(file),
        None => dir.create(name).map_err(|error| full(dir, 0, error)),
    }
}

#[cfg(test)]
mod tests;
