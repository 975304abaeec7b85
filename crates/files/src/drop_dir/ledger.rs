//! How much there is in a drop directory, and whose it is.
//!
//! What somebody puts there is marked as his while it is made: an extended attribute on each file and directory, which
//! stays when it is moved and goes when it is removed. So what is counted can be found by looking, at the start, every hour
//! and before somebody is refused; in between, the book follows what is placed. What the operator or anybody else puts
//! there counts for the directory alone, and so does what was put there before users had quotas. Spec: S5.27, S5.28.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::parcel::TransferId;

use crate::error::{FilesError, Result};
use crate::jail::{Dir, Entry};
use crate::names::OWN_PREFIX;
use crate::quota::{Book, Exceeded, LEAST, Party, Used, counted};
use crate::rooms::{Allowance, Owner};

/// The most directories below each other that are counted: deeper ones were not made by a peer.
const MAX_DEPTH: usize = 128;
/// How often it is looked again before somebody is refused.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How many bytes may lie in a drop directory. Without any bound nothing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Altogether.
    pub directory: Option<u64>,
    /// Of one user.
    pub user: Option<u64>,
}

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Everything in the directory.
    Directory,
    /// What one user has put there.
    User(Owner),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "the server's directory",
            Self::User(_) => "one user in the server's directory",
        })
    }
}

/// What is counted, and of what.
#[derive(Debug)]
pub(super) struct Ledger {
    root: Dir,
    quotas: Quotas,
    book: Mutex<Book<Account, TransferId>>,
    /// Held for reading while something is placed and noted, for writing while everything is counted.
    placing: RwLock<()>,
    /// Something was placed that the book does not know exactly.
    stale: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

/// A transfer that is counted while it grows.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    ledger: Arc<Ledger>,
    transfer: TransferId,
    owner: Owner,
}

impl Ledger {
    /// Counts what is there.
    pub(super) fn open(root: Dir, quotas: Quotas) -> Result<Arc<Self>, VaultError> {
        if quotas.user.is_some() && root.ensure_own(".hikyaku")?.mark(&[0; 16]).is_err() {
            let missing =
                "its file system keeps no extended attributes, and users cannot have quotas without";
            return Err(io::Error::new(io::ErrorKind::Unsupported, missing).into());
        }
        let ledger = Self {
            root,
            quotas,
            book: Mutex::default(),
            placing: RwLock::default(),
            stale: AtomicBool::new(true),
            looked: Mutex::default(),
        };
        ledger.recount()?;
        Ok(Arc::new(ledger))
    }

    pub(super) fn is_on(&self) -> bool {
        self.quotas != Quotas::default()
    }

    fn book(&self) -> MutexGuard<'_, Book<Account, TransferId>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// Whose bytes they are; `own` is what this user may have, where users have quotas and this one another.
    fn parties(&self, owner: Owner, own: Option<u64>) -> Vec<Party<Account>> {
        let Quotas { directory, user } = self.quotas;
        let user = user.and_then(|usual| Allowance::bound(own, Some(usual)));
        let directory = Party { account: Account::Directory, quota: directory };
        vec![directory, Party { account: Account::User(owner), quota: user }]
    }

    /// Holds bytes for a transfer that was offered, and counts it from here on.
    //= S5.24
    pub(super) fn hold(
        self: &Arc<Self>,
        transfer: TransferId,
        (owner, own): (Owner, Option<u64>),
        bytes: u64,
    ) -> Result<Meter> {
        if self.is_on() {
            if self.stale.load(Ordering::Relaxed) {
                self.recount()?;
            }
            let first = self.book().hold(transfer, self.parties(owner, own), bytes);
            if first.is_err() {
                // Something may have been taken away meanwhile.
                self.look_again()?;
                self.book().hold(transfer, self.parties(owner, own), bytes)?;
            }
        }
        Ok(Meter { ledger: self.clone(), transfer, owner })
    }

    /// Holds what an unfinished transfer has brought or will bring, whatever the quotas say.
    pub(super) fn carry(&self, transfer: TransferId, owner: Owner, bytes: u64) {
        if self.is_on() {
            self.book().carry(transfer, self.parties(owner, None), bytes);
        }
    }

    /// What a transfer holds.
    pub(super) fn held(&self, transfer: TransferId) -> u64 {
        self.book().held(&transfer).unwrap_or(0)
    }

    /// A transfer was given up.
    pub(super) fn release(&self, transfer: TransferId) {
        self.book().release(&transfer);
    }

    /// While something is placed. Dropped after [`Ledger::placed`].
    pub(super) fn placing(&self) -> RwLockReadGuard<'_, ()> {
        self.placing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer has left so many bytes. `exact` says that it replaced nothing and left nothing out.
    pub(super) fn placed(&self, transfer: TransferId, bytes: u64, exact: bool) {
        self.book().settle(&transfer, bytes);
        if !exact {
            self.stale.store(true, Ordering::Relaxed);
        }
    }

    /// What is there and what is held, of the directory and of each user.
    pub(super) fn used(&self) -> Vec<(Account, Used)> {
        self.book().all().map(|(account, used)| (*account, used)).collect()
    }

    /// What one user has there and on its way.
    pub(super) fn used_by(&self, owner: Owner) -> Used {
        self.book().used(&Account::User(owner))
    }

    fn look_again(&self) -> Result<()> {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
                return Ok(());
            }
            *looked = Some(Instant::now());
        }
        Ok(self.recount()?)
    }

    /// Counts everything that is there, unless something is being placed at this moment.
    //= S5.27
    pub(super) fn recount(&self) -> Result<(), VaultError> {
        if !self.is_on() {
            return Ok(());
        }
        let Ok(_alone) = self.placing.try_write() else { return Ok(()) };
        let mut found = BTreeMap::new();
        let mut seen = HashSet::new();
        count(&self.root, None, 0, &mut seen, &mut |owner, bytes| {
            *found.entry(Account::Directory).or_default() += bytes;
            if let Some(owner) = owner {
                *found.entry(Account::User(owner)).or_default() += bytes;
            }
        })?;
        self.stale.store(false, Ordering::Relaxed);
        self.book().recount(&found);
        Ok(())
    }
}

impl Meter {
    /// So many bytes more are about to be written.
    pub(crate) fn grow(&self, more: u64) -> Result<()> {
        if self.ledger.is_on() {
            self.ledger.book().grow(&self.transfer, more)?;
        }
        Ok(())
    }

    /// Whose everything is that it brings, where that is to be marked.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.ledger.quotas.user.map(|_| self.owner)
    }
}

/// What everything in a directory counts.
pub(super) fn measure(dir: &Dir) -> Result<u64, VaultError> {
    let mut sum = 0_u64;
    count(dir, None, 1, &mut HashSet::new(), &mut |_, bytes| sum = sum.saturating_add(bytes))?;
    Ok(sum)
}

/// Tells of every entry below a directory, with its owner. A file with several names counts once in full, and as little as
/// an entry can for each further one.
//= S5.28
fn count(
    dir: &Dir,
    owner: Option<Owner>,
    depth: usize,
    seen: &mut HashSet<u64>,
    tell: &mut impl FnMut(Option<Owner>, u64),
) -> io::Result<()> {
    let device = dir.id()?.device;
    for name in dir.all_names()? {
        if depth == 0 && name.as_bytes().starts_with(OWN_PREFIX) {
            continue;
        }
        match dir.entry(&name)? {
            Some(Entry { is_directory: true, id, .. }) if id.device == device => {
                let Ok(inner) = dir.open_child(&name) else { continue };
                let owner = inner.marked();
                tell(owner, LEAST);
                if depth < MAX_DEPTH {
                    count(&inner, owner, depth + 1, seen, tell)?;
                }
            }
            Some(Entry { size: Some(size), id, has_others, .. }) => {
                let owner = dir.marked_in(&name);
                let is_new = !has_others || seen.insert(id.inode);
                tell(owner, if is_new { counted(size) } else { LEAST });
            }
            // A link belongs to whom its directory belongs to.
            Some(_) => tell(owner, LEAST),
            None => {}
        }
    }
    Ok(())
}

impl From<Exceeded<Account>> for FilesError {
    fn from(exceeded: Exceeded<Account>) -> Self {
        Self::Quota(exceeded)
    }
}
