//! Who belongs to a room.

use minicbor::{Decode, Encode};

use super::ids::{MessageId, RoomId, UserId};
use super::send::RoomRef;

/// What somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum MemberRole {
    /// Decides about the room and its members.
    #[n(0)]
    Owner,
    /// Keeps order.
    #[n(1)]
    Moderator,
    /// Takes part.
    #[n(2)]
    Member,
    /// May join.
    #[n(3)]
    Invited,
}

impl MemberRole {
    /// The role's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Moderator => "moderator",
            Self::Member => "member",
            Self::Invited => "invited",
        }
    }

    /// The role of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Owner, Self::Moderator, Self::Member, Self::Invited]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// What is to become of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Change {
    /// The caller joins.
    #[n(0)]
    Join,
    /// The caller leaves, or removes somebody.
    #[n(1)]
    Leave,
    /// Somebody may join.
    #[n(2)]
    Invite,
    /// A member gets another role.
    #[n(3)]
    Role,
}

/// Asks for a change of a membership; answered with [`Sent`](super::Sent), the event that says so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChangeMember {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// Made by the caller, so that asking again is safe.
    #[n(1)]
    pub id: MessageId,
    /// What is to happen.
    #[n(2)]
    pub change: Change,
    /// To whom; the caller if absent.
    #[n(3)]
    pub user: Option<UserId>,
    /// The new role.
    #[n(4)]
    pub role: Option<MemberRole>,
}

/// The body of the events join, leave, invite and role.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Membership {
    /// Whom it is about. Not the author: somebody was removed, invited or given a role.
    #[n(0)]
    pub user: UserId,
    /// That user's name at that moment.
    #[n(1)]
    pub name: String,
    /// What they are now; absent when they left.
    #[n(2)]
    pub role: Option<MemberRole>,
}

/// Asks who belongs to a room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListMembers {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// Only those after this one.
    #[n(1)]
    pub after: Option<UserId>,
}

/// Some of those who belong to a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Members {
    /// The members.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, 512>")]
    pub members: Vec<Member>,
    /// Ask again with `after` = this; absent at the end.
    #[n(1)]
    pub more: Option<UserId>,
}

/// One who belongs to a room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Member {
    /// The user.
    #[n(0)]
    pub user: UserId,
    /// The user's name when that became so.
    #[n(1)]
    pub name: String,
    /// What they are.
    #[n(2)]
    pub role: MemberRole,
    /// Since when, in milliseconds since 1970.
    #[n(3)]
    pub since_ms: u64,
}

/// Says how far the caller has read a room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MarkRead {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// The epoch of the number.
    #[n(1)]
    pub epoch: u32,
    /// The last event read.
    #[n(2)]
    pub seq: u64,
}

/// How far a user has read a room. It never goes back within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReadPosition {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch of the number; 0 if the user never said.
    #[n(1)]
    pub epoch: u32,
    /// The last event read.
    #[n(2)]
    pub seq: u64,
    /// The `count` of that event: a head's count less this one is the number of unread events.
    #[n(3)]
    pub count: u64,
    /// Events after it that mention the user; a hundred stands for a hundred and more.
    #[n(4)]
    pub mentions: u32,
}

/// How long a room keeps its events, and the content of its parcels. Without a limit, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Retention {
    /// The longest time, in milliseconds.
    #[n(0)]
    pub age_ms: Option<u64>,
    /// The most events.
    #[n(1)]
    pub events: Option<u64>,
    /// The longest time that the content of a settled parcel is kept, in milliseconds; its events stay.
    #[n(2)]
    pub files_ms: Option<u64>,
}

/// Sets how long a room keeps its events and files; answered with [`Room`](super::Room).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Retain {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// How long.
    #[n(1)]
    pub retention: Retention,
}

/// Removes the oldest events of a room; answered with [`Room`](super::Room).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Trim {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
    /// The epoch of the number.
    #[n(1)]
    pub epoch: u32,
    /// The last event to go.
    #[n(2)]
    pub through: u64,
}
