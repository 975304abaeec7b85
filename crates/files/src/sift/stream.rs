//! The bundle as it is written, and the blocks that it is cut into: with the parts of it named that the receiver has.

use std::collections::VecDeque;

use bytes::Bytes;
use hikyaku_wire::bundle::RecordType;
use hikyaku_wire::files::{BLOCK_LEN, Block, Part};
use hikyaku_wire::parcel::Root;
use hikyaku_wire::varint;

use crate::bundle::Writer;
use crate::error::Result;
use crate::reader::Said;
use crate::tree::{self, Filling, GROUP, GROUP_LEN, Tree};
use crate::versions::{Index, Renewing, Spared};

/// What of a bundle was written and not sent yet.
pub(super) struct Stream {
    pub(super) writer: Writer,
    /// The whole groups that were sent.
    tree: Tree,
    /// What was sent of the group behind them.
    filling: Filling,
    /// The file at hand, where the receiver has an older version of it.
    renewing: Option<Renewing>,
    /// What of the bytes that were not sent lies in older versions.
    parts: VecDeque<Part>,
}

impl Stream {
    pub(super) fn new() -> Self {
        let (writer, filling) = (Writer::default(), Filling::new(0));
        Self { writer, tree: Tree::default(), filling, renewing: None, parts: VecDeque::new() }
    }

    /// Where the first byte lies that is not sent.
    pub(super) fn offset(&self) -> u64 {
        self.tree.groups() * GROUP_LEN + self.filling.len() as u64
    }

    /// Where what is written ends.
    pub(super) fn end(&self) -> u64 {
        self.offset() + self.writer.written().len() as u64
    }

    /// Of the file that was begun the receiver has an older version, which begins at `base`.
    pub(super) fn renew(&mut self, index: Index, base: u64) -> Result<()> {
        self.renewing = Some(Renewing::new(index, base)?);
        Ok(())
    }

    /// Compares the content in the records that were written since, when there were so many bytes.
    pub(super) fn compare(&mut self, since: usize) {
        let Some(renewing) = &mut self.renewing else { return };
        let begin = self.tree.groups() * GROUP_LEN + self.filling.len() as u64;
        let (written, mut at, mut has_ended) = (self.writer.written(), since, false);
        while let Some((kind, header, payload)) = written.get(at..).and_then(record) {
            match kind {
                RecordType::BYTES => renewing.take(begin + (at + header) as u64, payload),
                RecordType::HOLE => renewing.zeros(varint::decode(payload).map_or(0, |(len, _)| len)),
                RecordType::END => {
                    renewing.end();
                    has_ended = true;
                }
                _ => {}
            }
            at += header + payload.len();
        }
        renewing.add_to(&mut self.parts);
        if has_ended {
            self.renewing = None;
        }
    }

    /// Whether there is a whole block, and what of it lies at the receiver is known.
    pub(super) fn has_block(&self) -> bool {
        let end = self.offset() + BLOCK_LEN;
        let known = self.renewing.as_ref().and_then(Renewing::known);
        end <= self.end() && known.is_none_or(|known| end <= known)
    }

    /// The next block: of whole groups, or of everything that is written.
    //= S5.104
    pub(super) fn block(&mut self, is_all: bool) -> Option<Said> {
        let offset = self.offset();
        let mut end = self.end().min(offset - offset % GROUP_LEN + BLOCK_LEN);
        if !is_all {
            end -= end % GROUP_LEN;
        }
        let len = end.checked_sub(offset).filter(|len| *len > 0)?;
        let count = usize::try_from(len).unwrap_or(0);
        let bytes = Bytes::copy_from_slice(self.writer.written().get(..count).unwrap_or_default());
        let (mut cvs, mut rest) = (Vec::with_capacity(count.div_ceil(GROUP) * 32 + 32), &bytes[..]);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(self.filling.room()));
            cvs.extend(self.pass(piece));
            rest = later;
        }
        self.writer.consume(count);
        let block = Block { entry: None, offset, len, cvs };
        Some(Spared::of(block, bytes, &mut self.parts).into())
    }

    /// Hashes a group, or as much of it as there is; the chaining value so far.
    fn pass(&mut self, piece: &[u8]) -> tree::Cv {
        let group = if piece.len() == GROUP {
            tree::group(self.offset(), piece)
        } else {
            self.filling.take(piece);
            // There is at least a byte in it.
            self.filling.group().unwrap_or_else(|| tree::group(self.offset(), piece))
        };
        if piece.len() == GROUP || self.filling.room() == 0 {
            self.tree.push(&group);
            self.filling = Filling::new(self.tree.groups() * GROUP_LEN);
        }
        group.cv
    }

    /// The root of all that was sent.
    pub(super) fn root(mut self) -> Option<Root> {
        self.filling.group().iter().for_each(|group| self.tree.push(group));
        self.tree.root()
    }
}

/// The record that these bytes begin with: its type, the length of its header, its payload.
fn record(bytes: &[u8]) -> Option<(RecordType, usize, &[u8])> {
    let (kind, first) = varint::decode(bytes)?;
    let (len, second) = varint::decode(bytes.get(first..)?)?;
    let header = first + second;
    let payload = bytes.get(header..)?.get(..usize::try_from(len).ok()?)?;
    Some((RecordType(kind), header, payload))
}
