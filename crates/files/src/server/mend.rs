//! `mend`: a parcel is given back what of it has decayed here, by whoever still has it.
//!
//! Whoever may read a parcel may do so: no byte is believed. Nobody is told of it in the room, where nothing has changed.
//! Spec: section 5.12.

use std::sync::Arc;

use bytes::Bytes;
use hikyaku::{ErrorCode, Exchange, Failure};
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::mending::{Lacking, MendRequest, Mended};
use hikyaku_wire::files::{Block, Close, MAX_BLOCK_LEN};
use tokio::sync::mpsc;

use super::put::{Stop, drive};
use super::{FilesServer, blocking};
use crate::error::{FilesError, Result};
use crate::mending::{Stitching, Survey};
use crate::pause::Gone;
use crate::progress::Progress;
use crate::rooms::Rooms;
use crate::writer::{QUEUE, Work, join_pieces};

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn mend(&self, exchange: Exchange<C>) -> Result<()> {
        let context = exchange.shared_context();
        let (mut sender, mut receiver) = exchange.split();
        let request: MendRequest = receiver.receive().await?;
        // All of it is read, as for somebody who fetches it.
        let limit = self.shared.limits.max_gets as u64;
        let place = Arc::clone(&self.shared.gets).try_acquire_owned();
        let place = place.map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        // Dropped with this future, when whoever asked is gone: then the thread that reads ends, and lets go of his place.
        let gone = Gone::default();
        let _waits = gone.on_drop();
        //= S5.123
        let found = self.shared.rooms.resolve(&context, &request.wanted).await?;
        let (Some(root), Some(size)) = (found.root, found.size) else {
            return Err(Failure::new(ErrorCode::UNAVAILABLE, "this parcel is still being sent").into());
        };
        // For a block that has begun and is not whole.
        receiver.keep_room(MAX_BLOCK_LEN)?;
        let vault = self.shared.vault.clone();
        let (object, survey, place) = blocking(move || {
            let object = vault.mend(ObjectId(root.0))?;
            let survey = Survey::of(&*object, root, size, &gone)?;
            Ok((object, survey, place))
        })
        .await?;
        let was_whole = survey.is_whole();
        let (spans, more) = (survey.spans(), survey.is_more.then_some(true));
        sender.send(&Lacking { root, size, kind: found.kind, spans, more }).await?;
        let (to, work) = mpsc::channel(QUEUE);
        let thread = tokio::task::spawn_blocking(move || {
            let _place = place;
            stitch(Stitching::new(object, survey), work)
        });
        let done = drive(&mut receiver, to, thread, &Stop::default(), &Progress::none()).await;
        let (bytes, values) = done?;
        if more.is_none() {
            self.shared.decayed.mended(root);
        }
        if !was_whole && more.is_none() {
            tracing::info!(
                %root, bytes, values, transfer = %found.transfer, name = %crate::escape(&found.name),
                by = %super::put::sender_of(&*context, &self.shared.rooms), "mended"
            );
        }
        sender.feed(&Mended { bytes, values: values.then_some(true) }).await?;
        sender.finish().await?;
        Ok(receiver.ended().await?)
    }
}

/// Writes what comes, until the close.
fn stitch(mut stitching: Stitching, mut work: mpsc::Receiver<Work>) -> Result<(u64, bool)> {
    let mut buffer = Vec::new();
    while let Some(work) = work.blocking_recv() {
        match work {
            Work::Block(block, pieces) => take(&mut stitching, &block, pieces, &mut buffer)?,
            Work::Close(Close { root, size, .. }) => return stitching.finish(root, size),
            _ => {
                let reason = "a block as it is or the close was expected";
                return Err(FilesError::Range { reason, offset: 0, len: 0 });
            }
        }
    }
    // What was written is right, and stays.
    Err(hikyaku::Error::Truncated.into())
}

fn take(stitching: &mut Stitching, block: &Block, pieces: Vec<Bytes>, buffer: &mut Vec<u8>) -> Result<()> {
    join_pieces(buffer, pieces);
    stitching.take(block, buffer)
}
