//! The drop directory: where an operator lets files arrive under their own names.
//!
//! Everything is confined to the directory ([`crate::jail`]); nothing is replaced unless the sender says so; temporary
//! files live in `.hikyaku/` inside it, on the same file system. Spec: S5.24, S5.33, S5.39.

mod dropping;
mod ledger;

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hikyaku_storage::vault::{Mark, VaultError};
use hikyaku_wire::files::{Answer, Component, Offer, PutOptions, Receipt};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};
use minicbor::{Decode, Encode};
use tokio::sync::mpsc;

use crate::error::{FilesError, Result};
use crate::jail::{Dir, FileId};
use crate::names::{Dots, OWN_PREFIX, SafeName, SafeRelPath};
use crate::policy::{self, Policy};
use crate::quota::{LEAST, Used, counted};
use crate::rooms::Owner;
use crate::staging::{Layout, Opened, Staged, Staging};
use crate::tree_sink::{self, Into, Listing, Opening, TreeSink};
use crate::unpack::Looking;
use dropping::{receipt_again, tree_receipt};
use ledger::Ledger;

pub(crate) use dropping::{Dropping, DroppingTree};
pub(crate) use ledger::Meter;
pub use ledger::{Account, Quotas};

/// A directory that takes files. Clones share it.
#[derive(Clone, Debug)]
pub struct DropDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Dir,
    staging: Staging,
    keep_free: u64,
    dots: Dots,
    max_partials: usize,
    distinct: Option<Distinct>,
    prints: bool,
    /// Held while something is published whose name is compared with those that are there.
    publishing: Mutex<()>,
    /// Transfers that are neither finished nor given up.
    partials: Mutex<HashSet<TransferId>>,
    /// How much there is, and whose.
    ledger: Arc<Ledger>,
}

/// How a drop directory behaves.
#[derive(Clone, Copy, Debug)]
pub struct DropOptions {
    /// Bytes of the disk that transfers leave free.
    pub keep_free: u64,
    /// Whether names that begin with a dot are taken.
    pub dots: Dots,
    /// The most unfinished transfers that are kept to be resumed.
    pub max_partials: usize,
    /// How many bytes may lie in it.
    pub quotas: Quotas,
    /// What becomes of names that differ by case or composition alone, where the sender says nothing of it.
    pub distinct: Option<Distinct>,
    /// Whether prints are kept of files ([`crate::prints`]).
    pub prints: bool,
}

/// What becomes of the later one of two names of a directory that differ by case or composition alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinct {
    /// It is not made.
    Refused,
    /// It gets another name.
    Renamed,
}

impl Distinct {
    /// As an option of a transfer, unless that has its own.
    #[must_use]
    pub fn over(self, options: PutOptions) -> PutOptions {
        match options.distinct {
            Some(true) => options,
            _ => PutOptions { distinct: Some(true), aside: Some(self == Self::Renamed), ..options },
        }
    }
}

impl Default for DropOptions {
    fn default() -> Self {
        Self {
            keep_free: 64 * 1024 * 1024,
            dots: Dots::Refused,
            max_partials: 1024,
            distinct: None,
            quotas: Quotas::default(),
            prints: true,
        }
    }
}

/// What the journal keeps of an offer: the same transfer must be the same in all of it.
#[derive(PartialEq, Encode, Decode)]
#[cbor(map)]
struct Header {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    owner: Owner,
    #[n(1)]
    offer: Offer,
}

/// What becomes of an offer.
pub(crate) enum Prepared {
    /// It is taken: the bytes go here.
    Open(Box<Dropping>),
    /// It is a tree, and taken: the bytes go here, from where the mark says. What is to be told its sender comes
    /// from there.
    Tree(Box<DroppingTree>, Mark, mpsc::Receiver<Answer>),
    /// It was finished before.
    Settled(Receipt),
}

impl DropDir {
    /// Opens a directory that exists. It gets a hidden subdirectory `.hikyaku` for temporary files.
    pub fn open(path: &Path, options: DropOptions) -> Result<Self, VaultError> {
        let root = Dir::open(path)?;
        let staging = Staging::new(root.ensure_own(".hikyaku")?, "", options.keep_free);
        let (settled, unfinished): (Vec<_>, Vec<_>) =
            staging.list()?.into_iter().partition(|left| left.contents.settled.is_some());
        settled.iter().try_for_each(|left| staging.tidy(left.transfer))?;
        let partials = Mutex::new(unfinished.iter().map(|left| left.transfer).collect());
        let DropOptions { keep_free, dots, max_partials, distinct, quotas, prints } = options;
        let ledger = Ledger::open(root.try_clone()?, quotas)?;
        for left in unfinished.into_iter().filter(|_| ledger.is_on()) {
            let header =
                left.contents.begin.as_deref().and_then(|begin| minicbor::decode::<Header>(begin).ok());
            let owner = header.as_ref().map_or([0; 16], |header| header.owner);
            let (part, made) = staging.brought(left.transfer)?;
            let made = made.as_ref().map_or(Ok(0), ledger::measure)?;
            let offered = header.and_then(|header| header.offer.size).unwrap_or(0);
            ledger.carry(left.transfer, owner, counted(part.max(offered)).max(made));
        }
        let publishing = Mutex::default();
        let inner = Inner {
            root,
            staging,
            keep_free,
            dots,
            max_partials,
            distinct,
            prints,
            publishing,
            partials,
            ledger,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Checks an offer and makes room for it. Everything that can be refused is refused here, before a byte is sent.
    /// Whoever offers it may have `own` bytes here, where that is not what everybody may.
    pub(crate) fn prepare(
        &self,
        (owner, own): (Owner, Option<u64>),
        offer: &Offer,
        path: &[Component],
    ) -> Result<Prepared> {
        let inner = &self.0;
        let name = SafeName::parse(&offer.name, inner.dots)?;
        let path = SafeRelPath::parse(path.iter().map(|component| component.0.as_slice()), inner.dots)?;
        let into = inner.root.ensure_dir(&path).map_err(|error| inaccessible(&path, error))?;
        if into.id().map_err(VaultError::Io)?.device != inner.root.id().map_err(VaultError::Io)?.device {
            return Err(FilesError::Unknown(
                "that subdirectory is another file system; files cannot be moved there whole",
            ));
        }
        inner.check_partials(offer.transfer)?;
        let header = Header { owner, offer: offer.clone() };
        let bytes = hikyaku_wire::cbor::encode(&header);
        let policy = Policy::of(&inner.options(offer));
        let found = Cell::new(None);
        let ours = |_: Root, _: u64, inode: u64| {
            let is_ours = |name: &SafeName| {
                into.identify(name).map(|id: Option<FileId>| id.map(|id| id.inode) == Some(inode))
            };
            for name in policy::names_of(&name, policy) {
                if is_ours(&name)? {
                    found.set(Some(name));
                    // Whoever gave it its name may have ended before the name was durable.
                    return into.sync().map(|()| true);
                }
            }
            Ok(false)
        };
        //= S5.37
        let same = |bytes: &[u8]| minicbor::decode::<Header>(bytes).is_ok_and(|known| known == header);
        let layout = if offer.kind == EntryKind::Tree { Layout::Tree } else { Layout::File };
        let staged = match inner.staging.open(offer.transfer, &bytes, layout, ours)? {
            Opened::Settled(known) if !same(&known.header) => return Err(FilesError::Taken),
            Opened::Settled(known) => {
                inner.partials().remove(&offer.transfer);
                inner.ledger.placed(offer.transfer, 0, false);
                return Ok(Prepared::Settled(receipt_again(offer, &known, found.into_inner())));
            }
            Opened::Staged(staged) if !same(staged.header()) => return Err(FilesError::Taken),
            Opened::Staged(staged) => staged,
        };
        let (staged, meter) = inner.hold(*staged, (owner, own), offer)?;
        inner.partials().insert(offer.transfer);
        if layout == Layout::Tree {
            return inner.prepare_tree(staged, into, offer, meter);
        }
        inner.prepare_file(staged, (into, name), offer, meter)
    }

    /// Looks at what is in a place, without making it.
    pub(crate) fn look(&self, path: &[Component], options: PutOptions) -> Result<Looking> {
        let inner = &self.0;
        let path = SafeRelPath::parse(path.iter().map(|component| component.0.as_slice()), inner.dots)?;
        let there = match inner.root.open_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|error| inaccessible(&path, error))?),
        };
        Looking::below(there, inner.ruled(options), inner.dots)
    }

    /// Forgets a finished transfer: its sender has the receipt.
    pub(crate) fn forget(&self, transfer: TransferId) -> Result<(), VaultError> {
        self.0.staging.discard(transfer)
    }

    /// Removes what is older than `expiry`: unfinished transfers, and receipts nobody asked for again.
    pub fn sweep(&self, expiry: Duration) -> Result<usize, VaultError> {
        let mut removed = 0;
        for left in self.0.staging.list()?.into_iter().filter(|left| left.idle >= expiry) {
            match self.0.staging.discard(left.transfer) {
                Ok(()) => {
                    self.0.partials().remove(&left.transfer);
                    self.0.ledger.release(left.transfer);
                    removed += 1;
                }
                Err(VaultError::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        self.0.ledger.recount()?;
        Ok(removed)
    }

    /// Whether anything is counted: it is where there are quotas.
    pub fn is_counted(&self) -> bool {
        self.0.ledger.is_on()
    }

    /// How many bytes may lie in it.
    pub fn quotas(&self) -> Quotas {
        self.0.ledger.quotas()
    }

    /// What is counted of one user.
    pub fn used_by(&self, owner: Owner) -> Used {
        self.0.ledger.used_by(owner)
    }

    /// What is counted of the directory and of each user; nothing without quotas.
    pub fn used(&self) -> Vec<(Account, Used)> {
        self.0.ledger.used()
    }
}

impl Inner {
    fn partials(&self) -> MutexGuard<'_, HashSet<TransferId>> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the sender asks for, and what the operator of this directory does.
    fn options(&self, offer: &Offer) -> PutOptions {
        self.ruled(offer.options.unwrap_or_default())
    }

    fn ruled(&self, options: PutOptions) -> PutOptions {
        self.distinct.map_or(options, |distinct| distinct.over(options))
    }

    /// Where names are compared with those that are there, one transfer at a time gives names.
    fn alone(&self, options: PutOptions) -> Option<MutexGuard<'_, ()>> {
        let compares = options.distinct == Some(true);
        compares.then(|| self.publishing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what an offer will take. Where it would be too much, and nothing has come yet, nothing of it is left.
    fn hold(
        &self,
        staged: Staged,
        (owner, own): (Owner, Option<u64>),
        offer: &Offer,
    ) -> Result<(Staged, Meter)> {
        // What has no size in advance holds what it has brought, and more as it comes.
        let least = self.ledger.held(offer.transfer).max(LEAST);
        match self.ledger.hold(offer.transfer, (owner, own), offer.size.map_or(least, counted)) {
            Ok(meter) => Ok((staged, meter)),
            Err(error) if staged.mark().verified == 0 => {
                staged.discard()?;
                self.partials().remove(&offer.transfer);
                Err(error)
            }
            Err(error) => {
                self.ledger.carry(offer.transfer, owner, least);
                Err(error)
            }
        }
    }

    fn prepare_file(
        self: &Arc<Self>,
        staged: Staged,
        (into, name): (Dir, SafeName),
        offer: &Offer,
        meter: Meter,
    ) -> Result<Prepared> {
        if let Some(owner) = meter.owner() {
            staged.mark_owner(&owner)?;
        }
        let metered = staged.mark().verified;
        let (dir, offer) = (self.clone(), offer.clone());
        let mut dropping = Dropping { staged, dir, into, name, offer, meter, metered };
        match dropping.check() {
            Ok(()) => {
                if self.prints {
                    dropping.staged.keep_print();
                }
                Ok(Prepared::Open(Box::new(dropping)))
            }
            Err(error) if dropping.staged.mark().verified > 0 => Err(error),
            Err(error) => {
                dropping.discard()?;
                Err(error)
            }
        }
    }

    /// A tree has no size in advance: a byte of space is asked for, and the rest shows.
    fn prepare_tree(
        self: &Arc<Self>,
        staged: Staged,
        into: Dir,
        offer: &Offer,
        meter: Meter,
    ) -> Result<Prepared> {
        let options = self.options(offer);
        let listing = Listing::WhenKnown(self.may_have(&into, offer)?);
        let goes = Into { place: &into, options, dots: self.dots, listing, only: None, prints: self.prints };
        let (opening, wants) = TreeSink::open(staged, &goes)?;
        match opening {
            Opening::Open(sink, mark) => {
                let (dir, offer) = (self.clone(), offer.clone());
                let tree = DroppingTree { sink: *sink, dir, into, offer, meter };
                match self.check_space(&tree.into, 1) {
                    Err(error) if mark.verified == 0 => {
                        tree.discard()?;
                        Err(error)
                    }
                    checked => checked.map(|()| Prepared::Tree(Box::new(tree), mark, wants)),
                }
            }
            Opening::Whole(staged, root, size) => {
                let _alone = self.alone(options);
                let placed = tree_sink::place_again(*staged, (root, size), options, &into)?;
                self.partials().remove(&offer.transfer);
                self.ledger.placed(offer.transfer, 0, false);
                Ok(Prepared::Settled(tree_receipt(offer, placed)))
            }
        }
    }

    /// Whether some of a tree may be there already: its name is taken, or that of another top of it.
    fn may_have(&self, into: &Dir, offer: &Offer) -> Result<bool> {
        if offer.tops.is_none_or(|tops| tops <= 1) {
            let name = SafeName::parse(&offer.name, self.dots)?;
            let found = into.find(&name).map_err(VaultError::Io)?.is_some();
            let compares = self.options(offer).distinct == Some(true);
            return Ok(found || compares && policy::twin(into, &name).map_err(VaultError::Io)?.is_some());
        }
        let names = into.all_names().map_err(VaultError::Io)?;
        Ok(names.iter().any(|name| !name.as_bytes().starts_with(OWN_PREFIX)))
    }

    fn check_space(&self, into: &Dir, needed: u64) -> Result<()> {
        let free = into.free_space().map_err(VaultError::Io)?.saturating_sub(self.keep_free);
        if needed > free {
            return Err(VaultError::Full { free, needed }.into());
        }
        Ok(())
    }

    fn check_partials(&self, transfer: TransferId) -> Result<()> {
        let partials = self.partials();
        if partials.len() >= self.max_partials && !partials.contains(&transfer) {
            return Err(FilesError::Limit { name: "max_partials", limit: self.max_partials as u64 });
        }
        Ok(())
    }
}

/// Why a subdirectory cannot be used, in words that show nothing of the server's own paths.
fn inaccessible(path: &SafeRelPath, error: io::Error) -> FilesError {
    let reason = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::LOOP) => {
            "the subdirectory is or contains a symbolic link, which is not followed"
        }
        Some(rustix::io::Errno::NOTDIR) => "the subdirectory is a file",
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            "the server may not use that subdirectory"
        }
        _ => {
            tracing::warn!(%path, %error, "a subdirectory of the drop directory cannot be used");
            "the subdirectory cannot be used"
        }
    };
    FilesError::Unknown(reason)
}
