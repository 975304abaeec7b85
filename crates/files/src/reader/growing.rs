//! Blocks of a parcel that is still being written.

use std::sync::Arc;

use bytes::Bytes;
use hikyaku_storage::vault::Object;
use hikyaku_wire::files::{Block, CV_LEN, GROUP_LEN};
use hikyaku_wire::parcel::Root;
use tokio::sync::watch;

use super::REMEMBERED;
use super::buffers::Buffers;
use crate::error::{FilesError, Result};
use crate::passage::{Next, Passage, Place};
use crate::tree::{self, GROUP, Tree};

/// Reads behind whoever writes, at its own speed.
pub(crate) struct Growing {
    object: Arc<dyn Object>,
    passage: watch::Receiver<Passage>,
    place: Place,
    buffers: Buffers,
}

/// What comes of reading.
pub(crate) enum Grown {
    /// The next block.
    Block(Block, Bytes),
    /// Nothing, for the reason that is given.
    Nothing(Next),
}

impl Growing {
    /// Reads from `at` on, which must be there already: see [`Passage::reaches`].
    pub(crate) fn new(object: Arc<dyn Object>, passage: watch::Receiver<Passage>, at: u64) -> Self {
        let place = passage.borrow().place(at);
        Self { object, passage, place, buffers: Buffers::new(REMEMBERED) }
    }

    /// Lets go of its buffers: nothing has come for a while.
    pub(crate) fn rest(&mut self) {
        self.buffers = Buffers::new(REMEMBERED);
    }

    /// Resolves when there is news of the passage.
    pub(crate) async fn changed(&mut self) {
        if self.passage.changed().await.is_err() {
            // Nobody is left who could tell more; the last word was its end.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn passage(&self) -> Passage {
        *self.passage.borrow()
    }

    /// The next block, as far as there is one.
    pub(crate) fn next(&mut self) -> Result<Grown> {
        let next = self.passage.borrow_and_update().next(&mut self.place);
        let Next::Send(len) = next else { return Ok(Grown::Nothing(next)) };
        let offset = self.place.at;
        let mut data = self.buffers.take(usize::try_from(len).unwrap_or(0));
        if self.object.read(offset, &mut data)? < data.len() {
            // It was settled by content that the server had before: it is not here, and whole elsewhere.
            if self.passage.borrow().is_settled() {
                return Ok(Grown::Nothing(Next::Rewritten));
            }
            return Err(FilesError::Unknown("the stored object is shorter than it was"));
        }
        let cvs = self.values(offset, &data)?;
        self.place.at += len;
        Ok(Grown::Block(Block { entry: None, offset, len, cvs }, self.buffers.give(data)))
    }

    /// The chaining values of the groups that bytes lie in. Those of whole groups were stored when they were verified; that
    /// of a group that may still grow is computed.
    fn values(&self, offset: u64, data: &[u8]) -> Result<Vec<u8>> {
        let end = offset + data.len() as u64;
        let (first, whole) = (offset / GROUP_LEN, end / GROUP_LEN);
        let mut cvs = vec![0; usize::try_from((whole - first) * CV_LEN).unwrap_or(0)];
        if self.object.read_outboard(first * CV_LEN, &mut cvs)? < cvs.len() {
            return Err(FilesError::Unknown("the stored object is shorter than it was"));
        }
        if end > whole * GROUP_LEN {
            cvs.extend(self.group(whole * GROUP_LEN, end)?.cv);
        }
        Ok(cvs)
    }

    fn group(&self, offset: u64, end: u64) -> Result<tree::Group> {
        let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or(GROUP)];
        if self.object.read(offset, &mut bytes)? < bytes.len() {
            return Err(FilesError::Unknown("the stored object is shorter than it was"));
        }
        Ok(tree::group(offset, &bytes))
    }
}

/// The tree of everything before `offset`, whole groups, out of a store's chaining values.
pub(crate) fn tree_before(object: &dyn Object, offset: u64) -> Result<Tree> {
    let short = || FilesError::Unknown("the stored object is shorter than it was");
    let groups = offset / GROUP_LEN;
    let mut tree = Tree::new();
    // The root of a single group does not follow from its chaining value.
    if groups == 1 {
        let mut bytes = vec![0; GROUP];
        if object.read(0, &mut bytes)? < GROUP {
            return Err(short());
        }
        tree.push(&tree::group(0, &bytes));
        return Ok(tree);
    }
    let mut values = vec![0; GROUP];
    while tree.groups() < groups {
        let left = (groups - tree.groups()) * CV_LEN;
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(values.len());
        let values = values.get_mut(..want).unwrap_or_default();
        if object.read_outboard(tree.groups() * CV_LEN, values)? < want {
            return Err(short());
        }
        values.as_chunks::<32>().0.iter().for_each(|cv| tree.push_cv(*cv));
    }
    Ok(tree)
}

/// What proves the bytes before the first one that is wanted, of `size` that are there.
//= S5.87
pub(crate) fn proof(object: &dyn Object, size: u64, from: Option<u64>) -> Result<Option<Vec<u8>>> {
    let Some(from) = from else { return Ok(None) };
    if !from.is_multiple_of(GROUP_LEN) || from > size {
        let reason = "bytes that are not there yet, or a part of a group, are asked for";
        return Err(FilesError::Range { reason, offset: from, len: 0 });
    }
    Ok(Some(tree_before(object, from)?.values()))
}

/// Compares what a reader has with the store.
//= S5.16
pub(crate) fn check_prefix(object: &dyn Object, from: u64, prefix: Option<Root>) -> Result<()> {
    if !from.is_multiple_of(GROUP_LEN) {
        return Err(FilesError::Range { reason: "a part of a group is asked for", offset: from, len: 0 });
    }
    match prefix {
        Some(prefix) if from > 0 && tree_before(object, from)?.root() != Some(prefix) => {
            Err(FilesError::SourceChanged("the receiver has other bytes than are here"))
        }
        _ => Ok(()),
    }
}
