//! An object that is mended where it lies: only bytes that have decayed are written, and only right ones.
//!
//! Nothing notes that something is being mended: what is right and what is not is found by reading, so a crash in the
//! middle leaves less to be mended and nothing else. The object is locked meanwhile, against others who mend. Spec: S5.122.

use std::fs::File;
use std::sync::{Arc, PoisonError};

use hikyaku_storage::vault::{Mending, Object, VaultError};
use hikyaku_wire::parcel::Root;
use rustix::fs::Mode;

use super::{Inner, object_name, read_at, tree_name};
use crate::disk::{self, Call, Promise};
use crate::jail::{Dir, try_lock};
use crate::names::SafeName;
use crate::staging::full;

pub(super) struct FsMending {
    vault: Arc<Inner>,
    root: Root,
    data: File,
    tree: File,
    /// What the object counted when it was opened.
    counted: u64,
}

impl FsMending {
    pub(super) fn open(vault: Arc<Inner>, root: Root) -> Result<Self, VaultError> {
        let _shared = vault.removing.read().unwrap_or_else(PoisonError::into_inner);
        let data = writable(&vault.objects, &object_name(root))?.ok_or(VaultError::NotFound)?;
        if !try_lock(&data)? {
            return Err(VaultError::Busy);
        }
        let tree = match writable(&vault.objects, &tree_name(root))? {
            Some(tree) => tree,
            None => vault.objects.create(&tree_name(root)).map_err(|error| full(&vault.objects, 0, error))?,
        };
        let counted = vault.stored_of(root)?;
        Ok(Self { vault: vault.clone(), root, data, tree, counted })
    }

    fn make_durable(&self, size: u64, outboard_size: u64) -> Result<(), VaultError> {
        for (file, size) in [(&self.data, size), (&self.tree, outboard_size)] {
            if file.metadata()?.len() > size {
                disk::set_len(file, size)?;
            }
            disk::sync_all(file)?;
        }
        // The chaining values may have been gone.
        self.vault.objects.sync()?;
        disk::promise(Promise::Data);
        Ok(())
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
        self.data.metadata().map_or(0, |meta| meta.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.data, offset, into)
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.tree, offset, into)
    }
}

impl Mending for FsMending {
    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError> {
        let objects = &self.vault.objects;
        let needed = |error| full(objects, (data.len() + outboard.len()) as u64, error);
        disk::write_all_at(&self.data, data, offset).map_err(needed)?;
        disk::write_all_at(&self.tree, outboard, outboard_offset).map_err(needed)
    }

    fn sync(&mut self, size: u64, outboard_size: u64) -> Result<(), VaultError> {
        let synced = self.make_durable(size, outboard_size);
        let mut stored = self.vault.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.vault.stored_of(self.root)?;
        *stored = stored.saturating_sub(self.counted) + counts;
        self.counted = counts;
        synced
    }
}
