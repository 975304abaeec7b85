//! A source whose blocks are packed where that is sooner. Spec: section 5.11.

use std::time::Instant;

use bytes::Bytes;
use hikyaku_wire::files::{Block, Close, Composed, Packed, Part};

use super::{Blocks, Said};
use crate::error::Result;
use crate::packing::{Packing, Try, pack};
use crate::progress::{Progress, Stage};

/// A source whose receiver may take packed blocks.
pub(crate) struct Pack<B> {
    blocks: B,
    packing: Option<Packing>,
    buffer: Vec<u8>,
}

impl<B: Blocks> Pack<B> {
    /// Packs where the receiver takes that.
    //= S5.110
    pub(crate) fn new(blocks: B, is_taken: bool) -> Self {
        Self { blocks, packing: is_taken.then(Packing::default), buffer: Vec::new() }
    }

    /// What a block becomes; `None` where it stays as it is.
    //= S5.111
    fn packed(&mut self, rest: &Bytes, progress: &Progress) -> Option<Bytes> {
        let packing = self.packing.as_mut()?;
        let (passed, took) = progress.line().taken();
        packing.passed(passed, took);
        packing.bound(progress.pace().map(|pace| pace.rate()));
        let (len, is_sent) = match packing.next(rest.len()) {
            Try::Nothing => return None,
            Try::Sample(len) => (len, false),
            Try::Whole => (rest.len(), true),
        };
        let bytes = rest.get(..len).unwrap_or_default();
        let begun = Instant::now();
        let packed = progress.local().time(Stage::Cpu, || pack(bytes, &mut self.buffer));
        let is_better = packing.tried(len, packed, begun.elapsed());
        (is_sent && is_better).then(|| Bytes::copy_from_slice(self.buffer.get(..packed).unwrap_or_default()))
    }
}

impl<B: Blocks> Blocks for Pack<B> {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        let (block, parts, rest): (Block, Vec<Part>, Bytes) = match self.blocks.next(progress)? {
            Some(Said::Block(block, bytes)) => (block, Vec::new(), bytes),
            Some(Said::Composed(Composed { block, parts }, rest)) => (block, parts, rest),
            said => return Ok(said),
        };
        Ok(Some(match self.packed(&rest, progress) {
            Some(packed) => Said::Packed(Packed { block, parts, len: packed.len() as u64 }, packed),
            None if parts.is_empty() => Said::Block(block, rest),
            None => Said::Composed(Composed { block, parts }, rest),
        }))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Same(Bytes, u64);

    impl Blocks for Same {
        fn next(&mut self, _: &Progress) -> Result<Option<Said>> {
            let (offset, len) = (self.1, self.0.len() as u64);
            self.1 += len;
            Ok(Some(Said::Block(Block { entry: None, offset, len, cvs: Vec::new() }, self.0.clone())))
        }

        fn close(self) -> Result<Close> {
            unreachable!("it goes on for ever")
        }
    }

    fn said(bytes: Bytes, is_taken: bool) -> Vec<bool> {
        let (mut pack, progress) = (Pack::new(Same(bytes, 0), is_taken), Progress::none());
        progress.line().passed(1 << 22, Duration::from_secs(4_096));
        let mut said = || pack.next(&progress).unwrap().unwrap();
        (0..5)
            .map(|_| matches!(said(), Said::Packed(packed, bytes) if packed.len == bytes.len() as u64))
            .collect()
    }

    //= S5.110 (test)
    #[test]
    fn blocks_are_packed_after_one_was_tried_for_who_takes_them_and_only_where_they_get_smaller() {
        let mut noise = vec![0; 512 * 1024];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let text = Bytes::from(vec![b'a'; 512 * 1024]);
        assert_eq!(said(text.clone(), true), [false, true, true, true, true]);
        assert_eq!(said(text, false), [false; 5]);
        assert_eq!(said(noise.into(), true), [false; 5]);
    }
}
