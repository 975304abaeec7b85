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

/// One atomic conditional change: applied whole if every condition holds, otherwise not at all.
///
/// Every condition speaks of the store before the batch; then epochs are raised, records replaced, events appended
/// and prefixes trimmed, in this order. No key may stand twice among the checks, nor twice among the puts, no room
/// twice among the appends, the trims or the raises, and no event twice among the replacements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Keys that must still have this version; 0 means that the key must be absent.
    pub checks: Vec<(Key, u64)>,
    /// Keys to write, or with `None` to delete. Deleting an absent key is no error.
    pub puts: Vec<(Key, Option<Bytes>)>,
    /// Events to append, at most one entry a room.
    pub appends: Vec<Append>,
    /// Records to replace: how a body is erased while its event stays.
    pub replaces: Vec<Replace>,
    /// Prefixes to forget, at most one entry a room.
    pub trims: Vec<Trim>,
    /// Epochs to begin, at most one entry a room.
    pub raises: Vec<Raise>,
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

    /// Replaces the record of an event.
    #[must_use]
    pub fn replace(mut self, replace: Replace) -> Self {
        self.replaces.push(replace);
        self
    }

    /// Forgets the beginning of a room.
    #[must_use]
    pub fn trim(mut self, trim: Trim) -> Self {
        self.trims.push(trim);
        self
    }

    /// Begins a new epoch of a room.
    #[must_use]
    pub fn raise(mut self, raise: Raise) -> Self {
        self.raises.push(raise);
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

/// A new record for an event that stays where it is.
///
/// The old record is overwritten on the disk, as far as the disk lets anybody: this is how a body is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replace {
    /// The room.
    pub room: RoomId,
    /// The epoch in which the event was appended.
    pub epoch: u32,
    /// Its sequence number.
    pub seq: u64,
    /// The record it must still have.
    pub expect: Bytes,
    /// The record it gets, at most [`MAX_RECORD`](crate::limits::MAX_RECORD).
    pub record: Bytes,
}

/// The end of the part of a room that is forgotten. Sequence numbers, times, state and keys stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The room.
    pub room: RoomId,
    /// The epoch the room's head must have.
    pub epoch: u32,
    /// The first event the room's head must still have.
    pub expect_first: u64,
    /// The first event that stays: from `expect_first` to one past the last. All before it are overwritten and gone.
    /// Each event trimmed counts towards [`MAX_BATCH_ITEMS`](crate::limits::MAX_BATCH_ITEMS).
    pub first: u64,
}

/// The beginning of a new epoch: what follows the last event is another history than readers may have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// The room, which must exist.
    pub room: RoomId,
    /// What the room's head must say.
    pub guard: Guard,
    /// The new epoch, above the one in the guard. It begins with the event `guard.expect_last + 1`.
    pub epoch: u32,
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
    /// Every epoch after the first and the sequence number it begins with, oldest first: at most
    /// [`MAX_EPOCHS`](crate::limits::MAX_EPOCHS). Empty for almost every room.
    pub epochs: Vec<(u32, u64)>,
}

impl Head {
    /// The epoch in which the event `seq` was, or would be, appended.
    pub fn epoch_of(&self, seq: u64) -> u32 {
        let begun = self.epochs.iter().rev().find(|(_, first)| *first <= seq);
        begun.map_or(Guard::UNKNOWN_ROOM.epoch, |(epoch, _)| *epoch)
    }

    /// The first sequence number that a reader of `epoch` must throw away: what later epochs replaced. `None` for
    /// the epoch the room is in. An epoch that this history never had leaves nothing to rely on: everything goes.
    pub fn rewound_since(&self, epoch: u32) -> Option<u64> {
        if epoch == self.epoch {
            return None;
        }
        let known =
            epoch == Guard::UNKNOWN_ROOM.epoch || self.epochs.iter().any(|(begun, _)| *begun == epoch);
        if !known {
            return Some(1);
        }
        self.epochs.iter().filter(|(later, _)| *later > epoch).map(|(_, first)| *first).min()
    }
}

/// An answer of [`Store::events`](crate::Store::events), all of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The room's epoch: a reader of an older one must look at the head before it believes the events.
    pub epoch: u32,
    /// The first event still kept. A reader that asked for earlier ones learns here that they were trimmed.
    pub first: u64,
    /// The last event; 0 if there is none.
    pub last: u64,
    /// The events, dense from where the reader asked, or from `first` if that is later.
    pub events: Vec<StoredEvent>,
}

impl Page {
    /// What an unknown room answers.
    pub fn of_unknown_room() -> Self {
        Self { epoch: Guard::UNKNOWN_ROOM.epoch, first: 1, last: 0, events: Vec::new() }
    }
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
