//! What is measured. One file each.

mod authors;
mod fan;
mod idle;
mod resume;
mod rooms;
mod stall;

use bench_common::Result;
use hikyaku::{Limits, Transport};

use crate::Plan;
use crate::clients::Shared;
use crate::json::Object;
use crate::stats::{Usage, take_latencies, usage};

/// Runs one scenario and prints what came of it.
pub async fn run(name: String, plan: Plan) -> Result<()> {
    match name.as_str() {
        "fan" => fan::run(plan).await,
        "rooms" => rooms::run(plan).await,
        "idle" => idle::run(plan).await,
        "authors" => authors::run(plan).await,
        "resume" => resume::run(plan).await,
        "stall" => stall::run(plan).await,
        _ => Err(format!("there is no scenario {name}").into()),
    }
}

impl Plan {
    fn transport(&self) -> Transport {
        if self.text("transport") == "quic" { Transport::Quic } else { Transport::Tcp }
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Both ends at the beginning of what is measured.
struct Measure {
    pid: String,
    begun: u64,
    server: Usage,
    own: Usage,
    updates: u64,
    delivered: u64,
}

impl Measure {
    fn begin(plan: &Plan, shared: &Shared) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let pid = plan.text("pid");
        let (server, own) = (usage(&pid), usage("self"));
        // What was counted while everybody came in does not count.
        drop(take_latencies());
        let (updates, delivered) = (shared.updates.load(Relaxed), shared.delivered.load(Relaxed));
        Self { begun: shared.clock.now(), pid, server, own, updates, delivered }
    }

    /// Deliveries a second, their cost, and how long they took.
    fn report(self, shared: &Shared, expected: u64) -> Object {
        use std::sync::atomic::Ordering::Relaxed;
        let seconds = (shared.clock.now() - self.begun) as f64 / 1e9;
        let (server, own) = (usage(&self.pid), usage("self"));
        let delivered = (shared.delivered.load(Relaxed) - self.delivered) as f64;
        let updates = (shared.updates.load(Relaxed) - self.updates) as f64;
        let object = Object::default()
            .number("secs", seconds)
            .number("per_s", delivered / seconds)
            .number("server_us_per_msg", (server.cpu - self.server.cpu) / delivered * 1e6)
            .number("gen_us_per_msg", (own.cpu - self.own.cpu) / delivered * 1e6)
            .number("msgs_per_update", delivered / updates)
            .number("wire_bytes_per_msg", (server.lo_bytes - self.server.lo_bytes) / delivered)
            .number("lost", expected as f64 - delivered)
            .number("broken", shared.broken.load(Relaxed) as f64)
            .number("rss_mb", server.rss_mb);
        take_latencies().report(object)
    }
}
