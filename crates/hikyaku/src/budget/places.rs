//! How many exchanges a peer may have open at once: few at first, more when it opens them.
//!
//! quinn keeps two entries for each stream that a peer may open, whether it does or not: 1,024 of them cost 70 KB for
//! every idle connection, ten times as much as the rest of its session. In QMux a stream costs nothing before it is opened.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Budget;

/// Exchanges that a new member may have open where each costs something, and how that grows when half of them are.
pub(super) const FIRST: u64 = 32;
const GROWTH: u64 = 4;
/// What a stream costs that may be opened.
const PLACE: u64 = 128;

#[derive(Debug)]
pub(super) struct Places {
    /// What it has without asking.
    first: u64,
    most: u64,
    now: AtomicU64,
}

impl Places {
    pub(super) fn new(first: u64, most: u64) -> Self {
        let first = first.min(most);
        Self { first, most, now: AtomicU64::new(first) }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// What was taken from the budget for it.
    pub(super) fn taken(&self) -> u64 {
        (self.now() - self.first).saturating_mul(PLACE)
    }

    /// So many are open now; how many may be from now on, if it is time for more and there is room.
    pub(super) fn used(&self, budget: &Budget, open: u64) -> Option<u64> {
        let now = self.now();
        if now >= self.most || open < now.div_ceil(2) {
            return None;
        }
        let wanted = now.saturating_mul(GROWTH).min(self.most);
        let cost = (wanted - now).saturating_mul(PLACE);
        if !budget.take(cost, |_| true) {
            return None;
        }
        // Somebody else may have been quicker.
        let wider = self.now.compare_exchange(now, wanted, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !wider {
            budget.give(cost);
        }
        wider.then_some(wanted)
    }
}
