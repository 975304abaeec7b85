//! How much memory all peers together may make this process hold for them. Pure: counters and the time, nothing else.
//!
//! Two kinds of bytes are counted. *Credit*: what a peer may send before it is read; once granted it cannot be taken
//! back. *Messages*: what has been read of messages that are not complete, or that a handler has got and not yet gone on
//! from; the credit for these bytes has been given back already. Withholding it instead would be no way out: an honest sender
//! takes turns between its streams, so its credit would end in the middle of all of its messages.
//!
//! The budget is never exceeded, and no connection gets all of it: it may have an [eighth](FAIR) of what would be left
//! free. So whoever comes last still gets something while others hold all they can, and the more of it is used, the less anybody gets
//! (dynamic thresholds, Choudhury and Hahne 1998). Where messages find no room, their exchange is refused with BUSY or
//! LIMIT; where credit finds none, the connection goes on with less. Spec: chapter 3.8; ARCHITECTURE.md says why so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hikyaku_wire::codes::ErrorCode;

use crate::error::Failure;
use crate::limits::{Limits, unauthorised};

/// A connection may have one part in so many of what is left free.
const FAIR: u64 = 8;
/// The credit of members when half of the budget is gone; what they use up within [`QUICK`] grows by [`GROWTH`].
const SMALL_WINDOW: u64 = 32 * 1024;
const GROWTH: u64 = 4;
const QUICK: Duration = Duration::from_secs(1);
/// Messages up to this size are not counted: the number of exchanges bounds them.
const SMALL_MESSAGE: u64 = 4 * 1024;
/// Room that an exchange keeps between its messages, once it needed it.
const KEPT: u64 = 64 * 1024;

/// Bytes for all connections of one server, or of one client's connection.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { limit: limits.max_memory, used: AtomicU64::new(0) })
    }

    /// Takes `bytes` if they are there and `allowed` finds that enough would be left.
    fn take(&self, bytes: u64, allowed: impl Fn(u64) -> bool) -> bool {
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let after = used.checked_add(bytes).filter(|after| *after <= self.limit)?;
            allowed(self.limit - after).then_some(after)
        });
        taken.is_ok()
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn free(&self) -> u64 {
        self.limit - self.used.load(Ordering::Acquire)
    }
}

/// What one connection has of the budget. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    /// The most that this connection may have of either kind.
    max_window: u64,
    max_buffered: u64,
    window: AtomicU64,
    messages: AtomicU64,
    /// Bytes read since `since`; a window's worth of them within [`QUICK`] shows that a larger one would be used.
    read: AtomicU64,
    since: Mutex<Instant>,
}

/// Why a message found no room: which bound, and its value in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) name: &'static str,
    pub(crate) limit: u64,
}

impl Share {
    /// The share of a connection that begins, unless even that much is not left.
    pub(crate) fn open(budget: &Arc<Budget>, limits: &Limits, now: Instant) -> Result<Self, Failure> {
        if !budget.take(unauthorised::WINDOW, |_| true) {
            let limit = budget.limit;
            let reason = format!("this server holds {limit} bytes for its peers (max_memory), and no more");
            return Err(Failure::new(ErrorCode::LIMIT_EXCEEDED, reason));
        }
        Ok(Self::with(budget.clone(), limits, unauthorised::WINDOW, now))
    }

    /// The share of a connection that has a budget of its own: a client's, whose peer was chosen.
    pub(crate) fn alone(limits: &Limits, now: Instant) -> Self {
        Self::with(Budget::new(limits), limits, 0, now)
    }

    fn with(budget: Arc<Budget>, limits: &Limits, window: u64, now: Instant) -> Self {
        Self {
            budget,
            max_window: limits.connection_window,
            max_buffered: limits.max_buffered,
            window: AtomicU64::new(window),
            messages: AtomicU64::new(0),
            read: AtomicU64::new(0),
            since: Mutex::new(now),
        }
    }

    /// The credit of a peer that is known now: all that there may be while at least half of the budget is left, then
    /// little, to grow when it is used.
    pub(crate) fn raise(&self) -> u64 {
        let (max, half) = (self.max_window, self.budget.limit / 2);
        if !self.widen(max, |left| left >= half) {
            self.widen(SMALL_WINDOW.min(max), |_| true);
        }
        self.window.load(Ordering::Acquire)
    }

    /// Bytes were read and their credit goes back; the larger credit, if it is time for one.
    pub(crate) fn consumed(&self, bytes: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        let window = self.window.load(Ordering::Acquire);
        if window == 0 || window >= self.max_window {
            return None;
        }
        if self.read.fetch_add(bytes, Ordering::AcqRel) + bytes < window {
            return None;
        }
        let now = now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        self.read.store(0, Ordering::Release);
        let quick = now.saturating_duration_since(*since) <= QUICK;
        *since = now;
        // A window that is larger already was made so by somebody else just now.
        if !quick || self.window.load(Ordering::Acquire) != window {
            return None;
        }
        // What keeps `wanted ≤ left / FAIR` when that much is left afterwards.
        let fair = self.budget.free().saturating_sub(FAIR * window) / (FAIR + 1);
        let wanted = window.saturating_mul(GROWTH).min(self.max_window).min(window + fair);
        self.widen(wanted, |left| wanted <= left / FAIR).then_some(wanted)
    }

    /// Makes the window `target` bytes large, if the budget has room.
    fn widen(&self, target: u64, allowed: impl Fn(u64) -> bool) -> bool {
        let window = self.window.load(Ordering::Acquire);
        let wider = target > window && self.budget.take(target - window, allowed);
        if wider {
            self.window.store(target, Ordering::Release);
        }
        wider
    }

    /// Makes room for more of messages.
    fn hold(&self, more: u64) -> Result<(), NoRoom> {
        let own = self.messages.fetch_add(more, Ordering::AcqRel) + more;
        let refused = if own > self.max_buffered {
            Some(NoRoom { name: "max_buffered", limit: self.max_buffered })
        } else if !self.budget.take(more, |left| own <= left / FAIR) {
            Some(NoRoom { name: "max_memory", limit: self.budget.limit })
        } else {
            None
        };
        if refused.is_some() {
            self.messages.fetch_sub(more, Ordering::AcqRel);
        }
        refused.map_or(Ok(()), Err)
    }

    fn release(&self, bytes: u64) {
        self.messages.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.give(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // A client's own window was never taken from its budget, and is 0 here.
        self.budget.give(*self.window.get_mut() + *self.messages.get_mut());
    }
}

/// Room for the messages of one exchange. It must be settled with zero before it goes.
#[derive(Debug, Default)]
pub(crate) struct Held(u64);

impl Held {
    /// The exchange holds so many bytes now.
    pub(crate) fn grow(&mut self, share: &Share, bytes: u64) -> Result<(), NoRoom> {
        if bytes <= SMALL_MESSAGE || bytes <= self.0 {
            return Ok(());
        }
        let wanted = bytes.div_ceil(SMALL_MESSAGE) * SMALL_MESSAGE;
        share.hold(wanted - self.0)?;
        self.0 = wanted;
        Ok(())
    }

    /// The exchange has gone on, and holds only so much now. A little room is kept, so that a stream of bytes does not
    /// ask for it again and again.
    pub(crate) fn shrink(&mut self, share: &Share, bytes: u64) {
        let needed = bytes.max(KEPT).div_ceil(SMALL_MESSAGE) * SMALL_MESSAGE;
        if self.0 > needed {
            share.release(self.0 - needed);
            self.0 = needed;
        }
    }

    /// The exchange holds nothing any more.
    pub(crate) fn clear(&mut self, share: &Share) {
        if self.0 > 0 {
            share.release(std::mem::take(&mut self.0));
        }
    }
}

#[cfg(test)]
mod tests;
