//! Parcels that are read while they are written: one [`Passage`] for each that somebody writes or waits for.
//!
//! Whoever writes holds a [`Writing`], readers hold a [`Waiting`]; a passage is forgotten with the last of them, and at
//! its end. So there are never more than `max_puts` + `max_gets`. Spec: section 5.8.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_wire::files::Arrival;
use hikyaku_wire::parcel::TransferId;
use tokio::sync::watch;

use crate::passage::{End, Passage};

#[derive(Clone, Default)]
pub(super) struct Passages(Arc<Mutex<HashMap<TransferId, watch::Sender<Passage>>>>);

/// Held by the thread that writes a parcel.
pub(crate) struct Writing {
    passages: Passages,
    transfer: TransferId,
    passage: watch::Sender<Passage>,
}

/// Held by whoever reads a parcel on its way.
pub(super) struct Waiting {
    passages: Passages,
    transfer: TransferId,
    pub(super) passage: watch::Receiver<Passage>,
}

impl Passages {
    /// Somebody begins to write, after `from`.
    pub(super) fn write(&self, transfer: TransferId, from: u64) -> Writing {
        let passage = self.lock().entry(transfer).or_default().clone();
        passage.send_modify(|passage| passage.begin(from));
        Writing { passages: self.clone(), transfer, passage }
    }

    /// Somebody reads. From here on nothing of it is missed, nor its end.
    pub(super) fn wait(&self, transfer: TransferId) -> Waiting {
        let passage = self.lock().entry(transfer).or_default().subscribe();
        Waiting { passages: self.clone(), transfer, passage }
    }

    /// What the store knows of a parcel that nobody has written since the server began.
    pub(super) fn rest(&self, transfer: TransferId, verified: u64) {
        if let Some(passage) = self.lock().get(&transfer) {
            passage.send_modify(|passage| passage.rest(verified));
        }
    }

    /// How far a parcel is, where somebody writes it or waits for it and that is known.
    pub(super) fn arrival(&self, transfer: TransferId) -> Option<Arrival> {
        let all = self.lock();
        let passage = all.get(&transfer)?.borrow();
        passage.is_known().then(|| passage.arrival())
    }

    /// It has its end, durably: everybody who reads is told, and it is forgotten.
    //= S5.83
    pub(super) fn end(&self, transfer: TransferId, end: End) {
        if let Some(passage) = self.lock().remove(&transfer) {
            passage.send_modify(|passage| passage.end(end));
        }
    }

    /// Forgets a passage that nobody needs.
    fn tidy(&self, transfer: TransferId, readers: usize) {
        let mut all = self.lock();
        let needless = |passage: &watch::Sender<Passage>| {
            passage.receiver_count() <= readers && !passage.borrow().is_writing()
        };
        if all.get(&transfer).is_some_and(needless) {
            all.remove(&transfer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TransferId, watch::Sender<Passage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    /// Everything before `offset` is written and verified.
    pub(crate) fn reach(&self, offset: u64) {
        self.passage.send_modify(|passage| passage.reach(offset));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.passage.send_modify(Passage::stop);
        self.passages.tidy(self.transfer, 0);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // This one counts still.
        self.passages.tidy(self.transfer, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransferId = TransferId([1; 16]);

    #[test]
    fn a_passage_is_kept_as_long_as_somebody_writes_or_reads_and_no_longer() {
        let passages = Passages::default();
        let count = || passages.lock().len();
        let (writing, waiting) = (passages.write(ID, 0), passages.wait(ID));
        writing.reach(10);
        drop(writing);
        assert_eq!(waiting.passage.borrow().arrival().bytes, 10, "what was reached stays known to readers");
        let again = passages.write(ID, 5);
        assert_eq!(waiting.passage.borrow().arrival().bytes, 5);
        drop(waiting);
        assert_eq!(count(), 1);
        drop(again);
        assert_eq!(count(), 0);
        drop(passages.wait(ID));
        assert_eq!(count(), 0);
    }

    //= S5.83 (test)
    #[test]
    fn the_end_reaches_every_reader_and_the_passage_is_forgotten() {
        let passages = Passages::default();
        let (one, other) = (passages.wait(ID), passages.wait(ID));
        passages.end(ID, End::Aborted);
        assert!(one.passage.borrow().has_ended() && other.passage.borrow().has_ended());
        assert!(passages.lock().is_empty());
    }
}
