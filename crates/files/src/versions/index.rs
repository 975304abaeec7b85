//! What the pieces of the older version are, as the sender hears it.
//!
//! Up to half a million of them: 32 bytes each, in three arrays.

use hikyaku_wire::files::{MAX_INDEX, MAX_PIECES, MIN_PART, Older, PIECE_LEN, Pieces};

use super::cut::Cuts;
use crate::error::{FilesError, Result};

/// What a piece is told by: the first seven bytes of its BLAKE3 hash with the key of the exchange, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(u64);

impl Digest {
    /// The bytes that are told.
    pub(super) fn told(self) -> impl Iterator<Item = u8> {
        self.0.to_be_bytes().into_iter().skip(1)
    }
}

/// Hashes pieces with the key of one older version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digests([u8; 32]);

impl Digests {
    pub(super) fn of(older: &Older) -> Self {
        Self(older.key)
    }

    //= S5.101
    pub(super) fn of_piece(&self, piece: &[u8]) -> Digest {
        let hash = blake3::keyed_hash(&self.0, piece);
        Digest(hash.as_bytes().iter().take(7).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// The sender's side: what the receiver has.
#[derive(Debug)]
pub struct Index {
    older: Older,
    longest: u64,
    /// Where each piece ends.
    ends: Vec<u64>,
    digests: Vec<Digest>,
    /// Each digest with the number of its piece, in order. Made when the last of them is known.
    by_digest: Vec<(Digest, u32)>,
    is_whole: bool,
}

/// A piece of the older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) number: usize,
    /// Where in the older version it begins.
    pub(super) from: u64,
    pub(super) len: u64,
    digest: Digest,
}

impl Index {
    /// Nothing is known yet of this older version.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub fn new(older: Older) -> Result<Self> {
        let longest = Cuts::new(older.average).map_err(bad_average)?.longest() as u64;
        let (ends, digests, by_digest) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { older, longest, ends, digests, by_digest, is_whole: false })
    }

    /// As the older version was named.
    pub(super) fn older(&self) -> &Older {
        &self.older
    }

    /// Whether the last pieces were heard.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Hears of the next pieces.
    //= S5.101
    pub fn hear(&mut self, pieces: &Pieces) -> Result<()> {
        let (known, end) = (self.digests.len(), self.ends.last().copied().unwrap_or(0));
        let range = |reason| Err(FilesError::Range { reason, offset: end, len: pieces.pieces.len() as u64 });
        let (told, rest) = pieces.pieces.as_chunks::<PIECE_LEN>();
        if self.is_whole || pieces.first != known as u64 {
            return range("the pieces of the older version do not follow those before them");
        }
        if !rest.is_empty() || told.len() > MAX_PIECES {
            return range("what is told of the older version is not whole pieces, 4,096 at most");
        }
        if told.is_empty() && pieces.last != Some(true) {
            return range("what is told of the older version is nothing, and more is to follow");
        }
        if known + told.len() > MAX_INDEX {
            return Err(FilesError::Limit { name: "pieces of an older version", limit: MAX_INDEX as u64 });
        }
        let mut reached = end;
        for piece in told {
            let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let (len, digest) = piece.split_at(3);
            let (len, digest) = (number(len), Digest(number(digest)));
            reached = reached.saturating_add(len);
            if len < MIN_PART || len > self.longest || reached > self.older.size {
                return range("a piece of the older version is too short, too long or beyond its end");
            }
            self.ends.push(reached);
            self.digests.push(digest);
        }
        if pieces.last == Some(true) {
            self.is_whole = true;
            self.by_digest = self.digests.iter().copied().zip(0..).collect();
            self.by_digest.sort_unstable();
        }
        Ok(())
    }

    /// The piece with this number, if there is one.
    pub(super) fn piece(&self, number: usize) -> Option<Piece> {
        let (end, digest) = (*self.ends.get(number)?, *self.digests.get(number)?);
        let before = number.checked_sub(1).and_then(|before| self.ends.get(before));
        let from = before.copied().unwrap_or(0);
        Some(Piece { number, from, len: end - from, digest })
    }

    /// The first piece that has these bytes, if one has.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<Piece> {
        let digest = Digests::of(&self.older).of_piece(bytes);
        let place = self.by_digest.partition_point(|(known, _)| *known < digest);
        let (_, number) = self.by_digest.get(place)?;
        self.piece(*number as usize).filter(|piece| piece.digest == digest && piece.len == bytes.len() as u64)
    }

    /// Whether this piece has these bytes.
    pub(super) fn is(&self, piece: &Piece, bytes: &[u8]) -> bool {
        piece.len == bytes.len() as u64 && Digests::of(&self.older).of_piece(bytes) == piece.digest
    }
}

pub(super) fn bad_average(average: u64) -> FilesError {
    FilesError::Range { reason: "pieces of an older version have no such average", offset: 0, len: average }
}
