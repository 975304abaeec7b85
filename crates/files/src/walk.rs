//! The walk: a directory tree as a bundle, read while it is sent.
//!
//! Nothing is listed, hashed or packed beforehand: a directory is opened when its turn comes, and its names are sorted
//! then. What can be said of a source that fails or changes is said in the bundle, for that entry alone. `Place` is
//! where the walk stood at the beginning of a record; from there it can be walked on, in another process too.
//! Links are never followed. Spec: section 5.6.

mod branches;
mod level;
mod regular;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use hikyaku_wire::bundle::{Done, Enter, HardLink, Leave, LeftOut, Reason, Symlink};
use hikyaku_wire::files::Component;
use hikyaku_wire::parcel::Metadata;
use minicbor::{Decode, Encode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes::carried;
use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::names::{MAX_DEPTH, MAX_PATH, escape};
use crate::progress::{Passing, Progress};
pub(crate) use branches::WalkBranches;
use level::{Kind, Level};
use regular::Regular;

/// Directories that are open at once are at most this deep; a bundle carries no deeper ones.
const MAX_LINKED: usize = 100_000;
/// The most troubles that are told one by one.
const MAX_TROUBLES: usize = 1_000;

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It is carried.
    Carry,
    /// A directory that is carried only if something in it is.
    Through,
    /// It is not carried, nor is anything in it.
    Leave,
}

/// Decides what is carried: the path from the top, and whether it is a directory.
pub type Filter = Arc<dyn Fn(&std::path::Path, bool) -> Pick + Send + Sync>;

/// How a tree is walked.
#[derive(Clone, Default)]
pub struct WalkOptions {
    /// What is carried; everything when there is none.
    pub filter: Option<Filter>,
    /// What tells this filter from others: a transfer is gone on with only by one that has the same.
    pub filter_key: Vec<u8>,
    /// Whether extended attributes are carried.
    pub attributes: bool,
}

/// Something that was not carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its path from the top, as bytes.
    pub path: Vec<u8>,
    /// Why.
    pub reason: Reason,
}

/// Where a walk stands: at the beginning of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Place {
    /// The offset of that record in the bundle.
    #[n(0)]
    pub(crate) offset: u64,
    /// The open directories, from the top.
    #[n(1)]
    path: Vec<Component>,
    /// The last name that was dealt with in the innermost one.
    #[n(2)]
    last: Option<Component>,
    #[n(3)]
    file: Option<regular::PlaceInFile>,
    #[n(4)]
    done: Done,
    /// Whether files with several names were seen.
    #[n(5)]
    linked: bool,
    /// How many of the innermost directories are written only when something in them is.
    #[n(6)]
    waiting: Option<u32>,
}

/// The tops of a tree in the order of their names, and everything that is known on the way.
pub(crate) struct Walk {
    writer: Writer,
    /// The bundle's offset of the first byte that the writer holds.
    taken: u64,
    tops: Arc<[(Vec<u8>, PathBuf)]>,
    options: WalkOptions,
    stack: Vec<Level>,
    file: Option<Regular>,
    links: Links,
    linked: bool,
    done: Done,
    finished: bool,
    troubles: Vec<Trouble>,
    /// Who is told of every file.
    observer: Option<Progress>,
}

impl Walk {
    /// A walk from the beginning.
    pub(crate) fn new(tops: Arc<[(Vec<u8>, PathBuf)]>, options: WalkOptions) -> Self {
        let stack = vec![Level::tops(&tops)];
        Self {
            writer: Writer::default(),
            taken: 0,
            tops,
            options,
            stack,
            file: None,
            links: Links::default(),
            linked: false,
            done: Done::default(),
            finished: false,
            troubles: Vec::new(),
            observer: None,
        }
    }

    /// Tells somebody of every file from now on.
    pub(crate) fn observe(&mut self, progress: &Progress) {
        self.observer.get_or_insert_with(|| progress.clone());
    }

    fn tell(&self, name: &[u8], size: u64, end: Option<Result<(), Reason>>) {
        let Some(progress) = &self.observer else { return };
        let path = self.path_of(name);
        let offset = self.taken + self.writer.written().len() as u64;
        progress.passing(
            offset,
            match end {
                None => Passing::Begins { path: &path, size },
                Some(end) => Passing::Passed { path: &path, size, failed: end.err() },
            },
        );
    }

    /// A walk that goes on at a place of [`Walk::place`].
    pub(crate) fn resume(
        tops: Arc<[(Vec<u8>, PathBuf)]>,
        options: WalkOptions,
        place: &Place,
    ) -> Result<Self> {
        let mut walk = Self::new(tops, options);
        if place.linked {
            walk.relink(place)?;
        }
        let mut names = place.path.iter().chain(&place.last);
        // Every name but the last is a directory that is open.
        for _ in 0..place.path.len() {
            let Some(name) = names.next() else { break };
            let changed = || FilesError::SourceChanged("a directory that was being sent is gone");
            let level = walk.stack.last_mut().ok_or_else(changed)?;
            level.pass(&name.0);
            let inner = level.open_dir(&walk.tops, &name.0).map_err(|_| changed())?;
            walk.stack.push(inner);
        }
        let waiting = place.waiting.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        walk.stack.iter_mut().skip(1).rev().take(waiting).for_each(Level::wait);
        if let (Some(last), Some(level)) = (&place.last, walk.stack.last_mut()) {
            level.pass(&last.0);
        }
        if let Some(file) = &place.file {
            let level = walk.stack.last_mut().ok_or(FilesError::SourceChanged("its directory is gone"))?;
            level.pass(file.name());
            let opened = level.open_file(&walk.tops, file.name());
            let opened =
                opened.map_err(|_| FilesError::SourceChanged("a file that was being sent is gone"))?;
            walk.file = Some(Regular::resume(opened, file)?);
        }
        (walk.done, walk.linked, walk.taken) = (place.done, place.linked, place.offset);
        Ok(walk)
    }

    /// Where the walk stands: what it writes next begins there.
    pub(crate) fn place(&self) -> Place {
        let path = self.stack.iter().skip(1).map(|level| Component(level.name().to_vec())).collect();
        let last = self.stack.last().and_then(Level::passed).map(|name| Component(name.to_vec()));
        let waiting = self.stack.iter().rev().take_while(|level| level.is_waiting()).count();
        Place {
            offset: self.taken + self.writer.written().len() as u64,
            path,
            last,
            file: self.file.as_ref().map(Regular::place),
            done: self.done,
            linked: self.linked,
            waiting: u32::try_from(waiting).ok().filter(|count| *count > 0),
        }
    }

    /// What was written and not taken.
    pub(crate) fn written(&self) -> &[u8] {
        self.writer.written()
    }

    /// Gives away the first bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.writer.consume(count);
        self.taken += count as u64;
    }

    /// Whether the whole bundle is written.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// What was not carried, and how many there were altogether.
    pub(crate) fn troubles(&self) -> (&[Trouble], u64) {
        (&self.troubles, self.done.left_out)
    }

    /// What was walked over so far.
    pub(crate) fn counts(&self) -> Done {
        self.done
    }

    /// Writes the next record or two.
    pub(crate) fn step(&mut self) -> Result<()> {
        if let Some(file) = &mut self.file {
            if let Some(end) = file.step(&mut self.writer) {
                let size = file.size();
                let name = file.name().to_vec();
                self.file = None;
                self.tell(&name, size, Some(end));
                match end {
                    Ok(()) => {
                        self.done.entries += 1;
                        self.done.bytes = self.done.bytes.saturating_add(size);
                    }
                    Err(reason) => self.trouble(&name, reason),
                }
            }
            return Ok(());
        }
        let Some(level) = self.stack.last_mut() else {
            self.finished = true;
            return Ok(());
        };
        match level.next() {
            Some((name, kind)) => self.entry(&name, kind),
            None => self.ascend(),
        }
        Ok(())
    }

    /// The innermost directory ends.
    fn ascend(&mut self) {
        let Some(level) = self.stack.pop() else { return };
        if level.is_waiting() {
            return;
        }
        match level.dir() {
            Some(dir) => {
                let meta = rustix::fs::fstat(dir).ok().map(|stat| metadata(&stat));
                let attributes = self.options.attributes.then(|| carried(dir)).flatten();
                self.writer.leave(&Leave { meta, attributes });
            }
            None => {
                self.writer.done(&self.done);
                self.finished = true;
            }
        }
    }

    fn entry(&mut self, name: &[u8], kind: Kind) {
        let pick = pick(&self.options, &self.stack, name, kind);
        if pick == Pick::Leave {
            return;
        }
        if !fits(&self.stack, name) {
            return self.leave_out(name, Reason::LIMIT);
        }
        let told = match kind {
            Kind::Directory => self.enter(name, pick == Pick::Through),
            Kind::Regular => self.begin(name),
            Kind::Link => self.link(name),
            Kind::Special => Err(Reason::SPECIAL),
        };
        if let Err(reason) = told {
            self.leave_out(name, reason);
        }
    }

    fn enter(&mut self, name: &[u8], waiting: bool) -> Result<(), Reason> {
        let Some(level) = self.stack.last() else { return Err(Reason::VANISHED) };
        let mut inner = level.open_dir(&self.tops, name).map_err(reason)?;
        inner.wait();
        self.stack.push(inner);
        if !waiting {
            self.write_waiting();
        }
        Ok(())
    }

    /// Something is about to be written: the directories above it come first.
    fn write_waiting(&mut self) {
        for level in self.stack.iter_mut().filter(|level| level.is_waiting()) {
            level.stop_waiting();
            self.writer.enter(&Enter { name: level.name().to_vec() });
            self.done.entries += 1;
        }
    }

    fn begin(&mut self, name: &[u8]) -> Result<(), Reason> {
        let Some(level) = self.stack.last() else { return Err(Reason::VANISHED) };
        let file = level.open_file(&self.tops, name).map_err(reason)?;
        let stat = rustix::fs::fstat(&file).map_err(reason)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // It was replaced between the listing and now.
            return Err(Reason::CHANGED);
        }
        self.write_waiting();
        if stat.st_nlink > 1 {
            self.linked = true;
            if let Some(first) = self.links.first(&stat) {
                self.writer.hard_link(&HardLink { name: name.to_vec(), to: first.to_vec() });
                self.done.entries += 1;
                return Ok(());
            }
            self.links.remember(&stat, &self.stack, name);
        }
        let file = Regular::new(file, &stat, name, self.options.attributes);
        file.begin(&mut self.writer);
        self.tell(name, file.size(), None);
        self.file = Some(file);
        Ok(())
    }

    fn link(&mut self, name: &[u8]) -> Result<(), Reason> {
        let Some(level) = self.stack.last() else { return Err(Reason::VANISHED) };
        let (target, stat) = level.read_link(&self.tops, name).map_err(reason)?;
        if target.is_empty() || target.len() > hikyaku_wire::bundle::MAX_LINK {
            return Err(Reason::LIMIT);
        }
        self.write_waiting();
        let meta = Some(Metadata { mode: None, ..metadata(&stat) });
        self.writer.symlink(&Symlink { name: name.to_vec(), target, meta });
        self.done.entries += 1;
        Ok(())
    }

    fn leave_out(&mut self, name: &[u8], reason: Reason) {
        self.write_waiting();
        self.writer.left_out(&LeftOut { name: name.to_vec(), reason });
        self.tell(name, 0, Some(Err(reason)));
        self.trouble(name, reason);
    }

    fn trouble(&mut self, name: &[u8], reason: Reason) {
        self.done.left_out += 1;
        let path = self.path_of(name);
        tracing::debug!(path = %escape(&path), ?reason, "not carried");
        if self.troubles.len() < MAX_TROUBLES {
            self.troubles.push(Trouble { path, reason });
        }
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let names: Vec<&[u8]> = self.stack.iter().skip(1).map(Level::name).chain([name]).collect();
        names.join(&b'/')
    }

    /// Finds the files with several names before a place again, without reading a file.
    fn relink(&mut self, until: &Place) -> Result<()> {
        let mut walk = Self::new(self.tops.clone(), self.options.clone());
        let last =
            until.file.as_ref().map(|file| file.name()).or(until.last.as_ref().map(|last| last.0.as_slice()));
        let end: Vec<&[u8]> = until.path.iter().map(|name| name.0.as_slice()).chain(last).collect();
        while let Some(level) = walk.stack.last_mut() {
            let Some((name, kind)) = level.next() else {
                walk.stack.pop();
                continue;
            };
            let here: Vec<&[u8]> =
                walk.stack.iter().skip(1).map(Level::name).chain([name.as_slice()]).collect();
            if here > end {
                break;
            }
            if pick(&walk.options, &walk.stack, &name, kind) == Pick::Leave {
                continue;
            }
            let Some(level) = walk.stack.last() else { break };
            match kind {
                Kind::Directory => walk.stack.extend(level.open_dir(&walk.tops, &name).ok()),
                Kind::Regular => {
                    let stat = level.stat(&walk.tops, &name).ok().filter(|stat| stat.st_nlink > 1);
                    if let Some(stat) = stat.filter(|stat| walk.links.first(stat).is_none()) {
                        walk.links.remember(&stat, &walk.stack, &name);
                    }
                }
                Kind::Link | Kind::Special => {}
            }
        }
        self.links = walk.links;
        Ok(())
    }
}

/// The first names of files that have several.
#[derive(Default)]
struct Links(HashMap<(u64, u64), Arc<[Component]>>);

impl Links {
    fn first(&self, stat: &Stat) -> Option<&Arc<[Component]>> {
        self.0.get(&(stat.st_dev, stat.st_ino))
    }

    /// Remembers a name. Beyond a bound a file is carried once for each of its names.
    fn remember(&mut self, stat: &Stat, stack: &[Level], name: &[u8]) {
        if self.0.len() < MAX_LINKED {
            let path = stack.iter().skip(1).map(|level| Component(level.name().to_vec()));
            let path = path.chain([Component(name.to_vec())]).collect();
            self.0.insert((stat.st_dev, stat.st_ino), path);
        }
    }
}

/// What becomes of an entry of the innermost directory.
fn pick(options: &WalkOptions, stack: &[Level], name: &[u8], kind: Kind) -> Pick {
    let Some(filter) = &options.filter else { return Pick::Carry };
    let names = stack.iter().skip(1).map(Level::name).chain([name]);
    let path: PathBuf = names.map(std::ffi::OsStr::from_bytes).collect();
    filter(&path, kind == Kind::Directory)
}

/// Whether a name in the innermost directory makes a path that a bundle carries.
fn fits(stack: &[Level], name: &[u8]) -> bool {
    let above: usize = stack.iter().skip(1).map(|level| level.name().len() + 1).sum();
    stack.len() <= MAX_DEPTH && above + name.len() <= MAX_PATH
}

/// Permission bits and the time of modification.
pub(crate) fn metadata(stat: &Stat) -> Metadata {
    Metadata {
        mode: Some(stat.st_mode & 0o777),
        mtime: Some(stat.st_mtime),
        mtime_ns: u32::try_from(stat.st_mtime_nsec).ok(),
    }
}

fn reason(error: Errno) -> Reason {
    match error {
        Errno::NOENT => Reason::VANISHED,
        // A link where a file or directory was listed.
        Errno::LOOP | Errno::NOTDIR => Reason::CHANGED,
        _ => Reason::UNREADABLE,
    }
}

/// Opens one entry of a directory, or of the file system when there is no directory: never through a link.
fn open_at(dir: Option<&OwnedFd>, path: &std::ffi::OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match dir {
        Some(dir) => rustix::fs::openat(dir, path, flags, Mode::empty()),
        None => rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()),
    }
}

fn stat_at(dir: Option<&OwnedFd>, path: &std::ffi::OsStr) -> rustix::io::Result<Stat> {
    match dir {
        Some(dir) => rustix::fs::statat(dir.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW),
        None => rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW),
    }
}

#[cfg(test)]
mod tests;
