//! Are files still what they were when they were received?

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};

use super::{Print, Prints, UNSEEN};
use crate::compare::{Comparison, Difference, MAX_NAMED};
use crate::names::OWN_PREFIX;
use crate::tree::{Cv, GROUP, GROUP_LEN};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Of the files that have a print.
    pub comparison: Comparison,
    /// How many files have none: nothing is known of them.
    pub unknown: u64,
    /// How many bytes of the others no print covers.
    pub unseen: u64,
}

/// Compares a file, or every file below a directory, with its print. Links are not followed.
///
/// # Errors
/// A directory cannot be read.
pub fn check(path: &Path) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut todo = vec![path.to_owned()];
    while let Some(at) = todo.pop() {
        let meta = at.symlink_metadata()?;
        if meta.is_dir() {
            let mut inner = std::fs::read_dir(&at)?.collect::<io::Result<Vec<_>>>()?;
            inner.retain(|entry| !(at == path && entry.file_name().as_bytes().starts_with(OWN_PREFIX)));
            inner.sort_by_key(std::fs::DirEntry::file_name);
            todo.extend(inner.iter().rev().map(std::fs::DirEntry::path));
        } else if meta.is_file() {
            let shown = at.strip_prefix(path).ok().filter(|rest| !rest.as_os_str().is_empty());
            let shown = shown.unwrap_or(&at).as_os_str().as_bytes().to_vec();
            checked.file(&at, &shown);
        }
    }
    Ok(checked)
}

impl Checked {
    fn file(&mut self, at: &Path, shown: &[u8]) {
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(at);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return self.tell(shown, Difference::Unreadable(error.to_string())),
        };
        let Some(print) = Print::of(&file) else {
            self.unknown += 1;
            return;
        };
        self.comparison.entries += 1;
        if let Err(error) = self.compare(&file, &print, shown) {
            self.tell(shown, Difference::Unreadable(error.to_string()));
        }
    }

    fn compare(&mut self, file: &File, print: &Print, shown: &[u8]) -> io::Result<()> {
        let meta = file.metadata()?;
        // Whoever writes to a file changes its time; what decays does not.
        if print.modified != super::modified(&meta) {
            self.tell(shown, Difference::Time);
            return Ok(());
        }
        if meta.len() != print.size {
            self.tell(shown, Difference::Size { wanted: print.size, found: meta.len() });
            return Ok(());
        }
        self.comparison.bytes += print.size;
        let mut run: Option<std::ops::Range<u64>> = None;
        for (number, wanted) in (0_u64..).zip(&print.parts) {
            let begin = number * print.part_len();
            let end = (begin + print.part_len()).min(print.size);
            if *wanted == UNSEEN {
                self.unseen += end - begin;
                continue;
            }
            if part(file, begin, end)? == *wanted {
                continue;
            }
            match &mut run {
                Some(run) if run.end == begin => run.end = end,
                run => {
                    if let Some(run) = run.replace(begin..end) {
                        self.tell(shown, Difference::Within(run));
                    }
                }
            }
        }
        if let Some(run) = run {
            self.tell(shown, Difference::Within(run));
        }
        Ok(())
    }

    fn tell(&mut self, shown: &[u8], difference: Difference) {
        let comparison = &mut self.comparison;
        let count = if difference.is_metadata() { &mut comparison.touched } else { &mut comparison.damaged };
        *count += 1;
        if comparison.differences.len() < MAX_NAMED {
            comparison.differences.push((shown.to_vec(), difference));
        }
    }
}

/// The digest of a part as it is now. What the file system knows to be a hole is not read.
fn part(file: &File, begin: u64, end: u64) -> io::Result<Cv> {
    let mut prints = Prints { groups: begin / GROUP_LEN, level: 47, ..Prints::default() };
    let (mut at, mut buffer) = (begin, vec![0; GROUP]);
    while at < end {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(end),
            Err(rustix::io::Errno::NXIO) => end,
            Err(_) => at,
        };
        let hole = if data >= end { end - at } else { data - data % GROUP_LEN - at };
        prints.zeros(hole);
        at += hole;
        if at < end {
            let count = usize::try_from(end - at).unwrap_or(GROUP).min(GROUP);
            let bytes = buffer.get_mut(..count).unwrap_or_default();
            file.read_exact_at(bytes, at)?;
            prints.update(bytes);
            at += count as u64;
        }
    }
    prints.close();
    let whole = prints.pending.iter().rev().map(|(_, digest)| *digest);
    Ok(whole.reduce(|right, left| super::join(left, right)).unwrap_or(super::ZEROS))
}
