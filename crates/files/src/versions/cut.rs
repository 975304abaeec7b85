//! Cutting where the content says: FastCDC (Xia et al., 2020), so that an insertion moves the cuts around it and no others.

use fastcdc::v2020::{Normalization, cut, select_masks};
use hikyaku_wire::files::{MAX_AVERAGE, MAX_INDEX, MIN_AVERAGE};

/// The first sixteen bytes of a piece's BLAKE3 hash.
pub type Digest = [u8; 16];

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

/// Cuts a stream of bytes, of which it holds little more than the longest piece.
#[derive(Debug)]
pub struct Cutter {
    average: usize,
    /// The strict mask and the lax one.
    masks: (u64, u64),
    /// What was taken and not cut yet begins at `begin`.
    window: Vec<u8>,
    begin: usize,
    has_ended: bool,
}

impl Cutter {
    /// Cuts into pieces of this average length: a power of two from [`MIN_AVERAGE`] to [`MAX_AVERAGE`].
    ///
    /// # Errors
    /// The average, where it is another number.
    //= S5.102
    pub fn new(average: u64) -> Result<Self, u64> {
        let known = average.is_power_of_two() && (MIN_AVERAGE..=MAX_AVERAGE).contains(&average);
        let average = usize::try_from(average).ok().filter(|_| known).ok_or(average)?;
        let masks = select_masks(average, Normalization::Level1);
        Ok(Self { average, masks, window: Vec::new(), begin: 0, has_ended: false })
    }

    /// The longest piece.
    pub fn longest(&self) -> usize {
        4 * self.average
    }

    /// The length of a piece of zeros alone.
    pub fn of_zeros(&self) -> usize {
        self.cut(&vec![0; self.longest()])
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.begin >= self.longest() {
            self.window.drain(..self.begin);
            self.begin = 0;
        }
        self.window.extend_from_slice(bytes);
    }

    /// Nothing follows.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next piece: its length and its digest. `None` until more bytes came, or at the end.
    pub fn next_piece(&mut self) -> Option<(usize, Digest)> {
        let rest = self.window.get(self.begin..).unwrap_or_default();
        if rest.is_empty() || rest.len() < self.longest() && !self.has_ended {
            return None;
        }
        let len = self.cut(rest);
        let piece = rest.get(..len).unwrap_or_default();
        self.begin += len;
        Some((len, digest(piece)))
    }

    /// The length of the piece that these bytes begin with.
    fn cut(&self, bytes: &[u8]) -> usize {
        let (average, (strict, lax)) = (self.average, self.masks);
        let (least, most) = (average / 4, self.longest());
        cut(bytes, least, average, most, strict, lax, strict << 1, lax << 1).1
    }
}

/// What a piece is told by.
pub(super) fn digest(piece: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.iter_mut().zip(blake3::hash(piece).as_bytes()).for_each(|(to, byte)| *to = *byte);
    digest
}
