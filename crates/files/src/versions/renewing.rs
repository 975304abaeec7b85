//! The sender of a tree: a file's content in, as it is written to the stream, and the parts of the stream out that the
//! receiver has.
//!
//! A file lies in the stream in pieces with headers between them, and without its holes. What is compared is the content, so
//! each stretch of it is remembered until it is decided whether the receiver has it.

use std::collections::VecDeque;

use hikyaku_wire::files::Part;

use super::index::Index;
use super::matching::{Matching, push};
use crate::error::Result;

/// How many zeros are compared at a time.
const ZEROS: usize = 64 * 1024;

/// Compares one file with its older version.
#[derive(Debug)]
pub struct Renewing {
    /// Where the older version begins among all that were named.
    base: u64,
    matching: Matching,
    /// How much content was taken.
    taken: u64,
    /// Where content that was taken and not compared lies.
    stretches: VecDeque<Stretch>,
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
        let (stretches, parts) = (VecDeque::new(), VecDeque::new());
        Ok(Self { base, matching: Matching::new(index, 0)?, taken: 0, stretches, parts })
    }

    /// Takes the content that comes next, and where in the stream it lies.
    pub fn take(&mut self, stream: u64, bytes: &[u8]) {
        let len = bytes.len() as u64;
        self.stretches.push_back(Stretch { content: self.taken, stream, len });
        self.taken += len;
        self.matching.take(bytes);
        self.settle();
    }

    /// Zeros come next in the content, which are not in the stream.
    pub fn zeros(&mut self, len: u64) {
        let first = len.min(self.matching.zeros_to_take());
        self.take_zeros(first);
        let skipped = self.matching.skip_zeros(len - first);
        self.taken += skipped;
        self.take_zeros(len - first - skipped);
    }

    fn take_zeros(&mut self, mut len: u64) {
        let zeros = [0; ZEROS];
        while len > 0 {
            let some = zeros.get(..usize::try_from(len).unwrap_or(ZEROS).min(ZEROS)).unwrap_or_default();
            self.taken += some.len() as u64;
            len -= some.len() as u64;
            self.matching.take(some);
            self.settle();
        }
    }

    /// The file ends.
    pub fn end(&mut self) {
        self.matching.end();
        self.settle();
    }

    /// Everything in the stream before this offset is decided; `None` where all of it is.
    pub fn known(&self) -> Option<u64> {
        self.stretches.front().map(|first| first.stream)
    }

    /// Adds what the receiver has of what was decided, in order, each time what is new.
    pub fn add_to(&mut self, parts: &mut VecDeque<Part>) {
        // What goes on where the last part ends is one part with it: on their own its bytes may be too few.
        self.parts.drain(..).for_each(|part| push(parts, part));
    }

    /// Says of the stretches that are decided where in the stream they lie.
    fn settle(&mut self) {
        let (decided, found) = (self.matching.decided(), self.matching.found());
        while let Some(first) = self.stretches.front_mut().filter(|first| first.content < decided) {
            while found.pop_front_if(|part| part.at + part.len <= first.content).is_some() {}
            let until = |content: u64| first.len.min(content - first.content);
            let here = match found.front() {
                Some(part) if part.at <= first.content => {
                    let (here, gone) = (until(decided.min(part.at + part.len)), first.content - part.at);
                    let from = self.base.saturating_add(part.from).saturating_add(gone);
                    push(&mut self.parts, Part { at: first.stream, len: here, from });
                    here
                }
                Some(part) => until(decided.min(part.at)),
                None => until(decided),
            };
            let (content, stream) = (first.content + here, first.stream + here);
            *first = Stretch { content, stream, len: first.len - here };
            if first.len == 0 {
                self.stretches.pop_front();
            }
        }
        if self.stretches.is_empty() {
            // What lies in holes is nowhere in the stream.
            found.clear();
        }
    }
}

#[cfg(test)]
mod tests;
