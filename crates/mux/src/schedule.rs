//! Which stream sends next: the highest priority first, equal ones in turn.

use crate::StreamId;
use std::collections::VecDeque;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 16;

/// Levels are kept while they are empty, up to this many: priorities repeat.
const KEPT_LEVELS: usize = 4;

/// Streams that have bytes to send and credit for them, each once.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Schedule {
    /// The only stream there is, and its priority. While there is one here, every level is empty: most of the time there is
    /// none or one, and that needs no memory.
    only: Option<(StreamId, i32)>,
    /// Highest priority first.
    levels: Vec<Level>,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
struct Level {
    priority: i32,
    streams: VecDeque<StreamId>,
}

impl Schedule {
    /// Puts a stream, which must not be here yet, behind the others of its priority.
    pub(crate) fn push(&mut self, id: StreamId, priority: i32) {
        if self.is_empty() {
            self.only = Some((id, priority));
            return;
        }
        if let Some((first, priority)) = self.only.take() {
            self.push_behind(first, priority);
        }
        self.push_behind(id, priority);
    }

    fn push_behind(&mut self, id: StreamId, priority: i32) {
        let at = match self.levels.binary_search_by(|level| priority.cmp(&level.priority)) {
            Ok(at) => at,
            Err(at) => {
                self.levels.retain(|level| !level.streams.is_empty());
                let at = at.min(self.levels.len());
                let at = self.levels[..at].iter().take_while(|level| level.priority > priority).count();
                self.levels.insert(at, Level { priority, streams: VecDeque::new() });
                at
            }
        };
        self.levels[at].streams.push_back(id);
    }

    /// Takes the stream whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<StreamId> {
        if let Some((id, _)) = self.only.take() {
            return Some(id);
        }
        let at = self.levels.iter().position(|level| !level.streams.is_empty())?;
        let level = &mut self.levels[at];
        let id = level.streams.pop_front();
        if level.streams.is_empty() {
            if level.streams.capacity() > SMALL_QUEUE {
                level.streams = VecDeque::new();
            }
            if self.levels.len() > KEPT_LEVELS {
                self.levels.remove(at);
            }
        }
        id
    }

    /// Takes one stream out, wherever it is.
    pub(crate) fn remove(&mut self, id: StreamId, priority: i32) {
        self.only.take_if(|(only, _)| *only == id);
        if let Some(level) = self.levels.iter_mut().find(|level| level.priority == priority) {
            level.streams.retain(|other| *other != id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.only.is_none() && self.levels.iter().all(|level| level.streams.is_empty())
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(schedule: &mut Schedule) -> Vec<u64> {
        std::iter::from_fn(|| schedule.pop()).map(u64::from).collect()
    }

    #[test]
    fn higher_priorities_go_first_and_equal_ones_in_the_order_they_came() {
        let mut schedule = Schedule::default();
        for (id, priority) in [(0u64, 0), (4, 7), (8, -3), (12, 7), (16, 0), (20, i32::MAX), (24, i32::MIN)] {
            schedule.push(id.into(), priority);
        }
        assert_eq!(drain(&mut schedule), [20, 4, 12, 0, 16, 8, 24]);
        assert!(schedule.is_empty());
        for (id, priority) in [(0u64, 5), (4, 6), (8, 5), (12, 100), (16, -100)] {
            schedule.push(id.into(), priority);
        }
        assert_eq!(drain(&mut schedule), [12, 4, 0, 8, 16], "empty levels do not disturb");
    }

    #[test]
    fn one_stream_at_a_time_needs_no_memory() {
        let mut schedule = Schedule::default();
        for (id, priority) in [(0u64, 0), (4, -1), (0, 5)] {
            schedule.push(id.into(), priority);
            assert!(!schedule.is_empty());
            assert_eq!(drain(&mut schedule), [id]);
            schedule.push(id.into(), priority);
            schedule.remove(id.into(), priority);
            assert!(schedule.is_empty());
        }
        assert_eq!(schedule.levels.capacity(), 0);
        for (id, priority) in [(0u64, 0), (4, 1), (8, 0)] {
            schedule.push(id.into(), priority);
        }
        assert_eq!(drain(&mut schedule), [4, 0, 8], "the first one keeps its place");
    }

    #[test]
    fn a_removed_stream_has_no_turn() {
        let mut schedule = Schedule::default();
        for id in [0u64, 4, 8] {
            schedule.push(id.into(), 0);
        }
        schedule.remove(4u64.into(), 0);
        assert_eq!(drain(&mut schedule), [0, 8]);
    }
}
