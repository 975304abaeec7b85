//! The newest events of a room, encoded once for all its readers.
//!
//! A ring of chunks, one a commit. A reader has a cursor and takes what lies behind it; when the cursor has left
//! the ring the reader takes it from the log instead. Readers hold nothing, so a slow one costs nothing here.

use std::collections::VecDeque;

use bytes::Bytes;
use hikyaku::Encoded;
use hikyaku_wire::chat::{Batch, Records, RoomId, Update};

/// Consecutive records in the form [`Records`] relays them.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    first: u64,
    /// Where each record ends in `encoded`.
    ends: Vec<usize>,
    encoded: Bytes,
}

impl Chunk {
    /// Encodes records; the first has the sequence number `first`.
    pub(crate) fn new<'a>(first: u64, records: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let (mut encoded, mut ends) = (Vec::new(), Vec::new());
        for record in records {
            Records::encode_one(record, &mut encoded);
            ends.push(encoded.len());
        }
        Self { first, ends, encoded: encoded.into() }
    }

    /// The number of records.
    pub(crate) fn len(&self) -> u64 {
        count(self.ends.len())
    }

    /// The sequence number after the last record.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.len()
    }

    /// How much memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.encoded.len() + self.ends.len() * size_of::<usize>()
    }

    /// Records from the sequence number `from` on, as many as fit `budget`; at least one if `records` is empty
    /// so far.
    pub(crate) fn take(&self, from: u64, budget: Budget, records: &mut Records) {
        let Ok(skip) = usize::try_from(from.saturating_sub(self.first)) else { return };
        let start = match skip {
            0 => 0,
            skip => self.ends.get(skip - 1).copied().unwrap_or(self.encoded.len()),
        };
        let room = budget.bytes.saturating_sub(records.encoded_len());
        let places = usize::try_from(budget.events.saturating_sub(records.len())).unwrap_or(usize::MAX);
        let ends = self.ends.get(skip..).unwrap_or_default();
        let fitting = ends.iter().take(places).take_while(|end| **end - start <= room).count();
        let taken = if fitting == 0 && records.is_empty() { 1 } else { fitting };
        if let Some(end) = taken.checked_sub(1).and_then(|last| ends.get(last)) {
            records.push_encoded(count(taken), self.encoded.slice(start..*end));
        }
    }
}

/// How much one update may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
}

/// The newest chunks of one room: consecutive, bounded.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    chunks: VecDeque<Chunk>,
    events: u64,
    bytes: usize,
    /// The update that was last put together from here, for whoever stands at the same place.
    shared: Option<Shared>,
}

/// A whole update of one room, for whoever stands at the place where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(super) epoch: u32,
    pub(super) from: u64,
    /// The sequence number behind its last event.
    pub(crate) next: u64,
    pub(crate) message: Encoded,
}

impl Shared {
    /// Encodes records; the first has the sequence number `from`.
    pub(super) fn new(room: RoomId, epoch: u32, from: u64, records: Records) -> Self {
        let next = from + records.len();
        let update =
            Update { batches: vec![Batch { room, epoch, first: from, records }], ..Update::default() };
        Self { epoch, from, next, message: Encoded::new(&update) }
    }

    /// How much memory it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.message.item().len()
    }
}

impl Ring {
    /// Adds the newest chunk. One that does not follow the others replaces them: what lies between is in the log.
    pub(crate) fn push(&mut self, chunk: Chunk, limit: Budget) {
        if self.chunks.back().is_some_and(|last| last.next() != chunk.first) {
            self.clear();
        }
        self.events += chunk.len();
        self.bytes += chunk.bytes();
        self.chunks.push_back(chunk);
        self.shared = None;
        while self.chunks.len() > 1 && (self.events > limit.events || self.bytes > limit.bytes) {
            if let Some(oldest) = self.chunks.pop_front() {
                self.events -= oldest.len();
                self.bytes -= oldest.bytes();
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How much memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The update that takes a reader at `from` to the newest event, encoded once for all that stand there; `None` if
    /// one update is not enough, or for readers behind those that it is kept for.
    pub(crate) fn share(&mut self, room: RoomId, epoch: u32, from: u64, budget: Budget) -> Option<Shared> {
        match &self.shared {
            Some(shared) if (shared.epoch, shared.from) == (epoch, from) => return Some(shared.clone()),
            Some(shared) if shared.epoch == epoch && from < shared.from => return None,
            _ => {}
        }
        let records = self.read(from, budget)?;
        let next = from + records.len();
        if self.chunks.back().is_none_or(|newest| newest.next() != next) {
            return None;
        }
        let shared = Shared::new(room, epoch, from, records);
        self.shared = Some(shared.clone());
        Some(shared)
    }

    /// Records from the sequence number `from` on, at least one; `None` if the ring does not have that one.
    pub(crate) fn read(&self, from: u64, budget: Budget) -> Option<Records> {
        let at = self.chunks.partition_point(|chunk| chunk.next() <= from);
        if self.chunks.get(at)?.first > from {
            return None;
        }
        let (mut records, mut next) = (Records::new(), from);
        for chunk in self.chunks.range(at..) {
            chunk.take(next, budget, &mut records);
            if from + records.len() != chunk.next() {
                break;
            }
            next = chunk.next();
        }
        Some(records)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(seq: u64) -> Bytes {
        Bytes::from(vec![b'x'; 1 + usize::try_from(seq).unwrap() * 7 % 40])
    }

    fn chunk(first: u64, length: u64) -> Chunk {
        let records: Vec<Bytes> = (first..first + length).map(record).collect();
        Chunk::new(first, &records)
    }

    const WIDE: Budget = Budget { events: u64::MAX, bytes: usize::MAX };

    proptest! {
        #[test]
        fn a_reader_gets_exactly_the_records_behind_its_cursor(
            lengths in prop::collection::vec(1u64..9, 1..20), from in 1u64..120,
            events in 1u64..40, bytes in 1usize..600, keep in 8u64..60,
        ) {
            let (mut ring, mut next) = (Ring::default(), 1);
            for length in lengths {
                ring.push(chunk(next, length), Budget { events: keep, bytes: usize::MAX });
                next += length;
            }
            prop_assert!(ring.events <= keep, "the ring is bounded");
            let oldest = next - ring.events;
            // What is shared is what this reader would have been sent, or nothing.
            let shared = ring.share(RoomId([1; 16]), 1, from, Budget { events, bytes });
            let again = ring.share(RoomId([1; 16]), 1, from, Budget { events, bytes });
            prop_assert_eq!(shared.is_some(), again.is_some());
            if let Some(shared) = shared {
                let update: Update = hikyaku_wire::cbor::decode(&shared.message.item(), &Default::default()).unwrap();
                prop_assert_eq!(shared.next, next);
                prop_assert_eq!(update.batches[0].first, from);
                prop_assert_eq!(from + update.batches[0].records.len(), next);
                let read = ring.read(from, Budget { events, bytes }).unwrap();
                prop_assert!(read.iter().eq(update.batches[0].records.iter()));
            }
            match ring.read(from, Budget { events, bytes }) {
                None => prop_assert!(from < oldest || from >= next),
                Some(records) => {
                    prop_assert!((oldest..next).contains(&from));
                    prop_assert!(!records.is_empty(), "a reader always gets on");
                    prop_assert!(records.len() <= events);
                    prop_assert!(records.encoded_len() <= bytes || records.len() == 1);
                    let expected: Vec<Bytes> = (from..from + records.len()).map(record).collect();
                    let got: Vec<Bytes> = records.iter().map(|record| record.0).collect();
                    prop_assert_eq!(got, expected);
                    let whole = from + records.len() == next;
                    let full = records.len() == events
                        || records.encoded_len() + record(from + records.len()).len() + 2 > bytes;
                    prop_assert!(whole || full, "nothing is held back that would fit");
                }
            }
        }
    }

    #[test]
    fn a_chunk_that_does_not_follow_replaces_the_others() {
        let mut ring = Ring::default();
        ring.push(chunk(1, 3), WIDE);
        ring.push(chunk(6, 2), WIDE);
        assert!(ring.read(3, WIDE).is_none());
        assert!(ring.read(5, WIDE).is_none());
        assert_eq!(ring.read(6, WIDE).map(|records| records.len()), Some(2));
        assert!(ring.read(8, WIDE).is_none(), "nothing behind the newest");
    }

    #[test]
    fn the_newest_chunk_stays_however_large() {
        let mut ring = Ring::default();
        ring.push(chunk(1, 3), Budget { events: 0, bytes: 0 });
        ring.push(chunk(4, 3), Budget { events: 0, bytes: 0 });
        assert!(ring.read(3, WIDE).is_none());
        assert_eq!(ring.read(4, WIDE).map(|records| records.len()), Some(3));
    }
}
