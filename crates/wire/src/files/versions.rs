//! A newer version of something that the receiver has an older one of: the parts that it has are named, not sent.
//! Spec: section 5.10.

use minicbor::{Decode, Encode};

use super::Block;

/// The bytes of one piece in [`Pieces::pieces`]: its length in three, and what it is hashed to in seven.
pub const PIECE_LEN: usize = 10;
/// The most pieces that one [`Pieces`] tells of.
pub const MAX_PIECES: usize = 4_096;
/// The most pieces that are told of one older version.
pub const MAX_INDEX: usize = 524_288;
/// The most parts that one [`Composed`] has.
pub const MAX_PARTS: usize = 256;
/// The shortest average length of pieces.
pub const MIN_AVERAGE: u64 = 4 * 1024;
/// The shortest part of an older version, and the shortest piece that is told of: of fewer bytes there is nothing to guess.
pub const MIN_PART: u64 = MIN_AVERAGE / 2;
/// The longest average.
pub const MAX_AVERAGE: u64 = 1024 * 1024;

/// What the receiver has of an older version, and how it is cut to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Older {
    /// How many bytes it has.
    #[n(0)]
    pub size: u64,
    /// The average length of its pieces: a power of two from [`MIN_AVERAGE`] to [`MAX_AVERAGE`].
    #[n(1)]
    pub average: u64,
    /// What its pieces are hashed with: drawn at random for one exchange, so that nobody can have made pieces that differ and
    /// are told alike.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
}

/// What the next pieces of the older version are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pieces {
    /// How many were told before these.
    #[n(0)]
    pub first: u64,
    /// Of each piece its length, as a big-endian number of three bytes, and the first seven bytes of its BLAKE3 hash with
    /// [`Older::key`].
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub pieces: Vec<u8>,
    /// Whether these are the last: what follows them in the older version is not told.
    #[n(2)]
    pub last: Option<bool>,
}

/// A block that the receiver puts together: parts of it from the older version, and the rest from the DATA frame that
/// follows; none follows where there is no rest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Composed {
    /// What it is when it is put together.
    #[n(0)]
    pub block: Block,
    /// What of it is in the older version, in order.
    #[n(1)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_PARTS>")]
    pub parts: Vec<Part>,
}

/// Bytes that lie in the older version, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Part {
    /// Where they belong in the new one.
    #[n(0)]
    pub at: u64,
    /// How many: [`MIN_PART`] at least.
    #[n(1)]
    pub len: u64,
    /// Where they lie in the older one.
    #[n(2)]
    pub from: u64,
}

/// A block whose bytes come packed: the DATA frame that follows is one block of LZ4. Spec: section 5.11.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Packed {
    /// What it is when it is unpacked, and put together where it has parts.
    #[n(0)]
    pub block: Block,
    /// What of it is in the older version, in order; nothing where it is not composed.
    #[cbor(n(1), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_PARTS>", default)]
    pub parts: Vec<Part>,
    /// How many bytes the DATA frame has.
    #[n(2)]
    pub len: u64,
}

impl Composed {
    /// How many bytes the DATA frame has; `None` where the parts are empty, out of order or not within the block.
    pub fn carried(&self) -> Option<u64> {
        let (mut reached, mut carried) = (self.block.offset, 0);
        for part in &self.parts {
            carried += part.at.checked_sub(reached)?;
            reached = part.at.checked_add(part.len).filter(|end| *end > part.at)?;
        }
        let rest = self.block.offset.checked_add(self.block.len)?.checked_sub(reached)?;
        Some(carried + rest)
    }
}
