//! `hikyaku get`: a file or a tree out of a room: verified, resumable, atomic; or poured into a pipe.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku::ErrorCode;
use hikyaku_files::{Destination, Fetched, FilesClient, FilesError, Item, Missing, Only, Progress, Report};
use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::{PutOptions, Verdict, Wanted};

use super::send::{ALL_LINKS, OnTaken};
use crate::args::Global;
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{self, Exit, Result, Trouble};
use crate::failures::{Failures, Id};
use crate::handing;
use crate::output;
use crate::receipts::Kept;
use crate::reference;
use crate::selection::Twins;
use crate::transfer::events::{self, Done, Events, Start};
use crate::transfer::{Interrupts, Limit, Pausing, Subject, Watch, interrupted};

mod stdout;

#[derive(Debug, Args)]
#[command(after_help = "\
Instead of                                type
  scp host:/srv/big.iso .                   hikyaku get '#lab:97'
  rsync -aHSX host:/srv/dataset .           hikyaku get '#lab:98'
  rsync -aHSX host:/srv/dataset /data       hikyaku get '#lab:98' --into /data --overwrite always
  rsync -aHSc host:/srv/dataset .           hikyaku get '#lab:98' --overwrite always --checksum
  rsync -an host:/srv/dataset .             hikyaku get '#lab:98' --dry-run
  rsync --list-only -r host:/srv/dataset    hikyaku get '#lab:98' --list
  rsync -a host:/srv/dataset/{a,b} .        hikyaku get '#lab:98' --only dataset/a dataset/b
  rsync --bwlimit=10m host:/srv/big.iso .   hikyaku get '#lab:97' --limit-rate 10M
  ssh host 'cat db.sql.gz' | gunzip         hikyaku get '#lab:99' --stdout | gunzip
  ssh host 'tail -c +1 -f x.log'            hikyaku get '#lab:99' --stdout --follow
  rsync -nric host:/srv/dataset .           hikyaku verify '#lab:98'
  rsync --partial --append-verify …         the same command again: it goes on where it stopped

After exit code 10 the same with --retry-failed fetches what failed alone. For scripts: --json.")]
pub(crate) struct Get {
    /// What: '#room:SEQ', the reference that the parcel has in its room
    reference: String,
    /// Where to
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// What becomes of a file whose name is taken there
    #[arg(long, value_enum, default_value_t = OnTaken::Never)]
    overwrite: OnTaken,
    /// Compare files by their content, not by size and time, to see what is there already
    #[arg(long)]
    checksum: bool,
    /// What becomes of a name that differs from another one of its directory by case or by how letters are composed
    /// alone [default: it is made, where it can be; --distinct alone: refuse]
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "refuse")]
    distinct: Option<Twins>,
    /// Make symbolic links that lead out of the tree, too
    #[arg(long)]
    all_links: bool,
    /// Fetch only what failed when the same was fetched to the same place last (exit code 10)
    #[arg(long, conflicts_with = "stdout")]
    retry_failed: bool,
    /// Of a tree only these, files or directories, as --list shows them
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["stdout", "retry_failed"])]
    only: Vec<PathBuf>,
    /// Show what is in it, and fetch nothing
    #[arg(long, conflicts_with_all = ["stdout", "dry_run", "retry_failed"])]
    list: bool,
    /// Tell what would become of each file, and do nothing
    #[arg(long, conflicts_with = "stdout")]
    dry_run: bool,
    /// Write the file to standard output while it comes: each piece is verified, and the exit code says whether the whole is
    #[arg(long, conflicts_with_all = ["into", "json"])]
    stdout: bool,
    /// Of a parcel that is still being sent: go on with what comes, until its sender ends it
    #[arg(long, requires = "stdout")]
    follow: bool,
    /// Begin with this byte
    #[arg(long, value_name = "OFFSET", default_value_t = 0, requires = "stdout")]
    from: u64,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    pausing: Pausing,
    /// One JSON object per event
    #[arg(long)]
    json: bool,
}

impl Get {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let mut events = Events::new("get", self.json);
        let result = match self.fetch(global, &mut events).await {
            Err(trouble) if trouble.exit != Exit::PartlyFailed && trouble.exit != Exit::Usage => {
                events.failed(&self.reference, &trouble).and(Err(trouble))
            }
            result => result,
        };
        events.end(result)
    }

    async fn fetch(&self, global: &Global, events: &mut Events) -> Result {
        let event = reference::event(&self.reference).map_err(|error| {
            let trouble = Trouble::usage(error.to_string());
            match self.reference.contains(":") && !self.reference.contains('#') {
                true => trouble.hint(
                    "what lies in a server's directory, ':', is not given back: only parcels of rooms are",
                ),
                false => trouble,
            }
        })?;
        let client = Client::of(global, event.server.as_deref())?.for_bulk().within(self.limit.window());
        let wanted = Wanted::Event(event.what);
        if self.stdout {
            return stdout::Pouring { get: self, client: &client, wanted: &wanted }.run().await;
        }
        if !self.into.is_dir() {
            let missing = rustix::io::Errno::NOENT.into();
            return Err(exit::io(self.into.display(), &missing).hint("--into names a directory that exists"));
        }
        let paths = vec![events::path(self.into.as_os_str())];
        events.start(&Start { paths, to: None, reference: Some(self.reference.clone()) })?;
        let mut destination = self.destination();
        let (id, mut store) = (self.id()?, client.server.store()?);
        if self.retry_failed {
            let failures = Failures::of(&store, &id)?;
            let failed = failures.get(0).filter(|failed| !failed.more);
            destination.only = failed.map(|failed| Only::of(failed.paths.iter().cloned()).into());
        }
        if !self.only.is_empty() {
            let paths = self.only.iter().map(|path| path.as_os_str().as_bytes().to_vec());
            destination.only = Some(Only::of(paths).into());
        }
        if self.dry_run || self.list {
            return self.preview(&client, &wanted, &destination, events).await;
        }
        let begun = Instant::now();
        let fetched = match self.deliver(&client, &wanted, &destination).await? {
            Err(error) if error.code() == ErrorCode::UNAVAILABLE && !self.only.is_empty() => {
                return Err(self.not_yet(&client, &wanted, &destination, error).await);
            }
            fetched => fetched.map_err(|error| self.trouble(error))?,
        };
        if self.only.is_empty() {
            failures(&fetched).remember(&mut store, &id)?;
        }
        self.keep(&client, &fetched)?;
        self.tell(events, &fetched, begun.elapsed())?;
        self.tell_missing(events, &fetched)?;
        // Whatever is not here now is not in the tree: everything else was told.
        match self.only.iter().find(|path| self.into.join(path).symlink_metadata().is_err()) {
            None => Ok(()),
            Some(path) => {
                let (path, reference) = (events::path(path.as_os_str()), hikyaku::printable(&self.reference));
                Err(Trouble::new(Exit::NotFound, format!("{path} is not in {reference}"))
                    .hint("--list shows what is in it"))
            }
        }
    }

    /// Under what is remembered what failed: what was fetched, and where to.
    fn id(&self) -> Result<Id> {
        let into = std::path::absolute(&self.into).map_err(|error| exit::io(self.into.display(), &error))?;
        Ok(Id::of([b"get".as_slice(), self.reference.as_bytes(), into.as_os_str().as_bytes()]))
    }

    /// Keeps the receipt, where it says what lies here as a whole.
    fn keep(&self, client: &Client, fetched: &Fetched) -> Result {
        if fetched.report.as_ref().is_some_and(|report| report.missing_count > 0 || report.tops != 1) {
            return Ok(());
        }
        // Of a newer one that stays nothing is known, and what was fetched of a tree alone is not the whole.
        if fetched.kept == Some(Verdict::OLDER) || self.retry_failed || !self.only.is_empty() {
            return Ok(());
        }
        let path = self.into.join(fetched.name.as_os_str());
        let path = std::path::absolute(&path).map_err(|error| exit::io(path.display(), &error))?;
        // What was fetched while some of it was here has a root of its own; the parcel has that of the whole.
        let root = fetched.head.root.unwrap_or(fetched.receipt.root).to_string();
        Kept::new(&path, root, Some(self.reference.clone()), false).keep(&mut client.server.store()?)
    }

    /// Tells what would become of each file, and does nothing.
    async fn preview(
        &self,
        client: &Client,
        wanted: &Wanted,
        destination: &Destination,
        events: &mut Events,
    ) -> Result {
        let connection = client.connected().await?;
        let mut told = Ok(());
        let tell = |item: Item| {
            let is_asked = destination.only.as_ref().is_none_or(|only| only.has(&item.path));
            if told.is_ok() && is_asked {
                told = if self.list { events.entry(&item) } else { events.would(&item) };
            }
        };
        let files = FilesClient::new(connection.clone());
        let previewed = match self.list {
            true => files
                .preview_parcel(wanted, destination, tell)
                .await
                .map(|arrival| (arrival, Report::default())),
            false => files.preview_parcel_whole(wanted, destination, tell).await,
        };
        connection.close().await;
        let (arrival, missing) = previewed.map_err(|error| self.trouble(error))?;
        told?;
        events.all_missing(&missing)?;
        match arrival {
            None => Ok(()),
            Some(arrival) => {
                let (what, so_far) = (hikyaku::printable(&self.reference), event::bytes(arrival.bytes));
                let told = format!("{what} is still being sent: this is what is known so far, of {so_far}");
                Err(Trouble::new(Exit::PartlyFailed, told))
            }
        }
    }

    /// Why a part of a parcel cannot be fetched that is still being sent, with what is known of it so far.
    async fn not_yet(
        &self,
        client: &Client,
        wanted: &Wanted,
        destination: &Destination,
        error: FilesError,
    ) -> Trouble {
        let (mut count, mut sum) = (0_u64, 0_u64);
        let tell = |item: Item| {
            if destination.only.as_ref().is_none_or(|only| only.has(&item.path)) {
                (count, sum) = (count + 1, sum.saturating_add(item.size));
            }
        };
        let previewed = async {
            let connection = client.connect().await?;
            let files = FilesClient::new(connection.clone());
            let previewed = files.preview_parcel(wanted, destination, tell).await;
            connection.close().await;
            previewed
        };
        let Ok(Some(arrival)) = previewed.await else { return self.trouble(error) };
        let (what, so_far) = (hikyaku::printable(&self.reference), event::bytes(arrival.bytes));
        let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        let told = format!(
            "{what} is still being sent: of what --only names, {files} ({}) are known so far, of {so_far}",
            event::bytes(sum)
        );
        Trouble::new(Exit::PartlyFailed, told)
            .hint("a part of it can be fetched when it is whole; without --only it comes while it is sent")
    }

    fn destination(&self) -> Destination {
        let (overwrite, all_links) = (self.overwrite.on_wire(), self.all_links.then_some(true));
        let checksum = self.checksum.then_some(true);
        let options = PutOptions { overwrite, all_links, checksum, ..PutOptions::default() };
        let options = self.distinct.map_or(options, |twins| twins.distinct().over(options));
        let usual = Destination::new(&self.into);
        let patience = self.pausing.pause_timeout.unwrap_or(usual.patience);
        Destination { options, patience, ..usual }
    }

    async fn deliver(
        &self,
        client: &Client,
        wanted: &Wanted,
        destination: &Destination,
    ) -> Result<Result<Fetched, FilesError>> {
        let (progress, moments) = Progress::new();
        let name = hikyaku::printable(&self.reference).to_string();
        let subject = Subject { name, here: true, ..Subject::default() };
        let progress = progress.paced(self.limit.pace());
        let (watch, progress) = Watch::begin(self.json, subject, progress, moments.clone());
        let (mut interrupts, mut patience) = (Interrupts::listen(), Patience::new());
        let fetched = loop {
            let attempt = attempt(client, wanted, destination, &progress);
            let ended = tokio::select! {
                ended = patience.attempt(moments.clone(), attempt) => ended,
                () = interrupts.come() => return Err(interrupted(*moments.borrow(), true)),
            };
            let error = match ended {
                Ok(fetched) => break Ok(fetched),
                Err(error) if !error.is_retryable() => break Err(error),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            patience.has_moved(reached);
            if !patience.wait(&error).await {
                break Err(error);
            }
        };
        watch.finish();
        Ok(fetched)
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
        let again = error.is_retryable();
        let trouble = of_fetching(error, &self.reference);
        if again { trouble.hint("type the same command again: it goes on where it stopped") } else { trouble }
    }

    /// Tells what of a tree is not there as it was sent.
    fn tell_missing(&self, events: &mut Events, fetched: &Fetched) -> Result {
        let Some(report) = fetched.report.as_ref().filter(|report| report.missing_count > 0) else {
            return Ok(());
        };
        events.all_missing(report)?;
        let told = format!("{} things are not here as they were sent", report.missing_count);
        let only_links = report.missing_count == report.missing.len() as u64
            && report.missing.iter().all(|(_, why)| *why == Missing::LinkOut);
        let hint = if only_links { ALL_LINKS } else { "--retry-failed fetches them again alone" };
        Err(Trouble::new(Exit::PartlyFailed, told).hint(hint))
    }

    fn tell(&self, events: &mut Events, fetched: &Fetched, took: Duration) -> Result {
        let path = events::path(self.into.join(fetched.name.as_os_str()).as_os_str());
        let bytes = fetched.report.as_ref().map_or(fetched.receipt.size, |report| report.counts.bytes);
        let root = fetched.receipt.root.to_string();
        if events.is_json() && fetched.report.is_none() {
            events::file(fetched.name.as_os_str().as_ref(), bytes);
        }
        let kept = match (fetched.kept, fetched.report.as_ref().map(|report| report.kept)) {
            (Some(_), _) => Some((1, bytes)),
            (None, kept) => kept.filter(|(files, _)| *files > 0),
        };
        if !events.is_json() {
            let size = event::bytes(bytes);
            match (fetched.kept, kept) {
                (Some(Verdict::OLDER), _) => {
                    output::line(format_args!("{path}  not fetched: what is there is newer, and stays"))
                }
                (Some(_), _) => {
                    output::line(format_args!("{path}  {size}  (not fetched: it is there)  {root}"))
                }
                (None, Some((files, bytes))) => {
                    let bytes = event::bytes(bytes);
                    output::line(format_args!(
                        "{path}  {size}  (files not fetched: {files}, {bytes})  part {root}"
                    ))
                }
                (None, None) => output::line(format_args!("{path}  {size}  {root}")),
            }?;
        }
        events.done(&Done {
            path,
            reference: Some(self.reference.clone()),
            root,
            bytes,
            entries: fetched.report.as_ref().map(|report| report.counts.entries),
            missing: fetched.report.as_ref().map(|report| report.missing_count),
            kept: kept.map(|(files, _)| files),
            kept_bytes: kept.map(|(_, bytes)| bytes),
            seconds: took.as_secs_f64(),
            ..Done::default()
        })
    }
}

/// What of a tree is not here as it was sent.
fn failures(fetched: &Fetched) -> Failures {
    let mut failures = Failures::default();
    if let Some(report) = &fetched.report {
        report.missing.iter().for_each(|(path, _)| failures.add(0, path));
        if report.missing_count > report.missing.len() as u64 {
            failures.add_more(0);
        }
    }
    failures
}

/// What is said when a parcel could not be fetched.
fn of_fetching(error: FilesError, reference: &str) -> Trouble {
    let code = error.code();
    let trouble = Trouble::from(error).during(hikyaku::printable(reference));
    if code == hikyaku::ErrorCode::NOT_FOUND {
        return trouble.hint("'hikyaku tail ROOM' shows what there is to get");
    }
    trouble
}

async fn attempt(
    client: &Client,
    wanted: &Wanted,
    destination: &Destination,
    progress: &Progress,
) -> Result<Fetched, FilesError> {
    let connection = client.connect().await?;
    let fetched = handing::fetch(client, &connection, wanted, destination, progress).await?;
    connection.close().await;
    Ok(fetched)
}
