//! A bundle in a vault as a tree that can be sifted: listed from its headers, and read again where something is wanted.
//!
//! Names and content are checked with the chaining values that the vault keeps, so that a bit that was flipped there is
//! found here and named. While it lists, content is passed over without being read. However many records somebody put between two
//! names, a listing that nobody waits for any more ends with the next of them. Spec: sections 5.6 and 5.7.

use std::collections::VecDeque;
use std::sync::Arc;

use hikyaku_storage::vault::Object;
use hikyaku_wire::bundle::{
    Enter, FileEnd, FileHead, HardLink, Leave, LeftOut, MAX_HEADER, Reason, RecordType, Symlink,
};
use hikyaku_wire::files::CV_LEN;
use hikyaku_wire::parcel::Root;
use hikyaku_wire::{cbor, varint};
use tokio::sync::OwnedSemaphorePermit;

use crate::attributes::digest;
use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::pause::Gone;
use crate::sift::{Branches, Entry, ListedFile};
use crate::tree::{self, GROUP, GROUP_LEN};

/// The most bytes that the type and the length of a record have.
const RECORD_HEADER: usize = 16;

/// Zeros that are hashed for roots beside as many as the bundle is long.
const FREE_ZEROS: u64 = 64 * 1024 * 1024;

/// For whom a tree is listed and read.
#[derive(Clone, Default)]
pub(crate) struct Asker {
    /// Set when he waits no longer.
    pub(crate) gone: Gone,
    /// His place among those who are given something: as long as a thread works for him, nobody else gets it.
    pub(crate) _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// A bundle that lies in a vault.
pub(crate) struct ObjectTree {
    listing: Records,
    reading: Records,
    depth: usize,
    /// What directories end with: listed, and not read yet.
    leaves: VecDeque<Leave>,
    /// The size of the file that is being read.
    file: Option<u64>,
    /// Zeros at the beginning of what is wanted of it.
    hole: u64,
    /// Whether files are listed with their roots: then their content is read for it.
    roots: bool,
    /// Whether it may end anywhere: then everything that has begun ends there.
    is_growing: bool,
    /// The zeros that are hashed for that at most: holes take no space in a bundle, and whoever sent it chose them.
    zeros: u64,
}

/// A place in the bundle, and the group that was checked last.
struct Records {
    asker: Asker,
    object: Arc<dyn Object>,
    /// How much of it there is.
    size: u64,
    /// Its root, where that is known: not of one that is still being written.
    root: Option<Root>,
    at: u64,
    group: Option<(u64, Vec<u8>)>,
}

impl ObjectTree {
    pub(crate) fn new(object: Box<dyn Object>, root: Root, roots: bool, asker: &Asker) -> Self {
        let object: Arc<dyn Object> = object.into();
        let size = object.size();
        Self::of(object, (size, Some(root)), roots, asker)
    }

    /// A bundle that is still being written, of which so much is there and verified: to be listed, and not to be read.
    pub(crate) fn growing(object: Arc<dyn Object>, size: u64, asker: &Asker) -> Self {
        Self::of(object, (size, None), false, asker)
    }

    fn of(object: Arc<dyn Object>, (size, root): (u64, Option<Root>), roots: bool, asker: &Asker) -> Self {
        let zeros = size.saturating_add(FREE_ZEROS);
        let records =
            || Records { asker: asker.clone(), object: object.clone(), size, root, at: 0, group: None };
        let (listing, reading, is_growing) = (records(), records(), root.is_none());
        let (depth, leaves, file, hole) = (0, VecDeque::new(), None, 0);
        Self { listing, reading, depth, leaves, file, hole, roots, is_growing, zeros }
    }

    /// What a listing is when the bytes end: directories end, and then it does.
    //= S5.88
    fn cut(&mut self) -> Option<Entry> {
        self.listing.size = 0;
        self.depth = self.depth.checked_sub(1)?;
        Some(Entry::Leave)
    }

    /// A file with its content passed over, or read for its root; or why it is not carried.
    fn list_file(&mut self, place: u64, head: FileHead) -> Result<Entry> {
        let attributes = head.attributes.as_deref().map(digest);
        let so_far = self.is_growing.then(|| (head.name.clone(), head.size, head.meta.unwrap_or_default()));
        match (self.list_whole_file(place, head), so_far) {
            (Err(FilesError::Range { .. }), Some((name, size, meta))) => {
                Ok(Entry::File(ListedFile { name, size, meta, links: false, root: None, attributes, place }))
            }
            (listed, _) => listed,
        }
    }

    fn list_whole_file(&mut self, place: u64, head: FileHead) -> Result<Entry> {
        let (mut hasher, mut is_hashed) = (self.roots.then(blake3::Hasher::new), true);
        loop {
            let (ty, len, header) = self.listing.header(self.roots)?;
            match (ty, &mut hasher) {
                (RecordType::BYTES | RecordType::HOLE, None) => self.listing.at += header + len,
                (RecordType::BYTES, Some(hasher)) => {
                    self.listing.at += header;
                    self.listing.hash(len, hasher)?;
                }
                (RecordType::HOLE, Some(zeros)) => {
                    let len = self.listing.hole()?;
                    match self.zeros.checked_sub(len) {
                        Some(left) => {
                            self.zeros = left;
                            hash_zeros(len, zeros);
                        }
                        None => is_hashed = false,
                    }
                }
                _ => break,
            }
        }
        let (ty, end) = self.listing.record()?;
        if ty != RecordType::END {
            return Err(damaged(self.listing.at));
        }
        let FileEnd { failed } = decode(&end, self.listing.at)?;
        let (name, size, attributes) = (head.name, head.size, head.attributes.as_deref().map(digest));
        if let Some(reason) = failed {
            return Ok(Entry::LeftOut(LeftOut { name, reason }));
        }
        let meta = head.meta.unwrap_or_default();
        let root = hasher.filter(|_| is_hashed).map(|hasher| Root(*hasher.finalize().as_bytes()));
        Ok(Entry::File(ListedFile { name, size, meta, links: false, root, attributes, place }))
    }

    fn list_next(&mut self) -> Result<Option<Entry>> {
        loop {
            let place = self.listing.at;
            let (ty, payload) = self.listing.record()?;
            let at = self.listing.at;
            return Ok(Some(match ty {
                RecordType::ENTER => {
                    self.depth += 1;
                    Entry::Enter(decode::<Enter>(&payload, at)?.name)
                }
                RecordType::LEAVE => {
                    self.depth = self.depth.checked_sub(1).ok_or_else(|| damaged(at))?;
                    self.leaves.push_back(decode(&payload, at)?);
                    Entry::Leave
                }
                RecordType::FILE => self.list_file(place, decode(&payload, at)?)?,
                RecordType::SYMLINK => Entry::Symlink(decode::<Symlink>(&payload, at)?),
                RecordType::HARD_LINK => Entry::HardLink(decode::<HardLink>(&payload, at)?),
                RecordType::LEFT_OUT => Entry::LeftOut(decode::<LeftOut>(&payload, at)?),
                RecordType::DONE => return Ok(None),
                // Of a later version: this one does not know what to list.
                _ => continue,
            }));
        }
    }
}

impl Branches for ObjectTree {
    fn list(&mut self) -> Result<Option<Entry>> {
        match self.list_next() {
            Err(FilesError::Range { .. }) if self.is_growing => Ok(self.cut()),
            listed => listed,
        }
    }

    fn enter(&mut self, _: &[u8]) {}

    fn leave(&mut self) -> Leave {
        self.leaves.pop_front().unwrap_or_default()
    }

    fn begin(&mut self, file: &ListedFile, from: u64, writer: &mut Writer) -> Result<Result<(), Reason>> {
        self.reading.at = file.place;
        let (_, head) = self.reading.record()?;
        let head: FileHead = decode(&head, self.reading.at)?;
        let mut at = 0;
        while at < from {
            let (ty, len, header) = self.reading.header(true)?;
            at += match ty {
                RecordType::BYTES => {
                    self.reading.at += header + len;
                    len
                }
                RecordType::HOLE => self.reading.hole()?,
                _ => return Err(damaged(self.reading.at)),
            };
        }
        self.hole = at - from;
        self.file = Some(head.size);
        writer.file(&FileHead { from: (from > 0).then_some(from), ..head });
        Ok(Ok(()))
    }

    fn step(&mut self, writer: &mut Writer) -> Result<Option<Result<u64, Reason>>> {
        let Some(size) = self.file else { return Err(damaged(self.reading.at)) };
        let (ty, len, header) = self.reading.header(true)?;
        if ty == RecordType::HOLE {
            self.hole += self.reading.hole()?;
            return Ok(None);
        }
        if self.hole > 0 {
            writer.hole(std::mem::take(&mut self.hole));
        }
        if ty == RecordType::BYTES {
            let reading = &mut self.reading;
            reading.at += header;
            let count = usize::try_from(len).unwrap_or(usize::MAX).min(GROUP);
            writer.bytes(count, |into| reading.fill(into).map(|()| true))?;
            return Ok(None);
        }
        let (_, end) = self.reading.record()?;
        let end: FileEnd = decode(&end, self.reading.at)?;
        self.file = None;
        writer.end(&end);
        Ok(Some(end.failed.map_or(Ok(size), Err)))
    }
}

impl Records {
    /// The type, the length and the length of both of the next record. Content's headers need not be checked where only
    /// the next name is looked for: that one is.
    fn header(&mut self, checked: bool) -> Result<(RecordType, u64, u64)> {
        if self.asker.gone.is_set() {
            return Err(hikyaku::Error::Truncated.into());
        }
        let mut bytes = [0; RECORD_HEADER];
        let left = self.size.saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(RECORD_HEADER);
        let bytes = bytes.get_mut(..count).unwrap_or_default();
        if checked {
            self.read(self.at, bytes)?;
        } else if self.object.read(self.at, bytes)? < count {
            return Err(damaged(self.at));
        }
        let parsed = varint::decode(bytes).and_then(|(ty, first)| {
            let (len, second) = varint::decode(bytes.get(first..)?)?;
            Some((RecordType(ty), len, (first + second) as u64))
        });
        let (ty, len, header) = parsed.ok_or_else(|| damaged(self.at))?;
        let end = self.at.checked_add(header).and_then(|at| at.checked_add(len));
        if end.is_none_or(|end| end > self.size) {
            return Err(damaged(self.at));
        }
        Ok((ty, len, header))
    }

    /// The next record, which is no content, checked; the place is behind it.
    fn record(&mut self) -> Result<(RecordType, Vec<u8>)> {
        let (ty, len, header) = self.header(true)?;
        if len > MAX_HEADER {
            return Err(damaged(self.at));
        }
        self.at += header;
        let mut payload = vec![0; usize::try_from(len).unwrap_or(0)];
        self.fill(&mut payload)?;
        Ok((ty, payload))
    }

    /// The zeros of the next record.
    fn hole(&mut self) -> Result<u64> {
        let (_, payload) = self.record()?;
        varint::decode(&payload).map(|(len, _)| len).ok_or_else(|| damaged(self.at))
    }

    /// Reads on.
    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.read(self.at, into)?;
        self.at += into.len() as u64;
        Ok(())
    }

    /// Reads on, for a hash alone.
    fn hash(&mut self, len: u64, hasher: &mut blake3::Hasher) -> Result<()> {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        while left > 0 && !self.asker.gone.is_set() {
            let group = self.at - self.at % GROUP_LEN;
            let begin = usize::try_from(self.at - group).unwrap_or(usize::MAX);
            let bytes = self.group(group)?.get(begin..).unwrap_or_default();
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            hasher.update(bytes);
            let count = bytes.len();
            if count == 0 {
                return Err(damaged(self.at));
            }
            left -= count;
            self.at += count as u64;
        }
        Ok(())
    }

    /// Reads from checked groups.
    fn read(&mut self, mut at: u64, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let group = at - at % GROUP_LEN;
            let bytes = self.group(group)?;
            let begin = usize::try_from(at - group).unwrap_or(usize::MAX);
            let rest = bytes.get(begin..).unwrap_or_default();
            let count = rest.len().min(into.len());
            if count == 0 {
                return Err(damaged(at));
            }
            let (now, later) = std::mem::take(&mut into).split_at_mut(count);
            now.copy_from_slice(rest.get(..count).unwrap_or_default());
            (into, at) = (later, at + count as u64);
        }
        Ok(())
    }

    /// The group at an offset, compared with what the vault says of it.
    //= S5.13
    fn group(&mut self, offset: u64) -> Result<&[u8]> {
        if self.group.as_ref().is_none_or(|(at, _)| *at != offset) {
            let mut bytes = self.group.take().map_or_else(Vec::new, |(_, bytes)| bytes);
            bytes.resize(GROUP, 0);
            let read = self.object.read(offset, &mut bytes)?;
            let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
            bytes.truncate(read.min(left));
            if bytes.is_empty() {
                return Err(damaged(offset));
            }
            let group = tree::group(offset, &bytes);
            let mut cv = [0; 32];
            self.object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cv)?;
            // A bundle of one group has its root in its name.
            let is_whole = offset == 0 && self.size <= GROUP_LEN;
            let is_good = match self.root {
                Some(root) => group.cv == cv && !(is_whole && group.whole() != Some(root)),
                // That of a group that may still grow is not stored: its bytes were compared when they came.
                None => group.cv == cv || bytes.len() < GROUP,
            };
            if !is_good {
                return Err(FilesError::GroupMismatch { offset, len: bytes.len() as u64 });
            }
            self.group = Some((offset, bytes));
        }
        Ok(self.group.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

fn decode<T: for<'b> minicbor::Decode<'b, ()>>(payload: &[u8], at: u64) -> Result<T> {
    cbor::decode(payload, &cbor::Limits::default()).map_err(|_| damaged(at))
}

fn hash_zeros(len: u64, hasher: &mut blake3::Hasher) {
    let mut left = len;
    while left > 0 {
        let count = left.min(GROUP_LEN);
        hasher.update([0; GROUP].get(..usize::try_from(count).unwrap_or(GROUP)).unwrap_or_default());
        left -= count;
    }
}

fn damaged(at: u64) -> FilesError {
    FilesError::Range { reason: "the stored bundle is not one", offset: at, len: 0 }
}

#[cfg(test)]
mod tests;
