//! How much memory all peers together may make this process hold for them. Pure: counters and the time, nothing else.
//!
//! Two kinds of bytes are counted. *Windows*: what a peer may send before it is read, and what may wait to be sent to it
//! in its transport; once granted they cannot be taken back. *Held*: what each exchange costs while it is open, what
//! has been read of messages that are not complete, or that a handler has got and not yet gone on from (the credit for
//! these bytes has been given back already), and what a handler has said and the transport does not take. Withholding credit
//! instead would be no way out: an honest sender takes turns between its streams, so its credit would end in the middle of
//! all of its messages.
//!
//! The budget is never exceeded, and no connection gets all of it: it may have an [eighth](FAIR) of what would be left
//! free. So whoever comes last still gets something while others hold all they can, and the more of it is used, the less anybody gets
//! (dynamic thresholds, Choudhury and Hahne 1998). What is held may be a [quarter](HELD) of it all. Each of the connections
//! that a server takes has the credit of a stranger and two small exchanges beside all that, [put aside](PLACE) from the
//! beginning: the place of a connection is never worth less than that. Where messages find no room, their exchange is refused with BUSY or LIMIT; where windows
//! find none, the connection goes on with less. Spec: chapter 3.8; ARCHITECTURE.md says why so.

mod places;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::{Limits, unauthorised};

use places::Places;
use window::Window;

/// A connection may have one part in so many of what is left free.
const FAIR: u64 = 8;
/// What is held may be one part in so many of the budget.
const HELD: u64 = 4;
/// What an open exchange costs: its task, its buffers, and messages up to [`SMALL_MESSAGE`] either way.
const EXCHANGE: u64 = 8 * 1024;
/// Exchanges of a connection that need not ask for room: one that goes on for long, and a question beside it.
const OWN: u64 = 2;
/// What is put aside for each connection.
pub(crate) const PLACE: u64 = unauthorised::WINDOW + OWN * EXCHANGE;
/// Messages up to this size are not counted: their exchange is.
const SMALL_MESSAGE: u64 = 4 * 1024;
/// Room that an exchange keeps between its messages, once it needed it.
const KEPT: u64 = 64 * 1024;
/// The most that may wait in one connection's QMux to be sent. Behind it are the buffers of the socket.
const MUX_SEND_WINDOW: u64 = 4 * 1024 * 1024;

/// Bytes for all connections of one server, or of one client's connection.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Without what is put aside for each connection.
    limit: u64,
    used: AtomicU64,
    held_limit: u64,
    held: AtomicU64,
    /// `max_memory`, as it is told.
    told: u64,
}

impl Budget {
    /// For a server with so many connections at most.
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let aside = PLACE.saturating_mul(limits.max_connections as u64);
        Self::with(limits, limits.max_memory.saturating_sub(aside))
    }

    fn with(limits: &Limits, limit: u64) -> Arc<Self> {
        let (used, held) = (AtomicU64::new(0), AtomicU64::new(0));
        let (told, held_limit) = (limits.max_memory, (limits.max_memory / HELD).min(limit));
        Arc::new(Self { limit, used, held_limit, held, told })
    }

    /// Takes `bytes` if they are there and `allowed` finds that enough would be left.
    fn take(&self, bytes: u64, allowed: impl Fn(u64) -> bool) -> bool {
        take(&self.used, self.limit, bytes, allowed)
    }

    /// Takes `bytes` for a connection that holds `own` with them.
    fn hold(&self, bytes: u64, own: u64) -> bool {
        let fair = |left| own <= left / FAIR;
        if !take(&self.held, self.held_limit, bytes, fair) {
            return false;
        }
        let taken = self.take(bytes, fair);
        if !taken {
            self.held.fetch_sub(bytes, Ordering::AcqRel);
        }
        taken
    }

    fn release(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.give(bytes);
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn free(&self) -> u64 {
        self.limit - self.used.load(Ordering::Acquire)
    }
}

fn take(used: &AtomicU64, limit: u64, bytes: u64, allowed: impl Fn(u64) -> bool) -> bool {
    let taken = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
        let after = used.checked_add(bytes).filter(|after| *after <= limit)?;
        allowed(limit - after).then_some(after)
    });
    taken.is_ok()
}

/// What one connection has of the budget. Dropping it gives everything back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    /// What the peer may send before it is read.
    receive: Window,
    /// What may wait in the transport to be sent.
    send: Window,
    /// The most that this connection may hold of messages, and what it holds of them, and of exchanges.
    max_buffered: u64,
    messages: AtomicU64,
    /// Exchanges of the peer that are open.
    exchanges: AtomicU64,
    /// How many exchanges the peer may have open.
    places: Places,
    /// A server counts what it answers. What a client asks is its own.
    serves: bool,
}

/// Which transport a connection has, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Until the peer has acknowledged it: QUIC.
    Unacknowledged,
    /// Until the socket has taken it: QMux.
    Unsent,
}

/// How large the windows of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) receive: u64,
    pub(crate) send: u64,
}

/// Why a message found no room: which bound, and its value in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) name: &'static str,
    pub(crate) limit: u64,
}

impl Share {
    /// The share of a server's connection that begins: what was put aside for it.
    pub(crate) fn open(budget: &Arc<Budget>, limits: &Limits, waiting: Waiting, now: Instant) -> Self {
        let send = match waiting {
            Waiting::Unacknowledged => limits.connection_window,
            Waiting::Unsent => MUX_SEND_WINDOW,
        };
        let (first, places) = (unauthorised::WINDOW, Places::new(limits.max_exchanges));
        let windows = [(first, limits.connection_window), (first, send)].map(|(f, m)| Window::new(f, m, now));
        Self::with(budget.clone(), limits, windows, places, true)
    }

    /// The share of a connection that has a budget of its own: a client's, whose peer was chosen.
    pub(crate) fn alone(limits: &Limits, now: Instant) -> Self {
        let windows = [(); 2].map(|()| Window::new(0, 0, now));
        let places = Places::all(limits.max_exchanges);
        Self::with(Budget::with(limits, limits.max_memory), limits, windows, places, false)
    }

    fn with(
        budget: Arc<Budget>,
        limits: &Limits,
        [receive, send]: [Window; 2],
        places: Places,
        serves: bool,
    ) -> Self {
        let (messages, exchanges) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { budget, receive, send, max_buffered: limits.max_buffered, messages, exchanges, places, serves }
    }

    /// The windows of a peer that is known now: all that there may be while at least half of the budget is left, then
    /// what was put aside, to grow when it is used.
    pub(crate) fn raise(&self) -> Windows {
        Windows { receive: self.receive.raise(&self.budget), send: self.send.raise(&self.budget) }
    }

    /// Bytes were read and their credit goes back; the larger credit, if it is time for one.
    pub(crate) fn consumed(&self, bytes: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        self.receive.used_up(&self.budget, bytes, now)
    }

    /// Bytes were taken by the transport; how many may wait in it from now on, if it is time for more.
    pub(crate) fn sent(&self, bytes: u64, now: impl FnOnce() -> Instant) -> Option<u64> {
        self.send.used_up(&self.budget, bytes, now)
    }

    /// How many exchanges a peer that is known now may have open.
    pub(crate) fn places(&self) -> u64 {
        self.places.now()
    }

    /// An exchange was begun; how many may be open from now on, if it is time for more.
    pub(crate) fn entered(&self) -> Option<u64> {
        self.places.used(&self.budget, self.exchanges.load(Ordering::Acquire))
    }

    /// An exchange begins that the peer has opened.
    pub(crate) fn enter(&self) -> Result<(), NoRoom> {
        loop {
            let open = self.exchanges.load(Ordering::Acquire);
            let asks = open >= OWN;
            if asks && !self.budget.hold(EXCHANGE, self.held() + EXCHANGE) {
                return Err(self.full());
            }
            let entered =
                self.exchanges.compare_exchange(open, open + 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if entered {
                return Ok(());
            }
            // Another one has come or gone meanwhile, and this one may cost something else now.
            if asks {
                self.budget.release(EXCHANGE);
            }
        }
    }

    /// It is over.
    pub(crate) fn leave(&self) {
        if self.exchanges.fetch_sub(1, Ordering::AcqRel) > OWN {
            self.budget.release(EXCHANGE);
        }
    }

    /// What it holds, without what was put aside.
    fn held(&self) -> u64 {
        let exchanges = self.exchanges.load(Ordering::Acquire).saturating_sub(OWN) * EXCHANGE;
        exchanges + self.messages.load(Ordering::Acquire)
    }

    /// Makes room for more of messages.
    fn hold(&self, more: u64) -> Result<(), NoRoom> {
        let messages = self.messages.fetch_add(more, Ordering::AcqRel) + more;
        let refused = if messages > self.max_buffered {
            Some(NoRoom { name: "max_buffered", limit: self.max_buffered })
        } else if !self.budget.hold(more, self.held()) {
            Some(self.full())
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
        self.budget.release(bytes);
    }

    fn full(&self) -> NoRoom {
        NoRoom { name: "max_memory", limit: self.budget.told }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.release(self.held());
        self.budget.give(self.receive.taken() + self.send.taken() + self.places.taken());
    }
}

/// Room for the messages of one direction of an exchange. It must be cleared before it goes.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: u64,
    /// It is never made smaller than this before its end.
    kept: u64,
}

impl Held {
    /// The exchange holds so many bytes now.
    pub(crate) fn grow(&mut self, share: &Share, bytes: u64) -> Result<(), NoRoom> {
        if bytes <= SMALL_MESSAGE || bytes <= self.bytes {
            return Ok(());
        }
        let wanted = bytes.div_ceil(SMALL_MESSAGE) * SMALL_MESSAGE;
        share.hold(wanted - self.bytes)?;
        self.bytes = wanted;
        Ok(())
    }

    /// The same for what a handler says and the transport does not take.
    pub(crate) fn grow_answer(&mut self, share: &Share, bytes: u64) -> Result<(), NoRoom> {
        if share.serves { self.grow(share, bytes) } else { Ok(()) }
    }

    /// The same for an answer that may be made smaller: half as much, and half of that, down to `least`. How much there is.
    pub(crate) fn grow_some(&mut self, share: &Share, wanted: u64, least: u64) -> Result<u64, NoRoom> {
        let mut bytes = wanted.max(least);
        loop {
            match self.grow_answer(share, bytes) {
                Err(_) if bytes > least => bytes = (bytes / 2).max(least),
                grown => return grown.map(|()| bytes),
            }
        }
    }

    /// The same, until its end.
    pub(crate) fn keep_some(&mut self, share: &Share, wanted: u64, least: u64) -> Result<u64, NoRoom> {
        let bytes = self.grow_some(share, wanted, least)?;
        self.kept = self.kept.max(bytes);
        Ok(bytes)
    }

    /// The exchange has gone on, and holds only so much now. A little room is kept, so that a stream of bytes does not
    /// ask for it again and again.
    pub(crate) fn shrink(&mut self, share: &Share, bytes: u64) {
        self.shrink_to(share, bytes.max(KEPT));
    }

    /// What was said has gone.
    pub(crate) fn said(&mut self, share: &Share) {
        self.shrink_to(share, 0);
    }

    fn shrink_to(&mut self, share: &Share, bytes: u64) {
        let needed = bytes.max(self.kept).div_ceil(SMALL_MESSAGE) * SMALL_MESSAGE;
        if self.bytes > needed {
            share.release(self.bytes - needed);
            self.bytes = needed;
        }
    }

    /// The exchange holds nothing any more.
    pub(crate) fn clear(&mut self, share: &Share) {
        self.kept = 0;
        if self.bytes > 0 {
            share.release(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests;
