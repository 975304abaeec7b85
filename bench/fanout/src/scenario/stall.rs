//! One author at a steady rate, members who read, and with `stalled=1` one who has stopped reading.

use std::time::Duration;

use bench_common::Result;
use hikyaku::Limits;
use hikyaku_chat::{ChatClient, Position};
use tokio::time::Instant;

use super::Measure;
use crate::Plan;
use crate::clients::{Reader, Shared, connect, room, stamped};

/// The stalled reader's credit: it is used up at once, so that most of the time the server has nowhere to put anything.
const STALLED_WINDOW: u64 = 256 * 1024;

pub async fn run(plan: Plan) -> Result<()> {
    let (members, rate, stalled) =
        (plan.number("members", 100), plan.number("rate", 500), plan.number("stalled", 0));
    let messages = rate * plan.number("secs", 5);
    let shared = Shared::new();
    let mut connections = connect(&plan.ready, members as usize + 1, plan.transport(), plan.limits()).await?;
    let author = ChatClient::new(connections.pop().ok_or("nobody")?);
    let room = room(&author, 0).await?;
    let small = Limits { stream_window: STALLED_WINDOW, ..plan.limits() };
    let mut unread = Vec::new();
    for connection in connect(&plan.ready, stalled as usize, plan.transport(), small).await? {
        unread.push(Reader::follow(connection, room, Position::START).await?);
    }
    for connection in connections {
        let reader = Reader::follow(connection, room, Position::START).await?;
        tokio::spawn(reader.run(shared.clone()));
    }
    let mut sends = author.sends().await?;
    tokio::spawn(async move { while let Ok(Some(_)) = sends.receiver.next().await {} });
    let (mut due, every) = (Instant::now(), Duration::from_secs_f64(1.0 / rate as f64));
    // The stalled reader's credit goes before anything is counted.
    let (warm_up, mut measure) = (messages / 4, None);
    for sent in 0..warm_up + messages {
        if sent == warm_up {
            shared.settle(warm_up * members).await;
            (due, measure) = (Instant::now(), Some(Measure::begin(&plan, &shared)));
        }
        tokio::time::sleep_until(due).await;
        sends.sender.send(&stamped(room, shared.clock.now())?).await?;
        due += every;
    }
    shared.settle((warm_up + messages) * members).await;
    measure.ok_or("nothing was sent")?.report(&shared, messages * members).print();
    Ok(())
}
