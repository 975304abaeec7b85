//! Which losses say that a path is full. Pure: acknowledgements, losses and the time in, verdicts out.
//!
//! Cubic takes every loss for a full queue, so a path that loses packets by itself (radio, a bad cable) gets a window of
//! about 1.2/√p packets, whatever it carries: 17 where one in 200 is lost. A full queue shows in two more ways: round trips get longer, and
//! where the queue is too short for that, many packets are lost at once. So a loss is forgiven while both are missing: while
//! no more than one byte in [`ONE_IN`] is lost, as BBR does from its second version on, and round trips are within [`SHORT_QUEUE`] of the
//! shortest one. Where they are longer and losses few, the window shrinks by what stands in the queue, and never by more than
//! Cubic would take. Whoever loses more than that is treated as before.

use std::time::{Duration, Instant};

/// One byte in so many may be lost.
const ONE_IN: u64 = 50;
/// Forgiveness saved up, in packets, however small the window is: single losses come in pairs at times.
const SAVED: u64 = 8;
/// A queue may stand when one part in so many of a window met it, and no less than so many packets.
const PART: u64 = 32;
const SAMPLES: u64 = 16;
/// It does when so many windows met it: whoever did not come to read for a moment is late with one at most.
const WINDOWS: u64 = 2;
/// A queue that delays by this much is not worth a smaller window. It is what CoDel aims at.
const SHORT_QUEUE: Duration = Duration::from_millis(5);

/// What a loss says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing about the path's capacity.
    Forgiven,
    /// There is a queue: so many thousandths of the window would leave a short one.
    Queue(u64),
    /// The path is full.
    Full,
}

/// Whether packets wait on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    None,
    /// Some came late, which may have other reasons.
    Seems,
    /// There is no doubt.
    Stands,
}

/// What is known of a path's losses and delays.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    /// Bytes that may be lost before it is the path that is full.
    allowance: u64,
    /// The shortest round trip in the current round, and in the one before it.
    current: Duration,
    last: Duration,
    /// When the current round began: it ends when something is acknowledged that was sent after that.
    round: Instant,
    /// Bytes acknowledged since the last packet that met no queue.
    queued: u64,
}

/// A packet that was acknowledged, and what is known of its path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) sent: Instant,
    pub(super) bytes: u64,
    /// The congestion window, and a full packet, in bytes.
    pub(super) window: u64,
    pub(super) packet: u64,
    /// The shortest round trip of all.
    pub(super) shortest: Duration,
    /// There was nothing more to send: the peer may have taken its time to acknowledge.
    pub(super) is_idle: bool,
}

impl Losses {
    pub(super) fn new(now: Instant, packet: u64) -> Self {
        Self { allowance: SAVED * packet, current: Duration::MAX, last: Duration::MAX, round: now, queued: 0 }
    }

    /// A packet was acknowledged.
    pub(super) fn acknowledged(&mut self, now: Instant, acknowledged: Acknowledged) {
        let Acknowledged { sent, bytes, window, packet, shortest, is_idle } = acknowledged;
        let most = (window / ONE_IN).max(SAVED * packet);
        self.allowance = self.allowance.saturating_add(bytes / ONE_IN).min(most);
        if sent >= self.round {
            (self.last, self.current, self.round) = (self.current, Duration::MAX, now);
        }
        let took = now.saturating_duration_since(sent);
        self.current = self.current.min(took);
        let is_late = took > shortest.saturating_add(SHORT_QUEUE) && !is_idle;
        self.queued = if is_late { self.queued.saturating_add(bytes) } else { 0 };
    }

    /// So many bytes were lost on a path whose shortest round trip of all is `shortest`.
    pub(super) fn lost(&mut self, bytes: u64, shortest: Duration) -> Verdict {
        let Some(left) = self.allowance.checked_sub(bytes) else {
            self.allowance = 0;
            return Verdict::Full;
        };
        self.allowance = left;
        let round = self.current.min(self.last);
        // Nothing was acknowledged yet: there is nothing to judge by.
        if round == Duration::MAX {
            return Verdict::Full;
        }
        kept(round, shortest).map_or(Verdict::Forgiven, Verdict::Queue)
    }

    /// What the last packets met, one after the other.
    pub(super) fn queue(&self, window: u64, packet: u64) -> Queue {
        let least = SAMPLES * packet;
        if self.queued >= window.saturating_mul(WINDOWS).max(least) {
            Queue::Stands
        } else if self.queued >= (window / PART).max(least) {
            Queue::Seems
        } else {
            Queue::None
        }
    }
}

/// What is to be kept of the window, in thousandths, where round trips are so much longer than the shortest.
fn kept(round: Duration, shortest: Duration) -> Option<u64> {
    let within = shortest.saturating_add(SHORT_QUEUE);
    let thousandths = within.as_nanos().saturating_mul(1000) / round.as_nanos().max(1);
    (round > within).then(|| u64::try_from(thousandths).unwrap_or(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1_000;
    const SHORTEST: Duration = Duration::from_millis(20);

    /// A packet of a window of so many comes back after this time.
    fn packet(losses: &mut Losses, sent: Instant, took: Duration, window: u64) {
        let (window, is_idle) = (window * PACKET, false);
        let known = Acknowledged { sent, bytes: PACKET, window, packet: PACKET, shortest: SHORTEST, is_idle };
        losses.acknowledged(sent + took, known);
    }

    /// A path with a window of so many packets whose round trips take so long, after some of them.
    fn after(rounds: u32, round_trip: Duration, window: u64) -> Losses {
        let begin = Instant::now();
        let mut losses = Losses::new(begin, PACKET);
        for round in 0..rounds {
            (0..window).for_each(|_| packet(&mut losses, begin + round * round_trip, round_trip, window));
        }
        losses
    }

    /// How many packets one after the other are not taken for a full path.
    fn tolerated(losses: &mut Losses) -> usize {
        (0..10_000).take_while(|_| losses.lost(PACKET, SHORTEST) != Verdict::Full).count()
    }

    #[test]
    fn few_losses_on_a_path_without_a_queue_say_nothing() {
        assert_eq!(after(3, SHORTEST, 100).lost(PACKET, SHORTEST), Verdict::Forgiven);
        assert_eq!(after(3, SHORTEST + SHORT_QUEUE, 100).lost(PACKET, SHORTEST), Verdict::Forgiven);
    }

    #[test]
    fn one_in_fifty_is_forgiven_for_ever_and_one_in_forty_is_not() {
        let forgiven = |each: u64| {
            let mut losses = after(3, SHORTEST, 100);
            (0..10_000).all(|_| {
                let sent = losses.round;
                (0..each).for_each(|_| packet(&mut losses, sent, SHORTEST, 100));
                losses.lost(PACKET, SHORTEST) == Verdict::Forgiven
            })
        };
        assert!(forgiven(ONE_IN));
        assert!(!forgiven(ONE_IN * 4 / 5));
    }

    #[test]
    fn many_losses_at_once_are_a_full_path_whatever_came_before() {
        assert_eq!(tolerated(&mut after(1_000, SHORTEST, 20)), 8, "eight packets of a small window");
        assert_eq!(tolerated(&mut after(1_000, SHORTEST, 1_000)), 20, "and a fiftieth of a large one");
        let mut losses = after(1_000, SHORTEST, 1_000);
        assert_eq!(losses.lost(100 * PACKET, SHORTEST), Verdict::Full);
        assert_eq!(losses.lost(1, SHORTEST), Verdict::Full, "nothing is left");
    }

    #[test]
    fn where_round_trips_are_long_the_window_shrinks_by_what_stands_in_the_queue() {
        assert_eq!(after(3, SHORTEST * 2, 100).lost(PACKET, SHORTEST), Verdict::Queue(25 * 1000 / 40));
    }

    /// One packet that met no queue shows that there is none; it counts for two rounds.
    #[test]
    fn the_shortest_round_trip_of_two_rounds_counts() {
        let mut losses = after(5, SHORTEST * 2, 100);
        let round = losses.round;
        packet(&mut losses, round, SHORTEST, 100);
        for expected in [true, true, false] {
            assert_eq!(losses.lost(1, SHORTEST) == Verdict::Forgiven, expected);
            let round = losses.round;
            packet(&mut losses, round, SHORTEST * 2, 100);
        }
    }

    #[test]
    fn a_loss_before_anything_was_acknowledged_is_taken_for_a_full_path() {
        assert_eq!(Losses::new(Instant::now(), PACKET).lost(PACKET, Duration::ZERO), Verdict::Full);
    }

    #[test]
    fn a_queue_seems_to_stand_when_a_part_of_the_window_met_it_and_does_when_two_windows_did() {
        let mut losses = after(1, SHORTEST, 1_000);
        let round = losses.round;
        let late = |losses: &mut Losses, count: u64| {
            (0..count).for_each(|_| packet(losses, round, SHORTEST * 2, 1_000));
            losses.queue(1_000 * PACKET, PACKET)
        };
        assert_eq!(late(&mut losses, 31), Queue::None);
        assert_eq!(late(&mut losses, 1), Queue::Seems);
        assert_eq!(late(&mut losses, 1_967), Queue::Seems);
        packet(&mut losses, round, SHORTEST + SHORT_QUEUE, 1_000);
        assert_eq!(late(&mut losses, 31), Queue::None, "one met none");
        assert_eq!(late(&mut losses, 1_969), Queue::Stands);
        let small = |window| after(1, SHORTEST * 2, window).queue(PACKET, PACKET);
        assert_eq!((small(15), small(16)), (Queue::None, Queue::Stands), "of a small window so many packets");
    }

    /// A peer may keep an acknowledgement to itself for longer than a short queue takes. Bulk that follows a talk would begin
    /// with a tiny window.
    #[test]
    fn what_is_acknowledged_late_because_nothing_follows_it_met_no_queue() {
        let (sent, mut losses) = (Instant::now(), after(1, SHORTEST, 10));
        for _ in 0..1_000 {
            let (bytes, window, packet, shortest) = (PACKET, 10 * PACKET, PACKET, SHORTEST);
            let known = Acknowledged { sent, bytes, window, packet, shortest, is_idle: true };
            losses.acknowledged(sent + 2 * SHORTEST, known);
        }
        assert_eq!(losses.queue(10 * PACKET, PACKET), Queue::None);
    }
}
