//! The sender: blocks in, the same blocks out, with the parts of them named that the receiver has.
//!
//! A block is held back until every piece that begins in it is cut: no more than the longest piece is waited for.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hikyaku_wire::files::{Block, MAX_PARTS, MIN_PART, Part};

use super::cut::Cutter;
use super::index::Index;
use super::renewing::push;
use crate::error::Result;

/// Compares what is sent with what the receiver has.
#[derive(Debug)]
pub struct Sparing {
    index: Index,
    cutter: Cutter,
    /// Blocks that were taken and not given back yet.
    blocks: VecDeque<(Block, Bytes)>,
    /// What of them the receiver has, as far as it is known.
    parts: VecDeque<Part>,
    /// How far it is known.
    known: u64,
    /// The piece of the older version that would come next.
    next: Option<usize>,
    has_ended: bool,
}

/// A block, and what of it need not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spared {
    /// The block as it is.
    pub block: Block,
    /// What of it the receiver has; nothing where all of it is to be sent.
    pub parts: Vec<Part>,
    /// The other bytes of it.
    pub rest: Bytes,
}

impl Sparing {
    /// Begins at an offset.
    ///
    /// # Errors
    /// An average that no pieces have.
    pub fn new(index: Index, from: u64) -> Result<Self> {
        let cutter = Cutter::new(index.average()).map_err(super::index::bad_average)?;
        let (blocks, parts) = (VecDeque::new(), VecDeque::new());
        Ok(Self { index, cutter, blocks, parts, known: from, next: None, has_ended: false })
    }

    /// Takes the next block.
    pub fn take(&mut self, block: Block, bytes: Bytes) {
        self.cutter.take(&bytes);
        self.blocks.push_back((block, bytes));
        self.compare();
    }

    /// Nothing follows.
    pub fn end(&mut self) {
        self.cutter.end();
        self.has_ended = true;
        self.compare();
    }

    /// The next block, if enough is known of it; `None` until more came, or at the end.
    pub fn next_block(&mut self) -> Option<Spared> {
        let end = self.blocks.front().map(|(block, _)| block.offset.saturating_add(block.len))?;
        if self.known < end && !self.has_ended {
            return None;
        }
        let (block, bytes) = self.blocks.pop_front()?;
        Some(Spared::of(block, bytes, &mut self.parts))
    }

    fn compare(&mut self) {
        while let Some((len, digest)) = self.cutter.next_piece() {
            let (at, len_here) = (self.known, len as u64);
            self.known += len_here;
            let Some((from, number)) = self.index.find(&digest, len, self.next) else {
                self.next = None;
                continue;
            };
            self.next = Some(number + 1);
            push(&mut self.parts, Part { at, len: len_here, from });
        }
    }
}

impl Spared {
    /// A block, of which these parts lie at the receiver. Takes out what lies in it; what reaches beyond it is there for the
    /// next one.
    pub(crate) fn of(block: Block, bytes: Bytes, parts: &mut VecDeque<Part>) -> Self {
        let end = block.offset + block.len;
        let mut here = Vec::new();
        while let Some(part) = parts.front_mut().filter(|part| part.at < end) {
            let len = part.len.min(end - part.at);
            // Shorter ones and more are not taken: they are sent.
            if len >= MIN_PART && here.len() < MAX_PARTS {
                here.push(Part { len, ..*part });
            }
            *part = Part { at: part.at + len, len: part.len - len, from: part.from + len };
            if part.len == 0 {
                parts.pop_front();
            }
        }
        let rest = rest_of(&block, &here, bytes);
        Self { block, parts: here, rest }
    }
}

/// The bytes of a block that lie in none of the parts.
fn rest_of(block: &Block, parts: &[Part], bytes: Bytes) -> Bytes {
    if parts.is_empty() {
        return bytes;
    }
    let slice = |from: u64, to: u64| {
        let at = |offset: u64| usize::try_from(offset - block.offset).unwrap_or(usize::MAX);
        bytes.get(at(from)..at(to)).unwrap_or_default()
    };
    let (mut rest, mut reached) = (BytesMut::new(), block.offset);
    for part in parts {
        rest.extend_from_slice(slice(reached, part.at));
        reached = part.at + part.len;
    }
    rest.extend_from_slice(slice(reached, block.offset + block.len));
    rest.freeze()
}
