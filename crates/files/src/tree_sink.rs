//! A tree on its way into a directory: the same for an upload at the server and a download at the client.
//!
//! Verified first, unpacked second, and marked every [`MARK_BYTES`] or [`MARK_TIME`] once what was unpacked is durable.
//! Publishing is begun durably and can be begun again, so a crash in its middle leaves nothing half done. Spec: section
//! 5.6, S5.30, S5.33.

use std::sync::Arc;
use std::time::Instant;

use hikyaku_storage::vault::{MAX_STATE, Mark, VaultError};
use hikyaku_wire::bundle::Done;
use hikyaku_wire::files::{Answer, Block, List, MAX_MISSING, MissingEntry, PutOptions, Synced, TreeReceipt};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use crate::coming::{Coming, Next};
use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::journal::MAX_PAYLOAD;
use crate::names::{Dots, escape};
use crate::pause::Waiting;
use crate::policy::Policy;
use crate::progress::{Progress, Stage};
use crate::receive::Receiving;
use crate::sift::ANSWERS;
use crate::staging::Staged;
use crate::unpack::{
    Bounds, Olders, Only, Places, Report, Sifter, UnpackOptions, UnpackState, Unpacker, publish,
};
use crate::writer::{MARK_BYTES, MARK_TIME, Work};

/// A tree being received.
#[derive(Debug)]
pub(crate) struct TreeSink {
    staged: Staged,
    unpacker: Unpacker,
    options: PutOptions,
    unpack: UnpackOptions,
    /// Where the answers to a listing go.
    answers: mpsc::Sender<Answer>,
    /// Something was listed.
    is_listed: bool,
    bounds: Bounds,
}

/// A tree that is whole and in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) root: Root,
    pub(crate) size: u64,
    pub(crate) synced: Synced,
    pub(crate) report: Report,
    /// What its sender is told.
    pub(crate) tree: TreeReceipt,
    /// It was moved as it was: nothing was replaced or left out.
    pub(crate) is_whole: bool,
}

/// What a transfer's remains are good for.
pub(crate) enum Opening {
    /// The bytes go here, from where the second says.
    Open(Box<TreeSink>, Mark),
    /// It is whole, and has to be published again: a crash came in between.
    Whole(Box<Staged>, Root, u64),
}

/// What a tree is received into, and how.
pub(crate) struct Into<'a> {
    /// Where it goes.
    pub(crate) place: &'a Dir,
    pub(crate) options: PutOptions,
    pub(crate) dots: Dots,
    /// When it is to be listed ahead.
    pub(crate) listing: Listing,
    /// What of it is wanted; all, when it is not said.
    pub(crate) only: Option<Arc<Only>>,
    /// Whether prints are kept of files.
    pub(crate) prints: bool,
}

/// When a tree is to be listed ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// When some of it may be there, and whenever it goes on.
    WhenKnown(bool),
    /// When some of it may be there; an attempt that was not listed goes on at its offset.
    WhenNew(bool),
}

impl TreeSink {
    /// Goes on with what is there, or begins anew. The second end gets what is to be told the sender: the
    /// answers to a listing, and of a full disk.
    //= S5.60
    pub(crate) fn open(mut staged: Staged, into: &Into<'_>) -> Result<(Opening, mpsc::Receiver<Answer>)> {
        let (answers, told) = mpsc::channel(ANSWERS);
        if let Some((root, size)) = staged.sealing() {
            return Ok((Opening::Whole(Box::new(staged), root, size), told));
        }
        let options = into.options;
        let unpack = UnpackOptions {
            dots: into.dots,
            all_links: options.all_links.unwrap_or(false),
            synced: options.synced.unwrap_or(Synced::Batch),
            distinct: options.distinct.unwrap_or(false),
            aside: options.aside.unwrap_or(false),
            prints: into.prints,
        };
        let opened = |staged, unpacker, mark| {
            let sink = Self {
                staged,
                unpacker,
                options,
                unpack,
                answers,
                is_listed: false,
                bounds: Bounds::default(),
            };
            Ok((Opening::Open(Box::new(sink), mark), told))
        };
        let known = known(staged.mark());
        let lists = match (into.listing, &known) {
            (Listing::WhenKnown(may_be), known) => may_be || known.is_some(),
            (Listing::WhenNew(may_be), None) => may_be,
            (Listing::WhenNew(_), Some((_, state))) => state.sifted == Some(true),
        };
        if lists {
            if known.is_none() {
                staged.restart_tree()?;
            }
            let there = Some(into.place.try_clone().map_err(VaultError::Io)?);
            let (had, policy) = (known.map(|(_, state)| state.position), Policy::of(&options));
            let made = if had.is_some() { Some(staged.tree_dir()?) } else { None };
            let sifter = Sifter::new(there, made, had, policy, &unpack)?.only(into.only.clone());
            let unpacker = Unpacker::sifting(staged.tree_dir()?, unpack, sifter);
            return opened(staged, unpacker, Mark::default());
        }
        if let Some((mark, state)) = known
            && let Ok(unpacker) = Unpacker::resume(staged.tree_dir()?, unpack, state)
        {
            return opened(staged, unpacker, mark);
        }
        staged.restart_tree()?;
        let unpacker = Unpacker::new(staged.tree_dir()?, unpack);
        opened(staged, unpacker, Mark::default())
    }

    /// Takes no more than these allow.
    pub(crate) fn bound(&mut self, bounds: Bounds) {
        self.unpacker.bound(bounds.clone());
        self.bounds = bounds;
    }

    /// The directory in which it is being made.
    pub(crate) fn made(&self) -> Result<Dir> {
        Ok(self.staged.tree_dir()?)
    }

    /// Where something else is told that the sender is to know.
    pub(crate) fn teller(&self) -> mpsc::Sender<Answer> {
        self.answers.clone()
    }

    /// Names older versions of what it replaces, where the sender is to list what it has. `places` bounds how many are read.
    pub(crate) fn renew(&mut self, places: Places) -> Result<()> {
        let teller = self.teller();
        self.unpacker.renew(|top| Olders::new(top, teller, places))
    }

    /// Whether the sender is to list what it has.
    pub(crate) fn lists(&self) -> bool {
        self.unpacker.is_sifting()
    }

    /// Takes blocks until the close; returns the root and the size once they are equal.
    ///
    /// Anything that goes wrong leaves a mark behind, as far as it can be gone on from.
    pub(crate) fn take_all(
        &mut self,
        mut receiving: Receiving,
        mut work: mpsc::Receiver<Work>,
        progress: &Progress,
        waiting: &mut Waiting,
    ) -> Result<(Root, u64)> {
        match self.take_blocks(&mut receiving, &mut work, progress, waiting) {
            Ok(Some(close)) => receiving.close(&close),
            Ok(None) => {
                self.mark(&receiving)?;
                Err(hikyaku::Error::Truncated.into())
            }
            Err(error) => {
                // The first error is the one to tell; a disk that failed will fail again here.
                if !matches!(error, FilesError::Bundle(_)) {
                    let _ = self.mark(&receiving);
                }
                Err(error)
            }
        }
    }

    fn take_blocks(
        &mut self,
        receiving: &mut Receiving,
        work: &mut mpsc::Receiver<Work>,
        progress: &Progress,
        waiting: &mut Waiting,
    ) -> Result<Option<hikyaku_wire::files::Close>> {
        let mut coming = Coming::default();
        let (mut marked, mut at, mut skipped) = (receiving.offset(), Instant::now(), 0);
        while let Some(work) = work.blocking_recv() {
            let composed = match coming.next(work, receiving)? {
                Next::Block(composed) => composed,
                Next::List(list) => {
                    self.answer(list)?;
                    progress.skipped(self.unpacker.skipped() - skipped);
                    skipped = self.unpacker.skipped();
                    continue;
                }
                Next::Close(close) => return Ok(Some(close)),
            };
            self.begin_unlisted()?;
            let is_composed = !composed.parts.is_empty();
            let unpacker = &mut self.unpacker;
            let buffer =
                coming.whole(&composed, |composed, came, into| unpacker.compose(composed, came, into))?;
            let (block, local) = (composed.block, progress.local());
            if let Err(error) = local.time(Stage::Cpu, || receiving.take(&block, buffer)) {
                //= S5.105
                let is_older = is_composed && matches!(error, FilesError::GroupMismatch { .. });
                return Err(if is_older {
                    FilesError::OlderChanged
                } else {
                    self.name_it(error, &block, buffer)
                });
            }
            waiting.until_room(|| Ok(self.staged.check_room(block.len)?))?;
            local.time(Stage::Disk, || self.unpacker.take(buffer, progress, waiting))?;
            progress.reached(skipped + receiving.offset());
            let is_due = receiving.offset() - marked >= MARK_BYTES || at.elapsed() >= MARK_TIME;
            if is_due && local.time(Stage::Disk, || waiting.until_room(|| self.mark(receiving)))? {
                (marked, at) = (receiving.offset(), Instant::now());
            }
        }
        Ok(None)
    }

    /// Makes what was unpacked durable and notes it, unless a header is cut here: then the next block will do.
    fn mark(&mut self, receiving: &Receiving) -> Result<bool> {
        let mark = receiving.mark();
        let here = |state: &UnpackState| state.position.offset == mark.verified;
        let Some(state) = self.unpacker.state().filter(here) else { return Ok(false) };
        let state = UnpackState { tree: mark.state, ..state };
        self.unpacker.sync()?;
        let mut bytes = hikyaku_wire::cbor::encode(&state);
        if bytes.len() > MAX_STATE {
            // The place counts. What is missing is counted without its names.
            bytes = hikyaku_wire::cbor::encode(&UnpackState { named: None, ..state });
        }
        self.staged.mark_tree(Mark { verified: mark.verified, state: bytes })?;
        Ok(true)
    }

    /// Says in which file a damaged group lies, and where: the groups before it are good, and lead there.
    fn name_it(&mut self, error: FilesError, block: &Block, buffer: &[u8]) -> FilesError {
        let FilesError::GroupMismatch { offset, len } = error else { return error };
        let good = usize::try_from(offset - block.offset).ok().and_then(|good| buffer.get(..good));
        if let Err(error) =
            self.unpacker.take(good.unwrap_or_default(), &Progress::none(), &mut Waiting::none())
        {
            return error;
        }
        let path = escape(&self.unpacker.path()).to_string();
        FilesError::DamagedEntry { path, at: self.unpacker.offset_in_file(), offset, len }
    }

    /// A sender that knows no listings sends the whole: nothing of what was there before counts.
    fn begin_unlisted(&mut self) -> Result<()> {
        if self.is_listed || !self.lists() {
            return Ok(());
        }
        self.staged.restart_tree()?;
        self.unpacker = Unpacker::new(self.staged.tree_dir()?, self.unpack);
        self.unpacker.bound(self.bounds.clone());
        Ok(())
    }

    /// Answers a part of the listing. That nobody waits for it any more shows when nothing follows.
    fn answer(&mut self, list: List) -> Result<()> {
        self.is_listed = true;
        if let Some(wants) = self.unpacker.answer(list)? {
            let _ = self.answers.blocking_send(Answer::Wants(wants));
            self.unpacker.tell_of_older();
        }
        Ok(())
    }

    /// Moves the tree to its place. From here on the transfer is finished, whatever happens to the connection.
    pub(crate) fn place(
        mut self,
        root: Root,
        size: u64,
        into: &Dir,
        waiting: &mut Waiting,
    ) -> Result<Placed> {
        let synced = self.options.synced.unwrap_or(Synced::Batch);
        // Complete and durable first: a tree that is sealed is published after a crash, unseen.
        let (from, mut report) = self.unpacker.finish()?;
        waiting.until_room(|| Ok(self.staged.seal_tree(root, size, outcome(&report.receipt()))?))?;
        report.tops = from.all_names().map_err(VaultError::Io)?.len() as u64;
        let mut is_whole = true;
        waiting.until_room(|| {
            let done = publish(&from, into, Policy::of(&self.options), &mut report);
            // One that found no room may have replaced something before.
            is_whole &= *done.as_ref().unwrap_or(&false);
            done
        })?;
        let tree = report.receipt();
        waiting.until_room(|| Ok(self.staged.settle_tree(root, size, outcome(&tree))?))?;
        Ok(Placed { root, size, synced, report, tree, is_whole })
    }

    /// Gives the tree up.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        self.staged.discard()
    }
}

/// Publishes what was whole before a crash. What was told until then of what is missing still is.
pub(crate) fn place_again(
    mut staged: Staged,
    (root, size): (Root, u64),
    options: PutOptions,
    into: &Dir,
) -> Result<Placed> {
    let before = staged.outcome().and_then(|outcome| minicbor::decode::<TreeReceipt>(outcome).ok());
    let before = before.unwrap_or_default();
    let counts = Done { entries: before.entries, bytes: before.bytes, ..Done::default() };
    let kept = (before.kept.unwrap_or(0), before.kept_bytes.unwrap_or(0));
    let from = staged.tree_dir()?;
    let tops = from.all_names().map_err(VaultError::Io)?.len() as u64;
    let mut report = Report { counts, kept, tops, ..Report::default() };
    report.recall(before.missing, &before.first);
    let recalled = report.missing.len();
    publish(&from, into, Policy::of(&options), &mut report)?;
    let mut tree = report.receipt();
    let news = tree.first.into_iter().skip(recalled);
    tree.first = before.first.into_iter().chain(news).take(MAX_MISSING).collect();
    staged.settle_tree(root, size, outcome(&tree))?;
    let synced = options.synced.unwrap_or(Synced::Batch);
    Ok(Placed { root, size, synced, report, tree, is_whole: false })
}

/// A receipt's part about a tree as the journal keeps it: of what is missing as much as fits.
fn outcome(tree: &TreeReceipt) -> Vec<u8> {
    let mut tree = tree.clone();
    loop {
        let bytes = hikyaku_wire::cbor::encode(&tree);
        if bytes.len() <= MAX_PAYLOAD || tree.first.pop().is_none() {
            return bytes;
        }
    }
}

/// What a mark says, and the same mark as [`Receiving`] takes it.
fn known(mark: &Mark) -> Option<(Mark, UnpackState)> {
    if mark.verified == 0 {
        return None;
    }
    let state: UnpackState = minicbor::decode(&mark.state).ok()?;
    let receiving = Mark { verified: mark.verified, state: state.tree.clone() };
    (state.position.offset == mark.verified).then_some((receiving, state))
}

impl Report {
    /// As the sender is told.
    pub fn receipt(&self) -> TreeReceipt {
        let entry = |(path, why): &(Vec<u8>, crate::unpack::Missing)| MissingEntry {
            path: path.clone(),
            why: why.to_string(),
        };
        TreeReceipt {
            entries: self.counts.entries,
            bytes: self.counts.bytes,
            missing: self.missing_count,
            first: self.missing.iter().take(MAX_MISSING).map(entry).collect(),
            kept: Some(self.kept.0).filter(|kept| *kept > 0),
            kept_bytes: Some(self.kept.1).filter(|_| self.kept.0 > 0),
        }
    }
}
