//! Rooms this client has met, and how far it has read in each.

use hikyaku_storage::RoomId;
use rusqlite::{OptionalExtension, Row, params};

use super::{Changes, ClientStore, Result, identifier};
use crate::queries::{signed, unsigned};

/// What a client remembers of a room between connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRoom {
    /// The room.
    pub room: RoomId,
    /// Its name on this server, without the sign in front.
    pub name: String,
    /// The epoch seen last.
    pub epoch: u32,
    /// The last sequence number heard of.
    pub last: u64,
    /// Its topic or title, for lists shown before the server has answered.
    pub title: Option<String>,
}

/// The next event to read: everything before it was given to the application. Later epochs are further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The room's epoch.
    pub epoch: u32,
    /// The sequence number of the next event.
    pub next_seq: u64,
}

const COLUMNS: &str = "room, name, epoch, last, title";

impl ClientStore {
    /// A room by its name.
    pub fn room(&self, name: &str) -> Result<Option<KnownRoom>> {
        let sql = format!("SELECT {COLUMNS} FROM rooms WHERE name = ?1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([name], known).optional()?)
    }

    /// All rooms, by name.
    pub fn rooms(&self) -> Result<Vec<KnownRoom>> {
        let sql = format!("SELECT {COLUMNS} FROM rooms ORDER BY name");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rooms = statement.query_map([], known)?;
        Ok(rooms.collect::<rusqlite::Result<_>>()?)
    }

    /// How far a room was read; `None` if never.
    pub fn cursor(&self, room: RoomId) -> Result<Option<Cursor>> {
        let mut statement =
            self.connection.prepare_cached("SELECT epoch, next_seq FROM cursors WHERE room = ?1")?;
        let cursor = |row: &Row<'_>| Ok(Cursor { epoch: row.get(0)?, next_seq: unsigned(row, 1)? });
        Ok(statement.query_row([room.0], cursor).optional()?)
    }
}

impl Changes<'_> {
    /// Remembers a room; another that had its name until now is forgotten, since a name is one room's.
    pub fn put_room(&self, room: &KnownRoom) -> Result<()> {
        let mut statement =
            self.transaction.prepare_cached("INSERT OR REPLACE INTO rooms VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let KnownRoom { room, name, epoch, last, title } = room;
        statement.execute(params![room.0, name, epoch, signed(*last), title])?;
        Ok(())
    }

    /// Forgets a room, its cursor and its events.
    pub fn forget_room(&self, room: RoomId) -> Result<()> {
        for table in ["rooms", "cursors", "events", "ranges"] {
            self.transaction.execute(&format!("DELETE FROM {table} WHERE room = ?1"), [room.0])?;
        }
        Ok(())
    }

    /// Moves a room's cursor forward and says whether it moved: another process may be further already.
    pub fn advance_cursor(&self, room: RoomId, to: Cursor) -> Result<bool> {
        let sql = "INSERT INTO cursors VALUES (?1, ?2, ?3)
                   ON CONFLICT (room) DO UPDATE SET epoch = excluded.epoch, next_seq = excluded.next_seq
                   WHERE (excluded.epoch, excluded.next_seq) > (epoch, next_seq)";
        let moved =
            self.transaction.prepare_cached(sql)?.execute(params![room.0, to.epoch, signed(to.next_seq)])?;
        Ok(moved > 0)
    }

    /// Sets a room's cursor wherever it was, as a person asks to read something again.
    pub fn set_cursor(&self, room: RoomId, to: Cursor) -> Result<()> {
        let mut statement =
            self.transaction.prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)")?;
        statement.execute(params![room.0, to.epoch, signed(to.next_seq)])?;
        Ok(())
    }
}

fn known(row: &Row<'_>) -> rusqlite::Result<KnownRoom> {
    let room = RoomId(identifier(row, 0)?);
    Ok(KnownRoom { room, name: row.get(1)?, epoch: row.get(2)?, last: unsigned(row, 3)?, title: row.get(4)? })
}
