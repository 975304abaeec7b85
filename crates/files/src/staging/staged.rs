//! An open temporary file: written, marked, published.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use hikyaku_storage::vault::{MAX_STATE, Mark, VaultError};
use hikyaku_wire::files::Synced;
use hikyaku_wire::parcel::{Metadata, Root};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Names, Pair, full};
use crate::disk::{self, Call, Promise};
use crate::jail::{Dir, mark, set_metadata};
use crate::journal::{Contents, Record};
use crate::prints::Prints;

/// A journal longer than this is started afresh.
pub(super) const COMPACT_AT: u64 = 256 * 1024;
/// Smaller files are sent again rather than resumed.
const JOURNAL_FROM: u64 = 1024 * 1024;
/// Linux's TMPFS_MAGIC.
const TMPFS: u64 = 0x0102_1994;

/// An open temporary file.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(super) dir: Dir,
    pub(super) names: Names,
    pub(super) pair: Pair,
    pub(super) journal: Option<File>,
    pub(super) contents: Contents,
    pub(super) header: Vec<u8>,
    /// Bytes of the disk that are left free.
    pub(super) keep_free: u64,
    /// The bytes before this have their place on the disk.
    pub(super) reserved: u64,
    /// What is kept with the file of what it is, where that is asked for.
    pub(super) prints: Option<Prints>,
}

impl Staged {
    /// What the transfer is, as it was first said.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.contents.mark
    }

    /// Marks the file as somebody's.
    pub(crate) fn mark_owner(&self, owner: &[u8; 16]) -> Result<(), VaultError> {
        mark(&self.pair.data, owner).map_err(|error| full(&self.dir, 0, error))
    }

    /// Sets space aside for a size that somebody claims, so that a full disk is found now and not at the end. In a file
    /// system that lies in memory nothing is set aside: every page would be taken now, while the sender waits, which is
    /// half of what writing costs. There the space was compared, and who finds none later waits for it.
    ///
    /// A file that may need a mark gets its journal now: on a disk that is full to the last block there is none later.
    pub(crate) fn prepare(&mut self, size: Option<u64>) -> Result<(), VaultError> {
        if size.is_none_or(|size| size > JOURNAL_FROM) && self.journal.is_none() {
            self.contents.begin.get_or_insert_with(|| self.header.clone());
            self.rewrite_journal()?;
        }
        let size = size.unwrap_or(0);
        let have = self.pair.data.metadata()?.blocks().saturating_mul(512);
        let needed = size.saturating_sub(have);
        if needed == 0 || is_in_memory(&self.pair.data) {
            return Ok(());
        }
        let allocated = disk::call(Call::Write, &self.pair.data);
        allocated.map_err(|error| full(&self.dir, needed, error))?;
        match rustix::fs::fallocate(&self.pair.data, FallocateFlags::KEEP_SIZE, 0, size) {
            Ok(()) => {
                self.reserved = size;
                Ok(())
            }
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(full(&self.dir, needed, error.into()))
            }
            // Not every file system can; the writes will find out.
            Err(_) => Ok(()),
        }
    }

    /// Whether there is room for so many more bytes, beside what is left free.
    pub(crate) fn check_room(&self, needed: u64) -> Result<(), VaultError> {
        if self.keep_free == 0 {
            // The disk itself says when it is full.
            return Ok(());
        }
        let free = self.dir.free_space()?.saturating_sub(self.keep_free);
        if free < needed { Err(VaultError::Full { free, needed }) } else { Ok(()) }
    }

    /// Writes bytes, and chaining values at an offset of their own. What found no room can be written again.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        tree_offset: u64,
        tree: &[u8],
    ) -> Result<(), VaultError> {
        let len = data.len() as u64;
        if offset.saturating_add(len) > self.reserved {
            self.check_room(len)?;
        }
        if let Err(error) = self.pair.write(&self.dir, offset, data) {
            // What was written of it is of no use, and on a full disk the journal needs the space.
            disk::set_len(&self.pair.data, offset)?;
            return Err(error);
        }
        if let Some(prints) = &mut self.prints {
            // Nothing comes of it where one of these is not what it should be.
            prints.block(offset, data, tree.as_chunks::<32>().0);
        }
        self.pair.write_tree(&self.dir, tree_offset, tree)
    }

    /// Keeps a print with the file. What was written before has none.
    pub(crate) fn keep_print(&mut self) {
        self.prints = Some(Prints::from(self.mark().verified));
    }

    //= S5.30
    pub(crate) fn sync(&mut self, mark: Mark) -> Result<(), VaultError> {
        if mark.state.len() > MAX_STATE {
            return Err(VaultError::Misuse("the state of a mark is too long"));
        }
        if mark.verified > self.pair.data.metadata()?.len() {
            return Err(VaultError::Misuse("a mark beyond the data"));
        }
        self.pair.sync(disk::sync_data)?;
        self.record(Record::Mark(mark), true)
    }

    /// Notes that an object which is there is what would have been staged, and removes what was.
    pub(crate) fn adopt(&mut self, root: Root, size: u64) -> Result<(), VaultError> {
        self.record(Record::Settled { root, size }, true)?;
        self.dir.remove(&self.names.tree)?;
        Ok(self.dir.remove(&self.names.part)?)
    }

    /// The directory of a tree that is being made, made on the first call.
    pub(crate) fn tree_dir(&self) -> Result<Dir, VaultError> {
        self.dir.enter(&self.names.dir).map_err(|error| full(&self.dir, 0, error))
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

    /// What was noted last of what became of it.
    pub(crate) fn outcome(&self) -> Option<&[u8]> {
        self.contents.outcome.as_deref()
    }

    /// Notes that a tree is whole and about to take its place, and what there is to say of it so far.
    pub(crate) fn seal_tree(&mut self, root: Root, size: u64, outcome: Vec<u8>) -> Result<(), VaultError> {
        self.records([Record::Outcome(outcome), Record::Sealing { root, size, inode: 0 }], true)
    }

    /// Notes that a tree has its place and what became of it, and removes what is left of its directory.
    pub(crate) fn settle_tree(&mut self, root: Root, size: u64, outcome: Vec<u8>) -> Result<(), VaultError> {
        self.records([Record::Outcome(outcome), Record::Settled { root, size }], true)?;
        self.dir.remove_all(&self.names.dir)?;
        Ok(self.dir.remove(&self.names.part)?)
    }

    /// Removes everything of this transfer.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        Ok(self.names.remove(&self.dir)?)
    }

    pub(super) fn finish(&mut self, size: u64, meta: &Metadata, synced: Synced) -> Result<(), VaultError> {
        if self.pair.data.metadata()?.len() != size {
            disk::set_len(&self.pair.data, size).map_err(|error| full(&self.dir, 0, error))?;
        }
        if let Some(prints) = self.prints.take() {
            prints.keep(&self.pair.data, size, meta);
        }
        set_metadata(self.pair.data.as_fd(), meta)?;
        if synced == Synced::None { Ok(()) } else { self.pair.sync(disk::sync_all) }
    }

    pub(super) fn record(&mut self, record: Record, durable: bool) -> Result<(), VaultError> {
        self.records([record], durable)
    }

    /// Notes several things in one write: what comes first is about what comes last.
    pub(super) fn records<const N: usize>(
        &mut self,
        records: [Record; N],
        durable: bool,
    ) -> Result<(), VaultError> {
        self.pair.check()?;
        if self.journal.is_none() || self.contents.end > COMPACT_AT {
            self.contents.begin.get_or_insert_with(|| self.header.clone());
            self.rewrite_journal()?;
        }
        match records.last() {
            Some(Record::Settled { .. }) => disk::promise(Promise::Names),
            _ => disk::promise(Promise::Data),
        }
        // What could not be written is not part of it: the next record goes to the same place.
        let mut contents = self.contents.clone();
        let bytes = records.map(|record| contents.append(record)).concat();
        if let Some(journal) = &self.journal {
            let written = disk::write_all_at(journal, &bytes, self.contents.end);
            written.map_err(|error| full(&self.dir, bytes.len() as u64, error))?;
            if durable {
                let synced = disk::sync_data(journal);
                self.pair.synced(synced)?;
            }
        }
        self.contents = contents;
        Ok(())
    }

    /// Starts the journal afresh, atomically: the old one stays until the new one is durable.
    pub(super) fn rewrite_journal(&mut self) -> Result<(), VaultError> {
        self.dir.remove(&self.names.fresh)?;
        let (contents, bytes) = self.contents.compact();
        let journal = self.dir.create(&self.names.fresh).map_err(|error| full(&self.dir, 0, error))?;
        let written = disk::write_all_at(&journal, &bytes, 0);
        written.map_err(|error| full(&self.dir, bytes.len() as u64, error))?;
        self.pair.synced(disk::sync_all(&journal))?;
        let replaced = self.dir.replace(&self.names.fresh, &self.names.journal);
        replaced.map_err(|error| full(&self.dir, 0, error))?;
        self.pair.synced(self.dir.sync())?;
        (self.journal, self.contents) = (Some(journal), contents);
        Ok(())
    }
}

fn is_in_memory(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| kind == TMPFS))
}
