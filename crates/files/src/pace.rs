//! A bound on how fast bytes are taken, kept on average whatever the size of a block.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not used of the bound is not saved up for longer than this.
const BURST: Duration = Duration::from_millis(250);

/// At most so many bytes a second. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: u64,
    /// When the next bytes may go.
    next: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// A bound of `rate` bytes a second; 0 counts as 1.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), next: Arc::default() }
    }

    /// The bound, in bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// How long to wait before `bytes` may go. They count as gone.
    pub(crate) fn take(&self, bytes: u64, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let at = next.map_or(now, |next| next.max(earliest));
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        *next = at.checked_add(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
        at.saturating_duration_since(now)
    }

    /// Waits until `bytes` may go, and says how long that was.
    pub(crate) async fn wait(&self, bytes: u64) -> Duration {
        let wait = self.take(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_goes_than_the_bound_and_one_burst() {
        let (pace, begin) = (Pace::new(1_000_000), Instant::now());
        let (mut now, mut gone) = (begin, 0);
        for size in [500_000, 100, 64_000, 512_000, 1, 300_000].repeat(20) {
            now += pace.take(size, now);
            let seconds = (now - begin).as_secs_f64();
            assert!(f64::from(gone) <= (seconds + BURST.as_secs_f64()) * 1e6 + 1.0, "{gone} in {seconds} s");
            gone += u32::try_from(size).unwrap();
        }
        assert!((now - begin).as_secs_f64() > f64::from(gone) / 1e6 * 0.9);
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let (pace, begin) = (Pace::new(1_000), Instant::now());
        pace.take(1_000, begin);
        let later = begin + Duration::from_secs(3600);
        assert_eq!(pace.take(1_000, later), Duration::ZERO);
        assert!(pace.take(1_000, later) >= Duration::from_millis(750));
    }
}
