//! `sync`: the exchange over which one connection follows its rooms.

use std::pin::pin;
use std::sync::Arc;

use hikyaku::{Error, Exchange, Failure, Receiver, Retry, Sender};
use hikyaku_wire::chat::Follow;
use hikyaku_wire::codes::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::core::Core;
use super::feed::{Feed, Next};
use crate::member::Member;
use crate::refusal::Refusal;

/// Answers one `sync` exchange until the client ends it or the server drains.
///
/// Each direction is a task of its own: news wake the one that tells them, and nothing else is looked at.
pub(crate) async fn serve<C: Member>(core: &Arc<Core>, exchange: Exchange<C>) -> hikyaku::Result<()> {
    let member: Arc<dyn Member> = exchange.shared_context();
    let connection = exchange.connection().clone();
    let (sender, receiver) = exchange.split();
    // One message at a time: a client that asks faster than it is answered waits.
    let (asked, asks) = mpsc::channel(1);
    let feed = Feed::new(core.clone(), member);
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(receiver, asked));
    tasks.spawn(tell(core.clone(), feed, asks, sender));
    let result = tokio::select! {
        result = all(&mut tasks) => result,
        //= S4.48
        () = connection.draining() => {
            let failure = Failure::new(ErrorCode::UNAVAILABLE, "the server is going away; follow again from your cursors");
            Err(Error::Failure(failure.with_retry(Retry::NewConnection)))
        }
    };
    // What ends the exchange can be said once nobody else speaks.
    tasks.shutdown().await;
    result
}

/// Both must end well; either failing ends the exchange.
async fn all(tasks: &mut JoinSet<hikyaku::Result<()>>) -> hikyaku::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only a runtime that ends cancels tasks of ours.
                Err(_) => return Err(failed(Refusal::Stopping)),
            },
        }
    }
    Ok(())
}

async fn listen(mut receiver: Receiver, asked: mpsc::Sender<Follow>) -> hikyaku::Result<()> {
    loop {
        match receiver.receive::<Follow>().await {
            Ok(follow) => {
                if asked.send(follow).await.is_err() {
                    return Ok(());
                }
            }
            Err(Error::Ended) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Sends what there is; then waits for wishes, news and time.
async fn tell(
    core: Arc<Core>,
    mut feed: Feed,
    mut asks: mpsc::Receiver<Follow>,
    mut sender: Sender,
) -> hikyaku::Result<()> {
    let mailbox = feed.mailbox();
    // Kept over the rounds: setting a timer anew for every update would cost more than the update.
    let mut next_check = pin!(sleep(core.limits.heads_every));
    let mut next_heads = Instant::now();
    loop {
        // Credit is waited for here: a slow reader slows down nobody but itself.
        let mut is_first = true;
        while let Some(next) = feed.next().await.map_err(failed)? {
            match next {
                Next::Shared(message) => sender.send_shared(&message).await?,
                Next::Own(update) => sender.send(&*update).await?,
            }
            // Most of the time there is one update and then nothing, and wishes are looked at below.
            if std::mem::replace(&mut is_first, false) {
                continue;
            }
            while let Ok(follow) = asks.try_recv() {
                feed.apply(follow).await.map_err(failed)?;
            }
        }
        // In this order: wishes come first, and news, the usual reason to wake, before what is costly to look at.
        tokio::select! {
            biased;
            ask = asks.recv() => match ask {
                Some(follow) => feed.apply(follow).await.map_err(failed)?,
                None => return Ok(()),
            },
            () = mailbox.changed() => {}
            () = async { sleep_until(next_heads).await }, if feed.has_heads_due() => {
                feed.flush_heads();
                next_heads = Instant::now() + core.limits.head_delay;
            }
            () = &mut next_check => {
                core.refresh_logs(&feed.rooms()).await.map_err(failed)?;
                feed.check_all();
                next_check.as_mut().reset(Instant::now() + core.limits.heads_every);
            }
        }
    }
}

pub(crate) fn failed(refusal: Refusal) -> Error {
    Error::Failure(refusal.into())
}
