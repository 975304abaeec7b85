//! The same walk in two halves: listed ahead, and read where something is wanted.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use hikyaku_wire::bundle::{HardLink, Leave, LeftOut, Reason, Symlink};
use hikyaku_wire::parcel::{Metadata, Root};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::level::{Kind, Level};
use super::regular::Regular;
use super::{Links, Pick, WalkOptions, fits, metadata, open_at, pick, reason};
use crate::attributes::{carried, comparable, digest};
use crate::bundle::Writer;
use crate::error::Result;
use crate::sift::{Branches, Entry, ListedFile};
use crate::tree::GROUP;

type Tops = Arc<[(Vec<u8>, PathBuf)]>;

/// Directories, listed and read.
pub(crate) struct WalkBranches {
    tops: Tops,
    options: WalkOptions,
    /// Whether files are listed with their roots.
    roots: bool,
    /// Where the listing stands.
    listing: Vec<Level>,
    /// What is listed and was not asked for yet.
    listed: VecDeque<Entry>,
    links: Links,
    /// Where the reading stands; none for a directory that is gone.
    reading: Vec<Option<OwnedFd>>,
    file: Option<Regular>,
}

impl WalkBranches {
    pub(crate) fn new(tops: Tops, options: WalkOptions, roots: bool) -> Self {
        let listing = vec![Level::tops(&tops)];
        let (links, listed, reading) = (Links::default(), VecDeque::new(), Vec::new());
        Self { tops, options, roots, listing, listed, links, reading, file: None }
    }

    /// A directory is listed when something in it is, or at once.
    fn descend(&mut self, name: &[u8], is_waiting: bool) -> Result<(), Reason> {
        let level = self.listing.last().ok_or(Reason::VANISHED)?;
        let mut inner = level.open_dir(&self.tops, name).map_err(reason)?;
        inner.wait();
        self.listing.push(inner);
        if !is_waiting {
            self.list_waiting();
        }
        Ok(())
    }

    fn list_waiting(&mut self) {
        for level in self.listing.iter_mut().filter(|level| level.is_waiting()) {
            level.stop_waiting();
            self.listed.push_back(Entry::Enter(level.name().to_vec()));
        }
    }

    fn entry(&mut self, name: &[u8], kind: Kind) -> Result<Entry, Reason> {
        let level = self.listing.last().ok_or(Reason::VANISHED)?;
        match kind {
            Kind::Regular => self.regular(name),
            Kind::Link => {
                let (target, stat) = level.read_link(&self.tops, name).map_err(reason)?;
                if target.is_empty() || target.len() > hikyaku_wire::bundle::MAX_LINK {
                    return Err(Reason::LIMIT);
                }
                let meta = Some(Metadata { mode: None, ..metadata(&stat) });
                Ok(Entry::Symlink(Symlink { name: name.to_vec(), target, meta }))
            }
            Kind::Directory | Kind::Special => Err(Reason::SPECIAL),
        }
    }

    fn regular(&mut self, name: &[u8]) -> Result<Entry, Reason> {
        let level = self.listing.last().ok_or(Reason::VANISHED)?;
        let stat = level.stat(&self.tops, name).map_err(reason)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Reason::CHANGED);
        }
        let links = stat.st_nlink > 1;
        if links {
            if let Some(first) = self.links.first(&stat) {
                return Ok(Entry::HardLink(HardLink { name: name.to_vec(), to: first.to_vec() }));
            }
            self.links.remember(&stat, &self.listing, name);
        }
        let root = match self.roots {
            true => Some(root_of(level.open_file(&self.tops, name).map_err(reason)?)?),
            false => None,
        };
        let read = || comparable(level.open_file(&self.tops, name).ok()?);
        let attributes = self.options.attributes.then(read).flatten().map(|attributes| digest(&attributes));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (name, meta) = (name.to_vec(), metadata(&stat));
        Ok(Entry::File(ListedFile { name, size, meta, links, root, attributes, place: 0 }))
    }

    /// A directory or file below the directory that is being read.
    fn open(&self, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        use std::os::unix::ffi::OsStrExt;
        match self.reading.last() {
            Some(Some(dir)) => open_at(Some(dir), std::ffi::OsStr::from_bytes(name), flags),
            Some(None) => Err(Errno::NOENT),
            None => {
                let top = self.tops.iter().find(|(top, _)| top == name).ok_or(Errno::NOENT)?;
                open_at(None, top.1.as_os_str(), flags)
            }
        }
    }
}

impl Branches for WalkBranches {
    fn list(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.listed.pop_front() {
                return Ok(Some(entry));
            }
            let Some(level) = self.listing.last_mut() else { return Ok(None) };
            let Some((name, kind)) = level.next() else {
                let left = self.listing.pop();
                if left.is_some_and(|left| !left.is_waiting()) && !self.listing.is_empty() {
                    return Ok(Some(Entry::Leave));
                }
                continue;
            };
            let entry = match pick(&self.options, &self.listing, &name, kind) {
                Pick::Leave => continue,
                _ if !fits(&self.listing, &name) => Err(Reason::LIMIT),
                picked if kind == Kind::Directory => match self.descend(&name, picked == Pick::Through) {
                    Ok(()) => continue,
                    Err(reason) => Err(reason),
                },
                _ => self.entry(&name, kind),
            };
            self.list_waiting();
            let entry = entry.unwrap_or_else(|reason| Entry::LeftOut(LeftOut { name, reason }));
            self.listed.push_back(entry);
        }
    }

    fn enter(&mut self, name: &[u8]) {
        let dir = self.open(name, OFlags::DIRECTORY).ok();
        self.reading.push(dir);
    }

    fn leave(&mut self) -> Leave {
        let Some(Some(dir)) = self.reading.pop() else { return Leave::default() };
        let meta = rustix::fs::fstat(&dir).ok().map(|stat| metadata(&stat));
        let attributes = self.options.attributes.then(|| carried(&dir)).flatten();
        Leave { meta, attributes }
    }

    fn begin(&mut self, listed: &ListedFile, from: u64, writer: &mut Writer) -> Result<Result<(), Reason>> {
        let begun = self.open(&listed.name, OFlags::NONBLOCK).map_err(reason).and_then(|file| {
            let stat = rustix::fs::fstat(&file).map_err(reason)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Reason::CHANGED);
            }
            let mut file = Regular::new(file, &stat, &listed.name, self.options.attributes);
            // What changed since it was listed is sent as it is now, from its beginning.
            if file.size() == listed.size && metadata(&stat) == listed.meta {
                file.skip_to(from);
            }
            file.begin(writer);
            Ok(file)
        });
        Ok(begun.map(|file| self.file = Some(file)))
    }

    fn step(&mut self, writer: &mut Writer) -> Result<Option<Result<u64, Reason>>> {
        let Some(file) = &mut self.file else { return Ok(Some(Err(Reason::UNREADABLE))) };
        let Some(end) = file.step(writer) else { return Ok(None) };
        let size = file.size();
        self.file = None;
        Ok(Some(end.map(|()| size)))
    }
}

/// The BLAKE3 hash of a file's content.
fn root_of(file: OwnedFd) -> Result<Root, Reason> {
    let file = std::fs::File::from(file);
    crate::tree::hash_file(&file, 8 * GROUP).map_err(|_| Reason::UNREADABLE)
}
