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
use crate::types::{
    Append, Batch, Committed, Guard, Head, Key, NewEvent, Page, RoomId, StoredEvent, Versioned,
};

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

    fn events(&self, room: RoomId, from: u64, max_count: usize, max_bytes: usize) -> Pending<'_, Page> {
        ready(Ok(self
            .data()
            .rooms
            .get(&room)
            .map_or_else(Page::of_unknown_room, |room| room.page(from, max_count, max_bytes))))
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
        for raise in batch.raises {
            if let Some(room) = self.rooms.get_mut(&raise.room) {
                room.epochs.push((raise.epoch, room.last() + 1));
            }
        }
        for replace in batch.replaces {
            let room = self.rooms.get_mut(&replace.room);
            if let Some(event) = room.and_then(|room| room.event(replace.seq)) {
                event.record = replace.record;
            }
        }
        for append in batch.appends {
            self.rooms.entry(append.room).or_default().append(append);
        }
        for trim in batch.trims {
            if let Some(room) = self.rooms.get_mut(&trim.room) {
                room.trim(trim.first);
            }
        }
        Ok(Committed { version })
    }

    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        for (key, expected) in &batch.checks {
            limits::check_version(key, *expected, self.keys.get(key).map_or(0, |found| found.version))?;
        }
        let head = |room| self.rooms.get(room).map(Room::head);
        for raise in &batch.raises {
            limits::check_raise(raise, head(&raise.room).as_ref())?;
        }
        for replace in &batch.replaces {
            let room = self.rooms.get(&replace.room);
            let record = room.and_then(|room| room.events.get(room.index(replace.seq)?));
            let record = record.map(|event| &event.record[..]);
            limits::check_replace(replace, head(&replace.room).as_ref(), record)?;
        }
        for append in &batch.appends {
            limits::check_guard(append, head(&append.room).as_ref())?;
        }
        for trim in &batch.trims {
            limits::check_trim(trim, head(&trim.room).as_ref())?;
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
    epochs: Vec<(u32, u64)>,
    /// The event with sequence number n stands at index n − `first`.
    first: u64,
    events: Vec<NewEvent>,
    last_ts: u64,
    state: Bytes,
}

impl Default for Room {
    fn default() -> Self {
        Self { epochs: Vec::new(), first: 1, events: Vec::new(), last_ts: 0, state: Bytes::new() }
    }
}

impl Room {
    fn head(&self) -> Head {
        Head {
            epoch: self.epoch(),
            first: self.first,
            last: self.last(),
            last_ts: self.last_ts,
            state: self.state.clone(),
            epochs: self.epochs.clone(),
        }
    }

    fn epoch(&self) -> u32 {
        self.epochs.last().map_or(Guard::UNKNOWN_ROOM.epoch, |(epoch, _)| *epoch)
    }

    fn last(&self) -> u64 {
        self.first + to_u64(self.events.len()) - 1
    }

    fn append(&mut self, append: Append) {
        self.events.extend(append.events);
        self.last_ts = self.events.last().map_or(self.last_ts, |event| event.ts_ms);
        self.state = append.state;
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first)?).ok()
    }

    fn event(&mut self, seq: u64) -> Option<&mut NewEvent> {
        let index = self.index(seq)?;
        self.events.get_mut(index)
    }

    fn trim(&mut self, first: u64) {
        let gone = self.index(first).unwrap_or(0).min(self.events.len());
        self.events.drain(..gone);
        self.first = first;
    }

    fn page(&self, from: u64, max_count: usize, max_bytes: usize) -> Page {
        let numbered = (self.first..).zip(&self.events).skip_while(|(seq, _)| *seq < from);
        let events = numbered.map(|(seq, event)| StoredEvent {
            seq,
            ts_ms: event.ts_ms,
            record: event.record.clone(),
        });
        let max_bytes = max_bytes.min(limits::MAX_PAGE_BYTES);
        let events = page(events, max_count, max_bytes, |event| event.record.len());
        Page { epoch: self.epoch(), first: self.first, last: self.last(), events }
    }

    fn seq_at(&self, ts_ms: u64) -> u64 {
        let before = self.events.iter().take_while(|event| event.ts_ms < ts_ms).count();
        self.first + to_u64(before)
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
