//! Reading a message in its usual form in one pass: what [`check()`](super::check()) and a decoder would find one after
//! the other.
//!
//! Everything here answers `None` for whatever is not written as our own senders write it, also where the profile
//! permits it; the caller then goes the long way, which alone says what is wrong. So nothing is accepted here that
//! would be refused there, and a test holds the two together.

use super::MAX_INTEGER;

/// What has not been read yet of one message.
#[derive(Clone, Copy, Debug)]
pub struct Usual<'b>(&'b [u8]);

impl<'b> Usual<'b> {
    /// From the first byte on.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// An item's argument, if the item is of this major type and in its shortest form.
    #[inline]
    fn head(&mut self, major: u8) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        if first >> 5 != major {
            return None;
        }
        let (argument, least, rest) = match first & 0x1f {
            small @ 0..=23 => (u64::from(small), 0, rest),
            24 => rest
                .split_first_chunk()
                .map(|(digits, rest)| (u64::from(u8::from_be_bytes(*digits)), 24, rest))?,
            25 => rest
                .split_first_chunk()
                .map(|(digits, rest)| (u64::from(u16::from_be_bytes(*digits)), 1 << 8, rest))?,
            26 => rest
                .split_first_chunk()
                .map(|(digits, rest)| (u64::from(u32::from_be_bytes(*digits)), 1 << 16, rest))?,
            27 => {
                rest.split_first_chunk().map(|(digits, rest)| (u64::from_be_bytes(*digits), 1 << 32, rest))?
            }
            _ => return None,
        };
        self.0 = rest;
        (argument >= least).then_some(argument)
    }

    /// An unsigned integer.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        self.head(0).filter(|number| *number <= MAX_INTEGER)
    }

    /// A byte string.
    #[inline]
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.head(2)?;
        self.take(length)
    }

    /// A byte string of this length.
    #[inline]
    pub fn exactly<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.bytes()?.try_into().ok()
    }

    /// Text.
    #[inline]
    pub fn text(&mut self) -> Option<&'b str> {
        let length = self.head(3)?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// The number of items of an array that begins here; at most `most`.
    pub fn array(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.head(4)?).ok().filter(|count| *count <= most)
    }

    /// The number of entries of a map that begins here.
    #[inline]
    pub fn map(&mut self) -> Option<u64> {
        self.head(5)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn take(&mut self, length: u64) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}
