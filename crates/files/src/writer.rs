//! The receiving half of a transfer, as two ends of a bounded channel: the network on one side, one blocking thread
//! that hashes and writes on the other. The same for an upload at the server and a download at the client.
//!
//! Data is marked durable every [`MARK_BYTES`] or [`MARK_TIME`], and once more when the stream ends early, so that
//! little is sent again. Spec: S5.11–S5.16, S5.30.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hikyaku::Incoming;
use hikyaku_storage::vault::{Mark, Partial};
use hikyaku_wire::files::{Block, CV_LEN, Close, Composed, GROUP_LEN, List, MAX_BLOCK_LEN, Packed, Step};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use crate::coming::{Coming, Next};
use crate::error::{FilesError, Result};
use crate::pause::Waiting;
use crate::progress::{Line, Progress, Stage};
use crate::receive::Receiving;
use crate::staging::Staged;
use crate::versions::unnamed;

/// Bytes between two marks.
pub(crate) const MARK_BYTES: u64 = if cfg!(test) { 256 * 1024 } else { 64 * 1024 * 1024 };
/// Time between two marks while bytes arrive.
pub(crate) const MARK_TIME: Duration = Duration::from_secs(1);
/// Pieces smaller than this are copied together.
const CRUMB: usize = 4096;
/// Blocks that wait for the writing thread.
pub(crate) const QUEUE: usize = 3;

/// What the network side hands over.
pub(crate) enum Work {
    /// A block with all of its bytes, in the pieces they arrived in.
    Block(Block, Vec<Bytes>),
    /// A block that is to be put together, with what of it was sent.
    Composed(Composed, Vec<Bytes>),
    /// A block that is to be unpacked, too.
    Packed(Packed, Vec<Bytes>),
    /// A part of a listing, to be answered.
    List(List),
    /// The end.
    Close(Close),
}

/// What verified bytes are written to.
pub(crate) trait Sink {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()>;
    fn sync(&mut self, mark: Mark) -> Result<()>;
    /// Puts a block together from what came and from an older version, where the sender was told of one.
    //= S5.103
    fn compose(&self, composed: &Composed, came: &[u8], into: &mut Vec<u8>) -> Result<()> {
        let _ = (came, into);
        Err(unnamed(&composed.block))
    }
}

impl Sink for Staged {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()> {
        Ok(Staged::write(self, offset, data, tree_offset, tree)?)
    }

    fn sync(&mut self, mark: Mark) -> Result<()> {
        Ok(Staged::sync(self, mark)?)
    }
}

impl Sink for Box<dyn Partial> {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()> {
        Ok((**self).write(offset, data, tree_offset, tree)?)
    }

    fn sync(&mut self, mark: Mark) -> Result<()> {
        Ok((**self).sync(mark)?)
    }
}

/// The blocking side: verifies and writes until the close, and returns the root and the size once they are equal.
///
/// Anything that goes wrong leaves a mark behind, as far as the bytes are good.
pub(crate) fn write_all(
    sink: &mut impl Sink,
    receiving: Receiving,
    work: mpsc::Receiver<Work>,
    progress: &Progress,
    waiting: &mut Waiting,
) -> Result<(Root, u64)> {
    write_on(sink, receiving, None, work, progress, waiting)
}

/// As [`write_all`], when something was taken out of the channel already.
pub(crate) fn write_on(
    sink: &mut impl Sink,
    mut receiving: Receiving,
    first: Option<Work>,
    mut work: mpsc::Receiver<Work>,
    progress: &Progress,
    waiting: &mut Waiting,
) -> Result<(Root, u64)> {
    match write_blocks(sink, &mut receiving, first, &mut work, progress, waiting) {
        Ok(Some(close)) => receiving.close(&close),
        // The stream ended early: whoever fed it knows why.
        Ok(None) => {
            sink.sync(receiving.mark())?;
            Err(hikyaku::Error::Truncated.into())
        }
        Err(error) => {
            // The first error is the one to tell; a disk that failed will fail again here.
            let _ = sink.sync(receiving.mark());
            Err(error)
        }
    }
}

fn write_blocks(
    sink: &mut impl Sink,
    receiving: &mut Receiving,
    mut first: Option<Work>,
    work: &mut mpsc::Receiver<Work>,
    progress: &Progress,
    waiting: &mut Waiting,
) -> Result<Option<Close>> {
    let mut coming = Coming::default();
    let (mut marked, mut at) = (receiving.offset(), Instant::now());
    while let Some(work) = first.take().or_else(|| work.blocking_recv()) {
        let composed = match coming.next(work, receiving)? {
            Next::Block(composed) => composed,
            Next::List(_) => return Err(FilesError::Order("a listing that nobody asked for")),
            Next::Close(close) => return Ok(Some(close)),
        };
        let buffer = coming.whole(&composed, |composed, came, into| sink.compose(composed, came, into))?;
        let (is_composed, block) = (!composed.parts.is_empty(), composed.block);
        // Written before it is verified: nothing counts before both are done, so a disk that fails in between, or a
        // group that is not what it should be, leaves the mark where it was.
        let tree_offset = block.offset / GROUP_LEN * CV_LEN;
        let local = progress.local();
        // The same bytes at the same place: a write that found no room is simply made again.
        waiting.until_room(|| {
            local.time(Stage::Disk, || sink.write(block.offset, buffer, tree_offset, &block.cvs))
        })?;
        local.time(Stage::Cpu, || receiving.take(&block, buffer)).map_err(|error| match error {
            //= S5.105
            FilesError::GroupMismatch { .. } if is_composed => FilesError::OlderChanged,
            error => error,
        })?;
        progress.reached(receiving.offset());
        if receiving.offset() - marked >= MARK_BYTES || at.elapsed() >= MARK_TIME {
            waiting.until_room(|| local.time(Stage::Disk, || sink.sync(receiving.mark())))?;
            (marked, at) = (receiving.offset(), Instant::now());
        }
    }
    Ok(None)
}

/// Puts the pieces of a block together, and lets go of them.
pub(crate) fn join_pieces(buffer: &mut Vec<u8>, pieces: Vec<Bytes>) {
    buffer.clear();
    pieces.iter().for_each(|piece| buffer.extend_from_slice(piece));
}

/// The network side: gathers blocks until the close. Returns early, without an error, when the writing thread ended:
/// the thread says why.
pub(crate) async fn feed(
    receiver: &mut hikyaku::Receiver,
    to: mpsc::Sender<Work>,
    progress: &Progress,
) -> Result<()> {
    let (meter, local) = (progress.meter(), progress.local());
    loop {
        let asked = Instant::now();
        let Some(Incoming::Message(item)) = receiver.next().await? else {
            return Err(FilesError::Order("a block or the close was expected"));
        };
        let step: Step = decode(&item)?;
        let work = match step {
            Step::Close(close) => Work::Close(close),
            Step::List(list) => Work::List(list),
            Step::Arrival(arrival) => {
                progress.arrived(arrival);
                continue;
            }
            Step::Block(block) => {
                let pieces = gather(receiver, &block, block.len, progress.line()).await?;
                Work::Block(block, pieces)
            }
            Step::Packed(packed) => {
                let pieces = gather(receiver, &packed.block, packed.len, progress.line()).await?;
                Work::Packed(packed, pieces)
            }
            Step::Composed(composed) => {
                let Composed { block, parts } = &composed;
                let reason = "its parts are empty, out of order or beyond it";
                let range = FilesError::Range { reason, offset: block.offset, len: block.len };
                let carried = composed.carried().filter(|_| !parts.is_empty()).ok_or(range)?;
                let pieces = gather(receiver, block, carried, progress.line()).await?;
                Work::Composed(composed, pieces)
            }
        };
        meter.add(Stage::Remote, asked.elapsed());
        let pieces = match &work {
            Work::Block(_, pieces) | Work::Composed(_, pieces) | Work::Packed(_, pieces) => Some(pieces),
            Work::List(_) | Work::Close(_) => None,
        };
        if let (Some(pace), Some(pieces)) = (progress.pace(), pieces) {
            let came = pieces.iter().map(|piece| piece.len() as u64).sum();
            meter.add(Stage::Pace, pace.wait(came).await);
        }
        let last = matches!(work, Work::Close(_));
        let (full, before) = (Instant::now(), local.read());
        let sent = to.send(work).await;
        meter.share(full.elapsed(), local, &before);
        if sent.is_err() || last {
            return Ok(());
        }
    }
}

/// The bytes of one block, as many as are sent of it: bounded before the first is taken.
//= S5.14
async fn gather(
    receiver: &mut hikyaku::Receiver,
    block: &Block,
    len: u64,
    line: &Line,
) -> Result<Vec<Bytes>> {
    if len > MAX_BLOCK_LEN {
        return Err(FilesError::Range {
            reason: "a block has 1 byte to 1 MiB",
            offset: block.offset,
            len: block.len,
        });
    }
    let (mut pieces, mut crumbs) = (Vec::new(), BytesMut::new());
    let mut missing = len;
    while missing > 0 {
        let Some(Incoming::Data(piece)) = receiver.next().await? else {
            return Err(FilesError::Order("the bytes of a block were expected"));
        };
        line.passed(piece.len() as u64, Duration::ZERO);
        missing = missing
            .checked_sub(piece.len() as u64)
            .ok_or(FilesError::Order("more bytes than the block announced"))?;
        // A peer may cut its bytes as small as it likes; what we hold must not grow by that.
        if piece.len() < CRUMB {
            crumbs.extend_from_slice(&piece);
            continue;
        }
        pieces.extend((!crumbs.is_empty()).then(|| crumbs.split().freeze()));
        pieces.push(piece);
    }
    pieces.extend((!crumbs.is_empty()).then(|| crumbs.freeze()));
    Ok(pieces)
}

/// Decodes a message that the session has checked against the profile.
pub(crate) fn decode<T: for<'b> minicbor::Decode<'b, ()>>(item: &[u8]) -> Result<T> {
    minicbor::decode(item).map_err(|_| FilesError::Order("a message of another form was expected"))
}
