//! How long is waited for who mends something and sends nothing: meanwhile nobody else mends it, and a place among those who
//! read is taken. Pure: the time is passed in. Spec: S5.124.

use std::time::{Duration, Instant};

use crate::error::FilesError;

/// How long a byte may take: who sends less than 1,000 of them in a second comes to the end of the wait.
const SLOWEST: fn(u64) -> Duration = Duration::from_millis;
/// Who mends a tree makes its bundle again, up to what is lacking, before a byte of that can be sent: 1 MB in a second.
const READING: fn(u64) -> Duration = Duration::from_micros;

/// When it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    most: Duration,
    until: Instant,
}

impl Due {
    /// For somebody who has to read so many bytes of his own before and between what he sends.
    pub(crate) fn new(timeout: Duration, reads: u64, now: Instant) -> Self {
        let most = timeout.saturating_add(READING(reads));
        Self { most, until: now + most }
    }

    /// When it is over, if nothing comes.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// So many bytes came.
    //= S5.124
    pub(crate) fn came(&mut self, bytes: u64, now: Instant) {
        self.until = (self.until + SLOWEST(bytes).min(self.most)).min(now + self.most);
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// What whoever kept others waiting is told.
    pub(crate) fn over(&self) -> FilesError {
        FilesError::Limit { name: "mend_timeout", limit: self.most.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    //= S5.124 (test)
    #[test]
    fn who_says_nothing_is_waited_for_so_long_and_no_longer() {
        let start = Instant::now();
        let due = Due::new(TIMEOUT, 0, start);
        assert!(!due.is_over(start + TIMEOUT - Duration::from_millis(1)));
        assert!(due.is_over(start + TIMEOUT));
        assert_eq!(due.over().to_string(), "the receiver's limit mend_timeout (60) is reached");
        // However much came before.
        let mut due = Due::new(TIMEOUT, 0, start);
        due.came(u64::MAX, start + TIMEOUT / 2);
        assert!(!due.is_over(start + TIMEOUT));
        assert!(due.is_over(start + TIMEOUT / 2 + TIMEOUT));
    }

    #[test]
    fn who_sends_a_byte_now_and_then_only_comes_to_the_end_too_and_a_slow_line_does_not() {
        let begun = Instant::now();
        let last = |bytes: u64| {
            let (mut due, mut now) = (Due::new(TIMEOUT, 0, begun), begun);
            for _ in 0..100_000 {
                let waits = due.until().saturating_duration_since(now);
                now = due.until();
                due.came(bytes * waits.as_millis() as u64 / 1_000, now);
                if due.is_over(now) {
                    return Some(now.saturating_duration_since(begun));
                }
            }
            None
        };
        assert_eq!(last(0), Some(TIMEOUT));
        assert!(last(1).is_some_and(|time| time < TIMEOUT + Duration::from_secs(1)));
        assert!(last(900).is_some_and(|time| time <= 10 * TIMEOUT), "{:?}", last(900));
        assert_eq!(last(1_000), None);
    }

    #[test]
    fn who_has_to_read_a_tree_first_has_the_time_for_it() {
        let start = Instant::now();
        let due = Due::new(TIMEOUT, 3_600_000_000, start);
        assert!(!due.is_over(start + Duration::from_secs(3_659)));
        assert!(due.is_over(start + Duration::from_secs(3_660)));
        assert!(!Due::new(TIMEOUT, hikyaku_wire::cbor::MAX_INTEGER, start).is_over(start + TIMEOUT));
    }
}
