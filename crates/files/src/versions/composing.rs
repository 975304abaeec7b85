//! The receiver: a block is put together from what came and from parts of the older version.
//!
//! What comes of it is verified as if it had come whole.

use hikyaku_wire::files::{Block, Composed, MAX_BLOCK_LEN, MIN_PART};

use crate::error::{FilesError, Result};

/// Checks what a composed block says of itself, and returns how many bytes follow it. `older` is the size of the older
/// version that was named in this exchange; `None` where none was.
//= S5.103
pub fn check(composed: &Composed, older: Option<u64>) -> Result<u64> {
    let Composed { block, parts } = composed;
    let range = |reason| Err(FilesError::Range { reason, offset: block.offset, len: block.len });
    let Some(older) = older else { return Err(unnamed(block)) };
    if block.len > MAX_BLOCK_LEN {
        return range("a block has 1 byte to 1 MiB");
    }
    if parts.iter().any(|part| part.from.checked_add(part.len).is_none_or(|end| end > older)) {
        return range("a part of it lies beyond the end of the older version");
    }
    if parts.iter().any(|part| part.len < MIN_PART) {
        return range("a part of the older version has 2,048 bytes at least");
    }
    match composed.carried() {
        Some(carried) => Ok(carried),
        None => range("its parts are empty, out of order or beyond it"),
    }
}

/// What is said of parts of an older version where none was named.
pub(crate) fn unnamed(block: &Block) -> FilesError {
    let reason = "it has parts of an older version, and none was named";
    FilesError::Range { reason, offset: block.offset, len: block.len }
}

/// Puts a checked block together: `came` is what was sent of it, `read` reads the older version at an offset.
//= S5.104
pub fn compose(
    composed: &Composed,
    came: &[u8],
    into: &mut Vec<u8>,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize>,
) -> Result<()> {
    let Composed { block, parts } = composed;
    let range = |reason| FilesError::Range { reason, offset: block.offset, len: block.len };
    let short = || range("its bytes are not as many as it says");
    let (mut came, mut reached) = (came, block.offset);
    into.clear();
    for part in parts {
        take(&mut came, part.at.saturating_sub(reached), into).ok_or_else(short)?;
        reached = part.at.saturating_add(part.len);
        let begin = into.len();
        let len = usize::try_from(part.len).ok().filter(|_| part.len <= MAX_BLOCK_LEN).ok_or_else(short)?;
        into.resize(begin + len, 0);
        if read(part.from, into.get_mut(begin..).unwrap_or_default())? < len {
            return Err(FilesError::OlderChanged);
        }
    }
    let rest = block.offset.saturating_add(block.len).saturating_sub(reached);
    take(&mut came, rest, into).filter(|()| came.is_empty()).ok_or_else(short)
}

/// Moves the next bytes; nothing where there are fewer.
fn take(from: &mut &[u8], len: u64, into: &mut Vec<u8>) -> Option<()> {
    let (bytes, rest) = from.split_at_checked(usize::try_from(len).ok()?)?;
    into.extend_from_slice(bytes);
    *from = rest;
    Some(())
}
