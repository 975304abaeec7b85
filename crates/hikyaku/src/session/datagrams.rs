//! Which exchange a datagram belongs to. Pure: `now` is passed in, nothing is awaited. Spec: chapter 3, "Datagrams".
//!
//! A datagram may overtake the OPEN of its exchange. A few are therefore held for a moment; what nobody claims is
//! dropped and counted, never silently.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_wire::exchange::decode_datagram;

/// Datagrams of unknown exchanges held at once.
const HELD: usize = 16;
/// How long they are held.
const HOLD: Duration = Duration::from_secs(1);

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits in its exchange's queue.
    Queued(u64),
    /// Its exchange is unknown; it is held for a moment.
    Held,
    /// It was dropped: its exchange's queue was full.
    QueueFull,
    /// It has no readable exchange number, which is the peer's mistake.
    Malformed,
}

/// The datagrams of one connection.
#[derive(Debug)]
pub(crate) struct Demux {
    queue_limit: usize,
    exchanges: HashMap<u64, VecDeque<Bytes>>,
    held: VecDeque<(Instant, u64, Bytes)>,
    dropped: u64,
}

impl Demux {
    pub(crate) fn new(queue_limit: usize) -> Self {
        Self { queue_limit, exchanges: HashMap::new(), held: VecDeque::new(), dropped: 0 }
    }

    /// Makes an exchange known; datagrams that came too early move to its queue.
    pub(crate) fn register(&mut self, exchange: u64, now: Instant) {
        self.expire(now);
        let queue = self.exchanges.entry(exchange).or_default();
        self.held.retain(|(_, of, payload)| {
            let claimed = *of == exchange;
            if claimed {
                queue.push_back(payload.clone());
            }
            !claimed
        });
    }

    /// Forgets an exchange; what was not read is not delivered.
    pub(crate) fn unregister(&mut self, exchange: u64) {
        self.exchanges.remove(&exchange);
    }

    /// Takes in one datagram as it came from the transport.
    pub(crate) fn arrive(&mut self, datagram: Bytes, now: Instant) -> Fate {
        let Some((exchange, payload)) = decode_datagram(datagram) else {
            self.dropped += 1;
            return Fate::Malformed;
        };
        if let Some(queue) = self.exchanges.get_mut(&exchange) {
            if queue.len() >= self.queue_limit {
                self.dropped += 1;
                return Fate::QueueFull;
            }
            queue.push_back(payload);
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
    pub(crate) fn take(&mut self, exchange: u64) -> Option<Bytes> {
        self.exchanges.get_mut(&exchange)?.pop_front()
    }

    /// Datagrams that arrived and were not delivered.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn expire(&mut self, now: Instant) {
        while self.held.front().is_some_and(|(since, _, _)| now.saturating_duration_since(*since) >= HOLD) {
            self.held.pop_front();
            self.dropped += 1;
        }
    }
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
        assert_eq!(demux.dropped(), 0);
    }

    #[test]
    fn a_datagram_nobody_claims_is_dropped_after_a_second_and_counted() {
        let (mut demux, now) = (Demux::new(4), Instant::now());
        demux.arrive(datagram(6, "late"), now);
        demux.register(6, now + HOLD);
        assert_eq!((demux.take(6), demux.dropped()), (None, 1));
    }

    #[test]
    fn sixteen_unclaimed_datagrams_are_held_and_the_seventeenth_costs_the_oldest() {
        let (mut demux, now) = (Demux::new(64), Instant::now());
        for number in 0..17 {
            demux.arrive(datagram(2, &number.to_string()), now);
        }
        demux.register(2, now);
        assert_eq!((demux.take(2).as_deref(), demux.dropped()), (Some(&b"1"[..]), 1));
    }

    #[test]
    fn a_full_queue_drops_what_arrives_and_counts_it() {
        let (mut demux, now) = (Demux::new(1), Instant::now());
        demux.register(2, now);
        assert_eq!(demux.arrive(datagram(2, "a"), now), Fate::Queued(2));
        assert_eq!(demux.arrive(datagram(2, "b"), now), Fate::QueueFull);
        assert_eq!((demux.take(2).as_deref(), demux.take(2), demux.dropped()), (Some(&b"a"[..]), None, 1));
    }

    #[test]
    fn a_datagram_without_a_number_is_malformed() {
        assert_eq!(Demux::new(1).arrive(Bytes::from_static(&[0x40]), Instant::now()), Fate::Malformed);
    }
}
