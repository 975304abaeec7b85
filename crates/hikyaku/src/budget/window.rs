//! One window of a connection: how many bytes may be on their way in one direction, and that it grows when it is used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Budget, FAIR};

/// Windows that are used up within [`QUICK`] grow by this.
const GROWTH: u64 = 4;
const QUICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Window {
    /// What it has without asking.
    first: u64,
    most: u64,
    size: AtomicU64,
    /// Bytes since `since`; a window's worth of them within [`QUICK`] shows that a larger one would be used.
    used: AtomicU64,
    since: Mutex<Instant>,
}

impl Window {
    pub(super) fn new(first: u64, most: u64, now: Instant) -> Self {
        let (size, used) = (AtomicU64::new(first), AtomicU64::new(0));
        Self { first, most: most.max(first), size, used, since: Mutex::new(now) }
    }

    /// What was taken from the budget for it.
    pub(super) fn taken(&self) -> u64 {
        self.size() - self.first
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// All that there may be while half of the budget is left; then it stays what it is, until it is used.
    pub(super) fn raise(&self, budget: &Budget) -> u64 {
        let half = budget.limit / 2;
        self.widen(budget, self.most, |left| left >= half);
        self.size()
    }

    /// Bytes have gone through; the larger window, if it is time for one.
    pub(super) fn used_up(&self, budget: &Budget, bytes: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        let size = self.size();
        if size == 0 || size >= self.most {
            return None;
        }
        if self.used.fetch_add(bytes, Ordering::AcqRel) + bytes < size {
            return None;
        }
        let now = now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.used.store(0, Ordering::Release);
        let quick = now.saturating_duration_since(*since) <= QUICK;
        *since = now;
        // A window that is larger already was made so by somebody else just now.
        if !quick || self.size() != size {
            return None;
        }
        // What keeps `wanted ≤ left / FAIR` when that much is left afterwards.
        let fair = budget.free().saturating_sub(FAIR * size) / (FAIR + 1);
        let wanted = size.saturating_mul(GROWTH).min(self.most).min(size + fair);
        self.widen(budget, wanted, |left| wanted <= left / FAIR).then_some(wanted)
    }

    /// Makes the window `target` bytes large, if the budget has room.
    fn widen(&self, budget: &Budget, target: u64, allowed: impl Fn(u64) -> bool) -> bool {
        let size = self.size();
        let wider = target > size && budget.take(target - size, allowed);
        if wider {
            self.size.store(target, Ordering::Release);
        }
        wider
    }
}
