//! Sending an event.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use super::event::{Kind, MAX_REFS};
use super::ids::{MessageId, Octets, RoomId, UserId};

/// A room as a person or a program names it: CBOR text is a name, a byte string an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RoomRef {
    /// By id.
    Id(RoomId),
    /// By name.
    Name(String),
}

impl From<RoomId> for RoomRef {
    fn from(id: RoomId) -> Self {
        RoomRef::Id(id)
    }
}

impl<C> Encode<C> for RoomRef {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            RoomRef::Id(id) => e.bytes(&id.0)?.ok(),
            RoomRef::Name(name) => e.str(name)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for RoomRef {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        match d.datatype()? {
            Type::Bytes => RoomId::decode(d, ctx).map(RoomRef::Id),
            Type::String => d.str().map(|name| RoomRef::Name(name.to_owned())),
            other => Err(DecodeError::type_mismatch(other).with_message("a room is a name or an id")),
        }
    }
}

/// Asks for one event to be appended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Send {
    /// Where to.
    #[n(0)]
    pub room: RoomRef,
    /// Made and stored by the client before it sends for the first time.
    #[n(1)]
    pub id: MessageId,
    /// What the event is.
    #[n(2)]
    pub kind: Kind,
    /// Its content.
    #[n(3)]
    pub body: Octets,
    /// Sequence numbers of the events it is about.
    #[cbor(n(4), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_REFS>")]
    pub refs: Vec<u64>,
    /// Users whose attention is asked for.
    #[cbor(n(5), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_REFS>")]
    pub mentions: Vec<UserId>,
    /// Append only if this is the newest event.
    #[n(6)]
    pub expect_last: Option<u64>,
    /// Reserved: how the body is sealed against the server.
    #[n(7)]
    pub sealed: Option<Octets>,
    /// Reserved: the device's signature.
    #[n(8)]
    pub signature: Option<Octets>,
    /// The epoch whose numbers `refs` and `expect_last` are: in another one they would mean other events.
    #[n(9)]
    pub epoch: Option<u32>,
}

/// The event is durable, and this is its place.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Sent {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch it was appended in.
    #[n(1)]
    pub epoch: u32,
    /// Its sequence number.
    #[n(2)]
    pub seq: u64,
    /// When, in milliseconds since 1970.
    #[n(3)]
    pub ts_ms: u64,
    /// Whether an earlier attempt with the same id had put it there.
    #[n(4)]
    pub duplicate: bool,
}
