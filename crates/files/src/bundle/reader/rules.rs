//! What each record may say, where it stands: names in order and safe, files with all of their bytes, counts that agree. Spec:
//! section 5.6.

use hikyaku_wire::bundle::{
    Done, Enter, FileEnd, FileHead, HardLink, Leave, LeftOut, MAX_LINK, PIECE_LEN, RecordType, Symlink,
};
use hikyaku_wire::cbor::{self, Limits};
use hikyaku_wire::files::Component;
use hikyaku_wire::varint;
use minicbor::Decode;

use super::{BundleError, Item, OpenFile, Reader};
use crate::names::{Dots, MAX_DEPTH, MAX_PATH, NameError, SafeName, SafeRelPath};

impl Reader {
    /// What the header of a record says, if it may say so here.
    pub(super) fn item(&mut self, ty: RecordType, payload: &[u8]) -> Result<Item<'static>, BundleError> {
        let inside_file = matches!(ty, RecordType::HOLE | RecordType::END);
        if inside_file != self.at.file.is_some() {
            return Err(self.order(if inside_file {
                "a file's part outside a file"
            } else {
                "a file without its end"
            }));
        }
        match ty {
            RecordType::ENTER => self.enter(self.header(payload)?),
            RecordType::LEAVE => self.leave(self.header(payload)?),
            RecordType::FILE => self.file(self.header(payload)?),
            RecordType::HOLE => self.hole(payload),
            RecordType::END => self.end(self.header(payload)?),
            RecordType::SYMLINK => self.symlink(self.header(payload)?),
            RecordType::HARD_LINK => self.hard_link(self.header(payload)?),
            RecordType::LEFT_OUT => {
                let left_out: LeftOut = self.header(payload)?;
                let name = self.name(&left_out.name)?;
                self.at.done.left_out += 1;
                Ok(Item::LeftOut(name, left_out))
            }
            RecordType::KEPT => self.kept(payload),
            _ => self.done(self.header(payload)?),
        }
    }

    fn enter(&mut self, enter: Enter) -> Result<Item<'static>, BundleError> {
        let name = self.name(&enter.name)?;
        self.at.done.entries += 1;
        self.at.path.push(Component(enter.name));
        self.at.last = None;
        Ok(Item::Enter(name))
    }

    fn leave(&mut self, leave: Leave) -> Result<Item<'static>, BundleError> {
        let Some(name) = self.at.path.pop() else {
            return Err(self.order("the end of a directory that never began"));
        };
        self.at.last = Some(name);
        Ok(Item::Leave(leave))
    }

    fn file(&mut self, head: FileHead) -> Result<Item<'static>, BundleError> {
        let name = self.name(&head.name)?;
        let at = head.from.unwrap_or(0);
        if at > 0 && !self.listed || !at.is_multiple_of(PIECE_LEN) || at > head.size {
            return Err(self.order("a file that begins in its middle"));
        }
        self.at.file =
            Some(OpenFile { name: Component(head.name.clone()), size: head.size, at, meta: head.meta });
        self.at.after_hole = false;
        Ok(Item::File(name, head))
    }

    //= S5.45
    fn hole(&mut self, payload: &[u8]) -> Result<Item<'static>, BundleError> {
        let len = match varint::decode(payload) {
            Some((len, length)) if length == payload.len() && varint::is_shortest(len, length) => len,
            _ => return Err(self.order("a hole without a length")),
        };
        let offset = self.at.offset;
        let order = |reason| Err(BundleError::Order { reason, offset });
        let Some(file) = &mut self.at.file else { return order("a hole outside a file") };
        if len == 0 || !len.is_multiple_of(PIECE_LEN) || len > file.size - file.at {
            return order("a hole that is not whole pieces of the file");
        }
        if std::mem::replace(&mut self.at.after_hole, true) {
            return order("two holes in a row");
        }
        file.at += len;
        Ok(Item::Hole(len))
    }

    //= S5.63
    fn kept(&mut self, payload: &[u8]) -> Result<Item<'static>, BundleError> {
        if !self.listed {
            return Err(self.order("files that are left out without a listing"));
        }
        let count = match varint::decode(payload) {
            Some((count, length)) if length == payload.len() && varint::is_shortest(count, length) => count,
            _ => return Err(self.order("kept files without their number")),
        };
        let kept = self.at.done.kept.unwrap_or(0).checked_add(count);
        if count == 0 || kept.is_none() {
            return Err(self.order("a number of kept files that cannot be"));
        }
        if std::mem::replace(&mut self.at.after_kept, true) {
            return Err(self.order("two runs of kept files in a row"));
        }
        self.at.done.kept = kept;
        Ok(Item::Kept(count))
    }

    //= S5.46
    fn end(&mut self, end: FileEnd) -> Result<Item<'static>, BundleError> {
        let Some(file) = self.at.file.take() else {
            return Err(self.order("the end of a file outside a file"));
        };
        if end.failed.is_some() {
            self.at.done.left_out += 1;
        } else if file.at != file.size {
            return Err(self.order("a file that ends before its size"));
        } else {
            self.at.done.entries += 1;
            self.at.done.bytes = self.at.done.bytes.saturating_add(file.size);
        }
        Ok(Item::End(end))
    }

    fn symlink(&mut self, link: Symlink) -> Result<Item<'static>, BundleError> {
        let name = self.name(&link.name)?;
        if link.target.is_empty() || link.target.len() > MAX_LINK || link.target.contains(&0) {
            return Err(self.order("a symbolic link that points to no path"));
        }
        self.at.done.entries += 1;
        Ok(Item::Symlink(name, link))
    }

    //= S5.43
    fn hard_link(&mut self, link: HardLink) -> Result<Item<'static>, BundleError> {
        let name = self.name(&link.name)?;
        let own = self.at.path.iter().map(|component| &component.0).chain([&link.name]);
        if link.to.is_empty() || !link.to.iter().map(|component| &component.0).lt(own) {
            return Err(self.order("a second name of a file that did not come before it"));
        }
        if let Some(top) = link.to.first() {
            SafeName::parse(&top.0, self.top)?;
        }
        let to = SafeRelPath::parse(link.to.iter().map(|component| component.0.as_slice()), Dots::Inside)?;
        self.at.done.entries += 1;
        Ok(Item::HardLink(name, to))
    }

    //= S5.48
    fn done(&mut self, done: Done) -> Result<Item<'static>, BundleError> {
        if !self.at.path.is_empty() {
            return Err(self.order("the end of the bundle inside a directory"));
        }
        if (Done { chain: None, ..done }) != self.at.done || done.chain.is_some() != done.kept.is_some() {
            return Err(self.order("the end of the bundle counts something else than what came"));
        }
        Ok(Item::Done(done))
    }

    /// Checks the name of an entry: safe, after its elder siblings, not too deep.
    //= S5.41
    //= S5.42
    fn name(&mut self, name: &[u8]) -> Result<SafeName, BundleError> {
        let safe = SafeName::parse(name, if self.at.path.is_empty() { self.top } else { Dots::Inside })?;
        let depth = self.at.path.len() + 1;
        if depth > MAX_DEPTH {
            return Err(NameError::TooDeep(depth).into());
        }
        let above: usize = self.at.path.iter().map(|component| component.0.len() + 1).sum();
        if above + name.len() > MAX_PATH {
            return Err(NameError::PathTooLong(above + name.len()).into());
        }
        if self.at.last.as_ref().is_some_and(|last| last.0.as_slice() >= name) {
            return Err(self.order("a name that does not follow the one before it"));
        }
        self.at.last = Some(Component(name.to_vec()));
        Ok(safe)
    }

    fn header<T: for<'b> Decode<'b, ()>>(&self, payload: &[u8]) -> Result<T, BundleError> {
        let offset = self.at.offset;
        cbor::decode(payload, &Limits::default()).map_err(|error| BundleError::Header { offset, error })
    }

    pub(super) fn order(&self, reason: &'static str) -> BundleError {
        BundleError::Order { reason, offset: self.at.offset }
    }
}
