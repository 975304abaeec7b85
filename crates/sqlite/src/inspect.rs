//! A store's file looked at from below the trait: its structure, its format, and rows that no query of the store reads.

use std::path::Path;

use hikyaku_storage::RoomId;
use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;
use crate::file;
use crate::queries;
use crate::schema::FORMAT;
use crate::store::FILE_NAME;

/// What was found in a store's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The file's format.
    pub format: i64,
    /// The format this program writes.
    pub newest: i64,
    /// Keys in it.
    pub keys: u64,
    /// Every room that has a log.
    pub rooms: Vec<RoomId>,
    /// What is broken.
    pub damage: Vec<String>,
    /// Rows that belong to nothing.
    pub orphans: Vec<String>,
}

/// Looks at the store in `directory`, beside whichever process is using it, and changes nothing.
pub fn inspect(directory: &Path) -> Result<Inspection, OpenError> {
    file::check_library()?;
    let path = directory.join(FILE_NAME);
    let connection = file::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let format = file::judge(&connection, &path, FORMAT)?;
    let mut found = Inspection { format, newest: FORMAT.newest(), ..Inspection::default() };
    let sqlite = |error| OpenError::sqlite(&path, error);
    found.structure(&connection).map_err(sqlite)?;
    if found.damage.is_empty() && format > 0 {
        found.rows(&connection).map_err(sqlite)?;
    }
    Ok(found)
}

impl Inspection {
    fn structure(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut check = connection.prepare("PRAGMA integrity_check(10)")?;
        let lines = check.query_map([], |row| row.get::<_, String>(0))?;
        for line in lines {
            let line = line?;
            if line != "ok" {
                self.damage.push(line);
            }
        }
        Ok(())
    }

    fn rows(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // One moment, also where a server goes on writing.
        let moment = connection.unchecked_transaction()?;
        let number = |sql: &str| moment.query_row(sql, [], |row| queries::unsigned(row, 0));
        self.keys = number("SELECT count(*) FROM keys")?;
        let newest = number("SELECT coalesce(max(version), 0) FROM keys")?;
        let counted = number("SELECT coalesce(max(value), 0) FROM counters WHERE name = 'version'")?;
        if newest > counted {
            self.damage.push(format!("a key has version {newest}, but none above {counted} was given"));
        }
        let lost = number("SELECT count(*) FROM events WHERE room NOT IN (SELECT number FROM rooms)")?;
        if lost > 0 {
            self.orphans.push(format!("{lost} events belong to no room"));
        }
        let sql = "SELECT id, first, last, (SELECT count(*) FROM events WHERE room = number),
                          (SELECT coalesce(min(seq), first) FROM events WHERE room = number),
                          (SELECT coalesce(max(seq), last) FROM events WHERE room = number)
                   FROM rooms ORDER BY number";
        let mut rooms = moment.prepare(sql)?;
        let mut rows = rooms.query([])?;
        while let Some(row) = rows.next()? {
            let room = RoomId(row.get(0)?);
            let (first, last, count) =
                (queries::unsigned(row, 1)?, queries::unsigned(row, 2)?, queries::unsigned(row, 3)?);
            let (lowest, highest) = (queries::unsigned(row, 4)?, queries::unsigned(row, 5)?);
            if count != (last + 1).saturating_sub(first) || lowest != first || highest != last {
                self.damage.push(format!(
                    "room {room} should hold the events {first} to {last} and holds {count} of {lowest} to {highest}"
                ));
            }
            self.rooms.push(room);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
