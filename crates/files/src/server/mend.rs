//! `mend`: a parcel is given back what of it has decayed here, by whoever still has it.
//!
//! Whoever may read a parcel may do so: no byte is believed. Nobody is told of it in the room, where nothing has changed; the
//! program's record is. Who asks and then sends nothing is waited for as [`Due`] says. Spec: section 5.12.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hikyaku::{ErrorCode, Exchange, Failure, Receiver, Sender};
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::mending::{Lacking, MendRequest, Mended};
use hikyaku_wire::files::{Block, Close, MAX_BLOCK_LEN};
use hikyaku_wire::parcel::{EntryKind, Root};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::known::Decayed;
use super::put::{Stop, drive};
use super::unbroken::Unwanted;
use super::{FilesServer, blocking};
use crate::error::{FilesError, Result};
use crate::mending::{Due, Stitching, Survey};
use crate::pause::Gone;
use crate::progress::{Line, Progress};
use crate::rooms::{Mend, Outcome, Resolved, Rooms};
use crate::writer::{QUEUE, Work, join_pieces};

/// A request, and what is known of it.
struct Asked<'a, C> {
    context: &'a Arc<C>,
    request: &'a MendRequest,
    address: Option<SocketAddr>,
    found: Option<Resolved>,
    /// Bytes that have decayed, once they were looked for: that counts as begun.
    lacking: Option<u64>,
    /// How many of them came and are right.
    progress: Progress,
    values: bool,
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn mend(&self, exchange: Exchange<C>, mut unwanted: Unwanted) -> Result<()> {
        let (context, address) = (exchange.shared_context(), exchange.connection().remote_address());
        let (mut sender, mut receiver) = exchange.split();
        let request: MendRequest = unwanted.unless(async { Ok(receiver.receive().await?) }).await?;
        let (context, request, progress) = (&context, &request, Progress::none());
        let mut asked =
            Asked { context, request, address, found: None, lacking: None, progress, values: false };
        match unwanted.unless(self.take_back(&mut asked, &mut sender, &mut receiver)).await {
            Ok(()) => self.record_mend(&asked, Outcome::Done).await?,
            Err(error) => {
                let why = error.to_string();
                let is_begun = asked.lacking.is_some();
                let outcome = if is_begun { Outcome::Failed(&why) } else { Outcome::Refused(&why) };
                // Its own log says that it could not be recorded; whoever asked is told why it ended.
                let _ = self.record_mend(&asked, outcome).await;
                return Err(error);
            }
        }
        let (bytes, values) = (asked.progress.moment().bytes, asked.values.then_some(true));
        let told = async {
            sender.feed(&Mended { bytes, values }).await?;
            sender.finish().await?;
            Ok(receiver.ended().await?)
        };
        unwanted.unless(told).await
    }

    async fn record_mend(&self, asked: &Asked<'_, C>, outcome: Outcome<'_>) -> Result<()> {
        let mend = Mend {
            wanted: &asked.request.wanted,
            found: asked.found.as_ref(),
            address: asked.address,
            lacking: asked.lacking,
            mended: asked.progress.moment().bytes,
            values: asked.values,
            outcome,
        };
        Ok(self.shared.rooms.record_mend(asked.context, mend).await?)
    }

    /// Looks for what has decayed, says it and takes it. Durable on return.
    async fn take_back(
        &self,
        asked: &mut Asked<'_, C>,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<()> {
        // All of it is read, as for somebody who fetches it.
        let limit = self.shared.limits.max_gets as u64;
        let place = Arc::clone(&self.shared.gets).try_acquire_owned();
        let place = place.map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        //= S5.123
        let found = self.shared.rooms.resolve(asked.context, &asked.request.wanted).await?;
        let (Some(root), Some(size)) = (found.root, found.size) else {
            return Err(Failure::new(ErrorCode::UNAVAILABLE, "this parcel is still being sent").into());
        };
        asked.found = Some(found.clone());
        // For a block that has begun and is not whole.
        receiver.keep_room(MAX_BLOCK_LEN)?;
        let _settled = Settled { decayed: &self.shared.decayed, root };
        let (stitching, place) = self.survey(root, size, place).await?;
        let survey = stitching.survey();
        let (was_whole, is_more, spans) = (survey.is_whole(), survey.is_more, survey.spans());
        asked.lacking = Some(spans.iter().map(|span| span.len).sum());
        self.record_mend(asked, Outcome::Accepted).await?;
        // Who has nothing to send need keep nobody else from anything.
        let held = match was_whole && !stitching.is_doubtful() {
            true => {
                drop(place);
                blocking(move || stitching.finish(root, size).map(|_| None)).await?
            }
            false => Some((stitching, place)),
        };
        let reads = spans.last().filter(|_| found.kind == EntryKind::Tree);
        let reads = reads.map_or(0, |last| last.offset + last.len);
        let due = Due::new(self.shared.limits.mend_timeout, reads, Instant::now());
        let lacking = Lacking { root, size, kind: found.kind, spans, more: is_more.then_some(true) };
        let told = tokio::time::timeout_at(due.until().into(), sender.send(&lacking)).await;
        told.map_err(|_| due.over())??;
        asked.values = taken(receiver, (held, (root, size)), due, &asked.progress).await?;
        if !was_whole && !is_more {
            tracing::info!(
                %root, bytes = asked.progress.moment().bytes, values = asked.values,
                transfer = %found.transfer, name = %crate::escape(&found.name),
                by = %super::put::sender_of(&**asked.context, &self.shared.rooms), "mended"
            );
        }
        Ok(())
    }

    /// Reads all of it, as long as whoever asked is there.
    async fn survey(
        &self,
        root: Root,
        size: u64,
        place: OwnedSemaphorePermit,
    ) -> Result<(Stitching, OwnedSemaphorePermit)> {
        // Dropped with this future, when whoever asked is gone: then the thread that reads ends, and lets go of his place.
        let gone = Gone::default();
        let _waits = gone.on_drop();
        let vault = self.shared.vault.clone();
        blocking(move || {
            let object = vault.mend(ObjectId(root.0))?;
            let survey = Survey::of(&*object, root, size, &gone)?;
            Ok((Stitching::new(object, survey), place))
        })
        .await
    }
}

/// A content that somebody mends is adopted by nobody meanwhile, and counts as decayed where somebody tried. Now nobody mends
/// it: if it is damaged still, the next one who would take it finds out.
struct Settled<'a> {
    decayed: &'a Decayed,
    root: Root,
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.decayed.mended(self.root);
    }
}

/// Takes what comes until the close, from who does not keep others waiting for longer than is `due`. Returns whether the
/// chaining values were made anew. The object and the place are free on return.
async fn taken(
    receiver: &mut Receiver,
    (held, whole): (Option<(Stitching, OwnedSemaphorePermit)>, (Root, u64)),
    due: Due,
    progress: &Progress,
) -> Result<bool> {
    let ((to, work), said) = (mpsc::channel(QUEUE), progress.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let (stitching, _place) = held.unzip();
        stitch(stitching, whole, work, &said)
    });
    let stop = Stop::default();
    let mut driving = std::pin::pin!(drive(receiver, to, thread, &stop, progress));
    tokio::select! {
        done = &mut driving => done,
        late = overdue(due, progress.line()) => {
            stop.asked.notify_one();
            match driving.await {
                // Nothing else stops it here.
                Err(FilesError::TakenOver) => Err(late),
                done => done,
            }
        }
    }
}

/// Waits until too little has come for too long.
async fn overdue(mut due: Due, line: &Line) -> FilesError {
    loop {
        tokio::time::sleep_until(due.until().into()).await;
        let ((came, _), now) = (line.taken(), Instant::now());
        due.came(came, now);
        if due.is_over(now) {
            return due.over();
        }
    }
}

/// Writes what comes, until the close. For what was whole, nothing may come.
fn stitch(
    mut stitching: Option<Stitching>,
    whole: (Root, u64),
    mut work: mpsc::Receiver<Work>,
    progress: &Progress,
) -> Result<bool> {
    let mut buffer = Vec::new();
    while let Some(work) = work.blocking_recv() {
        match (work, stitching.take()) {
            (Work::Block(block, pieces), Some(mut held)) => {
                let taken = take(&mut held, &block, pieces, &mut buffer);
                progress.reached(held.bytes());
                taken?;
                stitching = Some(held);
            }
            (Work::Close(Close { root, size, .. }), Some(held)) => return held.finish(root, size),
            (Work::Close(Close { root, size, .. }), None) if (root, size) == whole => return Ok(false),
            _ => {
                let reason = "a block as it is that was asked for, or the close, was expected";
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
