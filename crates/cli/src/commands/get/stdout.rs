//! `get --stdout`: a file into a pipe, piece by piece as it is verified, at the speed of whoever reads.

use std::io::{self, Write as _};

use hikyaku_files::client::Poured;
use hikyaku_files::{FilesClient, FilesError, Pace, Progress};
use hikyaku_wire::files::{Head, Wanted};
use hikyaku_wire::parcel::EntryKind;

use super::of_fetching;
use crate::client::{Client, Patience};
use crate::exit::{Exit, Result, Trouble};
use crate::output;
use crate::transfer::{Interrupts, Subject, Watch, interrupted};

pub(super) async fn pour(client: &Client, wanted: &Wanted, reference: &str, pace: Option<Pace>) -> Result {
    let poured = Poured::new(write);
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
    let progress = progress.paced(pace);
    let (mut interrupts, mut patience) = (Interrupts::listen(), Patience::new().with_pauses());
    let ended = loop {
        let attempt = attempt(client, wanted, &poured, &progress);
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
    ended.map_err(|error| match error {
        FilesError::Source { error, .. } if error.kind() == io::ErrorKind::BrokenPipe => Trouble::quiet(),
        FilesError::Source { error, .. } if error.kind() == io::ErrorKind::IsADirectory => {
            let what = format!("{} is a tree", hikyaku::printable(reference));
            Trouble::new(Exit::Failed, what).hint("fetch it with --into DIR")
        }
        error if moments.borrow().bytes > 0 => of_fetching(error, reference)
            .hint("what was written is the beginning only: do not use it as the whole"),
        error => of_fetching(error, reference),
    })
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
