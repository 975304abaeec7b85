//! What users and rooms may have in the vault, and how much the vault may have.
//!
//! Users and rooms are counted by what readers see (`quota::counted`); the vault by what it has, each content once. Nothing
//! of the counts is stored: they are made from what rooms and vault say when the first transfer comes, so they are what is
//! there after any crash. A transfer holds what it may bring from before it is announced until its parcel has its end. Spec:
//! S5.24, S5.74.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hikyaku_storage::vault::{Mark, Partial, Transfer, VaultError};
use hikyaku_wire::files::{CV_LEN, GROUP_LEN, Offer};
use hikyaku_wire::parcel::TransferId;
use tokio::sync::OnceCell;

use super::{FilesLimits, FilesServer, blocking};
use crate::drop_dir::{Account as InDirectory, DropDir};
use crate::error::Result;
use crate::quota::{Book, Party, Used, counted};
use crate::rooms::{Allowance, Counts, Holds, Owner, RoomKey, Rooms};
use crate::writer::Sink;

/// What a transfer without a size holds more at a time.
const STEP: u64 = 4 * 1024 * 1024;

/// Whose bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Account {
    User(Owner),
    Room(RoomKey),
    Vault,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User(_) => "your files in rooms (room_user_quota)",
            Self::Room(_) => "files in this room (room_quota)",
            Self::Vault => "this server's store of files (vault_quota)",
        })
    }
}

/// The counts.
#[derive(Default)]
pub(super) struct Quotas {
    counted: OnceCell<()>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Users and rooms.
    logical: Book<Account, TransferId>,
    /// The vault alone.
    physical: Book<Account, TransferId>,
}

impl Quotas {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A parcel is settled: its bytes are there. The vault knows what it has.
    pub(super) fn settle(&self, transfer: TransferId, bytes: u64) {
        let mut books = self.books();
        books.logical.settle(&transfer, counted(bytes));
        books.physical.release(&transfer);
    }

    /// A parcel was given up.
    pub(super) fn release(&self, transfer: TransferId) {
        let mut books = self.books();
        books.logical.release(&transfer);
        books.physical.release(&transfer);
    }

    /// A parcel has expired.
    pub(super) fn remove(&self, counts: &Counts) {
        let accounts = [Account::User(counts.owner), Account::Room(counts.room)];
        self.books().logical.remove(&accounts, counted(counts.bytes));
    }

    /// What is counted of an account.
    pub(super) fn used(&self, account: &Account) -> Used {
        self.books().logical.used(account)
    }
}

/// What everybody and everything has here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// What users have in rooms.
    pub users: BTreeMap<Owner, Used>,
    /// What rooms have.
    pub rooms: BTreeMap<RoomKey, Used>,
    /// What the vault has: each content once, with its hashes and with what is on its way.
    pub vault: Used,
    /// What lies in the drop directory, altogether and of each user, where that is counted.
    pub directory: Option<(Used, BTreeMap<Owner, Used>)>,
}

/// What content of some size takes in the vault.
fn physical(size: u64) -> u64 {
    size.saturating_add(size.div_ceil(GROUP_LEN).saturating_mul(CV_LEN))
}

fn parties(limits: &FilesLimits, own: Allowance, owner: Owner, room: RoomKey) -> Vec<Party<Account>> {
    let quota = Allowance::bound(own.rooms, limits.room_user_quota);
    vec![
        Party { account: Account::User(owner), quota },
        Party { account: Account::Room(room), quota: limits.room_quota },
    ]
}

fn vault_party(limits: &FilesLimits) -> Vec<Party<Account>> {
    vec![Party { account: Account::Vault, quota: limits.vault_quota }]
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// Counts everything, once.
    pub(super) async fn count(&self) -> Result<()> {
        self.shared.quotas.counted.get_or_try_init(|| self.count_all()).await.map(|_| ())
    }

    async fn count_all(&self) -> Result<()> {
        let (mut there, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.shared.rooms.contents(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.transfer);
            for Counts { owner, room, bytes } in page.iter().map(|content| content.counts) {
                for account in [Account::User(owner), Account::Room(room)] {
                    *there.entry(account).or_insert(0) += counted(bytes);
                }
            }
        }
        let vault = self.shared.vault.clone();
        let known = blocking(move || Ok(vault.transfers()?)).await?;
        let known: HashMap<Transfer, u64> =
            known.into_iter().map(|known| (known.transfer, known.verified)).collect();
        let mut open = Vec::new();
        for parcel in self.shared.rooms.open_parcels().await? {
            let own = self.shared.rooms.allowance(parcel.counts.owner).await?;
            open.push((parcel, own));
        }
        let (limits, mut books) = (&self.shared.limits, self.shared.quotas.books());
        books.logical.recount(&there);
        for (parcel, own) in open {
            let staged = known.get(&Transfer(parcel.transfer.0)).copied().unwrap_or(0);
            let Counts { owner, room, bytes } = parcel.counts;
            let bytes = bytes.max(staged);
            books.logical.carry(parcel.transfer, parties(limits, own, owner, room), counted(bytes));
            books.physical.carry(parcel.transfer, vault_party(limits), physical(bytes));
        }
        Ok(())
    }

    /// Holds what an offer may bring, or says whose quota it would exceed. What goes on holds what it has held.
    //= S5.74
    pub(super) async fn hold(&self, context: &C, offer: &Offer, room: &str) -> Result<()> {
        self.count().await?;
        let said = self.shared.rooms.holds(offer.transfer).await?;
        if said.is_some_and(|said| said != Holds::Open) {
            // It is over, and learns so.
            return Ok(());
        }
        let (owner, room) = (self.shared.rooms.owner(context), self.shared.rooms.room(context, room).await?);
        let own = self.shared.rooms.allowance(owner).await?;
        let stored = BTreeMap::from([(Account::Vault, self.shared.vault.stored()?)]);
        let (limits, mut books) = (&self.shared.limits, self.shared.quotas.books());
        if books.logical.held(&offer.transfer).is_some() {
            return Ok(());
        }
        let size = offer.size.unwrap_or(0);
        books.physical.recount(&stored);
        let held = books.logical.hold(offer.transfer, parties(limits, own, owner, room), counted(size));
        let held =
            held.and_then(|()| books.physical.hold(offer.transfer, vault_party(limits), physical(size)));
        held.map_err(|exceeded| {
            books.logical.release(&offer.transfer);
            VaultError::Quota(exceeded.to_string()).into()
        })
    }

    /// What one user has in rooms, and what one room has: settled, and on its way.
    ///
    /// # Errors
    /// Rooms or vault cannot be read.
    pub async fn used(&self, owner: Owner, room: RoomKey) -> Result<(Used, Used)> {
        self.count().await?;
        let quotas = &self.shared.quotas;
        Ok((quotas.used(&Account::User(owner)), quotas.used(&Account::Room(room))))
    }

    /// What one user has in rooms, and in the drop directory where that is counted: settled, and on its way.
    ///
    /// # Errors
    /// Rooms or vault cannot be read.
    pub async fn used_by(&self, owner: Owner) -> Result<(Used, Option<Used>)> {
        self.count().await?;
        let directory = self.shared.drop_dir.as_ref().filter(|dir| dir.is_counted());
        let directory = directory.map(|dir| dir.used_by(owner));
        Ok((self.shared.quotas.used(&Account::User(owner)), directory))
    }

    /// What everybody and everything has here: settled, and on its way.
    ///
    /// # Errors
    /// Rooms or vault cannot be read.
    pub async fn uses(&self) -> Result<Uses> {
        self.count().await?;
        let mut uses = Uses::default();
        let stored = self.shared.vault.stored()?;
        {
            let books = self.shared.quotas.books();
            for (account, used) in books.logical.all() {
                match account {
                    Account::User(owner) => drop(uses.users.insert(*owner, used)),
                    Account::Room(room) => drop(uses.rooms.insert(*room, used)),
                    Account::Vault => {}
                }
            }
            uses.vault = Used { there: stored, held: books.physical.used(&Account::Vault).held };
        }
        let Some(dir) = self.shared.drop_dir.clone().filter(DropDir::is_counted) else { return Ok(uses) };
        let (mut all, mut users) = (Used::default(), BTreeMap::new());
        for (account, used) in blocking(move || Ok(dir.used())).await? {
            match account {
                InDirectory::Directory => all = used,
                InDirectory::User(owner) => drop(users.insert(owner, used)),
            }
        }
        uses.directory = Some((all, users));
        Ok(uses)
    }

    /// The bounds that hold for everybody in the drop directory.
    pub fn directory_quotas(&self) -> Option<crate::drop_dir::Quotas> {
        self.shared.drop_dir.as_ref().map(DropDir::quotas)
    }

    /// The bounds of this server.
    pub fn limits(&self) -> &FilesLimits {
        &self.shared.limits
    }

    /// A partial object whose bytes are counted before they are written.
    pub(super) fn counting(&self, transfer: TransferId, partial: Box<dyn Partial>) -> Counting<C, R> {
        Counting { server: self.clone(), transfer, partial }
    }
}

/// Counts the bytes of a transfer while they come: of one that has said its size, nothing is left to be counted.
pub(super) struct Counting<C, R> {
    server: FilesServer<C, R>,
    transfer: TransferId,
    pub(super) partial: Box<dyn Partial>,
}

impl<C, R> Counting<C, R> {
    //= S5.74
    fn grow(&self, to: u64) -> Result<(), VaultError> {
        let shared = &self.server.shared;
        let mut books = shared.quotas.books();
        for physically in [false, true] {
            let book = if physically { &mut books.physical } else { &mut books.logical };
            let to = if physically { physical(to) } else { to };
            let Some(more) = book.held(&self.transfer).and_then(|held| to.checked_sub(held)) else {
                continue;
            };
            if more == 0 || book.grow(&self.transfer, more.max(STEP)).is_ok() {
                continue;
            }
            // Near the end, what is needed and no more.
            book.grow(&self.transfer, more).map_err(|exceeded| VaultError::Quota(exceeded.to_string()))?;
        }
        Ok(())
    }
}

impl<C, R> Sink for Counting<C, R> {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()> {
        self.grow(offset.saturating_add(data.len() as u64))?;
        self.partial.write(offset, data, tree_offset, tree)
    }

    fn sync(&mut self, mark: Mark) -> Result<()> {
        self.partial.sync(mark)
    }
}
