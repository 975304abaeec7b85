//! Why a store file could not be opened or copied, in sentences for the person who runs the program.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a store could not be opened, migrated or backed up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the data directory.
    #[error("another hikyaku server is using {path}: stop it, or choose another data directory")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The file's format is newer than this program.
    #[error(
        "{path}: this store was written by a newer hikyaku (format {found}, this one knows {known}): \
         upgrade the program or restore a backup"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The format of the file.
        found: i64,
        /// The newest format this program knows.
        known: i64,
    },
    /// The file is something else.
    #[error("{path} is not a hikyaku store: move it away or choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// SQLite itself is too old; a bug in older versions can lose what was committed.
    #[error("this program was built with SQLite {found}, but needs 3.51.3 or newer: rebuild it")]
    OldLibrary {
        /// The version found.
        found: &'static str,
    },
    /// The file system cannot hold a write-ahead log, which network file systems cannot.
    #[error("{path}: this file system cannot hold a store (no write-ahead log): choose a local disk")]
    NoWal {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("{path} is damaged ({reason}): restore a backup")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was opened, made or moved.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{path}: {source}")]
    Sqlite {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, reason: source.to_string() },
            _ => Self::Sqlite { path, source },
        }
    }
}
