//! `sync`: the exchange over which one connection follows its rooms.

use std::sync::Arc;

use hikyaku::{Error, Exchange, Failure, Receiver, Retry, Sender};
use hikyaku_wire::chat::Follow;
use hikyaku_wire::codes::ErrorCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use super::feed::Feed;
use crate::member::Member;
use crate::refusal::Refusal;

/// Answers one `sync` exchange until the client ends it or the server drains.
pub(crate) async fn serve<C: Member>(core: &Arc<Core>, exchange: Exchange<C>) -> hikyaku::Result<()> {
    let member: Arc<dyn Member> = exchange.shared_context();
    let connection = exchange.connection().clone();
    let (sender, receiver) = exchange.split();
    // One message at a time: a client that asks faster than it is answered waits.
    let (asked, asks) = mpsc::channel(1);
    let feed = Feed::new(core.clone(), member);
    tokio::select! {
        // Both must end well; either failing ends the exchange.
        result = async { tokio::try_join!(listen(receiver, asked), tell(core, feed, asks, sender)) } => {
            result.map(|_| ())
        }
        //= S4.48
        () = connection.draining() => {
            let failure = Failure::new(ErrorCode::UNAVAILABLE, "the server is going away; follow again from your cursors");
            Err(Error::Failure(failure.with_retry(Retry::NewConnection)))
        }
    }
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
    core: &Core,
    mut feed: Feed,
    mut asks: mpsc::Receiver<Follow>,
    mut sender: Sender,
) -> hikyaku::Result<()> {
    let mailbox = feed.mailbox();
    let mut next_check = Instant::now() + core.limits.heads_every;
    let mut next_heads = Instant::now();
    loop {
        // Credit is waited for here: a slow reader slows down nobody but itself.
        while let Some(update) = feed.next_update().await.map_err(failed)? {
            sender.send(&update).await?;
            while let Ok(follow) = asks.try_recv() {
                feed.apply(follow).await.map_err(failed)?;
            }
        }
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(follow) => feed.apply(follow).await.map_err(failed)?,
                None => return Ok(()),
            },
            () = mailbox.changed() => {}
            () = sleep_until(next_heads), if feed.has_heads_due() => {
                feed.flush_heads();
                next_heads = Instant::now() + core.limits.head_delay;
            }
            () = sleep_until(next_check) => {
                core.refresh_logs(&feed.rooms()).await.map_err(failed)?;
                feed.check_all();
                next_check = Instant::now() + core.limits.heads_every;
            }
        }
    }
}

pub(crate) fn failed(refusal: Refusal) -> Error {
    Error::Failure(refusal.into())
}
