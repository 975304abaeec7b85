//! Writing records.

use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, HardLink, Leave, LeftOut, RecordType, Symlink};
use hikyaku_wire::{cbor, varint};
use minicbor::Encode;

/// Appends records to a buffer. Order is the caller's: a walk in the order of names.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// What was written and not yet taken.
    pub fn written(&self) -> &[u8] {
        &self.out
    }

    /// Forgets the first `count` bytes: they were taken.
    pub fn consume(&mut self, count: usize) {
        self.out.drain(..count.min(self.out.len()));
    }

    /// A directory begins.
    pub fn enter(&mut self, enter: &Enter) {
        self.header(RecordType::ENTER, enter);
    }

    /// The directory that was entered last ends.
    pub fn leave(&mut self, leave: &Leave) {
        self.header(RecordType::LEAVE, leave);
    }

    /// A file begins.
    pub fn file(&mut self, head: &FileHead) {
        self.header(RecordType::FILE, head);
    }

    /// The file's next `len` bytes, which `fill` puts in place; what it returns is passed on.
    ///
    /// When `fill` finds only zeros it says `false`, and the record is taken back.
    pub fn bytes<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let start = self.out.len();
        varint::encode(RecordType::BYTES.0, &mut self.out);
        varint::encode(len as u64, &mut self.out);
        let at = self.out.len();
        self.out.resize(at + len, 0);
        let kept = fill(&mut self.out[at..]);
        if !matches!(kept, Ok(true)) {
            self.out.truncate(start);
        }
        kept
    }

    /// Appends what another one wrote.
    pub fn append(&mut self, other: Self) {
        self.out.extend(other.out);
    }

    /// The file's next `len` bytes are zero.
    pub fn hole(&mut self, len: u64) {
        varint::encode(RecordType::HOLE.0, &mut self.out);
        varint::encode(varint::len(len) as u64, &mut self.out);
        varint::encode(len, &mut self.out);
    }

    /// The next `count` files of the listing are not carried.
    pub fn kept(&mut self, count: u64) {
        varint::encode(RecordType::KEPT.0, &mut self.out);
        varint::encode(varint::len(count) as u64, &mut self.out);
        varint::encode(count, &mut self.out);
    }

    /// The file ends.
    pub fn end(&mut self, end: &FileEnd) {
        self.header(RecordType::END, end);
    }

    /// A symbolic link.
    pub fn symlink(&mut self, link: &Symlink) {
        self.header(RecordType::SYMLINK, link);
    }

    /// A second name.
    pub fn hard_link(&mut self, link: &HardLink) {
        self.header(RecordType::HARD_LINK, link);
    }

    /// Something that is not carried.
    pub fn left_out(&mut self, left_out: &LeftOut) {
        self.header(RecordType::LEFT_OUT, left_out);
    }

    /// The bundle ends.
    pub fn done(&mut self, done: &Done) {
        self.header(RecordType::DONE, done);
    }

    fn header<T: Encode<()>>(&mut self, ty: RecordType, message: &T) {
        let payload = cbor::encode(message);
        varint::encode(ty.0, &mut self.out);
        varint::encode(payload.len() as u64, &mut self.out);
        self.out.extend(payload);
    }
}
