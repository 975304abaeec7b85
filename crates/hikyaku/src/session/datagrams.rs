//! Which exchange a datagram belongs to. Pure: `now` is passed in, nothing is awaited. Spec: chapter 3, "Datagrams".
//!
//! A datagram may overtake the OPEN of its exchange. A few are therefore held for a moment; what nobody claims is
//! dropped and counted, never silently.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_wire::exchange::{MAX_DATAGRAM, decode_datagram};
use tokio::sync::Notify;

use crate::events::Dropped;

/// Datagrams of unknown exchanges held at once.
const HELD: usize = 16;
/// How long they are held.
const HOLD: Duration = Duration::from_secs(1);

/// How many exchanges' full queues one connection may hold in all.
const QUEUES: usize = 4;

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits in its exchange's queue.
    Queued(u64),
    /// Its exchange is unknown; it is held for a moment.
    Held,
    /// It was dropped: its exchange's queue was full, or all queues together hold too much.
    QueueFull,
    /// It was dropped: it is longer than this side said it takes.
    TooLong,
    /// It has no readable exchange number, which is the peer's mistake.
    Malformed,
}

impl Fate {
    /// Why something was dropped when a datagram arrived: that one itself, or one that was held for too long.
    pub(crate) fn dropped(&self) -> Dropped {
        match self {
            Self::QueueFull => Dropped::QueueFull,
            Self::TooLong => Dropped::TooLong,
            Self::Malformed => Dropped::Malformed,
            Self::Queued(_) | Self::Held => Dropped::Unclaimed,
        }
    }
}

/// The datagrams of one connection.
#[derive(Debug)]
pub struct Demux {
    queue_limit: usize,
    exchanges: HashMap<u64, Queue>,
    /// Datagrams in all queues.
    queued: usize,
    held: VecDeque<(Instant, u64, Bytes)>,
    dropped: u64,
}

/// The datagrams of one exchange that asked for them.
#[derive(Debug, Default)]
struct Queue {
    /// How often it was asked for.
    readers: usize,
    waiting: VecDeque<Bytes>,
    arrived: Arc<Notify>,
}

impl Demux {
    /// Nothing yet; each exchange's queue takes `queue_limit`.
    pub fn new(queue_limit: usize) -> Self {
        let (exchanges, held) = (HashMap::new(), VecDeque::new());
        Self { queue_limit, exchanges, queued: 0, held, dropped: 0 }
    }

    /// Makes an exchange known; datagrams that came too early move to its queue. Whoever waits for more is told by
    /// the result.
    pub fn register(&mut self, exchange: u64, now: Instant) -> Arc<Notify> {
        self.expire(now);
        let queue = self.exchanges.entry(exchange).or_default();
        queue.readers += 1;
        self.held.retain(|(_, of, payload)| {
            let claimed = *of == exchange;
            if claimed && has_room(self.queue_limit, queue, self.queued) {
                queue.waiting.push_back(payload.clone());
                self.queued += 1;
            } else if claimed {
                self.dropped += 1;
            }
            !claimed
        });
        queue.arrived.clone()
    }

    /// Forgets an exchange when its last reader goes; what was not read counts as dropped.
    pub fn unregister(&mut self, exchange: u64) {
        let Some(queue) = self.exchanges.get_mut(&exchange) else { return };
        queue.readers -= 1;
        if queue.readers == 0 {
            let left = queue.waiting.len();
            self.exchanges.remove(&exchange);
            self.queued -= left;
            self.dropped += left as u64;
        }
    }

    /// Takes in one datagram as it came from the transport.
    //= S3.58
    pub fn arrive(&mut self, datagram: Bytes, now: Instant) -> Fate {
        let Some((exchange, payload)) = decode_datagram(datagram) else {
            self.dropped += 1;
            return Fate::Malformed;
        };
        if payload.len() > MAX_DATAGRAM {
            self.dropped += 1;
            return Fate::TooLong;
        }
        // Copied: what waits must not hold the whole buffer that it came in.
        let payload = Bytes::copy_from_slice(&payload);
        if let Some(queue) = self.exchanges.get_mut(&exchange) {
            if !has_room(self.queue_limit, queue, self.queued) {
                self.dropped += 1;
                return Fate::QueueFull;
            }
            queue.waiting.push_back(payload);
            self.queued += 1;
            queue.arrived.notify_waiters();
            return Fate::Queued(exchange);
        }
        self.expire(now);
        if self.held.len() == HELD {
            self.held.pop_front();
            self.dropped += 1;
        }
        self.held.push_back((now, exchange, payload));
        Fate::Held
    }

    /// The next datagram of an exchange.
    pub fn take(&mut self, exchange: u64) -> Option<Bytes> {
        let queue = self.exchanges.get_mut(&exchange)?;
        let taken = queue.waiting.pop_front()?;
        self.queued -= 1;
        if queue.waiting.is_empty() {
            // A burst must not leave its memory behind.
            queue.waiting.shrink_to(HELD);
        }
        Some(taken)
    }

    /// Datagrams dropped so far.
    pub(crate) fn count(&self) -> u64 {
        self.dropped
    }

    /// Datagrams that arrived and were not delivered.
    pub fn dropped(&mut self, now: Instant) -> u64 {
        self.expire(now);
        self.dropped
    }

    /// Wakes everybody who waits for a datagram.
    pub fn wake_all(&self) {
        self.exchanges.values().for_each(|queue| queue.arrived.notify_waiters());
    }

    fn expire(&mut self, now: Instant) {
        while self.held.front().is_some_and(|(since, _, _)| now.saturating_duration_since(*since) >= HOLD) {
            self.held.pop_front();
            self.dropped += 1;
        }
    }
}

/// Whether one more datagram may wait: within its own queue, and within what all queues hold.
fn has_room(limit: usize, queue: &Queue, queued: usize) -> bool {
    queue.waiting.len() < limit && queued < limit.saturating_mul(QUEUES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::exchange::encode_datagram;

    fn datagram(exchange: u64, text: &str) -> Bytes {
        let mut out = Vec::new();
        encode_datagram(exchange, text.as_bytes(), &mut out);
        out.into()
    }

    #[test]
    fn a_datagram_that_overtakes_its_open_is_delivered_once_the_exchange_is_known() {
        let (mut demux, now) = (Demux::new(4), Instant::now());
        assert_eq!(demux.arrive(datagram(6, "early"), now), Fate::Held);
        demux.register(6, now + HOLD / 2);
        assert_eq!(demux.take(6).as_deref(), Some(&b"early"[..]));
        assert_eq!(demux.dropped(now), 0);
    }

    //= S3.58 (test)
    #[test]
    fn a_datagram_nobody_claims_is_dropped_after_a_second_and_counted() {
        let (mut demux, now) = (Demux::new(4), Instant::now());
        demux.arrive(datagram(6, "late"), now);
        demux.register(6, now + HOLD);
        assert_eq!((demux.take(6), demux.dropped(now)), (None, 1));
    }

    //= S3.58 (test)
    #[test]
    fn sixteen_unclaimed_datagrams_are_held_and_the_seventeenth_costs_the_oldest() {
        let (mut demux, now) = (Demux::new(64), Instant::now());
        for number in 0..17 {
            demux.arrive(datagram(2, &number.to_string()), now);
        }
        demux.register(2, now);
        assert_eq!((demux.take(2).as_deref(), demux.dropped(now)), (Some(&b"1"[..]), 1));
    }

    #[test]
    fn a_full_queue_drops_what_arrives_and_counts_it() {
        let (mut demux, now) = (Demux::new(1), Instant::now());
        demux.register(2, now);
        assert_eq!(demux.arrive(datagram(2, "a"), now), Fate::Queued(2));
        assert_eq!(demux.arrive(datagram(2, "b"), now), Fate::QueueFull);
        assert_eq!((demux.take(2).as_deref(), demux.take(2), demux.dropped(now)), (Some(&b"a"[..]), None, 1));
    }

    #[test]
    fn a_datagram_longer_than_a_thousand_bytes_is_dropped_and_counted() {
        let (mut demux, now) = (Demux::new(4), Instant::now());
        demux.register(2, now);
        assert_eq!(demux.arrive(datagram(2, &"x".repeat(1000)), now), Fate::Queued(2));
        assert_eq!(demux.arrive(datagram(2, &"x".repeat(1001)), now), Fate::TooLong);
        assert_eq!(demux.dropped(now), 1);
    }

    #[test]
    fn all_queues_together_hold_no_more_than_four_full_ones() {
        let (mut demux, now) = (Demux::new(2), Instant::now());
        for exchange in 0..5 {
            demux.register(exchange, now);
            let fate = if exchange < 4 { Fate::Queued(exchange) } else { Fate::QueueFull };
            assert_eq!(demux.arrive(datagram(exchange, "a"), now), fate);
            assert_eq!(demux.arrive(datagram(exchange, "b"), now), fate);
        }
        demux.unregister(0);
        assert_eq!(demux.dropped(now), 4, "two for want of room, two unread");
        assert_eq!(demux.arrive(datagram(4, "c"), now), Fate::Queued(4));
    }

    #[test]
    fn datagrams_that_came_too_early_keep_the_limits_of_the_queues_too() {
        let (mut demux, now) = (Demux::new(2), Instant::now());
        for exchange in 0..5 {
            for text in ["a", "b", "c"] {
                assert_eq!(demux.arrive(datagram(exchange, text), now), Fate::Held);
            }
            demux.register(exchange, now);
        }
        let taken = (0..5).flat_map(|exchange| std::iter::repeat_n(exchange, 3));
        assert_eq!(taken.filter_map(|exchange| demux.take(exchange)).count(), 8, "four queues of two");
        assert_eq!(demux.dropped(now), 15 - 8);
    }

    #[test]
    fn an_exchange_is_known_until_its_last_reader_has_gone() {
        let (mut demux, now) = (Demux::new(2), Instant::now());
        demux.register(2, now);
        demux.register(2, now);
        demux.unregister(2);
        assert_eq!(demux.arrive(datagram(2, "a"), now), Fate::Queued(2));
        demux.unregister(2);
        assert_eq!(demux.arrive(datagram(2, "b"), now), Fate::Held);
        assert_eq!(demux.queued, 0);
    }

    #[test]
    fn a_datagram_without_a_number_is_malformed() {
        assert_eq!(Demux::new(1).arrive(Bytes::from_static(&[0x40]), Instant::now()), Fate::Malformed);
    }
}
