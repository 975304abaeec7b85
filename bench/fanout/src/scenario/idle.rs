//! Connections that do nothing: one small question each, then silence. With `follow=1` each follows a room.

use std::time::{Duration, Instant};

use bench_common::Result;
use hikyaku_chat::{ChatClient, Position};

use crate::Plan;
use crate::clients::{Reader, connect, room};
use crate::json::Object;
use crate::stats::usage;

pub async fn run(plan: Plan) -> Result<()> {
    let (count, pid) = (plan.number("conns", 1000), plan.text("pid"));
    // What the first connections allocate once is not theirs.
    let warm = connect(&plan.ready, 64, plan.transport(), plan.limits()).await?;
    let lobby = room(&ChatClient::new(warm.first().ok_or("nobody")?.clone()), 0).await?;
    for connection in &warm {
        ChatClient::new(connection.clone()).resolve(lobby).await?;
    }
    drop(warm);
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let (before, begun) = (usage(&pid), Instant::now());
    let connections = connect(&plan.ready, count as usize, plan.transport(), plan.limits()).await?;
    let (joined, seconds) = (usage(&pid), begun.elapsed().as_secs_f64());
    let mut readers = Vec::new();
    for connection in &connections {
        if plan.number("follow", 0) == 1 {
            readers.push(Reader::follow(connection.clone(), lobby, Position::END).await?);
        } else {
            ChatClient::new(connection.clone()).resolve(lobby).await?;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = usage(&pid);
    tokio::time::sleep(Duration::from_secs(plan.number("secs", 3))).await;
    let after = usage(&pid);
    Object::default()
        .number("conns", count as f64)
        .number("connect_s", seconds)
        .number("cpu_us_per_connect", (joined.cpu - before.cpu) / count as f64 * 1e6)
        .number("rss_before_mb", before.rss_mb)
        .number("rss_mb", after.rss_mb)
        .number("kb_per_conn", (after.rss_mb - before.rss_mb) / count as f64 * 1e3)
        .number("idle_cpu_s", after.cpu - asked.cpu)
        .print();
    Ok(())
}
