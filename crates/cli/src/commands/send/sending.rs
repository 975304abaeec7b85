//! One parcel on its way: remembered until it is there, tried again when a connection breaks, interrupted, told.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hikyaku_files::{FilesClient, FilesError, OutgoingTree, Pace, Progress, WalkOptions};
use hikyaku_sqlite::client::{ClientStore, Direction, Transfer};
use hikyaku_wire::files::{PutOptions, Receipt, Target};

use super::source::Source;
use super::{absolute, told};
use crate::client::{Client, Patience};
use crate::exit::{Result, Trouble};
use crate::receipts::{self, Kept};
use crate::transfer::events::{self, Events, Start};
use crate::transfer::{Counted, Interrupts, Pausing, Subject, Watch, interrupted};

/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all files of one command share.
pub(super) struct Sending {
    pub(super) client: Client,
    pub(super) store: ClientStore,
    pub(super) target: Target,
    pub(super) to: String,
    pub(super) put: PutOptions,
    pub(super) walk: WalkOptions,
    pub(super) pace: Option<Pace>,
    pub(super) pausing: Pausing,
}

impl Sending {
    /// Sends one parcel, or everything that goes into a directory; what of it is missing there.
    pub(super) async fn send(
        &mut self,
        source: Result<Source>,
        paths: &[PathBuf],
        events: &mut Events,
    ) -> Result<told::NotKept> {
        let mut outgoing = source?;
        let shown = events::path(outgoing.path().as_os_str());
        let told = paths.iter().map(|path| events::path(path.as_os_str())).collect();
        events.start(&Start { paths: told, to: Some(self.to.clone()), reference: None })?;
        let begun = Instant::now();
        if let Some(renewed) = self.renewed(&outgoing).await {
            self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
            outgoing = renewed;
            self.remember(&outgoing)?;
        }
        let mut receipt = self.deliver(&outgoing, events.is_json()).await;
        if let Err(Ending::Failed(error)) = &receipt
            && error.code() == hikyaku::ErrorCode::ALREADY_EXISTS
            && let Some(tree) = outgoing.as_tree(&self.target, self.put, &self.walk)?
        {
            // What has its name may be this very file: a tree of one is compared before anything is sent.
            self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
            outgoing = tree;
            self.remember(&outgoing)?;
            receipt = self.deliver(&outgoing, events.is_json()).await;
        }
        match receipt {
            Ok(receipt) => {
                self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
                self.keep(&outgoing, paths, &receipt)?;
                told::sent(events, paths, &self.target, (&outgoing, &receipt), begun.elapsed())?;
                told::not_kept(events, &outgoing, &receipt)
            }
            Err(Ending::Interrupted(trouble)) => {
                // What is known of the file so far spares reading it again.
                self.remember(&outgoing)?;
                Err(trouble)
            }
            Err(Ending::Failed(error)) => Err(self.failed(error, &outgoing)?.during(shown)),
        }
    }

    /// Tells what would become of each file, and does nothing.
    pub(super) async fn preview(&mut self, paths: &[PathBuf], events: &mut Events) -> Result {
        if !matches!(self.target, Target::Drop(_)) {
            return Err(Trouble::usage("--dry-run is for the server's directory: a room has nothing yet"));
        }
        let tree =
            OutgoingTree::new(&absolute(paths)?, None, self.target.clone(), self.put, self.walk.clone())?;
        let connection = self.client.connected().await?;
        let mut told = Ok(());
        let tell = |item| {
            if told.is_ok() {
                told = events.would(&item);
            }
        };
        let missing = FilesClient::new(connection.clone()).preview_tree(&tree, tell).await?;
        connection.close().await;
        told?;
        events.all_missing(&missing)
    }

    /// Keeps the receipt, where it says what this path was as a whole.
    fn keep(&mut self, source: &Source, paths: &[PathBuf], receipt: &Receipt) -> Result {
        // The root of what was sent while some of it was there is not that of the whole. (Also where all of it was
        // there: directories may have been touched, and names may be gone.)
        let is_kept = receipt.tree.as_ref().is_some_and(|tree| tree.kept.is_some());
        let is_whole = receipt.tree.as_ref().is_none_or(|tree| tree.missing == 0) && source.troubles().1 == 0;
        if source.is_piped() || paths.len() != 1 || self.walk.filter.is_some() {
            return Ok(());
        }
        if !is_whole {
            // An older one would say that what was sent just now is not what it was.
            return receipts::forget(&mut self.store, source.path());
        }
        let reference = told::reference(&self.target, source, receipt);
        let kept = Kept::new(source.path(), receipt.root.to_string(), reference, self.walk.attributes);
        let kept = match is_kept {
            true => kept.after_parts(receipts::known(&self.store, source.path())?),
            false => kept,
        };
        kept.keep(&mut self.store)
    }

    async fn deliver(&mut self, outgoing: &Source, json: bool) -> Result<Receipt, Ending> {
        let (progress, moments) = Progress::new();
        let name = outgoing.path().file_name().unwrap_or_default();
        let counted = match outgoing.tops() {
            Some(tops) if Watch::is_drawn(json) => Some(Counted::begin(&tops, &self.walk)),
            _ => None,
        };
        let subject = Subject { name: events::path(name), counted, here: false };
        let (watch, progress) =
            Watch::begin(json, subject, progress.paced(self.pace.clone()), moments.clone());
        let patience = Patience::new().with_full_limit(self.pausing.pause_timeout);
        let (mut interrupts, mut patience) = (Interrupts::listen(), patience);
        if outgoing.is_piped() {
            patience = patience.with_pauses();
        }
        let sent = loop {
            let attempt = self.attempt(outgoing, &progress);
            let ended = tokio::select! {
                ended = patience.attempt(moments.clone(), attempt) => ended,
                () = interrupts.come() => {
                    let trouble = interrupted(*moments.borrow(), !outgoing.is_piped());
                    break Err(Ending::Interrupted(trouble));
                }
            };
            let error = match ended {
                Ok(receipt) => break Ok(receipt),
                Err(error) if !error.is_retryable() => break Err(Ending::Failed(error)),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            if patience.has_moved(reached) {
                // What is known of the file so far spares reading it again, should this process end too.
                self.remember(outgoing).map_err(Ending::Interrupted)?;
            }
            if !patience.wait(&error).await {
                break Err(Ending::Failed(error));
            }
        };
        watch.finish();
        if outgoing.tops().is_none() && json && sent.is_ok() {
            events::file(outgoing.path(), moments.borrow().bytes);
        }
        sent
    }

    /// What is said of a transfer that ended early, and whether it is remembered.
    fn failed(&mut self, error: FilesError, outgoing: &Source) -> Result<Trouble> {
        let full = error.code() == hikyaku::ErrorCode::FULL;
        let again = error.is_retryable() && !outgoing.is_piped();
        if !again && !full {
            self.store.change(|changes| changes.remove_transfer(outgoing.transfer().0))?;
        }
        let trouble = Trouble::from(error);
        // A full disk has a hint of its own.
        Ok(if again && !full {
            trouble.hint("type the same command again: it goes on where it stopped")
        } else {
            trouble
        })
    }

    async fn attempt(&self, outgoing: &Source, progress: &Progress) -> Result<Receipt, FilesError> {
        let connection = self.client.connect().await?;
        let receipt = outgoing.send(&connection, progress).await?;
        // Not closed but drained: the receiver hears that its receipt has arrived, and need not keep it.
        connection.drain_within(GOODBYE).await;
        Ok(receipt)
    }

    /// Standard input, under a name.
    pub(super) fn piped(&self, name: Option<&std::ffi::OsStr>) -> Result<Source> {
        Ok(Source::piped(name.unwrap_or_default(), self.target.clone(), self.put)?)
    }

    /// The transfer that these paths began earlier, if it is still the same; else a new one. Remembered either way.
    pub(super) fn outgoing(&mut self, paths: &[PathBuf]) -> Result<Source> {
        let paths = absolute(paths)?;
        let fresh = Source::new(&paths, self.target.clone(), self.put, self.walk.clone())?;
        let begun = self.store.transfers()?.into_iter().filter(|transfer| {
            transfer.direction == Direction::Send
                && transfer.path == fresh.path()
                && transfer.target == self.to
        });
        for transfer in begun {
            if let Some(known) = Source::decode(&transfer.state, self.walk.clone())
                && (known.is_same(&fresh) || known.is_same_renewed(&fresh, self.put))
            {
                return Ok(known);
            }
            self.store.change(|changes| changes.remove_transfer(transfer.id))?;
        }
        self.remember(&fresh)?;
        Ok(fresh)
    }

    fn remember(&mut self, outgoing: &Source) -> Result {
        let Some(state) = outgoing.encode() else { return Ok(()) };
        let transfer = Transfer {
            id: outgoing.transfer().0,
            direction: Direction::Send,
            path: outgoing.path().to_owned(),
            target: self.to.clone(),
            state: state.into(),
            updated_ms: hikyaku_accounts::system_time(),
        };
        Ok(self.store.change(|changes| changes.put_transfer(&transfer))?)
    }
}

/// Why a transfer ended early.
enum Ending {
    /// By the person, or by this computer's own store.
    Interrupted(Trouble),
    /// By itself.
    Failed(FilesError),
}
