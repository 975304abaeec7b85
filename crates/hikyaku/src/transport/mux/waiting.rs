//! What bytes on their way out wait for: the clock of the driver's idleness.

use std::time::Instant;

use crate::transport::Waits;

/// Why bytes do not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// The byte stream takes no more.
    Socket,
    /// A writer waits, and the byte stream does not.
    Credit,
}

/// What was waited for so far, and what is waited for now.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waits: Waits,
    now: Option<(WaitFor, Instant)>,
}

impl Waiting {
    /// Adds what was waited so far, and begins to wait for something, or for nothing.
    pub(super) fn wait_for(&mut self, what: Option<WaitFor>, now: Instant) {
        if let Some((before, since)) = self.now {
            let waited = now.saturating_duration_since(since);
            match before {
                WaitFor::Socket => self.waits.socket += waited,
                WaitFor::Credit => self.waits.credit += waited,
            }
        }
        self.now = what.map(|what| (what, now));
    }

    /// What was waited for until now.
    pub(super) fn read(&mut self, now: Instant) -> Waits {
        self.wait_for(self.now.map(|(what, _)| what), now);
        self.waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_wait_is_counted_once_and_for_what_it_was() {
        let (mut waiting, begin) = (Waiting::default(), Instant::now());
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        waiting.wait_for(Some(WaitFor::Socket), at(0));
        assert_eq!(waiting.read(at(3)).socket, Duration::from_millis(3));
        waiting.wait_for(Some(WaitFor::Credit), at(5));
        waiting.wait_for(None, at(12));
        let waits = waiting.read(at(100));
        assert_eq!((waits.socket, waits.credit), (Duration::from_millis(5), Duration::from_millis(7)));
    }
}
