//! What both directions of an exchange share: that it is open, and how it went.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hikyaku_wire::codes::ErrorCode;

use crate::budget::NoRoom;
use crate::connection::Inner;
use crate::events::{By, event};

/// Counts an exchange as open for as long as either of its directions is held, and records how it went.
pub(crate) struct ExchangeGuard {
    inner: Arc<Inner>,
    /// It came before GOAWAY.
    admitted: bool,
    /// Why there is no room for one more of the peer's exchanges.
    no_room: Option<NoRoom>,
    stream_id: u64,
    /// Who opened it. The answer alone decides how an exchange went, so this says which direction is looked at.
    by: By,
    /// OPEN was sent or received.
    opened: AtomicBool,
    /// Its opening was recorded, so that its end has to be.
    announced: AtomicBool,
    outcome: OnceLock<Outcome>,
}

/// How an exchange went.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The answer is whole.
    Ended,
    /// The answer is an ERROR.
    Failed(ErrorCode),
    /// There is no whole answer, because somebody gave up.
    Cancelled(ErrorCode),
}

impl ExchangeGuard {
    /// `by` has opened the exchange on this stream.
    pub(crate) fn new(inner: &Arc<Inner>, by: By, stream_id: u64) -> Arc<Self> {
        let admitted = inner.enter_exchange(by);
        let no_room = match by {
            By::Peer => inner.enter_share(),
            By::Us => None,
        };
        Arc::new(Self {
            inner: inner.clone(),
            admitted,
            no_room,
            stream_id,
            by,
            opened: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            outcome: OnceLock::new(),
        })
    }

    /// Whether it may go on: otherwise it is refused, or never was.
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Whether there is room for it.
    pub(crate) fn room(&self) -> Result<(), NoRoom> {
        self.no_room.map_or(Ok(()), Err)
    }

    pub(crate) fn set_opened(&self) {
        self.opened.store(true, Ordering::Release);
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    /// Records that the exchange was opened.
    pub(crate) fn announce(&self, protocol: &str, method: &str) {
        self.announced.store(true, Ordering::Release);
        let (by, stream_id) = (self.by, self.stream_id);
        event!(
            self.inner.events,
            ExchangeOpened { by, stream_id, protocol: protocol.into(), method: method.into() }
        );
    }

    /// What became of the answer, which `speaker` gives. What was said first stays.
    pub(crate) fn set_outcome(&self, speaker: By, outcome: Outcome) {
        if speaker != self.by {
            // Said once already.
            let _ = self.outcome.set(outcome);
        }
    }

    fn record_end(&self) {
        let (by, stream_id) = (self.by, self.stream_id);
        match self.outcome.get() {
            Some(Outcome::Ended) => event!(self.inner.events, ExchangeEnded { by, stream_id }),
            Some(Outcome::Failed(code)) => {
                event!(self.inner.events, ExchangeFailed { by, stream_id, code: *code });
            }
            Some(Outcome::Cancelled(code)) => {
                event!(self.inner.events, ExchangeCancelled { by, stream_id, code: Some(*code) });
            }
            None => event!(self.inner.events, ExchangeCancelled { by, stream_id, code: None }),
        }
    }
}

impl Drop for ExchangeGuard {
    fn drop(&mut self) {
        if *self.announced.get_mut() {
            self.record_end();
        }
        if matches!(self.by, By::Peer) && self.no_room.is_none() {
            self.inner.share.leave();
        }
        self.inner.leave_exchange();
    }
}
