//! Who looks at a room now, and who types: said in datagrams, kept nowhere. Spec: chapter 4, "Who is here".

use minicbor::{Decode, Encode};

use super::ids::{RoomId, UserId};
use super::send::RoomRef;

/// The most users that one message names.
pub const MAX_SOMEONE: usize = 256;

/// What somebody does in a room at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// Looks at it no longer.
    #[n(0)]
    Gone,
    /// Looks at it.
    #[n(1)]
    Here,
    /// Writes something.
    #[n(2)]
    Typing,
}

/// Asks who is here; answered with [`Present`], which goes on in datagrams while the exchange is open.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Look {
    /// The room.
    #[n(0)]
    pub room: RoomRef,
}

/// A datagram of whoever looks: what they do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Doing {
    /// What.
    #[n(0)]
    pub state: State,
}

/// Who is here: the first answer names all, as far as it may; a datagram those of whom there is news.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Present {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// How many users are here.
    #[n(1)]
    pub count: u32,
    /// Some of them, and of those who were here.
    #[cbor(n(2), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_SOMEONE>")]
    pub someone: Vec<Someone>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Someone {
    /// Who.
    #[n(0)]
    pub user: UserId,
    /// Their name.
    #[n(1)]
    pub name: String,
    /// What they do.
    #[n(2)]
    pub state: State,
}
