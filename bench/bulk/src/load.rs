//! The load: how much is sent, and what it cost.

use std::time::Instant;

use bench_common::{Result, cpu_seconds};
use bytes::Bytes;

/// Bytes handed over at once, and asked for at once.
pub const BLOCK: usize = 256 * 1024;

/// Where the sender writes and how it learns that everything has arrived.
pub trait Sink {
    /// Hands over one block.
    fn send(&mut self, block: Bytes) -> impl Future<Output = Result<()>> + Send;
    /// Says that this was all, and returns how much the receiver got.
    fn end(self) -> impl Future<Output = Result<u64>> + Send;
}

/// How much is sent, and of whom the processor time is counted.
pub struct Plan {
    blocks: usize,
    server: String,
}

impl Plan {
    /// A load of `mib` MiB to the server process `pid`.
    pub fn new(mib: usize, pid: &str) -> Self {
        Self { blocks: mib * 1024 * 1024 / BLOCK, server: pid.to_owned() }
    }

    /// Sends everything and prints: GB/s, and the processor time per GB of this process, of the receiver and of both.
    pub async fn run(self, mut sink: impl Sink) -> Result<()> {
        let block: Bytes = (0..BLOCK).map(|at| at as u8).collect::<Vec<_>>().into();
        let before = (cpu_seconds("self")?, cpu_seconds(&self.server)?);
        let begun = Instant::now();
        for _ in 0..self.blocks {
            sink.send(block.clone()).await?;
        }
        let arrived = sink.end().await?;
        let time = begun.elapsed().as_secs_f64();
        let after = (cpu_seconds("self")?, cpu_seconds(&self.server)?);
        let sent = self.blocks * BLOCK;
        if arrived != sent as u64 {
            return Err(format!("{sent} bytes were sent and {arrived} arrived").into());
        }
        let gigabytes = sent as f64 / 1e9;
        let (sender, receiver) = ((after.0 - before.0) / gigabytes, (after.1 - before.1) / gigabytes);
        println!("{} {sender} {receiver} {}", gigabytes / time, sender + receiver);
        Ok(())
    }
}
