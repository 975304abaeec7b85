//! Unpacking: a verified bundle becomes a tree in a directory of its own, and then takes its place.
//!
//! `Unpacker` writes below one held directory that nobody else uses; nothing that a bundle says leads out of it, and
//! nothing in it is ever reached through a link. `publish` moves the finished tree to where it belongs: whole, when its
//! name is free; file by file, each atomically, into a directory that is there. Spec: section 5.6, S5.22, S5.25, S5.33.

mod folded;
mod looking;
mod publish;
mod report;
mod sifter;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use hikyaku_wire::bundle::{FileHead, Leave, Reason};
use hikyaku_wire::files::{List, Synced, Wants};
use minicbor::{Decode, Encode};

use crate::bundle::{Item, Position, Reader};
use crate::disk;
use crate::error::{FilesError, Result};
use crate::jail::{Dir, Found, set_attributes, set_metadata};
use crate::names::{Dots, SafeName, SafeRelPath};
use crate::progress::{Passing, Progress};
use crate::staging::full;
use folded::Folded;

pub(crate) use looking::Looking;
pub(crate) use publish::{Policy, publish};
pub use report::{MAX_REPORTED, Missing, Report};
pub(crate) use sifter::Sifter;
use sifter::Way;

/// How a tree is unpacked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackOptions {
    /// Whether names at the top may begin with a dot.
    pub(crate) dots: Dots,
    /// Whether links that lead out of the tree are made.
    pub(crate) all_links: bool,
    /// When data is made durable.
    pub(crate) synced: Synced,
    /// Whether names that differ by case or composition alone are refused, whatever the file system says.
    pub(crate) distinct: bool,
}

/// Where an unpacker stands, for the journal.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct UnpackState {
    /// The hash of the bytes so far.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) tree: Vec<u8>,
    /// The place in the bundle.
    #[n(1)]
    pub(crate) position: Position,
    /// How many things are missing so far.
    #[n(2)]
    pub(crate) missing: u64,
    /// How many of the directories that are open, the innermost, were not made.
    #[n(3)]
    pub(crate) skipped: u64,
    /// The file that is open was not made.
    #[n(4)]
    pub(crate) file_skipped: bool,
    /// Whether that bundle was sifted: its offsets mean nothing to another attempt.
    #[n(5)]
    pub(crate) sifted: Option<bool>,
}

/// Makes a tree of a bundle's bytes.
///
/// A bundle has each name once, and nobody else writes here: a name that exists already is one that the file system
/// takes for another one.
#[derive(Debug)]
pub(crate) struct Unpacker {
    reader: Reader,
    options: UnpackOptions,
    /// The directories that are open, the tree's own first.
    stack: Vec<(Option<SafeName>, Dir)>,
    /// The directories below those that are open and were not made.
    skipped: Vec<SafeName>,
    file: Option<Open>,
    folded: Option<Folded>,
    report: Report,
    /// The disk failed: what the reader has passed is not all there, or may not be durable, so that nobody can go on here.
    failed: bool,
    /// Of a bundle that is listed ahead.
    sifter: Option<Sifter>,
    /// What the listing says of the entry at hand.
    way: Way,
}

/// A file being written.
#[derive(Debug)]
struct Open {
    file: File,
    name: SafeName,
    head: FileHead,
    at: u64,
}

impl Unpacker {
    /// An unpacker at the beginning, into an empty directory of the transfer's own.
    pub(crate) fn new(into: Dir, options: UnpackOptions) -> Self {
        Self {
            reader: Reader::new(options.dots),
            options,
            stack: vec![(None, into)],
            skipped: Vec::new(),
            file: None,
            folded: options.distinct.then(Folded::default),
            report: Report::default(),
            failed: false,
            sifter: None,
            way: Way::Free,
        }
    }

    /// An unpacker of a bundle that is listed ahead, into what an earlier attempt made.
    pub(crate) fn sifting(into: Dir, options: UnpackOptions, sifter: Sifter) -> Self {
        let plain = Self::new(into, options);
        Self { reader: Reader::listed(options.dots), folded: None, sifter: Some(sifter), ..plain }
    }

    /// Answers a part of the listing.
    pub(crate) fn answer(&mut self, list: List) -> Result<Option<Wants>> {
        match &mut self.sifter {
            Some(sifter) => sifter.answer(list, &mut self.report, None),
            None => Err(FilesError::Order("a listing that nobody asked for")),
        }
    }

    /// The bytes that need not come.
    pub(crate) fn skipped(&self) -> u64 {
        self.sifter.as_ref().map_or(0, |sifter| sifter.kept().1)
    }

    /// Whether the bundle is listed ahead.
    pub(crate) fn is_sifting(&self) -> bool {
        self.sifter.is_some()
    }

    /// An unpacker that goes on where another one stood; an error when what was made until then is not there.
    ///
    /// What was made after that is removed: it will come again.
    pub(crate) fn resume(into: Dir, options: UnpackOptions, state: UnpackState) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let name_of = |bytes: &[u8]| SafeName::parse(bytes, Dots::Inside).map_err(|_| gone());
        let UnpackState { position, missing, skipped, file_skipped, .. } = state;
        let mut names = position.path().map(name_of).collect::<io::Result<Vec<_>>>()?;
        let skipped = usize::try_from(skipped).ok().and_then(|count| names.len().checked_sub(count));
        let skipped = names.split_off(skipped.ok_or_else(gone)?);
        let mut unpacker = Self::new(into, options);
        for name in names {
            unpacker.clean(Some(name.as_bytes()))?;
            let inner = unpacker.dir().open_child(&name)?;
            unpacker.stack.push((Some(name), inner));
            unpacker.folded.iter_mut().for_each(Folded::enter);
        }
        unpacker.clean(skipped.first().map(SafeName::as_bytes).or(position.last()))?;
        if let Some(open) = position.file().filter(|_| !file_skipped && skipped.is_empty()) {
            let name = name_of(&open.name.0)?;
            let file = unpacker.dir().open_file(&name, true)?.ok_or_else(gone)?;
            if file.metadata()?.len() < open.at {
                // A hole at its end is not written before what follows.
                disk::set_len(&file, open.at)?;
            }
            let head = FileHead {
                name: open.name.0.clone(),
                size: open.size,
                meta: open.meta,
                attributes: None,
                from: None,
            };
            unpacker.file = Some(Open { file, name, head, at: open.at });
        }
        unpacker.report.counts = position.counts();
        unpacker.report.missing_count = missing;
        unpacker.skipped = skipped;
        unpacker.reader = Reader::resume(options.dots, position);
        Ok(unpacker)
    }

    /// Removes from the innermost directory what comes after a name, and remembers the rest.
    fn clean(&mut self, last: Option<&[u8]>) -> io::Result<()> {
        let dir = &self.stack[self.stack.len() - 1].1;
        dir.remove_after(last)?;
        if let Some(folded) = &mut self.folded {
            dir.all_names()?.iter().try_for_each(|name| folded.add(name)).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Where it stands, unless it is inside a header or the disk has failed, or an earlier attempt came further. The hash of
    /// the bytes is for others to fill in.
    pub(crate) fn state(&self) -> Option<UnpackState> {
        let is_news = |position: &&Position| self.sifter.as_ref().is_none_or(|known| known.is_news(position));
        let position = self.reader.position().filter(|_| !self.failed).filter(is_news)?.clone();
        let file_skipped = position.file().is_some() && self.file.is_none();
        let skipped = self.skipped.len() as u64;
        Some(UnpackState {
            tree: Vec::new(),
            position,
            missing: self.report.missing_count,
            skipped,
            file_skipped,
            sifted: self.is_sifting().then_some(true),
        })
    }

    /// Where in the file at hand it stands; 0 when there is none.
    pub(crate) fn offset_in_file(&self) -> u64 {
        self.file.as_ref().map_or(0, |open| open.at)
    }

    /// The path of what is being written, for messages.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.reader.path()
    }

    /// Takes the next bytes of the bundle.
    pub(crate) fn take(&mut self, mut input: &[u8], progress: &Progress) -> Result<()> {
        while let Some(item) = self.reader.next(&mut input)? {
            let passing = if progress.is_observed() { Passed::of(&item, self.file.as_ref()) } else { None };
            self.failed = true;
            if let Some(sifter) = &mut self.sifter {
                self.way = sifter.expect(&item)?;
            }
            self.make_way(&item)?;
            self.apply(item)?;
            self.failed = false;
            if let Some(passed) = passing {
                self.tell(&passed, progress);
            }
        }
        Ok(())
    }

    fn tell(&self, passed: &Passed, progress: &Progress) {
        let names = self.stack.iter().filter_map(|(name, _)| name.as_ref()).map(SafeName::as_bytes);
        let path = names.chain([passed.name.as_slice()]).collect::<Vec<_>>().join(&b'/');
        let (path, size) = (path.as_slice(), passed.size);
        let passing = match passed.end {
            None => Passing::Begins { path, size },
            Some(failed) => Passing::Passed { path, size, failed },
        };
        if self.is_sifting() {
            progress.passed(passing)
        } else {
            progress.passing(self.reader.offset(), passing)
        }
    }

    /// Makes everything so far durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let synced = self.root().sync_all();
        self.failed |= synced.is_err();
        Ok(synced.map_err(|error| full(self.root(), 0, error))?)
    }

    /// The directory and the report, once the bundle is complete.
    pub(crate) fn finish(mut self) -> Result<(Dir, Report)> {
        if !self.reader.is_done() {
            return Err(FilesError::Order("the bundle ended before its end"));
        }
        if self.options.synced != Synced::None {
            self.sync()?;
        }
        let (_, root) = self.stack.swap_remove(0);
        Ok((root, self.report))
    }

    /// What an earlier attempt made of a name goes, unless it is gone on with.
    fn make_way(&mut self, item: &Item<'_>) -> Result<()> {
        let cleared = match (&self.way, item) {
            (Way::Kept(last), _) => {
                self.reader.pass(last);
                return Ok(());
            }
            (Way::Made, Item::Enter(name)) => match self.dir().find(name) {
                Ok(Some(Found::Directory)) => return Ok(()),
                Ok(_) => self.dir().remove(name),
                Err(error) => Err(error),
            },
            (Way::Made, Item::File(_, FileHead { from: Some(1..), .. })) => return Ok(()),
            (
                Way::Made,
                Item::File(name, _)
                | Item::Symlink(name, _)
                | Item::HardLink(name, _)
                | Item::LeftOut(name, _),
            ) => self.dir().remove_all(name),
            _ => return Ok(()),
        };
        // Where something else was, there is nothing now.
        self.way = Way::Free;
        cleared.map_err(vault)
    }

    fn apply(&mut self, item: Item<'_>) -> Result<()> {
        match item {
            Item::Enter(name) => self.enter(name)?,
            Item::Leave(leave) => self.leave(&leave)?,
            Item::File(name, head) => self.begin(name, head)?,
            Item::Bytes(bytes) => {
                let Some(open) = &mut self.file else { return Ok(()) };
                let written = disk::write_all_at(&open.file, bytes, open.at);
                written.map_err(|error| full(&self.stack[0].1, bytes.len() as u64, error))?;
                open.at += bytes.len() as u64;
            }
            Item::Hole(len) => self.file.iter_mut().for_each(|open| open.at += len),
            Item::End(end) => self.end(end.failed)?,
            Item::Symlink(name, link) => self.symlink(&name, &link)?,
            Item::HardLink(name, to) => self.hard_link(&name, &to)?,
            Item::LeftOut(name, left_out) => self.missing(Some(&name), Missing::Source(left_out.reason)),
            Item::Unknown(_) => self.missing(None, Missing::Unknown),
            Item::Kept(_) => {}
            Item::Done(done) => {
                self.report.kept = self.sifter.as_ref().map_or((0, 0), Sifter::kept);
                self.report.counts = sifter::whole(done, self.report.kept);
            }
        }
        Ok(())
    }

    /// Makes an entry, unless its name and an earlier one are the same here: `None`, and it is reported.
    //= S5.52
    fn make<T>(&mut self, name: &SafeName, make: impl FnOnce(&Self) -> io::Result<T>) -> Result<Option<T>> {
        if !self.skipped.is_empty() {
            self.missing(Some(name), Missing::Collides);
            return Ok(None);
        }
        let is_new = self.folded.as_ref().is_none_or(|folded| !folded.has(name)) && self.way != Way::Collides;
        let made = if is_new { make(self) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.missing(Some(name), Missing::Collides);
                Ok(None)
            }
            made => {
                let made = made.map_err(|error| full(self.root(), 0, error))?;
                self.folded.as_mut().map_or(Ok(()), |folded| folded.add(name))?;
                Ok(Some(made))
            }
        }
    }

    fn enter(&mut self, name: SafeName) -> Result<()> {
        let open = |at: &Self| match at.way {
            Way::Made => at.dir().open_child(&name),
            _ => at.dir().make_child(&name),
        };
        match self.make(&name, open)? {
            Some(inner) => {
                self.stack.push((Some(name), inner));
                self.folded.iter_mut().for_each(Folded::enter);
            }
            None => self.skipped.push(name),
        }
        Ok(())
    }

    fn begin(&mut self, name: SafeName, head: FileHead) -> Result<()> {
        let at = head.from.unwrap_or(0);
        let open = |to: &Self| if at == 0 { to.dir().create(&name) } else { to.dir().open_from(&name, at) };
        let Some(file) = self.make(&name, open)? else { return Ok(()) };
        let attributes = head.attributes.as_deref().unwrap_or_default();
        // At once, and not at the end: where the bundle is gone on with, they are not told again.
        if !set_attributes(file.as_fd(), attributes) {
            self.missing(Some(&name), Missing::Attributes);
        }
        self.file = Some(Open { file, name, head, at });
        Ok(())
    }

    fn leave(&mut self, leave: &Leave) -> Result<()> {
        if self.skipped.pop().is_some() {
            return Ok(());
        }
        let Some((_, dir)) = self.stack.last() else { return Ok(()) };
        let attributes = leave.attributes.as_deref().unwrap_or_default();
        let kept = set_attributes(dir.as_fd(), attributes);
        dir.set_metadata(&leave.meta.unwrap_or_default()).map_err(vault)?;
        if !kept {
            self.missing(None, Missing::Attributes);
        }
        self.stack.pop();
        self.folded.iter_mut().for_each(Folded::leave);
        Ok(())
    }

    fn end(&mut self, failed: Option<Reason>) -> Result<()> {
        let Some(open) = self.file.take() else { return Ok(()) };
        if let Some(reason) = failed {
            self.dir().remove(&open.name).map_err(vault)?;
            self.missing(Some(&open.name), Missing::Source(reason));
            return Ok(());
        }
        let length = open.file.metadata().map_err(vault)?.len();
        if length != open.head.size {
            disk::set_len(&open.file, open.head.size).map_err(|error| full(self.root(), 0, error))?;
        }
        // What no mark will cover must be durable before it looks whole to another attempt.
        let is_covered = self.sifter.as_ref().zip(self.reader.position());
        if is_covered.is_some_and(|(sifter, position)| !sifter.is_news(position)) {
            disk::sync_all(&open.file).map_err(|error| full(self.root(), 0, error))?;
        }
        set_metadata(open.file.as_fd(), &open.head.meta.unwrap_or_default()).map_err(vault)?;
        if self.options.synced == Synced::Each {
            disk::sync_all(&open.file).map_err(|error| full(self.root(), 0, error))?;
        }
        Ok(())
    }

    //= S5.49
    fn symlink(&mut self, name: &SafeName, link: &hikyaku_wire::bundle::Symlink) -> Result<()> {
        if !self.options.all_links && leads_out(&link.target, self.stack.len() - 1) {
            self.missing(Some(name), Missing::LinkOut);
            return Ok(());
        }
        let modified = link.meta.and_then(|meta| Some((meta.mtime?, meta.mtime_ns.unwrap_or(0))));
        self.make(name, |at| at.dir().symlink(&link.target, name, modified)).map(|_| ())
    }

    fn hard_link(&mut self, name: &SafeName, to: &SafeRelPath) -> Result<()> {
        let linked = self.make(name, |at| match at.root().link(to, at.dir(), name) {
            // The first name failed, or it or a directory on the way is a link of the bundle's own.
            Err(error) if leads_nowhere(&error) => {
                at.sifter.as_ref().map_or(Ok(false), |sifter| sifter.link_kept(to, at.dir(), name))
            }
            linked => linked.map(|()| true),
        })?;
        if linked == Some(false) {
            self.missing(Some(name), Missing::LinkTarget);
        }
        Ok(())
    }

    fn missing(&mut self, name: Option<&SafeName>, why: Missing) {
        let names = self.stack.iter().filter_map(|(name, _)| name.as_ref());
        let path: Vec<&[u8]> = names.chain(&self.skipped).chain(name).map(SafeName::as_bytes).collect();
        self.report.add(path.join(&b'/'), why);
    }

    fn root(&self) -> &Dir {
        &self.stack[0].1
    }

    fn dir(&self) -> &Dir {
        &self.stack[self.stack.len() - 1].1
    }
}

/// A file that begins or ends, for whoever watches.
struct Passed {
    name: Vec<u8>,
    size: u64,
    end: Option<Option<Reason>>,
}

impl Passed {
    fn of(item: &Item<'_>, open: Option<&Open>) -> Option<Self> {
        let (name, size, end) = match (item, open) {
            (Item::File(name, head), _) => (name, head.size, None),
            (Item::End(end), Some(open)) => (&open.name, open.head.size, Some(end.failed)),
            (Item::LeftOut(name, left_out), _) => (name, 0, Some(Some(left_out.reason))),
            _ => return None,
        };
        Some(Self { name: name.as_bytes().to_vec(), size, end })
    }
}

/// Whether a link in a directory `depth` levels below the top of a tree may lead out of it, judged by its text alone.
///
/// `..` is believed at the beginning only, where the tree's own directories stand above the link: behind a name, that
/// name may be a link itself, and `..` then leads from wherever it points.
pub(crate) fn leads_out(target: &[u8], depth: usize) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut parts = target.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).peekable();
    let mut up = 0;
    while parts.next_if_eq(&b"..".as_slice()).is_some() {
        up += 1;
    }
    up > depth || parts.any(|part| part == b"..")
}

fn leads_nowhere(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn vault(error: io::Error) -> FilesError {
    FilesError::Vault(error.into())
}

#[cfg(test)]
mod tests;
