//! What can go wrong in a store, and what the caller may conclude from it.

use crate::types::{Guard, Key, RoomId};

/// Why a store refused or failed.
///
/// `Conflict`, `Limit`, `Duplicate`, `TimeFell`, `EpochFell`, `TrimOutside` and `Full` promise that nothing of the batch was applied.
/// After `Fatal` the outcome of batches still waiting is unknown until the store is opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A check or guard did not hold. Read again, decide again, commit again.
    #[error("the store has moved on: {0}")]
    Conflict(Conflict),
    /// Something is larger than the store takes.
    #[error("store limit: {what} is {size}, the limit is {limit}")]
    Limit {
        /// What is too large, with its unit: "value (bytes)".
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A batch names the same key or room twice: a mistake of the program.
    #[error("store: the batch names {what} {name} twice")]
    Duplicate {
        /// "the check of key", "key" or "room".
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// An event lies before the one it follows: a mistake of the program.
    #[error("store: an event of room {room} has the time {found}, but the event before it {previous}")]
    TimeFell {
        /// The room.
        room: RoomId,
        /// The time of the event before.
        previous: u64,
        /// The time that was given.
        found: u64,
    },
    /// A new epoch is not above the one before it: a mistake of the program.
    #[error("store: room {room} is to begin epoch {found}, but is in epoch {previous} already")]
    EpochFell {
        /// The room.
        room: RoomId,
        /// The epoch the room is in.
        previous: u32,
        /// The epoch that was given.
        found: u32,
    },
    /// A trim would bring events back, or forget some that are yet to come: a mistake of the program.
    #[error(
        "store: room {room} keeps the events {first} to {last} and cannot be trimmed to begin at {found}"
    )]
    TrimOutside {
        /// The room.
        room: RoomId,
        /// The first event still kept.
        first: u64,
        /// The last event.
        last: u64,
        /// The first event that was to stay.
        found: u64,
    },
    /// The disk or a quota of the file system is full. Reads go on; writes do again when there is room.
    #[error("the store's disk is full; nothing was written")]
    Full,
    /// A read or the start of a write failed, and the store is still usable. Nothing was applied.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The store can no longer promise anything and refuses every call: a failed sync, damage, or a closed store.
    #[error("the store is out of service: {0}")]
    Fatal(String),
}

impl StoreError {
    /// Whether reading, deciding and committing again is the right answer.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}

/// The first check or guard that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A key has another version.
    #[error("key {key} has version {found}, expected {expected}")]
    Key {
        /// The key.
        key: Key,
        /// The version the batch demanded; 0 means absent.
        expected: u64,
        /// The version it has; 0 means absent.
        found: u64,
    },
    /// A room's head says something else.
    #[error(
        "room {room} is at epoch {}, event {}; expected epoch {}, event {}",
        .found.epoch, .found.expect_last, .expected.epoch, .expected.expect_last
    )]
    Room {
        /// The room.
        room: RoomId,
        /// The guard the batch carried.
        expected: Guard,
        /// The guard that would have held.
        found: Guard,
    },
    /// A room's kept part begins elsewhere.
    #[error(
        "room {room} begins at epoch {}, event {}; expected epoch {}, event {}",
        .found.0, .found.1, .expected.0, .expected.1
    )]
    First {
        /// The room.
        room: RoomId,
        /// Epoch and first event that the batch demanded.
        expected: (u32, u64),
        /// Epoch and first event of the room.
        found: (u32, u64),
    },
    /// An event is not there, or its record is another one.
    #[error("event {seq} of epoch {epoch} in room {room} is not as it was read")]
    Event {
        /// The room.
        room: RoomId,
        /// The epoch the batch named.
        epoch: u32,
        /// The sequence number.
        seq: u64,
    },
}
