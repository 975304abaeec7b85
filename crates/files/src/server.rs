//! The server side of `files/1`: what a peer may put and get, into rooms and into the drop directory.
//!
//! Order in a room: object durable → `parcel-end` durable → receipt; into a directory: file and name durable →
//! receipt. A transfer that breaks off stays, and goes on when it is offered again; [`FilesServer::sweep`] ends those
//! that never do. Spec: chapter 5.

mod active;
mod get;
mod known;
mod live;
mod mend;
mod older;
pub(crate) mod passages;
pub(crate) mod put;
mod quotas;
mod sweep;
mod unbroken;
mod underway;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::{ErrorCode, Exchange, Failure};
use hikyaku_storage::vault::{Sealed, Transfer, Vault, VaultError};
use hikyaku_wire::files::mending::MEND;
use hikyaku_wire::files::{Arrival, GET, PUT};
use hikyaku_wire::parcel::{EndStatus, EventRef, ParcelEnd, Root, TransferId};
use tokio::sync::Semaphore;

use crate::BULK_PRIORITY;
use crate::bundle::{MAX_LAST, last};
use crate::drop_dir::DropDir;
use crate::error::{FilesError, Result};
use crate::passage::End;
use crate::rooms::Rooms;
use active::Active;
use known::Decayed;
use older::Hearing;
use passages::Passages;
use quotas::Quotas;
use unbroken::to_its_end;

pub use quotas::Uses;
pub use sweep::Swept;
pub use underway::Underway;

/// The bounds of a files server.
#[derive(Clone, Copy, Debug)]
pub struct FilesLimits {
    /// The most files received at once.
    pub max_puts: usize,
    /// The most files sent at once.
    pub max_gets: usize,
    /// The most older versions that are read at once to tell senders what of them they need not send, one for each user;
    /// nobody waits for his turn.
    pub max_indexed: usize,
    /// The largest file taken, in bytes.
    pub max_size: u64,
    /// The most unfinished transfers into the vault that are kept to be resumed.
    pub max_partials: usize,
    /// How long an unfinished transfer is kept.
    pub expiry: Duration,
    /// How long a transfer waits for room on a disk that gets full under it.
    pub pause_timeout: Duration,
    /// How long who mends something may send less than 1,000 bytes a second, beside the time that it takes him to read a tree.
    pub mend_timeout: Duration,
    /// How many bytes one user may have in rooms: as many as readers see, whatever the disk makes of them.
    pub room_user_quota: Option<u64>,
    /// How many bytes one room may have, counted in the same way.
    pub room_quota: Option<u64>,
    /// How many bytes the vault may have: each content counts once, with its hashes and with what is on its way.
    pub vault_quota: Option<u64>,
}

impl Default for FilesLimits {
    fn default() -> Self {
        Self {
            max_puts: 64,
            max_gets: 256,
            max_indexed: 2,
            max_size: hikyaku_wire::cbor::MAX_INTEGER,
            max_partials: 1024,
            expiry: Duration::from_secs(7 * 24 * 3600),
            pause_timeout: crate::pause::PATIENCE,
            mend_timeout: Duration::from_secs(60),
            room_user_quota: None,
            room_quota: None,
            vault_quota: None,
        }
    }
}

/// Answers `files/1`. Clones share everything; mount one with [`FilesServer::handle`].
pub struct FilesServer<C, R> {
    shared: Arc<Shared<R>>,
    context: PhantomData<fn(&C)>,
}

struct Shared<R> {
    rooms: R,
    vault: Arc<dyn Vault>,
    drop_dir: Option<DropDir>,
    limits: FilesLimits,
    active: Active,
    passages: Passages,
    underway: Underway,
    gets: Arc<Semaphore>,
    /// Who may be told of an older version.
    hearing: Hearing,
    /// Contents that were found to have decayed since the server began; they are not named as known.
    decayed: Decayed,
    quotas: Quotas,
}

impl<C, R> Clone for FilesServer<C, R> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), context: PhantomData }
    }
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// A server over these rooms, this vault and, if there is one, this drop directory.
    pub fn new(rooms: R, vault: Arc<dyn Vault>, drop_dir: Option<DropDir>, limits: FilesLimits) -> Self {
        let passages = Passages::default();
        let (active, gets) = (Active::new(limits.max_puts), Arc::new(Semaphore::new(limits.max_gets)));
        let hearing = Hearing::new(limits.max_indexed);
        let (decayed, quotas) = (Decayed::default(), Quotas::default());
        let underway = Underway::new(passages.clone());
        let shared = Shared {
            rooms,
            vault,
            drop_dir,
            limits,
            active,
            passages,
            underway,
            gets,
            hearing,
            decayed,
            quotas,
        };
        Self { shared: Arc::new(shared), context: PhantomData }
    }

    /// Answers one exchange.
    pub async fn handle(self, mut exchange: Exchange<C>) -> hikyaku::Result<()> {
        exchange.set_priority(BULK_PRIORITY);
        let done = match exchange.method() {
            PUT => to_its_end(|unwanted| async move { self.put(exchange, unwanted).await }).await,
            GET => to_its_end(|unwanted| async move { self.get(exchange, unwanted).await }).await,
            MEND => to_its_end(|unwanted| async move { self.mend(exchange, unwanted).await }).await,
            _ => {
                let methods = "files/1 has the methods put, get and mend";
                Err(Failure::new(ErrorCode::UNKNOWN_METHOD, methods).into())
            }
        };
        Ok(done?)
    }

    /// Whether this transfer is being received at this moment.
    pub fn is_receiving(&self, transfer: TransferId) -> bool {
        self.shared.active.contains(transfer)
    }

    /// The parcels that are being sent into rooms at this moment.
    pub fn underway(&self) -> &Underway {
        &self.shared.underway
    }

    /// How far a parcel without an end is, whether somebody sends it or not.
    pub async fn arrival(&self, transfer: TransferId) -> Result<Arrival, Failure> {
        if let Some(arrival) = self.shared.underway.arrival(transfer) {
            return Ok(arrival);
        }
        // Between the event and its first byte, nobody writes it yet.
        let (vault, sending) = (self.shared.vault.clone(), self.shared.underway.has(transfer));
        blocking(move || match vault.peek(Transfer(transfer.0)) {
            Ok(peeked) => Ok(Arrival { bytes: peeked.verified, sending }),
            // Announced and not begun, or just ended.
            Err(VaultError::NotFound) => Ok(Arrival { bytes: 0, sending }),
            Err(error) => Err(error.into()),
        })
        .await
        .map_err(FilesError::into_failure)
    }

    /// Ends a parcel, unless it has ended: durably in its room first, then for everybody who reads it. Returns how it has.
    //= S5.82
    async fn conclude(
        &self,
        transfer: TransferId,
        event: &EventRef,
        sealed: Option<Sealed>,
    ) -> Result<ParcelEnd> {
        let entries = match sealed {
            Some(sealed) => self.entries(sealed).await?,
            None => None,
        };
        let end = ParcelEnd {
            parcel: event.seq,
            status: if sealed.is_some() { EndStatus::Settled } else { EndStatus::Aborted },
            root: sealed.map(|sealed| Root(sealed.root.0)),
            bytes: sealed.map(|sealed| sealed.size),
            entries,
        };
        let end = self.shared.rooms.conclude(event, &end).await?;
        let ended = match end {
            ParcelEnd { status: EndStatus::Settled, root: Some(root), bytes: Some(size), .. } => {
                End::Settled(root, size)
            }
            _ => End::Aborted,
        };
        match ended {
            End::Settled(_, size) => self.shared.quotas.settle(transfer, size),
            End::Aborted => self.shared.quotas.release(transfer),
        }
        self.shared.passages.end(transfer, ended);
        Ok(end)
    }

    /// How many entries a bundle says that it has. Of a file it may be anything: rooms know which it is.
    async fn entries(&self, sealed: Sealed) -> Result<Option<u64>> {
        let vault = self.shared.vault.clone();
        blocking(move || {
            let Ok(object) = vault.open(sealed.root) else { return Ok(None) };
            let mut tail = [0; MAX_LAST];
            let from = sealed.size.saturating_sub(MAX_LAST as u64);
            let read = object.read(from, &mut tail).unwrap_or(0);
            Ok(last(tail.get(..read).unwrap_or_default()).map(|done| done.entries))
        })
        .await
    }

    /// Forgets a transfer into the vault, unless somebody writes it.
    async fn discard(&self, transfer: TransferId) -> Result<()> {
        let vault = self.shared.vault.clone();
        blocking(move || match vault.discard(Transfer(transfer.0)) {
            Ok(()) | Err(VaultError::Busy) => Ok(()),
            Err(error) => Err(error.into()),
        })
        .await
    }
}

/// Runs disk work where waiting is allowed.
#[cfg(not(test))]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// Tests of this crate make the calls of one thread fail: their disk work stays on it.
#[cfg(test)]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    work()
}

/// A thread that panicked is a bug of ours; the exchange fails and the server goes on.
pub(crate) fn joined<T>(result: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a disk thread ended unexpectedly");
        Err(Failure::new(ErrorCode::INTERNAL, "the transfer failed inside the peer").into())
    })
}
