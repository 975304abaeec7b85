//! Temporary files: where a file lives until it is whole.
//!
//! One transfer has up to three files in one directory: `<id>.part` (the bytes), `<id>.journal` (what of them is
//! verified and durable) and, in a vault, `<id>.tree` (the chaining values). The part is locked while it is open. The
//! journal is written when the first mark or the publishing needs it, so a small file costs few synchronisations.
//! Invariants: data is durable before its mark; a final name appears only by [`Staged::publish`]. Spec: S5.30–S5.35.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use hikyaku_storage::vault::{MAX_STATE, Mark, VaultError};
use hikyaku_wire::parcel::{Metadata, Root, TransferId};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::{self, Call, Promise};
use crate::jail::{Dir, FileId, Found, set_metadata, try_lock};
use crate::journal::{Contents, MAX_JOURNAL, Record};
use crate::names::SafeName;

/// A journal longer than this is started afresh.
const COMPACT_AT: u64 = 256 * 1024;
/// Smaller files are sent again rather than resumed.
const JOURNAL_FROM: u64 = 1024 * 1024;

/// A directory of temporary files.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: Dir,
    prefix: &'static str,
}

/// What is found under a transfer's name.
pub(crate) enum Opened {
    /// Its temporary file, new or known.
    Staged(Box<Staged>),
    /// It got its final name before: header, root, size.
    Settled(Vec<u8>, Root, u64),
}

/// An open temporary file.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: Dir,
    names: Names,
    file: File,
    tree: Option<File>,
    journal: Option<File>,
    contents: Contents,
    header: Vec<u8>,
    /// A synchronisation failed. What was not durable then may be lost, and no later one tells.
    failed: bool,
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
    pub(crate) fn new(dir: Dir, prefix: &'static str) -> Self {
        Self { dir, prefix }
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
            return Ok(Opened::Settled(contents.begin.unwrap_or_default(), root, size));
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
            file,
            tree,
            journal: None,
            header: contents.begin.clone().unwrap_or_else(|| header.to_vec()),
            contents,
            failed: false,
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
        let mut left = Vec::with_capacity(transfers.len());
        for transfer in transfers {
            let names = self.names(transfer);
            let idle = self.idle(&names.part)?.min(self.idle(&names.journal)?);
            left.push(Left { transfer, contents: self.read(&names)?, idle });
        }
        Ok(left)
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

impl Staged {
    /// What the transfer is, as it was first said.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.contents.mark
    }

    /// Sets space aside for a size that somebody claims, so that a full disk is found now and not at the end.
    ///
    /// A file that may need a mark gets its journal now: on a disk that is full to the last block there is none later.
    pub(crate) fn prepare(&mut self, size: Option<u64>) -> Result<(), VaultError> {
        if size.is_none_or(|size| size > JOURNAL_FROM) && self.journal.is_none() {
            self.contents.begin.get_or_insert_with(|| self.header.clone());
            self.rewrite_journal()?;
        }
        let size = size.unwrap_or(0);
        let have = self.file.metadata()?.blocks().saturating_mul(512);
        let needed = size.saturating_sub(have);
        if needed == 0 {
            return Ok(());
        }
        let allocated = disk::call(Call::Write, &self.file);
        allocated.map_err(|error| full(&self.dir, needed, error))?;
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Ok(()) => Ok(()),
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(full(&self.dir, needed, error.into()))
            }
            // Not every file system can; the writes will find out.
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        tree_offset: u64,
        tree: &[u8],
    ) -> Result<(), VaultError> {
        if let Err(error) = disk::write_all_at(&self.file, data, offset) {
            let error = full(&self.dir, data.len() as u64, error);
            // What was written of it is of no use, and on a full disk the journal needs the space.
            disk::set_len(&self.file, offset)?;
            return Err(error);
        }
        match &self.tree {
            Some(file) => disk::write_all_at(file, tree, tree_offset)
                .map_err(|error| full(&self.dir, tree.len() as u64, error)),
            None => Ok(()),
        }
    }

    //= S5.30
    pub(crate) fn sync(&mut self, mark: Mark) -> Result<(), VaultError> {
        if mark.state.len() > MAX_STATE {
            return Err(VaultError::Misuse("the state of a mark is too long"));
        }
        if mark.verified > self.file.metadata()?.len() {
            return Err(VaultError::Misuse("a mark beyond the data"));
        }
        self.sync_by(disk::sync_data)?;
        self.record(Record::Mark(mark), true)
    }

    /// Gives the file its final name: metadata, data and journal durable first, the name and its directory after.
    ///
    /// A name that exists is never replaced: the error is [`io::ErrorKind::AlreadyExists`], unless it is this very file.
    //= S5.33
    pub(crate) fn publish(
        &mut self,
        root: Root,
        size: u64,
        meta: &Metadata,
        into: &Dir,
        name: &SafeName,
    ) -> Result<(), VaultError> {
        self.finish(size, meta)?;
        let id = FileId::of_file(&self.file)?;
        self.record(Record::Sealing { root, size, inode: id.inode }, true)?;
        match self.dir.publish(&self.names.part, into, name) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && into.identify(name)? == Some(id) =>
            {
                self.dir.remove(&self.names.part)?;
            }
            result => result?,
        }
        into.sync()?;
        self.record(Record::Settled { root, size }, false)
    }

    /// As [`Staged::publish`], into a vault: the tree goes first, and content that is there already is enough.
    pub(crate) fn publish_object(
        &mut self,
        root: Root,
        size: u64,
        into: &Dir,
        name: &SafeName,
        tree: &SafeName,
    ) -> Result<(), VaultError> {
        if self.file.metadata()?.len() < size {
            return Err(VaultError::Misuse("the size is not that of the data"));
        }
        let meta = Metadata { mode: Some(0o400), ..Metadata::default() };
        self.finish(size, &meta)?;
        let inode = FileId::of_file(&self.file)?.inode;
        self.record(Record::Sealing { root, size, inode }, true)?;
        for (part, name) in [(&self.names.tree, tree), (&self.names.part, name)] {
            match self.dir.publish(part, into, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.dir.remove(part)?,
                result => result?,
            }
        }
        into.sync()?;
        self.record(Record::Settled { root, size }, false)
    }

    /// The directory of a tree that is being made, made on the first call.
    pub(crate) fn tree_dir(&self) -> Result<Dir, VaultError> {
        Ok(self.dir.enter(&self.names.dir)?)
    }

    /// Forgets what was made of a tree: it begins anew.
    pub(crate) fn restart_tree(&mut self) -> Result<(), VaultError> {
        self.dir.remove_all(&self.names.dir)?;
        self.contents.mark = Mark::default();
        Ok(())
    }

    /// Notes how far a tree is. Everything of it before the mark must be durable.
    //= S5.30
    pub(crate) fn mark_tree(&mut self, mark: Mark) -> Result<(), VaultError> {
        if mark.state.len() > MAX_STATE {
            return Err(VaultError::Misuse("the state of a mark is too long"));
        }
        self.record(Record::Mark(mark), true)
    }

    /// The root and size of a tree whose publishing was begun before.
    pub(crate) fn sealing(&self) -> Option<(Root, u64)> {
        self.contents.sealing.map(|(root, size, _)| (root, size))
    }

    /// Notes that a tree is whole and about to take its place.
    pub(crate) fn seal_tree(&mut self, root: Root, size: u64) -> Result<(), VaultError> {
        self.record(Record::Sealing { root, size, inode: 0 }, true)
    }

    /// Notes that a tree has its place, and removes what is left of its directory.
    pub(crate) fn settle_tree(&mut self, root: Root, size: u64) -> Result<(), VaultError> {
        self.record(Record::Settled { root, size }, true)?;
        self.dir.remove_all(&self.names.dir)?;
        Ok(self.dir.remove(&self.names.part)?)
    }

    /// Removes everything of this transfer.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        Ok(self.names.remove(&self.dir)?)
    }

    /// Removes the journal of a transfer that was published and need not be remembered.
    pub(crate) fn forget(&self) -> Result<(), VaultError> {
        Ok(self.dir.remove(&self.names.journal)?)
    }

    fn finish(&mut self, size: u64, meta: &Metadata) -> Result<(), VaultError> {
        if self.file.metadata()?.len() != size {
            disk::set_len(&self.file, size)?;
        }
        set_metadata(self.file.as_fd(), meta)?;
        self.sync_by(disk::sync_all)
    }

    fn sync_by(&mut self, sync: fn(&File) -> io::Result<()>) -> Result<(), VaultError> {
        self.check()?;
        let synced = sync(&self.file).and_then(|()| self.tree.as_ref().map_or(Ok(()), sync));
        self.synced(synced)
    }

    /// What comes of a synchronisation.
    fn synced(&mut self, result: io::Result<()>) -> Result<(), VaultError> {
        self.failed |= result.is_err();
        result.map_err(|error| full(&self.dir, 0, error))
    }

    fn check(&self) -> Result<(), VaultError> {
        if self.failed {
            return Err(io::Error::other("the disk failed before, and what it has is not known").into());
        }
        Ok(())
    }

    fn record(&mut self, record: Record, durable: bool) -> Result<(), VaultError> {
        self.check()?;
        if self.journal.is_none() || self.contents.end > COMPACT_AT {
            self.contents.begin.get_or_insert_with(|| self.header.clone());
            self.rewrite_journal()?;
        }
        match &record {
            Record::Settled { .. } => disk::promise(Promise::Names),
            _ => disk::promise(Promise::Data),
        }
        // What could not be written is not part of it: the next record goes to the same place.
        let mut contents = self.contents.clone();
        let bytes = contents.append(record);
        if let Some(journal) = &self.journal {
            let written = disk::write_all_at(journal, &bytes, self.contents.end);
            written.map_err(|error| full(&self.dir, bytes.len() as u64, error))?;
            if durable {
                let synced = disk::sync_data(journal);
                self.synced(synced)?;
            }
        }
        self.contents = contents;
        Ok(())
    }

    /// Starts the journal afresh, atomically: the old one stays until the new one is durable.
    fn rewrite_journal(&mut self) -> Result<(), VaultError> {
        self.dir.remove(&self.names.fresh)?;
        let (contents, bytes) = self.contents.compact();
        let journal = self.dir.create(&self.names.fresh).map_err(|error| full(&self.dir, 0, error))?;
        let written = disk::write_all_at(&journal, &bytes, 0);
        written.map_err(|error| full(&self.dir, bytes.len() as u64, error))?;
        self.synced(disk::sync_all(&journal))?;
        self.dir.replace(&self.names.fresh, &self.names.journal)?;
        self.synced(self.dir.sync())?;
        (self.journal, self.contents) = (Some(journal), contents);
        Ok(())
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
