//! The source of a transfer that can be read only once: standard input, a pipe.
//!
//! What was read is kept until so much more was read that no receiver can ask for it: after a broken connection the
//! transfer goes on, as long as the receiver has what is not kept any more. Nothing waits on a disk. Spec: S5.10, S5.16.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hikyaku_wire::files::{BLOCK_LEN, Block, Close, Offer, Target};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};

use crate::error::{FilesError, Result};
use crate::progress::{Meter, Progress, Stage};
use crate::reader::{Blocks, Said};
use crate::source::new_transfer;
use crate::tree::{self, GROUP, GROUP_LEN, Tree};

/// Bytes that are kept: a stream's credit, what the kernel holds for a connection, and some more.
const KEPT: u64 = 32 * 1024 * 1024;

/// Bytes to be sent that come once. Clones share them.
#[derive(Clone)]
pub struct OutgoingPipe {
    offer: Offer,
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

struct State {
    input: Box<dyn Read + Send>,
    /// The hash of everything read.
    tree: Tree,
    /// The last blocks, each with the hash of what lies before it.
    kept: VecDeque<(Tree, Block, Bytes)>,
    /// Read, and not yet part of a block: the first so many bytes.
    buffer: Vec<u8>,
    filled: usize,
    /// The size, once everything was read.
    end: Option<u64>,
}

impl OutgoingPipe {
    /// Prepares to send everything that comes out of `input` under `name`; `shown` is what errors call it.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(input: impl Read + Send + 'static, shown: &str, name: &[u8], target: Target) -> Result<Self> {
        let offer = Offer {
            transfer: new_transfer()?,
            target,
            name: name.to_vec(),
            kind: EntryKind::File,
            size: None,
            meta: None,
            options: None,
            tops: None,
        };
        let state = State {
            input: Box::new(input),
            tree: Tree::default(),
            kept: VecDeque::new(),
            buffer: vec![0; usize::try_from(BLOCK_LEN).unwrap_or(GROUP)],
            filled: 0,
            end: None,
        };
        Ok(Self { offer, name: shown.into(), state: Arc::new(Mutex::new(state)) })
    }

    /// The transfer's name.
    pub fn transfer(&self) -> TransferId {
        self.offer.transfer
    }

    /// What is offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Reads from `from` on. `prefix` is the receiver's hash of what lies before.
    //= S5.10
    //= S5.16
    pub(crate) fn read_from(&self, from: u64, prefix: Option<Root>) -> Result<ReadingPipe> {
        let range = |reason| FilesError::Range { reason, offset: from, len: 0 };
        if !from.is_multiple_of(GROUP_LEN) {
            return Err(range("the receiver asks for a part of a group"));
        }
        let state = self.state();
        let read = state.end.unwrap_or(state.tree.groups() * GROUP_LEN);
        if from > read {
            return Err(range("the receiver asks for bytes that are not there"));
        }
        let tree = match state.kept.iter().find(|(_, block, _)| block.offset + block.len > from) {
            Some((tree, block, bytes)) if block.offset <= from => {
                let before = usize::try_from(from - block.offset).unwrap_or(usize::MAX);
                bytes.get(..before).unwrap_or_default().chunks(GROUP).fold(tree.clone(), |mut tree, piece| {
                    let group = tree::group(tree.groups() * GROUP_LEN, piece);
                    tree.push(&group);
                    tree
                })
            }
            None if from == read => state.tree.clone(),
            _ => return Err(self.is_past()),
        };
        if prefix.is_some() && tree.root() != prefix {
            return Err(FilesError::SourceChanged("the receiver has other bytes than were sent before"));
        }
        Ok(ReadingPipe { outgoing: self.clone(), at: from })
    }

    fn is_past(&self) -> FilesError {
        let past = "the connection broke, the receiver lost more than what is kept of it, and it cannot be read again";
        FilesError::Source {
            path: self.name.to_string(),
            error: io::Error::new(io::ErrorKind::NotSeekable, past),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutgoingPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingPipe").field("offer", &self.offer).finish_non_exhaustive()
    }
}

impl State {
    /// Reads the next block: whole groups, as many as there are without waiting for more than the first; or the rest.
    fn read_block(&mut self, meter: &Meter) -> io::Result<Option<(Block, Bytes)>> {
        while self.end.is_none() && self.filled < GROUP {
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            match meter.time(Stage::Disk, || self.input.read(room)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => self.end = Some(self.tree.groups() * GROUP_LEN + self.filled as u64),
                Ok(read) => self.filled += read,
            }
        }
        let taken = if self.end.is_none() { self.filled / GROUP * GROUP } else { self.filled };
        // A copy of just as many bytes: what is kept must not keep a whole buffer with it.
        let bytes = Bytes::copy_from_slice(self.buffer.get(..taken).unwrap_or_default());
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        if bytes.is_empty() {
            return Ok(None);
        }
        let (before, offset) = (self.tree.clone(), self.tree.groups() * GROUP_LEN);
        let mut cvs = Vec::with_capacity(bytes.len().div_ceil(GROUP) * 32);
        meter.time(Stage::Cpu, || {
            for (index, piece) in bytes.chunks(GROUP).enumerate() {
                let group = tree::group(offset + (index * GROUP) as u64, piece);
                cvs.extend(group.cv);
                self.tree.push(&group);
            }
        });
        let block = Block { entry: None, offset, len: bytes.len() as u64, cvs };
        self.kept.push_back((before, block.clone(), bytes.clone()));
        let end = block.offset + block.len;
        while self.kept.front().is_some_and(|(_, block, _)| block.offset + block.len + KEPT < end) {
            self.kept.pop_front();
        }
        Ok(Some((block, bytes)))
    }

    /// The rest of the kept block that holds `at`.
    fn kept_at(&self, at: u64) -> Option<(Block, Bytes)> {
        let (_, block, bytes) =
            self.kept.iter().find(|(_, block, _)| (block.offset..block.offset + block.len).contains(&at))?;
        let skip = at - block.offset;
        let cvs = block.cvs.get(usize::try_from(skip / GROUP_LEN * 32).ok()?..)?.to_vec();
        let bytes = bytes.slice(usize::try_from(skip).ok()?..);
        Some((Block { entry: None, offset: at, len: block.len - skip, cvs }, bytes))
    }
}

/// A pipe being read.
pub(crate) struct ReadingPipe {
    outgoing: OutgoingPipe,
    at: u64,
}

impl Blocks for ReadingPipe {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        // An attempt that was given up may be reading: what it reads is kept for this one.
        let mut state = self.outgoing.state();
        let next = match state.kept_at(self.at) {
            Some(kept) => Some(kept),
            None if state.end.is_some_and(|end| end <= self.at) => None,
            None if self.at != state.tree.groups() * GROUP_LEN => return Err(self.outgoing.is_past()),
            None => state
                .read_block(progress.local())
                .map_err(|error| FilesError::Source { path: self.outgoing.name.to_string(), error })?,
        };
        if let Some((block, _)) = &next {
            self.at += block.len;
        }
        Ok(next.map(|(block, bytes)| Said::Block(block, bytes)))
    }

    fn close(self) -> Result<Close> {
        let state = self.outgoing.state();
        let root = state.tree.root().ok_or(FilesError::SourceChanged("its root is not known"))?;
        Ok(Close { entry: None, size: self.at, root })
    }
}

#[cfg(test)]
mod tests;
