//! Everybody was away, has missed the same messages, and comes back at the same moment.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench_common::Result;
use hikyaku_chat::wire::RoomId;
use hikyaku_chat::{ChatClient, Position};
use tokio::task::JoinSet;

use super::Measure;
use crate::Plan;
use crate::clients::{Reader, Shared, connect, room, stamped};
use crate::stats::usage;

pub async fn run(plan: Plan) -> Result<()> {
    let (count, missed, pid) = (plan.number("conns", 5000), plan.number("missed", 1000), plan.text("pid"));
    let shared = Shared::new();
    let author = connect(&plan.ready, 1, plan.transport(), plan.limits()).await?;
    let author = ChatClient::new(author.first().ok_or("nobody")?.clone());
    let room = room(&author, 0).await?;
    let before = follow(&plan, count, room, Position::START).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let steady = usage(&pid);
    let positions: Vec<Position> = before.iter().map(Reader::position).collect();
    drop(before);
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut sends = author.sends().await?;
    let answers = tokio::spawn(async move { while let Ok(Some(_)) = sends.receiver.next().await {} });
    for _ in 0..missed {
        sends.sender.feed(&stamped(room, shared.clock.now())?).await?;
    }
    sends.sender.finish().await?;
    answers.await?;

    let peak = watch_memory(pid);
    let measure = Measure::begin(&plan, &shared);
    let connections = connect(&plan.ready, count as usize, plan.transport(), plan.limits()).await?;
    for (connection, position) in connections.into_iter().zip(positions) {
        let shared = shared.clone();
        tokio::spawn(async move {
            Reader::start(connection, room, position).await?.run(shared).await;
            bench_common::Result::<()>::Ok(())
        });
    }
    shared.settle(count * missed).await;
    peak.abort();
    let peak_mb = PEAK.load(Relaxed) as f64;
    let object = measure.report(&shared, count * missed);
    object
        .number("steady_mb", steady.rss_mb)
        .number("peak_mb", peak_mb)
        .number("peak_ratio", peak_mb / steady.rss_mb)
        .print();
    Ok(())
}

async fn follow(plan: &Plan, count: u64, room: RoomId, from: Position) -> Result<Vec<Reader>> {
    let mut tasks = JoinSet::new();
    for connection in connect(&plan.ready, count as usize, plan.transport(), plan.limits()).await? {
        tasks.spawn(Reader::follow(connection, room, from));
    }
    let mut readers = Vec::new();
    while let Some(reader) = tasks.join_next().await {
        readers.push(reader??);
    }
    Ok(readers)
}

/// The most memory seen, in MB.
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Looks at the server's memory every few milliseconds.
fn watch_memory(pid: String) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            PEAK.fetch_max(usage(&pid).rss_mb as u64, Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}
