//! The receiver: bytes of the older version in, what is to be told of them out.

use hikyaku_wire::files::{MAX_INDEX, MAX_PIECES, MIN_PART, Older, PIECE_LEN, Pieces};

use super::cut::{Cuts, Cutter};
use super::index::{Digests, bad_average};
use crate::error::Result;

/// Pieces are told when they have so many bytes together, however few they are: whoever waits hears that it goes on.
const TELL_EVERY: u64 = 64 * 1024 * 1024;

/// The receiver's side.
#[derive(Debug)]
pub struct Telling {
    cutter: Cutter,
    digests: Digests,
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
    pub fn new(older: &Older) -> Result<Self> {
        let cutter = Cutter::new(Cuts::new(older.average).map_err(bad_average)?);
        let (digests, pieces) = (Digests::of(older), Vec::new());
        Ok(Self { cutter, digests, told: 0, pieces, waiting: 0, has_ended: false, is_over: false })
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
                Some(piece) if (piece.len() as u64) < MIN_PART => return Some(self.tell(true)),
                Some(piece) => {
                    let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                    self.pieces.extend(len.to_be_bytes().into_iter().skip(1));
                    self.pieces.extend(self.digests.of_piece(piece).told());
                    self.waiting += u64::from(len);
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
