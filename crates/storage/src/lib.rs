//! The storage seam: what the applications ask of a store, without saying which store it is.
//!
//! [`Store`] holds two things: versioned keys, and rooms (dense logs of events). Everything that changes goes through
//! one conditional atomic [`Batch`]; rules read, decide purely, commit, and run again on [`StoreError::Conflict`].
//! [`memory::MemoryStore`] is the model every backend is compared with, [`conformance`] the suite that compares them.
//!
//! ```
//! use hikyaku_storage::{Batch, Key, Store, StoreError, memory::MemoryStore};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), StoreError> {
//! let store = MemoryStore::new();
//! let name = Key::join([&b"n/"[..], b"ada"]);
//!
//! // Version 0 means "absent": the name is taken only if nobody has it.
//! store.commit(Batch::new().check(name.clone(), 0).put(name.clone(), "user 1")).await?;
//! let refused = store.commit(Batch::new().check(name.clone(), 0).put(name, "user 2")).await;
//! assert!(matches!(refused, Err(StoreError::Conflict(_))));
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

pub mod conformance;
mod error;
pub mod limits;
pub mod memory;
mod store;
mod types;
pub mod vault;

pub use error::{Conflict, StoreError};
pub use store::{Pending, Store};
pub use types::{
    Append, Batch, Committed, Guard, Head, Key, NewEvent, Page, Raise, Replace, RoomId, StoredEvent, Trim,
    Versioned,
};
