//! The rules of receiving one file: what may come next, and whether it is what it claims to be.
//!
//! Pure: blocks in, verdicts and marks out. Bytes count as verified when their group's chaining value is equal, and
//! stay *provisional* until the closing root is: nothing may be published before [`Receiving::close`]. Spec: S5.10–S5.18.

use hikyaku_storage::vault::Mark;
use hikyaku_wire::files::{Block, Close, MAX_BLOCK_LEN};
use hikyaku_wire::parcel::Root;

use crate::error::{FilesError, Result};
use crate::tree::{self, Cv, Filling, GROUP, GROUP_LEN, Tree};

/// A file being received.
#[derive(Debug, Clone)]
pub struct Receiving {
    size: Option<u64>,
    max_size: u64,
    max_block: u64,
    /// Whole groups.
    tree: Tree,
    /// The last group, as long as it is not whole.
    filling: Filling,
}

impl Receiving {
    /// Begins, or goes on after a mark. A mark that makes no sense is the same as none: everything is sent again.
    ///
    /// `size` is what the sender promised; without a promise `max_size` bounds what is taken.
    pub fn resume(mark: &Mark, size: Option<u64>, max_size: u64) -> Self {
        let tree = Tree::decode(&mark.state)
            .ok()
            .filter(|tree| tree.groups().checked_mul(GROUP_LEN) == Some(mark.verified))
            .filter(|_| size.is_none_or(|size| mark.verified <= size))
            .unwrap_or_default();
        let filling = Filling::new(tree.groups() * GROUP_LEN);
        Self { size, max_size, max_block: MAX_BLOCK_LEN, tree, filling }
    }

    /// The offset of the next byte: everything before it was received and verified.
    pub fn offset(&self) -> u64 {
        self.tree.groups() * GROUP_LEN + self.filling.len() as u64
    }

    /// The hash of everything before [`Receiving::offset`], for the acceptance; `None` when that is nothing.
    pub fn prefix(&self) -> Option<Root> {
        if self.offset() == 0 { None } else { self.tree.root() }
    }

    /// What can be gone on from: the whole groups so far.
    pub fn mark(&self) -> Mark {
        Mark { verified: self.tree.groups() * GROUP_LEN, state: self.tree.encode() }
    }

    /// Checks what a block says of itself, before its bytes are taken.
    //= S5.12
    pub fn check(&self, block: &Block) -> Result<()> {
        let range = |reason| Err(FilesError::Range { reason, offset: block.offset, len: block.len });
        let Some(end) = block.offset.checked_add(block.len) else {
            return range("it ends beyond every file");
        };
        if block.entry.is_some() {
            return range("it names an entry of a tree, and this is a file");
        }
        if block.len == 0 || block.len > self.max_block {
            return range("a block has 1 byte to 1 MiB");
        }
        if block.offset != self.offset() {
            return range("it does not follow the bytes before it");
        }
        if self.size.is_some_and(|size| end > size) {
            return range("it ends beyond the size that was offered");
        }
        if end > self.max_size {
            return Err(FilesError::Limit { name: "max_size", limit: self.max_size });
        }
        if block.cvs.len() as u64 != (block.offset % GROUP_LEN + block.len).div_ceil(GROUP_LEN) * 32 {
            return range("it has not one chaining value for each group");
        }
        Ok(())
    }

    /// Takes the bytes of a checked block. At the first group that is not what it should be, nothing of it or after it counts.
    //= S5.13
    pub fn take(&mut self, block: &Block, data: &[u8]) -> Result<()> {
        self.check(block)?;
        if data.len() as u64 != block.len {
            return Err(FilesError::Range {
                reason: "its bytes are not as many as it says",
                offset: block.offset,
                len: block.len,
            });
        }
        let mut rest = data;
        for cv in block.cvs.as_chunks::<32>().0 {
            let (bytes, later) = rest.split_at(rest.len().min(self.filling.room()));
            self.take_group(bytes, cv)?;
            rest = later;
        }
        Ok(())
    }

    /// Takes the bytes of one group, or as many of them as there are yet.
    fn take_group(&mut self, bytes: &[u8], cv: &Cv) -> Result<()> {
        let offset = self.offset();
        let mismatch = || FilesError::GroupMismatch { offset, len: bytes.len() as u64 };
        if bytes.len() == GROUP {
            let group = tree::group(offset, bytes);
            if group.cv != *cv {
                return Err(mismatch());
            }
            self.tree.push(&group);
            self.filling.move_to(self.tree.groups() * GROUP_LEN);
            return Ok(());
        }
        let mut filling = self.filling.clone();
        filling.take(bytes);
        let group = filling.group().filter(|group| group.cv == *cv).ok_or_else(mismatch)?;
        if filling.room() == 0 {
            self.tree.push(&group);
            filling = Filling::new(self.tree.groups() * GROUP_LEN);
        }
        self.filling = filling;
        Ok(())
    }

    /// Compares the whole with what the sender says it is: its size and its root.
    //= S5.15
    pub fn close(mut self, close: &Close) -> Result<(Root, u64)> {
        let size = self.offset();
        let range = |reason| Err(FilesError::Range { reason, offset: size, len: close.size.abs_diff(size) });
        if close.entry.is_some() {
            return range("the close names an entry of a tree, and this is a file");
        }
        if close.size != size {
            return range("the close does not lie at the end of what was sent");
        }
        if self.size.is_some_and(|offered| offered != size) {
            return range("the size is not the one that was offered");
        }
        if let Some(group) = self.filling.group() {
            self.tree.push(&group);
        }
        match self.tree.root() {
            Some(found) if found == close.root => Ok((found, size)),
            found => Err(FilesError::RootMismatch {
                said: close.root,
                found: found.unwrap_or(Root([0; 32])),
                size,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
