//! A parcel beside what is on the disk: what differs, in which file, and where.
//!
//! The bytes of the parcel come as they are verified; what is on the disk is read and never written, through handles
//! that follow no link. Of content every byte is compared; of a tree also kinds, modes, times and the targets of links.

mod root;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::bundle::Leave;
use hikyaku_wire::files::Head;
use hikyaku_wire::parcel::{EntryKind, Metadata};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::bundle::{Item, Reader};
use crate::jail::{Dir, Found};
use crate::names::{Dots, SafeName};
use crate::vault::read_at;

pub use root::{Rooted, root_of_file, root_of_tree};

/// The most differences that are named; the rest is counted.
pub(crate) const MAX_NAMED: usize = 1_000;
/// What is read at once.
const PIECE: usize = 64 * 1024;

/// How something on the disk differs from the parcel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is something else: a link, a directory, a file.
    #[error("another kind of thing")]
    Kind,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Its size differs.
    #[error("{found} bytes instead of {wanted}")]
    Size {
        /// In the parcel.
        wanted: u64,
        /// On the disk.
        found: u64,
    },
    /// These bytes differ.
    #[error("bytes {} to {} differ", .0.start, .0.end.saturating_sub(1))]
    Bytes(Range<u64>),
    /// Somewhere in these bytes something differs.
    #[error("bytes {} to {} are not what they were: something in them differs", .0.start, .0.end.saturating_sub(1))]
    Within(Range<u64>),
    /// The target of a link differs.
    #[error("the link leads elsewhere")]
    Target,
    /// The permission bits differ.
    #[error("mode {found:03o} instead of {wanted:03o}")]
    Mode {
        /// In the parcel.
        wanted: u32,
        /// On the disk.
        found: u32,
    },
    /// The time of modification differs.
    #[error("another time of modification")]
    Time,
}

impl Difference {
    /// Whether only what is known about the content differs, and not the content.
    pub fn is_metadata(&self) -> bool {
        matches!(self, Self::Mode { .. } | Self::Time)
    }
}

/// What was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What differs: the path from the top, and how; the first thousand.
    pub differences: Vec<(Vec<u8>, Difference)>,
    /// How many differ in content or are missing.
    pub damaged: u64,
    /// How many differ in mode or time alone.
    pub touched: u64,
    /// Files, directories and links that were compared.
    pub entries: u64,
    /// Bytes of files that were compared.
    pub bytes: u64,
}

/// Compares a parcel, as its bytes come.
#[derive(Debug)]
pub struct Comparer {
    /// The file to compare with, or the directory that the tree lies in.
    at: std::path::PathBuf,
    tree: Option<Reader>,
    /// Directories that are open: `None` where there is none on the disk.
    stack: Vec<(Vec<u8>, Option<Dir>)>,
    open: Option<Open>,
    comparison: Comparison,
}

/// A file that is being compared.
#[derive(Debug)]
struct Open {
    name: Vec<u8>,
    /// `None` when a difference was told already.
    file: Option<File>,
    at: u64,
    meta: Option<Metadata>,
    /// Bytes that differ and are not told yet.
    run: Option<Range<u64>>,
    damaged: bool,
}

impl Comparer {
    /// Compares with a file, or with what lies in a directory under the parcel's own names.
    pub fn new(at: &Path) -> Self {
        let comparison = Comparison::default();
        Self { at: at.to_owned(), tree: None, stack: Vec::new(), open: None, comparison }
    }

    /// Takes the next bytes of the parcel.
    ///
    /// # Errors
    /// The bytes of a tree are not a bundle, or the directory cannot be opened.
    pub fn take(&mut self, head: &Head, mut bytes: &[u8]) -> io::Result<()> {
        if head.kind != EntryKind::Tree {
            if self.open.is_none() {
                self.open_alone(head)?;
            }
            self.content(bytes);
            return Ok(());
        }
        if self.stack.is_empty() {
            self.stack.push((Vec::new(), Some(Dir::open(&self.at)?)));
        }
        let mut reader = self.tree.take().unwrap_or_else(|| Reader::new(Dots::Allowed));
        while let Some(item) = reader.next(&mut bytes).map_err(io::Error::other)? {
            self.item(item);
        }
        self.tree = Some(reader);
        Ok(())
    }

    /// Where the comparison is: the path, and how far in that file.
    pub fn place(&self) -> Option<(Vec<u8>, u64)> {
        let open = self.open.as_ref()?;
        Some((self.path(&open.name), open.at))
    }

    /// What differs, once all bytes came. An empty file alone has none.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn finish(mut self, head: &Head) -> io::Result<Comparison> {
        if head.kind != EntryKind::Tree {
            if self.open.is_none() {
                self.open_alone(head)?;
            }
            self.end();
        }
        Ok(self.comparison)
    }

    /// A file that is no part of a tree: the one that was named, or the one of its name in a directory.
    fn open_alone(&mut self, head: &Head) -> io::Result<()> {
        let at = if self.at.is_dir() {
            let name = SafeName::parse(&head.name, Dots::Allowed).map_err(io::Error::other)?;
            self.at.join(name.as_os_str())
        } else {
            self.at.clone()
        };
        let size = head.size.unwrap_or(0);
        let file = match File::open(&at) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.begin(&head.name, size, head.meta, file.ok_or(Difference::Missing));
        Ok(())
    }

    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Enter(name) => self.enter(&name),
            Item::Leave(leave) => self.leave(&leave),
            Item::File(name, head) => {
                let found = self.find_file(&name);
                self.begin(name.as_bytes(), head.size, head.meta, found);
            }
            Item::Bytes(bytes) => self.content(bytes),
            Item::Hole(len) => self.hole(len),
            Item::End(end) if end.failed.is_some() => self.open = None,
            Item::End(_) => self.end(),
            Item::Symlink(name, link) => {
                self.comparison.entries += 1;
                let found = self.read_link(&name);
                if found.as_ref() != Ok(&link.target) {
                    self.tell(name.as_bytes(), found.err().unwrap_or(Difference::Target));
                }
            }
            Item::HardLink(name, _) => {
                self.comparison.entries += 1;
                if let Err(difference) = self.find_file(&name) {
                    self.tell(name.as_bytes(), difference);
                }
            }
            Item::LeftOut(..) | Item::Kept(_) | Item::Unknown(_) | Item::Done(_) => {}
        }
    }

    fn enter(&mut self, name: &SafeName) {
        self.comparison.entries += 1;
        let found = match self.dir() {
            None => Ok(None),
            Some(dir) => match dir.find(name) {
                Ok(None) => Err(Difference::Missing),
                Ok(Some(Found::Directory)) => {
                    dir.open_child(name).map(Some).map_err(|error| unreadable(&error))
                }
                Ok(Some(_)) => Err(Difference::Kind),
                Err(error) => Err(unreadable(&error)),
            },
        };
        let inner = match found {
            Ok(inner) => inner,
            Err(difference) => {
                self.tell(name.as_bytes(), difference);
                None
            }
        };
        self.stack.push((name.as_bytes().to_vec(), inner));
    }

    fn leave(&mut self, leave: &Leave) {
        let Some((name, dir)) = self.stack.pop() else { return };
        if let (Some(dir), Some(meta)) = (dir, leave.meta)
            && let Ok(found) = dir.metadata()
        {
            self.compare_metadata(&name, &meta, &found);
        }
    }

    /// The file of this name in the innermost directory.
    fn find_file(&self, name: &SafeName) -> Result<File, Difference> {
        let Some(dir) = self.dir() else { return Err(Difference::Missing) };
        match dir.find(name) {
            Ok(None) => Err(Difference::Missing),
            Ok(Some(Found::File { .. })) => match dir.open_file(name, false) {
                Ok(Some(file)) => Ok(file),
                Ok(None) => Err(Difference::Missing),
                Err(error) => Err(unreadable(&error)),
            },
            Ok(Some(_)) => Err(Difference::Kind),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn read_link(&self, name: &SafeName) -> Result<Vec<u8>, Difference> {
        let Some(dir) = self.dir() else { return Err(Difference::Missing) };
        match rustix::fs::readlinkat(dir.as_fd(), name.as_os_str(), Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::NOENT) => Err(Difference::Missing),
            Err(Errno::INVAL) => Err(Difference::Kind),
            Err(error) => Err(unreadable(&error.into())),
        }
    }

    fn begin(&mut self, name: &[u8], size: u64, meta: Option<Metadata>, file: Result<File, Difference>) {
        self.comparison.entries += 1;
        let (name, found) = (name.to_vec(), file.as_ref().ok().and_then(|file| file.metadata().ok()));
        let mut open = Open { name, file: None, at: 0, meta, run: None, damaged: false };
        match file {
            Ok(file) => open.file = Some(file),
            Err(difference) => {
                open.damaged = true;
                self.tell(&open.name, difference);
            }
        }
        if let Some(found) = found.filter(|found| found.len() != size) {
            open.damaged = true;
            self.tell(&open.name, Difference::Size { wanted: size, found: found.len() });
        }
        self.open = Some(open);
    }

    fn content(&mut self, bytes: &[u8]) {
        let mut buffer = [0; PIECE];
        for piece in bytes.chunks(PIECE) {
            let Some(open) = &mut self.open else { return };
            let at = open.at;
            open.at += piece.len() as u64;
            self.comparison.bytes += piece.len() as u64;
            let Some(file) = &open.file else { continue };
            let found = buffer.get_mut(..piece.len()).unwrap_or_default();
            match read_at(file, at, found) {
                // What is behind the end on the disk is told by the size.
                Ok(read) => self.compare(at, piece.get(..read).unwrap_or_default(), &buffer),
                Err(error) => self.broken(&error),
            }
        }
    }

    /// Zeros are wanted; what the file system knows to be a hole need not be read.
    fn hole(&mut self, len: u64) {
        let mut buffer = [0; PIECE];
        let Some(open) = &mut self.open else { return };
        let (mut at, end) = (open.at, open.at + len);
        open.at = end;
        self.comparison.bytes += len;
        while at < end {
            let Some(file) = self.open.as_ref().and_then(|open| open.file.as_ref()) else { return };
            at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => return,
                Err(_) => at,
            };
            if at >= end {
                return;
            }
            let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            match read_at(file, at, buffer.get_mut(..want).unwrap_or_default()) {
                Ok(0) => return,
                Ok(read) => {
                    self.compare(at, [0; PIECE].get(..read).unwrap_or_default(), &buffer);
                    at += read as u64;
                }
                Err(error) => return self.broken(&error),
            }
        }
    }

    /// Compares what is wanted at an offset with the beginning of what was found there.
    fn compare(&mut self, at: u64, wanted: &[u8], found: &[u8]) {
        let Some(open) = &mut self.open else { return };
        let found = found.get(..wanted.len()).unwrap_or_default();
        if wanted == found {
            return;
        }
        let differ = |(wanted, found): (&u8, &u8)| wanted != found;
        let first = wanted.iter().zip(found).position(differ).unwrap_or(0) as u64;
        let last = wanted.iter().zip(found).rposition(differ).unwrap_or(0) as u64;
        let run = at + first..at + last + 1;
        let told = match &mut open.run {
            // One run through neighbouring pieces is one difference.
            Some(before) if before.end + PIECE as u64 >= run.start => {
                before.end = run.end;
                None
            }
            before => before.replace(run),
        };
        open.damaged = true;
        let name = open.name.clone();
        if let Some(run) = told {
            self.tell(&name, Difference::Bytes(run));
        }
    }

    fn broken(&mut self, error: &VaultError) {
        let Some(open) = &mut self.open else { return };
        (open.file, open.damaged) = (None, true);
        let name = open.name.clone();
        self.tell(&name, Difference::Unreadable(error.to_string()));
    }

    fn end(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if let Some(run) = open.run.take() {
            self.tell(&open.name, Difference::Bytes(run));
        }
        if let (false, Some(file), Some(meta)) = (open.damaged, &open.file, &open.meta)
            && let Ok(stat) = rustix::fs::fstat(file.as_fd())
        {
            self.compare_metadata(&open.name, meta, &crate::walk::metadata(&stat));
        }
    }

    fn compare_metadata(&mut self, name: &[u8], wanted: &Metadata, found: &Metadata) {
        if let (Some(wanted), Some(found)) = (wanted.mode, found.mode)
            && wanted & 0o777 != found & 0o777
        {
            self.tell(name, Difference::Mode { wanted: wanted & 0o777, found: found & 0o777 });
        }
        let time = |meta: &Metadata| meta.mtime.map(|seconds| (seconds, meta.mtime_ns.unwrap_or(0)));
        if time(wanted).is_some() && time(wanted) != time(found) {
            self.tell(name, Difference::Time);
        }
    }

    fn tell(&mut self, name: &[u8], difference: Difference) {
        // Below what is missing nothing more is told.
        if !self.stack.is_empty() && self.dir().is_none() {
            return;
        }
        let count = if difference.is_metadata() {
            &mut self.comparison.touched
        } else {
            &mut self.comparison.damaged
        };
        *count += 1;
        if self.comparison.differences.len() < MAX_NAMED {
            let path = self.path(name);
            self.comparison.differences.push((path, difference));
        }
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        let names: Vec<&[u8]> =
            self.stack.iter().skip(1).map(|(name, _)| name.as_slice()).chain([name]).collect();
        names.join(&b'/')
    }

    fn dir(&self) -> Option<&Dir> {
        self.stack.last().and_then(|(_, dir)| dir.as_ref())
    }
}

fn unreadable(error: &io::Error) -> Difference {
    Difference::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests;
