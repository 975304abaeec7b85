//! How large things in a store may be, and the checks every backend makes before it looks at the data.

use std::collections::HashSet;

use crate::error::{Conflict, StoreError};
use crate::types::{Append, Batch, Guard, Head, Key, Raise, Replace, Trim};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// The longest event record, in bytes.
pub const MAX_RECORD: usize = 1 << 20;
/// The longest state of a room, in bytes.
pub const MAX_STATE: usize = 1 << 10;
/// The most epochs a room can have begun after its first.
pub const MAX_EPOCHS: usize = 1_024;
/// The most checks, puts, events, replacements, trimmed events and raises together in one batch.
pub const MAX_BATCH_ITEMS: usize = 4_096;
/// The most bytes of keys, values, records and states together in one batch.
pub const MAX_BATCH_BYTES: usize = 16 << 20;
/// The most keys or rooms in one call of `get_many` or `heads`.
pub const MAX_READ_ITEMS: usize = 16_384;
/// The most entries or events in one answer of `scan` or `events`, whatever the caller asks for.
pub const MAX_PAGE_ITEMS: usize = 4_096;
/// The most bytes in one answer of `scan` or `events`, whatever the caller asks for; one item is always given.
pub const MAX_PAGE_BYTES: usize = 16 << 20;
/// The largest time, sequence number and version: what a signed 64-bit column holds.
pub const MAX_NUMBER: u64 = i64::MAX as u64;

/// Checks everything about a batch that can be checked without the store: limits, duplicates, times within an append.
pub fn check_batch(batch: &Batch) -> Result<(), StoreError> {
    let events: usize = batch.appends.iter().map(|append| append.events.len()).sum();
    let others = batch.replaces.len() + batch.trims.len() + batch.raises.len();
    let trimmed = batch.trims.iter().map(|trim| trim.first.saturating_sub(trim.expect_first));
    let trimmed = trimmed.fold(0, u64::saturating_add).try_into().unwrap_or(usize::MAX);
    let items = batch.checks.len() + batch.puts.len() + batch.appends.len() + events + others;
    within("batch (items)", items.saturating_add(trimmed), MAX_BATCH_ITEMS)?;

    let mut bytes = 0;
    for (key, version) in &batch.checks {
        check_key(key)?;
        number("version", *version)?;
        bytes += key.len();
    }
    for (key, value) in &batch.puts {
        check_key(key)?;
        let length = value.as_ref().map_or(0, |value| value.len());
        within("value (bytes)", length, MAX_VALUE)?;
        bytes += key.len() + length;
    }
    for append in &batch.appends {
        bytes += check_append(append)?;
    }
    for replace in &batch.replaces {
        within("event record (bytes)", replace.record.len(), MAX_RECORD)?;
        bytes += replace.expect.len().saturating_add(replace.record.len());
    }
    within("batch (bytes)", bytes, MAX_BATCH_BYTES)?;
    check_duplicates(batch)
}

/// Checks the version a key has against the one a batch expects. Every backend judges by it.
pub fn check_version(key: &Key, expected: u64, found: u64) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::Conflict(Conflict::Key { key: key.clone(), expected, found }))
}

/// Checks an append against the room's head. Every backend judges by it.
pub fn check_guard(append: &Append, head: Option<&Head>) -> Result<(), StoreError> {
    let found = Guard::of(head);
    if found != append.guard {
        let conflict = Conflict::Room { room: append.room, expected: append.guard, found };
        return Err(StoreError::Conflict(conflict));
    }
    let previous = head.map_or(0, |head| head.last_ts);
    match append.events.first() {
        Some(event) if event.ts_ms < previous => {
            Err(StoreError::TimeFell { room: append.room, previous, found: event.ts_ms })
        }
        _ => Ok(()),
    }
}

/// Checks a replacement against the room's head and the record found. Every backend judges by it.
pub fn check_replace(
    replace: &Replace,
    head: Option<&Head>,
    record: Option<&[u8]>,
) -> Result<(), StoreError> {
    let same_epoch = head.is_some_and(|head| head.epoch_of(replace.seq) == replace.epoch);
    if same_epoch && record == Some(&replace.expect[..]) {
        return Ok(());
    }
    let &Replace { room, epoch, seq, .. } = replace;
    Err(StoreError::Conflict(Conflict::Event { room, epoch, seq }))
}

/// Checks a trim against the room's head. Every backend judges by it.
pub fn check_trim(trim: &Trim, head: Option<&Head>) -> Result<(), StoreError> {
    let (epoch, first, last) =
        head.map_or((Guard::UNKNOWN_ROOM.epoch, 1, 0), |head| (head.epoch, head.first, head.last));
    let (expected, found) = ((trim.epoch, trim.expect_first), (epoch, first));
    if expected != found {
        return Err(StoreError::Conflict(Conflict::First { room: trim.room, expected, found }));
    }
    if !(first..=last.saturating_add(1)).contains(&trim.first) {
        return Err(StoreError::TrimOutside { room: trim.room, first, last, found: trim.first });
    }
    Ok(())
}

/// Checks the beginning of an epoch against the room's head. Every backend judges by it.
pub fn check_raise(raise: &Raise, head: Option<&Head>) -> Result<(), StoreError> {
    let found = Guard::of(head);
    let Some(head) = head.filter(|_| found == raise.guard) else {
        let conflict = Conflict::Room { room: raise.room, expected: raise.guard, found };
        return Err(StoreError::Conflict(conflict));
    };
    if raise.epoch <= head.epoch {
        return Err(StoreError::EpochFell { room: raise.room, previous: head.epoch, found: raise.epoch });
    }
    within("epochs of a room", head.epochs.len().saturating_add(1), MAX_EPOCHS)
}

/// Checks a key's length.
pub fn check_key(key: &Key) -> Result<(), StoreError> {
    within("key (bytes)", key.len(), MAX_KEY)
}

/// Checks the keys of a `get_many`.
pub fn check_keys(keys: &[Key]) -> Result<(), StoreError> {
    check_read("keys in one read", keys.len())?;
    keys.iter().try_for_each(check_key)
}

/// Checks how many keys or rooms one read names.
pub fn check_read(what: &'static str, count: usize) -> Result<(), StoreError> {
    within(what, count, MAX_READ_ITEMS)
}

/// Returns the bytes of an append if they are within limits and its times do not fall.
fn check_append(append: &Append) -> Result<usize, StoreError> {
    within("room state (bytes)", append.state.len(), MAX_STATE)?;
    let count = u64::try_from(append.events.len()).unwrap_or(u64::MAX);
    number("sequence number", append.guard.expect_last.saturating_add(count))?;

    let mut bytes = append.state.len();
    let mut previous = 0;
    for event in &append.events {
        within("event record (bytes)", event.record.len(), MAX_RECORD)?;
        number("event time (ms)", event.ts_ms)?;
        if event.ts_ms < previous {
            return Err(StoreError::TimeFell { room: append.room, previous, found: event.ts_ms });
        }
        previous = event.ts_ms;
        bytes += event.record.len();
    }
    Ok(bytes)
}

fn check_duplicates(batch: &Batch) -> Result<(), StoreError> {
    let checks = batch.checks.iter().map(|(key, _)| key);
    if let Some(key) = first_repeated(checks) {
        return Err(StoreError::Duplicate { what: "the check of key", name: key.to_string() });
    }
    if let Some(key) = first_repeated(batch.puts.iter().map(|(key, _)| key)) {
        return Err(StoreError::Duplicate { what: "key", name: key.to_string() });
    }
    if let Some(room) = first_repeated(batch.appends.iter().map(|append| &append.room)) {
        return Err(StoreError::Duplicate { what: "room", name: room.to_string() });
    }
    if let Some(room) = first_repeated(batch.trims.iter().map(|trim| &trim.room)) {
        return Err(StoreError::Duplicate { what: "the trim of room", name: room.to_string() });
    }
    if let Some(room) = first_repeated(batch.raises.iter().map(|raise| &raise.room)) {
        return Err(StoreError::Duplicate { what: "the new epoch of room", name: room.to_string() });
    }
    let events: Vec<_> = batch.replaces.iter().map(|replace| (replace.room, replace.seq)).collect();
    if let Some((room, seq)) = first_repeated(events.iter()) {
        return Err(StoreError::Duplicate { what: "the record of event", name: format!("{room}:{seq}") });
    }
    Ok(())
}

fn first_repeated<'a, T: std::hash::Hash + Eq>(mut items: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut seen = HashSet::new();
    items.find(|item| !seen.insert(*item))
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size <= limit {
        return Ok(());
    }
    let [size, limit] = [size, limit].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
    Err(StoreError::Limit { what, size, limit })
}

fn number(what: &'static str, value: u64) -> Result<(), StoreError> {
    if value <= MAX_NUMBER { Ok(()) } else { Err(StoreError::Limit { what, size: value, limit: MAX_NUMBER }) }
}
