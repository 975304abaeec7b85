//! The sender: content in, and out what of it the older version has, and where.
//!
//! What is found at one place is followed there: the next pieces of the older version are tried where they would lie if
//! nothing more had been put in or taken out, and those before it in what is not decided yet. So a change costs the pieces
//! that it touches, and not those that are cut otherwise because of it. Everything else is cut as the receiver cuts, and
//! looked for anywhere. What did not change is hashed once; no byte is hashed more than ten times, whatever is told.

use std::collections::VecDeque;

use hikyaku_wire::files::Part;

use super::cut::Cuts;
use super::index::{Index, Piece, bad_average};
use crate::error::Result;

/// So many bytes may be found later than what is behind them, or as many as the longest piece has.
const LOOK_BACK: u64 = 64 * 1024;
/// So many times the longest piece something is followed where nothing of it is found.
const FOLLOWED: u64 = 8;

/// Compares content with an older version.
#[derive(Debug)]
pub(super) struct Matching {
    index: Index,
    cuts: Cuts,
    /// Content from `begin` on, as far as it was taken.
    window: Vec<u8>,
    begin: u64,
    /// Whether the older version has it is known of everything before this.
    decided: u64,
    /// Everything before this was cut and looked for.
    reached: u64,
    following: Option<Following>,
    /// What was found, in order.
    found: VecDeque<Part>,
    has_ended: bool,
}

/// A piece of the older version, and where it lies if the content there is what is followed.
#[derive(Clone, Copy, Debug)]
struct Following {
    piece: Piece,
    at: u64,
    /// How much was followed since something was found.
    missed: u64,
}

impl Matching {
    /// Content from an offset on.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub(super) fn new(index: Index, from: u64) -> Result<Self> {
        let cuts = Cuts::new(index.older().average).map_err(bad_average)?;
        let (window, found) = (Vec::new(), VecDeque::new());
        let (begin, decided, reached) = (from, from, from);
        Ok(Self { index, cuts, window, begin, decided, reached, following: None, found, has_ended: false })
    }

    /// Takes the content that comes next.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let passed = self.place(self.decided);
        if passed as u64 >= self.look_back() {
            self.window.drain(..passed.min(self.window.len()));
            self.begin = self.decided;
        }
        self.window.extend_from_slice(bytes);
        while self.step() {}
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
        while self.step() {}
        self.decided = self.taken();
    }

    /// How far it is known what the older version has.
    pub(super) fn decided(&self) -> u64 {
        self.decided
    }

    /// What was found of what is decided, in order. Parts are to be taken from its front.
    pub(super) fn found(&mut self) -> &mut VecDeque<Part> {
        &mut self.found
    }

    /// So many zeros are decided at once, once as many were taken as [`Self::zeros_to_take`] says, and how many they are.
    pub(super) fn skip_zeros(&mut self, most: u64) -> u64 {
        let alike = self.cuts.of_zeros() as u64;
        let skipped = most / alike * alike;
        // Everything that is held is zeros: the same is held further on.
        self.begin += skipped;
        self.decided += skipped;
        self.reached += skipped;
        // The next piece is cut like those that were followed, and found again.
        self.following = None;
        skipped
    }

    /// After so many zeros, nothing but zeros is held, and all pieces are cut alike.
    pub(super) fn zeros_to_take(&self) -> u64 {
        self.look_back() + 4 * self.cuts.longest() as u64
    }

    fn look_back(&self) -> u64 {
        LOOK_BACK.max(self.cuts.longest() as u64)
    }

    fn taken(&self) -> u64 {
        self.begin + self.window.len() as u64
    }

    /// Where an offset lies in the window.
    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.begin)).unwrap_or(usize::MAX)
    }

    fn bytes(&self, at: u64, len: u64) -> &[u8] {
        self.window.get(self.place(at)..self.place(at.saturating_add(len))).unwrap_or_default()
    }

    /// Decides what comes next; `false` when that takes more content.
    fn step(&mut self) -> bool {
        if let Some(following) = self.following.filter(|following| following.at == self.reached) {
            let Following { piece, at, .. } = following;
            if at + piece.len > self.taken() {
                if !self.has_ended {
                    return false;
                }
                self.following = None;
            } else if self.tried(following) {
                return true;
            }
        }
        let rest = self.window.get(self.place(self.reached)..).unwrap_or_default();
        if rest.is_empty() || rest.len() < self.cuts.longest() && !self.has_ended {
            return false;
        }
        // Nothing is cut shorter than this but the end. Were short pieces tried only behind a cut, each that is found would
        // make all that was looked at for the cut be looked at again.
        if self.tried_up_to((self.reached + self.cuts.shortest() as u64).min(self.taken())) {
            return true;
        }
        let rest = self.window.get(self.place(self.reached)..).unwrap_or_default();
        let end = self.reached + self.cuts.cut(rest) as u64;
        if !self.tried_up_to(end) {
            self.look_for(end);
        }
        true
    }

    /// Tries the pieces that would end here or before; whether one lies there.
    fn tried_up_to(&mut self, end: u64) -> bool {
        while let Some(following) = self.following.filter(|next| next.at + next.piece.len <= end) {
            if self.tried(following) {
                return true;
            }
        }
        false
    }

    /// Whether the piece lies where it would if the content there is what is followed. Decides that, or goes on to the next.
    fn tried(&mut self, following: Following) -> bool {
        let Following { piece, at, missed } = following;
        if self.index.is(&piece, self.bytes(at, piece.len)) {
            self.decide(&piece, at, piece.from, at + piece.len);
            return true;
        }
        let (at, missed) = (at + piece.len, missed + piece.len);
        let is_lost = missed > FOLLOWED * self.cuts.longest() as u64;
        let next = if is_lost { None } else { self.index.piece(piece.number + 1) };
        self.following = next.map(|piece| Following { piece, at, missed });
        false
    }

    /// Looks for the piece that ends here anywhere, and back from there as far as nothing is decided.
    fn look_for(&mut self, end: u64) {
        let begin = self.reached;
        let Some(piece) = self.index.find(self.bytes(begin, end - begin)) else {
            self.reached = end;
            self.decided = self.decided.max(end.saturating_sub(self.look_back()));
            return;
        };
        let (mut first, mut at) = (piece, begin);
        while let Some(before) = first.number.checked_sub(1).and_then(|number| self.index.piece(number)) {
            match at.checked_sub(before.len).filter(|at| *at >= self.decided) {
                Some(begin) if self.index.is(&before, self.bytes(begin, before.len)) => {
                    (first, at) = (before, begin);
                }
                _ => break,
            }
        }
        self.decide(&piece, at, first.from, end);
    }

    /// Everything up to the end of this piece is decided: from `at` on it lies in the older version, from `from` on.
    fn decide(&mut self, last: &Piece, at: u64, from: u64, end: u64) {
        push(&mut self.found, Part { at, len: end - at, from });
        (self.decided, self.reached) = (end, end);
        let next = self.index.piece(last.number + 1);
        self.following = next.map(|piece| Following { piece, at: end, missed: 0 });
    }
}

/// Adds a part, to the last one where it follows that in both versions.
pub(super) fn push(parts: &mut VecDeque<Part>, part: Part) {
    match parts.back_mut() {
        Some(last) if last.at + last.len == part.at && last.from + last.len == part.from => {
            last.len += part.len;
        }
        _ => parts.push_back(part),
    }
}
