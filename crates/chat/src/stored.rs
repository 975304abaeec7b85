//! What the chat server keeps in the store besides events, and under which keys.
//!
//! `r/<room id>` the room's record, `rn/<name>` its id, `m/<message id><user id><room id>` what became of a
//! message, `ed/<room id><seq>` where an event was edited, `ch/<room id><n>` a
//! value of the chain, `tp/<room id>` the topic's text, `chat/rooms` how many rooms there are; and of a
//! room and a user `rm/` the membership, `rd/` how far was read, `mn/` the newest mentions. A room's head carries the [`State`]. Values are CBOR in the
//! profile of the wire, with keys that later versions may add to.

use bytes::Bytes;
use hikyaku_storage as storage;
use hikyaku_storage::Key;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Digest, MemberRole, MessageId, Retention, RoomId, Salt, UserId};
use minicbor::{Decode, Encode};

use crate::name::RoomName;
use crate::refusal::Refusal;

/// The store's name for a room.
pub(crate) fn store_room(room: RoomId) -> storage::RoomId {
    storage::RoomId(room.0)
}

/// Where a room's record is.
pub(crate) fn room_key(room: RoomId) -> Key {
    Key::join([b"r/".as_slice(), &room.0])
}

/// Under this prefix are all records of rooms.
pub(crate) fn rooms_prefix() -> Key {
    Key::from("r/")
}

/// Under this prefix are all names.
pub(crate) fn names_prefix() -> Key {
    Key::from("rn/")
}

/// Where a name's room is.
pub(crate) fn name_key(name: &RoomName) -> Key {
    Key::join([b"rn/".as_slice(), name.as_str().as_bytes()])
}

/// Where the number of rooms is.
pub(crate) fn rooms_key() -> Key {
    Key::from("chat/rooms")
}

/// Where it stands what became of a message. The author is part of the key: an id that can be guessed (because
/// it was made from a word) cannot be taken by somebody else first. The id comes first: most begin with the time (see
/// [`fresh_id`](crate::fresh_id())), so what all rooms say at one time lies together.
//= S4.31
pub(crate) fn receipt_key(room: RoomId, author: UserId, id: MessageId) -> Key {
    Key::join([b"m/".as_slice(), &id.0, &author.0, &room.0])
}

/// Under this prefix is what became of all messages.
pub(crate) fn receipts_prefix() -> Key {
    Key::from("m/")
}

/// The room in whose log the message is.
pub(crate) fn room_of_receipt(key: &Key) -> Option<&[u8]> {
    key.as_bytes().get(34..)
}

/// Where it stands what a user is in a room.
pub(crate) fn member_key(room: RoomId, user: UserId) -> Key {
    Key::join([b"rm/".as_slice(), &room.0, &user.0])
}

/// Under this prefix are all who belong to a room.
pub(crate) fn members_prefix(room: RoomId) -> Key {
    Key::join([b"rm/".as_slice(), &room.0])
}

/// Where it stands how far a user has read a room.
pub(crate) fn read_key(room: RoomId, user: UserId) -> Key {
    Key::join([b"rd/".as_slice(), &room.0, &user.0])
}

/// Where it stands which of a room's newest events mention a user.
pub(crate) fn mentions_key(room: RoomId, user: UserId) -> Key {
    Key::join([b"mn/".as_slice(), &room.0, &user.0])
}

/// Where the text of a room's topic is: it outlives the event that set it.
pub(crate) fn topic_key(room: RoomId) -> Key {
    Key::join([b"tp/".as_slice(), &room.0])
}

/// Where a value of the chain is kept.
pub(crate) fn chain_key(room: RoomId, place: u64) -> Key {
    Key::join([b"ch/".as_slice(), &room.0, &place.to_be_bytes()])
}

/// Where it stands which events edit this one.
pub(crate) fn edits_key(room: RoomId, seq: u64) -> Key {
    Key::join([b"ed/".as_slice(), &room.0, &seq.to_be_bytes()])
}

/// What is known about a room apart from its log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RoomRecord {
    /// Its name, canonical.
    #[n(0)]
    pub(crate) name: String,
    /// Who made it.
    #[n(1)]
    pub(crate) creator: UserId,
    /// When, in milliseconds since 1970.
    #[n(2)]
    pub(crate) created_ms: u64,
    /// The chain's value after the last trimmed event.
    #[n(4)]
    pub(crate) trimmed: Option<Digest>,
    /// Whether only members may read it and know of it.
    #[cbor(n(5), default)]
    pub(crate) private: bool,
    /// How many belong to it, invited ones too. 0: nobody ever joined or left, and its creator is its owner.
    #[cbor(n(6), default)]
    pub(crate) members: u64,
    /// How many of them are owners.
    #[cbor(n(7), default)]
    pub(crate) owners: u64,
    /// How long it keeps its events.
    #[n(8)]
    pub(crate) retention: Option<Retention>,
}

/// Somebody who belongs to a room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct MemberRecord {
    /// What they are.
    #[n(0)]
    pub(crate) role: MemberRole,
    /// Their name when that became so.
    #[n(1)]
    pub(crate) name: String,
    /// When, in milliseconds since 1970.
    #[n(2)]
    pub(crate) since_ms: u64,
}

/// How far a user has read a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ReadRecord {
    /// The epoch it was said in.
    #[n(0)]
    pub(crate) epoch: u32,
    /// The last event read.
    #[n(1)]
    pub(crate) seq: u64,
    /// The count of that event.
    #[n(2)]
    pub(crate) count: u64,
}

/// What became of a message; kept for as long as the room is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Receipt {
    /// The epoch it was appended in.
    #[n(0)]
    pub(crate) epoch: u32,
    /// Its sequence number.
    #[n(1)]
    pub(crate) seq: u64,
    /// When.
    #[n(2)]
    pub(crate) ts_ms: u64,
    /// The body's salt; removed when the body is erased.
    #[n(3)]
    pub(crate) salt: Option<Salt>,
    /// Equal for equal content under the same salt.
    #[n(4)]
    pub(crate) fingerprint: Digest,
}

/// The part of a room's head that the store does not look into.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct State {
    /// The chain's value after the newest event.
    #[n(0)]
    pub(crate) chain: Digest,
    /// Events that count as unread.
    #[n(1)]
    pub(crate) count: u64,
    /// The event with the topic.
    #[n(2)]
    pub(crate) topic: Option<u64>,
    /// Events kept in view.
    #[cbor(n(3), skip_if = "Vec::is_empty")]
    pub(crate) pins: Vec<u64>,
}

/// Encodes a value of this module.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Bytes {
    cbor::encode(value).into()
}

/// Decodes a value of this module.
pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(value: &[u8]) -> Result<T, Refusal> {
    cbor::decode(value, &cbor::Limits::default()).map_err(|_| Refusal::Corrupt)
}
