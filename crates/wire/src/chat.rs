//! Messages of the application protocol `chat/1`: rooms, events, sending, following.
//!
//! Every type here is one CBOR map with small integer keys; keys a reader does not know are skipped, so a
//! newer peer may add some. An event travels as the bytes that were stored, whatever an older or newer
//! reader makes of them. Spec: chapter 4.

mod event;
mod ids;
mod member;
mod presence;
mod room;
mod send;
mod sync;
mod view;

#[cfg(test)]
mod tests;

pub use event::{Envelope, Kind, MAX_REFS, RESERVED_FOR_THE_SERVER, Record};
pub use ids::{DeviceId, Digest, MessageId, Octets, RoomId, Salt, UserId};
pub use member::{
    Change, ChangeMember, ListMembers, MarkRead, Member, MemberRole, Members, Membership, ReadPosition,
    Retain, Retention, Trim,
};
pub use presence::{Doing, Look, MAX_SOMEONE, Present, Someone, State};
pub use room::{Create, Created, Head, History, List, MAX_PINS, Page, Resolve, Room, Rooms};
pub use send::{RoomRef, Send, Sent};
pub use sync::{Batch, Cursor, Follow, Live, MAX_ROOMS, Mode, Records, Refused, Trimmed, Update};
pub use view::{EnvelopeView, RecordView};

/// The name in OPEN.
pub const PROTOCOL: &str = "chat/1";

/// The methods of `chat/1`, as named in OPEN.
pub mod method {
    /// [`Create`](super::Create) → [`Created`](super::Created).
    pub const CREATE: &str = "room.create";
    /// [`List`](super::List) → [`Rooms`](super::Rooms).
    pub const LIST: &str = "room.list";
    /// [`Resolve`](super::Resolve) → [`Room`](super::Room).
    pub const RESOLVE: &str = "resolve";
    /// One or more [`Send`](super::Send), each answered by one [`Sent`](super::Sent), in order.
    pub const SEND: &str = "send";
    /// [`History`](super::History) → [`Page`](super::Page).
    pub const HISTORY: &str = "history";
    /// [`ChangeMember`](super::ChangeMember) → [`Sent`](super::Sent).
    pub const MEMBER: &str = "room.member";
    /// [`ListMembers`](super::ListMembers) → [`Members`](super::Members).
    pub const MEMBERS: &str = "room.members";
    /// [`Retain`](super::Retain) → [`Room`](super::Room).
    pub const RETAIN: &str = "room.retain";
    /// [`Trim`](super::Trim) → [`Room`](super::Room).
    pub const TRIM: &str = "room.trim";
    /// [`Look`](super::Look) → [`Present`](super::Present), then datagrams: [`Doing`](super::Doing) there,
    /// [`Present`](super::Present) back.
    pub const PRESENCE: &str = "presence";
    /// [`MarkRead`](super::MarkRead) → [`ReadPosition`](super::ReadPosition).
    pub const READ: &str = "read";
    /// [`Follow`](super::Follow)… → [`Update`](super::Update)…, until the client ends.
    pub const SYNC: &str = "sync";
}
