//! What the link is like.

use std::time::Duration;

use bench_common::{number, option};

/// What a link is like, the same in both directions.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bits per second.
    pub rate: u64,
    /// From one end to the other, beside the time in the queue.
    pub delay: Duration,
    /// Bytes that wait for the rate; more are dropped at the tail.
    pub queue: usize,
    /// Packets of a million that are lost on the way.
    pub loss_ppm: u64,
    /// Which ones, with the direction.
    pub seed: u64,
}

impl Options {
    /// 100 Mbit/s, a round trip of 20 ms, a queue of that product, no losses.
    pub fn standard() -> Self {
        Self { rate: 100_000_000, delay: Duration::from_millis(10), queue: 256 * 1024, loss_ppm: 0, seed: 1 }
    }

    /// From the command line: `--rate-mbit --delay-ms --queue-kib --loss-ppm --seed`.
    pub fn from_command_line() -> Self {
        let Self { rate, delay, queue, loss_ppm, seed } = Self::standard();
        Self {
            rate: number("--rate-mbit", rate as usize / 1_000_000) as u64 * 1_000_000,
            delay: option("--delay-ms")
                .map_or(delay, |ms| Duration::from_secs_f64(ms.parse::<f64>().expect("a number") / 1e3)),
            queue: number("--queue-kib", queue / 1024) * 1024,
            loss_ppm: number("--loss-ppm", loss_ppm as usize) as u64,
            seed: number("--seed", seed as usize) as u64,
        }
    }
}
