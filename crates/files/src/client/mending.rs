//! Giving a server back what of a parcel has decayed there. Spec: section 5.12.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hikyaku_wire::files::mending::{Lacking, MEND, MendRequest, Mended, Span};
use hikyaku_wire::files::{BLOCK_LEN, Block, Close, PutOptions, Step, Target, Wanted};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;

use super::{FilesClient, REASON};
use crate::error::{FilesError, Result};
use crate::progress::Progress;
use crate::reader::{Blocks as _, Said};
use crate::server::joined;
use crate::source::source_error;
use crate::tree::{self, GROUP};
use crate::tree_source::OutgoingTree;
use crate::vault::read_at;
use crate::walk::WalkOptions;

/// Blocks that wait for the network.
const QUEUE: usize = 2;

/// What was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many bytes were sent and are right there now.
    pub bytes: u64,
    /// In how many places.
    pub places: u64,
    /// Whether the hashes beside the content had decayed too.
    pub values: bool,
    /// The size of the parcel, as it lies there.
    pub size: u64,
}

impl FilesClient {
    /// Gives a server what of a parcel has decayed there, from a file or a directory here: as it was sent, or as it was
    /// fetched. Nothing but that is sent, and all of it is durable there on return.
    ///
    /// # Errors
    /// What is here is not what was sent: [`FilesError::GroupMismatch`], said by the server, names where.
    pub async fn repair(&self, wanted: &Wanted, from: &Path, options: &WalkOptions) -> Result<Repaired> {
        let mut repaired = Repaired::default();
        self.repair_on(wanted, from, options, &mut repaired).await?;
        Ok(repaired)
    }

    /// The same, for one who tries again after a break: adds to what was mended before.
    ///
    /// # Errors
    /// As [`FilesClient::repair`].
    pub async fn repair_on(
        &self,
        wanted: &Wanted,
        from: &Path,
        options: &WalkOptions,
        repaired: &mut Repaired,
    ) -> Result<()> {
        loop {
            let (lacking, mended) = self.mend(wanted, from, options).await?;
            repaired.size = lacking.size;
            repaired.bytes += mended.bytes;
            repaired.places += lacking.spans.len() as u64;
            repaired.values |= mended.values == Some(true);
            if lacking.more != Some(true) {
                return Ok(());
            }
            if mended.bytes == 0 {
                return Err(FilesError::Order("there is more to be mended, and nothing was"));
            }
        }
    }

    async fn mend(&self, wanted: &Wanted, from: &Path, options: &WalkOptions) -> Result<(Lacking, Mended)> {
        let (mut sender, mut receiver) = self.open(MEND).await?.split();
        sender.send(&MendRequest { wanted: wanted.clone() }).await?;
        let lacking: Lacking = receiver.receive().await?;
        let (to, mut pieces) = mpsc::channel(QUEUE);
        let (from, options, wants) = (from.to_owned(), options.clone(), lacking.clone());
        // If this future is dropped, the channel closes and the thread ends with its next block.
        let thread = tokio::task::spawn_blocking(move || read(&from, &options, &wants, &to));
        let Lacking { root, size, .. } = lacking;
        let sent = async {
            while let Some((block, bytes)) = pieces.recv().await {
                sender.feed(&Step::Block(block)).await?;
                sender.send_data(bytes).await?;
            }
            joined(thread.await)?;
            sender.feed(&Step::Close(Close { entry: None, size, root })).await?;
            Ok(sender.finish().await?)
        };
        match sent.await {
            Ok(()) => {}
            // Who stops taking bytes says why on its own direction.
            Err(error @ FilesError::Exchange(_)) => {
                let reason = tokio::time::timeout(REASON, receiver.receive::<Mended>()).await;
                return Err(reason.ok().and_then(Result::err).map_or(error, FilesError::Exchange));
            }
            Err(error) => {
                let (told, error) = super::tell(error);
                let _ = sender.fail(told).await;
                return Err(error);
            }
        }
        let mended: Mended = receiver.receive().await?;
        receiver.ended().await?;
        Ok((lacking, mended))
    }
}

type Pieces = mpsc::Sender<(Block, Bytes)>;

/// Reads what is lacking. Blocks.
fn read(from: &Path, options: &WalkOptions, lacking: &Lacking, to: &Pieces) -> Result<()> {
    let Some(last) = lacking.spans.last() else { return Ok(()) };
    if lacking.spans.iter().any(|span| span.len == 0 || !span.offset.is_multiple_of(GROUP as u64)) {
        return Err(FilesError::Order("whole groups are asked for"));
    }
    match lacking.kind {
        EntryKind::File => read_file(from, lacking, to),
        EntryKind::Tree => read_tree(from, options, lacking, last.offset.saturating_add(last.len), to),
        _ => Err(FilesError::Kind),
    }
}

fn read_file(from: &Path, lacking: &Lacking, to: &Pieces) -> Result<()> {
    let file = File::open(from).map_err(|error| source_error(from, error))?;
    let meta = file.metadata().map_err(|error| source_error(from, error))?;
    if !meta.is_file() || meta.len() != lacking.size {
        return Err(FilesError::SourceChanged("it has not the size of what was sent"));
    }
    for Span { offset, len } in &lacking.spans {
        let (mut at, end) = (*offset, offset.saturating_add(*len));
        while at < end {
            let mut bytes = vec![0; usize::try_from((end - at).min(BLOCK_LEN)).unwrap_or(GROUP)];
            if read_at(&file, at, &mut bytes)? < bytes.len() {
                return Err(FilesError::SourceChanged("it became shorter"));
            }
            let len = bytes.len() as u64;
            if to.blocking_send((block(at, &bytes), bytes.into())).is_err() {
                return Ok(());
            }
            at += len;
        }
    }
    Ok(())
}

/// The bundle is made again, as it was when it was sent, and nothing of it kept but what is lacking.
fn read_tree(from: &Path, options: &WalkOptions, lacking: &Lacking, until: u64, to: &Pieces) -> Result<()> {
    let paths: [PathBuf; 1] = [from.to_owned()];
    let nowhere = Target::Drop(Vec::new());
    let outgoing = OutgoingTree::new(&paths, None, nowhere, PutOptions::default(), options.clone())?;
    let mut reading = outgoing.read_from(0, None)?;
    let (mut spans, mut reached) = (lacking.spans.iter().copied().peekable(), 0);
    while reached < until {
        let Some(said) = reading.next(&Progress::none())? else { break };
        let Said::Block(Block { offset, .. }, bytes) = said else { continue };
        reached = offset + bytes.len() as u64;
        // A span may go on in the next block: both end at groups, or at the end.
        while let Some(span) = spans.peek_mut().filter(|span| span.offset < reached) {
            let end = span.offset.saturating_add(span.len).min(reached);
            let at = |place: u64| usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX);
            let piece = bytes.slice(at(span.offset).min(bytes.len())..at(end).min(bytes.len()));
            if to.blocking_send((block(span.offset, &piece), piece)).is_err() {
                return Ok(());
            }
            *span = Span { offset: end, len: span.len.saturating_sub(end - span.offset) };
            if span.len > 0 {
                break;
            }
            spans.next();
        }
    }
    match reached < until {
        true => Err(FilesError::SourceChanged("it is less than what was sent")),
        false => Ok(()),
    }
}

fn block(offset: u64, bytes: &[u8]) -> Block {
    let groups = bytes.chunks(GROUP).enumerate();
    let cvs = groups.flat_map(|(at, group)| tree::group(offset + (at * GROUP) as u64, group).cv).collect();
    Block { entry: None, offset, len: bytes.len() as u64, cvs }
}
