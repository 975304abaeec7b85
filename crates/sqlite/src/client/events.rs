//! Events this client has fetched, as sets of ranges: scrolling back, catching up and jumping fill the same structure,
//! and a gap is simply a range that is missing.
//!
//! Per room and epoch no two ranges overlap or touch, and an event is stored exactly if a range holds its number.

use std::ops::RangeInclusive;

use bytes::Bytes;
use hikyaku_storage::RoomId;
use hikyaku_storage::limits::MAX_NUMBER;
use rusqlite::{Connection, params};

use super::{Changes, ClientError, ClientStore, Result};
use crate::queries::{blob, signed, unsigned};

/// The most events kept per room; beyond, the oldest go.
pub const MAX_CACHED_EVENTS: u64 = 100_000;

impl ClientStore {
    /// The events from `from` on without a gap: none if `from` itself is not here. At most `max_count` events and
    /// `max_bytes` bytes, but one event however large.
    pub fn events(
        &self,
        room: RoomId,
        epoch: u32,
        from: u64,
        max_count: usize,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>> {
        let sql = "SELECT seq, record FROM events WHERE room = ?1 AND epoch = ?2 AND seq >= ?3 ORDER BY seq";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![room.0, epoch, signed(from)])?;
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        let mut expected = from;
        while events.len() < max_count {
            let Some(row) = rows.next()? else { break };
            let record = blob(row, 1)?;
            bytes = bytes.saturating_add(record.len());
            if unsigned(row, 0)? != expected || (bytes > max_bytes && !events.is_empty()) {
                break;
            }
            events.push((expected, record));
            expected += 1;
        }
        Ok(events)
    }

    /// Which stretches of a room's epoch are here, in order.
    pub fn ranges(&self, room: RoomId, epoch: u32) -> Result<Vec<RangeInclusive<u64>>> {
        Ok(ranges(&self.connection, room, epoch)?)
    }

    /// Which parts of `wanted` are not here, in order.
    pub fn missing(
        &self,
        room: RoomId,
        epoch: u32,
        wanted: RangeInclusive<u64>,
    ) -> Result<Vec<RangeInclusive<u64>>> {
        let mut missing = Vec::new();
        let mut next = *wanted.start();
        for range in ranges(&self.connection, room, epoch)? {
            if *range.end() < next {
                continue;
            }
            if range.start() > wanted.end() {
                break;
            }
            if *range.start() > next {
                missing.push(next..=range.start() - 1);
            }
            next = range.end().saturating_add(1);
        }
        if next <= *wanted.end() {
            missing.push(next..=*wanted.end());
        }
        Ok(missing)
    }
}

impl Changes<'_> {
    /// Stores events that follow one another, the first of them with the number `first`. Those already here stay.
    pub fn insert_events(&self, room: RoomId, epoch: u32, first: u64, records: &[Bytes]) -> Result<()> {
        // The server chose these numbers.
        let last =
            u64::try_from(records.len()).ok().and_then(|count| first.checked_add(count)).unwrap_or(u64::MAX);
        if last > MAX_NUMBER {
            return Err(ClientError::Limit { what: "sequence number", size: last, limit: MAX_NUMBER });
        }
        let sql = "INSERT INTO events VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        let mut insert = self.transaction.prepare_cached(sql)?;
        let mut last = None;
        for (seq, record) in (first..).zip(records) {
            insert.execute(params![room.0, epoch, signed(seq), &record[..]])?;
            last = Some(seq);
        }
        let Some(last) = last else { return Ok(()) };
        self.join_range(room, epoch, first, last)?;
        self.shrink(room)
    }

    /// Discards what a new epoch replaces: in every epoch before `epoch`, the events from `first_seq` on.
    pub fn rewind(&self, room: RoomId, epoch: u32, first_seq: u64) -> Result<()> {
        let which = params![room.0, epoch, signed(first_seq)];
        self.transaction.execute("DELETE FROM events WHERE room = ?1 AND epoch < ?2 AND seq >= ?3", which)?;
        self.transaction
            .execute("DELETE FROM ranges WHERE room = ?1 AND epoch < ?2 AND first >= ?3", which)?;
        let cut = "UPDATE ranges SET last = ?3 - 1 WHERE room = ?1 AND epoch < ?2 AND last >= ?3";
        self.transaction.execute(cut, which)?;
        Ok(())
    }

    /// Forgets some events of an epoch: they are fetched again when they are wanted.
    pub fn forget_events(&self, room: RoomId, epoch: u32, gone: RangeInclusive<u64>) -> Result<()> {
        let (from, to) = (*gone.start(), *gone.end());
        let which = params![room.0, epoch, signed(from), signed(to)];
        let events = "DELETE FROM events WHERE room = ?1 AND epoch = ?2 AND seq BETWEEN ?3 AND ?4";
        self.transaction.prepare_cached(events)?.execute(which)?;
        let sql = "DELETE FROM ranges WHERE room = ?1 AND epoch = ?2 AND first <= ?4 AND last >= ?3
                   RETURNING first, last";
        let mut cut = self.transaction.prepare_cached(sql)?;
        let cut = cut.query_map(which, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
        let cut: Vec<(u64, u64)> = cut.collect::<rusqlite::Result<_>>()?;
        let mut insert = self.transaction.prepare_cached("INSERT INTO ranges VALUES (?1, ?2, ?3, ?4)")?;
        for (first, last) in cut {
            // What is left of the range before and behind.
            for (first, last) in
                [(first, last.min(from.saturating_sub(1))), (first.max(to.saturating_add(1)), last)]
            {
                if first <= last {
                    insert.execute(params![room.0, epoch, signed(first), signed(last)])?;
                }
            }
        }
        Ok(())
    }

    /// Adds `first..=last` to the ranges, joined with all it overlaps or touches.
    fn join_range(&self, room: RoomId, epoch: u32, first: u64, last: u64) -> Result<()> {
        let sql = "DELETE FROM ranges WHERE room = ?1 AND epoch = ?2 AND first <= ?4 + 1 AND last >= ?3 - 1
                   RETURNING first, last";
        let mut absorb = self.transaction.prepare_cached(sql)?;
        let mut absorbed = absorb.query(params![room.0, epoch, signed(first), signed(last)])?;
        let (mut low, mut high) = (first, last);
        while let Some(row) = absorbed.next()? {
            low = low.min(unsigned(row, 0)?);
            high = high.max(unsigned(row, 1)?);
        }
        drop(absorbed);
        let mut insert = self.transaction.prepare_cached("INSERT INTO ranges VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![room.0, epoch, signed(low), signed(high)])?;
        Ok(())
    }

    /// Drops the oldest events above the limit, whole numbers of them from the lowest range upwards.
    fn shrink(&self, room: RoomId) -> Result<()> {
        let sql = "SELECT coalesce(sum(last - first + 1), 0) FROM ranges WHERE room = ?1";
        let kept: u64 = self.transaction.prepare_cached(sql)?.query_row([room.0], |row| unsigned(row, 0))?;
        let mut surplus = kept.saturating_sub(MAX_CACHED_EVENTS);
        while surplus > 0 {
            let sql = "SELECT epoch, first, last FROM ranges WHERE room = ?1 ORDER BY epoch, first LIMIT 1";
            let mut oldest = self.transaction.prepare_cached(sql)?;
            let (epoch, first, last): (u32, u64, u64) =
                oldest.query_row([room.0], |row| Ok((row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?)))?;
            let gone = surplus.min(last - first + 1);
            surplus -= gone;
            self.drop_front(room, epoch, first, first + gone)?;
        }
        Ok(())
    }

    /// Takes the events `first..until` out of the range that begins at `first`.
    fn drop_front(&self, room: RoomId, epoch: u32, first: u64, until: u64) -> Result<()> {
        let which = params![room.0, epoch, signed(first), signed(until)];
        let events = "DELETE FROM events WHERE room = ?1 AND epoch = ?2 AND seq >= ?3 AND seq < ?4";
        self.transaction.execute(events, which)?;
        let whole = "DELETE FROM ranges WHERE room = ?1 AND epoch = ?2 AND first = ?3 AND last < ?4";
        if self.transaction.execute(whole, which)? == 0 {
            let front = "UPDATE ranges SET first = ?4 WHERE room = ?1 AND epoch = ?2 AND first = ?3";
            self.transaction.execute(front, which)?;
        }
        Ok(())
    }
}

fn ranges(connection: &Connection, room: RoomId, epoch: u32) -> rusqlite::Result<Vec<RangeInclusive<u64>>> {
    let sql = "SELECT first, last FROM ranges WHERE room = ?1 AND epoch = ?2 ORDER BY first";
    let mut statement = connection.prepare_cached(sql)?;
    let ranges =
        statement.query_map(params![room.0, epoch], |row| Ok(unsigned(row, 0)?..=unsigned(row, 1)?))?;
    ranges.collect()
}
