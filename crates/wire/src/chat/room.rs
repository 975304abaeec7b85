//! Rooms: creating, listing, naming, reading what was said.

use minicbor::{Decode, Encode};

use super::ids::{Digest, RoomId};
use super::member::{MemberRole, ReadPosition, Retention};
use super::send::RoomRef;
use super::sync::Records;

/// The most pins that a room is read with.
pub const MAX_PINS: usize = 64;

/// Where a room's log stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// Rises only when an operator rewinds the room's history.
    #[n(1)]
    pub epoch: u32,
    /// The first event still there; `last + 1` in an empty log.
    #[n(2)]
    pub first: u64,
    /// The newest event; 0 before the first.
    #[n(3)]
    pub last: u64,
    /// How many events up to `last` count as unread for those who have seen none.
    #[n(4)]
    pub count: u64,
    /// When the newest event was appended, in milliseconds since 1970; 0 before the first.
    #[n(5)]
    pub ts_ms: u64,
    /// The chain's value after `last`.
    #[n(6)]
    pub chain: Digest,
    /// Only to a reader that knows an older epoch: the first sequence number whose event was replaced.
    #[n(7)]
    pub rewound: Option<u64>,
}

/// Asks for a new room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Create {
    /// Made by the creator, so that asking again is safe.
    #[n(0)]
    pub room: RoomId,
    /// The name wanted.
    #[n(1)]
    pub name: String,
    /// What it is about; becomes the room's first event.
    #[n(2)]
    pub topic: Option<String>,
    /// Whether only its members may read it and know of it.
    #[cbor(n(3), skip_if = "is_false", default)]
    pub private: bool,
}

/// The room exists.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Created {
    /// The room.
    #[n(0)]
    pub room: Room,
    /// Whether it had been created by an earlier attempt with the same id.
    #[n(1)]
    pub duplicate: bool,
}

/// A room and where its log stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Room {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its log.
    #[n(1)]
    pub head: Head,
    /// Whether only its members may read it and know of it.
    #[cbor(n(2), skip_if = "is_false", default)]
    pub private: bool,
    /// What the asker is in it; absent for whoever is no member.
    #[n(3)]
    pub role: Option<MemberRole>,
    /// What it is about.
    #[n(4)]
    pub topic: Option<String>,
    /// Events kept in view.
    #[cbor(n(5), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_PINS>")]
    pub pins: Vec<u64>,
    /// How far the asker has read.
    #[n(6)]
    pub read: Option<ReadPosition>,
    /// How long it keeps its events, if not for ever.
    #[n(7)]
    pub retention: Option<Retention>,
}

/// Asks for the rooms one may see, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct List {
    /// Only names after this one.
    #[n(0)]
    pub after: Option<String>,
    /// At most so many; the server may return fewer.
    #[n(1)]
    pub limit: Option<u32>,
}

/// Some rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rooms {
    /// The rooms.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, 512>")]
    pub rooms: Vec<Room>,
    /// Ask again with `after` = this; absent at the end.
    #[n(1)]
    pub more: Option<String>,
}

/// Asks which room a name or id means.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Resolve {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
}

/// Asks for stored events, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct History {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// The first sequence number wanted.
    #[n(1)]
    pub from: Option<u64>,
    /// Instead of `from`: the first event at or after this time, in milliseconds since 1970.
    #[n(2)]
    pub since_ms: Option<u64>,
    /// At most so many events; the server may return fewer.
    #[n(3)]
    pub limit: Option<u32>,
    /// Whether the chain's value before the first event is wanted.
    #[cbor(n(4), skip_if = "is_false", default)]
    pub chain: bool,
}

/// Consecutive events. Fewer than asked for is no sign of the end: `head.last` is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Page {
    /// Where the log stands.
    #[n(0)]
    pub head: Head,
    /// The sequence number of the first record; where the page would have begun, if it is empty.
    #[n(1)]
    pub first: u64,
    /// The events.
    #[n(2)]
    pub records: Records,
    /// If it was asked for: the chain's value before the first record, where the server can tell.
    #[n(3)]
    pub chain: Option<Digest>,
}

/// Whether a flag need not be written.
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}
