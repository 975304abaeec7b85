//! Packing blocks where that is sooner: whether it is, is tried out.
//!
//! Pure: times and lengths in, decisions out. A block is packed (LZ4) while what that spares the line takes longer than packing; where
//! it does not, a piece of a later block is tried, each time later. On a fast line nothing is tried at all. What is unpacked is
//! never longer than what was announced. Spec: section 5.11.

use std::time::Duration;

use lz4_flex::block;

use crate::error::{FilesError, Result};

/// How much of a block is packed to find out.
const SAMPLE: usize = 64 * 1024;
/// The most blocks until the next trial.
const LATEST: u32 = 64;
/// A line is judged by so many bytes.
const JUDGED_BY: u64 = 2 * 1024 * 1024;
/// Packing has to be so many times quicker than the line: the receiver unpacks, and others want the processor, too.
const MARGIN: u32 = 2;
/// Faster lines are not held up, in bytes a second.
const FAST: u64 = 256 * 1024 * 1024;
/// Blocks in a row that were not worth it, before packing ends.
const IN_VAIN: u32 = 4;

/// What is to be done with the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// It is sent as it is.
    Nothing,
    /// So many bytes of it are packed, to find out; it is sent as it is.
    Sample(usize),
    /// It is packed.
    Whole,
}

/// Whether packing pays.
#[derive(Debug, Default)]
pub struct Packing {
    /// Bytes and time of the line that were not judged yet.
    passed: (u64, Duration),
    /// How many bytes the line takes in a second; `None` until that is known.
    rate: Option<u64>,
    is_on: bool,
    /// Blocks in a row that were packed in vain.
    in_vain: u32,
    /// How long was waited for the last trial, and how long for the next one.
    waited: u32,
    wait: u32,
}

impl Packing {
    /// The line took so many bytes in this time.
    pub fn passed(&mut self, bytes: u64, took: Duration) {
        let (all, time) = (self.passed.0 + bytes, self.passed.1 + took);
        self.passed = (all, time);
        if all >= JUDGED_BY {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
            self.rate = Some(all.saturating_mul(1_000_000) / micros);
            self.passed = (0, Duration::ZERO);
        }
    }

    /// The line is not to take more than this in a second.
    pub fn bound(&mut self, rate: Option<u64>) {
        if let Some(bound) = rate {
            self.rate = Some(self.rate.map_or(bound, |rate| rate.min(bound)));
        }
    }

    /// What is to be done with a block of which so many bytes are to be sent.
    pub fn next(&mut self, len: usize) -> Try {
        let is_slow = self.rate.is_some_and(|rate| rate < FAST);
        if !is_slow || len == 0 {
            self.is_on &= is_slow;
            return Try::Nothing;
        }
        if self.is_on {
            return Try::Whole;
        }
        if self.wait > 0 {
            self.wait -= 1;
            return Try::Nothing;
        }
        Try::Sample(len.min(SAMPLE))
    }

    /// So many bytes became so many in this time. Whether they are better sent packed.
    pub fn tried(&mut self, len: usize, packed: usize, took: Duration) -> bool {
        let is_smaller = packed < len - len / 8;
        let spared = len.saturating_sub(packed) as u64;
        let line = spared.saturating_mul(1_000_000) / self.rate.unwrap_or(u64::MAX).max(1);
        let pays = is_smaller && Duration::from_micros(line) > took * MARGIN;
        if pays {
            (self.is_on, self.in_vain, self.waited) = (true, 0, 0);
        } else if self.is_on {
            self.in_vain += 1;
            self.is_on = self.in_vain < IN_VAIN;
        } else {
            self.waited = (self.waited * 2).clamp(1, LATEST);
        }
        self.wait = self.waited;
        is_smaller
    }
}

/// Packs bytes.
pub fn pack(bytes: &[u8], into: &mut Vec<u8>) -> usize {
    into.resize(block::get_maximum_output_size(bytes.len()), 0);
    // The buffer is as long as it can get.
    block::compress_into(bytes, into).unwrap_or(usize::MAX)
}

/// Unpacks no more than so many bytes; how many there are.
//= S5.112
pub fn unpack(packed: &[u8], most: u64, into: &mut Vec<u8>) -> Result<u64> {
    let limit = || FilesError::Limit { name: "bytes of an unpacked block", limit: most };
    into.clear();
    into.resize(usize::try_from(most).map_err(|_| limit())?, 0);
    match block::decompress_into(packed, into) {
        Ok(unpacked) => Ok(unpacked as u64),
        Err(block::DecompressError::OutputTooSmall { .. }) => Err(limit()),
        Err(_) => Err(FilesError::Order("a block is not packed with LZ4")),
    }
}

#[cfg(test)]
mod tests;
