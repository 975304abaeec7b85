//! Unpacking: a verified bundle becomes a tree in a directory of its own, and then takes its place.
//!
//! `Unpacker` writes below one held directory that nobody else uses; nothing that a bundle says leads out of it, and
//! nothing in it is ever reached through a link. `publish` moves the finished tree to where it belongs: whole, when its
//! name is free; file by file, each atomically, into a directory that is there. Spec: section 5.6, S5.22, S5.25, S5.33.

mod applying;
mod asides;
mod bounds;
mod hearing;
mod links;
mod listing;
mod looking;
mod olders;
mod only;
mod publish;
mod report;
mod sifter;

use std::fs::File;
use std::io;

use hikyaku_wire::bundle::{FileHead, Reason};
use hikyaku_wire::files::{Composed, List, MissingEntry, Synced, Wants};
use minicbor::{Decode, Encode};

use crate::bundle::{Item, Position, Reader};
use crate::disk;
use crate::error::{FilesError, Result};
use crate::folded::Folded;
use crate::jail::Dir;
use crate::names::{Dots, SafeName};
use crate::pause::Waiting;
use crate::prints::Prints;
use crate::progress::{Passing, Progress};
use crate::versions::unnamed;
use asides::Asides;

pub(crate) use applying::leads_out;
pub(crate) use bounds::Bounds;
pub use hearing::Hearing;
pub(crate) use links::Links;
pub(crate) use looking::Looking;
pub(crate) use olders::{Olders, Places};
pub use only::Only;
pub(crate) use publish::publish;
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
    /// Whether what is not made because its name and another are one is made under another name.
    pub(crate) aside: bool,
    /// Whether prints are kept of files.
    pub(crate) prints: bool,
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
    /// What is missing so far, as much as has room.
    #[n(6)]
    pub(crate) named: Option<Vec<MissingEntry>>,
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
    /// What was made under another name, where no listing says so.
    asides: Asides,
    report: Report,
    /// The disk failed: what the reader has passed is not all there, or may not be durable, so that nobody can go on here.
    failed: bool,
    /// Of a bundle that is listed ahead.
    sifter: Option<Sifter>,
    /// What the listing says of the entry at hand.
    way: Way,
    /// How much it may need.
    bounds: Bounds,
}

/// A file being written.
#[derive(Debug)]
struct Open {
    file: File,
    name: SafeName,
    /// The name it has here.
    placed: SafeName,
    head: FileHead,
    at: u64,
    prints: Option<Prints>,
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
            asides: Asides::default(),
            report: Report::default(),
            failed: false,
            sifter: None,
            way: Way::Free,
            bounds: Bounds::default(),
        }
    }

    /// Takes no more than these allow.
    pub(crate) fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds.after(self.reader.position().map_or(0, |position| position.counts().bytes));
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

    /// Of files that will be replaced parts need not come: older versions are named, as far as there are.
    pub(crate) fn renew(&mut self, olders: impl FnOnce(Dir) -> Olders) -> Result<()> {
        self.sifter.as_mut().map_or(Ok(()), |sifter| sifter.renew(olders))
    }

    /// What was named of older versions was answered: they may be told.
    pub(crate) fn tell_of_older(&mut self) {
        self.sifter.as_mut().and_then(Sifter::olders).into_iter().for_each(Olders::tell);
    }

    /// Puts a block together from what came and from older versions, where any was named.
    pub(crate) fn compose(&mut self, composed: &Composed, came: &[u8], into: &mut Vec<u8>) -> Result<()> {
        match self.sifter.as_mut().and_then(Sifter::olders) {
            Some(olders) => olders.compose(composed, came, into),
            None => Err(unnamed(&composed.block)),
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
        let UnpackState { position, missing, skipped, file_skipped, named, .. } = state;
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
            let placed = name.clone();
            let prints = options.prints.then(|| Prints::from(open.at));
            unpacker.file = Some(Open { file, name, placed, head, at: open.at, prints });
        }
        unpacker.report.counts = position.counts();
        unpacker.report.recall(missing, &named.unwrap_or_default());
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
        // Another attempt would not find again what has another name: it goes on before that.
        let can_go_on = !self.failed && self.asides.is_empty();
        let position = self.reader.position().filter(|_| can_go_on).filter(is_news)?.clone();
        let file_skipped = position.file().is_some() && self.file.is_none();
        let skipped = self.skipped.len() as u64;
        Some(UnpackState {
            tree: Vec::new(),
            position,
            missing: self.report.missing_count,
            skipped,
            file_skipped,
            sifted: self.is_sifting().then_some(true),
            named: self.report.remembered(),
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

    /// Takes the next bytes of the bundle, and waits for room on the disk.
    pub(crate) fn take(
        &mut self,
        mut input: &[u8],
        progress: &Progress,
        waiting: &mut Waiting,
    ) -> Result<()> {
        while let Some(item) = self.reader.next(&mut input)? {
            let passing = if progress.is_observed() { Passed::of(&item, self.file.as_ref()) } else { None };
            self.failed = true;
            if let Some(sifter) = &mut self.sifter {
                self.way = sifter.expect(&item)?;
            }
            self.bounds.charge(&item)?;
            waiting.until_room(|| {
                self.make_way(&item)?;
                self.apply(&item)
            })?;
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
        // Not as a full disk, which would be tried again: what is lost now, no later synchronisation tells.
        synced.map_err(vault)
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

fn vault(error: io::Error) -> FilesError {
    FilesError::Vault(error.into())
}

#[cfg(test)]
mod tests;
