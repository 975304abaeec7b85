//! The embedded store: SQLite in WAL mode, one writer thread with group commit, readers that never wait for it.
//!
//! [`SqliteStore`] is the server's [`Store`](hikyaku_storage::Store); it owns a data directory through a lock file.
//! [`client::ClientStore`] is what a client keeps about one server: outbox, cursors, cached events, transfers;
//! several processes may have it open at once.
//!
//! ```
//! use hikyaku_sqlite::SqliteStore;
//! use hikyaku_storage::{Batch, Key, Store};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let directory = home.path().join("data");
//! let store = SqliteStore::open(&directory)?;
//! store.commit(Batch::new().put(Key::from("greeting"), "hello")).await?; // durable from here on
//! assert!(SqliteStore::open(&directory).is_err(), "two servers never share a data directory");
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod apply;
mod archive;
mod backup;
pub mod client;
mod copier;
mod crowd;
mod error;
mod file;
mod inspect;
mod lock;
mod queries;
mod readers;
mod schema;
mod store;
mod writer;

pub use archive::{Archive, ArchiveWriter, Contents, Restored, epochs};
pub use backup::backup;
pub use error::OpenError;
pub use inspect::{Inspection, inspect};
pub use lock::Owned;
pub use store::{FILE_NAME, SqliteStore, Stats};
