//! How fast something is, from what was seen of it: pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that a rate looks back.
const SPAN: Duration = Duration::from_secs(5);

/// A rate over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Notes how far it is. What goes back begins anew.
    pub(crate) fn note(&mut self, now: Instant, bytes: u64) {
        if self.0.back().is_some_and(|(_, before)| *before > bytes) {
            self.0.clear();
        }
        self.0.push_back((now, bytes));
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= SPAN) {
            self.0.pop_front();
        }
    }

    /// Bytes a second; `None` before there is something to compare.
    pub(crate) fn per_second(&self) -> Option<u64> {
        let ((from, first), (to, last)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        (seconds >= 0.2).then(|| (last.saturating_sub(*first) as f64 / seconds) as u64)
    }

    /// How long the rest will take.
    pub(crate) fn remaining(&self, bytes: u64, total: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(total.saturating_sub(bytes).div_ceil(rate)))
    }
}

/// A time as people read it: `0:07`, `12:30`, `3:05:00`, `4 d`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours @ 1..=99, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
        (hours, ..) => format!("{} d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let (mut rate, begin) = (Rate::default(), Instant::now());
        assert_eq!(rate.per_second(), None);
        for second in 0..=20 {
            rate.note(begin + Duration::from_secs(second), if second < 10 { 0 } else { (second - 9) * 1000 });
        }
        assert_eq!(rate.per_second(), Some(1000));
        assert_eq!(rate.remaining(11_000, 21_500), Some(Duration::from_secs(11)));
        rate.note(begin + Duration::from_secs(21), 5);
        assert_eq!(rate.per_second(), None, "an attempt that begins further back begins anew");
    }

    #[test]
    fn times_are_short() {
        let times = [7, 750, 11_100, 400_000].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(times, ["0:07", "12:30", "3:05:00", "4 d"]);
    }
}
