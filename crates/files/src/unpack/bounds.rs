//! How much a tree may need: of the largest size that is taken, and of quotas.

use crate::bundle::Item;
use crate::drop_dir::Meter;
use crate::error::{FilesError, Result};
use crate::quota::{LEAST, counted};
use crate::rooms::Owner;

/// The bounds of one tree. Without any, everything is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    max_size: Option<u64>,
    meter: Option<Meter>,
    /// The sizes of its files so far.
    so_far: u64,
}

impl Bounds {
    /// At most so many bytes of files, and what a meter allows.
    pub(crate) fn new(max_size: u64, meter: Option<Meter>) -> Self {
        Self { max_size: Some(max_size), meter, so_far: 0 }
    }

    /// The same where so many bytes came before.
    pub(super) fn after(self, so_far: u64) -> Self {
        Self { so_far, ..self }
    }

    /// Whose everything is, where that is to be marked.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.meter.as_ref().and_then(Meter::owner)
    }

    /// Counts an entry before anything of it is made: a file with its logical size, as whoever reads it sees it.
    //= S5.28
    pub(super) fn charge(&mut self, item: &Item<'_>) -> Result<()> {
        let more = match item {
            Item::File(_, head) => {
                self.so_far = self.so_far.saturating_add(head.size);
                match head.from.unwrap_or(0) {
                    0 => counted(head.size),
                    from => head.size.saturating_sub(from),
                }
            }
            Item::Enter(_) | Item::Symlink(..) | Item::HardLink(..) => LEAST,
            _ => return Ok(()),
        };
        if let Some(limit) = self.max_size.filter(|limit| self.so_far > *limit) {
            return Err(FilesError::Limit { name: "max_size", limit });
        }
        self.meter.as_ref().map_or(Ok(()), |meter| meter.grow(more))
    }
}
