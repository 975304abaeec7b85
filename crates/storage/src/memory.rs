//! The model: a store in memory, written to be obviously right rather than fast.
//!
//! One map of keys, one map of rooms, one mutex over both: every call is one moment. Clones share the same data, so a
//! clone that outlives another stands for a store that was opened again.

use std::collections::{BTreeMap, HashMap};
use std::future;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::StoreError;
use crate::limits;
use crate::store::{Pending, Store};
use crate::types::{Append, Batch, Committed, Guard, Head, Key, NewEvent, RoomId, StoredEvent, Versioned};

/// A store that lives and dies with the process. `Clone` shares it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        // Every change is applied after all checks, without a call that can panic in between.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        let store = self.clone();
        Box::pin(async move { store.data().commit(batch) })
    }

    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>> {
        ready(limits::check_key(key).map(|()| self.data().keys.get(key).cloned()))
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>> {
        ready(limits::check_keys(&keys).map(|()| {
            let data = self.data();
            keys.iter().map(|key| data.keys.get(key).cloned()).collect()
        }))
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>> {
        ready(limits::check_key(&prefix).map(|()| self.data().scan(&prefix, after, limit)))
    }

    fn head(&self, room: RoomId) -> Pending<'_, Option<Head>> {
        ready(Ok(self.data().rooms.get(&room).map(Room::head)))
    }

    fn heads(&self, rooms: Vec<RoomId>) -> Pending<'_, Vec<Option<Head>>> {
        ready(limits::check_read("rooms in one read", rooms.len()).map(|()| {
            let data = self.data();
            rooms.iter().map(|room| data.rooms.get(room).map(Room::head)).collect()
        }))
    }

    fn events(
        &self,
        room: RoomId,
        from: u64,
        max_count: usize,
        max_bytes: usize,
    ) -> Pending<'_, Vec<StoredEvent>> {
        ready(Ok(self
            .data()
            .rooms
            .get(&room)
            .map_or_else(Vec::new, |room| room.page(from, max_count, max_bytes))))
    }

    fn seq_at(&self, room: RoomId, ts_ms: u64) -> Pending<'_, u64> {
        ready(Ok(self.data().rooms.get(&room).map_or(1, |room| room.seq_at(ts_ms))))
    }
}

fn ready<T: Send + 'static>(result: Result<T, StoreError>) -> Pending<'static, T> {
    Box::pin(future::ready(result))
}

#[derive(Debug, Default)]
struct Data {
    /// The last version given, for the whole store: so a key deleted and written again never repeats one.
    version: u64,
    keys: BTreeMap<Key, Versioned>,
    rooms: HashMap<RoomId, Room>,
}

impl Data {
    fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        limits::check_batch(&batch)?;
        self.check(&batch)?;

        let version = if batch.puts.is_empty() { 0 } else { self.version + 1 };
        self.version = self.version.max(version);
        for (key, value) in batch.puts {
            match value {
                Some(value) => self.keys.insert(key, Versioned { version, value }),
                None => self.keys.remove(&key),
            };
        }
        for append in batch.appends {
            self.rooms.entry(append.room).or_default().append(append);
        }
        Ok(Committed { version })
    }

    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        for (key, expected) in &batch.checks {
            limits::check_version(key, *expected, self.keys.get(key).map_or(0, |found| found.version))?;
        }
        for append in &batch.appends {
            let head = self.rooms.get(&append.room).map(Room::head);
            limits::check_guard(append, head.as_ref())?;
        }
        Ok(())
    }

    fn scan(&self, prefix: &Key, after: Option<Key>, limit: usize) -> Vec<(Key, Versioned)> {
        let start = match after {
            Some(after) if after >= *prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let entries = self.keys.range((start, Bound::Unbounded));
        let entries = entries.take_while(|(key, _)| key.as_bytes().starts_with(prefix.as_bytes()));
        let entries = entries.map(|(key, found)| (key.clone(), found.clone()));
        page(entries, limit, limits::MAX_PAGE_BYTES, |(key, found)| key.len() + found.value.len())
    }
}

#[derive(Debug)]
struct Room {
    epoch: u32,
    /// The event with sequence number n stands at index n − 1.
    events: Vec<NewEvent>,
    state: Bytes,
}

impl Default for Room {
    fn default() -> Self {
        Self { epoch: Guard::UNKNOWN_ROOM.epoch, events: Vec::new(), state: Bytes::new() }
    }
}

impl Room {
    fn head(&self) -> Head {
        let last_ts = self.events.last().map_or(0, |event| event.ts_ms);
        Head {
            epoch: self.epoch,
            first: 1,
            last: to_u64(self.events.len()),
            last_ts,
            state: self.state.clone(),
        }
    }

    fn append(&mut self, append: Append) {
        self.events.extend(append.events);
        self.state = append.state;
    }

    fn page(&self, from: u64, max_count: usize, max_bytes: usize) -> Vec<StoredEvent> {
        let numbered = (1_u64..).zip(&self.events).skip_while(|(seq, _)| *seq < from);
        let events = numbered.map(|(seq, event)| StoredEvent {
            seq,
            ts_ms: event.ts_ms,
            record: event.record.clone(),
        });
        page(events, max_count, max_bytes.min(limits::MAX_PAGE_BYTES), |event| event.record.len())
    }

    fn seq_at(&self, ts_ms: u64) -> u64 {
        let before = self.events.iter().take_while(|event| event.ts_ms < ts_ms).count();
        to_u64(before) + 1
    }
}

/// The longest prefix of `items` within both limits, but at least one item if there is one and `max_count` allows it.
fn page<T>(
    items: impl Iterator<Item = T>,
    max_count: usize,
    max_bytes: usize,
    size: impl Fn(&T) -> usize,
) -> Vec<T> {
    let mut taken = Vec::new();
    let mut bytes = 0_usize;
    for item in items.take(max_count.min(limits::MAX_PAGE_ITEMS)) {
        bytes = bytes.saturating_add(size(&item));
        if bytes > max_bytes && !taken.is_empty() {
            break;
        }
        taken.push(item);
    }
    taken
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
