//! The session: what runs on a link once both ends know each other. Spec: chapter 3.
//!
//! One task per connection accepts exchanges, and each exchange gets a task of its own, which ends when the connection
//! does; another one takes in everything else. Nothing of a connection outlives it.

pub(crate) mod control;
pub(crate) mod datagrams;
#[cfg(test)]
mod exploration;
mod handler;
pub(crate) mod inbound;
pub(crate) mod lifecycle;
#[cfg(test)]
mod transitions;
pub(crate) mod void;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hikyaku_wire::codes::ErrorCode;
use tokio::task::JoinSet;

use crate::connection::{Connection, Inner};
use crate::error::{Closed, Error, Result};
use crate::events::{By, event};
use crate::router::Router;
use crate::session::datagrams::Fate;
use crate::session::lifecycle::LastLook;

/// Starts the session: sends HELLO and lets `router` answer what the peer asks. `kept` is dropped when it is over.
pub(crate) fn start<C: Send + Sync + 'static>(
    connection: &Connection,
    router: Arc<Router<C>>,
    context: Arc<C>,
    kept: impl Send + 'static,
) {
    let inner = connection.inner().clone();
    tokio::spawn(async move {
        run(inner, router, context).await;
        drop(kept);
    });
}

/// Waits until the peer's HELLO has arrived: from then on, requests make sense.
pub(crate) async fn established(connection: &Connection) -> Result<()> {
    let link = connection.link();
    connection.when(|inner| inner.has_hello() || inner.link().close_reason().is_some()).await;
    match link.close_reason() {
        Some(closed) if !connection.inner().has_hello() => Err(Error::Closed(closed)),
        _ => Ok(()),
    }
}

/// Says GOAWAY, lets open exchanges finish, and leaves the closing to the side that receives last.
//= S3.70
pub(crate) async fn drain(inner: &Arc<Inner>, time: Duration) {
    if inner.link().close_reason().is_some() {
        return;
    }
    inner.set_going_away();
    let drained = async {
        control::send_goaway(inner, time).await;
        // The peer closes when it has everything, which only it knows.
        inner.link().closed().await;
    };
    let _ = tokio::time::timeout(time, drained).await;
    inner.link().close(ErrorCode::GOING_AWAY.0, "drained");
}

async fn run<C: Send + Sync + 'static>(inner: Arc<Inner>, router: Arc<Router<C>>, context: Arc<C>) {
    // Both end with the connection by themselves, the first one with the peer's HELLO.
    tokio::spawn(control::expect_hello(inner.clone()));
    tokio::spawn(listen(inner.clone()));
    let mut taken = 0_u64;
    let mut last_look = LastLook::default();
    let closed = loop {
        let accepted = tokio::select! {
            // Exchanges that arrived before the peer's GOAWAY are still taken.
            biased;
            accepted = inner.link().accept_bi() => accepted,
            () = inner.when_told(Inner::may_close) => {
                if last_look.closes() {
                    break drained(&inner).await;
                }
                continue;
            }
        };
        match accepted {
            Ok(stream) => {
                last_look.found();
                taken += 1;
                //= S6.21
                if inner.stranger && taken > 1 {
                    let owner = By::Us;
                    event!(inner.events, LimitReached { limit: "stranger_exchanges", value: 1, owner });
                    inner.link().close(ErrorCode::STRANGER_LIMIT.0, "a stranger may open 1 exchange here");
                    continue;
                }
                let answer = handler::answer(inner.clone(), router.clone(), context.clone(), stream);
                // It ends with the connection by itself. Boxed, because a task's future is moved several times and
                // this one is large.
                tokio::spawn(Box::pin(answer));
            }
            Err(closed) => break closed,
        }
    };
    let peer = inner.handle().peer();
    event!(
        inner.events,
        ConnectionClosed {
            by: closed.by.into(),
            code: closed.code,
            reason: closed.reason.as_str().into(),
            peer
        }
    );
    if let Some(tap) = &inner.tap {
        tap.end(&closed);
    }
    // Whoever waits for this connection learns that it is over.
    inner.wake_all();
}

/// Says HELLO, and takes in what the peer says beside its exchanges. One task for all of it: most connections are silent
/// most of the time, and a task costs more memory than what it waits for.
async fn listen(inner: Arc<Inner>) {
    tokio::join!(control::greet(&inner), take_in(&inner));
}

/// Takes in the peer's unidirectional streams and its datagrams.
async fn take_in(inner: &Arc<Inner>) {
    // Nearly always the peer's control stream, and the only one. Others have a task each.
    let mut first = pin!(None);
    let mut others: Option<JoinSet<()>> = None;
    let mut is_first = true;
    loop {
        tokio::select! {
            stream = inner.link().accept_uni() => match stream {
                Ok(stream) if std::mem::take(&mut is_first) => first.set(Some(control::take(inner.clone(), stream))),
                Ok(stream) => { others.get_or_insert_default().spawn(control::take(inner.clone(), stream)); }
                Err(_) => return,
            },
            datagram = inner.link().receive_datagram() => match datagram {
                Ok(datagram) => {
                    //= S3.52
                    if inner.arrive(datagram) == Fate::Malformed {
                        inner.link().close(ErrorCode::DATAGRAM_ERROR.0, "a datagram without an exchange number");
                    }
                }
                Err(_) => return,
            },
            // Nothing has to be done for a stream that is over but to forget it.
            () = ended(&mut first) => first.set(None),
            () = one_of(&mut others), if others.is_some() => {}
        }
    }
}

/// Waits until one of these tasks has ended, and forgets them with the last one.
async fn one_of(tasks: &mut Option<JoinSet<()>>) {
    let ended = match tasks {
        Some(tasks) => tasks.join_next().await.is_some(),
        None => false,
    };
    if !ended {
        *tasks = None;
    }
}

/// Waits until the future that is there has ended; for ever if there is none.
async fn ended(future: &mut Pin<&mut Option<impl Future<Output = ()>>>) {
    poll_fn(|cx| future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx))).await;
}

/// The side that was told GOAWAY closes once its last exchange is over: it has received everything then. When both
/// were told, either may.
async fn drained(inner: &Inner) -> Closed {
    inner.link().close(ErrorCode::NO_ERROR.0, "drained");
    inner.link().closed().await
}
