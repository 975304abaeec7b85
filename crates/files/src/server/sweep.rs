//! Putting rooms and vault in order, at the start and now and then: what a crash, an abandoned transfer or the end of a
//! parcel's time has left.
//!
//! The rooms are right and the vault follows them: a reference stays exactly while the room of its transfer says so
//! ([`Holds::keeps`]), and only then is collected. Each transfer is held while it is looked at, so that nobody receives it
//! meanwhile. Spec: S5.38, S5.70, S5.71.

use std::collections::HashSet;

use hikyaku_storage::vault::{Collected, ObjectId, Reference, Remembered, Transfer, VaultError};
use hikyaku_wire::parcel::{Root, TransferId};

use super::{FilesServer, blocking};
use crate::error::Result;
use crate::rooms::{Content, Holds, OpenParcel, Rooms};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Parcels that were whole and got their end now.
    pub settled: usize,
    /// Parcels that were given up.
    pub aborted: usize,
    /// Parcels whose time was over.
    pub expired: usize,
    /// References that no room stands behind.
    pub released: usize,
    /// References that a room stands behind and the vault did not have.
    pub restored: usize,
    /// Settled parcels whose content the vault does not have.
    pub lost: usize,
    /// Transfers into the drop directory that were forgotten.
    pub dropped: usize,
    /// Objects that nobody referenced.
    pub collected: Collected,
}

/// References that the vault has.
type Referenced = HashSet<(Root, TransferId)>;

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// Puts everything in order: run it at the start and every hour or so.
    ///
    /// A parcel that is whole gets its end; one whose sender stayed away too long is aborted, one whose time is over
    /// expires; leftovers go, and then the objects that nobody references.
    pub async fn sweep(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        self.count().await?;
        self.expire(&mut swept).await?;
        for parcel in self.shared.rooms.open_parcels().await? {
            self.sweep_parcel(&parcel, &mut swept).await?;
        }
        self.sweep_transfers().await?;
        let referenced = self.sweep_references(&mut swept).await?;
        self.restore(&referenced, &mut swept).await?;
        let (vault, drop_dir, expiry) =
            (self.shared.vault.clone(), self.shared.drop_dir.clone(), self.shared.limits.expiry);
        (swept.collected, swept.dropped) = blocking(move || {
            let dropped = drop_dir.map_or(Ok(0), |dir| dir.sweep(expiry))?;
            Ok((vault.collect()?, dropped))
        })
        .await?;
        Ok(swept)
    }

    /// Lets go of what parcels kept whose time is over: the room says so first.
    //= S5.71
    async fn expire(&self, swept: &mut Swept) -> Result<()> {
        loop {
            let expired = self.shared.rooms.expire().await?;
            if expired.is_empty() {
                return Ok(());
            }
            swept.expired += expired.len();
            // Counted first, all of them: they are named once, and what the vault does not let go of now is found again.
            expired.iter().for_each(|Content { counts, .. }| self.shared.quotas.remove(counts));
            for Content { transfer, root, .. } in expired {
                self.release(root, transfer).await?;
            }
        }
    }

    /// Ends a parcel that needs no more of its sender, or has waited too long for it.
    //= S5.38
    async fn sweep_parcel(&self, parcel: &OpenParcel, swept: &mut Swept) -> Result<()> {
        let Some(_held) = self.shared.active.hold(parcel.transfer) else { return Ok(()) };
        match self.remembered(parcel.transfer).await? {
            Some(Remembered { sealed: Some(sealed), .. }) => {
                self.conclude(parcel.transfer, &parcel.event, Some(sealed)).await?;
                swept.settled += 1;
            }
            Some(found) if found.idle < self.shared.limits.expiry => return Ok(()),
            _ => {
                self.conclude(parcel.transfer, &parcel.event, None).await?;
                swept.aborted += 1;
            }
        }
        self.discard(parcel.transfer).await
    }

    /// Forgets transfers whose parcels have their end, or never got a beginning.
    async fn sweep_transfers(&self) -> Result<()> {
        let vault = self.shared.vault.clone();
        let known = blocking(move || Ok(vault.transfers()?)).await?;
        for transfer in known.into_iter().map(|known| TransferId(known.transfer.0)) {
            let Some(_held) = self.shared.active.hold(transfer) else { continue };
            if self.shared.rooms.holds(transfer).await? != Some(Holds::Open) {
                self.discard(transfer).await?;
            }
        }
        Ok(())
    }

    /// Lets go of every reference that no room stands behind, and tells the others.
    //= S5.70
    async fn sweep_references(&self, swept: &mut Swept) -> Result<Referenced> {
        let vault = self.shared.vault.clone();
        let roots = blocking(move || Ok(vault.roots()?)).await?;
        let mut referenced = Referenced::new();
        for root in roots {
            let vault = self.shared.vault.clone();
            let references = blocking(move || Ok(vault.references(root)?)).await?;
            for Reference(id) in references {
                let (transfer, root) = (TransferId(id), Root(root.0));
                let held = self.shared.active.hold(transfer);
                // Whoever is being received has a parcel without an end.
                if held.is_none() || Holds::keeps(self.shared.rooms.holds(transfer).await?, root) {
                    referenced.insert((root, transfer));
                } else {
                    self.release(root, transfer).await?;
                    swept.released += 1;
                }
            }
        }
        Ok(referenced)
    }

    /// Gives settled parcels the references that they should have: after a part of the vault was lost, or brought back.
    async fn restore(&self, referenced: &Referenced, swept: &mut Swept) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.shared.rooms.contents(after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.transfer);
            for Content { transfer, root, .. } in page {
                if referenced.contains(&(root, transfer)) {
                    continue;
                }
                let vault = self.shared.vault.clone();
                let reference =
                    blocking(move || match vault.reference(ObjectId(root.0), Reference(transfer.0)) {
                        Err(VaultError::NotFound) => Ok(false),
                        done => Ok(done.map(|()| true)?),
                    });
                if reference.await? {
                    // It may have been settled since the vault was looked at; then this changed nothing.
                    swept.restored += 1;
                } else if Holds::keeps(self.shared.rooms.holds(transfer).await?, root) {
                    tracing::error!(%root, %transfer, "the content of a parcel is not in the vault");
                    swept.lost += 1;
                }
            }
        }
    }

    async fn remembered(&self, transfer: TransferId) -> Result<Option<Remembered>> {
        let vault = self.shared.vault.clone();
        blocking(move || Ok(vault.transfer(Transfer(transfer.0))?)).await
    }

    async fn release(&self, root: Root, transfer: TransferId) -> Result<()> {
        let vault = self.shared.vault.clone();
        blocking(move || Ok(vault.release(ObjectId(root.0), Reference(transfer.0))?)).await
    }
}

#[cfg(test)]
mod model;
