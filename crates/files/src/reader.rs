//! The sending half of a transfer: a blocking thread that reads, a bounded channel, and the network.

use bytes::Bytes;
use hikyaku_storage::vault::Object;
use hikyaku_wire::files::{BLOCK_LEN, Block, CV_LEN, Close, GROUP_LEN, Step};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use crate::error::{FilesError, Result};
use crate::progress::Progress;
use crate::source::Reading;

/// Blocks that wait for the network.
const QUEUE: usize = 3;

/// What the reading thread hands over.
type Said = Result<Step>;

/// A source of blocks: a file that is hashed on the way, or an object whose values are stored.
pub(crate) trait Blocks: Send + 'static {
    fn next(&mut self) -> Result<Option<(Block, Bytes)>>;
    fn close(self) -> Result<Close>;
}

impl Blocks for Reading {
    fn next(&mut self) -> Result<Option<(Block, Bytes)>> {
        Reading::next(self)
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
}

impl ObjectReading {
    //= S5.10
    pub(crate) fn new(object: Box<dyn Object>, root: Root, from: u64) -> Result<Self> {
        if !from.is_multiple_of(GROUP_LEN) || from > object.size() {
            return Err(FilesError::Range {
                reason: "bytes that are not there are asked for",
                offset: from,
                len: 0,
            });
        }
        Ok(Self { object, root, offset: from })
    }
}

impl Blocks for ObjectReading {
    fn next(&mut self) -> Result<Option<(Block, Bytes)>> {
        let len = self.object.size().saturating_sub(self.offset).min(BLOCK_LEN);
        if len == 0 {
            return Ok(None);
        }
        let (offset, size) = (self.offset, usize::try_from(len).unwrap_or(0));
        let mut data = vec![0; size];
        let mut cvs = vec![0; usize::try_from(len.div_ceil(GROUP_LEN) * CV_LEN).unwrap_or(0)];
        let short = self.object.read(offset, &mut data)? < data.len()
            || self.object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cvs)? < cvs.len();
        if short {
            return Err(FilesError::Unknown("the stored object is shorter than it was"));
        }
        self.offset += len;
        Ok(Some((Block { entry: None, offset, len, cvs }, data.into())))
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
    let (to, mut from) = mpsc::channel::<(Said, Option<Bytes>)>(QUEUE);
    // If this future is dropped, the channel closes and the thread ends with its next block.
    tokio::task::spawn_blocking(move || read_all(blocks, &to));
    while let Some((step, bytes)) = from.recv().await {
        let step = step?;
        sender.feed(&step).await?;
        match (step, bytes) {
            (Step::Block(block), Some(bytes)) => {
                sender.send_data(bytes).await?;
                progress.reached(block.offset + block.len);
            }
            (Step::Close(close), _) => {
                sender.flush().await?;
                return Ok(close);
            }
            (Step::Block(_), None) => break,
        }
    }
    Err(FilesError::Order("the reading thread ended without a close"))
}

fn read_all(mut blocks: impl Blocks, to: &mpsc::Sender<(Said, Option<Bytes>)>) {
    loop {
        let said = match blocks.next() {
            Ok(Some((block, bytes))) => (Ok(Step::Block(block)), Some(bytes)),
            Ok(None) => break,
            Err(error) => (Err(error), None),
        };
        let failed = said.0.is_err();
        if to.blocking_send(said).is_err() || failed {
            return;
        }
    }
    // Nobody waits for it when the channel is closed.
    let _ = to.blocking_send((blocks.close().map(Step::Close), None));
}
