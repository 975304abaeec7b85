//! The source of a transfer that can be read only once: standard input, a pipe.
//!
//! What was read is kept until so much more was read that no receiver can ask for it: after a broken connection the
//! transfer goes on, as long as the receiver has what is not kept any more. Nothing waits on a disk. Spec: S5.10, S5.16.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hikyaku_wire::files::{BLOCK_LEN, Block, Close, Offer, PutOptions, Target};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{FilesError, Result};
use crate::progress::{Meter, Progress, Stage};
use crate::reader::{Blocks, Said};
use crate::source::new_transfer;
use crate::tree::{Filling, GROUP, GROUP_LEN, Group, Tree};

/// Bytes that are kept: a stream's credit, what the kernel holds for a connection, and some more.
const KEPT: u64 = 32 * 1024 * 1024;
/// So long nothing comes before what has come is sent.
const PAUSE: Duration = Duration::from_millis(5);
/// No byte waits longer for others.
const LONGEST: Duration = Duration::from_millis(20);

/// Bytes to be sent that come once. Clones share them.
#[derive(Clone)]
pub struct OutgoingPipe {
    offer: Offer,
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

/// Whether more comes within this time.
type Ready = Box<dyn Fn(Duration) -> bool + Send>;

struct State {
    input: Box<dyn Read + Send>,
    /// Asks the input; where it cannot be asked, groups are sent when they are whole.
    ready: Option<Ready>,
    /// The hash of everything before the groups that are kept.
    before: Tree,
    /// The last whole groups.
    kept: VecDeque<(Group, Bytes)>,
    /// The group that is read at this moment.
    open: Vec<u8>,
    filling: Filling,
    /// The hash of all whole groups.
    tree: Tree,
    /// The size, once everything was read.
    end: Option<u64>,
}

impl OutgoingPipe {
    /// Prepares to send everything that comes out of `input` under `name`; `shown` is what errors call it.
    ///
    /// Groups are sent when they are whole: see [`OutgoingPipe::live`].
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(input: impl Read + Send + 'static, shown: &str, name: &[u8], target: Target) -> Result<Self> {
        Self::with(Box::new(input), None, shown, name, target)
    }

    /// The same out of a file that can be asked whether more comes, a pipe or a socket: what is there is sent at once.
    ///
    /// # Errors
    /// The system gives no random numbers, or no second handle of the file.
    pub fn live(input: OwnedFd, shown: &str, name: &[u8], target: Target) -> Result<Self> {
        let asked = input.try_clone();
        let asked = asked.map_err(|error| FilesError::Source { path: shown.to_owned(), error })?;
        let ready = move |time: Duration| {
            let time = Timespec::try_from(time).ok();
            // Where it cannot be asked, reading finds out.
            !matches!(poll(&mut [PollFd::new(&asked, PollFlags::IN)], time.as_ref()), Ok(0))
        };
        Self::with(Box::new(File::from(input)), Some(Box::new(ready)), shown, name, target)
    }

    fn with(
        input: Box<dyn Read + Send>,
        ready: Option<Ready>,
        shown: &str,
        name: &[u8],
        target: Target,
    ) -> Result<Self> {
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
        let (before, kept, open) = (Tree::new(), VecDeque::new(), Vec::with_capacity(GROUP));
        let (filling, tree, end) = (Filling::new(0), Tree::new(), None);
        let state = State { input, ready, before, kept, open, filling, tree, end };
        Ok(Self { offer, name: shown.into(), state: Arc::new(Mutex::new(state)) })
    }

    /// The same, with what the sender asks of the receiver: what becomes of a name that is taken, durability.
    #[must_use]
    pub fn with_options(mut self, options: PutOptions) -> Self {
        self.offer.options = (options != PutOptions::default()).then_some(options);
        self
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
        if from > state.read() {
            return Err(range("the receiver asks for bytes that are not there"));
        }
        let Some(skip) = (from / GROUP_LEN).checked_sub(state.before.groups()) else {
            return Err(self.is_past());
        };
        let mut tree = state.before.clone();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        state.kept.iter().take(skip).for_each(|(group, _)| tree.push(group));
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
    /// How much was read.
    fn read(&self) -> u64 {
        self.tree.groups() * GROUP_LEN + self.open.len() as u64
    }

    /// Reads some more: as much as there is without waiting for more than the first, and a block at most.
    fn read_on(&mut self, meter: &Meter) -> io::Result<()> {
        let (begin, mut first) = (self.read(), None);
        while self.end.is_none() && self.read() - begin < BLOCK_LEN {
            let has_group = self.read() / GROUP_LEN > begin / GROUP_LEN;
            match (&self.ready, first) {
                (None, _) if has_group => break,
                // What comes in crumbs is gathered for a moment.
                (Some(ready), Some(at)) => {
                    let left = LONGEST.saturating_sub(Instant::elapsed(&at));
                    if !ready(if has_group { Duration::ZERO } else { left.min(PAUSE) }) || left.is_zero() {
                        break;
                    }
                }
                _ => {}
            }
            self.read_once(meter)?;
            first.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn read_once(&mut self, meter: &Meter) -> io::Result<()> {
        let at = self.open.len();
        self.open.resize(GROUP, 0);
        let read = meter.time(Stage::Disk, || self.input.read(self.open.get_mut(at..).unwrap_or_default()));
        self.open.truncate(at + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
            Ok(0) => self.end = Some(self.read()),
            Ok(_) => {
                let news = self.open.get(at..).unwrap_or_default();
                meter.time(Stage::Cpu, || self.filling.take(news));
            }
        }
        if self.filling.room() == 0
            && let Some(group) = self.filling.group()
        {
            let bytes = std::mem::replace(&mut self.open, Vec::with_capacity(GROUP));
            self.kept.push_back((group, bytes.into()));
            self.tree.push(&group);
            self.filling = Filling::new(self.tree.groups() * GROUP_LEN);
            // Never what has not been sent yet: a block is less than what is kept.
            if self.kept.len() as u64 * GROUP_LEN > KEPT
                && let Some((group, _)) = self.kept.pop_front()
            {
                self.before.push(&group);
            }
        }
        Ok(())
    }

    /// The block that begins at `at`, of what is kept; `None` where nothing is.
    fn block_at(&self, at: u64) -> Option<(Block, Bytes)> {
        let end = self.read().min(at - at % GROUP_LEN + BLOCK_LEN);
        let first = usize::try_from((at / GROUP_LEN).checked_sub(self.before.groups())?).ok()?;
        let (mut bytes, mut cvs) = (BytesMut::new(), Vec::new());
        let mut skip = usize::try_from(at % GROUP_LEN).ok()?;
        let whole = self.kept.iter().skip(first).map(|(group, bytes)| (Some(*group), &bytes[..]));
        for (group, piece) in whole.chain([(self.filling.group(), &self.open[..])]) {
            let left = end.checked_sub(at + bytes.len() as u64).filter(|left| *left > 0);
            let (Some(group), Some(_)) = (group, left) else { break };
            cvs.extend(group.cv);
            bytes.extend_from_slice(piece.get(std::mem::take(&mut skip)..)?);
        }
        let len = bytes.len() as u64;
        (len > 0).then(|| (Block { entry: None, offset: at, len, cvs }, bytes.freeze()))
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
        if state.read() == self.at {
            state
                .read_on(progress.local())
                .map_err(|error| FilesError::Source { path: self.outgoing.name.to_string(), error })?;
        }
        let next = state.block_at(self.at);
        if next.is_none() && state.read() != self.at {
            return Err(self.outgoing.is_past());
        }
        if let Some((block, _)) = &next {
            self.at += block.len;
        }
        Ok(next.map(|(block, bytes)| Said::Block(block, bytes)))
    }

    fn close(self) -> Result<Close> {
        let state = self.outgoing.state();
        let mut tree = state.tree.clone();
        state.filling.group().iter().for_each(|group| tree.push(group));
        let root = tree.root().ok_or(FilesError::SourceChanged("its root is not known"))?;
        Ok(Close { entry: None, size: self.at, root })
    }
}

#[cfg(test)]
mod tests;
