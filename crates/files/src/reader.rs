//! The sending half of a transfer: a blocking thread that reads, a bounded channel, and the network.

pub(crate) mod buffers;
pub(crate) mod growing;
pub(crate) mod packing;
pub(crate) mod sparing;

use std::time::Instant;

use bytes::Bytes;
use hikyaku_storage::vault::Object;
use hikyaku_wire::files::{Accept, BLOCK_LEN, Block, CV_LEN, Close, Composed, GROUP_LEN, List, Packed, Step};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use crate::error::{FilesError, Result};
use crate::progress::{Progress, Stage};
use crate::source::Reading;
use crate::tree::GROUP;
use buffers::Buffers;

/// Blocks that wait for the network.
const QUEUE: usize = 3;
/// Blocks that are there at one time at most: those that wait, one that was read and one that is being sent.
pub(crate) const AHEAD: u64 = QUEUE as u64 + 2;
/// Buffers that a server remembers of a transfer: of the blocks that are there at one time, and of the MiB that
/// the transport has not sent yet.
pub(crate) const REMEMBERED: usize = QUEUE + 4;
/// Below this bound, in bytes a second, blocks are sent in groups: a whole one would be a burst.
const SMOOTH: u64 = 8 * 1024 * 1024;

/// What a source says next.
pub(crate) enum Said {
    /// The next block.
    Block(Block, Bytes),
    /// The next block, parts of which the receiver has, and the rest of it.
    Composed(Composed, Bytes),
    /// The next block, packed.
    Packed(Packed, Bytes),
    /// What is listed ahead.
    List(List),
}

/// A source of blocks: a file that is hashed on the way, or an object whose values are stored.
pub(crate) trait Blocks: Send + 'static {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>>;
    /// Bytes that need not be sent, because the receiver has them: they count as reached.
    fn skipped(&self) -> u64 {
        0
    }
    /// Whether nothing is left but the close.
    fn is_over(&self) -> bool {
        false
    }
    fn close(self) -> Result<Close>;
}

impl Blocks for Reading {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        Ok(Reading::next(self, progress.local())?.map(|(block, bytes)| Said::Block(block, bytes)))
    }

    fn is_over(&self) -> bool {
        Reading::is_over(self)
    }

    fn close(self) -> Result<Close> {
        Reading::close(self)
    }
}

/// A vault's object from an offset on.
pub(crate) struct ObjectReading {
    object: Box<dyn Object>,
    root: Root,
    offset: u64,
    block_len: u64,
    buffers: Buffers,
}

impl ObjectReading {
    /// In blocks of at most so many bytes.
    //= S5.10
    //= S5.16
    pub(crate) fn new(object: Box<dyn Object>, root: Root, accept: &Accept, block_len: u64) -> Result<Self> {
        let from = accept.from;
        if from > object.size() {
            let reason = "bytes that are not there are asked for";
            return Err(FilesError::Range { reason, offset: from, len: 0 });
        }
        growing::check_prefix(&*object, from, accept.prefix)?;
        let block_len = (block_len - block_len % GROUP_LEN).clamp(GROUP_LEN, BLOCK_LEN);
        Ok(Self { object, root, offset: from, block_len, buffers: Buffers::new(REMEMBERED) })
    }
}

impl Blocks for ObjectReading {
    fn next(&mut self, _: &Progress) -> Result<Option<Said>> {
        let len = self.object.size().saturating_sub(self.offset).min(self.block_len);
        if len == 0 {
            return Ok(None);
        }
        let (offset, size) = (self.offset, usize::try_from(len).unwrap_or(0));
        let mut data = self.buffers.take(size);
        let mut cvs = vec![0; usize::try_from(len.div_ceil(GROUP_LEN) * CV_LEN).unwrap_or(0)];
        let short = self.object.read(offset, &mut data)? < data.len()
            || self.object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cvs)? < cvs.len();
        if short {
            return Err(FilesError::Unknown("the stored object is shorter than it was"));
        }
        self.offset += len;
        Ok(Some(Said::Block(Block { entry: None, offset, len, cvs }, self.buffers.give(data))))
    }

    fn close(self) -> Result<Close> {
        Ok(Close { entry: None, size: self.object.size(), root: self.root })
    }
}

/// Sends blocks and the close; returns what was said at the close.
pub(crate) async fn send(
    sender: &mut hikyaku::Sender,
    blocks: impl Blocks,
    progress: &Progress,
) -> Result<Close> {
    let (to, mut from) = mpsc::channel::<Result<Read>>(QUEUE);
    let (reporting, local) = (progress.clone(), progress.local());
    // If this future is dropped, the channel closes and the thread ends with its next block.
    tokio::task::spawn_blocking(move || read_all(blocks, &to, &reporting));
    let mut skipped = 0;
    loop {
        let (asked, before) = (Instant::now(), local.read());
        let read = from.recv().await;
        progress.meter().share(asked.elapsed(), local, &before);
        let Some(read) = read else { break };
        match read? {
            Read::Said(Said::Block(block, bytes), there) => {
                progress.skipped(there - skipped);
                skipped = there;
                send_block(sender, block, bytes, (progress, skipped)).await?;
            }
            Read::Said(Said::Composed(composed, rest), there) => {
                progress.skipped(there - skipped);
                skipped = there;
                let reached = skipped + composed.block.offset + composed.block.len;
                send_rest(sender, &Step::Composed(composed), rest, progress).await?;
                progress.reached(reached);
            }
            Read::Said(Said::Packed(packed, rest), there) => {
                progress.skipped(there - skipped);
                skipped = there;
                let reached = skipped + packed.block.offset + packed.block.len;
                send_rest(sender, &Step::Packed(packed), rest, progress).await?;
                progress.reached(reached);
            }
            // At once: what may be sent depends on the answer.
            Read::Said(Said::List(list), _) => sender.send(&Step::List(list)).await?,
            Read::Close(close) => {
                sender.feed(&Step::Close(close.clone())).await?;
                sender.flush().await?;
                return Ok(close);
            }
        }
    }
    Err(FilesError::Order("the reading thread ended without a close"))
}

/// Sends a block, in smaller ones where they must not go faster than a bound.
async fn send_block(
    sender: &mut hikyaku::Sender,
    block: Block,
    bytes: Bytes,
    (progress, skipped): (&Progress, u64),
) -> Result<()> {
    let Some(pace) = progress.pace().filter(|pace| pace.rate() < SMOOTH) else {
        return send_piece(sender, block, bytes, (progress, skipped)).await;
    };
    let (mut offset, mut rest) = (block.offset, &bytes[..]);
    for cv in block.cvs.chunks(32) {
        let room = GROUP - usize::try_from(offset % GROUP_LEN).unwrap_or(0);
        let (piece, later) = rest.split_at(rest.len().min(room));
        let len = piece.len() as u64;
        progress.meter().add(Stage::Pace, pace.wait(len).await);
        let block = Block { entry: None, offset, len, cvs: cv.to_vec() };
        let piece = bytes.slice_ref(piece);
        send_piece(sender, block, piece, (progress, skipped)).await?;
        (offset, rest) = (offset + len, later);
    }
    Ok(())
}

async fn send_piece(
    sender: &mut hikyaku::Sender,
    block: Block,
    bytes: Bytes,
    (progress, skipped): (&Progress, u64),
) -> Result<()> {
    if let Some(pace) = progress.pace().filter(|pace| pace.rate() >= SMOOTH) {
        progress.meter().add(Stage::Pace, pace.wait(block.len).await);
    }
    let reached = skipped + block.offset + block.len;
    let (begun, before) = (Instant::now(), if progress.is_measured() { sender.waits() } else { None });
    let len = block.len;
    sender.feed(&Step::Block(block)).await?;
    sender.send_data(bytes).await?;
    progress.line().passed(len, begun.elapsed());
    if progress.is_measured() {
        progress.meter().sent(begun.elapsed(), before.zip(sender.waits()));
    }
    progress.reached(reached);
    Ok(())
}

/// Sends what of a block is not at the receiver, or what it was packed to.
async fn send_rest(
    sender: &mut hikyaku::Sender,
    step: &Step,
    rest: Bytes,
    progress: &Progress,
) -> Result<()> {
    if let Some(pace) = progress.pace() {
        progress.meter().add(Stage::Pace, pace.wait(rest.len() as u64).await);
    }
    let (begun, len) = (Instant::now(), rest.len() as u64);
    sender.feed(step).await?;
    if rest.is_empty() {
        sender.flush().await?;
    } else {
        sender.send_data(rest).await?;
    }
    progress.line().passed(len, begun.elapsed());
    Ok(())
}

/// What the reading thread hands over.
enum Read {
    /// Something to say, and how much was skipped until then.
    Said(Said, u64),
    /// The end.
    Close(Close),
}

fn read_all(mut blocks: impl Blocks, to: &mpsc::Sender<Result<Read>>, progress: &Progress) {
    loop {
        let read = match blocks.next(progress) {
            Ok(Some(said)) => Ok(Read::Said(said, blocks.skipped())),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if to.blocking_send(read).is_err() || failed {
            return;
        }
    }
    // Nobody waits for it when the channel is closed.
    let _ = to.blocking_send(blocks.close().map(Read::Close));
}
