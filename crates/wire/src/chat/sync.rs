//! Following rooms: one exchange per connection, cursors one way, updates the other.

use bytes::Bytes;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use super::ids::{Digest, Octets, RoomId};
use super::member::ReadPosition;
use super::room::Head;

/// The most rooms that one message speaks of: as many as one exchange follows.
pub const MAX_ROOMS: usize = 4_096;

/// From the client: rooms to follow from now on, and rooms no longer. May be sent at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Follow {
    /// Cursors; one for a room already followed moves it.
    #[cbor(n(0), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub subscribe: Vec<Cursor>,
    /// Rooms to leave alone.
    #[cbor(n(1), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub unsubscribe: Vec<RoomId>,
}

/// How much of a room is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// Every event.
    #[n(0)]
    Live,
    /// Only [`Head`]s, a few seconds late: for a room that is not on screen.
    #[n(1)]
    Heads,
}

/// Where a reader stands in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cursor {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch of what the reader has; 0 if it has nothing.
    #[n(1)]
    pub epoch: u32,
    /// The first sequence number it does not have.
    #[n(2)]
    pub next: u64,
    /// How much it wants.
    #[n(3)]
    pub mode: Mode,
}

/// From the server. What is there is to be applied in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Update {
    /// Where logs stand: first thing for each subscription, then when a tail could have been missed.
    #[cbor(n(0), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub heads: Vec<Head>,
    /// Events that are gone; the reader goes on behind them.
    #[cbor(n(1), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub trimmed: Vec<Trimmed>,
    /// Events.
    #[cbor(n(2), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub batches: Vec<Batch>,
    /// Rooms in which the reader now has everything.
    #[cbor(n(3), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub live: Vec<Live>,
    /// Subscriptions that were refused or have ended.
    #[cbor(n(4), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub refused: Vec<Refused>,
    /// How far the reader has read, on whatever device: after the head of each subscription, and when it changes.
    #[cbor(n(5), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_ROOMS>")]
    pub reads: Vec<ReadPosition>,
}

/// Events up to `through` were trimmed by retention.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Trimmed {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch.
    #[n(1)]
    pub epoch: u32,
    /// The last event that is gone.
    #[n(2)]
    pub through: u64,
    /// The chain's value after it, where the server still knows it.
    #[n(3)]
    pub chain: Option<Digest>,
}

/// Consecutive events of one room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Batch {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch.
    #[n(1)]
    pub epoch: u32,
    /// The sequence number of the first record.
    #[n(2)]
    pub first: u64,
    /// The events.
    #[n(3)]
    pub records: Records,
}

/// The reader has everything up to `through`; what follows is as it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Live {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The epoch.
    #[n(1)]
    pub epoch: u32,
    /// The newest event the reader was sent.
    #[n(2)]
    pub through: u64,
}

/// A subscription that is not, or no longer, served. The exchange goes on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// An error code (chapter 6).
    #[n(1)]
    pub code: u32,
    /// The reason, for people.
    #[n(2)]
    pub message: String,
}

/// A CBOR array of byte strings, each one stored record. It is kept in encoded form, in as many pieces as
/// the server happens to have it: the same piece serves every reader without being encoded again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    count: u64,
    pieces: Vec<Bytes>,
}

impl Records {
    /// No records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one record.
    pub fn push(&mut self, record: &[u8]) {
        let mut piece = Vec::with_capacity(record.len() + 5);
        Self::encode_one(record, &mut piece);
        self.push_encoded(1, piece.into());
    }

    /// Appends `count` records that [`encode_one`](Self::encode_one) put into `piece`.
    pub fn push_encoded(&mut self, count: u64, piece: Bytes) {
        self.count += count;
        self.pieces.push(piece);
    }

    /// Appends one record to `out` as a CBOR byte string.
    pub fn encode_one(record: &[u8], out: &mut Vec<u8>) {
        Encoder::new(out).bytes(record).expect("writing to a vector cannot fail");
    }

    /// The number of records.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded length in bytes, without the array's head.
    pub fn encoded_len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The records, in order, without a copy.
    pub fn iter(&self) -> impl Iterator<Item = Octets> + '_ {
        self.pieces.iter().flat_map(|piece| {
            let mut decoder = Decoder::new(piece);
            // A piece is a sequence of byte strings: `push` makes it so and `decode` has looked.
            std::iter::from_fn(move || match decoder.bytes() {
                Ok(record) => Some(Octets(piece.slice_ref(record))),
                Err(_) => None,
            })
        })
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(records: I) -> Self {
        let (mut count, mut piece) = (0, Vec::new());
        for record in records {
            Self::encode_one(&record, &mut piece);
            count += 1;
        }
        Self { count, pieces: if count == 0 { Vec::new() } else { vec![piece.into()] } }
    }
}

impl<C> Encode<C> for Records {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(self.count)?;
        self.pieces.iter().try_for_each(|piece| e.writer_mut().write_all(piece).map_err(EncodeError::write))
    }
}

impl<'b, C> Decode<'b, C> for Records {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let count =
            d.array()?.ok_or_else(|| DecodeError::message("records have a definite length").at(at))?;
        let start = d.position();
        for _ in 0..count {
            d.bytes()?;
        }
        let encoded = d.input().get(start..d.position()).unwrap_or_default();
        let pieces = if count == 0 { Vec::new() } else { vec![Bytes::copy_from_slice(encoded)] };
        Ok(Self { count, pieces })
    }
}
