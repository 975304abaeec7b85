//! Messages on their way: stored before they are sent, in order, until the server has said they are durable.
//!
//! A message keeps its identifier through every attempt, and a person's own key keeps its message for ever, so a
//! message said again, next second or next week, is still one message.

use rusqlite::{OptionalExtension, Row, params};

use bytes::Bytes;

use super::{Changes, ClientError, ClientStore, Result, identifier, within};
use crate::lock::Lock;
use crate::queries::{blob, signed, unsigned};

/// The most messages that may wait at once.
pub const MAX_OUTBOX: usize = 10_000;
/// The longest body, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// The longest details of a message, in bytes.
pub const MAX_DETAILS: usize = 4 << 10;
/// The longest room name or key, in bytes.
pub const MAX_NAME: usize = 512;

/// A message's identifier: 128 random bits chosen by the client.
pub type MessageId = [u8; 16];

/// A message before it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Fresh random bits; not used when a key already stands for a message.
    pub id: MessageId,
    /// The room as the person names it.
    pub room: String,
    /// The event kind.
    pub kind: u32,
    /// The encoded body.
    pub body: Bytes,
    /// What else there is to it, such as what it is about.
    pub details: Bytes,
    /// When it was said, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The message.
    pub message: NewMessage,
    /// How far it has come.
    pub state: OutboxState,
    /// How often it was handed to a connection.
    pub attempts: u64,
    /// Why the server refused it.
    pub reason: Option<String>,
}

/// How far a message has come. One that the server acknowledged is no longer in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxState {
    /// Never handed to a connection.
    Queued,
    /// Handed to a connection at least once: the server may have it.
    Attempted,
    /// Refused by the server for good; kept until somebody looks at it.
    Refused,
}

impl OutboxState {
    fn number(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Attempted => 1,
            Self::Refused => 2,
        }
    }
}

/// The right to send from the outbox; while one process has it, order is kept. Given back when dropped.
#[derive(Debug)]
pub struct OutboxLock {
    _lock: Lock,
}

const COLUMNS: &str = "id, room, kind, body, created_ms, state, attempts, reason, details";

impl ClientStore {
    /// Takes the right to send, or returns `None` at once if another process has it.
    pub fn try_lock_outbox(&self) -> Result<Option<OutboxLock>> {
        let lock = Lock::try_take(&self.directory.join("outbox.lock"))?;
        Ok(lock.map(|lock| OutboxLock { _lock: lock }))
    }

    /// The oldest `limit` messages that were not refused, in the order in which they were said.
    pub fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE state <> 2 ORDER BY position LIMIT ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries = statement.query_map([limit], entry)?;
        Ok(entries.collect::<rusqlite::Result<_>>()?)
    }

    /// What was said in a room before the message `id` and was not refused, oldest first.
    pub fn outbox_before(&self, room: &str, id: MessageId) -> Result<Vec<OutboxEntry>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outbox WHERE room = ?1 AND state <> 2
                 AND position < (SELECT position FROM outbox WHERE id = ?2) ORDER BY position"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let entries = statement.query_map(params![room, id], entry)?;
        Ok(entries.collect::<rusqlite::Result<_>>()?)
    }

    /// The messages the server refused, oldest first.
    pub fn refused(&self) -> Result<Vec<OutboxEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE state = 2 ORDER BY position");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let entries = statement.query_map([], entry)?;
        Ok(entries.collect::<rusqlite::Result<_>>()?)
    }

    /// One message of the outbox; `None` once the server has acknowledged it.
    pub fn outbox_entry(&self, id: MessageId) -> Result<Option<OutboxEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM outbox WHERE id = ?1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([id], entry).optional()?)
    }
}

impl Changes<'_> {
    /// Puts a message into the outbox and returns the identifier it goes by.
    ///
    /// With a `key` that was used in this room before, that is the identifier of then: the message is still waiting, or
    /// is sent again under it, and the server answers with the first one's place. Another text under the key of a
    /// message still waiting is [`ClientError::KeyReused`]; once it was acknowledged, the server says so.
    pub fn enqueue(&self, message: &NewMessage, key: Option<&str>) -> Result<MessageId> {
        within("message body (bytes)", message.body.len(), MAX_BODY)?;
        within("message details (bytes)", message.details.len(), MAX_DETAILS)?;
        within("room name (bytes)", message.room.len(), MAX_NAME)?;
        within("key (bytes)", key.map_or(0, str::len), MAX_NAME)?;
        let waiting: i64 = self
            .transaction
            .prepare_cached("SELECT count(*) FROM outbox")?
            .query_row([], |row| row.get(0))?;
        within(
            "outbox (messages)",
            usize::try_from(waiting).unwrap_or(usize::MAX).saturating_add(1),
            MAX_OUTBOX,
        )?;

        let id = key.map_or(Ok(message.id), |key| self.id_for_key(message, key))?;
        self.insert(message, id, key)?;
        Ok(id)
    }

    /// Queues a message under `id` unless it waits already; one that was refused is tried again.
    fn insert(&self, message: &NewMessage, id: MessageId, key: Option<&str>) -> Result<()> {
        let sql = "INSERT INTO outbox (id, room, kind, body, created_ms, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, body = excluded.body,
                       details = excluded.details, state = CASE state WHEN 2 THEN 0 ELSE state END, reason = NULL
                   WHERE state = 2 OR (kind, body, details) = (excluded.kind, excluded.body, excluded.details)";
        let NewMessage { room, kind, body, created_ms, details, .. } = message;
        let mut insert = self.transaction.prepare_cached(sql)?;
        match insert.execute(params![id, room, kind, &body[..], signed(*created_ms), &details[..]])? {
            0 => Err(ClientError::KeyReused { key: key.unwrap_or_default().to_owned() }),
            _ => Ok(()),
        }
    }

    fn id_for_key(&self, message: &NewMessage, key: &str) -> Result<MessageId> {
        let sql = "INSERT INTO keys VALUES (?1, ?2, ?3, ?4) ON CONFLICT (room, name) DO NOTHING";
        let mut remember = self.transaction.prepare_cached(sql)?;
        remember.execute(params![message.room, key, message.id, signed(message.created_ms)])?;
        let mut find =
            self.transaction.prepare_cached("SELECT id FROM keys WHERE room = ?1 AND name = ?2")?;
        Ok(find.query_row([&message.room, key], |row| identifier(row, 0))?)
    }

    /// Notes that a message is handed to a connection: from now on the server may have it.
    pub fn attempt(&self, id: MessageId) -> Result<()> {
        let sql = "UPDATE outbox SET state = ?2, attempts = attempts + 1 WHERE id = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![id, OutboxState::Attempted.number()])?;
        Ok(())
    }

    /// Notes that the server refused a message for good; those behind it go on.
    pub fn refuse(&self, id: MessageId, reason: &str) -> Result<()> {
        let sql = "UPDATE outbox SET state = ?2, reason = ?3 WHERE id = ?1";
        self.transaction.prepare_cached(sql)?.execute(params![id, OutboxState::Refused.number(), reason])?;
        Ok(())
    }

    /// Takes a message out: the server has acknowledged it, or the person gives it up.
    pub fn settle(&self, id: MessageId) -> Result<()> {
        self.transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let message = NewMessage {
        id: identifier(row, 0)?,
        room: row.get(1)?,
        kind: row.get(2)?,
        body: blob(row, 3)?,
        details: blob(row, 8)?,
        created_ms: unsigned(row, 4)?,
    };
    let state = match row.get(5)? {
        0 => OutboxState::Queued,
        1 => OutboxState::Attempted,
        2 => OutboxState::Refused,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(5, other)),
    };
    Ok(OutboxEntry { message, state, attempts: unsigned(row, 6)?, reason: row.get(7)? })
}
