//! `get` of a parcel that is still being sent: bytes go out as they are verified, and the close when it is settled.
//!
//! Readers read the store's own files, each at its own place: one that is slow waits for nobody and nobody for it, one
//! that is quick waits for the sender, whether that is there or gone. Spec: section 5.8.

use std::sync::Arc;
use std::time::Duration;

use hikyaku::{ErrorCode, Failure, Receiver, Retry, Sender};
use hikyaku_storage::vault::{Object, Transfer, VaultError};
use hikyaku_wire::files::{
    Accept, Answer, Arrival, BLOCK_LEN, Close, Head, List, Listed, MAX_LISTED, Receipt, Step,
};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::get::Asked;
use super::passages::Waiting;
use super::{FilesServer, blocking, joined};
use crate::client::{conclusion, report};
use crate::error::{FilesError, Result};
use crate::object_tree::{Asker, ObjectTree};
use crate::passage::Next;
use crate::progress::Progress;
use crate::reader::growing::{Growing, Grown, check_prefix, proof};
use crate::rooms::{Resolved, Rooms};
use crate::sift::Branches as _;

/// How often a reader that waits is told how far the parcel is, changed or not.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How often at most, while it changes.
const TELL_AT_MOST: Duration = Duration::from_millis(250);
/// Blocks that wait for the network.
const QUEUE: usize = 2;
/// Bytes that are there at one time at most: in blocks that wait, in one that was read and in one that is being sent.
const AHEAD: u64 = (QUEUE as u64 + 2) * BLOCK_LEN;

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn get_live(
        &self,
        asked: &mut Asked<'_, C>,
        found: Resolved,
        (mut waiting, asker): (Waiting, &Asker),
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Option<Receipt>> {
        if asked.request.list == Some(true) && found.kind != EntryKind::Tree {
            return Err(FilesError::Order("only a tree can be listed"));
        }
        let (vault, transfer) = (self.shared.vault.clone(), Transfer(found.transfer.0));
        let peeked = blocking(move || Ok(vault.peek(transfer)?)).await.map_err(not_yet)?;
        self.shared.passages.rest(found.transfer, peeked.verified);
        // For the blocks that are read before the peer takes them.
        sender.keep_room(AHEAD, AHEAD)?;
        let object: Arc<dyn Object> = peeked.object.into();
        let arrival = waiting.passage.borrow().arrival();
        let (stored, from) = (object.clone(), asked.request.from);
        let before = blocking(move || proof(&*stored, arrival.bytes, from)).await?;
        let Resolved { transfer, name, kind, size, meta, .. } = found.clone();
        let arrival = Some(arrival);
        asked.found = Some(found);
        sender.send(&Head { transfer, name, kind, size, root: None, meta, arrival, before }).await?;
        let Answer::Accept(accept) = receiver.receive().await? else {
            return Err(FilesError::Order("an acceptance was expected"));
        };
        self.giving(asked, accept.from).await?;
        if asked.request.list == Some(true) {
            let size = arrival.map_or(0, |arrival| arrival.bytes);
            let tree = ObjectTree::growing(object, size, asker);
            return list_so_far(tree, sender, receiver).await.map(|()| None);
        }
        let (to, _answers) = mpsc::channel(1);
        let nobody = Progress::none();
        let mut early = std::pin::pin!(conclusion(receiver, to, &nobody));
        let sent = tokio::select! {
            sent = deliver(object, &mut waiting, &accept, sender, &asked.progress) => sent,
            said = &mut early => return Err(said.err().unwrap_or(FilesError::Order("an answer before the end"))),
        };
        report(sent, early, sender).await.map(Some)
    }
}

/// What is announced and not in the store yet, or not any more, is there soon or has its end soon.
fn not_yet(error: FilesError) -> FilesError {
    match error {
        FilesError::Vault(VaultError::NotFound) => {
            Failure::new(ErrorCode::UNAVAILABLE, "this parcel has only just begun")
                .with_retry(Retry::After(Duration::from_millis(100)))
                .into()
        }
        error => error,
    }
}

/// What was opened has less than what was verified: other files have taken its place, or the disk is going. That is no answer to
/// whoever reads, who comes back and opens what is there then.
//= S5.85
fn elsewhere(error: FilesError) -> FilesError {
    match error {
        FilesError::Unknown(_) => FilesError::Rewritten,
        error => error,
    }
}

/// Lists what there is of a tree, and nothing else. Answers are for nobody.
//= S5.88
async fn list_so_far(mut tree: ObjectTree, sender: &mut Sender, receiver: &mut Receiver) -> Result<()> {
    let (to, nobody) = (mpsc::channel(1).0, Progress::none());
    let mut early = std::pin::pin!(conclusion(receiver, to, &nobody));
    let (mut first, mut last) = (0, None);
    while last.is_none() {
        let listed = blocking(move || {
            let part = listing(&mut tree)?;
            Ok((tree, part))
        });
        let (back, (entries, is_last)) = tokio::select! {
            listed = listed => listed?,
            said = &mut early => {
                return Err(said.err().unwrap_or(FilesError::Order("an answer before the end")));
            }
        };
        tree = back;
        let files = entries.iter().filter(|entry| matches!(entry, Listed::File { .. })).count() as u64;
        last = is_last.then_some(true);
        let step = Step::List(List { first, entries, last });
        first += files;
        tokio::select! {
            sent = sender.send(&step) => sent?,
            said = &mut early => {
                return Err(said.err().unwrap_or(FilesError::Order("an answer before the end")));
            }
        }
    }
    Ok(())
}

/// The next part of a listing, and whether it is the last.
fn listing(tree: &mut ObjectTree) -> Result<(Vec<Listed>, bool)> {
    let mut entries = Vec::new();
    while entries.len() < MAX_LISTED {
        match tree.list()? {
            Some(entry) => entries.push(entry.listed()),
            None => return Ok((entries, true)),
        }
    }
    Ok((entries, false))
}

async fn deliver(
    object: Arc<dyn Object>,
    waiting: &mut Waiting,
    accept: &Accept,
    sender: &mut Sender,
    progress: &Progress,
) -> Result<Close> {
    let mut telling = Telling::default();
    let passage = &mut waiting.passage;
    // A reader that comes back may have more than the server kept.
    //= S5.81
    loop {
        let now = *passage.borrow_and_update();
        if now.reaches(accept.from) {
            break;
        }
        telling.tell(sender, now.arrival()).await?;
        tokio::select! {
            changed = passage.changed() => drop(changed),
            () = tokio::time::sleep(TELL_EVERY) => telling.is_due(),
        }
    }
    let (stored, from, prefix) = (object.clone(), accept.from, accept.prefix);
    blocking(move || check_prefix(&*stored, from, prefix)).await.map_err(elsewhere)?;
    // Also to one that asks for a listing.
    //= S5.86
    let mut growing = Growing::new(object, passage.clone(), from);
    loop {
        let (back, next) = run(growing, sender, &mut telling, progress).await.map_err(elsewhere)?;
        growing = back;
        match next {
            Next::Send(_) => {}
            Next::Close(root, size) => {
                let close = Close { entry: None, size, root };
                sender.feed(&Step::Close(close.clone())).await?;
                sender.flush().await?;
                return Ok(close);
            }
            Next::Wait => {
                telling.tell(sender, growing.passage().arrival()).await?;
                tokio::select! {
                    () = growing.changed() => {}
                    () = tokio::time::sleep(TELL_EVERY) => {
                        telling.is_due();
                        growing.rest();
                    }
                }
            }
            //= S5.83
            Next::Aborted => return Err(FilesError::Aborted),
            Next::Rewritten => return Err(FilesError::Rewritten),
        }
    }
}

/// Sends as far as there is something, reading ahead of the network; returns why there is no more.
async fn run(
    mut growing: Growing,
    sender: &mut Sender,
    telling: &mut Telling,
    progress: &Progress,
) -> Result<(Growing, Next)> {
    let (to, mut blocks) = mpsc::channel(QUEUE);
    // If this future is dropped, the channel closes and the thread ends with its next block.
    let thread = tokio::task::spawn_blocking(move || {
        loop {
            match growing.next()? {
                Grown::Nothing(next) => return Ok((growing, next)),
                Grown::Block(block, bytes) => {
                    let passage = growing.passage();
                    if to.blocking_send((block, bytes, passage)).is_err() {
                        return Ok((growing, Next::Wait));
                    }
                }
            }
        }
    });
    while let Some((block, bytes, passage)) = blocks.recv().await {
        telling.tell_at_most(sender, passage.arrival()).await?;
        let reached = block.offset + block.len;
        sender.feed(&Step::Block(block)).await?;
        sender.send_data(bytes).await?;
        progress.reached(reached);
    }
    joined(thread.await)
}

/// What a reader was told of the other end, and when.
#[derive(Default)]
struct Telling {
    told: Option<(Arrival, Instant)>,
}

impl Telling {
    /// Says how far the parcel is, unless that was said.
    //= S5.84
    async fn tell(&mut self, sender: &mut Sender, arrival: Arrival) -> Result<()> {
        if self.told.is_none_or(|(told, _)| told != arrival) {
            sender.send(&Step::Arrival(arrival)).await?;
            self.told = Some((arrival, Instant::now()));
        }
        Ok(())
    }

    /// The same, but not more often than anybody can look.
    async fn tell_at_most(&mut self, sender: &mut Sender, arrival: Arrival) -> Result<()> {
        if self.told.is_some_and(|(_, at)| at.elapsed() < TELL_AT_MOST) {
            return Ok(());
        }
        self.tell(sender, arrival).await
    }

    /// It is to be said again, changed or not: silence would look like a server that is gone.
    fn is_due(&mut self) {
        self.told = None;
    }
}
