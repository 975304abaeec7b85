//! What each record of a bundle does to the tree that is being made.

use std::io;
use std::os::fd::AsFd;

use hikyaku_wire::bundle::{FileHead, Leave, Reason};
use hikyaku_wire::files::Synced;

use super::sifter::{self, Sifter, Way};
use super::{Missing, Open, Unpacker, vault};
use crate::attributes::set_attributes;
use crate::bundle::Item;
use crate::disk;
use crate::error::Result;
use crate::folded::Folded;
use crate::jail::{Found, mark, set_metadata};
use crate::names::{SafeName, SafeRelPath};
use crate::policy::{MAX_ASIDE, other_names};
use crate::prints::Prints;
use crate::staging::full;

impl Unpacker {
    /// What an earlier attempt made of a name goes, unless it is gone on with.
    pub(super) fn make_way(&mut self, item: &Item<'_>) -> Result<()> {
        let at = match (&self.way, item) {
            (Way::Kept(last), _) => {
                self.reader.pass(last);
                return Ok(());
            }
            // Inside of what is not made nothing was made before.
            _ if !self.skipped.is_empty() => return Ok(()),
            (Way::Made, Item::File(_, FileHead { from: Some(1..), .. })) => return Ok(()),
            (way, item) => match (way, entry_name(item)) {
                (Way::Aside(other), Some(_)) => other.clone(),
                (Way::Made, Some(name)) => name.clone(),
                _ => return Ok(()),
            },
        };
        let is_there = self.dir().find(&at).map_err(vault)? == Some(Found::Directory);
        if is_there && matches!(item, Item::Enter(_)) {
            return Ok(());
        }
        if self.way == Way::Made {
            // Where something else was, there is nothing now.
            self.way = Way::Free;
        }
        self.dir().remove_all(&at).map_err(vault)
    }

    /// Does what a record says. Where the disk has no room for it, it can be called again.
    pub(super) fn apply(&mut self, item: &Item<'_>) -> Result<()> {
        match item {
            Item::Enter(name) => self.enter(name)?,
            Item::Leave(leave) => self.leave(leave)?,
            Item::File(name, head) => self.begin(name, head)?,
            Item::Bytes(bytes) => {
                let Some(open) = &mut self.file else { return Ok(()) };
                let written = disk::write_all_at(&open.file, bytes, open.at);
                written.map_err(|error| full(&self.stack[0].1, bytes.len() as u64, error))?;
                open.at += bytes.len() as u64;
                open.prints.iter_mut().for_each(|prints| prints.update(bytes));
            }
            Item::Hole(len) => self.file.iter_mut().for_each(|open| {
                open.at += *len;
                open.prints.iter_mut().for_each(|prints| prints.zeros(*len));
            }),
            Item::End(end) => self.end(end.failed)?,
            Item::Symlink(name, link) => self.symlink(name, link)?,
            Item::HardLink(name, to) => self.hard_link(name, to)?,
            Item::LeftOut(name, left_out) => self.missing(Some(name), Missing::Source(left_out.reason)),
            Item::Unknown(_) => self.missing(None, Missing::Unknown),
            Item::Kept(_) => {}
            Item::Done(done) => {
                self.report.kept = self.sifter.as_ref().map_or((0, 0), Sifter::kept);
                self.report.counts = sifter::whole(*done, self.report.kept);
            }
        }
        Ok(())
    }

    /// Makes an entry under its name, and says under which; where that name and another one are the same here under
    /// another name, or not at all, and it is reported.
    //= S5.52
    fn make<T>(
        &mut self,
        name: &SafeName,
        make: impl Fn(&Self, &SafeName) -> io::Result<T>,
    ) -> Result<Option<(SafeName, T)>> {
        if self.way == Way::Unasked {
            return Ok(None);
        }
        if !self.skipped.is_empty() {
            self.missing(Some(name), Missing::Collides);
            return Ok(None);
        }
        let mut at = if let Way::Aside(other) = &self.way { other.clone() } else { name.clone() };
        let has = |at: &SafeName| self.folded.as_ref().is_some_and(|folded| folded.has(at));
        let taken = || Err(io::ErrorKind::AlreadyExists.into());
        let mut made = if has(&at) || self.way == Way::Collides { taken() } else { make(self, &at) };
        let finds_other = self.options.aside && self.sifter.is_none() && self.asides.has_room();
        if finds_other && is_taken(&made) {
            for other in other_names(name).take(MAX_ASIDE).filter(|other| !has(other)) {
                made = make(self, &other);
                if !is_taken(&made) {
                    at = other;
                    break;
                }
            }
        }
        if is_taken(&made) {
            self.missing(Some(name), Missing::Collides);
            return Ok(None);
        }
        let made = made.map_err(|error| full(self.root(), 0, error))?;
        self.folded.as_mut().map_or(Ok(()), |folded| folded.add(&at))?;
        if at != *name {
            self.missing(Some(name), Missing::Aside);
            if self.sifter.is_none() {
                let path = self.path_of(Some(name));
                self.asides.add(&path, at.clone());
            }
        }
        Ok(Some((at, made)))
    }

    /// Marks what was just made as its owner's. Where that fails it is removed: it will be made again, or not at all.
    fn mark<T: AsFd>(
        &self,
        made: T,
        remove: impl FnOnce(&SafeName) -> io::Result<()>,
        name: &SafeName,
    ) -> io::Result<T> {
        let Some(owner) = self.bounds.owner() else { return Ok(made) };
        if let Err(error) = mark(&made, &owner) {
            remove(name)?;
            return Err(error);
        }
        Ok(made)
    }

    fn enter(&mut self, name: &SafeName) -> Result<()> {
        let open = |to: &Self, at: &SafeName| match to.way {
            Way::Made => to.dir().open_child(at),
            Way::Aside(_) => to.dir().enter(at),
            _ => {
                let made = to.dir().make_child(at)?;
                to.mark(made, |at| to.dir().remove_all(at), at)
            }
        };
        match self.make(name, open)? {
            Some((_, inner)) => {
                self.stack.push((Some(name.clone()), inner));
                self.folded.iter_mut().for_each(Folded::enter);
            }
            None => self.skipped.push(name.clone()),
        }
        Ok(())
    }

    fn begin(&mut self, name: &SafeName, head: &FileHead) -> Result<()> {
        let from = head.from.unwrap_or(0);
        let open = |to: &Self, at: &SafeName| match from {
            0 => to.mark(to.dir().create(at)?, |at| to.dir().remove(at), at),
            from => to.dir().open_from(at, from),
        };
        let Some((placed, file)) = self.make(name, open)? else { return Ok(()) };
        let attributes = head.attributes.as_deref().unwrap_or_default();
        // At once, and not at the end: where the bundle is gone on with, they are not told again.
        if !set_attributes(&file, attributes) {
            self.missing(Some(name), Missing::Attributes);
        }
        let prints = self.options.prints.then(|| Prints::from(from));
        self.file = Some(Open { file, name: name.clone(), placed, head: head.clone(), at: from, prints });
        Ok(())
    }

    fn leave(&mut self, leave: &Leave) -> Result<()> {
        if self.skipped.pop().is_some() {
            return Ok(());
        }
        let Some((_, dir)) = self.stack.last() else { return Ok(()) };
        let attributes = leave.attributes.as_deref().unwrap_or_default();
        let kept = set_attributes(dir, attributes);
        dir.set_metadata(&leave.meta.unwrap_or_default()).map_err(vault)?;
        if !kept {
            self.missing(None, Missing::Attributes);
        }
        self.stack.pop();
        self.folded.iter_mut().for_each(Folded::leave);
        Ok(())
    }

    fn end(&mut self, failed: Option<Reason>) -> Result<()> {
        let Some(open) = &self.file else { return Ok(()) };
        if let Some(reason) = failed {
            self.dir().remove(&open.placed).map_err(vault)?;
            let name = open.name.clone();
            self.file = None;
            self.missing(Some(&name), Missing::Source(reason));
            return Ok(());
        }
        let length = open.file.metadata().map_err(vault)?.len();
        if length != open.head.size {
            disk::set_len(&open.file, open.head.size).map_err(|error| full(self.root(), 0, error))?;
        }
        // What no mark will cover must be durable before it looks whole to another attempt.
        let is_covered = self.sifter.as_ref().zip(self.reader.position());
        if is_covered.is_some_and(|(sifter, position)| !sifter.is_news(position)) {
            disk::sync_all(&open.file).map_err(vault)?;
        }
        let meta = open.head.meta.unwrap_or_default();
        // Before its mode: that may say that nobody writes to it.
        if let Some(prints) = &open.prints {
            prints.clone().keep(&open.file, open.head.size, &meta);
        }
        set_metadata(open.file.as_fd(), &meta).map_err(vault)?;
        if self.options.synced == Synced::Each {
            disk::sync_all(&open.file).map_err(vault)?;
        }
        self.file = None;
        Ok(())
    }

    //= S5.49
    fn symlink(&mut self, name: &SafeName, link: &hikyaku_wire::bundle::Symlink) -> Result<()> {
        if !self.options.all_links && leads_out(&link.target, self.stack.len() - 1) {
            self.missing(Some(name), Missing::LinkOut);
            return Ok(());
        }
        let modified = link.meta.and_then(|meta| Some((meta.mtime?, meta.mtime_ns.unwrap_or(0))));
        self.make(name, |to, at| to.dir().symlink(&link.target, at, modified)).map(|_| ())
    }

    fn hard_link(&mut self, name: &SafeName, to: &SafeRelPath) -> Result<()> {
        let linked = self.make(name, |here, at| match here.root().link(&here.place(to), here.dir(), at) {
            // The first name failed, or it or a directory on the way is a link of the bundle's own.
            Err(error) if leads_nowhere(&error) => {
                here.sifter.as_ref().map_or(Ok(false), |sifter| sifter.link_kept(to, here.dir(), at))
            }
            linked => linked.map(|()| true),
        })?;
        if linked.is_some_and(|(_, linked)| !linked) {
            self.missing(Some(name), Missing::LinkTarget);
        }
        Ok(())
    }

    fn missing(&mut self, name: Option<&SafeName>, why: Missing) {
        let path = self.path_of(name);
        if self.sifter.as_ref().is_none_or(|sifter| sifter.is_asked(&path)) {
            self.report.add(path, why);
        }
    }

    /// The path of an entry of the innermost directory, or its own, as the bundle has it.
    pub(super) fn path_of(&self, name: Option<&SafeName>) -> Vec<u8> {
        let names = self.stack.iter().filter_map(|(name, _)| name.as_ref());
        let path: Vec<&[u8]> = names.chain(&self.skipped).chain(name).map(SafeName::as_bytes).collect();
        path.join(&b'/')
    }

    /// Where something lies that the bundle has at `path`.
    fn place(&self, path: &SafeRelPath) -> SafeRelPath {
        self.sifter.as_ref().map_or_else(|| self.asides.place(path), |sifter| sifter.place(path))
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

/// The name of the entry that an item begins.
fn entry_name<'a>(item: &'a Item<'_>) -> Option<&'a SafeName> {
    match item {
        Item::Enter(name)
        | Item::File(name, _)
        | Item::Symlink(name, _)
        | Item::HardLink(name, _)
        | Item::LeftOut(name, _) => Some(name),
        _ => None,
    }
}

fn is_taken<T>(made: &io::Result<T>) -> bool {
    made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
}

fn leads_nowhere(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
