//! How long things took, and what processes and the loopback interface have used.

use std::cell::RefCell;
use std::fs;
use std::time::Instant;

use crate::json::Object;

/// Latencies in buckets 3 % wide.
pub struct Histogram(Vec<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; 64 * 32])
    }
}

impl Histogram {
    /// Counts one value, in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        let shift = u64::from(58 - nanoseconds.max(32).leading_zeros().min(58));
        let bucket = usize::try_from(shift * 32 + (nanoseconds >> shift)).unwrap_or(usize::MAX);
        let last = self.0.len() - 1;
        self.0[bucket.min(last)] += 1;
    }

    /// The value in microseconds below which a share of all lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.0.iter().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (bucket, count) in self.0.iter().enumerate() {
            if left > 0 && *count >= left {
                let shift = (bucket / 32).saturating_sub(1);
                return (((bucket - shift * 32) as u64) << shift) as f64 / 1e3;
            }
            left -= count;
        }
        0.0
    }

    /// The usual quantiles.
    pub fn report(&self, object: Object) -> Object {
        let names = [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)];
        names.into_iter().fold(object, |object, (name, share)| object.number(name, self.quantile(share)))
    }
}

/// What a process has used so far, and what went over the loopback interface.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub cpu: f64,
    pub rss_mb: f64,
    pub lo_bytes: f64,
}

/// Reads it; `self` or a process id.
pub fn usage(pid: &str) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let word = |at| rest.split_whitespace().nth(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    let devices = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let lo = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let lo_bytes = lo.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    Usage {
        cpu: (word(11) + word(12)) / 100.0,
        rss_mb: word(21) * 4096.0 / 1e6,
        lo_bytes: lo_bytes.unwrap_or(0.0),
    }
}

thread_local! {
    /// All clients run on one thread.
    static LATENCIES: RefCell<Histogram> = RefCell::default();
}

/// Counts a latency that began at `since`, both in nanoseconds after [`Clock::start`].
pub fn latency(since: u64, now: u64) {
    LATENCIES.with_borrow_mut(|histogram| histogram.add(now.saturating_sub(since)));
}

/// What was counted since the last call.
pub fn take_latencies() -> Histogram {
    LATENCIES.take()
}

/// Time stamps for message bodies.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since then.
    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When something happened, on this clock.
    pub fn at(self, when: Instant) -> u64 {
        u64::try_from(when.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}
