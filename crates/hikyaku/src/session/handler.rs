//! Answering an exchange that the peer opened: read OPEN, find the handler, run it, and say how it ended.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Open, milliseconds};

use crate::budget::NoRoom;
use crate::connection::{Connection, Inner};
use crate::error::{Error, Result};
use crate::events::{By, Recorder, event};
use crate::exchange::{Exchange, Receiver, Request, SendState, Sender, Ticket};
use crate::router::{Access, Answer, Router};
use crate::session::inbound::{Inbound, Said};
use crate::transport::{Bidirectional, StreamError};

/// How long the tasks of a handler that was ended may take to end.
const GIVEN_BACK: Duration = Duration::from_secs(1);

/// Answers one exchange from its first byte to its last. It counts as open from this call on, not from the first poll.
pub(super) fn answer<C: Send + Sync + 'static>(
    inner: Arc<Inner>,
    router: Arc<Router<C>>,
    context: Arc<C>,
    stream: Bidirectional,
) -> impl Future<Output = ()> + Send + 'static {
    let connection = inner.handle();
    let frames = inner.stranger.then_some(inner.limits.stranger_max_frames);
    let cancelled = cancelled(stream.0.done());
    let inbound = Inbound::answering(inner.frame_limits(), frames);
    let halves = connection.halves(stream, By::Peer, inbound, None);
    answer_on(connection, halves, cancelled, router, context)
}

async fn answer_on<C: Send + Sync + 'static>(
    connection: Connection,
    (mut sender, mut receiver): (Sender, Receiver),
    cancelled: impl Future<Output = ()>,
    router: Arc<Router<C>>,
    context: Arc<C>,
) {
    let inner = connection.inner();
    if !sender.guard().is_admitted() {
        //= S3.50
        //= S3.71
        return refuse(&mut sender, &mut receiver, ErrorCode::REFUSED);
    }
    if let Err(NoRoom { name, limit }) = sender.guard().room() {
        return turn_away(sender, receiver, Error::NoRoom { name, limit, nothing_done: true }).await;
    }
    let open = match beginning(inner, &mut receiver).await {
        Beginning::Asked(open) => open,
        Beginning::Failed(error) => return conclude(sender, Err(error)).await,
        Beginning::Nothing(code) => return refuse(&mut sender, &mut receiver, code),
    };
    sender.set_opened();
    sender.guard().announce(&open.protocol, &open.method);
    if let Err(failure) = may(inner, &router, &open) {
        return conclude(sender, Err(failure.into())).await;
    }
    //= S3.53
    let deadline = open.deadline_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    if deadline.is_some_and(|at| at <= Instant::now()) {
        return conclude(sender, Err(Error::Deadline)).await;
    }
    let ticket = Arc::new(Ticket::default());
    let exchange = exchange((sender, receiver), open, deadline, &ticket, context);
    // Begun here: a future keeps room for everything that it was given.
    let answer = catch_unwind(AssertUnwindSafe(|| router.answer(exchange)));
    let answer = without_panic(&inner.events, answer);
    let result = tokio::select! {
        // Most handlers answer without waiting: nothing else has to be prepared for them.
        biased;
        result = answer => result,
        () = cancelled => return drop(ticket.take()),
        () = expired(deadline) => Err(Error::Deadline),
    };
    if let Err(error) = &result {
        event!(inner.events, HandlerFailed { error: error.to_string().into() });
    }
    let left = match ticket.take() {
        // A task of the handler's has it, and is being ended with the handler.
        None if result.is_err() && Arc::strong_count(&ticket) > 1 => {
            let _ = tokio::time::timeout(GIVEN_BACK, ticket.given_back()).await;
            ticket.take()
        }
        left => left,
    };
    if let Some(sender) = left {
        conclude(sender.without_deadline(), result).await;
    }
}

/// How an exchange begins.
enum Beginning {
    Asked(Open),
    /// The question is not one, or found no room: its opener is told.
    Failed(Error),
    /// Nothing was asked, and nothing is answered.
    Nothing(ErrorCode),
}

async fn beginning(inner: &Inner, receiver: &mut Receiver) -> Beginning {
    match tokio::time::timeout(inner.limits.open_timeout, receiver.said()).await {
        Ok(Ok(Some(Said::Open(open)))) => Beginning::Asked(open),
        //= S3.41
        Ok(Err(Error::Message(error))) => {
            Beginning::Failed(Failure::new(ErrorCode::INVALID_MESSAGE, format!("OPEN: {error}")).into())
        }
        Ok(Err(error @ (Error::NoRoom { .. } | Error::Stalled(_)))) => Beginning::Failed(error),
        // The stream was reset, ended early, or broke the connection.
        Ok(_) => Beginning::Nothing(ErrorCode::TRUNCATED),
        Err(_) => {
            let (value, owner) = (milliseconds(inner.limits.open_timeout), By::Us);
            event!(inner.events, LimitReached { limit: "open_timeout", value, owner });
            Beginning::Nothing(ErrorCode::STREAM_DEADLINE)
        }
    }
}

/// A panic is a bug of the handler, and ends its exchange alone.
fn without_panic<'a>(
    events: &'a Recorder,
    mut answer: std::thread::Result<Answer<'a>>,
) -> impl Future<Output = Result<()>> + use<'a> {
    // What the handler shares with others is its own to protect; a future that panicked is not polled again.
    poll_fn(move |cx| {
        let polled = match &mut answer {
            Ok(answer) => catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))),
            Err(panic) => Err(std::mem::replace(panic, Box::new(()))),
        };
        polled.unwrap_or_else(|_| {
            event!(*events, HandlerPanicked {});
            let failure = Failure::new(ErrorCode::INTERNAL, "the request failed here: its handler is broken");
            Poll::Ready(Err(failure.into()))
        })
    })
}

fn exchange<C>(
    (sender, mut receiver): (Sender, Receiver),
    open: Open,
    deadline: Option<Instant>,
    ticket: &Arc<Ticket>,
    context: Arc<C>,
) -> Exchange<C> {
    let request =
        Request { protocol: open.protocol, method: open.method, metadata: open.metadata.unwrap_or_default() };
    receiver.set_deadline(deadline);
    Exchange::new(sender.with_ticket(ticket.clone(), deadline), receiver, request, context)
}

/// Whether this peer may use that protocol.
//= S3.42
//= S6.20
fn may<C: Send + Sync + 'static>(inner: &Inner, router: &Router<C>, open: &Open) -> Result<(), Failure> {
    match router.access(&open.protocol) {
        Access::Everybody => Ok(()),
        Access::Members if !inner.stranger => Ok(()),
        // A stranger does not learn which protocols there are.
        _ if inner.stranger => {
            Err(Failure::new(ErrorCode::ENROLL_REQUIRED, "this device is not enrolled here"))
        }
        Access::Members | Access::Unknown => {
            let protocol = crate::printable(&open.protocol);
            Err(Failure::new(ErrorCode::UNKNOWN_PROTOCOL, format!("there is no protocol {protocol} here")))
        }
    }
}

/// Says how the handler ended, if it has not said so itself, and waits until the peer has heard it.
async fn conclude(mut sender: Sender, result: Result<()>) {
    let said = match (sender.state(), result) {
        (SendState::Finished, _) => Ok(()),
        (_, Ok(())) => sender.finish().await,
        // The peer takes nothing any more, and an ERROR would have to wait behind what it does not take.
        (_, Err(Error::Deadline)) if sender.is_stuck() => return sender.reset(ErrorCode::STREAM_DEADLINE),
        (_, Err(Error::NoRoom { .. })) if sender.is_stuck() => return sender.reset(ErrorCode::LIMIT),
        (_, Err(_)) if sender.is_stuck() => return sender.reset(ErrorCode::CANCELLED),
        (SendState::Open, Err(error)) => sender.fail(error.into_failure()).await,
        (SendState::Ending, Err(_)) => sender.finish().await,
    };
    if said.is_ok() {
        sender.delivered().await;
    }
}

//= S3.48
fn refuse(sender: &mut Sender, receiver: &mut Receiver, code: ErrorCode) {
    let stream_id = sender.stream_id();
    event!(sender.connection().inner().events, ExchangeRefused { stream_id, code });
    sender.reset(code);
    receiver.stop(code);
}

/// There is no room for one more exchange: it is told if the transport takes that now, and does not wait for it.
//= S3.93
async fn turn_away(mut sender: Sender, mut receiver: Receiver, error: Error) {
    if let Error::NoRoom { name: limit, limit: value, .. } = error {
        event!(sender.connection().inner().events, LimitReached { limit, value, owner: By::Us });
    }
    let told = {
        let mut told = pin!(sender.fail(error.into_failure()));
        poll_fn(|cx| Poll::Ready(told.as_mut().poll(cx).is_ready())).await
    };
    if !told {
        sender.reset(ErrorCode::BUSY);
    }
    receiver.stop(ErrorCode::BUSY);
}

/// Resolves when the peer no longer reads: it gave up the exchange, or the connection is gone.
async fn cancelled(done: impl Future<Output = Result<(), StreamError>>) {
    if done.await.is_ok() {
        std::future::pending::<()>().await;
    }
}

async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
