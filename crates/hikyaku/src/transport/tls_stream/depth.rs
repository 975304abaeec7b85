//! How many bytes a TCP socket may hold. Pure: the time is given.
//!
//! Few, so that chat need not wait behind bulk in the kernel. But BBR finds out what a path carries only while there is always
//! something to send. Acknowledgements come in bursts, and between two of them a socket with few bytes runs empty: on a long path
//! BBR would not leave its start for as long as the connection lives, at nearly three times the path's rate, with a queue that is always
//! full and a tenth of the packets lost. So a socket may hold much from the first time that it is full, for as many
//! round trips as BBR takes to get there, and few from then on.
//!
//! Nor may what is on its way fill the socket's buffer, which Linux lets grow to 4 MiB: it wakes nobody while more than two thirds
//! of that are used, and BBR has 2.9 times what the path carries in flight while it starts. On a long path more is asked for.

use std::time::{Duration, Instant};

/// Unsent bytes above which a socket is not writable: some milliseconds of an ordinary link.
pub(crate) const FEW: u32 = 128 * 1024;
/// The same while BBR starts. What the system lets a socket hold at all follows its window.
const MANY: u32 = 2 * 1024 * 1024;
/// The send buffer that is asked for on a long path; Linux takes twice that.
const ON_ITS_WAY: usize = 4 * 1024 * 1024;
/// On a shorter path, what the system gives is enough for what the path carries; with more, at 1 Gbit/s and 20 ms a queue of one
/// round trip overflows.
const LONG: Duration = Duration::from_millis(50);
/// Round trips that it takes: about ten until the path is full, each of the last ones as long as two because there is a queue then,
/// three of those to see that nothing more is to be had; and as much again for a machine that has other things to do. With
/// 24 BBR did not get there in one of four transfers on a busy one.
const START: u32 = 40;
/// A peer that answers slowly is not a path that is long.
const LONGEST: Duration = Duration::from_secs(8);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There was never more to send than the socket took.
    Small,
    /// Until then the socket may hold much.
    Starting(Instant),
    Started,
}

/// What a socket may hold from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holds {
    pub(super) unsent: u32,
    /// All of it, if that changes.
    pub(super) all: Option<usize>,
}

/// The rule of one connection.
#[derive(Debug)]
pub(super) struct Depth {
    round_trip: Duration,
    phase: Phase,
}

impl Depth {
    /// On a path with this round trip.
    pub(super) fn new(round_trip: Duration) -> Self {
        Self { round_trip, phase: Phase::Small }
    }

    /// The socket is written to, and takes all of it or not. What it may hold from now on, if that changes.
    pub(super) fn wrote(&mut self, is_full: bool, now: impl FnOnce() -> Instant) -> Option<Holds> {
        let (phase, holds) = match self.phase {
            Phase::Small if is_full => {
                let until = now() + self.round_trip.saturating_mul(START).min(LONGEST);
                let all = (self.round_trip >= LONG).then_some(ON_ITS_WAY);
                (Phase::Starting(until), Holds { unsent: MANY, all })
            }
            Phase::Starting(until) if now() >= until => (Phase::Started, Holds { unsent: FEW, all: None }),
            _ => return None,
        };
        self.phase = phase;
        Some(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "compared with an answer")]
    fn holds(unsent: u32, all: Option<usize>) -> Option<Holds> {
        Some(Holds { unsent, all })
    }

    #[test]
    fn a_socket_holds_much_from_when_it_is_full_until_bbr_has_started_and_never_again() {
        let (begin, mut depth) = (Instant::now(), Depth::new(Duration::from_millis(100)));
        let at = |milliseconds| move || begin + Duration::from_millis(milliseconds);
        assert_eq!(depth.wrote(false, at(0)), None, "a message or two are no bulk");
        assert_eq!(depth.wrote(true, at(1_000)), holds(MANY, Some(ON_ITS_WAY)));
        assert_eq!(depth.wrote(true, at(4_999)), None);
        assert_eq!(depth.wrote(false, at(5_000)), holds(FEW, None));
        assert_eq!(depth.wrote(true, at(100_000)), None);
    }

    #[test]
    fn nobody_asks_for_the_time_before_there_is_bulk_or_when_it_has_started() {
        let mut depth = Depth::new(Duration::ZERO);
        assert_eq!(depth.wrote(false, || panic!("nothing is timed")), None);
        let begin = Instant::now();
        assert_eq!(depth.wrote(true, || begin), holds(MANY, None));
        assert_eq!(depth.wrote(true, || begin), holds(FEW, None), "on one machine it is over at once");
        assert_eq!(depth.wrote(true, || panic!("nothing is timed")), None);
    }

    #[test]
    fn a_peer_that_was_slow_to_shake_hands_does_not_make_it_last() {
        let (begin, mut depth) = (Instant::now(), Depth::new(Duration::MAX));
        assert_eq!(depth.wrote(true, || begin), holds(MANY, Some(ON_ITS_WAY)));
        assert_eq!(depth.wrote(true, || begin + LONGEST), holds(FEW, None));
    }
}
