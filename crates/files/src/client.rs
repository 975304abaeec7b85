//! The client side of `files/1`: send a file, fetch a file, over one connection.
//!
//! A broken connection is not the end of a transfer: call again with the same [`Outgoing`], or into the same
//! directory, over a new connection, as long as [`FilesError::is_retryable`] says so; it goes on where it stopped.
//! How often and how long to wait is the caller's. End the connection with [`Connection::drain`], so that the receiver
//! learns that its receipts arrived and need not keep them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hikyaku::{CallOptions, Connection, Receiver, Sender};
use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::{Answer, GET, Head, PROTOCOL, PUT, Receipt, Request, Synced, Wanted};
use hikyaku_wire::parcel::{EntryKind, Metadata};
use tokio::sync::{Notify, mpsc};

use crate::BULK_PRIORITY;
use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::names::{Dots, SafeName};
use crate::progress::Progress;
use crate::reader;
use crate::receive::Receiving;
use crate::server::blocking;
use crate::server::put::{acceptance, drive};
use crate::source::Outgoing;
use crate::staging::{Opened, Staged, Staging};
use crate::writer::{QUEUE, write_all};

/// How long the peer's last word is waited for: why it stops taking bytes, or that it has heard of the receipt.
const REASON: Duration = Duration::from_secs(5);

/// Files over one connection.
#[derive(Clone)]
pub struct FilesClient {
    connection: Connection,
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
}

impl Destination {
    /// A directory, under the sender's names.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let (directory, max_size) = (directory.into(), hikyaku_wire::cbor::MAX_INTEGER);
        Self { directory, name: None, dots: Dots::Refused, max_size }
    }
}

/// A file that was fetched: verified, durable, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What the sender said of it.
    pub head: Head,
    /// The receipt that the sender got.
    pub receipt: Receipt,
    /// The name it has, in the directory.
    pub name: SafeName,
}

impl FilesClient {
    /// Files over this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends a file, or goes on sending it. Returns when the receiver has said that it is whole, verified and durable.
    pub async fn send_file(&self, outgoing: &Outgoing, progress: &Progress) -> Result<Receipt> {
        let mut exchange = self.open(PUT).await?;
        exchange.set_priority(-1);
        let (mut sender, mut receiver) = exchange.split();
        sender.send(outgoing.offer()).await?;
        let accept = match answer(&mut receiver).await? {
            Answer::Accept(accept) => accept,
            // It was finished before, and the receipt was lost on the way.
            Answer::Receipt(receipt) => {
                return acknowledge(receipt, outgoing, &mut sender, &mut receiver).await;
            }
            Answer::Unknown(_) => return Err(FilesError::Order("an acceptance was expected")),
        };
        if accept.transfer != outgoing.transfer() {
            return Err(FilesError::Order("the acceptance of another transfer"));
        }
        progress.began(outgoing.transfer(), accept.from, Some(outgoing.size()));
        let source = outgoing.clone();
        let reading = blocking(move || source.read_from(accept.from, accept.prefix)).await?;
        let close = {
            let mut early = std::pin::pin!(answer(&mut receiver));
            let sent = tokio::select! {
                sent = reader::send(&mut sender, reading, progress) => sent,
                said = &mut early => return Err(said.err().unwrap_or(FilesError::Order("an answer before the end"))),
            };
            match sent {
                Ok(close) => match early.await? {
                    Answer::Receipt(receipt) if receipt.root == close.root && receipt.size == close.size => {
                        receipt
                    }
                    _ => return Err(FilesError::Order("the receipt of what was sent was expected")),
                },
                // When the peer stops taking bytes, it says why on its own direction.
                Err(error @ FilesError::Exchange(_)) => {
                    let reason = tokio::time::timeout(REASON, early).await;
                    return Err(reason.ok().and_then(Result::err).unwrap_or(error));
                }
                // Ours to tell: the source failed or changed.
                Err(error) => {
                    let (told, error) = tell(error);
                    sender.fail(told).await?;
                    return Err(error);
                }
            }
        };
        acknowledge(close, outgoing, &mut sender, &mut receiver).await
    }

    /// Fetches a file, or goes on fetching it.
    pub async fn get_file(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
    ) -> Result<Fetched> {
        let (mut sender, mut receiver) = self.open(GET).await?.split();
        sender.send(&Request { wanted: wanted.clone() }).await?;
        let head: Head = receiver.receive().await?;
        let (known, destination) = (head.clone(), into.clone());
        let mut incoming = blocking(move || Incoming::open(known, &destination)).await?;
        let mark = incoming.staged.mark();
        let receiving = Receiving::resume(mark, head.size, into.max_size);
        progress.began(head.transfer, receiving.offset(), head.size);
        sender.send(&acceptance(head.transfer, &receiving)).await?;
        let (to, work) = mpsc::channel(QUEUE);
        let reporting = progress.clone();
        let thread = tokio::task::spawn_blocking(move || {
            match write_all(&mut incoming.staged, receiving, work, &reporting) {
                Ok((root, size)) => match incoming.head.root {
                    Some(said) if said != root => {
                        incoming.staged.discard()?;
                        Err(FilesError::RootMismatch { said, found: root, size })
                    }
                    _ => incoming.publish(root, size),
                },
                Err(error @ FilesError::RootMismatch { .. }) => {
                    incoming.staged.discard()?;
                    Err(error)
                }
                Err(error) => Err(error),
            }
        });
        let done = drive(&mut receiver, to, thread, &Arc::new(Notify::new())).await;
        let (receipt, name) = match done {
            Ok(done) => done,
            Err(error @ FilesError::Exchange(_)) => return Err(error),
            Err(error) => {
                let (told, error) = tell(error);
                // The peer may be gone; our own reason is the one that counts.
                let _ = sender.fail(told).await;
                return Err(error);
            }
        };
        // The file is whole, durable and in its place, whether the sender still hears of it or not.
        let told = async {
            sender.feed(&Answer::Receipt(receipt.clone())).await?;
            sender.finish().await?;
            receiver.ended().await
        };
        let _ = tokio::time::timeout(REASON, told).await;
        Ok(Fetched { head, receipt, name })
    }

    async fn open(&self, method: &str) -> Result<hikyaku::Exchange> {
        let mut exchange = self.connection.open_with(PROTOCOL, method, CallOptions::default()).await?;
        exchange.set_priority(BULK_PRIORITY);
        Ok(exchange)
    }
}

/// The next answer that this version knows.
//= S5.4
async fn answer(receiver: &mut Receiver) -> Result<Answer> {
    loop {
        match receiver.receive().await? {
            Answer::Unknown(_) => {}
            known => return Ok(known),
        }
    }
}

/// Checks a receipt and says END: the receiver need not remember it any longer.
async fn acknowledge(
    receipt: Receipt,
    outgoing: &Outgoing,
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<Receipt> {
    if receipt.transfer != outgoing.transfer() || receipt.size != outgoing.size() {
        return Err(FilesError::Order("the receipt of something else"));
    }
    receiver.ended().await?;
    // The receipt counts even if the connection breaks here.
    let _ = sender.finish().await;
    Ok(receipt)
}

/// What the peer is told of an error of ours, and the error itself.
fn tell(error: FilesError) -> (hikyaku::Failure, FilesError) {
    let message = match &error {
        FilesError::Source { .. } | FilesError::Vault(_) => "the other side's disk failed".to_owned(),
        error => error.to_string(),
    };
    (hikyaku::Failure::new(error.code(), message), error)
}

/// A file on its way into a directory of the user's.
struct Incoming {
    staged: Staged,
    into: Dir,
    name: SafeName,
    head: Head,
}

impl Incoming {
    /// Everything that can be refused is refused here, before a byte is asked for.
    fn open(head: Head, to: &Destination) -> Result<Self> {
        //= S5.3
        if head.kind != EntryKind::File {
            return Err(FilesError::Kind);
        }
        if head.size.is_some_and(|size| size > to.max_size) {
            return Err(FilesError::Limit { name: "max_size", limit: to.max_size });
        }
        let name = match &to.name {
            Some(name) => SafeName::parse(name, Dots::Allowed)?,
            None => SafeName::parse(&head.name, to.dots)?,
        };
        let into = Dir::open(&to.directory).map_err(VaultError::Io)?;
        if into.identify(&name).map_err(VaultError::Io)?.is_some() {
            return Err(FilesError::Exists(name.to_string()));
        }
        let header = hikyaku_wire::cbor::encode(&head);
        let staging = Staging::new(into.try_clone().map_err(VaultError::Io)?, ".hikyaku-");
        let staged = match staging.open(head.transfer, &header, false, |_, _, _| Ok(false))? {
            Opened::Staged(staged) if staged.header() == header => *staged,
            // The remains of something else, or of a file that was fetched and taken away since.
            found => {
                drop(found);
                staging.discard(head.transfer)?;
                match staging.open(head.transfer, &header, false, |_, _, _| Ok(false))? {
                    Opened::Staged(staged) => *staged,
                    Opened::Settled(..) => return Err(VaultError::Busy.into()),
                }
            }
        };
        let mut incoming = Self { staged, into, name, head };
        if let Err(error) = incoming.check_space() {
            // What was never begun leaves nothing behind in a directory of the user's.
            if incoming.staged.mark().verified == 0 {
                incoming.staged.discard()?;
            }
            return Err(error);
        }
        Ok(incoming)
    }

    fn check_space(&mut self) -> Result<()> {
        let needed = self.head.size.unwrap_or(0).saturating_sub(self.staged.mark().verified);
        let free = self.into.free_space().map_err(VaultError::Io)?;
        if needed > free {
            return Err(VaultError::Full { free, needed }.into());
        }
        Ok(self.staged.prepare(self.head.size)?)
    }

    fn publish(mut self, root: hikyaku_wire::parcel::Root, size: u64) -> Result<(Receipt, SafeName)> {
        let meta = self.head.meta.unwrap_or(Metadata { mode: Some(0o644), ..Metadata::default() });
        match self.staged.publish(root, size, &meta, &self.into, &self.name) {
            Err(VaultError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FilesError::Exists(self.name.to_string()));
            }
            result => result?,
        }
        self.staged.forget()?;
        let transfer = self.head.transfer;
        let receipt = Receipt { transfer, root, size, synced: Synced::Each, name: None, event: None };
        Ok((receipt, self.name))
    }
}
