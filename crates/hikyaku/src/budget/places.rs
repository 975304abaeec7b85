//! How many exchanges a peer may have open at once: few at first, more when it has that many.
//!
//! A stream costs something before it is an exchange, and when it was refused: half a kilobyte in QMux until the peer has taken
//! that, and two entries in quinn's tables for each that may be opened, whether it is or not. For 1,024 of them, that is
//! far more than the rest of an idle connection.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Budget;

/// Exchanges that a new member may have open, and how that grows when half of them are.
const FIRST: u64 = 32;
const GROWTH: u64 = 4;
/// What a stream costs that may be opened, or that was and is no exchange.
const STREAM: u64 = 512;

#[derive(Debug)]
pub(super) struct Places {
    /// What it has without asking.
    first: u64,
    most: u64,
    now: AtomicU64,
}

impl Places {
    pub(super) fn new(most: u64) -> Self {
        let first = FIRST.min(most);
        Self { first, most, now: AtomicU64::new(first) }
    }

    /// Of a peer that may have the most from the beginning.
    pub(super) fn all(most: u64) -> Self {
        Self { first: most, most, now: AtomicU64::new(most) }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// What was taken from the budget for it.
    pub(super) fn taken(&self) -> u64 {
        (self.now() - self.first).saturating_mul(STREAM)
    }

    /// So many are open now; how many may be from now on, if it is time for more and there is room.
    pub(super) fn used(&self, budget: &Budget, open: u64) -> Option<u64> {
        let now = self.now();
        if now >= self.most || open < now.div_ceil(2) {
            return None;
        }
        let wanted = now.saturating_mul(GROWTH).min(self.most);
        let cost = (wanted - now).saturating_mul(STREAM);
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
