//! `get --stdout`: a file into a pipe, piece by piece as it is verified, at the speed of whoever reads.
//!
//! Of a parcel that is still being sent: what is there, or with `--follow` all of it as it comes. Until the exit code is 0,
//! what was written is provisional.

use std::io::{self, Write as _};
use std::sync::Once;

use hikyaku_files::client::Poured;
use hikyaku_files::{FilesClient, FilesError, Progress};
use hikyaku_wire::files::{Head, Wanted};
use hikyaku_wire::parcel::EntryKind;

use super::{Get, of_fetching};
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{Exit, Result, Trouble};
use crate::output;
use crate::transfer::{Interrupts, Subject, Watch, interrupted};

/// What is poured.
pub(super) struct Pouring<'a> {
    pub(super) get: &'a Get,
    pub(super) client: &'a Client,
    pub(super) wanted: &'a Wanted,
}

impl Pouring<'_> {
    pub(super) async fn run(self) -> Result {
        let Get { reference, follow, from, .. } = self.get;
        let (once, shown, follows) = (Once::new(), hikyaku::printable(reference).to_string(), *follow);
        let poured = Poured::new(move |head, bytes| {
            if follows && head.root.is_none() {
                once.call_once(|| {
                    output::note(format_args!(
                        "{shown} is still being sent: what comes is provisional until it ends"
                    ));
                });
            }
            write(head, bytes)
        });
        let poured = if *follow { poured } else { poured.impatient() };
        self.pour(&poured.from(*from)).await
    }

    async fn pour(&self, poured: &Poured) -> Result {
        let reference = &self.get.reference;
        let (progress, moments) = Progress::new();
        let subject = Subject { name: hikyaku::printable(reference).to_string(), ..Subject::default() };
        // What goes to a terminal is not drawn over.
        let hidden = output::is_shown();
        let (watch, progress) = if hidden {
            (None, progress)
        } else {
            let (watch, progress) = Watch::begin(false, subject, progress, moments.clone());
            (Some(watch), progress)
        };
        let progress = progress.paced(self.get.limit.pace());
        let mut patience = Patience::new().with_pauses();
        if self.get.follow {
            patience = patience.without_end();
        }
        let mut interrupts = Interrupts::listen();
        let ended = loop {
            let attempt = attempt(self.client, self.wanted, poured, &progress);
            let ended = tokio::select! {
                ended = patience.attempt(moments.clone(), attempt) => ended,
                () = interrupts.come() => return Err(interrupted(*moments.borrow(), false)),
            };
            let error = match ended {
                Ok(()) => break Ok(()),
                Err(error) if !error.is_retryable() => break Err(error),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            patience.has_moved(reached);
            if !patience.wait(&error).await {
                break Err(error);
            }
        };
        drop(watch);
        let begun = moments.borrow().bytes > self.get.from;
        ended.map_err(|error| trouble(error, begun, reference))
    }
}

fn trouble(error: FilesError, begun: bool, reference: &str) -> Trouble {
    match error {
        FilesError::Source { error, .. } if error.kind() == io::ErrorKind::BrokenPipe => Trouble::quiet(),
        FilesError::Source { error, .. } if error.kind() == io::ErrorKind::IsADirectory => {
            let what = format!("{} is a tree", hikyaku::printable(reference));
            Trouble::new(Exit::Failed, what).hint("fetch it with --into DIR")
        }
        FilesError::Provisional(bytes) => {
            let (reference, bytes) = (hikyaku::printable(reference), event::bytes(bytes));
            let what =
                format!("{reference} is still being sent: this was what is there, {bytes}, and provisional");
            Trouble::new(Exit::PartlyFailed, what).hint("--follow goes on with what comes, until its end")
        }
        error if begun => of_fetching(error, reference)
            .hint("what was written is the beginning only: do not use it as the whole"),
        error => of_fetching(error, reference),
    }
}

fn write(head: &Head, bytes: &[u8]) -> io::Result<()> {
    if head.kind != EntryKind::File {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

async fn attempt(
    client: &Client,
    wanted: &Wanted,
    poured: &Poured,
    progress: &Progress,
) -> Result<(), FilesError> {
    let connection = client.connect().await?;
    FilesClient::new(connection.clone()).pour(wanted, poured, progress).await?;
    connection.close().await;
    Ok(())
}
