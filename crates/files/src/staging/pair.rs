//! Content and the chaining values beside it, open for writing: the one place where either is written and made durable.
//!
//! Invariant: once a synchronisation has failed, none succeeds any more. What was not durable then may be lost, and no later
//! one tells.

use std::fs::File;
use std::io;

use hikyaku_storage::vault::VaultError;

use super::full;
use crate::disk;
use crate::jail::Dir;

/// An open file, and another one where its chaining values are kept.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) data: File,
    pub(crate) tree: Option<File>,
    failed: bool,
}

impl Pair {
    pub(crate) fn of(data: File, tree: Option<File>) -> Self {
        Self { data, tree, failed: false }
    }

    /// Writes content. What found no room, in the file system of `dir`, can be written again.
    pub(crate) fn write(&self, dir: &Dir, offset: u64, data: &[u8]) -> Result<(), VaultError> {
        disk::write_all_at(&self.data, data, offset).map_err(|error| full(dir, data.len() as u64, error))
    }

    /// Writes chaining values, where they are kept.
    pub(crate) fn write_tree(&self, dir: &Dir, offset: u64, values: &[u8]) -> Result<(), VaultError> {
        let Some(tree) = &self.tree else { return Ok(()) };
        disk::write_all_at(tree, values, offset).map_err(|error| full(dir, values.len() as u64, error))
    }

    /// Makes both durable.
    pub(crate) fn sync(&mut self, sync: fn(&File) -> io::Result<()>) -> Result<(), VaultError> {
        self.check()?;
        let synced = sync(&self.data).and_then(|()| self.tree.as_ref().map_or(Ok(()), sync));
        self.synced(synced)
    }

    /// What comes of a synchronisation, of these or of what belongs to them.
    pub(crate) fn synced(&mut self, result: io::Result<()>) -> Result<(), VaultError> {
        self.failed |= result.is_err();
        // Not as a full disk, which would be tried again: what is lost now, no later synchronisation tells.
        Ok(result?)
    }

    /// An error when a synchronisation has failed.
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        if self.failed {
            return Err(io::Error::other("the disk failed before, and what it has is not known").into());
        }
        Ok(())
    }
}
