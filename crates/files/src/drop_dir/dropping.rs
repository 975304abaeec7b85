//! What is on its way into the directory, from its first byte to its name, and the receipt of it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use hikyaku_storage::vault::{Mark, VaultError};
use hikyaku_wire::files::{Offer, Overwrite, Receipt, Synced};
use hikyaku_wire::parcel::{EntryKind, Metadata, Root};

use super::Inner;
use super::ledger::{self, Meter};
use crate::error::{FilesError, Result};
use crate::jail::{Dir, Found};
use crate::names::SafeName;
use crate::pause::Waiting;
use crate::policy::{self, Policy};
use crate::quota::counted;
use crate::staging::{Place, Settled, Staged};
use crate::tree_sink::{Placed, TreeSink};
use crate::unpack::Bounds;
use crate::writer::Sink;

/// A file on its way into the directory.
#[derive(Debug)]
pub(crate) struct Dropping {
    pub(crate) staged: Staged,
    pub(super) dir: Arc<Inner>,
    pub(super) into: Dir,
    pub(super) name: SafeName,
    pub(super) offer: Offer,
    pub(super) meter: Meter,
    /// How far it was counted as it came.
    pub(super) metered: u64,
}

/// A tree on its way into the directory.
#[derive(Debug)]
pub(crate) struct DroppingTree {
    pub(crate) sink: TreeSink,
    pub(super) dir: Arc<Inner>,
    pub(super) into: Dir,
    pub(super) offer: Offer,
    pub(super) meter: Meter,
}

impl Dropping {
    //= S5.24
    //= S5.39
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(theirs) = self.into.find(&self.name).map_err(VaultError::Io)? {
            let ours = Found::listed(self.offer.size.unwrap_or(0), &self.offer.meta.unwrap_or_default());
            if !policy::verdict(ours, theirs, self.policy()).is_wanted() {
                return Err(FilesError::Exists(self.name.to_string()));
            }
        }
        let policy = self.policy();
        if policy.distinct
            && !policy.aside
            && let Some(twin) = policy::twin(&self.into, &self.name).map_err(VaultError::Io)?
        {
            return Err(FilesError::Collides(self.name.to_string(), twin.to_string()));
        }
        let needed = self.offer.size.unwrap_or(0).saturating_sub(self.staged.mark().verified);
        self.dir.check_space(&self.into, needed)?;
        Ok(self.staged.prepare(self.offer.size)?)
    }

    /// What is offered.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The file that this one will take the place of, if there is one that can be read.
    //= S5.100
    pub(crate) fn replaced(&self) -> Option<File> {
        let replaces = matches!(self.policy().overwrite, Overwrite::Newer | Overwrite::Always);
        replaces.then(|| self.into.open_file(&self.name, false).ok().flatten()).flatten()
    }

    fn policy(&self) -> Policy {
        // Its root is known when all of it has come: content that is there already is not recognised by it.
        Policy { checksum: false, ..Policy::of(&self.dir.options(&self.offer)) }
    }

    /// Gives it its name. From here on the transfer is finished, whatever happens to the connection.
    pub(crate) fn publish(mut self, root: Root, size: u64, waiting: &mut Waiting) -> Result<Receipt> {
        let meta = self.offer.meta.unwrap_or(Metadata { mode: Some(0o644), ..Metadata::default() });
        let (policy, synced) = (self.policy(), synced(&self.offer));
        let place = Place { into: &self.into, name: &self.name, policy, synced };
        let inner = self.dir.clone();
        let alone = inner.alone(inner.options(&self.offer));
        let ledger = inner.ledger.clone();
        let _placing = ledger.placing();
        let published = waiting.until_room(|| Ok(self.staged.publish(root, size, &meta, &place)?));
        let name = match published {
            Err(FilesError::Vault(VaultError::Io(error))) if error.kind() == io::ErrorKind::AlreadyExists => {
                let exists = FilesError::Exists(self.name.to_string());
                self.discard()?;
                return Err(exists);
            }
            named => named?,
        };
        drop(alone);
        let other = (name != self.name).then(|| name.as_bytes().to_vec());
        waiting.until_room(|| Ok(self.staged.settle(root, size, other.clone())?))?;
        self.dir.partials().remove(&self.offer.transfer);
        // What has another name, or took another one's place, is found by looking.
        ledger.placed(
            self.offer.transfer,
            counted(size),
            name == self.name && policy.overwrite == Overwrite::Never,
        );
        Ok(Receipt { name: Some(name.as_bytes().to_vec()), ..receipt(&self.offer, root, size) })
    }

    /// Gives it up.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        self.dir.partials().remove(&self.offer.transfer);
        self.dir.ledger.release(self.offer.transfer);
        self.staged.discard()
    }
}

/// What has no size in advance is counted as it comes.
impl Sink for Dropping {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        if self.offer.size.is_none() && end > self.metered {
            self.meter.grow(end - self.metered)?;
            self.metered = end;
        }
        Ok(self.staged.write(offset, data, tree_offset, tree)?)
    }

    fn sync(&mut self, mark: Mark) -> Result<()> {
        Ok(self.staged.sync(mark)?)
    }
}

impl DroppingTree {
    /// Takes no more than this, and no more than the quotas allow.
    pub(crate) fn bound(&mut self, max_size: u64) {
        self.sink.bound(Bounds::new(max_size, Some(self.meter.clone())));
    }

    /// Moves it to its place. From here on the transfer is finished, whatever happens to the connection.
    pub(crate) fn publish(self, root: Root, size: u64, waiting: &mut Waiting) -> Result<Receipt> {
        let inner = self.dir.clone();
        let _alone = inner.alone(inner.options(&self.offer));
        let ledger = inner.ledger.clone();
        let _placing = ledger.placing();
        let bytes = if ledger.is_on() { ledger::measure(&self.sink.made()?)? } else { 0 };
        let placed = self.sink.place(root, size, &self.into, waiting)?;
        ledger.placed(self.offer.transfer, bytes, placed.is_whole);
        self.dir.partials().remove(&self.offer.transfer);
        Ok(tree_receipt(&self.offer, placed))
    }

    /// Gives it up.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        self.dir.partials().remove(&self.offer.transfer);
        self.dir.ledger.release(self.offer.transfer);
        self.sink.discard()
    }
}

pub(super) fn tree_receipt(offer: &Offer, placed: Placed) -> Receipt {
    Receipt { tree: Some(placed.tree), ..receipt(offer, placed.root, placed.size) }
}

fn receipt(offer: &Offer, root: Root, size: u64) -> Receipt {
    let (name, synced) = (Some(offer.name.clone()), synced(offer));
    Receipt { transfer: offer.transfer, root, size, synced, name, event: None, tree: None }
}

/// The receipt of a transfer that was settled before. Of a file whose other name was not noted `found` says it.
//= S5.18
pub(super) fn receipt_again(offer: &Offer, known: &Settled, found: Option<SafeName>) -> Receipt {
    let receipt = receipt(offer, known.root, known.size);
    if offer.kind == EntryKind::Tree {
        let tree = known.outcome.as_deref().and_then(|outcome| minicbor::decode(outcome).ok());
        return Receipt { tree: Some(tree.unwrap_or_default()), ..receipt };
    }
    let name = known.outcome.clone().or(found.map(|name| name.as_bytes().to_vec())).or(receipt.name.clone());
    Receipt { name, ..receipt }
}

/// When what is offered is made durable.
fn synced(offer: &Offer) -> Synced {
    let rule = if offer.kind == EntryKind::Tree { Synced::Batch } else { Synced::Each };
    offer.options.and_then(|options| options.synced).unwrap_or(rule)
}
