//! Sifting at the receiver: what is listed is compared with what is here, and the bundle with what was answered.
//!
//! A file that an earlier attempt of the transfer verified lies in the tree being made; one that stays is at its place.
//! What is awaited of the bundle is bounded: files that are not wanted are counted and chained, not kept. What an earlier
//! attempt made and the listing does not name goes. Spec: section 5.7.

mod deciding;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use hikyaku_wire::bundle::Done;
use hikyaku_wire::files::{List, Listed, MAX_AHEAD, Verdict, Wants};

use self::deciding::File;
use super::asides::Asides;
use super::listing::Listing;
use super::{Missing, Olders, Only, Report, UnpackOptions, vault};
use crate::bundle::{self, Position};
use crate::error::{FilesError, Result};
use crate::folded::Folded;
use crate::jail::Dir;
use crate::names::{Dots, MAX_DEPTH, MAX_PATH, NameError, SafeName, SafeRelPath};
use crate::policy::Policy;
use crate::sift::{Chain, Item};

/// The most kept files that are remembered for hard links; of more, those that say that they have any are sent again.
const MAX_LINKED: usize = 1 << 20;

/// Answers a listing, and holds the bundle to the answers.
#[derive(Debug)]
pub(crate) struct Sifter {
    dots: Dots,
    policy: Policy,
    /// Where the tree goes; none, when that is not there.
    top: Option<Dir>,
    /// How far an earlier attempt was, durably.
    had: Option<Position>,
    /// The directories that the listing stands in, the top first.
    open: Vec<Listing>,
    awaited: VecDeque<Awaited>,
    answered: u64,
    all_listed: bool,
    chain: Chain,
    kept: u64,
    kept_bytes: u64,
    /// The paths of kept files, which hard links may name, by a hash with a key of its own.
    linked: HashSet<u64>,
    key: RandomState,
    /// The listed names, where they are to be distinct.
    folded: Option<Folded>,
    /// And those that are there.
    theirs: Option<Folded>,
    /// Whether what is the same as another name gets another one, and what did.
    aside: bool,
    asides: Asides,
    /// What is wanted, where that is not all.
    only: Option<Arc<Only>>,
    /// Older versions of what is wanted, where the sender may use them.
    olders: Option<Olders>,
    /// Files that the bundle has come to, or passed over.
    came: u64,
}

/// What the listing says of an entry that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing has the name.
    Free,
    /// An earlier attempt made something of that name.
    Made,
    /// Another listed name is the same, or one that is there.
    Collides,
    /// And so it gets this one.
    Aside(SafeName),
    /// This time others are wanted.
    Unasked,
    /// Files were kept: the last of them.
    Kept(SafeName),
}

/// What must come in the bundle.
#[derive(Debug)]
enum Awaited {
    Enter(SafeName, Way),
    Leave,
    /// A wanted file, and the offset from which it may come.
    File(SafeName, Way, u64),
    /// Something else that has this name.
    Other(SafeName, Way),
    /// So many files that are not wanted, the last of them by name.
    Kept(u64, SafeName),
}

impl Sifter {
    /// For a tree that goes into `there`, and of which `made` has what lies before `had`.
    pub(crate) fn new(
        there: Option<Dir>,
        made: Option<Dir>,
        had: Option<Position>,
        policy: Policy,
        options: &UnpackOptions,
    ) -> Result<Self> {
        let top = there.as_ref().map(Dir::try_clone).transpose().map_err(vault)?;
        let mut listing = Listing { there, made, ..Listing::default() };
        if had.is_some() {
            listing.find_leftovers()?;
        }
        let theirs = if options.distinct { Some(listing.theirs()?) } else { None };
        Ok(Self {
            dots: options.dots,
            policy,
            top,
            had,
            open: vec![listing],
            awaited: VecDeque::new(),
            answered: 0,
            all_listed: false,
            chain: Chain::default(),
            kept: 0,
            kept_bytes: 0,
            linked: HashSet::new(),
            key: RandomState::new(),
            folded: options.distinct.then(Folded::default),
            theirs,
            aside: options.aside,
            asides: Asides::default(),
            only: None,
            olders: None,
            came: 0,
        })
    }

    /// The same, where nothing but this is wanted.
    pub(crate) fn only(self, only: Option<Arc<Only>>) -> Self {
        Self { only, ..self }
    }

    /// Older versions of what is replaced are named from here on.
    pub(super) fn renew(&mut self, olders: impl FnOnce(Dir) -> Olders) -> Result<()> {
        let top = self.top.as_ref().map(Dir::try_clone).transpose().map_err(vault)?;
        self.olders = top.map(olders);
        Ok(())
    }

    /// The older versions that were named.
    pub(super) fn olders(&mut self) -> Option<&mut Olders> {
        self.olders.as_mut()
    }

    /// Whether a path is wanted, as far as anything was said of it.
    pub(super) fn is_asked(&self, path: &[u8]) -> bool {
        self.only.as_ref().is_none_or(|only| only.has(path))
    }

    /// Where something lies that the tree has at `path`.
    pub(super) fn place(&self, path: &SafeRelPath) -> SafeRelPath {
        self.asides.place(path)
    }

    /// Answers a part of the listing; nothing, when no file is in it.
    //= S5.60
    //= S5.61
    pub(crate) fn answer(
        &mut self,
        list: List,
        report: &mut Report,
        mut items: Option<&mut Vec<Item>>,
    ) -> Result<Option<Wants>> {
        if self.all_listed || list.first != self.answered {
            return Err(FilesError::Order("a listing that does not follow the one before it"));
        }
        let mut wants = Wants { first: self.answered, verdicts: Vec::new(), from: None, older: Vec::new() };
        for listed in list.entries {
            if self.awaited.len() >= MAX_AHEAD {
                return Err(FilesError::Limit { name: "MAX_AHEAD", limit: MAX_AHEAD as u64 });
            }
            match listed {
                Listed::Enter(name) => self.enter(&name)?,
                Listed::Leave => self.leave()?,
                Listed::Other(name) => {
                    let (name, way) = self.name(&name)?;
                    self.awaited.push_back(Awaited::Other(name, way));
                }
                Listed::File { name, size, mtime, mtime_ns, mode, links, root, attributes } => {
                    let (name, way) = self.name(&name)?;
                    let at = if let Way::Aside(other) = &way { other.clone() } else { name.clone() };
                    let file = File {
                        name,
                        at,
                        way,
                        size,
                        modified: (mtime, mtime_ns),
                        mode,
                        links,
                        root,
                        attributes,
                    };
                    let (verdict, from) = self.decide(&file)?;
                    if let Some(items) = &mut items {
                        items.push(Item { path: self.path(&file.name), size, verdict });
                    }
                    let older = self.name_older(&file, verdict);
                    self.await_file(file, verdict, from, report);
                    wants.verdicts.push(verdict.0);
                    wants.from = wants.from.or((verdict == Verdict::REST).then_some(from));
                    wants.older.extend(older);
                    self.answered += 1;
                }
            }
        }
        if list.last == Some(true) {
            if self.open.len() > 1 {
                return Err(FilesError::Order("a listing that ends inside a directory"));
            }
            self.all_listed = true;
            self.open.pop().map_or(Ok(()), Listing::close)?;
        }
        Ok((!wants.verdicts.is_empty()).then_some(wants))
    }

    /// Holds what comes in the bundle to what was listed and answered.
    //= S5.62
    //= S5.63
    //= S5.64
    pub(super) fn expect(&mut self, item: &bundle::Item<'_>) -> Result<Way> {
        use bundle::Item;

        let files = match (item, self.awaited.front()) {
            (_, Some(Awaited::File(..))) => 1,
            (_, Some(Awaited::Kept(count, _))) => *count,
            _ => 0,
        };
        let way = match (item, self.awaited.front()) {
            (Item::End(_), _) => {
                self.olders.iter_mut().for_each(|olders| olders.pass(self.came));
                return Ok(Way::Free);
            }
            (Item::Bytes(_) | Item::Hole(_) | Item::Unknown(_), _) => return Ok(Way::Free),
            (Item::Leave(_), Some(Awaited::Leave)) => Way::Free,
            (Item::Enter(name), Some(Awaited::Enter(listed, way))) if name == listed => way.clone(),
            (Item::File(name, head), Some(Awaited::File(listed, way, from)))
                if name == listed && head.from.is_none_or(|at| at == *from) =>
            {
                way.clone()
            }
            (Item::LeftOut(name, _), Some(Awaited::File(listed, way, _) | Awaited::Other(listed, way)))
                if name == listed =>
            {
                way.clone()
            }
            (Item::Symlink(name, _) | Item::HardLink(name, _), Some(Awaited::Other(listed, way)))
                if name == listed =>
            {
                way.clone()
            }
            (Item::Kept(count), Some(Awaited::Kept(awaited, last))) if count == awaited => {
                Way::Kept(last.clone())
            }
            (Item::Done(done), None) if self.all_listed => return self.ends(done).map(|()| Way::Free),
            _ => {
                return Err(FilesError::Order("something in the bundle that was not listed, or not wanted"));
            }
        };
        self.awaited.pop_front();
        self.came += files;
        if matches!(item, Item::LeftOut(..)) {
            self.olders.iter_mut().for_each(|olders| olders.pass(self.came));
        }
        Ok(way)
    }

    fn ends(&self, done: &Done) -> Result<()> {
        match done.chain {
            None if self.kept == 0 => Ok(()),
            Some(chain) if done.kept == Some(self.kept) && chain == self.chain.value() => Ok(()),
            _ => Err(FilesError::Order("the bundle ends with another chain over what was kept")),
        }
    }

    /// Nothing of what was listed will come.
    pub(super) fn forget(&mut self) {
        self.awaited.clear();
    }

    /// Whether a position is behind the one that an earlier attempt came to: what is before that is not marked again.
    pub(crate) fn is_news(&self, position: &Position) -> bool {
        let Some(had) = &self.had else { return true };
        let frontier =
            |of: &Position| -> Vec<Vec<u8>> { of.path().chain(of.last()).map(<[u8]>::to_vec).collect() };
        let at = |of: &Position| of.file().map_or(u64::MAX, |file| file.at);
        let (now, then) = (frontier(position), frontier(had));
        match now.cmp(&then) {
            std::cmp::Ordering::Equal => at(position) >= at(had),
            // Not inside a directory that was dealt with before.
            order => order.is_gt() && !(had.last().is_some() && now.starts_with(&then)),
        }
    }

    /// Gives a kept file a second name in the tree being made; `false` when it is not one.
    pub(crate) fn link_kept(&self, to: &SafeRelPath, into: &Dir, name: &SafeName) -> io::Result<bool> {
        let names: Vec<_> = to.components().iter().map(SafeName::as_bytes).collect();
        match &self.top {
            Some(top) if self.linked.contains(&self.key.hash_one(names.join(&b'/'))) => {
                top.link(&self.asides.place(to), into, name).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// How many files are not wanted, and their bytes.
    pub(crate) fn kept(&self) -> (u64, u64) {
        (self.kept, self.kept_bytes)
    }

    fn enter(&mut self, name: &[u8]) -> Result<()> {
        let (name, way) = self.name(name)?;
        let Some(level) = self.open.last() else { return Ok(()) };
        let at = if let Way::Aside(other) = &way { other } else { &name };
        let inner = |dir: &Option<Dir>| dir.as_ref().and_then(|dir| dir.open_child(at).ok());
        let mut inner =
            Listing { there: inner(&level.there), made: inner(&level.made), ..Listing::default() };
        if self.had.is_some() {
            inner.find_leftovers()?;
        }
        inner.name = Some(name.clone());
        inner.refused = way == Way::Collides;
        if let Some(theirs) = &mut self.theirs {
            theirs.enter();
            inner.add_to(theirs)?;
        }
        self.open.push(inner);
        self.folded.iter_mut().for_each(Folded::enter);
        self.awaited.push_back(Awaited::Enter(name, way));
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        if self.open.len() < 2 {
            return Err(FilesError::Order("the listing leaves a directory that it did not enter"));
        }
        self.open.pop().map_or(Ok(()), Listing::close)?;
        self.folded.iter_mut().chain(&mut self.theirs).for_each(Folded::leave);
        self.awaited.push_back(Awaited::Leave);
        Ok(())
    }

    /// Checks a listed name as a bundle's, and lets go of what was made before it.
    fn name(&mut self, name: &[u8]) -> Result<(SafeName, Way)> {
        let depth = self.open.len();
        let dots = if depth == 1 { self.dots } else { Dots::Inside };
        let name = SafeName::parse(name, dots)?;
        if depth > MAX_DEPTH {
            return Err(NameError::TooDeep(depth).into());
        }
        let above: usize = self.names().map(|name| name.as_bytes().len() + 1).sum();
        if above + name.as_bytes().len() > MAX_PATH {
            return Err(NameError::PathTooLong(above + name.as_bytes().len()).into());
        }
        let Some(level) = self.open.last_mut() else { return Ok((name, Way::Free)) };
        if level.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(FilesError::Order("a listed name that does not follow the one before it"));
        }
        level.last = Some(name.clone());
        let way = if level.pass(&name)? { Way::Made } else { Way::Free };
        let way = self.distinct(&name, way)?;
        if let Some(only) = &self.only {
            let path = self.path(&name);
            if !only.has(&path) && !only.is_above(&path) {
                return Ok((name, Way::Unasked));
            }
        }
        Ok((name, way))
    }

    fn names(&self) -> impl Iterator<Item = &SafeName> {
        self.open.iter().filter_map(|level| level.name.as_ref())
    }

    fn path(&self, name: &SafeName) -> Vec<u8> {
        self.names().chain([name]).map(SafeName::as_bytes).collect::<Vec<_>>().join(&b'/')
    }

    fn await_file(&mut self, file: File, verdict: Verdict, from: u64, report: &mut Report) {
        if verdict.is_wanted() {
            return self.awaited.push_back(Awaited::File(file.name, file.way, from));
        }
        self.kept += 1;
        self.kept_bytes = self.kept_bytes.saturating_add(file.size);
        self.chain.push(file.name.as_bytes(), file.size, file.modified, (file.root, file.attributes));
        match verdict {
            Verdict::TAKEN => report.add(self.path(&file.name), Missing::Exists),
            Verdict::COLLIDES => report.add(self.path(&file.name), Missing::Collides),
            Verdict::SAME if file.at != file.name => report.add(self.path(&file.name), Missing::Aside),
            _ => {}
        }
        match self.awaited.back_mut() {
            Some(Awaited::Kept(count, last)) => (*count, *last) = (*count + 1, file.name),
            _ => self.awaited.push_back(Awaited::Kept(1, file.name)),
        }
    }
}

/// What a bundle counted, with what was kept.
pub(crate) fn whole(done: Done, (kept, bytes): (u64, u64)) -> Done {
    Done { entries: done.entries + kept, bytes: done.bytes.saturating_add(bytes), ..done }
}

#[cfg(test)]
mod tests;
