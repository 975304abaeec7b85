//! One batch within the writer's transaction: whole, or not at all.

use std::collections::HashSet;

use hikyaku_storage::{Append, Batch, Key, Raise, Replace, StoreError, Trim, limits};
use rusqlite::{Connection, OptionalExtension, params};

use crate::queries::{self, epochs_to, numbered_head, signed};

/// Writes a batch if its conditions hold, and leaves nothing behind if one does not. Keys get this version.
///
/// Keys that must be absent and are then written, as the ids of messages are, take one step instead of two: the insertion
/// itself finds whether one is there. All other conditions are read before anything is written.
pub(crate) fn apply(
    connection: &Connection,
    batch: &Batch,
    version: u64,
) -> rusqlite::Result<Result<(), StoreError>> {
    let new = New::of(batch);
    let holds = judge(connection, batch, &new)?.is_ok() && claim(connection, batch, &new, version)?;
    if !holds {
        // Which of the conditions is the first that does not hold, in their own order.
        return judge(connection, batch, &New::default());
    }
    write(connection, batch, &new, version).map(Ok)
}

/// The keys of a batch that must be absent and are then written.
#[derive(Default)]
struct New<'a>(HashSet<&'a Key>);

impl<'a> New<'a> {
    fn of(batch: &'a Batch) -> Self {
        let absent = batch.checks.iter().filter(|(_, version)| *version == 0).map(|(key, _)| key);
        let absent: HashSet<&Key> = absent.collect();
        let put = batch.puts.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key);
        Self(put.filter(|key| absent.contains(key)).collect())
    }

    fn has(&self, key: &Key) -> bool {
        self.0.contains(key)
    }
}

/// The first condition of a batch that does not hold, except those that [`claim`] finds. Nothing is written.
fn judge(connection: &Connection, batch: &Batch, new: &New) -> rusqlite::Result<Result<(), StoreError>> {
    let mut version = connection.prepare_cached("SELECT version FROM keys WHERE key = ?1")?;
    for (key, expected) in batch.checks.iter().filter(|(key, _)| !new.has(key)) {
        let mut rows = version.query([key.as_bytes()])?;
        let found = rows.next()?.map_or(Ok(0), |row| queries::unsigned(row, 0))?;
        if let Err(conflict) = limits::check_version(key, *expected, found) {
            return Ok(Err(conflict));
        }
    }
    let head = |room| queries::head(connection, room);
    for raise in &batch.raises {
        if let Err(refused) = limits::check_raise(raise, head(raise.room)?.as_ref()) {
            return Ok(Err(refused));
        }
    }
    for replace in &batch.replaces {
        let verdict = judge_replace(connection, replace)?;
        if verdict.is_err() {
            return Ok(verdict);
        }
    }
    for append in &batch.appends {
        if let Err(refused) = limits::check_guard(append, head(append.room)?.as_ref()) {
            return Ok(Err(refused));
        }
    }
    for trim in &batch.trims {
        if let Err(refused) = limits::check_trim(trim, head(trim.room)?.as_ref()) {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(()))
}

fn judge_replace(connection: &Connection, replace: &Replace) -> rusqlite::Result<Result<(), StoreError>> {
    let Some((number, head)) = numbered_head(connection, replace.room)? else {
        return Ok(limits::check_replace(replace, None, None));
    };
    let sql = "SELECT record FROM events WHERE room = ?1 AND seq = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let record = statement.query_row(params![number, signed(replace.seq)], |row| queries::blob(row, 0));
    Ok(limits::check_replace(replace, Some(&head), record.optional()?.as_deref()))
}

/// Writes the new keys; false, with none of them written, if one is there already.
fn claim(connection: &Connection, batch: &Batch, new: &New, version: u64) -> rusqlite::Result<bool> {
    let mut insert =
        connection.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING")?;
    let puts = || batch.puts.iter().filter(|(key, _)| new.has(key));
    for (written, (key, value)) in puts().enumerate() {
        if insert.execute(params![key.as_bytes(), signed(version), value.as_deref()])? == 0 {
            let mut delete = connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?;
            puts().take(written).try_for_each(|(key, _)| delete.execute([key.as_bytes()]).map(drop))?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes what is left of a batch whose conditions hold and whose new keys are written.
fn write(connection: &Connection, batch: &Batch, new: &New, version: u64) -> rusqlite::Result<()> {
    put(connection, batch, new, version)?;
    batch.raises.iter().try_for_each(|raise| self::raise(connection, raise))?;
    batch.replaces.iter().try_for_each(|replace| self::replace(connection, replace))?;
    batch.appends.iter().try_for_each(|append| self::append(connection, append))?;
    batch.trims.iter().try_for_each(|trim| self::trim(connection, trim))
}

fn put(connection: &Connection, batch: &Batch, new: &New, version: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO keys VALUES (?1, ?2, ?3)
               ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value";
    let mut put = connection.prepare_cached(sql)?;
    let mut delete = connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?;
    for (key, value) in batch.puts.iter().filter(|(key, _)| !new.has(key)) {
        match value {
            Some(value) => put.execute(params![key.as_bytes(), signed(version), &value[..]])?,
            None => delete.execute([key.as_bytes()])?,
        };
    }
    Ok(())
}

fn raise(connection: &Connection, raise: &Raise) -> rusqlite::Result<()> {
    let Some((number, mut head)) = numbered_head(connection, raise.room)? else { return Ok(()) };
    head.epochs.push((raise.epoch, head.last + 1));
    let sql = "UPDATE rooms SET epoch = ?2, epochs = ?3 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute(params![number, raise.epoch, epochs_to(&head.epochs)])?;
    Ok(())
}

fn replace(connection: &Connection, replace: &Replace) -> rusqlite::Result<()> {
    let sql = "UPDATE events SET record = ?3
               WHERE room = (SELECT number FROM rooms WHERE id = ?1) AND seq = ?2";
    let mut update = connection.prepare_cached(sql)?;
    update.execute(params![&replace.room.0[..], signed(replace.seq), &replace.record[..]])?;
    Ok(())
}

fn append(connection: &Connection, append: &Append) -> rusqlite::Result<()> {
    let number: Option<i64> = connection
        .prepare_cached("SELECT number FROM rooms WHERE id = ?1")?
        .query_row([&append.room.0[..]], |row| row.get(0))
        .optional()?;
    let number = match number {
        Some(number) => number,
        None => {
            let sql =
                "INSERT INTO rooms (id, epoch, first, last, last_ts, state) VALUES (?1, ?2, 1, 0, 0, x'')";
            connection.prepare_cached(sql)?.insert(params![&append.room.0[..], append.guard.epoch])?
        }
    };
    let mut insert = connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
    let mut last = append.guard.expect_last;
    for event in &append.events {
        last += 1;
        insert.execute(params![number, signed(last), signed(event.ts_ms), &event.record[..]])?;
    }
    // No event leaves the room's last time as it was.
    let last_ts = append.events.last().map(|event| signed(event.ts_ms));
    let sql = "UPDATE rooms SET last = ?2, last_ts = coalesce(?3, last_ts), state = ?4 WHERE number = ?1";
    let mut update = connection.prepare_cached(sql)?;
    update.execute(params![number, signed(last), last_ts, &append.state[..]])?;
    Ok(())
}

fn trim(connection: &Connection, trim: &Trim) -> rusqlite::Result<()> {
    let sql = "DELETE FROM events WHERE room = (SELECT number FROM rooms WHERE id = ?1) AND seq < ?2";
    connection.prepare_cached(sql)?.execute(params![&trim.room.0[..], signed(trim.first)])?;
    let sql = "UPDATE rooms SET first = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![&trim.room.0[..], signed(trim.first)])?;
    Ok(())
}
