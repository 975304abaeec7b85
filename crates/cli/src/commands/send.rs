//! `hikyaku send`: files into a room or into the server's directory. Success is the receiver's word: whole, verified,
//! durable. A broken connection is made again, and the transfer goes on where it stopped; so it does in a new process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku_files::{FilesError, Progress, WalkOptions};
use hikyaku_sqlite::client::{ClientStore, Direction, Transfer};
use hikyaku_wire::files::{Overwrite, PutOptions, Receipt, Synced, Target};

use crate::args::Global;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Result, Trouble};
use crate::progress::Bar;
use crate::reference;

mod source;
mod told;

use source::Source;

/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The files and directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to: '#room', ':' (the server's directory) or ':sub/dir'
    #[arg(long, value_name = "TARGET")]
    to: String,
    /// What becomes of a file whose name is taken in the server's directory
    #[arg(long, value_enum, default_value_t = OnTaken::Never)]
    overwrite: OnTaken,
    /// When the receiver makes files durable: with the system's own time, as one batch, or each
    #[arg(long, value_enum)]
    fsync: Option<Fsync>,
    /// Make symbolic links that lead out of the tree, too
    #[arg(long)]
    all_links: bool,
    /// Make only the first of several names that differ by case or by how letters are composed
    #[arg(long)]
    distinct: bool,
    /// Carry extended attributes (user.*)
    #[arg(long)]
    xattrs: bool,
    /// One JSON object per file or tree
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OnTaken {
    /// It stays, and the new one is not made
    Never,
    /// The one with the later time stays
    Newer,
    /// The new one takes its place
    Always,
    /// The new one gets another name
    Rename,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Fsync {
    None,
    Batch,
    Each,
}

impl Send {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let target = reference::target(&self.to).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, target.server.as_deref())?.for_bulk();
        let (put, walk) = (self.put(), WalkOptions { filter: None, attributes: self.xattrs });
        let (store, json) = (client.server.store()?, self.json);
        let mut sending = Sending { store, client, target: target.what, to: self.to, put, walk };
        // A room shows each path as a parcel; a directory takes them all at once.
        let at_once = if matches!(sending.target, Target::Drop(_)) { self.paths.len() } else { 1 };
        let mut failed = Vec::new();
        for paths in self.paths.chunks(at_once) {
            let begun = Instant::now();
            match sending.send(paths, !json).await {
                Ok((source, receipt)) => {
                    told::sent(paths, &sending.target, &receipt, begun.elapsed(), json)?;
                    failed.extend(told::not_kept(&source, &receipt, json)?);
                }
                Err(trouble) if self.paths.len() == paths.len() && !json => return Err(trouble),
                Err(trouble) => {
                    if json {
                        told::failed(paths, &trouble)?;
                    }
                    trouble.report();
                    failed.push(trouble.exit);
                }
            }
        }
        match failed.as_slice() {
            [] => Ok(()),
            [only] if self.paths.len() <= at_once => Err(Trouble::new(*only, "")),
            failed => Err(Trouble::new(
                Exit::PartlyFailed,
                format!("{} of {} files were not sent whole", failed.len(), self.paths.len()),
            )),
        }
    }

    fn put(&self) -> PutOptions {
        let overwrite = match self.overwrite {
            OnTaken::Never => None,
            OnTaken::Newer => Some(Overwrite::Newer),
            OnTaken::Always => Some(Overwrite::Always),
            OnTaken::Rename => Some(Overwrite::Rename),
        };
        let synced = self.fsync.map(|fsync| match fsync {
            Fsync::None => Synced::None,
            Fsync::Batch => Synced::Batch,
            Fsync::Each => Synced::Each,
        });
        let (all_links, distinct) = (self.all_links.then_some(true), self.distinct.then_some(true));
        PutOptions { overwrite, synced, all_links, distinct }
    }
}

/// What all files of one command share.
struct Sending {
    client: Client,
    store: ClientStore,
    target: Target,
    to: String,
    put: PutOptions,
    walk: WalkOptions,
}

impl Sending {
    async fn send(&mut self, paths: &[PathBuf], show: bool) -> Result<(Source, Receipt)> {
        let outgoing = self.outgoing(paths)?;
        let path = outgoing.path().to_owned();
        let (progress, moments) = Progress::new();
        let bar = Bar::show(show, path.file_name().unwrap_or_default().as_encoded_bytes(), moments.clone());
        let mut patience = Patience::new();
        let sent = loop {
            let attempt = self.attempt(&outgoing, &progress);
            let error = match patience.attempt(moments.clone(), attempt).await {
                Ok(receipt) => break Ok(receipt),
                Err(error) if !error.is_retryable() => break Err(error),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            if patience.has_moved(reached) {
                // What is known of the file so far spares reading it again, should this process end too.
                self.remember(&outgoing)?;
            }
            if !patience.wait().await {
                break Err(error);
            }
        };
        bar.finish();
        match sent {
            Ok(receipt) => {
                self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
                Ok((outgoing, receipt))
            }
            Err(error) => {
                let full = error.code() == hikyaku::ErrorCode::FULL;
                let again = error.is_retryable();
                if !again && !full {
                    self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
                }
                let shown = hikyaku_files::escape(path.as_os_str().as_encoded_bytes()).to_string();
                let trouble = Trouble::from(error).during(shown);
                // A full disk has a hint of its own.
                Err(if again && !full {
                    trouble.hint("type the same command again: it goes on where it stopped")
                } else {
                    trouble
                })
            }
        }
    }

    async fn attempt(&self, outgoing: &Source, progress: &Progress) -> Result<Receipt, FilesError> {
        let connection = self.client.connect().await?;
        let receipt = outgoing.send(&connection, progress).await?;
        // Not closed but drained: the receiver hears that its receipt has arrived, and need not keep it.
        connection.drain_within(GOODBYE).await;
        Ok(receipt)
    }

    /// The transfer that these paths began earlier, if it is still the same; else a new one. Remembered either way.
    fn outgoing(&mut self, paths: &[PathBuf]) -> Result<Source> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|error| crate::exit::io(path.display(), &error))
        };
        let paths = paths.iter().map(absolute).collect::<Result<Vec<_>>>()?;
        let fresh = Source::new(&paths, self.target.clone(), self.put, self.walk.clone())?;
        let begun = self.store.transfers()?.into_iter().filter(|transfer| {
            transfer.direction == Direction::Send
                && transfer.path == fresh.path()
                && transfer.target == self.to
        });
        for transfer in begun {
            if let Some(known) = Source::decode(&transfer.state, self.walk.clone())
                && known.is_same(&fresh)
            {
                return Ok(known);
            }
            self.store.change(|changes| changes.remove_transfer(transfer.id))?;
        }
        self.remember(&fresh)?;
        Ok(fresh)
    }

    fn remember(&mut self, outgoing: &Source) -> Result {
        let transfer = Transfer {
            id: outgoing.transfer().0,
            direction: Direction::Send,
            path: outgoing.path().to_owned(),
            target: self.to.clone(),
            state: outgoing.encode().into(),
            updated_ms: hikyaku_accounts::system_time(),
        };
        Ok(self.store.change(|changes| changes.put_transfer(&transfer))?)
    }
}
