//! The idle timeout (draft §7.1): records received and sent count, nothing else.

use std::time::{Duration, Instant};

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Idle {
    timeout: Option<Duration>,
    active_at: Instant,
}

impl Idle {
    pub(crate) fn new(timeout: Option<Duration>, now: Instant) -> Self {
        Self { timeout: timeout.filter(|timeout| !timeout.is_zero()), active_at: now }
    }

    /// A record was completely received, or sent.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.active_at = now;
    }

    /// The peer's value; the shorter one counts, and 0 says nothing.
    // RFC 9000 §10.1: "the effective value at an endpoint is computed as the minimum of the two advertised values
    // (or the sole advertised value, if only one endpoint advertises a non-zero value)".
    pub(crate) fn negotiate(&mut self, peer_millis: u64) {
        if peer_millis > 0 {
            let peer = Duration::from_millis(peer_millis);
            self.timeout = Some(self.timeout.map_or(peer, |own| own.min(peer)));
        }
    }

    /// When the connection is over if nothing happens; `None` when that is never, or beyond what a clock holds.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.active_at.checked_add(self.timeout?)
    }
}
