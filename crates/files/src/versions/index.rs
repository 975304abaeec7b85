//! What the pieces of the older version are, as the receiver tells it and as the sender hears it.

use hikyaku_wire::files::{MAX_INDEX, MAX_PIECES, MIN_PART, Older, PIECE_LEN, Pieces};

use super::cut::{Cutter, Digest};
use crate::error::{FilesError, Result};

/// Pieces are told when they have so many bytes together, however few they are: whoever waits hears that it goes on.
const TELL_EVERY: u64 = 64 * 1024 * 1024;

/// The receiver's side: bytes of the older version in, what is to be told of them out.
#[derive(Debug)]
pub struct Telling {
    cutter: Cutter,
    told: usize,
    pieces: Vec<u8>,
    /// The bytes of the pieces that wait to be told.
    waiting: u64,
    has_ended: bool,
    is_over: bool,
}

impl Telling {
    /// Nothing is told yet.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub fn new(average: u64) -> Result<Self> {
        let cutter = Cutter::new(average).map_err(bad_average)?;
        let (pieces, waiting) = (Vec::new(), 0);
        Ok(Self { cutter, told: 0, pieces, waiting, has_ended: false, is_over: false })
    }

    /// Takes the next bytes, from the beginning on.
    pub fn take(&mut self, bytes: &[u8]) {
        self.cutter.take(bytes);
    }

    /// Nothing follows that is to be told.
    pub fn end(&mut self) {
        self.cutter.end();
        self.has_ended = true;
    }

    /// Whether everything was told that there is to tell.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What is to be told now, if anything is. To be asked until there is nothing.
    //= S5.101
    pub fn next_pieces(&mut self) -> Option<Pieces> {
        if self.is_over {
            return None;
        }
        loop {
            let waiting = self.pieces.len() / PIECE_LEN;
            if self.told + waiting == MAX_INDEX {
                return Some(self.tell(true));
            }
            if waiting == MAX_PIECES || self.waiting >= TELL_EVERY {
                return Some(self.tell(false));
            }
            match self.cutter.next_piece() {
                // The last one is as short as it happens to be: who knows its digest could try what it is.
                Some((len, _)) if (len as u64) < MIN_PART => return Some(self.tell(true)),
                Some((len, digest)) => {
                    self.pieces.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
                    self.pieces.extend(digest);
                    self.waiting += len as u64;
                }
                None if self.has_ended => return Some(self.tell(true)),
                None => return None,
            }
        }
    }

    fn tell(&mut self, last: bool) -> Pieces {
        let (first, pieces) = (self.told as u64, std::mem::take(&mut self.pieces));
        self.told += pieces.len() / PIECE_LEN;
        (self.waiting, self.is_over) = (0, last);
        Pieces { first, pieces, last: last.then_some(true) }
    }
}

/// The sender's side: what the receiver has.
#[derive(Debug)]
pub struct Index {
    older: Older,
    longest: u64,
    pieces: Vec<Piece>,
    /// The numbers of all pieces, ordered by their digests. Made when the last of them is known.
    by_digest: Vec<u32>,
    /// Where the next piece begins.
    end: u64,
    is_whole: bool,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    digest: Digest,
    from: u64,
    len: u32,
}

impl Index {
    /// Nothing is known yet of this older version.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub fn new(older: Older) -> Result<Self> {
        let longest = Cutter::new(older.average).map_err(bad_average)?.longest() as u64;
        let (pieces, by_digest) = (Vec::new(), Vec::new());
        Ok(Self { older, longest, pieces, by_digest, end: 0, is_whole: false })
    }

    /// The average length of its pieces.
    pub fn average(&self) -> u64 {
        self.older.average
    }

    /// Whether the last pieces were heard.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Hears of the next pieces.
    //= S5.101
    pub fn hear(&mut self, pieces: &Pieces) -> Result<()> {
        let (known, end) = (self.pieces.len(), self.end);
        let range = |reason| Err(FilesError::Range { reason, offset: end, len: pieces.pieces.len() as u64 });
        let (told, rest) = pieces.pieces.as_chunks::<PIECE_LEN>();
        if self.is_whole || pieces.first != known as u64 {
            return range("the pieces of the older version do not follow those before them");
        }
        if !rest.is_empty() || told.len() > MAX_PIECES {
            return range("what is told of the older version is not whole pieces, 2,048 at most");
        }
        if told.is_empty() && pieces.last != Some(true) {
            return range("what is told of the older version is nothing, and more is to follow");
        }
        if known + told.len() > MAX_INDEX {
            return Err(FilesError::Limit { name: "pieces of an older version", limit: MAX_INDEX as u64 });
        }
        for piece in told {
            let Some((len, digest)) = piece.split_first_chunk::<4>() else { continue };
            let (len, mut known) = (u32::from_be_bytes(*len), Digest::default());
            known.iter_mut().zip(digest).for_each(|(to, byte)| *to = *byte);
            let end = self.end.saturating_add(u64::from(len));
            if len == 0 || u64::from(len) > self.longest || end > self.older.size {
                return range("a piece of the older version is empty, too long or beyond its end");
            }
            self.pieces.push(Piece { digest: known, from: self.end, len });
            self.end = end;
        }
        if pieces.last == Some(true) {
            self.is_whole = true;
            self.by_digest = (0..u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)).collect();
            let pieces = &self.pieces;
            self.by_digest.sort_by_key(|number| pieces.get(*number as usize).map(|piece| piece.digest));
        }
        Ok(())
    }

    /// Where such a piece lies, and its number: `next` if that is one.
    pub(super) fn find(&self, digest: &Digest, len: usize, next: Option<usize>) -> Option<(u64, usize)> {
        let is_it = |number: usize| {
            let piece = self.pieces.get(number)?;
            (piece.digest == *digest && piece.len as usize == len).then_some((piece.from, number))
        };
        if let Some(found) = next.and_then(is_it) {
            return Some(found);
        }
        let digest_of = |number: &u32| self.pieces.get(*number as usize).map(|piece| piece.digest);
        let place = self.by_digest.partition_point(|number| digest_of(number) < Some(*digest));
        is_it(*self.by_digest.get(place)? as usize)
    }
}

pub(super) fn bad_average(average: u64) -> FilesError {
    FilesError::Range { reason: "pieces of an older version have no such average", offset: 0, len: average }
}
