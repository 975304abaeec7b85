//! An object that is mended where it lies: only bytes that have decayed are written, and only right ones.
//!
//! What is right and what is not is found by reading, so a crash in the middle leaves less to be mended and nothing else. Only
//! one thing is noted, durably, before the first byte is written: that something is ([`Inner::marks`]). Bytes that a disk
//! could not make durable may be read nonetheless, until they leave the system's memory, and no later synchronisation tells
//! of them. So the mark goes when everything is durable, and whoever finds one writes all of the content again.
//! Others who mend are kept out meanwhile. Spec: S5.122.

use std::fs::File;
use std::sync::{Arc, PoisonError};

use hikyaku_storage::vault::{Mending, Object, VaultError};
use hikyaku_wire::parcel::Root;
use rustix::fs::Mode;

use super::{Inner, object_name, read_at, tree_name};
use crate::disk::{self, Call, Promise};
use crate::jail::Dir;
use crate::names::SafeName;
use crate::staging::{Pair, full};

pub(super) struct FsMending {
    pair: Pair,
    /// An attempt before this one may have left what is not durable.
    doubtful: bool,
    /// All of the content before this was written by this attempt.
    again: u64,
    /// This attempt has written something, and marked the object before.
    marked: bool,
    /// Last, so that it is the last to be dropped.
    lent: Lent,
}

/// An object in the hands of who mends it: counted with the length that it has, and lent to nobody else.
struct Lent {
    vault: Arc<Inner>,
    root: Root,
}

impl Lent {
    fn of(vault: Arc<Inner>, root: Root) -> Result<Self, VaultError> {
        let mut stored = vault.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = vault.stored_of(root)?;
        if !stored.lend(root, counted) {
            return Err(VaultError::Busy);
        }
        drop(stored);
        Ok(Self { vault, root })
    }

    fn objects(&self) -> &Dir {
        &self.vault.objects
    }

    /// Counts it anew; whether it is there.
    fn recount(&self) -> Result<bool, VaultError> {
        let mut stored = self.vault.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.vault.stored_of(self.root)?;
        stored.recount(self.root, now, now);
        Ok(self.objects().identify(&object_name(self.root))?.is_some())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // What could not be looked at counts as before.
        let _ = self.recount();
        self.vault.stored.lock().unwrap_or_else(PoisonError::into_inner).take_back(self.root);
    }
}

impl FsMending {
    pub(super) fn open(vault: Arc<Inner>, root: Root) -> Result<Self, VaultError> {
        let _shared = vault.removing.read().unwrap_or_else(PoisonError::into_inner);
        vault.objects.identify(&object_name(root))?.ok_or(VaultError::NotFound)?;
        // Before anything is opened: who opens changes modes for a moment, and two would meet.
        let lent = Lent::of(vault.clone(), root)?;
        let data = writable(&vault.objects, &object_name(root))?.ok_or(VaultError::NotFound)?;
        let tree = writable(&vault.objects, &tree_name(root))?;
        let doubtful = vault.is_marked(root)?;
        Ok(Self { pair: Pair::of(data, tree), doubtful, again: 0, marked: false, lent })
    }

    /// Notes durably that something is about to be written.
    fn mark(&mut self) -> Result<(), VaultError> {
        if !self.marked {
            self.lent.vault.mark(self.lent.root)?;
            self.marked = true;
        }
        Ok(())
    }

    /// The chaining values may be gone.
    fn make_tree(&mut self) -> Result<(), VaultError> {
        if self.pair.tree.is_none() {
            let objects = self.lent.objects();
            let made = objects.create(&tree_name(self.lent.root)).map_err(|error| full(objects, 0, error))?;
            self.pair.tree = Some(made);
        }
        Ok(())
    }

    fn make_durable(&mut self, size: u64, outboard_size: u64) -> Result<(), VaultError> {
        self.make_tree()?;
        for (file, size) in [(Some(&self.pair.data), size), (self.pair.tree.as_ref(), outboard_size)] {
            if let Some(file) = file
                && file.metadata()?.len() > size
            {
                disk::set_len(file, size)?;
            }
        }
        self.settle(self.again >= size)
    }

    /// Makes durable what was written; `all`: nothing else is in doubt.
    fn settle(&mut self, all: bool) -> Result<(), VaultError> {
        self.pair.sync(disk::sync_all)?;
        // The chaining values may have been gone.
        let named = self.lent.objects().sync();
        self.pair.synced(named)?;
        disk::promise(Promise::Data);
        if all || !self.doubtful {
            (self.doubtful, self.marked) = (false, false);
            // Also where another file has taken the place of this one: that was durable before it had the name.
            self.lent.vault.unmark(self.lent.root);
        }
        Ok(())
    }
}

impl Drop for FsMending {
    fn drop(&mut self) {
        if self.marked {
            // What was written stays. Where it does not become durable, so does the mark.
            let _ = self.settle(false);
        }
    }
}

/// Opens a file that nobody but its owner may read, and nobody may write.
fn writable(dir: &Dir, name: &SafeName) -> Result<Option<File>, VaultError> {
    let Some(file) = dir.open_file(name, false)? else { return Ok(None) };
    disk::call(Call::Metadata, &file)?;
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(std::io::Error::from)?;
    let opened = dir.open_file(name, true);
    disk::call(Call::Metadata, &file)?;
    rustix::fs::fchmod(&file, Mode::RUSR).map_err(std::io::Error::from)?;
    Ok(opened?)
}

impl Object for FsMending {
    fn size(&self) -> u64 {
        self.pair.data.metadata().map_or(0, |meta| meta.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.pair.data, offset, into)
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        self.pair.tree.as_ref().map_or(Ok(0), |tree| read_at(tree, offset, into))
    }
}

impl Mending for FsMending {
    fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError> {
        self.mark()?;
        self.make_tree()?;
        self.pair.write(self.lent.objects(), offset, data)?;
        self.pair.write_tree(self.lent.objects(), outboard_offset, outboard)?;
        if offset <= self.again {
            self.again = self.again.max(offset + data.len() as u64);
        }
        Ok(())
    }

    fn sync(&mut self, size: u64, outboard_size: u64) -> Result<(), VaultError> {
        let durable = self.make_durable(size, outboard_size);
        let is_there = self.lent.recount()?;
        durable?;
        if is_there { Ok(()) } else { Err(VaultError::NotFound) }
    }
}
