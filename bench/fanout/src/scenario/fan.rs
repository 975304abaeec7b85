//! One author, many members of one room, so many messages in flight: closed loop.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench_common::Result;
use hikyaku_chat::{ChatClient, Position};

use super::Measure;
use crate::Plan;
use crate::clients::{Reader, Shared, connect, room, stamped};

pub async fn run(plan: Plan) -> Result<()> {
    let members = plan.number("members", 100);
    let (messages, window) = (plan.number("messages", 20_000), plan.number("window", 64));
    let shared = Shared::new();
    shared.decoded.store(plan.number("decode", 1).max(1), Relaxed);
    let mut connections = connect(&plan.ready, members as usize + 1, plan.transport(), plan.limits()).await?;
    let author = ChatClient::new(connections.pop().ok_or("nobody")?);
    let room = room(&author, 0).await?;
    for connection in connections {
        let reader = Reader::follow(connection, room, Position::START).await?;
        tokio::spawn(reader.run(shared.clone()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;

    let mut sends = author.sends().await?;
    tokio::spawn(async move { while let Ok(Some(_)) = sends.receiver.next().await {} });
    let measure = Measure::begin(&plan, &shared);
    for sent in 0..messages {
        // The same loop as the generator of the other servers: half a window is waited for at once.
        if sent >= window && shared.delivered.load(Relaxed) < (sent - window) * members {
            sends.sender.flush().await?;
            shared.reach((sent - window / 2) * members).await;
        }
        sends.sender.feed(&stamped(room, shared.clock.now())?).await?;
    }
    sends.sender.flush().await?;
    shared.settle(messages * members).await;
    measure.report(&shared, messages * members).print();
    Ok(())
}
