//! The sender: blocks in, the same blocks out, with the parts of them named that the receiver has.
//!
//! A block is held back until it is decided what of it is there: no more than 64 KiB or the longest piece, and another
//! piece are waited for.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hikyaku_wire::files::{Block, MAX_PARTS, MIN_PART, Part};

use super::index::Index;
use super::matching::Matching;
use crate::error::Result;

/// Compares what is sent with what the receiver has.
#[derive(Debug)]
pub struct Sparing {
    matching: Matching,
    /// Blocks that were taken and not given back yet.
    blocks: VecDeque<(Block, Bytes)>,
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
        Ok(Self { matching: Matching::new(index, from)?, blocks: VecDeque::new(), has_ended: false })
    }

    /// Takes the next block.
    pub fn take(&mut self, block: Block, bytes: Bytes) {
        self.matching.take(&bytes);
        self.blocks.push_back((block, bytes));
    }

    /// Nothing follows.
    pub fn end(&mut self) {
        self.matching.end();
        self.has_ended = true;
    }

    /// The next block, if enough is known of it; `None` until more came, or at the end.
    pub fn next_block(&mut self) -> Option<Spared> {
        let end = self.blocks.front().map(|(block, _)| block.offset.saturating_add(block.len))?;
        if self.matching.decided() < end && !self.has_ended {
            return None;
        }
        let (block, bytes) = self.blocks.pop_front()?;
        Some(Spared::of(block, bytes, self.matching.found()))
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
