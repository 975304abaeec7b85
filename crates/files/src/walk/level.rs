//! One directory of a walk: its handle and the names that are still to come, sorted.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::{open_at, stat_at};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Regular,
    Link,
    Special,
}

impl Kind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::Regular,
            FileType::Symlink => Self::Link,
            _ => Self::Special,
        }
    }
}

/// A directory, or the tops of the whole tree.
pub(super) struct Level {
    /// None: the tops, whose paths the user named.
    dir: Option<OwnedFd>,
    name: Vec<u8>,
    /// The names one behind the other, in no order: a directory may have a million.
    names: Vec<u8>,
    /// Where each name is, and what it is, sorted by name.
    entries: Vec<(u32, u16, Kind)>,
    next: usize,
    /// It is written when something in it is.
    waiting: bool,
}

impl Level {
    fn new(name: Vec<u8>) -> Self {
        Self { dir: None, name, names: Vec::new(), entries: Vec::new(), next: 0, waiting: false }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    pub(super) fn wait(&mut self) {
        self.waiting = true;
    }

    pub(super) fn stop_waiting(&mut self) {
        self.waiting = false;
    }

    pub(super) fn tops(tops: &[(Vec<u8>, PathBuf)]) -> Self {
        let mut level = Self::new(Vec::new());
        for (name, path) in tops {
            let kind =
                stat_at(None, path.as_os_str()).map(|stat| Kind::of(FileType::from_raw_mode(stat.st_mode)));
            level.push(name, kind.unwrap_or(Kind::Regular));
        }
        level.sort();
        level
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn dir(&self) -> Option<&OwnedFd> {
        self.dir.as_ref()
    }

    /// The next name.
    pub(super) fn next(&mut self) -> Option<(Vec<u8>, Kind)> {
        let (name, kind) = self.at(self.next)?;
        let entry = (name.to_vec(), kind);
        self.next += 1;
        Some(entry)
    }

    /// The last name that was given out.
    pub(super) fn passed(&self) -> Option<&[u8]> {
        self.at(self.next.checked_sub(1)?).map(|(name, _)| name)
    }

    /// Goes on behind a name, which need not exist any more.
    pub(super) fn pass(&mut self, name: &[u8]) {
        let names = &self.names;
        self.next = self.entries.partition_point(|entry| slice(names, entry) <= name);
    }

    pub(super) fn open_dir(&self, tops: &[(Vec<u8>, PathBuf)], name: &[u8]) -> rustix::io::Result<Self> {
        let dir = open_at(self.dir.as_ref(), self.path(tops, name)?, OFlags::DIRECTORY)?;
        let mut level = Self::new(name.to_vec());
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = rustix::fs::RawDir::new(&dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match stat_at(Some(&dir), OsStr::from_bytes(name)) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                kind => kind,
            };
            level.push(name, Kind::of(kind));
        }
        level.sort();
        level.dir = Some(dir);
        Ok(level)
    }

    pub(super) fn open_file(&self, tops: &[(Vec<u8>, PathBuf)], name: &[u8]) -> rustix::io::Result<OwnedFd> {
        // Without NONBLOCK, a FIFO that took the file's place would wait for ever.
        open_at(self.dir.as_ref(), self.path(tops, name)?, OFlags::NONBLOCK)
    }

    pub(super) fn stat(&self, tops: &[(Vec<u8>, PathBuf)], name: &[u8]) -> rustix::io::Result<Stat> {
        stat_at(self.dir.as_ref(), self.path(tops, name)?)
    }

    pub(super) fn read_link(
        &self,
        tops: &[(Vec<u8>, PathBuf)],
        name: &[u8],
    ) -> rustix::io::Result<(Vec<u8>, Stat)> {
        let path = self.path(tops, name)?;
        let target = match &self.dir {
            Some(dir) => rustix::fs::readlinkat(dir, path, Vec::new())?,
            None => rustix::fs::readlinkat(rustix::fs::CWD, path, Vec::new())?,
        };
        Ok((target.into_bytes(), self.stat(tops, name)?))
    }

    /// What a name is opened by: itself in its directory, or the path that the user gave for a top.
    fn path<'a>(&self, tops: &'a [(Vec<u8>, PathBuf)], name: &'a [u8]) -> rustix::io::Result<&'a OsStr> {
        if self.dir.is_some() {
            return Ok(OsStr::from_bytes(name));
        }
        let top = tops.iter().find(|(top, _)| top == name).ok_or(Errno::NOENT)?;
        Ok(top.1.as_os_str())
    }

    fn push(&mut self, name: &[u8], kind: Kind) {
        // A directory of 4 GiB of names does not exist; should it, the rest is not seen.
        let (Ok(start), Ok(len)) = (u32::try_from(self.names.len()), u16::try_from(name.len())) else {
            return;
        };
        self.names.extend_from_slice(name);
        self.entries.push((start, len, kind));
    }

    fn sort(&mut self) {
        let names = &self.names;
        self.entries.sort_unstable_by(|left, right| slice(names, left).cmp(slice(names, right)));
    }

    fn at(&self, index: usize) -> Option<(&[u8], Kind)> {
        let entry = self.entries.get(index)?;
        Some((slice(&self.names, entry), entry.2))
    }
}

fn slice<'a>(names: &'a [u8], (start, len, _): &(u32, u16, Kind)) -> &'a [u8] {
    let start = *start as usize;
    names.get(start..start + usize::from(*len)).unwrap_or_default()
}
