//! QX_PING, both ways (draft §4.3). However many questions come, one answer waits.

use crate::frame::Ping;
use crate::violation::Violation;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Pings {
    /// A question of ours waits to be sent.
    wanted: bool,
    /// The greatest sequence number sent; the first is 1.
    sent: u64,
    sent_at: Option<Instant>,
    /// The greatest sequence number received.
    received: Option<u64>,
    /// The answer that waits to be sent.
    answer: Option<u64>,
}

impl Pings {
    /// Asks; questions that wait are one question.
    pub(crate) fn ask(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.wanted || self.answer.is_some()
    }

    /// The next frame to send.
    pub(crate) fn transmit(&mut self, now: Instant) -> Option<Ping> {
        if let Some(sequence) = self.answer.take() {
            return Some(Ping { response: true, sequence });
        }
        std::mem::take(&mut self.wanted).then(|| {
            //= S2.19
            self.sent += 1;
            self.sent_at = Some(now);
            Ping { response: false, sequence: self.sent }
        })
    }

    /// Takes a frame; returns the round trip when it answers the newest question.
    pub(crate) fn receive(&mut self, now: Instant, ping: Ping) -> Result<Option<Duration>, Violation> {
        if ping.response {
            return self.receive_answer(now, ping.sequence);
        }
        //= S2.19
        if self.received.is_some_and(|received| ping.sequence <= received) {
            let reason = format!("QX_PING {} does not exceed the one before", ping.sequence);
            return Err(Violation::protocol(reason));
        }
        self.received = Some(ping.sequence);
        self.answer = Some(ping.sequence);
        Ok(None)
    }

    fn receive_answer(&mut self, now: Instant, sequence: u64) -> Result<Option<Duration>, Violation> {
        //= S2.19
        if sequence == 0 || sequence > self.sent {
            return Err(Violation::protocol(format!("QX_PING {sequence} answers a question never asked")));
        }
        if sequence < self.sent {
            return Ok(None);
        }
        Ok(self.sent_at.take().map(|sent_at| now.saturating_duration_since(sent_at)))
    }
}
