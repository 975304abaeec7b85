//! The audit record: one durable line of JSON for everything that becomes of an offer, of a request for a parcel, and of a repair
//! of one: refused, accepted, failed, finished.
//!
//! One thread writes; lines that come while it makes others durable share the next synchronisation. Nothing is accepted, no
//! receipt is sent and no byte is given before its line is durable. The file is `transfers.jsonl` in the data directory; at [`MAX_FILE`] it is
//! moved to `transfers.1.jsonl`, that to `transfers.2.jsonl` and so on ([`mod@log`]). What a peer names is bounded ([`mod@line`]), and so
//! are the lines that refusals of one user get ([`refusals`]). The keys are in `docs/json.md`.

mod line;
mod log;
mod refusals;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hikyaku::{ErrorCode, Failure, Retry};
use hikyaku_files::rooms::{Deed, Fetch, Mend, Outcome, Resolved};
use hikyaku_wire::files::Wanted;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::context::Context;
use line::{Fetched, Line, Mended, Sent, Whose};
use log::Log;
use refusals::{Counted, EVERY, Refusals, Told};

/// When the file is moved aside.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Lines that wait for the thread.
const QUEUE: usize = 256;
/// The most lines that share a synchronisation.
const GROUP: usize = 64;

/// Where lines are written. Clones share it; the thread ends with the last of them.
#[derive(Clone)]
pub(crate) struct Audit {
    lines: mpsc::Sender<Waiting>,
    refusals: Arc<Mutex<Refusals<Whose>>>,
}

/// A line, and who waits until it is durable.
type Waiting = (Vec<u8>, oneshot::Sender<io::Result<()>>);

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
        Ok(Self { lines: to, refusals: Arc::default() })
    }

    /// Writes what became of an offer. Durable on return, unless it is a refusal that is only counted.
    pub(crate) async fn record(&self, context: &Context, deed: &Deed<'_>) -> Result<(), Failure> {
        if self.is_counted(context, &deed.outcome) {
            return Ok(());
        }
        let transfer = Some(deed.offer.transfer.to_string());
        let (session, told) = (context.session(), (transfer, deed.address));
        self.write(&Line::of("transfer", session, told, &deed.outcome, Sent::of(deed))).await
    }

    /// Writes what became of a request. Durable on return, unless it is a refusal that is only counted.
    pub(crate) async fn record_fetch(&self, context: &Context, fetch: &Fetch<'_>) -> Result<(), Failure> {
        if self.is_counted(context, &fetch.outcome) {
            return Ok(());
        }
        let (session, told) = (context.session(), (transfer(fetch.found, fetch.wanted), fetch.address));
        let line = Line::of("fetch", session, told, &fetch.outcome, Fetched::of(fetch));
        self.write(&line).await.map_err(again_when_there_is_room)
    }

    /// Writes how many refusals were only counted, now and not at the end of their minute: for whoever is about to stop.
    pub(crate) async fn finish(&self) {
        for (whose, counted) in self.refusals(Refusals::take_all) {
            self.write_counted(whose, counted).await;
        }
    }

    /// Writes what became of mending. Durable on return, unless it is a refusal that is only counted.
    pub(crate) async fn record_mend(&self, context: &Context, mend: &Mend<'_>) -> Result<(), Failure> {
        if self.is_counted(context, &mend.outcome) {
            return Ok(());
        }
        let (session, told) = (context.session(), (transfer(mend.found, mend.wanted), mend.address));
        let line = Line::of("mend", session, told, &mend.outcome, Mended::of(mend));
        self.write(&line).await.map_err(again_when_there_is_room)
    }

    /// Whether it is a refusal that has no line, because its user had many. Their number is written a little later.
    fn is_counted(&self, context: &Context, outcome: &Outcome<'_>) -> bool {
        if !matches!(outcome, Outcome::Refused(_)) {
            return false;
        }
        let session = context.session();
        let (whose, called) = (Whose::of(session), session.name.as_ref().map(ToString::to_string));
        let now = Instant::now().into_std();
        let told = self.refusals(|refusals| refusals.refused(whose.clone(), called.as_deref(), now));
        if told == Told::First {
            let audit = self.clone();
            tokio::spawn(async move {
                sleep(EVERY).await;
                let counted = audit.refusals(|refusals| refusals.take(&whose));
                if let Some(counted) = counted {
                    audit.write_counted(whose, counted).await;
                }
            });
        }
        told != Told::Line
    }

    async fn write_counted(&self, whose: Whose, Counted { called, more }: Counted) {
        // Its own log says that it could not be written.
        let _ = self.write(&whose.more(called, more)).await;
    }

    fn refusals<T>(&self, with: impl FnOnce(&mut Refusals<Whose>) -> T) -> T {
        with(&mut self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn write(&self, line: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(line).map_err(|error| failed(&error.into()))?;
        line.push(b'\n');
        let (told, durable) = oneshot::channel();
        let gone = || failed(&io::ErrorKind::BrokenPipe.into());
        self.lines.send((line, told)).await.map_err(|_| gone())?;
        durable.await.map_err(|_| gone())?.map_err(|error| failed(&error))
    }
}

/// The transfer that brought what somebody asked for, as far as it is known.
fn transfer(found: Option<&Resolved>, wanted: &Wanted) -> Option<String> {
    match (found, wanted) {
        (Some(found), _) => Some(found.transfer.to_string()),
        (None, Wanted::Transfer(transfer)) => Some(transfer.to_string()),
        (None, Wanted::Event(_)) => None,
    }
}

/// Nobody who fetches can make room on this disk: it goes on by itself when there is some.
fn again_when_there_is_room(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::FULL => failure.with_retry(Retry::After(Duration::from_secs(1))),
        _ => failure,
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

#[cfg(test)]
mod tests;
