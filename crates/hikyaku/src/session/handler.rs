//! Answering an exchange that the peer opened: read OPEN, find the handler, run it, and say how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Open};

use crate::connection::{Connection, Inner};
use crate::error::{Error, Result};
use crate::exchange::{Exchange, Receiver, Request, SendState, Sender, Ticket};
use crate::router::{Access, Router};
use crate::session::inbound::{Inbound, Said};
use crate::transport::{Bidirectional, StreamError};

/// Answers one exchange from its first byte to its last.
pub(super) async fn answer<C: Send + Sync + 'static>(
    inner: Arc<Inner>,
    router: Arc<Router<C>>,
    context: Arc<C>,
    stream: Bidirectional,
) {
    let connection = inner.handle();
    let frames = inner.stranger.then_some(inner.limits.stranger_max_frames);
    let cancelled = cancelled(stream.0.done());
    let inbound = Inbound::answering(inner.frame_limits(), frames);
    let (mut sender, mut receiver) = connection.halves(stream, inbound, None);
    if inner.refuses_exchanges() {
        return refuse(&mut sender, &mut receiver, ErrorCode::REFUSED);
    }
    let opened = tokio::time::timeout(inner.limits.open_timeout, receiver.said()).await;
    let open = match opened {
        Ok(Ok(Some(Said::Open(open)))) => open,
        Ok(Err(Error::Message(error))) => {
            let failure = Failure::new(ErrorCode::INVALID_MESSAGE, format!("OPEN: {error}"));
            return conclude(sender, Err(failure.into())).await;
        }
        // Nothing was asked: the stream ended, was reset, came to nothing in time, or broke the connection.
        Ok(_) | Err(_) => return refuse(&mut sender, &mut receiver, ErrorCode::STREAM_DEADLINE),
    };
    if let Err(failure) = may(&inner, &router, &open) {
        return conclude(sender, Err(failure.into())).await;
    }
    let deadline = open.deadline_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let ticket = Arc::new(Ticket::default());
    let exchange = exchange(&connection, (sender, receiver), open, deadline, &ticket, context);
    let result = tokio::select! {
        result = router.answer(exchange) => result,
        () = cancelled => return drop(ticket.take()),
        () = expired(deadline) => Err(Error::Deadline),
    };
    if let Err(error) = &result {
        tracing::debug!(%error, "an exchange failed");
    }
    if let Some(sender) = ticket.take() {
        conclude(sender.without_deadline(), result).await;
    }
}

fn exchange<C>(
    connection: &Connection,
    (sender, mut receiver): (Sender, Receiver),
    open: Open,
    deadline: Option<Instant>,
    ticket: &Arc<Ticket>,
    context: Arc<C>,
) -> Exchange<C> {
    tracing::trace!(protocol = open.protocol, method = open.method, peer = %connection.peer(), "exchange");
    let request = Request {
        protocol: open.protocol,
        method: open.method,
        metadata: open.metadata.unwrap_or(Bytes::new()),
    };
    receiver.set_deadline(deadline);
    Exchange::new(sender.with_ticket(ticket.clone(), deadline), receiver, request, context)
}

/// Whether this peer may use that protocol.
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
        (SendState::Open, Ok(())) => sender.finish().await,
        (SendState::Open, Err(error)) => sender.fail(error.into_failure()).await,
        // A frame was cut in the middle: nothing that follows could be understood.
        (SendState::Writing, _) => return sender.reset(ErrorCode::CANCELLED),
    };
    if said.is_ok() {
        sender.delivered().await;
    }
}

fn refuse(sender: &mut Sender, receiver: &mut Receiver, code: ErrorCode) {
    sender.reset(code);
    receiver.stop(code);
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
