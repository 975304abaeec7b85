//! `hikyaku get`: a file or a tree out of a room: verified, resumable, atomic.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku_files::{Destination, Fetched, FilesClient, FilesError, Progress};
use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::Wanted;
use serde::Serialize;

use crate::args::Global;
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{self, Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::progress::Bar;
use crate::reference;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What: '#room:SEQ', the reference that the parcel has in its room
    reference: String,
    /// Where to
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonFetched {
    v: u32,
    r#type: &'static str,
    reference: String,
    path: String,
    root: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    seconds: f64,
}

#[derive(Serialize)]
struct JsonMissing {
    v: u32,
    r#type: &'static str,
    path: String,
    why: String,
}

impl Get {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let event = reference::event(&self.reference).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, event.server.as_deref())?.for_bulk();
        if !self.into.is_dir() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(exit::io(self.into.display(), &missing).hint("--into names a directory that exists"));
        }
        let destination = Destination::new(&self.into);
        let begun = Instant::now();
        let (progress, moments) = Progress::new();
        let bar = Bar::show(!self.json, self.reference.as_bytes(), moments.clone());
        let wanted = Wanted::Event(event.what);
        let mut patience = Patience::new();
        let fetched = loop {
            let attempt = attempt(&client, &wanted, &destination, &progress);
            let error = match patience.attempt(moments.clone(), attempt).await {
                Ok(fetched) => break Ok(fetched),
                Err(error) if !error.is_retryable() => break Err(error),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            patience.has_moved(reached);
            if !patience.wait().await {
                break Err(error);
            }
        };
        bar.finish();
        let fetched = fetched.map_err(|error| self.trouble(error))?;
        self.tell(&fetched, begun.elapsed())?;
        self.tell_missing(&fetched)
    }

    fn trouble(&self, error: FilesError) -> Trouble {
        if let FilesError::Vault(VaultError::Full { free, needed }) = &error {
            // The disk here, not the server's.
            let (free, needed, into) = (event::bytes(*free), event::bytes(*needed), self.into.display());
            let what = format!("the disk of {into} is full: {free} free, {needed} needed");
            return Trouble::new(Exit::Full, what).during(hikyaku::printable(&self.reference)).hint(
                "make room there, or choose another directory with --into DIR, and type the same again",
            );
        }
        let code = error.code();
        let trouble = Trouble::from(error).during(hikyaku::printable(&self.reference));
        if code == hikyaku::ErrorCode::NOT_FOUND {
            return trouble.hint("'hikyaku tail ROOM' shows what there is to get");
        }
        trouble
    }

    /// Tells what of a tree is not there as it was sent.
    fn tell_missing(&self, fetched: &Fetched) -> Result {
        let Some(report) = fetched.report.as_ref().filter(|report| report.missing_count > 0) else {
            return Ok(());
        };
        for (path, why) in &report.missing {
            let (path, why) = (hikyaku_files::escape(path).to_string(), why.to_string());
            if self.json {
                output::json(&JsonMissing { v: JSON_VERSION, r#type: "missing", path, why })?;
            } else {
                output::note(format_args!("{path}: {why}"));
            }
        }
        let told = format!("{} things are not here as they were sent", report.missing_count);
        Err(Trouble::new(Exit::PartlyFailed, told))
    }

    fn tell(&self, fetched: &Fetched, took: Duration) -> Result {
        let path = self.into.join(fetched.name.as_os_str());
        let bytes = fetched.report.as_ref().map_or(fetched.receipt.size, |report| report.counts.bytes);
        if self.json {
            return output::json(&JsonFetched {
                v: JSON_VERSION,
                r#type: "fetched",
                reference: self.reference.clone(),
                path: path.display().to_string(),
                root: fetched.receipt.root.to_string(),
                bytes,
                entries: fetched.report.as_ref().map(|report| report.counts.entries),
                seconds: took.as_secs_f64(),
            });
        }
        let path = hikyaku_files::escape(path.as_os_str().as_encoded_bytes()).to_string();
        output::line(format_args!("{path}  {}  {}", event::bytes(bytes), fetched.receipt.root))
    }
}

async fn attempt(
    client: &Client,
    wanted: &Wanted,
    destination: &Destination,
    progress: &Progress,
) -> Result<Fetched, FilesError> {
    let connection = client.connect().await?;
    let fetched = FilesClient::new(connection.clone()).get_file(wanted, destination, progress).await?;
    connection.close().await;
    Ok(fetched)
}
