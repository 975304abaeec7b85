//! `hikyaku send`: files into a room or into the server's directory. Success is the receiver's word: whole, verified,
//! durable. A broken connection is made again, and the transfer goes on where it stopped; so it does in a new process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku_files::{FilesClient, FilesError, Outgoing, Progress};
use hikyaku_sqlite::client::{ClientStore, Direction, Transfer};
use hikyaku_wire::files::{Receipt, Target};
use serde::Serialize;

use crate::args::Global;
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::progress::Bar;
use crate::reference;

/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to: '#room', ':' (the server's directory) or ':sub/dir'
    #[arg(long, value_name = "TARGET")]
    to: String,
    /// One JSON object per file
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonSent {
    v: u32,
    r#type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    synced: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
}

impl Send {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let target = reference::target(&self.to).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, target.server.as_deref())?.for_bulk();
        let mut sending = Sending { store: client.server.store()?, client, target: target.what, to: self.to };
        let mut failed = Vec::new();
        for path in &self.paths {
            let begun = Instant::now();
            match sending.send(path, !self.json).await {
                Ok(receipt) => tell(path, &sending.target, &receipt, begun.elapsed(), self.json)?,
                Err(trouble) if self.paths.len() == 1 && !self.json => return Err(trouble),
                Err(trouble) => {
                    if self.json {
                        output::json(&failure(path, &trouble))?;
                    }
                    trouble.report();
                    failed.push(trouble.exit);
                }
            }
        }
        match failed.as_slice() {
            [] => Ok(()),
            [only] if self.paths.len() == 1 => Err(Trouble::new(*only, "")),
            failed => Err(Trouble::new(
                Exit::PartlyFailed,
                format!("{} of {} files were not sent", failed.len(), self.paths.len()),
            )),
        }
    }
}

/// What all files of one command share.
struct Sending {
    client: Client,
    store: ClientStore,
    target: Target,
    to: String,
}

impl Sending {
    async fn send(&mut self, path: &Path, show: bool) -> Result<Receipt> {
        let outgoing = self.outgoing(path)?;
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
                Ok(receipt)
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

    async fn attempt(&self, outgoing: &Outgoing, progress: &Progress) -> Result<Receipt, FilesError> {
        let connection = self.client.connect().await?;
        let receipt = FilesClient::new(connection.clone()).send_file(outgoing, progress).await?;
        // Not closed but drained: the receiver hears that its receipt has arrived, and need not keep it.
        connection.drain_within(GOODBYE).await;
        Ok(receipt)
    }

    /// The transfer that this file began earlier, if it is still the same file; else a new one. Remembered either way.
    fn outgoing(&mut self, path: &Path) -> Result<Outgoing> {
        let path = std::path::absolute(path).map_err(|error| crate::exit::io(path.display(), &error))?;
        let fresh = Outgoing::new(&path, None, self.target.clone())?;
        let begun = self.store.transfers()?.into_iter().filter(|transfer| {
            transfer.direction == Direction::Send && transfer.path == path && transfer.target == self.to
        });
        for transfer in begun {
            if let Some(known) = Outgoing::decode(&transfer.state)
                && known.is_same_source(&fresh)
            {
                return Ok(known);
            }
            self.store.change(|changes| changes.remove_transfer(transfer.id))?;
        }
        self.remember(&fresh)?;
        Ok(fresh)
    }

    fn remember(&mut self, outgoing: &Outgoing) -> Result {
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

fn tell(path: &Path, target: &Target, receipt: &Receipt, took: Duration, json: bool) -> Result {
    let reference = match (&receipt.event, target, &receipt.name) {
        (Some(event), ..) => Some(format!("#{}:{}", event.room, event.seq)),
        (None, Target::Drop(directory), Some(name)) => {
            let parts = directory.iter().map(|part| part.0.as_slice()).chain([name.as_slice()]);
            Some(format!(":{}", String::from_utf8_lossy(&parts.collect::<Vec<_>>().join(&b'/'))))
        }
        _ => None,
    };
    let name = receipt.name.as_ref().map(|name| String::from_utf8_lossy(name).into_owned());
    if json {
        return output::json(&JsonSent {
            v: JSON_VERSION,
            r#type: "sent",
            path: path.display().to_string(),
            reference,
            name,
            root: Some(receipt.root.to_string()),
            bytes: Some(receipt.size),
            synced: Some(match receipt.synced {
                hikyaku_wire::files::Synced::None => "none",
                hikyaku_wire::files::Synced::Batch => "batch",
                hikyaku_wire::files::Synced::Each => "each",
            }),
            seconds: Some(took.as_secs_f64()),
            error: None,
            exit: None,
        });
    }
    let place = reference.as_deref().unwrap_or("sent");
    let place = hikyaku_files::escape(place.as_bytes());
    output::line(format_args!("{place}  {}  {}", event::bytes(receipt.size), receipt.root))
}

fn failure(path: &Path, trouble: &Trouble) -> JsonSent {
    JsonSent {
        v: JSON_VERSION,
        r#type: "failed",
        path: path.display().to_string(),
        reference: None,
        name: None,
        root: None,
        bytes: None,
        synced: None,
        seconds: None,
        error: Some(trouble.to_string()),
        exit: Some(trouble.exit as u8),
    }
}
