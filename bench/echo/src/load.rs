//! The load: a number of callers, each of which asks again as soon as it is answered.

use std::time::{Duration, Instant};

use bench_common::{Result, cpu_seconds};

/// What is sent and comes back.
pub const BYTES: usize = 64;

/// The message of a caller: not all zeros, so that nobody may compress it into nothing by accident.
pub const MESSAGE: [u8; BYTES] = [b'x'; BYTES];

/// Time to warm up before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Asks and waits for the answer, one call at a time.
pub trait Caller: Send + 'static {
    /// One round trip.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// How much is asked, and of whom the processor time is counted.
pub struct Plan {
    /// How many callers there are.
    pub callers: usize,
    time: Duration,
    server: String,
}

impl Plan {
    /// A load of `callers` for `seconds`, on the server process `pid`.
    pub fn new(callers: usize, seconds: u64, pid: &str) -> Self {
        Self { callers, time: Duration::from_secs(seconds), server: pid.to_owned() }
    }

    /// Lets every caller call until the time is over, and prints: calls per second, the times below which 50, 99 and
    /// 99.9 % of the calls took (µs), and the processor time per call of the server and of this process (µs).
    pub async fn run<C: Caller>(self, callers: Vec<C>) -> Result<()> {
        let from = Instant::now() + WARM_UP;
        let until = from + self.time;
        let tasks: Vec<_> =
            callers.into_iter().map(|caller| tokio::spawn(ask(caller, from, until))).collect();
        tokio::time::sleep_until(from.into()).await;
        let before = (cpu_seconds(&self.server)?, cpu_seconds("self")?);
        tokio::time::sleep_until(until.into()).await;
        let after = (cpu_seconds(&self.server)?, cpu_seconds("self")?);
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        times.sort_unstable();
        let calls = times.len() as f64;
        let below =
            |share: f64| times.get((calls * share) as usize).map_or(0.0, |time| f64::from(*time) / 1e3);
        let micros = |seconds: f64| seconds * 1e6 / calls;
        println!(
            "{} {} {} {} {} {}",
            calls / self.time.as_secs_f64(),
            below(0.5),
            below(0.99),
            below(0.999),
            micros(after.0 - before.0),
            micros(after.1 - before.1),
        );
        Ok(())
    }
}

/// The nanoseconds of each call that began in time.
async fn ask<C: Caller>(mut caller: C, from: Instant, until: Instant) -> Result<Vec<u32>> {
    let mut times = Vec::with_capacity(1 << 16);
    loop {
        let begun = Instant::now();
        if begun >= until {
            return Ok(times);
        }
        caller.call().await?;
        if begun >= from {
            times.push(u32::try_from(begun.elapsed().as_nanos())?);
        }
    }
}
