//! The root of what is on the disk, to be compared with the one of a receipt.

use std::path::PathBuf;

use hikyaku_wire::files::{PutOptions, Target};
use hikyaku_wire::parcel::Root;

use crate::error::Result;
use crate::progress::Progress;
use crate::reader::{Blocks, Said};
use crate::source::Outgoing;
use crate::tree_source::OutgoingTree;
use crate::walk::WalkOptions;

/// What was read of a file or a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rooted {
    /// The root: of a file its BLAKE3 hash, of a tree that of its bundle.
    pub root: Root,
    /// How many things could not be read.
    pub unread: u64,
}

/// Reads a regular file as it would be sent alone.
///
/// # Errors
/// It cannot be read, or changes meanwhile.
pub fn root_of_file(path: &std::path::Path, progress: &Progress) -> Result<Rooted> {
    let outgoing = Outgoing::new(path, None, Target::Drop(Vec::new()))?;
    progress.began(outgoing.transfer(), 0, Some(outgoing.size()));
    let root = read(outgoing.read_from(0, None)?, progress)?;
    Ok(Rooted { root, unread: 0 })
}

/// Reads files and directories as they would be sent together.
///
/// # Errors
/// A path cannot be looked at. What is below it and cannot be read is counted.
pub fn root_of_tree(paths: &[PathBuf], options: WalkOptions, progress: &Progress) -> Result<Rooted> {
    let target = Target::Drop(Vec::new());
    let outgoing = OutgoingTree::new(paths, None, target, PutOptions::default(), options)?;
    progress.began(outgoing.transfer(), 0, None);
    let root = read(outgoing.read_from(0, None)?, progress)?;
    Ok(Rooted { root, unread: outgoing.troubles().1.left_out })
}

fn read(mut blocks: impl Blocks, progress: &Progress) -> Result<Root> {
    while let Some(Said::Block(block, _)) = blocks.next(progress)? {
        progress.reached(block.offset + block.len);
    }
    Ok(blocks.close()?.root)
}
