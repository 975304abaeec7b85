//! Many authors in one room, each waiting for its acknowledgement before it writes again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench_common::Result;
use hikyaku::Connection;
use hikyaku_chat::ChatClient;
use hikyaku_chat::wire::RoomId;

use super::Measure;
use crate::Plan;
use crate::clients::{Shared, connect, room, stamped};
use crate::stats::latency;

pub async fn run(plan: Plan) -> Result<()> {
    let count = plan.number("authors", 64);
    let shared = Shared::new();
    let connections = connect(&plan.ready, count as usize, plan.transport(), plan.limits()).await?;
    let room = room(&ChatClient::new(connections.first().ok_or("nobody")?.clone()), 0).await?;
    let measure = Measure::begin(&plan, &shared);
    for connection in connections {
        tokio::spawn(write(connection, room, shared.clone()));
    }
    tokio::time::sleep(Duration::from_secs(plan.number("secs", 3))).await;
    let delivered = shared.delivered.load(Relaxed);
    measure.report(&shared, delivered).print();
    Ok(())
}

async fn write(connection: Connection, room: RoomId, shared: Arc<Shared>) -> Result<()> {
    let mut sends = ChatClient::new(connection).sends().await?;
    loop {
        let at = shared.clock.now();
        sends.sender.send(&stamped(room, at)?).await?;
        sends.receiver.next().await?.ok_or("the exchange ended")?;
        latency(at, shared.clock.now());
        shared.delivered.fetch_add(1, Relaxed);
        shared.updates.fetch_add(1, Relaxed);
    }
}
