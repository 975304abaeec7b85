//! What goes into a store and what comes out of it: keys, rooms, batches, events.
//!
//! All types are plain data. Their limits are in [`crate::limits`] and are checked by the store, not by constructors,
//! so that a key built from a fixed prefix and an identifier needs no error path of its own.

use std::fmt;

use bytes::Bytes;

/// A key: at most [`MAX_KEY`](crate::limits::MAX_KEY) bytes, ordered bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The key made of these parts, one after the other: `Key::join([&b"u/"[..], &user_id])`.
    pub fn join<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(part.as_ref());
        }
        Self(bytes.into())
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key's length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the key has no bytes; as a prefix, the empty key covers every key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl fmt::Display for Key {
    /// Printable ASCII as it is, everything else escaped: keys may hold bytes a peer has chosen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// A room's identifier: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub [u8; 16]);

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({self})")
    }
}

/// One atomic conditional change: applied whole if every check and guard holds, otherwise not at all.
///
/// No key may stand twice among the checks, nor twice among the puts, and no room twice among the appends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Keys that must still have this version; 0 means that the key must be absent.
    pub checks: Vec<(Key, u64)>,
    /// Keys to write, or with `None` to delete. Deleting an absent key is no error.
    pub puts: Vec<(Key, Option<Bytes>)>,
    /// Events to append, at most one entry a room.
    pub appends: Vec<Append>,
}

impl Batch {
    /// A batch that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `key` still has `version`; 0 means absent.
    #[must_use]
    pub fn check(mut self, key: Key, version: u64) -> Self {
        self.checks.push((key, version));
        self
    }

    /// Demands that `key` is as it was read: the version found, or absence.
    #[must_use]
    pub fn check_read(self, key: Key, read: Option<&Versioned>) -> Self {
        self.check(key, read.map_or(0, |found| found.version))
    }

    /// Writes `value` under `key`.
    #[must_use]
    pub fn put(mut self, key: Key, value: impl Into<Bytes>) -> Self {
        self.puts.push((key, Some(value.into())));
        self
    }

    /// Deletes `key`.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.puts.push((key, None));
        self
    }

    /// Appends to a room.
    #[must_use]
    pub fn append(mut self, append: Append) -> Self {
        self.appends.push(append);
        self
    }
}

/// Events appended to one room, and the room's new state.
///
/// The events get the sequence numbers `guard.expect_last + 1 ..` in their order. No events at all is allowed:
/// then only the state changes, and an unknown room comes into being empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The room.
    pub room: RoomId,
    /// What the room's head must say for the batch to be applied.
    pub guard: Guard,
    /// The events, oldest first; their times must not fall, nor lie before the head's `last_ts`.
    pub events: Vec<NewEvent>,
    /// Opaque bytes kept in the head, at most [`MAX_STATE`](crate::limits::MAX_STATE): chain value, counters.
    pub state: Bytes,
}

/// What a room's head must say. A room without a head is matched by epoch 1 and last 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The room's epoch.
    pub epoch: u32,
    /// The sequence number of the room's last event; 0 when it has none.
    pub expect_last: u64,
}

impl Guard {
    /// The guard that holds for a room nobody has appended to.
    pub const UNKNOWN_ROOM: Self = Self { epoch: 1, expect_last: 0 };

    /// The guard that holds for a room whose head was read as `head`.
    pub fn of(head: Option<&Head>) -> Self {
        head.map_or(Self::UNKNOWN_ROOM, |head| Self { epoch: head.epoch, expect_last: head.last })
    }
}

/// An event before it has a sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Milliseconds since 1970, never falling within a room.
    pub ts_ms: u64,
    /// The event's bytes, at most [`MAX_RECORD`](crate::limits::MAX_RECORD); the store does not look inside.
    pub record: Bytes,
}

/// Where a room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Rises only when an operator rewinds history.
    pub epoch: u32,
    /// The first sequence number still kept; 1 until a prefix is trimmed.
    pub first: u64,
    /// The last sequence number given; 0 before the first event.
    pub last: u64,
    /// The time of the last event; 0 before the first event.
    pub last_ts: u64,
    /// The state given with the last append.
    pub state: Bytes,
}

/// An event as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Dense from 1 within the room.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub ts_ms: u64,
    /// The event's bytes.
    pub record: Bytes,
}

/// A value and the version it was written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Rises with every write in the whole store and is never given twice, not even after a deletion. Never 0.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// The outcome of a batch that was applied and is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The version every key written by this batch now has; 0 when the batch wrote no key.
    pub version: u64,
}
