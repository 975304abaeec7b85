//! Congestion control: Cubic, which is quinn's own choice, with a judge before it and two limits behind it, all ours.
//!
//! **Losses are judged.** Few losses on a path without a queue are forgiven, and where there is a queue the window shrinks to what
//! the path carries, not below it: [`losses`] says why. Cubic is told of what is left.
//!
//! **Slow start ends at a queue**, not when the queue has overflown (as with HyStart, RFC 9406, and for its reason): the window does not grow while
//! packets come late, and Cubic is told when it is clear that they wait in a queue. Cubic alone sends twice what
//! the path carries until it hears of the losses: every second packet of a round trip is lost. The receiver's quinn gives a connection up whose
//! stream has more than 1,024 gaps, which a long path reaches.
//!
//! **A ceiling by the round trip.** Cubic grows until packets are lost. Where nothing but the peer's socket buffer is
//! the bottleneck, as between two ends of one machine, it keeps that buffer full, and chat waits behind bulk for
//! milliseconds. So the window is at most what [`FASTEST_PATH`] carries in the shortest round trip that was seen.
//!
//! **No limit at the end.** quinn-proto 0.11.19 asks the congestion controller before it sends CONNECTION_CLOSE whenever something else waits that
//! would be acknowledged, such as the RESET_STREAM of an exchange that was let go. Once a connection is closed it looks at
//! no acknowledgement any more: a window that is full then stays full, the close is never sent, and the peer keeps the
//! connection until its idle timeout. A packet of CONNECTION_CLOSE alone is not in flight (RFC 9002, 2) and needs no
//! window, so the controller has no limit from the moment the connection is closed. Nothing but the close is sent then.

mod losses;
#[cfg(test)]
mod simulation;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

use losses::{Acknowledged, Losses, Queue, Verdict};

/// Larger than whatever is in flight; quinn does not pace a window beyond 2^32.
const NO_LIMIT: u64 = 1 << 62;
/// Bytes a second that no path of ours exceeds: twice what sealing and system calls allow on one core by far.
const FASTEST_PATH: u64 = 4_000_000_000;
/// The least ceiling: a few bursts of packets and their acknowledgements.
const LEAST_CEILING: u64 = 256 * 1024;

/// The largest window, in bytes, that a path with this shortest round trip can have use for.
fn ceiling(shortest: Duration) -> u64 {
    let nanoseconds = u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds.saturating_mul(FASTEST_PATH / 1_000_000_000).max(LEAST_CEILING)
}

/// Makes the controllers of new connections.
#[derive(Debug, Default)]
pub(super) struct Factory {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = self.cubic.clone().build(now, current_mtu);
        let packet = u64::from(current_mtu);
        Box::new(Limited {
            inner,
            losses: Losses::new(now, packet),
            packet,
            shortest: Duration::ZERO,
            floor: 0,
            shrunk: None,
            is_starting: true,
            ceiling: NO_LIMIT,
            closed: Arc::default(),
        })
    }
}

/// To be called right before the connection is closed.
pub(super) fn lift_limit(connection: &Connection) {
    // Every path of a connection has a controller of this type; the copy shares its flag.
    if let Ok(controller) = connection.congestion_state().into_any().downcast::<Limited>() {
        controller.closed.store(true, Ordering::Relaxed);
    }
}

struct Limited {
    inner: Box<dyn Controller>,
    losses: Losses,
    /// Bytes of a full packet.
    packet: u64,
    /// The shortest round trip that was seen.
    shortest: Duration,
    /// Bytes that the path carries with a short queue, when that was last seen at a loss; 0 once it was full. The window is no smaller.
    floor: u64,
    /// When that was.
    shrunk: Option<Instant>,
    /// Slow start is not over yet.
    is_starting: bool,
    /// Bytes; nothing until a round trip was seen.
    ceiling: u64,
    closed: Arc<AtomicBool>,
}

impl Controller for Limited {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.shortest = rtt.min();
        self.ceiling = ceiling(self.shortest);
        let (window, packet, shortest) = (self.wanted(), self.packet, self.shortest);
        let acknowledged = Acknowledged { sent, bytes, window, packet, shortest, is_idle: app_limited };
        self.losses.acknowledged(now, acknowledged);
        // It may be a queue that begins, or only the peer that was late: the window waits until that is clear.
        let waits = self.is_starting && self.losses.queue(window, packet) != Queue::None;
        if !waits {
            self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        if self.is_starting && self.losses.queue(self.wanted(), self.packet) == Queue::Stands {
            self.tell(now, now, false, 0);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        // Marks instead of losses are what a router says of its queue.
        let is_judged = !is_persistent_congestion && lost_bytes > 0;
        let verdict = if is_judged { self.losses.lost(lost_bytes, self.shortest) } else { Verdict::Full };
        let told = match verdict {
            Verdict::Forgiven => false,
            Verdict::Queue(thousandths) => self.shrink(now, sent, thousandths),
            Verdict::Full => {
                self.floor = 0;
                true
            }
        };
        if told {
            self.tell(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.packet = u64::from(new_mtu);
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closed.load(Ordering::Relaxed) { NO_LIMIT } else { self.wanted().min(self.ceiling) }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let (inner, losses, closed) = (self.inner.clone_box(), self.losses.clone(), self.closed.clone());
        Box::new(Self { inner, losses, closed, ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Limited {
    /// Bytes, before the ceiling.
    fn wanted(&self) -> u64 {
        self.inner.window().max(self.floor)
    }

    fn tell(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost: u64) {
        self.is_starting = false;
        self.inner.on_congestion_event(now, sent, is_persistent, lost);
    }

    /// Leaves so many thousandths of the window, once a round trip; whether Cubic is to be told, because it is what the window rests on.
    fn shrink(&mut self, now: Instant, sent: Instant, thousandths: u64) -> bool {
        if self.shrunk.is_some_and(|at| sent <= at) {
            return false;
        }
        let told = self.inner.window() >= self.floor;
        self.floor = (self.wanted() / 1000).saturating_mul(thousandths.min(1000));
        self.shrunk = Some(now);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 Gbit/s over 100 ms are 125 MB: no real path is slowed down by the ceiling.
    #[test]
    fn a_path_with_a_round_trip_keeps_the_window_it_needs() {
        let ten_gigabits = |milliseconds: u64| milliseconds * 1_250_000;
        for milliseconds in [1, 5, 20, 100, 500] {
            assert!(ceiling(Duration::from_millis(milliseconds)) >= 2 * ten_gigabits(milliseconds));
        }
    }

    /// What may stand before chat on one machine: at a gigabyte a second, half a millisecond of it.
    #[test]
    fn a_path_without_a_round_trip_has_a_small_window() {
        assert_eq!(ceiling(Duration::ZERO), LEAST_CEILING);
        assert!(ceiling(Duration::from_micros(100)) <= 512 * 1024);
        assert!(ceiling(Duration::MAX) >= 1 << 40);
    }
}
