//! Final names: what is whole gets its own, what is there stays unless the policy says otherwise. Spec: S5.33, S5.39.

use std::io;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::{Synced, Verdict};
use hikyaku_wire::parcel::{Metadata, Root};

use super::full;
use super::staged::Staged;
use crate::jail::{Dir, FileId};
use crate::journal::Record;
use crate::names::SafeName;
use crate::policy::{self, Policy};
use crate::tree;

/// Where a file goes, and what becomes of what is there.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) into: &'a Dir,
    pub(crate) name: &'a SafeName,
    pub(crate) policy: Policy,
    pub(crate) synced: Synced,
}

impl Staged {
    /// Gives the file its final name, and says which it is: metadata, data and journal durable first, the name and its
    /// directory after.
    ///
    /// What has the name is replaced only where the policy says so; otherwise the error is
    /// [`io::ErrorKind::AlreadyExists`], unless it is this very file. Where the disk is full, it can be called again.
    //= S5.33
    //= S5.39
    pub(crate) fn publish(
        &mut self,
        root: Root,
        size: u64,
        meta: &Metadata,
        place: &Place<'_>,
    ) -> Result<SafeName, VaultError> {
        self.finish(size, meta, place.synced)?;
        let id = FileId::of_file(&self.pair.data)?;
        self.record(Record::Sealing { root, size, inode: id.inode }, true)?;
        let Place { into, name, policy, .. } = *place;
        let name = if policy.distinct && policy::twin(into, name)?.is_some() {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            let part = (&self.dir, &self.names.part);
            let other = if policy.aside { policy::rename_beside_twin(part, into, name)? } else { None };
            other.ok_or(taken)?
        } else {
            match self.dir.publish(&self.names.part, into, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.publish_over(id, place, error)?
                }
                moved => moved.map(|()| name.clone()).map_err(|error| full(into, 0, error))?,
            }
        };
        if place.synced != Synced::None {
            place.into.sync()?;
        }
        Ok(name)
    }

    /// As [`Staged::publish`], where something has the name.
    fn publish_over(
        &mut self,
        id: FileId,
        place: &Place<'_>,
        taken: io::Error,
    ) -> Result<SafeName, VaultError> {
        let Place { into, name, policy, .. } = *place;
        if into.identify(name)? == Some(id) {
            self.dir.remove(&self.names.part)?;
            return Ok(name.clone());
        }
        let part = &self.names.part;
        let ours = self.dir.find(part)?.zip(into.find(name)?);
        match ours.map(|(ours, theirs)| policy::verdict(ours, theirs, policy)) {
            Some(Verdict::REPLACES) => {
                self.dir.rename(part, into, name, true).map_err(|error| full(into, 0, error))?;
                Ok(name.clone())
            }
            Some(Verdict::RENAMED) => Ok(policy::rename_aside((&self.dir, part), into, name)?.ok_or(taken)?),
            _ => Err(taken.into()),
        }
    }

    /// Notes that the file has its name, and what there is to say of it.
    pub(crate) fn settle(
        &mut self,
        root: Root,
        size: u64,
        outcome: Option<Vec<u8>>,
    ) -> Result<(), VaultError> {
        match outcome {
            Some(outcome) => self.records([Record::Outcome(outcome), Record::Settled { root, size }], false),
            None => self.record(Record::Settled { root, size }, false),
        }
    }

    /// As [`Staged::publish`], into a vault: the tree goes first. What has the names already is replaced: these bytes
    /// were verified just now, and those may have decayed. Only where our tree is not all of it, because it got its name
    /// before a crash and the data did not, the one that is there stays. (How long this takes does not depend on what the
    /// vault has.)
    pub(crate) fn publish_object(
        &mut self,
        root: Root,
        size: u64,
        into: &Dir,
        name: &SafeName,
        tree: &SafeName,
    ) -> Result<(), VaultError> {
        if self.pair.data.metadata()?.len() < size {
            return Err(VaultError::Misuse("the size is not that of the data"));
        }
        let meta = Metadata { mode: Some(0o400), ..Metadata::default() };
        self.finish(size, &meta, Synced::Each)?;
        let inode = FileId::of_file(&self.pair.data)?.inode;
        self.record(Record::Sealing { root, size, inode }, true)?;
        let is_all = match &self.pair.tree {
            Some(values) if size > tree::GROUP_LEN => tree::proves(values, size, root)?,
            _ => true,
        };
        if !is_all && into.identify(tree)?.is_some() {
            self.dir.remove(&self.names.tree)?;
        } else {
            self.dir.rename(&self.names.tree, into, tree, true)?;
        }
        self.dir.rename(&self.names.part, into, name, true)?;
        into.sync()?;
        self.record(Record::Settled { root, size }, false)
    }
}
