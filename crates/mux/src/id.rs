//! Who opened a stream, which way it carries bytes, and the number that says both (RFC 9000 §2.1).

use std::fmt;

/// One of the two endpoints. The client is the one that opened the transport connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Opened the transport connection; its streams have even numbers.
    Client,
    /// Accepted the transport connection; its streams have odd numbers.
    Server,
}

impl Side {
    /// The other endpoint.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Which way a stream carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// Both ways.
    Bi,
    /// From its initiator only.
    Uni,
}

impl Dir {
    /// Both directions, in the order of [`Dir::slot`].
    pub(crate) const ALL: [Self; 2] = [Self::Bi, Self::Uni];

    /// The index of this direction in the pairs that hold one value for each.
    pub(crate) const fn slot(self) -> usize {
        match self {
            Self::Bi => 0,
            Self::Uni => 1,
        }
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bi => "bidirectional",
            Self::Uni => "unidirectional",
        })
    }
}

/// A stream's number: bit 0 is the initiator, bit 1 the direction, the rest counts from 0.
///
/// ```
/// use hikyaku_mux::{Dir, Side, StreamId};
/// let id = StreamId::new(Side::Server, Dir::Uni, 2);
/// assert_eq!(u64::from(id), 11);
/// assert_eq!((id.initiator(), id.dir(), id.index()), (Side::Server, Dir::Uni, 2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The stream number `index` (from 0, below 2^60) among those of `initiator` in direction `dir`.
    pub const fn new(initiator: Side, dir: Dir, index: u64) -> Self {
        let initiator = match initiator {
            Side::Client => 0,
            Side::Server => 1,
        };
        let dir = match dir {
            Dir::Bi => 0,
            Dir::Uni => 2,
        };
        Self(index << 2 | dir | initiator)
    }

    /// The side that opened the stream.
    pub const fn initiator(self) -> Side {
        if self.0 & 1 == 0 { Side::Client } else { Side::Server }
    }

    /// Which way the stream carries bytes.
    pub const fn dir(self) -> Dir {
        if self.0 & 2 == 0 { Dir::Bi } else { Dir::Uni }
    }

    /// Its place, from 0, among the streams of the same initiator and direction.
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}

impl From<u64> for StreamId {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<StreamId> for u64 {
    fn from(id: StreamId) -> Self {
        id.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({} = {:?} {:?} {})", self.0, self.initiator(), self.dir(), self.index())
    }
}
