//! What becomes of a listed name, and whether a listed file is wanted: asked of the disk, of an earlier attempt and of the policy.

use std::hash::BuildHasher as _;

use hikyaku_wire::bundle::PIECE_LEN;
use hikyaku_wire::files::{AttributesDigest, OlderFile, Overwrite, Verdict};
use hikyaku_wire::parcel::Root;

use super::{MAX_LINKED, Sifter, Way};
use crate::attributes::{comparable, digest};
use crate::error::Result;
use crate::jail::{Dir, Found};
use crate::names::{SafeName, SafeRelPath};
use crate::policy::{self, MAX_ASIDE, has_root, other_names, verdict};
use crate::unpack::vault;
use crate::versions::OLDER_FROM;

/// A listed file.
pub(super) struct File {
    pub(super) name: SafeName,
    /// The name it has here.
    pub(super) at: SafeName,
    pub(super) way: Way,
    pub(super) size: u64,
    pub(super) modified: (i64, u32),
    pub(super) mode: u32,
    pub(super) links: bool,
    pub(super) root: Option<Root>,
    pub(super) attributes: Option<AttributesDigest>,
}

/// How a path lies to where an earlier attempt came.
enum Before {
    /// It was dealt with.
    Done,
    /// It was at hand: its size, its time, and how much of it is durable.
    AtHand(u64, (i64, u32), u64),
    /// It was not reached.
    No,
}

impl File {
    fn found(&self) -> Found {
        Found::File { size: self.size, modified: self.modified, mode: self.mode }
    }
}

impl Sifter {
    /// Whether the file of this name there has other extended attributes than were listed, for whoever wants everything
    /// replaced. Of what cannot be read that is not known, and so no reason to have it sent.
    //= S5.67
    fn differs_in_attributes(&self, file: &File, there: &Dir) -> bool {
        let Some(listed) = file.attributes.filter(|_| self.policy.overwrite == Overwrite::Always) else {
            return false;
        };
        let read = || comparable(there.open_file(&file.at, false).ok()??);
        read().is_some_and(|theirs| digest(&theirs) != listed)
    }

    /// What becomes of a listed name where an earlier one, or one that is there, is the same.
    //= S5.52
    //= S5.53
    pub(super) fn distinct(&mut self, name: &SafeName, way: Way) -> Result<Way> {
        let (Some(folded), Some(theirs), Some(level)) = (&self.folded, &self.theirs, self.open.last()) else {
            return Ok(way);
        };
        if level.refused {
            return Ok(Way::Collides);
        }
        let is_taken = |name: &SafeName| -> Result<bool> {
            Ok(folded.has(name) || theirs.has(name) && level.find_there(name)?.is_none())
        };
        let mut at = Some(name.clone());
        if is_taken(name)? {
            let tried = if self.aside && self.asides.has_room() { MAX_ASIDE } else { 0 };
            at = None;
            for other in other_names(name).take(tried) {
                if !is_taken(&other)? {
                    at = Some(other);
                    break;
                }
            }
        }
        let Some(at) = at else { return Ok(Way::Collides) };
        self.folded.as_mut().map_or(Ok(()), |folded| folded.add(&at))?;
        if at == *name {
            return Ok(way);
        }
        let path = self.path(name);
        self.asides.add(&path, at.clone());
        self.open.iter_mut().last().into_iter().for_each(|level| level.leftovers.retain(|left| *left != at));
        Ok(Way::Aside(at))
    }

    /// Whether a listed file is wanted, and from which offset.
    //= S5.65
    pub(super) fn decide(&mut self, file: &File) -> Result<(Verdict, u64)> {
        let Some(level) = self.open.last() else { return Ok((Verdict::NEW, 0)) };
        match file.way {
            Way::Collides => return Ok((Verdict::COLLIDES, 0)),
            Way::Free | Way::Unasked => {}
            _ => {
                if let Some(decided) = self.made_before(file)? {
                    return Ok(decided);
                }
            }
        }
        let is_new = if file.way == Way::Unasked { Verdict::UNASKED } else { Verdict::NEW };
        let Some(there) = &level.there else { return Ok((is_new, 0)) };
        let Some(theirs) = there.find(&file.at).map_err(vault)? else { return Ok((is_new, 0)) };
        // Content is compared for those alone who asked for it, and may.
        //= S5.68
        let decided = match (theirs, file.root.filter(|_| self.policy.checksum)) {
            (Found::File { size, .. }, Some(root))
                if size == file.size && has_root(there, &file.at, root) =>
            {
                Verdict::SAME
            }
            _ => verdict(file.found(), theirs, self.policy),
        };
        let decided = match decided {
            Verdict::SAME if self.differs_in_attributes(file, there) => Verdict::REPLACES,
            decided => decided,
        };
        if file.way == Way::Unasked && decided != Verdict::SAME {
            return Ok((Verdict::UNASKED, 0));
        }
        if decided == Verdict::SAME {
            if self.linked.len() < MAX_LINKED {
                self.linked.insert(self.key.hash_one(self.path(&file.name)));
            } else if file.links {
                return Ok((Verdict::NEW, 0));
            }
        }
        if file.links && !decided.is_wanted() && decided != Verdict::SAME {
            // Its other names are made of it.
            return Ok((Verdict::LINKED, 0));
        }
        Ok((decided, 0))
    }

    /// What follows from what an earlier attempt has made of it.
    fn made_before(&self, file: &File) -> Result<Option<(Verdict, u64)>> {
        let Some(made) = self.open.last().and_then(|level| level.made.as_ref()) else { return Ok(None) };
        let is_it = |size, modified| {
            (size, modified) == (file.size, file.modified) && !self.differs_in_attributes(file, made)
        };
        Ok(match self.before(&file.name) {
            Before::Done => match made.find(&file.at).map_err(vault)? {
                Some(Found::File { size, modified, .. }) if is_it(size, modified) => Some((Verdict::SAME, 0)),
                _ => None,
            },
            Before::AtHand(size, modified, at) => {
                let at = at - at % PIECE_LEN;
                let goes_on =
                    at > 0 && file.at == file.name && !self.policy.checksum && is_it(size, modified);
                let is_there = matches!(made.find(&file.name).map_err(vault)?, Some(Found::File { .. }));
                (goes_on && is_there).then_some((Verdict::REST, at))
            }
            Before::No => None,
        })
    }

    /// Names the regular file that a wanted one will take the place of, where that is worth it.
    //= S5.107
    pub(super) fn name_older(&mut self, file: &File, verdict: Verdict) -> Option<OlderFile> {
        let is_worth_it = self.olders.is_some() && file.size >= OLDER_FROM;
        if !is_worth_it || !matches!(verdict, Verdict::REPLACES | Verdict::REST) {
            return None;
        }
        let there = self.open.last()?.there.as_ref()?;
        let theirs = there.find(&file.at).ok().flatten()?;
        let Found::File { size: size @ OLDER_FROM.., .. } = theirs else { return None };
        let is_replaced = || policy::verdict(file.found(), theirs, self.policy) == Verdict::REPLACES;
        if verdict == Verdict::REST && !is_replaced() {
            return None;
        }
        let path = SafeRelPath::of(self.names().chain([&file.name]).cloned().collect());
        let (path, number) = (self.asides.place(&path), self.answered);
        self.olders.as_mut()?.name(number, path, size)
    }

    fn before(&self, name: &SafeName) -> Before {
        let Some(had) = &self.had else { return Before::No };
        let path: Vec<&[u8]> = self.names().chain([name]).map(SafeName::as_bytes).collect();
        let frontier: Vec<&[u8]> = had.path().chain(had.last()).collect();
        if path == frontier
            && let Some(open) = had.file()
        {
            let meta = open.meta.unwrap_or_default();
            let modified = (meta.mtime.unwrap_or(0), meta.mtime_ns.unwrap_or(0));
            return Before::AtHand(open.size, modified, open.at);
        }
        let is_inside = had.last().is_some() && path.starts_with(&frontier);
        // Without a last name, the frontier is a directory that was entered and nothing more.
        if path < frontier || is_inside { Before::Done } else { Before::No }
    }
}
