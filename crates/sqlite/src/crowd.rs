//! Whether a commit should wait a moment for others.
//!
//! Each commit costs an fsync and some pages of the log, whatever is in it. Where batches of many rooms come one shortly
//! after the other, a short wait puts several into one commit. One room alone has one batch on its way at a time:
//! nobody would come while it waits, so it never does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hikyaku_storage::{Batch, RoomId};

/// How long a commit waits for others.
pub(crate) const LINGER: Duration = Duration::from_millis(1);
/// So many of the last batches are looked at.
const LOOKED_AT: usize = 8;
/// A crowd has at least so many different rooms among them.
const ROOMS: usize = 4;

/// The last batches: where they belonged and when they were taken.
#[derive(Debug, Default)]
pub(crate) struct Crowd(VecDeque<(Instant, Option<RoomId>)>);

impl Crowd {
    /// Takes note of what goes into a commit.
    pub(crate) fn came<'a>(&mut self, batches: impl Iterator<Item = &'a Batch>, now: Instant) {
        for batch in batches {
            if self.0.len() == LOOKED_AT {
                self.0.pop_front();
            }
            self.0.push_back((now, batch.appends.first().map(|append| append.room)));
        }
    }

    /// Whether others are likely to come within [`LINGER`]: the last ones came that quickly, of several rooms.
    pub(crate) fn is_worth_waiting_for(&self, now: Instant) -> bool {
        let Some((oldest, _)) = self.0.front().filter(|_| self.0.len() == LOOKED_AT) else { return false };
        let mut rooms: Vec<RoomId> = self.0.iter().filter_map(|(_, room)| *room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        let often = now.saturating_duration_since(*oldest) < LINGER * LOOKED_AT as u32;
        often && rooms.len() >= ROOMS
    }
}

#[cfg(test)]
mod tests {
    use hikyaku_storage::{Append, Guard};

    use super::*;

    fn batch(room: u8) -> Batch {
        let guard = Guard { epoch: 1, expect_last: 0 };
        Batch::new().append(Append {
            room: RoomId([room; 16]),
            guard,
            events: Vec::new(),
            state: Default::default(),
        })
    }

    /// Whether the next commit waits after batches of these rooms, one every so often.
    fn waits(rooms: impl IntoIterator<Item = u8>, every: Duration) -> bool {
        let (mut crowd, mut now) = (Crowd::default(), Instant::now());
        for room in rooms {
            crowd.came(std::iter::once(&batch(room)), now);
            now += every;
        }
        crowd.is_worth_waiting_for(now)
    }

    #[test]
    fn a_commit_waits_where_many_rooms_are_busy_and_nowhere_else() {
        let often = LINGER / 2;
        assert!(waits(0..20, often));
        assert!(!waits(0..20, LINGER * 2), "nobody would come in time");
        assert!(!waits([7; 20], often), "one room waits for its own commit");
        assert!(!waits([1, 2, 3].into_iter().cycle().take(20), often), "nor do a few");
        assert!(!waits(0..5, often), "it was quiet before");
    }
}
