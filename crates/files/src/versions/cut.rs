//! Cutting where the content says: FastCDC (Xia et al., 2020), so that an insertion moves the cuts around it and no others.

use fastcdc::v2020::{Normalization, cut, select_masks};
use hikyaku_wire::files::{MAX_AVERAGE, MAX_INDEX, MIN_AVERAGE};

/// The average length of pieces for an older version of this size: the shortest with which all of it can be told. (Pieces
/// come out a little longer than that.)
//= S5.102
pub fn average_of(size: u64) -> u64 {
    let mut average = MIN_AVERAGE;
    while average < MAX_AVERAGE && size.div_ceil(average) > MAX_INDEX as u64 {
        average *= 2;
    }
    average
}

/// Where pieces of an average length are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuts {
    average: usize,
    /// The strict mask and the lax one.
    masks: (u64, u64),
}

impl Cuts {
    /// Cuts into pieces of this average length: a power of two from [`MIN_AVERAGE`] to [`MAX_AVERAGE`].
    ///
    /// # Errors
    /// The average, where it is another number.
    //= S5.102
    pub(super) fn new(average: u64) -> Result<Self, u64> {
        let known = average.is_power_of_two() && (MIN_AVERAGE..=MAX_AVERAGE).contains(&average);
        let average = usize::try_from(average).ok().filter(|_| known).ok_or(average)?;
        Ok(Self { average, masks: select_masks(average, Normalization::Level2) })
    }

    /// The shortest piece, unless it is the last.
    pub(super) fn shortest(&self) -> usize {
        self.average / 2
    }

    /// The longest piece.
    pub(super) fn longest(&self) -> usize {
        4 * self.average
    }

    /// The length of a piece of zeros alone.
    pub(super) fn of_zeros(&self) -> usize {
        self.cut(&vec![0; self.longest()])
    }

    /// The length of the piece that these bytes begin with, where they are as many as the longest, or nothing follows them.
    //= S5.102
    pub(super) fn cut(&self, bytes: &[u8]) -> usize {
        let (average, (strict, lax)) = (self.average, self.masks);
        cut(bytes, average / 2, average, self.longest(), strict, lax, strict << 1, lax << 1).1
    }
}

/// Cuts a stream of bytes, of which it holds little more than the longest piece.
#[derive(Debug)]
pub(super) struct Cutter {
    cuts: Cuts,
    /// What was taken and not cut yet begins at `begin`.
    window: Vec<u8>,
    begin: usize,
    has_ended: bool,
}

impl Cutter {
    pub(super) fn new(cuts: Cuts) -> Self {
        Self { cuts, window: Vec::new(), begin: 0, has_ended: false }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.begin >= self.cuts.longest() {
            self.window.drain(..self.begin);
            self.begin = 0;
        }
        self.window.extend_from_slice(bytes);
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next piece. `None` until more bytes came, or at the end.
    pub(super) fn next_piece(&mut self) -> Option<&[u8]> {
        let rest = self.window.get(self.begin..)?;
        if rest.is_empty() || rest.len() < self.cuts.longest() && !self.has_ended {
            return None;
        }
        let begin = self.begin;
        self.begin += self.cuts.cut(rest);
        self.window.get(begin..self.begin)
    }
}
