//! The rules of a parcel that is read while it is written: what its readers may have, and how they learn of its end.
//!
//! Pure. One [`Passage`] per parcel that has no end yet; whoever writes moves it on, readers each have a place of their
//! own and never move it. What readers get is *provisional* until the end: a close is due only when the parcel is
//! settled, durably and in its room. Spec: section 5.8.
//!
//! ```text
//!   resting ──begin──▶ written ──stop──▶ resting       (as often as the sender comes back)
//!      └──── settle, abort ────┴──▶ ended
//! ```

use hikyaku_wire::files::{Arrival, BLOCK_LEN, GROUP_LEN};
use hikyaku_wire::parcel::Root;

/// How a parcel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is whole and durable, and its room says so.
    Settled(Root, u64),
    /// It will never be whole.
    Aborted,
}

/// A parcel on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Everything before this offset is verified and may be read.
    available: u64,
    /// Somebody writes it now.
    writing: bool,
    /// It is known how far it is.
    known: bool,
    /// How often bytes that had been available were given up.
    rewrites: u64,
    /// Where the last of those rewrites begins.
    rewritten: u64,
    end: Option<End>,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The next byte to read.
    pub at: u64,
    rewrites: u64,
}

/// What a reader may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read and send so many bytes.
    Send(u64),
    /// Wait: it is ahead of whoever writes.
    Wait,
    /// All bytes were read, and this is what they are.
    Close(Root, u64),
    /// What was read may be something else now: come back, and say what was read.
    Rewritten,
    /// It was given up.
    Aborted,
}

impl Passage {
    /// Nobody writes it, and so much is there: known from the store, and only where nobody knows better.
    pub fn rest(&mut self, verified: u64) {
        if !self.known && self.end.is_none() {
            (self.available, self.known) = (verified, true);
        }
    }

    /// Somebody begins to write, after `from`. Bytes behind that are written again.
    pub fn begin(&mut self, from: u64) {
        if self.end.is_some() {
            return;
        }
        if from < self.available {
            self.rewrites += 1;
            self.rewritten = from;
        }
        (self.available, self.writing, self.known) = (from, true, true);
    }

    /// Everything before `offset` is written and verified.
    pub fn reach(&mut self, offset: u64) {
        if self.end.is_none() {
            (self.available, self.known) = (self.available.max(offset), true);
        }
    }

    /// Nobody writes any more; somebody may come back.
    pub fn stop(&mut self) {
        self.writing = false;
    }

    /// It has its end, durably. The first one counts, and nothing moves after it.
    //= S5.82
    pub fn end(&mut self, end: End) {
        self.writing = false;
        self.end.get_or_insert(end);
        if let Some(End::Settled(_, size)) = self.end {
            (self.available, self.known) = (size, true);
        }
    }

    /// Whether it is whole, durably.
    pub fn is_settled(&self) -> bool {
        matches!(self.end, Some(End::Settled(..)))
    }

    /// Whether somebody writes it now.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Whether it is known how far it is.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether it has its end.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// As readers are told.
    pub fn arrival(&self) -> Arrival {
        Arrival { bytes: self.available, sending: self.writing }
    }

    /// A reader's place at `at`, from now on.
    pub fn place(&self, at: u64) -> Place {
        Place { at, rewrites: self.rewrites }
    }

    /// Whether a reader that has everything before `at` may begin, or has to wait until so much is there.
    pub fn reaches(&self, at: u64) -> bool {
        self.available >= at || self.end.is_some()
    }

    /// What a reader may do at its place.
    //= S5.81
    //= S5.82
    pub fn next(&self, place: &mut Place) -> Next {
        if self.end == Some(End::Aborted) {
            return Next::Aborted;
        }
        if place.rewrites != self.rewrites {
            if place.rewrites + 1 < self.rewrites || place.at > self.rewritten {
                return Next::Rewritten;
            }
            place.rewrites = self.rewrites;
        }
        match (self.available.checked_sub(place.at), self.end) {
            (Some(0), Some(End::Settled(root, size))) => Next::Close(root, size),
            (Some(left @ 1..), _) => Next::Send(left.min(BLOCK_LEN - place.at % GROUP_LEN)),
            (Some(0), _) => Next::Wait,
            // Its bytes are not of this parcel.
            (None, Some(_)) => Next::Rewritten,
            (None, None) => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests;
