//! Finds a stream by its number, fast.

use super::Stream;
use crate::StreamId;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

/// The streams that are alive. Holds memory in proportion to them: nothing without streams.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Map {
    /// Boxed: most of a small table is empty places.
    streams: HashMap<StreamId, Box<Stream>, BuildIdHasher>,
}

/// Below this size the table is not worth shrinking.
const SMALL: usize = 16;

impl Map {
    pub(crate) fn new() -> Self {
        Self { streams: HashMap::with_hasher(BuildIdHasher::default()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<StreamId> {
        self.streams.keys().copied().collect()
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id).map(AsRef::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id).map(AsMut::as_mut)
    }

    pub(crate) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.streams.insert(id, Box::new(stream));
    }

    /// Forgets the stream if it is over; says whether it did.
    pub(crate) fn remove_if_over(&mut self, id: StreamId) -> bool {
        let Entry::Occupied(entry) = self.streams.entry(id) else { return false };
        if !entry.get().is_over() {
            return false;
        }
        entry.remove();
        if self.streams.is_empty() {
            if self.streams.capacity() > SMALL {
                self.streams.shrink_to(0);
            }
        } else if self.streams.capacity() > SMALL.max(8 * self.streams.len()) {
            self.streams.shrink_to(2 * self.streams.len());
        }
        true
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&StreamId, &mut Stream) -> bool) {
        self.streams.retain(|id, stream| keep(id, stream));
        self.streams.shrink_to_fit();
    }
}

/// Hashes a [`StreamId`] with one multiplication, for tables of streams. The seed is random for each table, so that a
/// peer cannot know which numbers collide.
#[derive(Clone, Copy, Debug)]
pub struct BuildIdHasher {
    seed: u64,
}

impl Default for BuildIdHasher {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0u8) }
    }
}

impl BuildHasher for BuildIdHasher {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.seed)
    }
}

/// The hasher of [`BuildIdHasher`].
#[derive(Clone, Copy, Debug)]
pub struct IdHasher(u64);

/// An odd constant with bits everywhere: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IdHasher {
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(value ^ self.0) * u128::from(MULTIPLIER);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
