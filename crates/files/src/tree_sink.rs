//! A tree on its way into a directory: the same for an upload at the server and a download at the client.
//!
//! Verified first, unpacked second, and marked every [`MARK_BYTES`] or [`MARK_TIME`] once what was unpacked is durable.
//! Publishing is begun durably and can be begun again, so a crash in its middle leaves nothing half done. Spec: section
//! 5.6, S5.30, S5.33.

use std::time::Instant;

use hikyaku_storage::vault::{Mark, VaultError};
use hikyaku_wire::files::{MAX_MISSING, MissingEntry, Overwrite, PutOptions, Synced, TreeReceipt};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::names::{Dots, escape};
use crate::progress::{Progress, Stage};
use crate::receive::Receiving;
use crate::staging::Staged;
use crate::unpack::{Report, UnpackOptions, UnpackState, Unpacker, publish};
use crate::writer::{MARK_BYTES, MARK_TIME, Work, join_pieces};

/// A tree being received.
#[derive(Debug)]
pub(crate) struct TreeSink {
    staged: Staged,
    unpacker: Unpacker,
    options: PutOptions,
}

/// A tree that is whole and in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) root: Root,
    pub(crate) size: u64,
    pub(crate) synced: Synced,
    pub(crate) report: Report,
}

/// What a transfer's remains are good for.
pub(crate) enum Opening {
    /// The bytes go here, from where the second says.
    Open(Box<TreeSink>, Mark),
    /// It is whole, and has to be published again: a crash came in between.
    Whole(Box<Staged>, Root, u64),
}

impl TreeSink {
    /// Goes on with what is there, or begins anew.
    pub(crate) fn open(mut staged: Staged, options: PutOptions, dots: Dots) -> Result<Opening> {
        if let Some((root, size)) = staged.sealing() {
            return Ok(Opening::Whole(Box::new(staged), root, size));
        }
        let unpack = UnpackOptions {
            dots,
            all_links: options.all_links.unwrap_or(false),
            synced: options.synced.unwrap_or(Synced::Batch),
            distinct: options.distinct.unwrap_or(false),
        };
        if let Some((mark, state)) = known(staged.mark())
            && let Ok(unpacker) = Unpacker::resume(staged.tree_dir()?, unpack, state)
        {
            return Ok(Opening::Open(Box::new(Self { staged, unpacker, options }), mark));
        }
        staged.restart_tree()?;
        let unpacker = Unpacker::new(staged.tree_dir()?, unpack);
        Ok(Opening::Open(Box::new(Self { staged, unpacker, options }), Mark::default()))
    }

    /// Takes blocks until the close; returns the root and the size once they are equal.
    ///
    /// Anything that goes wrong leaves a mark behind, as far as it can be gone on from.
    pub(crate) fn take_all(
        &mut self,
        mut receiving: Receiving,
        mut work: mpsc::Receiver<Work>,
        progress: &Progress,
    ) -> Result<(Root, u64)> {
        match self.take_blocks(&mut receiving, &mut work, progress) {
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
    ) -> Result<Option<hikyaku_wire::files::Close>> {
        let mut buffer = Vec::new();
        let (mut marked, mut at) = (receiving.offset(), Instant::now());
        while let Some(work) = work.blocking_recv() {
            let (block, pieces) = match work {
                Work::Block(block, pieces) => (block, pieces),
                Work::Close(close) => return Ok(Some(close)),
            };
            join_pieces(&mut buffer, pieces);
            let local = progress.local();
            let taken = local.time(Stage::Cpu, || receiving.take(&block, &buffer));
            taken.map_err(|error| self.name_it(error))?;
            local.time(Stage::Disk, || self.unpacker.take(&buffer, progress))?;
            progress.reached(receiving.offset());
            let is_due = receiving.offset() - marked >= MARK_BYTES || at.elapsed() >= MARK_TIME;
            if is_due && local.time(Stage::Disk, || self.mark(receiving))? {
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
        let state = hikyaku_wire::cbor::encode(&state);
        self.staged.mark_tree(Mark { verified: mark.verified, state })?;
        Ok(true)
    }

    /// Says in which file a damaged group lies.
    fn name_it(&self, error: FilesError) -> FilesError {
        match error {
            FilesError::GroupMismatch { offset, len } => {
                FilesError::DamagedEntry { path: escape(&self.unpacker.path()).to_string(), offset, len }
            }
            error => error,
        }
    }

    /// Moves the tree to its place. From here on the transfer is finished, whatever happens to the connection.
    pub(crate) fn place(mut self, root: Root, size: u64, into: &Dir) -> Result<Placed> {
        let synced = self.options.synced.unwrap_or(Synced::Batch);
        // Complete and durable first: a tree that is sealed is published after a crash, unseen.
        let (from, mut report) = self.unpacker.finish()?;
        self.staged.seal_tree(root, size)?;
        publish(&from, into, self.options.overwrite.unwrap_or_default(), &mut report)?;
        self.staged.settle_tree(root, size)?;
        Ok(Placed { root, size, synced, report })
    }

    /// Gives the tree up.
    pub(crate) fn discard(self) -> Result<(), VaultError> {
        self.staged.discard()
    }
}

/// Publishes what was whole before a crash.
pub(crate) fn place_again(
    mut staged: Staged,
    (root, size): (Root, u64),
    options: PutOptions,
    into: &Dir,
) -> Result<Placed> {
    let mut report = Report::default();
    publish(&staged.tree_dir()?, into, options.overwrite.unwrap_or(Overwrite::Never), &mut report)?;
    staged.settle_tree(root, size)?;
    Ok(Placed { root, size, synced: options.synced.unwrap_or(Synced::Batch), report })
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
        }
    }
}
