//! Transfers under way, so that one that broke off can be taken up again, by this process or the next.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, params};

use super::{Changes, ClientStore, MAX_NAME, Result, identifier, within};
use crate::queries::{blob, signed, unsigned};

/// The longest state of a transfer, in bytes; what grows with a file belongs into a journal beside it.
pub const MAX_TRANSFER_STATE: usize = 1 << 20;

/// A transfer's identifier: 128 random bits.
pub type TransferId = [u8; 16];

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From this computer.
    Send,
    /// To this computer.
    Receive,
}

/// A transfer that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The transfer.
    pub id: TransferId,
    /// Which way the bytes go.
    pub direction: Direction,
    /// The file or directory on this computer.
    pub path: PathBuf,
    /// The other end, as the person named it.
    pub target: String,
    /// Whatever is needed to go on; opaque here.
    pub state: Bytes,
    /// When it last moved, in milliseconds since 1970.
    pub updated_ms: u64,
}

const COLUMNS: &str = "id, direction, path, target, state, updated_ms";

impl ClientStore {
    /// One transfer.
    pub fn transfer(&self, id: TransferId) -> Result<Option<Transfer>> {
        let sql = format!("SELECT {COLUMNS} FROM transfers WHERE id = ?1");
        Ok(self.connection.prepare_cached(&sql)?.query_row([id], transfer).optional()?)
    }

    /// All transfers, the one that moved last first.
    pub fn transfers(&self) -> Result<Vec<Transfer>> {
        let sql = format!("SELECT {COLUMNS} FROM transfers ORDER BY updated_ms DESC, id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let transfers = statement.query_map([], transfer)?;
        Ok(transfers.collect::<rusqlite::Result<_>>()?)
    }
}

impl Changes<'_> {
    /// Remembers a transfer, or how far it is now.
    pub fn put_transfer(&self, transfer: &Transfer) -> Result<()> {
        let Transfer { id, direction, path, target, state, updated_ms } = transfer;
        within("transfer state (bytes)", state.len(), MAX_TRANSFER_STATE)?;
        within("transfer target (bytes)", target.len(), MAX_NAME)?;
        let direction = match direction {
            Direction::Send => 0,
            Direction::Receive => 1,
        };
        let sql = "INSERT OR REPLACE INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let path = path.as_os_str().as_bytes();
        statement.execute(params![id, direction, path, target, &state[..], signed(*updated_ms)])?;
        Ok(())
    }

    /// Forgets a transfer: it has ended.
    pub fn remove_transfer(&self, id: TransferId) -> Result<()> {
        self.transaction.prepare_cached("DELETE FROM transfers WHERE id = ?1")?.execute([id])?;
        Ok(())
    }
}

fn transfer(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    let direction = match row.get(1)? {
        0 => Direction::Send,
        1 => Direction::Receive,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let path = PathBuf::from(OsString::from_vec(row.get(2)?));
    let state = blob(row, 4)?;
    Ok(Transfer {
        id: identifier(row, 0)?,
        direction,
        path,
        target: row.get(3)?,
        state,
        updated_ms: unsigned(row, 5)?,
    })
}
