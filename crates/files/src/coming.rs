//! Blocks as they come: pieces are joined, what is packed is unpacked, and what has parts of an older version is put
//! together. The same wherever blocks are taken: into a file, into a tree, to somewhere that takes bytes once.
//!
//! A block is held to what it says of itself before anything of it is unpacked or put together. Spec: S5.12, S5.103, S5.112.

use hikyaku_wire::files::{Block, Close, Composed, List, MAX_BLOCK_LEN, Packed};

use crate::error::{FilesError, Result};
use crate::packing;
use crate::receive::Receiving;
use crate::writer::{Work, join_pieces};

/// What comes next.
pub(crate) enum Next {
    /// A block, and what of it is to be found in an older version.
    Block(Composed),
    /// A part of a listing.
    List(List),
    /// The end.
    Close(Close),
}

/// The bytes of the block at hand, in buffers that are used again for each.
#[derive(Default)]
pub(crate) struct Coming {
    packed: Vec<u8>,
    /// What was sent of it.
    came: Vec<u8>,
    whole: Vec<u8>,
}

impl Coming {
    /// Takes in what the network side hands over.
    pub(crate) fn next(&mut self, work: Work, receiving: &Receiving) -> Result<Next> {
        let (composed, pieces) = match work {
            Work::List(list) => return Ok(Next::List(list)),
            Work::Close(close) => return Ok(Next::Close(close)),
            Work::Packed(packed, pieces) => {
                receiving.check(&packed.block)?;
                join_pieces(&mut self.packed, pieces);
                return Ok(Next::Block(unpacked(packed, &self.packed, &mut self.came)?));
            }
            Work::Block(block, pieces) => (Composed { block, parts: Vec::new() }, pieces),
            Work::Composed(composed, pieces) => (composed, pieces),
        };
        receiving.check(&composed.block)?;
        join_pieces(&mut self.came, pieces);
        Ok(Next::Block(composed))
    }

    /// The bytes of the block that came last. Where parts of it are to be found elsewhere, `compose` puts it together.
    pub(crate) fn whole(
        &mut self,
        composed: &Composed,
        compose: impl FnOnce(&Composed, &[u8], &mut Vec<u8>) -> Result<()>,
    ) -> Result<&[u8]> {
        if composed.parts.is_empty() {
            std::mem::swap(&mut self.came, &mut self.whole);
        } else {
            compose(composed, &self.came, &mut self.whole)?;
        }
        Ok(&self.whole)
    }
}

/// Unpacks what came of a block; what it is then, and what of it is to be found in an older version.
//= S5.112
fn unpacked(packed: Packed, bytes: &[u8], into: &mut Vec<u8>) -> Result<Composed> {
    let Packed { block, parts, len } = packed;
    let composed = Composed { block, parts };
    let Block { offset, len: whole, .. } = composed.block;
    let range = |reason| FilesError::Range { reason, offset, len: whole };
    let carried = composed.carried().filter(|_| whole <= MAX_BLOCK_LEN);
    let carried = carried.ok_or_else(|| range("its parts are empty, out of order or beyond it"))?;
    if len == 0 || len >= carried {
        return Err(range("it is packed, and no shorter for it"));
    }
    let unpacked = packing::unpack(bytes, carried, into).map_err(|error| match error {
        FilesError::Order(_) => FilesError::NotPacked { offset, len: whole },
        error => error,
    });
    if unpacked? < carried {
        return Err(range("it unpacks to fewer bytes than it says"));
    }
    Ok(composed)
}
