//! Notices a peer that keeps this side busy with frames that carry nothing (draft §10.2, RFC 9000 §21.9).
//!
//! An allowance pays for such frames. Frames that carry something, in either direction, fill it up again, because
//! each of them can be answered by a few (credit, stop); and so does time.

use crate::violation::Violation;
use std::time::{Duration, Instant};

/// Frames without content that a peer may send at once, or in one second.
pub(crate) const ALLOWANCE: u32 = 4096;

/// How many such frames one frame with content pays for.
const EARNED: u32 = 4;

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Flood {
    allowance: u32,
    refilled_at: Instant,
}

impl Flood {
    pub(crate) fn new(now: Instant) -> Self {
        Self { allowance: ALLOWANCE, refilled_at: now }
    }

    /// A frame with content was received or sent.
    pub(crate) fn earn(&mut self) {
        self.allowance = (self.allowance + EARNED).min(ALLOWANCE);
    }

    /// A frame without content was received.
    pub(crate) fn spend(&mut self, now: Instant) -> Result<(), Violation> {
        if self.allowance == 0 {
            if now.saturating_duration_since(self.refilled_at) < Duration::from_secs(1) {
                return Err(Violation::protocol(format!(
                    "more than {ALLOWANCE} frames in a second that carry nothing"
                )));
            }
            self.allowance = ALLOWANCE;
            self.refilled_at = now;
        }
        self.allowance -= 1;
        Ok(())
    }
}
