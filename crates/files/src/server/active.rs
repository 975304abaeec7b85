//! Which transfers are being received now, and by whom.
//!
//! A sender whose connection broke comes back while the server still believes in the old connection. The newcomer wins:
//! the old one is told to stop, its thread leaves a mark, and the new one goes on from there. Spec: S5.17.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::parcel::TransferId;
use tokio::sync::{Notify, watch};

use crate::error::{FilesError, Result};
use crate::rooms::Owner;

/// How long a newcomer waits for the old one's thread to leave its mark.
const HANDOVER: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Active {
    slots: Arc<Mutex<HashMap<TransferId, Slot>>>,
    max: usize,
}

struct Slot {
    /// Who receives it; `None` while the server itself puts it in order.
    owner: Option<Owner>,
    stop: Arc<Notify>,
    gone: watch::Receiver<()>,
}

/// Held as long as a transfer is being received: by the thread that writes it, and until its end is written.
pub(super) struct Guard {
    active: Active,
    transfer: TransferId,
    /// Says that this transfer is to stop.
    pub(super) stop: Arc<Notify>,
    _gone: watch::Sender<()>,
}

impl Active {
    pub(super) fn new(max: usize) -> Self {
        Self { slots: Arc::default(), max }
    }

    pub(super) fn contains(&self, transfer: TransferId) -> bool {
        self.lock().contains_key(&transfer)
    }

    /// Takes a transfer, over from its owner's other connection if need be.
    //= S5.17
    pub(super) async fn take(&self, transfer: TransferId, owner: Owner) -> Result<Guard> {
        let deadline = tokio::time::Instant::now() + HANDOVER;
        loop {
            let mut gone = match self.try_take(transfer, owner)? {
                Ok(guard) => return Ok(guard),
                Err(gone) => gone,
            };
            // An error means that the guard was dropped: that is what is waited for.
            if tokio::time::timeout_at(deadline, gone.changed()).await.is_err() {
                return Err(VaultError::Busy.into());
            }
        }
    }

    /// Takes a transfer that nobody receives, for the server itself: whoever offers it meanwhile waits.
    pub(super) fn hold(&self, transfer: TransferId) -> Option<Guard> {
        let mut slots = self.lock();
        (!slots.contains_key(&transfer)).then(|| self.insert(&mut slots, transfer, None))
    }

    fn try_take(&self, transfer: TransferId, owner: Owner) -> Result<Result<Guard, watch::Receiver<()>>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(&transfer) {
            if slot.owner.is_some_and(|other| other != owner) {
                return Err(FilesError::Taken);
            }
            slot.stop.notify_one();
            return Ok(Err(slot.gone.clone()));
        }
        if slots.len() >= self.max {
            return Err(FilesError::Limit { name: "max_puts", limit: self.max as u64 });
        }
        Ok(Ok(self.insert(&mut slots, transfer, Some(owner))))
    }

    fn insert(
        &self,
        slots: &mut HashMap<TransferId, Slot>,
        transfer: TransferId,
        owner: Option<Owner>,
    ) -> Guard {
        let (sender, gone) = watch::channel(());
        let stop = Arc::new(Notify::new());
        slots.insert(transfer, Slot { owner, stop: stop.clone(), gone });
        Guard { active: self.clone(), transfer, stop, _gone: sender }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TransferId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.active.lock().remove(&self.transfer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransferId = TransferId([1; 16]);

    //= S5.17 (test)
    #[tokio::test]
    async fn a_returning_sender_takes_over_from_its_old_connection() {
        let active = Active::new(2);
        let old = active.take(ID, [1; 16]).await.unwrap();
        let stop = old.stop.clone();
        let thread = tokio::spawn(async move {
            stop.notified().await;
            drop(old);
        });
        active.take(ID, [1; 16]).await.unwrap();
        thread.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_offers_what_is_being_put_in_order_waits() {
        let active = Active::new(1);
        let held = active.hold(ID).unwrap();
        assert!(active.hold(ID).is_none());
        let taking = active.clone();
        let newcomer = tokio::spawn(async move { taking.take(ID, [1; 16]).await });
        tokio::task::yield_now().await;
        drop(held);
        let guard = newcomer.await.unwrap().unwrap();
        assert!(active.hold(ID).is_none());
        drop(guard);
        active.hold(ID).unwrap();
    }

    #[tokio::test]
    async fn nobody_else_takes_a_transfer_and_the_number_is_bounded() {
        let active = Active::new(1);
        let guard = active.take(ID, [1; 16]).await.unwrap();
        assert!(matches!(active.take(ID, [2; 16]).await, Err(FilesError::Taken)));
        let full = active.take(TransferId([2; 16]), [1; 16]).await;
        assert!(matches!(full, Err(FilesError::Limit { name: "max_puts", limit: 1 })));
        assert!(active.contains(ID));
        drop(guard);
        assert!(!active.contains(ID));
        active.take(TransferId([2; 16]), [1; 16]).await.unwrap();
    }
}
