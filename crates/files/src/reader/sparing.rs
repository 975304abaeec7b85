//! A source of which parts need not be sent, because the receiver has an older version. Spec: section 5.10.

use hikyaku_wire::files::{Close, Composed};

use super::{Blocks, Said};
use crate::error::Result;
use crate::progress::{Progress, Stage};
use crate::versions::{Index, Spared, Sparing};

/// A source, compared with what the receiver has, if that is anything.
pub(crate) struct Spare<B> {
    blocks: B,
    sparing: Option<Sparing>,
    has_ended: bool,
}

impl From<Spared> for Said {
    fn from(Spared { block, parts, rest }: Spared) -> Self {
        match parts.is_empty() {
            true => Self::Block(block, rest),
            false => Self::Composed(Composed { block, parts }, rest),
        }
    }
}

impl<B: Blocks> Spare<B> {
    /// Compares from an offset on.
    pub(crate) fn new(blocks: B, index: Option<Index>, from: u64) -> Result<Self> {
        let sparing = index.map(|index| Sparing::new(index, from)).transpose()?;
        Ok(Self { blocks, sparing, has_ended: false })
    }
}

impl<B: Blocks> Blocks for Spare<B> {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        let Some(sparing) = &mut self.sparing else { return self.blocks.next(progress) };
        loop {
            if let Some(spared) = sparing.next_block() {
                return Ok(Some(spared.into()));
            }
            if self.has_ended {
                return Ok(None);
            }
            match self.blocks.next(progress)? {
                Some(Said::Block(block, bytes)) => {
                    progress.local().time(Stage::Cpu, || sparing.take(block, bytes));
                }
                None => {
                    self.has_ended = true;
                    progress.local().time(Stage::Cpu, || sparing.end());
                }
                // Nothing is packed before it is compared, and what is listed ahead is compared where it is read.
                said => return Ok(said),
            }
        }
    }

    fn skipped(&self) -> u64 {
        self.blocks.skipped()
    }

    fn is_over(&self) -> bool {
        self.blocks.is_over()
    }

    fn close(self) -> Result<Close> {
        self.blocks.close()
    }
}
