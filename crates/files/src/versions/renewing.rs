//! The sender of a tree: a file's content in, as it is written to the stream, and the parts of the stream out that the
//! receiver has.
//!
//! A file lies in the stream in pieces with headers between them, and without its holes. What is compared is the content, so
//! each stretch of it is remembered until it is known where the receiver has it: no more than the longest piece.

use std::collections::VecDeque;

use hikyaku_wire::files::Part;

use super::cut::Cutter;
use super::index::{Index, bad_average};
use crate::error::Result;

/// How many zeros are compared at a time.
const ZEROS: usize = 64 * 1024;

/// Compares one file with its older version.
#[derive(Debug)]
pub struct Renewing {
    index: Index,
    /// Where the older version begins among all that were named.
    base: u64,
    cutter: Cutter,
    /// How much content was taken, and how much of it was compared.
    taken: u64,
    compared: u64,
    /// Where content that was taken and not compared lies.
    stretches: VecDeque<Stretch>,
    /// The piece of the older version that would come next.
    next: Option<usize>,
    parts: VecDeque<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Where in the content it begins.
    content: u64,
    /// Where in the stream.
    stream: u64,
    len: u64,
}

impl Renewing {
    /// A file that is compared with this older version, which begins at `base` among all that were named.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub fn new(index: Index, base: u64) -> Result<Self> {
        let cutter = Cutter::new(index.average()).map_err(bad_average)?;
        let (stretches, parts) = (VecDeque::new(), VecDeque::new());
        Ok(Self { index, base, cutter, taken: 0, compared: 0, stretches, next: None, parts })
    }

    /// Takes the content that comes next, and where in the stream it lies.
    pub fn take(&mut self, stream: u64, bytes: &[u8]) {
        let len = bytes.len() as u64;
        self.stretches.push_back(Stretch { content: self.taken, stream, len });
        self.taken += len;
        self.cutter.take(bytes);
        self.compare();
    }

    /// Zeros come next in the content, which are not in the stream.
    pub fn zeros(&mut self, len: u64) {
        // Four of the longest pieces on, there are zeros alone in every piece, and all are cut alike.
        let first = len.min(4 * self.cutter.longest() as u64);
        self.take_zeros(first);
        let alike = self.cutter.of_zeros() as u64;
        let skipped = (len - first) / alike * alike;
        self.taken += skipped;
        self.compared += skipped;
        self.take_zeros(len - first - skipped);
    }

    fn take_zeros(&mut self, mut len: u64) {
        let zeros = [0; ZEROS];
        while len > 0 {
            let some = zeros.get(..usize::try_from(len).unwrap_or(ZEROS).min(ZEROS)).unwrap_or_default();
            self.taken += some.len() as u64;
            len -= some.len() as u64;
            self.cutter.take(some);
            self.compare();
        }
    }

    /// The file ends.
    pub fn end(&mut self) {
        self.cutter.end();
        self.compare();
    }

    /// Everything in the stream before this offset is compared; `None` where all of it is.
    pub fn known(&self) -> Option<u64> {
        self.stretches.front().map(|first| first.stream)
    }

    /// What the receiver has of what was compared, in order, each time what is new.
    pub fn parts(&mut self) -> impl Iterator<Item = Part> {
        self.parts.drain(..)
    }

    fn compare(&mut self) {
        while let Some((len, digest)) = self.cutter.next_piece() {
            let (begin, end) = (self.compared, self.compared + len as u64);
            self.compared = end;
            let found = self.index.find(&digest, len, self.next);
            self.next = found.map(|(_, number)| number + 1);
            while let Some(first) = self.stretches.front_mut().filter(|first| first.content < end) {
                let (at, here) = (first.content, first.len.min(end - first.content));
                if let Some((from, _)) = found {
                    let from = self.base.saturating_add(from).saturating_add(at - begin);
                    push(&mut self.parts, Part { at: first.stream, len: here, from });
                }
                *first = Stretch { content: at + here, stream: first.stream + here, len: first.len - here };
                if first.len == 0 {
                    self.stretches.pop_front();
                }
            }
        }
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

#[cfg(test)]
mod tests;
