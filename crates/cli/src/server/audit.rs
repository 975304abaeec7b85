//! The audit record: one durable line of JSON for everything that becomes of an offer, and of a request for a parcel: refused,
//! accepted, failed, finished.
//!
//! One thread writes; lines that come while it makes others durable share the next synchronisation. Nothing is accepted, no
//! receipt is sent and no byte is given before its line is durable. The file is `transfers.jsonl` in the data directory; at [`MAX_FILE`] it is
//! moved to `transfers.1.jsonl`, that to `transfers.2.jsonl` and so on, of which [`KEPT`] are kept. The keys are in
//! `docs/json.md`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hikyaku::{ErrorCode, Failure};
use hikyaku_files::escape;
use hikyaku_files::rooms::{Deed, Fetch, Outcome};
use hikyaku_wire::files::{Receipt, Target, Wanted};
use hikyaku_wire::parcel::{EntryKind, EventRef};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use crate::output::JSON_VERSION;
use crate::reference::place;
use crate::time;

/// When the file is moved aside.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// How many older files are kept.
const KEPT: u32 = 4;
/// Lines that wait for the thread.
const QUEUE: usize = 256;
/// The most lines that share a synchronisation.
const GROUP: usize = 64;

/// Where lines are written. Clones share it; the thread ends with the last of them.
#[derive(Clone)]
pub(crate) struct Audit(mpsc::Sender<Waiting>);

/// A line, and who waits until it is durable.
type Waiting = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// What every line says.
#[derive(Serialize)]
struct Line<What> {
    v: u32,
    r#type: &'static str,
    ts: String,
    outcome: &'static str,
    transfer: Option<String>,
    user: Option<String>,
    user_id: Option<String>,
    device: String,
    device_name: Option<String>,
    address: Option<String>,
    #[serde(flatten)]
    what: What,
    error: Option<String>,
}

/// What was offered.
#[derive(Serialize)]
struct Sent {
    to: String,
    name: String,
    kind: &'static str,
    /// As offered, or as received.
    bytes: Option<u64>,
    root: Option<String>,
    synced: Option<&'static str>,
    missing: Option<u64>,
    /// Files of a tree that were there and are not part of the root, and their bytes.
    kept: Option<u64>,
    kept_bytes: Option<u64>,
}

/// What was asked for.
#[derive(Serialize)]
struct Fetched {
    from: Option<String>,
    name: Option<String>,
    kind: Option<&'static str>,
    /// All of it, as far as that is known.
    bytes: Option<u64>,
    /// In this exchange.
    sent: u64,
    root: Option<String>,
}

impl Audit {
    /// Opens the record in a data directory.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let mut log = Log::open(data.join("transfers.jsonl"), MAX_FILE)?;
        let (to, mut lines) = mpsc::channel::<Waiting>(QUEUE);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            while let Some(first) = lines.blocking_recv() {
                let more = std::iter::from_fn(|| lines.try_recv().ok()).take(GROUP - 1);
                let group: Vec<Waiting> = std::iter::once(first).chain(more).collect();
                let written = log.write(group.iter().map(|(line, _)| line.as_slice()));
                for (_, told) in group {
                    // Whoever does not wait any more need not know.
                    let _ = told.send(written.as_ref().copied().map_err(|error| error.kind().into()));
                }
            }
        })?;
        Ok(Self(to))
    }

    /// Writes what became of an offer. Durable on return.
    pub(crate) async fn record(&self, context: &Context, deed: &Deed<'_>) -> Result<(), Failure> {
        let transfer = Some(deed.offer.transfer.to_string());
        let line = Line::of("transfer", context, (transfer, deed.address), &deed.outcome, Sent::of(deed));
        self.write(&line).await
    }

    /// Writes what became of a request. Durable on return.
    pub(crate) async fn record_fetch(&self, context: &Context, fetch: &Fetch<'_>) -> Result<(), Failure> {
        let transfer = match (fetch.found, fetch.wanted) {
            (Some(found), _) => Some(found.transfer.to_string()),
            (None, Wanted::Transfer(transfer)) => Some(transfer.to_string()),
            (None, Wanted::Event(_)) => None,
        };
        let line = Line::of("fetch", context, (transfer, fetch.address), &fetch.outcome, Fetched::of(fetch));
        self.write(&line).await
    }

    async fn write(&self, line: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(line).map_err(|error| failed(&error.into()))?;
        line.push(b'\n');
        let (told, durable) = oneshot::channel();
        let gone = || failed(&io::ErrorKind::BrokenPipe.into());
        self.0.send((line, told)).await.map_err(|_| gone())?;
        durable.await.map_err(|_| gone())?.map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> Failure {
    tracing::error!(%error, "the audit record cannot be written");
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::FULL,
        _ => ErrorCode::INTERNAL,
    };
    Failure::new(code, "the server cannot write its audit record, and takes and gives nothing without")
}

impl<What> Line<What> {
    fn of(
        kind: &'static str,
        context: &Context,
        (transfer, address): (Option<String>, Option<SocketAddr>),
        outcome: &Outcome<'_>,
        what: What,
    ) -> Self {
        let session = context.session();
        let (outcome, error) = match outcome {
            Outcome::Accepted => ("accepted", None),
            Outcome::Refused(why) => ("refused", Some((*why).to_owned())),
            Outcome::Failed(why) => ("failed", Some((*why).to_owned())),
            Outcome::Finished(_) => ("finished", None),
        };
        Self {
            v: JSON_VERSION,
            r#type: kind,
            ts: time::utc(hikyaku_accounts::system_time()),
            outcome,
            transfer,
            user: session.name.as_ref().map(ToString::to_string),
            user_id: session.user.map(|user| user.to_string()),
            device: session.device.to_string(),
            device_name: session.device_name.as_ref().map(ToString::to_string),
            address: address.map(|address| address.to_string()),
            what,
            error,
        }
    }
}

impl Sent {
    fn of(deed: &Deed<'_>) -> Self {
        let (offer, receipt) = (deed.offer, receipt(&deed.outcome));
        let tree = receipt.and_then(|receipt| receipt.tree.as_ref());
        let to = match &offer.target {
            Target::Room(room) => place(room),
            Target::Device(room, device) => format!("{}/{device}", place(room)),
            Target::Drop(path) => {
                let below: Vec<_> = path.iter().map(|component| escape(&component.0).to_string()).collect();
                format!(":{}", below.join("/"))
            }
        };
        Self {
            to,
            name: escape(&offer.name).to_string(),
            kind: kind(offer.kind),
            bytes: receipt.map(|receipt| receipt.size).or(offer.size),
            root: receipt.map(|receipt| receipt.root.to_string()),
            synced: receipt.map(|receipt| match receipt.synced {
                hikyaku_wire::files::Synced::None => "none",
                hikyaku_wire::files::Synced::Batch => "batch",
                hikyaku_wire::files::Synced::Each => "each",
            }),
            missing: tree.map(|tree| tree.missing),
            kept: tree.and_then(|tree| tree.kept),
            kept_bytes: tree.and_then(|tree| tree.kept_bytes),
        }
    }
}

impl Fetched {
    fn of(fetch: &Fetch<'_>) -> Self {
        let (found, receipt) = (fetch.found, receipt(&fetch.outcome));
        let from = match fetch.wanted {
            Wanted::Event(EventRef { room: name, epoch: None, seq }) => {
                Some(format!("{}:{seq}", place(name)))
            }
            Wanted::Event(EventRef { room: name, epoch: Some(epoch), seq }) => {
                Some(format!("{}:{epoch}.{seq}", place(name)))
            }
            Wanted::Transfer(_) => None,
        };
        let root = receipt.map(|receipt| receipt.root).or(found.and_then(|found| found.root));
        Self {
            from,
            name: found.map(|found| escape(&found.name).to_string()),
            kind: found.map(|found| kind(found.kind)),
            bytes: receipt.map(|receipt| receipt.size).or(found.and_then(|found| found.size)),
            sent: fetch.sent,
            root: root.map(|root| root.to_string()),
        }
    }
}

fn receipt<'a>(outcome: &Outcome<'a>) -> Option<&'a Receipt> {
    if let Outcome::Finished(receipt) = outcome { Some(receipt) } else { None }
}

fn kind(kind: EntryKind) -> &'static str {
    if kind == EntryKind::Tree { "tree" } else { "file" }
}

/// The files.
struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    max: u64,
}

impl Log {
    fn open(path: PathBuf, max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        sync_directory(&path)?;
        let mut log = Self { path, file, length, max };
        log.end_line()?;
        Ok(log)
    }

    /// A line that a crash cut off ends here, so that the next one is whole.
    fn end_line(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut last = [b'\n'];
        if self.length > 0 {
            File::open(&self.path)?.read_exact_at(&mut last, self.length - 1)?;
        }
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.length += 1;
        }
        Ok(())
    }

    fn write<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let bytes: Vec<u8> = lines.flatten().copied().collect();
        if self.length > 0 && self.length + bytes.len() as u64 > self.max {
            self.rotate()?;
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What is not durable is not there: nothing follows half a line.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |number: u32| self.path.with_extension(format!("{number}.jsonl"));
        for number in (1..KEPT).rev() {
            rename_if_there(&older(number), &older(number + 1))?;
        }
        rename_if_there(&self.path, &older(1))?;
        let (path, max) = (self.path.clone(), self.max);
        *self = Self::open(path, max)?;
        Ok(())
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn sync_directory(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_record_is_bounded_and_the_oldest_of_it_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("transfers.jsonl");
        let mut log = Log::open(path.clone(), 20).unwrap();
        for line in 0..40 {
            log.write([format!("line {line:03}\n").as_bytes()].into_iter()).unwrap();
        }
        assert_eq!(all(&path), "line 038\nline 039\n");
        assert_eq!(all(&path.with_extension("4.jsonl")), "line 030\nline 031\n");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1 + KEPT as usize);
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_take_the_next_one_with_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("transfers.jsonl");
        std::fs::write(&path, "whole\nha").unwrap();
        let mut log = Log::open(path.clone(), 1_000).unwrap();
        log.write([&b"next\n"[..], b"and next\n"].into_iter()).unwrap();
        assert_eq!(all(&path), "whole\nha\nnext\nand next\n");
    }
}
