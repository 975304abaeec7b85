//! When a connection takes exchanges and when it is over: GOAWAY and the number of open exchanges, nothing else. Pure,
//! and small enough to be one atomic word. Spec: chapter 3, "Drain".

use std::sync::atomic::{AtomicU64, Ordering};

use crate::events::By;

/// What this side knows of the connection's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lifecycle {
    /// This side has said GOAWAY.
    said: bool,
    /// The peer has said GOAWAY.
    heard: bool,
    /// Exchanges of either side that are not over here.
    open: u32,
}

impl Lifecycle {
    pub(crate) fn say_goaway(&mut self) {
        self.said = true;
    }

    pub(crate) fn hear_goaway(&mut self) {
        self.heard = true;
    }

    /// One more exchange, until [`Lifecycle::leave`]. False: it must not be opened, or must be refused. It counts
    /// nevertheless, because refusing it is something to say.
    //= S3.59
    //= S3.71
    //= S3.72
    pub(crate) fn enter(&mut self, by: By) -> bool {
        self.open = self.open.saturating_add(1);
        match by {
            By::Us => !self.heard,
            By::Peer => !self.said,
        }
    }

    /// An exchange is over here.
    pub(crate) fn leave(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Either side has said GOAWAY.
    pub(crate) fn is_leaving(self) -> bool {
        self.said || self.heard
    }

    pub(crate) fn has_heard_goaway(self) -> bool {
        self.heard
    }

    /// This side was told GOAWAY and has received everything: it closes.
    //= S3.73
    pub(crate) fn may_close(self) -> bool {
        self.heard && self.open == 0
    }

    /// Whether somebody waits for [`Lifecycle::may_close`] and should look.
    fn is_news(self) -> bool {
        self.is_leaving() && self.open == 0
    }

    fn to_bits(self) -> u64 {
        u64::from(self.said) | u64::from(self.heard) << 1 | u64::from(self.open) << 2
    }

    fn from_bits(bits: u64) -> Self {
        Self { said: bits & 1 != 0, heard: bits & 2 != 0, open: u32::try_from(bits >> 2).unwrap_or(u32::MAX) }
    }
}

/// The last look of whoever takes a connection's exchanges, before it closes one that [may be closed](Lifecycle::may_close).
///
/// It looks for exchanges, and then at the lifecycle. Between the two an exchange may have come, and GOAWAY behind it: the exchange
/// came first and is answered. So nothing that came before GOAWAY is left behind only if a look *after* GOAWAY was heard found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LastLook {
    /// It was known already that the connection may close.
    known: bool,
}

impl LastLook {
    /// An exchange was found.
    pub(crate) fn found(&mut self) {
        self.known = false;
    }

    /// No exchange was found, and after that it was seen that the connection may close. Whether it is closed.
    //= S3.73
    pub(crate) fn closes(&mut self) -> bool {
        std::mem::replace(&mut self.known, true)
    }
}

/// A [`Lifecycle`] that several tasks step, each step whole.
#[derive(Debug, Default)]
pub(crate) struct Shared(AtomicU64);

impl Shared {
    pub(crate) fn now(&self) -> Lifecycle {
        Lifecycle::from_bits(self.0.load(Ordering::SeqCst))
    }

    /// Takes one step; also says whether somebody who waits should look.
    pub(crate) fn step<T>(&self, step: impl Fn(&mut Lifecycle) -> T) -> (T, bool) {
        let mut bits = self.0.load(Ordering::SeqCst);
        loop {
            let mut after = Lifecycle::from_bits(bits);
            let result = step(&mut after);
            match self.0.compare_exchange_weak(bits, after.to_bits(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return (result, after.is_news()),
                Err(now) => bits = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifecycle_is_the_same_after_it_was_a_word() {
        for (said, heard, open) in
            [(false, false, 0), (true, false, 1), (false, true, 7), (true, true, u32::MAX)]
        {
            let lifecycle = Lifecycle { said, heard, open };
            assert_eq!(Lifecycle::from_bits(lifecycle.to_bits()), lifecycle);
        }
    }

    #[test]
    fn whoever_ends_the_last_exchange_of_a_leaving_connection_is_told_that_somebody_waits() {
        let shared = Shared::default();
        assert_eq!(shared.step(|lifecycle| lifecycle.enter(By::Us)), (true, false));
        assert_eq!(shared.step(Lifecycle::leave), ((), false), "nobody drains");
        shared.step(|lifecycle| lifecycle.enter(By::Peer));
        assert_eq!(shared.step(Lifecycle::hear_goaway), ((), false));
        assert_eq!(shared.step(Lifecycle::leave), ((), true));
        assert!(shared.now().may_close());
    }

    /// A connection whose peer says GOAWAY behind its last exchange, as the task sees it that takes its exchanges.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    struct Leaving {
        /// What has still to arrive, in this order: exchanges, and GOAWAY as the last one.
        coming: Vec<&'static str>,
        /// Exchanges that have come and were not found yet.
        waiting: usize,
        open: u32,
        heard: bool,
        known: bool,
        /// It has looked for exchanges and found none.
        has_looked: bool,
        closed: bool,
    }

    impl Leaving {
        fn arrive(&mut self) -> bool {
            let next = (!self.coming.is_empty()).then(|| self.coming.remove(0));
            self.waiting += usize::from(next == Some("exchange"));
            self.heard |= next == Some("goaway");
            next.is_some()
        }

        /// The next thing that the task does. As the session does it: it looks for exchanges, then at the lifecycle.
        fn go_on(&mut self) -> bool {
            let mut lifecycle = Lifecycle { said: false, heard: self.heard, open: self.open };
            let mut last_look = LastLook { known: self.known };
            if !self.has_looked && self.waiting > 0 {
                self.waiting -= 1;
                assert!(lifecycle.enter(By::Peer), "it came before anybody left");
                last_look.found();
            } else if !self.has_looked {
                self.has_looked = true;
            } else {
                self.has_looked = false;
                self.closed = lifecycle.may_close() && last_look.closes();
            }
            (self.open, self.known) = (lifecycle.open, last_look.known);
            true
        }

        /// An exchange is answered.
        fn answer(&mut self) -> bool {
            let was_open = self.open > 0;
            self.open = self.open.saturating_sub(1);
            was_open
        }
    }

    /// In every order in which exchanges and GOAWAY can arrive, the task can look, and answers can be given.
    //= S3.73 (test)
    #[test]
    fn no_exchange_that_came_before_goaway_is_left_behind_in_any_order_of_looks_and_arrivals() {
        let coming = vec!["exchange", "exchange", "exchange", "goaway"];
        let begin = Leaving {
            coming,
            waiting: 0,
            open: 0,
            heard: false,
            known: false,
            has_looked: false,
            closed: false,
        };
        let (mut seen, mut ends) = (std::collections::BTreeSet::new(), 0);
        let mut next = vec![begin];
        while let Some(state) = next.pop() {
            if !seen.insert(state.clone()) {
                continue;
            }
            if state.closed {
                assert!(state.coming.is_empty() && state.waiting == 0 && state.open == 0, "{state:?}");
                ends += 1;
                continue;
            }
            for step in [Leaving::arrive, Leaving::go_on, Leaving::answer] {
                let mut after = state.clone();
                if step(&mut after) {
                    next.push(after);
                }
            }
        }
        assert!(ends > 0 && seen.len() > 50, "{} states, {ends} of them ends", seen.len());
    }
}
