//! The client side of `files/1`: send a file, fetch a file, over one connection.
//!
//! A broken connection is not the end of a transfer: call again with the same [`Outgoing`], or into the same
//! directory, over a new connection, as long as [`FilesError::is_retryable`] says so; it goes on where it stopped.
//! How often and how long to wait is the caller's. End the connection with [`Connection::drain`], so that the receiver
//! learns that its receipts arrived and need not keep them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::{CallOptions, Connection, ErrorCode, Receiver, Retry, Sender};
use hikyaku_wire::files::quotas::{AskQuotas, QUOTA, Quota};
use hikyaku_wire::files::{
    Accept, Answer, Close, GET, Head, Offer, Older, PROTOCOL, PUT, PutOptions, Receipt, Request, Verdict,
    Wanted,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::BULK_PRIORITY;
use crate::error::{FilesError, Result};
use crate::names::{Dots, SafeName};
use crate::pause::{Gone, PATIENCE, Waiting, heard};
use crate::pipe::OutgoingPipe;
use crate::progress::Progress;
use crate::reader::packing::Pack;
use crate::reader::sparing::Spare;
use crate::reader::{self, Blocks};
use crate::receive::Receiving;
use crate::server::blocking;
use crate::server::put::{Stop, acceptance, drive, telling};
use crate::sift::{ANSWERS, Answering, Answers, answers};
use crate::source::Outgoing;
use crate::tree_source::OutgoingTree;
use crate::unpack::{Only, Report};
use crate::versions::Index;
use crate::writer::QUEUE;
use incoming::{Found, Incoming, Published, Remains};

pub(crate) mod incoming;
mod mending;
mod poured;
mod preview;

pub use mending::Repaired;
pub use poured::Poured;

/// How long the peer's last word is waited for: why it stops taking bytes, or that it has heard of the receipt.
const REASON: Duration = Duration::from_secs(5);

/// How long the answer to a question may take.
const ASKING: Duration = Duration::from_secs(60);
/// The most quotas that one answer tells.
pub const MAX_QUOTAS: usize = 65_536;

/// Files over one connection.
#[derive(Clone)]
pub struct FilesClient {
    pub(crate) connection: Connection,
}

/// Where a fetched file goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// A directory that exists.
    pub directory: PathBuf,
    /// The name it gets; the sender's, when there is none.
    pub name: Option<Vec<u8>>,
    /// Whether a sender's name may begin with a dot.
    pub dots: Dots,
    /// The largest file taken, in bytes.
    pub max_size: u64,
    /// What becomes of names that are taken, how what is there is recognised, and, of a tree, what is done with links.
    pub options: PutOptions,
    /// Of a tree: nothing but this.
    pub only: Option<Arc<Only>>,
    /// How long a transfer waits for room on a disk that gets full under it.
    pub patience: Duration,
}

impl Destination {
    /// A directory, under the sender's names.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let (directory, max_size) = (directory.into(), hikyaku_wire::cbor::MAX_INTEGER);
        let options = PutOptions::default();
        let patience = PATIENCE;
        Self { directory, name: None, dots: Dots::Refused, max_size, options, only: None, patience }
    }
}

/// A file that was fetched: verified, durable, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What the sender said of it.
    pub head: Head,
    /// The receipt that the sender got.
    pub receipt: Receipt,
    /// The name it has, in the directory; of a tree, the one it was sent under.
    pub name: SafeName,
    /// Of a tree: what was made of it.
    pub report: Option<Report>,
    /// Of a file that was not fetched, because it is there ([`Verdict::SAME`]) or a newer one stays ([`Verdict::OLDER`]).
    pub kept: Option<Verdict>,
}

impl FilesClient {
    /// Files over this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends a file, or goes on sending it. Returns when the receiver has said that it is whole, verified and durable.
    pub async fn send_file(&self, outgoing: &Outgoing, progress: &Progress) -> Result<Receipt> {
        let (size, source) = (Some(outgoing.size()), outgoing.clone());
        let open = move |accept: &Accept, _| source.read_for(accept);
        self.send(outgoing.offer(), size, open, progress).await
    }

    /// Sends files and directories as one tree, or goes on sending them. Returns when the receiver has said that the
    /// whole is verified and in its place; its receipt says what of it is missing there.
    pub async fn send_tree(&self, outgoing: &OutgoingTree, progress: &Progress) -> Result<Receipt> {
        let source = outgoing.clone();
        let open = move |accept: &Accept, answers| source.read(accept, answers);
        self.send(outgoing.offer(), None, open, progress).await
    }

    /// Sends what can be read only once, or goes on sending it. Returns when the receiver has said that it is whole,
    /// verified and durable.
    pub async fn send_pipe(&self, outgoing: &OutgoingPipe, progress: &Progress) -> Result<Receipt> {
        let source = outgoing.clone();
        let open = move |accept: &Accept, _| source.read_from(accept.from, accept.prefix);
        self.send(outgoing.offer(), None, open, progress).await
    }

    async fn send<B: Blocks>(
        &self,
        offer: &Offer,
        size: Option<u64>,
        open: impl FnOnce(&Accept, Answers) -> Result<B> + Send + 'static,
        progress: &Progress,
    ) -> Result<Receipt> {
        let (client, offer, progress) = (self.clone(), offer.clone(), progress.clone());
        beside_the_connection(async move { client.send_attempt(&offer, size, open, &progress).await }).await
    }

    async fn send_attempt<B: Blocks>(
        &self,
        offer: &Offer,
        size: Option<u64>,
        open: impl FnOnce(&Accept, Answers) -> Result<B> + Send + 'static,
        progress: &Progress,
    ) -> Result<Receipt> {
        let exchange = self.open(PUT).await?;
        let (mut sender, mut receiver) = exchange.split();
        sender.send(offer).await?;
        let accept = match answer(&mut receiver, progress).await? {
            Answer::Accept(accept) => accept,
            // It was finished before, and the receipt was lost on the way.
            Answer::Receipt(receipt) => {
                return acknowledge(receipt, offer, size, &mut sender, &mut receiver).await;
            }
            _ => return Err(FilesError::Order("an acceptance was expected")),
        };
        if accept.transfer != offer.transfer {
            return Err(FilesError::Order("the acceptance of another transfer"));
        }
        progress.began(offer.transfer, accept.from, size);
        let (to, answers) = answers(ANSWERS);
        let (from, older, is_packed) = (accept.from, accept.older, accept.packed == Some(true));
        let reading = blocking(move || open(&accept, answers)).await?;
        let index = match older {
            Some(older) if !reading.is_over() => Some(index(older, &mut receiver, progress).await?),
            _ => None,
        };
        let reading = Pack::new(Spare::new(reading, index, from)?, is_packed);
        let receipt = deliver(reading, to, &mut sender, &mut receiver, progress).await?;
        acknowledge(receipt, offer, size, &mut sender, &mut receiver).await
    }

    /// Fetches a parcel, or goes on fetching it: whole from the server, or behind its sender while that is still sending.
    ///
    /// A parcel that was given up leaves nothing behind.
    pub async fn get_file(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
    ) -> Result<Fetched> {
        let (fetched, remains) = self.get_remembered(wanted, into, progress).await?;
        forget(remains).await?;
        Ok(fetched)
    }

    /// The same, and what was fetched is remembered in its place until that is forgotten: see [`Remains`].
    pub(crate) async fn get_remembered(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
    ) -> Result<(Fetched, Option<Remains>)> {
        let error = match self.get_once(wanted, into, progress).await {
            Err(FilesError::Exchange(error)) => error,
            done => return done,
        };
        let moment = progress.moment();
        let is_begun = moment.from > 0;
        let forget = async || match moment.transfer {
            Some(transfer) => {
                let into = into.directory.clone();
                blocking(move || incoming::forget(&into, transfer)).await
            }
            None => Ok(()),
        };
        match error.code() {
            //= S5.83
            ErrorCode::NOT_FOUND => forget().await?,
            // What is here is not the beginning of what is there: provisional bytes of a sender that began again.
            //= S5.85
            ErrorCode::SOURCE_CHANGED | ErrorCode::RANGE_INVALID if is_begun => {
                forget().await?;
                return self.get_once(wanted, into, progress).await;
            }
            _ => {}
        }
        Err(error.into())
    }

    async fn get_once(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
    ) -> Result<(Fetched, Option<Remains>)> {
        let client = self.clone();
        let (wanted, into, progress) = (wanted.clone(), into.clone(), progress.clone());
        beside_the_connection(async move { client.get_attempt(&wanted, &into, &progress).await }).await
    }

    async fn get_attempt(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
    ) -> Result<(Fetched, Option<Remains>)> {
        let (mut sender, mut receiver) = self.open(GET).await?.split();
        // A part of a tree is chosen from its listing, which is there when the tree is whole.
        let request = if into.only.is_some() { Request::new } else { Request::live };
        sender.send(&request(wanted.clone())).await?;
        let head: Head = receiver.receive().await?;
        let (known, destination) = (head.clone(), into.clone());
        let mut incoming = match blocking(move || Incoming::open(known, &destination)).await? {
            Found::Incoming(incoming) => incoming,
            Found::Placed(placed) => {
                let Published { receipt, name, report, remains } = *placed;
                return Ok((Fetched { head, receipt, name, report, kept: None }, Some(remains)));
            }
            // Nothing is to come: the exchange ends with this.
            Found::There(there) => {
                let (receipt, name, verdict) = *there;
                return Ok((Fetched { head, receipt, name, report: None, kept: Some(verdict) }, None));
            }
        };
        let (is_listed, (teller, told)) = (incoming.lists(), incoming.telling());
        // The size is that of the whole: of what is sifted, nobody knows it yet.
        let size = head.size.filter(|_| !is_listed);
        let receiving = Receiving::resume(incoming.mark(), size, into.max_size);
        progress.began(head.transfer, receiving.offset(), head.size);
        progress.arrived(head.arrival);
        let lists = is_listed.then(|| incoming.compares_roots());
        sender.send(&acceptance(head.transfer, &receiving, lists)).await?;
        let (to, work) = mpsc::channel(QUEUE);
        let (reporting, gone) = (progress.clone(), Gone::default());
        let mut waiting = Waiting::new(head.transfer, into.patience, teller, gone.clone(), progress.clone());
        let thread =
            tokio::task::spawn_blocking(move || incoming.land(receiving, work, &reporting, &mut waiting));
        let stop = Stop { asked: Arc::new(Notify::new()), gone };
        let driving = drive(&mut receiver, to, thread, &stop, progress);
        let done = telling(&mut sender, told, driving).await;
        let Published { receipt, name, report, remains } = why_not(&mut sender, done).await?;
        say_received(&mut sender, &mut receiver, &receipt).await;
        Ok((Fetched { head, receipt, name, report, kept: None }, Some(remains)))
    }

    pub(crate) async fn open(&self, method: &str) -> Result<hikyaku::Exchange> {
        let mut exchange = self.connection.open_with(PROTOCOL, method, CallOptions::default()).await?;
        exchange.set_priority(BULK_PRIORITY);
        Ok(exchange)
    }
}

/// What became of what was fetched; where that failed here, the sender is told why.
async fn why_not<T>(sender: &mut Sender, done: Result<T>) -> Result<T> {
    match done {
        Err(error) if !matches!(error, FilesError::Exchange(_)) => {
            let (told, error) = tell(error);
            // The peer may be gone; our own reason is the one that counts.
            let _ = sender.fail(told).await;
            Err(error)
        }
        done => done,
    }
}

/// Says that everything is here, durable and in its place, whether the sender still hears of it or not.
async fn say_received(sender: &mut Sender, receiver: &mut Receiver, receipt: &Receipt) {
    let told = async {
        sender.feed(&Answer::Receipt(receipt.clone())).await?;
        sender.finish().await?;
        receiver.ended().await
    };
    let _ = tokio::time::timeout(REASON, told).await;
}

impl FilesClient {
    /// What is stored, and how much may be: the caller's own, or what is asked for.
    ///
    /// # Errors
    /// The server refuses, says more than [`MAX_QUOTAS`] or takes more than a minute.
    pub async fn quotas(&self, ask: &AskQuotas) -> Result<Vec<Quota>> {
        let asking = async {
            let mut exchange = self.open(QUOTA).await?;
            match exchange.reply(ask).await {
                // Who has answered already reads no more.
                Ok(()) | Err(hikyaku::Error::Cancelled(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let mut told = Vec::new();
            loop {
                match exchange.receive().await {
                    Ok(_) if told.len() == MAX_QUOTAS => {
                        return Err(FilesError::Limit { name: "quotas told", limit: MAX_QUOTAS as u64 });
                    }
                    Ok(quota) => told.push(quota),
                    Err(hikyaku::Error::Ended) => return Ok(told),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let asked = tokio::time::timeout(ASKING, asking).await;
        asked.unwrap_or_else(|_| Err(FilesError::Exchange(hikyaku::Error::Deadline)))
    }
}

/// Whoever is to know of what was fetched does.
pub(crate) async fn forget(remains: Option<Remains>) -> Result<()> {
    match remains {
        Some(remains) => blocking(move || remains.forget()).await,
        None => Ok(()),
    }
}

/// Sends the blocks, and returns the receipt of what was sent.
pub(crate) async fn deliver(
    reading: impl Blocks,
    answers: impl Into<Answering>,
    sender: &mut Sender,
    receiver: &mut Receiver,
    progress: &Progress,
) -> Result<Receipt> {
    let mut early = std::pin::pin!(conclusion(receiver, answers, progress));
    let sent = tokio::select! {
        sent = reader::send(sender, reading, progress) => sent,
        said = &mut early => return Err(said.err().unwrap_or(FilesError::Order("an answer before the end"))),
    };
    report(sent, early, sender).await
}

/// What the receiver says of what was sent; why nothing was, to it.
pub(crate) async fn report(
    sent: Result<Close>,
    early: impl Future<Output = Result<Answer>>,
    sender: &mut Sender,
) -> Result<Receipt> {
    match sent {
        Ok(close) => match early.await? {
            Answer::Receipt(receipt) if receipt.root == close.root && receipt.size == close.size => {
                Ok(receipt)
            }
            _ => Err(FilesError::Order("the receipt of what was sent was expected")),
        },
        // When the peer stops taking bytes, it says why on its own direction.
        Err(error @ FilesError::Exchange(_)) => {
            let reason = tokio::time::timeout(REASON, early).await;
            Err(reason.ok().and_then(Result::err).unwrap_or(error))
        }
        // Ours to tell: the source failed or changed.
        Err(error) => {
            let (told, error) = tell(error);
            sender.fail(told).await?;
            Err(error)
        }
    }
}

/// The answer that is not one to a listing: those go to whoever reads.
pub(crate) async fn conclusion(
    receiver: &mut Receiver,
    answers: impl Into<Answering>,
    progress: &Progress,
) -> Result<Answer> {
    let answers = answers.into();
    loop {
        match answer(receiver, progress).await? {
            Answer::Wants(wants) => answers.wants(wants).await,
            Answer::Pieces(pieces) => {
                answers.pieces(pieces)?;
                progress.heard();
            }
            known => return Ok(known),
        }
    }
}

/// What the receiver has of an older version.
async fn index(older: Older, receiver: &mut Receiver, progress: &Progress) -> Result<Index> {
    let mut index = Index::new(older)?;
    while !index.is_whole() {
        match answer(receiver, progress).await? {
            Answer::Pieces(pieces) => index.hear(&pieces)?,
            _ => return Err(FilesError::Order("the pieces of an older version were expected")),
        }
        progress.heard();
    }
    Ok(index)
}

/// The next answer that this version knows.
//= S5.4
async fn answer(receiver: &mut Receiver, progress: &Progress) -> Result<Answer> {
    loop {
        match receiver.receive().await? {
            Answer::Unknown(_) => {}
            Answer::Paused(paused) => progress.paused(heard(&paused)),
            known => return Ok(known),
        }
    }
}

/// Checks a receipt and says END: the receiver need not remember it any longer.
async fn acknowledge(
    receipt: Receipt,
    offer: &Offer,
    size: Option<u64>,
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<Receipt> {
    if receipt.transfer != offer.transfer || size.is_some_and(|size| receipt.size != size) {
        return Err(FilesError::Order("the receipt of something else"));
    }
    receiver.ended().await?;
    // The receipt counts even if the connection breaks here.
    let _ = sender.finish().await;
    Ok(receipt)
}

/// Runs a transfer as a task, which ends with its caller: on the threads that drive its connection. One that a caller runs
/// itself, on the thread of `block_on`, is woken for every block through the kernel, and wakes the connection so.
async fn beside_the_connection<T: Send + 'static>(
    transfer: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = JoinSet::new();
    task.spawn(transfer);
    match task.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and its caller with it.
        _ => Err(FilesError::Order("the transfer was stopped")),
    }
}

/// What the peer is told of an error of ours, and the error itself.
fn tell(error: FilesError) -> (hikyaku::Failure, FilesError) {
    let message = match &error {
        FilesError::Source { .. } | FilesError::Vault(_) => "the other side's disk failed".to_owned(),
        error => error.to_string(),
    };
    let retry = match &error {
        FilesError::Rewritten => Retry::After(Duration::from_millis(100)),
        _ => Retry::No,
    };
    (hikyaku::Failure::new(error.code(), message).with_retry(retry), error)
}

#[cfg(test)]
mod tests;
