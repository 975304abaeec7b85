//! What is stored and relayed for one event: the envelope, which stays for ever, and the body, which may be erased.

use minicbor::{Decode, Encode};

use super::ids::{DeviceId, Digest, MessageId, Octets, Salt, UserId};

/// What an event is. Kinds a reader does not know are kept, relayed and shown as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Kind(#[n(0)] pub u16);

/// Kinds only the server makes; whoever sends one of these is refused. (S4.14)
pub const RESERVED_FOR_THE_SERVER: std::ops::RangeInclusive<u16> = 0x40..=0x7f;

impl Kind {
    /// Text.
    pub const MESSAGE: Kind = Kind(1);
    /// Text that answers the event in `refs[0]`.
    pub const REPLY: Kind = Kind(2);
    /// New text for the event in `refs[0]`.
    pub const EDIT: Kind = Kind(3);
    /// Withdraws the event in `refs[0]`.
    pub const DELETE: Kind = Kind(4);
    /// One emoji or short word about the event in `refs[0]`.
    pub const REACTION: Kind = Kind(5);
    /// Keeps the event in `refs[0]` in view.
    pub const PIN: Kind = Kind(6);
    /// What the room is about, as text.
    pub const TOPIC: Kind = Kind(7);
    /// Takes back one's own reaction, the same word, to the event in `refs[0]`.
    pub const UNREACT: Kind = Kind(8);
    /// Keeps the event in `refs[0]` in view no longer.
    pub const UNPIN: Kind = Kind(9);
    /// Somebody joined.
    pub const JOIN: Kind = Kind(0x40);
    /// Somebody left.
    pub const LEAVE: Kind = Kind(0x41);
    /// Somebody was invited.
    pub const INVITE: Kind = Kind(0x42);
    /// Somebody's role changed.
    pub const ROLE: Kind = Kind(0x43);
    /// A parcel is offered (chapter 5).
    pub const PARCEL: Kind = Kind(0x44);
    /// What became of the parcel in `refs[0]` (chapter 5).
    pub const PARCEL_END: Kind = Kind(0x45);

    /// The registered name, or `None` for a kind this version does not know.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Kind::MESSAGE => "message",
            Kind::REPLY => "reply",
            Kind::EDIT => "edit",
            Kind::DELETE => "delete",
            Kind::REACTION => "reaction",
            Kind::PIN => "pin",
            Kind::TOPIC => "topic",
            Kind::UNREACT => "unreact",
            Kind::UNPIN => "unpin",
            Kind::JOIN => "join",
            Kind::LEAVE => "leave",
            Kind::INVITE => "invite",
            Kind::ROLE => "role",
            Kind::PARCEL => "parcel",
            Kind::PARCEL_END => "parcel-end",
            _ => return None,
        })
    }

    /// Whether the event counts as unread for those who have not seen it.
    pub fn counts(self) -> bool {
        matches!(self, Kind::MESSAGE | Kind::REPLY | Kind::PARCEL)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind-{}", self.0),
        }
    }
}

/// The most references, and the most mentions, that an event is read with. What a server takes is less.
pub const MAX_REFS: usize = 1_024;

/// Who said what kind of thing when. The chain covers these bytes as they are stored, so a reader never
/// encodes an envelope again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    /// What the event is.
    #[n(0)]
    pub kind: Kind,
    /// Who made it, as the server authenticated them.
    #[n(1)]
    pub author: UserId,
    /// The author's name at that moment.
    #[n(2)]
    pub name: String,
    /// The device it came from.
    #[n(3)]
    pub device: DeviceId,
    /// The author's id for it.
    #[n(4)]
    pub id: MessageId,
    /// Milliseconds since 1970 by the server's clock, never less than the previous event's.
    #[n(5)]
    pub ts_ms: u64,
    /// How many events of this room up to and including this one [count](Kind::counts) as unread.
    #[n(6)]
    pub count: u64,
    /// Sequence numbers of the events this one is about.
    #[cbor(n(7), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_REFS>")]
    pub refs: Vec<u64>,
    /// Users whose attention is asked for.
    #[cbor(n(8), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_REFS>")]
    pub mentions: Vec<UserId>,
    /// Reserved: how the body is sealed against the server. Absent: it is not.
    #[n(9)]
    pub sealed: Option<Octets>,
}

/// One stored event. Either `salt` and `body` are there, or, once the body was erased, `digest` alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// An encoded [`Envelope`].
    #[n(0)]
    pub envelope: Octets,
    /// Hashed before the body.
    #[n(1)]
    pub salt: Option<Salt>,
    /// The content, opaque here.
    #[n(2)]
    pub body: Option<Octets>,
    /// BLAKE3(salt ‖ body) of an erased body.
    #[n(3)]
    pub digest: Option<Digest>,
    /// Reserved: the device's signature.
    #[n(4)]
    pub signature: Option<Octets>,
}
