//! The reads, as plain functions on a connection. Those of several statements are one read transaction.

use bytes::Bytes;
use hikyaku_storage::{Head, Key, Page, RoomId, StoredEvent, Versioned, limits};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) fn get(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Versioned>> {
    let mut statement = connection.prepare_cached("SELECT version, value FROM keys WHERE key = ?1")?;
    let found = |row: &Row<'_>| Ok(Versioned { version: unsigned(row, 0)?, value: blob(row, 1)? });
    statement.query_row([key.as_bytes()], found).optional()
}

pub(crate) fn get_many(connection: &Connection, keys: &[Key]) -> rusqlite::Result<Vec<Option<Versioned>>> {
    let moment = connection.unchecked_transaction()?;
    keys.iter().map(|key| get(&moment, key)).collect()
}

pub(crate) fn scan(
    connection: &Connection,
    prefix: &Key,
    after: Option<&Key>,
    limit: usize,
) -> rusqlite::Result<Vec<(Key, Versioned)>> {
    let (sql, start) = match after {
        Some(after) if after >= prefix => {
            ("SELECT key, version, value FROM keys WHERE key > ?1 ORDER BY key", after)
        }
        _ => ("SELECT key, version, value FROM keys WHERE key >= ?1 ORDER BY key", prefix),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([start.as_bytes()])?;
    let mut page = Bounded::new(limit, limits::MAX_PAGE_BYTES);
    while let Some(row) = rows.next()? {
        let key = Key::new(blob(row, 0)?);
        if !key.as_bytes().starts_with(prefix.as_bytes()) || !page.has_room() {
            break;
        }
        let found = Versioned { version: unsigned(row, 1)?, value: blob(row, 2)? };
        if !page.take(key.len() + found.value.len(), (key, found)) {
            break;
        }
    }
    Ok(page.items)
}

pub(crate) fn head(connection: &Connection, room: RoomId) -> rusqlite::Result<Option<Head>> {
    Ok(numbered_head(connection, room)?.map(|(_, head)| head))
}

/// A room's head and the number that stands for the room in `events`.
pub(crate) fn numbered_head(connection: &Connection, room: RoomId) -> rusqlite::Result<Option<(i64, Head)>> {
    let sql = "SELECT number, epoch, first, last, last_ts, state, epochs FROM rooms WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = |row: &Row<'_>| {
        let [first, last, last_ts] = [unsigned(row, 2)?, unsigned(row, 3)?, unsigned(row, 4)?];
        let (state, epochs) = (blob(row, 5)?, epochs_from(row.get_ref(6)?.as_blob()?));
        Ok((row.get(0)?, Head { epoch: row.get(1)?, first, last, last_ts, state, epochs }))
    };
    statement.query_row([&room.0[..]], found).optional()
}

pub(crate) fn heads(connection: &Connection, rooms: &[RoomId]) -> rusqlite::Result<Vec<Option<Head>>> {
    let moment = connection.unchecked_transaction()?;
    rooms.iter().map(|room| head(&moment, *room)).collect()
}

/// Epochs as the table keeps them.
pub(crate) fn epochs_to(epochs: &[(u32, u64)]) -> Vec<u8> {
    epochs
        .iter()
        .flat_map(|(epoch, first)| epoch.to_be_bytes().into_iter().chain(first.to_be_bytes()))
        .collect()
}

fn epochs_from(bytes: &[u8]) -> Vec<(u32, u64)> {
    let entries = bytes.as_chunks::<12>().0.iter();
    entries
        .map(|[a, b, c, d, first @ ..]| (u32::from_be_bytes([*a, *b, *c, *d]), u64::from_be_bytes(*first)))
        .collect()
}

pub(crate) fn events(
    connection: &Connection,
    room: RoomId,
    from: u64,
    max_count: usize,
    max_bytes: usize,
) -> rusqlite::Result<Page> {
    let moment = connection.unchecked_transaction()?;
    let mut place = moment.prepare_cached("SELECT number, epoch, first, last FROM rooms WHERE id = ?1")?;
    let found =
        |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, unsigned(row, 2)?, unsigned(row, 3)?));
    let Some((number, epoch, first, last)) = place.query_row([&room.0[..]], found).optional()? else {
        return Ok(Page::of_unknown_room());
    };
    let sql = "SELECT seq, ts_ms, record FROM events WHERE room = ?1 AND seq >= ?2 ORDER BY seq";
    let mut statement = moment.prepare_cached(sql)?;
    let mut rows = statement.query(params![number, signed(from)])?;
    let mut page = Bounded::new(max_count, max_bytes);
    while page.has_room() {
        let Some(row) = rows.next()? else { break };
        let event = StoredEvent { seq: unsigned(row, 0)?, ts_ms: unsigned(row, 1)?, record: blob(row, 2)? };
        if event.seq < from || !page.take(event.record.len(), event) {
            break;
        }
    }
    Ok(Page { epoch, first, last, events: page.items })
}

pub(crate) fn seq_at(connection: &Connection, room: RoomId, ts_ms: u64) -> rusqlite::Result<u64> {
    let moment = connection.unchecked_transaction()?;
    let Some((number, head)) = numbered_head(&moment, room)? else { return Ok(1) };
    let mut statement = moment.prepare_cached("SELECT ts_ms FROM events WHERE room = ?1 AND seq = ?2")?;
    // Times never fall, so bisect: everything below `low` is too early, everything from `high` on is not.
    let (mut low, mut high) = (head.first, head.last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let time = statement.query_row([number, signed(middle)], |row| unsigned(row, 0))?;
        if time < ts_ms { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// An answer that stops growing at a count and a number of bytes, but not before its first item.
struct Bounded<T> {
    items: Vec<T>,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

impl<T> Bounded<T> {
    fn new(max_count: usize, max_bytes: usize) -> Self {
        let (max_count, max_bytes) =
            (max_count.min(limits::MAX_PAGE_ITEMS), max_bytes.min(limits::MAX_PAGE_BYTES));
        Self { items: Vec::new(), bytes: 0, max_count, max_bytes }
    }

    fn has_room(&self) -> bool {
        self.items.len() < self.max_count && (self.items.is_empty() || self.bytes < self.max_bytes)
    }

    /// Takes an item unless it would pass the byte limit.
    fn take(&mut self, size: usize, item: T) -> bool {
        self.bytes = self.bytes.saturating_add(size);
        let fits = self.items.is_empty() || self.bytes <= self.max_bytes;
        if fits {
            self.items.push(item);
        }
        fits
    }
}

/// A number as SQLite keeps it. What is stored has passed the limits; what is only compared may saturate.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column that never holds a negative number.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(crate) fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?))
}
