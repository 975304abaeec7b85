//! Many small rooms in which every member writes at a steady rate: open loop.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench_common::Result;
use hikyaku::Connection;
use hikyaku_chat::wire::RoomId;
use hikyaku_chat::{ChatClient, Position};
use tokio::time::Instant;

use super::Measure;
use crate::Plan;
use crate::clients::{Reader, Shared, connect, room, stamped};

/// A stall counts as latency, the timer's own lateness does not.
const LATE: u64 = 2_000_000;

pub async fn run(plan: Plan) -> Result<()> {
    let (rooms, members, rate) =
        (plan.number("rooms", 100), plan.number("members", 10), plan.number("rate", 2));
    let messages = rate * plan.number("secs", 10);
    let shared = Shared::new();
    let count = rooms * members;
    let connections = connect(&plan.ready, count as usize, plan.transport(), plan.limits()).await?;
    let first = ChatClient::new(connections.first().ok_or("nobody")?.clone());
    let mut ids = Vec::new();
    for number in 0..rooms {
        ids.push(room(&first, number as usize).await?);
    }
    for (number, connection) in connections.iter().enumerate() {
        let reader = Reader::follow(connection.clone(), ids[number % ids.len()], Position::START).await?;
        tokio::spawn(reader.run(shared.clone()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;

    let measure = Measure::begin(&plan, &shared);
    let (begin, every) = (Instant::now(), Duration::from_secs_f64(1.0 / rate as f64));
    for (number, connection) in connections.into_iter().enumerate() {
        let first = begin + every.mul_f64(number as f64 / count as f64);
        let (shared, room) = (shared.clone(), ids[number % ids.len()]);
        tokio::spawn(async move {
            if let Err(error) = write(connection, room, first, every, messages, &shared).await
                && shared.broken.fetch_add(1, Relaxed) == 0
            {
                eprintln!("the first broken author: {error}");
            }
        });
    }
    let expected = messages * count * members;
    shared.settle(expected).await;
    measure.report(&shared, expected).print();
    Ok(())
}

async fn write(
    connection: Connection,
    room: RoomId,
    first: Instant,
    every: Duration,
    messages: u64,
    shared: &Arc<Shared>,
) -> Result<()> {
    let mut sends = ChatClient::new(connection).sends().await?;
    tokio::spawn(async move { while let Ok(Some(_)) = sends.receiver.next().await {} });
    let mut due = first;
    for _ in 0..messages {
        tokio::time::sleep_until(due).await;
        let (now, planned) = (shared.clock.now(), shared.clock.at(due.into_std()));
        let at = if now > planned + LATE { planned } else { now };
        sends.sender.send(&stamped(room, at)?).await?;
        due += every;
    }
    // What is unanswered when everything was delivered needs no answer.
    std::future::pending().await
}
