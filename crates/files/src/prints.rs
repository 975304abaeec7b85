//! Prints: what a file was when it was received, kept with the file, so that a bit that flips later is found and placed.
//!
//! A print is an extended attribute of little more than 2 KiB at most: the digests of up to 64 equal parts of the file and of
//! what is left behind them, with its size and time. It moves with the file, and goes with it. Up to 4 MiB a part is one group of 64 KiB; of larger files the parts are larger,
//! so a print of 2 GiB places a flipped bit within 32 MiB. A part that was not seen, because a transfer was
//! gone on with behind it, has no digest. Prints are this program's own, and no part of the protocol.

mod check;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use blake3::Hasher;
use blake3::hazmat::HasherExt;
use hikyaku_wire::parcel::Metadata;
use rustix::fs::XattrFlags;

use crate::tree::{Cv, GROUP, GROUP_LEN};

pub use check::{Checked, check};

/// The attribute that holds a print.
const NAME: &str = "user.hikyaku.print";
/// The most parts.
const MAX_PARTS: usize = 64;
const VERSION: u8 = 1;
/// A part without anything but zeros, however large.
const ZEROS: Cv = [0; 32];
/// A part of which not all was seen.
const UNSEEN: Cv = [0xff; 32];

/// The print of a file, while it is written.
#[derive(Clone, Debug, Default)]
pub struct Prints {
    /// A part has `1 << level` groups.
    level: u8,
    parts: Vec<Cv>,
    /// What does not make a part yet: digests of 1, 2, 4, … groups.
    pending: Vec<(u8, Cv)>,
    groups: u64,
    /// The group at hand, how much of it came, and whether all of that is zeros.
    open: Option<(Hasher, usize, bool)>,
    /// The group that came last with its chaining value, which more of it may change, and whether all of that is zeros.
    last: Option<(Cv, bool)>,
    /// Bytes before the first whole group that is seen.
    unseen: u64,
}

/// A print as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    size: u64,
    modified: (i64, u32),
    level: u8,
    parts: Vec<Cv>,
}

impl Prints {
    /// Of a file whose beginning is not seen.
    pub fn from(at: u64) -> Self {
        let mut prints = Self::default();
        let groups = at.div_ceil(GROUP_LEN);
        prints.push_run(UNSEEN, groups);
        prints.unseen = groups * GROUP_LEN - at;
        prints
    }

    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let skipped = usize::try_from(self.unseen).unwrap_or(usize::MAX).min(bytes.len());
        self.unseen -= skipped as u64;
        bytes = bytes.get(skipped..).unwrap_or_default();
        while !bytes.is_empty() {
            let offset = self.groups * GROUP_LEN;
            let (hasher, len, is_zero) = self.open.get_or_insert_with(|| {
                let mut hasher = Hasher::new();
                hasher.set_input_offset(offset);
                (hasher, 0, true)
            });
            let (now, later) = bytes.split_at(bytes.len().min(GROUP - *len));
            hasher.update(now);
            *is_zero = *is_zero && now.iter().all(|byte| *byte == 0);
            *len += now.len();
            if *len == GROUP {
                self.close();
            }
            bytes = later;
        }
    }

    /// Whole groups of zeros, or the zeros at the end.
    pub fn zeros(&mut self, len: u64) {
        let skipped = self.unseen.min(len);
        self.unseen -= skipped;
        self.push_run(ZEROS, (len - skipped).div_ceil(GROUP_LEN));
    }

    /// The next bytes of a file, with the chaining values that they are verified by: those of the groups in which they lie,
    /// each as far as it has come. Where they begin inside a group, its value is said again, and the later one counts.
    pub fn block(&mut self, offset: u64, data: &[u8], cvs: &[Cv]) {
        let begun = usize::try_from(offset % GROUP_LEN).unwrap_or(0);
        let (first, rest) = data.split_at(data.len().min(GROUP - begun));
        let pieces = std::iter::once(first).chain(rest.chunks(GROUP));
        for (number, (bytes, cv)) in pieces.zip(cvs).enumerate() {
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            match &mut self.last {
                Some((last, was_zero)) if begun > 0 && number == 0 => {
                    (*last, *was_zero) = (*cv, *was_zero && is_zero);
                }
                _ => {
                    self.close();
                    self.last = Some((*cv, is_zero));
                }
            }
        }
    }

    fn close(&mut self) {
        if let Some((cv, is_zero)) = self.last.take() {
            self.push(if is_zero { ZEROS } else { cv });
        }
        if let Some((hasher, _, is_zero)) = self.open.take() {
            self.push(if is_zero { ZEROS } else { hasher.finalize_non_root() });
        }
    }

    fn push(&mut self, digest: Cv) {
        self.push_at(0, digest);
    }

    /// Many groups of which two are as one: a hole costs what its size has digits, and not what a peer says that it is long.
    fn push_run(&mut self, digest: Cv, mut groups: u64) {
        while let Some(most) = groups.checked_ilog2() {
            let level = self.groups.trailing_zeros().min(most).min(u32::from(self.level));
            self.push_at(u8::try_from(level).unwrap_or(0), digest);
            groups -= 1 << level;
        }
    }

    /// The digest of `1 << level` groups, of which no smaller ones are pending.
    fn push_at(&mut self, mut level: u8, mut digest: Cv) {
        self.groups += 1 << level;
        while level < self.level
            && let Some((_, left)) = self.pending.pop_if(|(pending, _)| *pending == level)
        {
            digest = join(left, digest);
            level += 1;
        }
        if level < self.level {
            return self.pending.push((level, digest));
        }
        if self.parts.len() == MAX_PARTS {
            // Parts of twice the size: this one waits for its other half.
            let pairs = self.parts.as_chunks::<2>().0.iter().map(|[left, right]| join(*left, *right));
            self.parts = pairs.collect();
            self.level += 1;
            return self.pending.push((level, digest));
        }
        self.parts.push(digest);
    }

    /// Keeps the print of what came with the file, which is about to get this metadata. Where that cannot be done nothing is
    /// known of the file later, and no more.
    pub(crate) fn keep(self, file: &File, size: u64, meta: &Metadata) {
        let modified = match meta.mtime {
            Some(seconds) => Ok((seconds, meta.mtime_ns.unwrap_or(0))),
            None => file.metadata().map(|meta| modified(&meta)),
        };
        let kept = modified.and_then(|modified| {
            let print = self.finish(size, modified).encode();
            Ok(rustix::fs::fsetxattr(file, NAME, &print, XattrFlags::empty())?)
        });
        if let Err(error) = kept {
            tracing::debug!(%error, "no print is kept");
        }
    }

    /// The print of what came: so many bytes, written to last at this time (seconds and nanoseconds).
    pub fn finish(mut self, size: u64, modified: (i64, u32)) -> Print {
        self.close();
        let rest = self.pending.iter().rev().map(|(_, digest)| *digest);
        self.parts.extend(rest.reduce(|right, left| join(left, right)));
        Print { size, modified, level: self.level, parts: self.parts }
    }
}

/// When a file was written to last, in seconds and nanoseconds.
fn modified(meta: &std::fs::Metadata) -> (i64, u32) {
    (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0))
}

impl Print {
    /// The print of a file, if one is kept.
    pub(crate) fn of(file: impl AsFd) -> Option<Self> {
        let mut bytes = vec![0; 4096];
        let len = rustix::fs::fgetxattr(file, NAME, &mut bytes).ok()?;
        Self::decode(bytes.get(..len)?)
    }

    /// As it is kept.
    pub fn encode(&self) -> Vec<u8> {
        let (seconds, nanoseconds) = self.modified;
        let mut out = vec![VERSION, self.level];
        out.extend(self.size.to_be_bytes());
        out.extend(seconds.to_be_bytes());
        out.extend(nanoseconds.to_be_bytes());
        out.extend(self.parts.as_flattened());
        out
    }

    /// Reads what [`Print::encode`] wrote; `None` when it is something else, or of another level than a file of that size
    /// gets.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([VERSION, level], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (seconds, rest) = rest.split_first_chunk::<8>()?;
        let (nanoseconds, rest) = rest.split_first_chunk::<4>()?;
        let (size, nanoseconds) = (u64::from_be_bytes(*size), u32::from_be_bytes(*nanoseconds));
        let modified = (i64::from_be_bytes(*seconds), nanoseconds);
        let (parts, []) = rest.as_chunks::<32>() else { return None };
        let print = Self { size, modified, level: *level, parts: parts.to_vec() };
        let is_made = *level == level_of(size.div_ceil(GROUP_LEN));
        (is_made && parts.len() as u64 == size.div_ceil(print.part_len())).then_some(print)
    }

    /// The bytes of a part.
    fn part_len(&self) -> u64 {
        GROUP_LEN << self.level
    }
}

/// The level of a print of so many groups: the smallest at which no more than 64 parts are whole.
fn level_of(groups: u64) -> u8 {
    let fits = |level: &u8| groups >> level <= MAX_PARTS as u64;
    (0..48).find(fits).unwrap_or(u8::MAX)
}

/// Two neighbours as one.
fn join(left: Cv, right: Cv) -> Cv {
    match (left, right) {
        (UNSEEN, _) | (_, UNSEEN) => UNSEEN,
        (ZEROS, ZEROS) => ZEROS,
        (left, right) => *Hasher::new().update(&left).update(&right).finalize().as_bytes(),
    }
}

#[cfg(test)]
mod tests;
