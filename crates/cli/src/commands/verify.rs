//! `hikyaku verify`: is what lies here what was sent: beside what the server has, or by the root of a receipt.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use hikyaku_files::client::Poured;
use hikyaku_files::compare::{Comparer, Comparison, root_of_file, root_of_tree};
use hikyaku_files::prints;
use hikyaku_files::{FilesClient, FilesError, Progress, WalkOptions, escape};
use hikyaku_wire::files::{Head, Wanted};
use hikyaku_wire::parcel::EventRef;

use crate::args::Global;
use crate::client::{Client, Patience};
use crate::event;
use crate::exit::{Exit, Result, Trouble};
use crate::home::Home;
use crate::output;
use crate::receipts::{self, Kept};
use crate::reference::{self, OnServer};
use crate::transfer::events::{self, Events, Start, Verified};
use crate::transfer::{Counted, Interrupts, Limit, Subject, Watch, interrupted};

#[derive(Debug, Args)]
#[command(after_help = "\
With a reference, every byte here is compared with what the server has, and what differs is named, with its place in \
the file; what the server has is verified on the way. With a path alone, all of it is read and its root compared with \
the receipt of the 'send' or 'get' that this computer keeps, or with --root; nothing is sent.

  hikyaku verify '#lab:98'              what was fetched into this directory
  hikyaku verify '#lab:98' /srv/data    what was fetched into that one
  hikyaku verify dataset                what was sent or fetched from here
  hikyaku verify /srv/dropped           what arrived in a server's directory, file by file
  hikyaku verify dataset --root 5f3a…   anywhere, by the root that 'send' or 'get' printed

exit 0: the same; 7: something is damaged or missing; 1: only modes or times differ")]
pub(crate) struct Verify {
    /// '#room:SEQ', or a file or directory here
    what: String,
    /// With a reference: where it lies here, as 'get --into' said it
    #[arg(value_name = "DIR")]
    at: Option<PathBuf>,
    /// The root that it must have
    #[arg(long, value_name = "HASH", conflicts_with = "at")]
    root: Option<String>,
    /// It was sent with --xattrs
    #[arg(long)]
    xattrs: bool,
    #[command(flatten)]
    limit: Limit,
    /// One JSON object per event
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let mut events = Events::new("verify", self.json);
        let result = match self.check(global, &mut events).await {
            Err(trouble) if !matches!(trouble.exit, Exit::Usage) => {
                events.failed(&hikyaku::printable(&self.what).to_string(), &trouble).and(Err(trouble))
            }
            result => result,
        };
        events.end(result)
    }

    async fn check(&self, global: &Global, events: &mut Events) -> Result {
        let path = Path::new(&self.what);
        match reference::event(&self.what) {
            Ok(reference) if self.root.is_none() && path.symlink_metadata().is_err() => {
                self.beside(global, reference, events).await
            }
            _ if self.at.is_some() => Err(Trouble::usage("DIR goes with a reference: '#room:SEQ'")),
            _ => self.alone(path, events).await,
        }
    }

    /// Compares with what the server has.
    async fn beside(&self, global: &Global, event: OnServer<EventRef>, events: &mut Events) -> Result {
        let client = Client::of(global, event.server.as_deref())?.for_bulk().within(self.limit.window());
        let at = self.at.clone().unwrap_or_else(|| PathBuf::from("."));
        if at.symlink_metadata().is_err() {
            let missing = rustix::io::Errno::NOENT.into();
            return Err(crate::exit::io(at.display(), &missing).hint("DIR is where it was fetched into"));
        }
        let paths = vec![events::path(at.as_os_str())];
        events.start(&Start { paths, to: None, reference: Some(self.what.clone()) })?;
        let comparer = Arc::new(Mutex::new(Comparer::new(&at)));
        let taking = comparer.clone();
        let poured = Poured::new(move |head: &Head, bytes: &[u8]| {
            taking.lock().unwrap_or_else(PoisonError::into_inner).take(head, bytes)
        });
        let head = match self.pour(&client, &Wanted::Event(event.what), &poured).await {
            Ok(head) => head,
            Err(Ending::Told(trouble)) => return Err(trouble),
            Err(Ending::Failed(error)) => {
                let place = comparer.lock().unwrap_or_else(PoisonError::into_inner).place();
                return Err(self.trouble(error, place));
            }
        };
        drop(poured);
        let comparer = std::mem::replace(
            &mut *comparer.lock().unwrap_or_else(PoisonError::into_inner),
            Comparer::new(&at),
        );
        let comparison = comparer.finish(&head).map_err(|error| crate::exit::io(at.display(), &error))?;
        self.tell(events, &at, &comparison)
    }

    async fn pour(&self, client: &Client, wanted: &Wanted, poured: &Poured) -> Result<Head, Ending> {
        let (progress, moments) = Progress::new();
        let subject =
            Subject { name: format!("verifying {}", hikyaku::printable(&self.what)), ..Subject::default() };
        let progress = progress.paced(self.limit.pace());
        let (watch, progress) = Watch::begin(self.json, subject, progress, moments.clone());
        let (mut interrupts, mut patience) = (Interrupts::listen(), Patience::new().with_pauses());
        let ended = loop {
            let attempt = attempt(client, wanted, poured, &progress);
            let ended = tokio::select! {
                ended = patience.attempt(moments.clone(), attempt) => ended,
                () = interrupts.come() => return Err(Ending::Told(interrupted(*moments.borrow(), false))),
            };
            let error = match ended {
                Ok(head) => break Ok(head),
                Err(error) if !error.is_retryable() => break Err(Ending::Failed(error)),
                Err(error) => error,
            };
            let reached = moments.borrow().bytes;
            patience.has_moved(reached);
            if !patience.wait(&error).await {
                break Err(Ending::Failed(error));
            }
        };
        watch.finish();
        ended
    }

    fn trouble(&self, error: FilesError, place: Option<(Vec<u8>, u64)>) -> Trouble {
        let is_damage = matches!(error, FilesError::GroupMismatch { .. } | FilesError::RootMismatch { .. });
        let trouble = Trouble::from(error).during(hikyaku::printable(&self.what));
        match place {
            Some((path, at)) if is_damage => {
                let what =
                    format!("what the server has is damaged in {}, at or after byte {at}", escape(&path));
                trouble.during(what).hint("'hikyaku doctor' on the server says more; send it again")
            }
            _ if is_damage => trouble.during("what the server has is damaged"),
            _ => trouble,
        }
    }

    fn tell(&self, events: &mut Events, at: &Path, comparison: &Comparison) -> Result {
        for (path, difference) in &comparison.differences {
            events.differs(path, &difference.to_string())?;
        }
        let Comparison { damaged, touched, entries, bytes, ref differences } = *comparison;
        events.count_missing(damaged + touched, differences.len() as u64);
        events.verified(&Verified {
            path: events::path(at.as_os_str()),
            root: None,
            entries,
            bytes,
            damaged,
            touched,
        })?;
        let size = event::bytes(bytes);
        match (damaged, touched) {
            (0, 0) if events.is_json() => Ok(()),
            (0, 0) => output::line(format_args!("the same: {entries} entries, {size}")),
            (0, touched) => {
                let what = format!(
                    "the content is the same ({entries} entries, {size}); {touched} modes or times differ"
                );
                Err(Trouble::new(Exit::Failed, what))
            }
            (damaged, _) => {
                let what = hikyaku::printable(&self.what);
                let again = match reference::event(&self.what) {
                    Ok(_) => format!("get what is right with: hikyaku get '{what}' --into DIR"),
                    Err(_) => "send what is right again with --checksum --overwrite always".to_owned(),
                };
                Err(Trouble::new(
                    Exit::Corrupt,
                    format!("{damaged} of {entries} entries are damaged or missing"),
                )
                .hint(again))
            }
        }
    }

    /// Compares files with what a server noted of them when they arrived; says whether it noted anything.
    async fn by_prints(&self, path: &Path, events: &mut Events) -> Result<bool> {
        let (at, shown) = (path.to_owned(), events::path(path.as_os_str()));
        let checked = super::blocking(move || {
            prints::check(&at).map_err(|error| crate::exit::io(at.display(), &error))
        })
        .await?;
        if checked.comparison.entries == 0 && checked.comparison.damaged == 0 {
            return Ok(false);
        }
        events.start(&Start { paths: vec![shown], ..Start::default() })?;
        if checked.unknown > 0 {
            let unknown = checked.unknown;
            output::note(format_args!(
                "{unknown} files have no print, they came otherwise or earlier: nothing is known of them"
            ));
        }
        if checked.unseen > 0 {
            let unseen = event::bytes(checked.unseen);
            output::note(format_args!("{unseen} came before a break: nothing is known of them"));
        }
        self.tell(events, path, &checked.comparison).map(|()| true)
    }

    /// Compares with the root of a receipt.
    async fn alone(&self, path: &Path, events: &mut Events) -> Result {
        let shown = events::path(path.as_os_str());
        let absolute = std::path::absolute(path).map_err(|error| crate::exit::io(path.display(), &error))?;
        absolute.symlink_metadata().map_err(|error| crate::exit::io(path.display(), &error))?;
        let known = receipts::of(&Home::find()?, &absolute)?;
        if self.root.is_none() && known.is_none() && self.by_prints(&absolute, events).await? {
            return Ok(());
        }
        let kept = match &self.root {
            Some(_) => None,
            None => Some(known.ok_or_else(|| {
                Trouble::new(Exit::NotFound, format!("{shown}: no receipt of it is kept on this computer"))
                    .hint("name what to compare with: hikyaku verify '#room:SEQ' DIR, or --root HASH")
            })?),
        };
        let wanted =
            self.root.clone().or_else(|| kept.as_ref().map(|kept| kept.root.clone())).unwrap_or_default();
        events.start(&Start { paths: vec![shown.clone()], ..Start::default() })?;
        let roots = self.read(absolute, kept.as_ref()).await?;
        let found = roots.iter().find(|root| **root == wanted).or(roots.first()).cloned().unwrap_or_default();
        if found != wanted && kept.as_ref().is_some_and(|kept| kept.parts) {
            return Err(only_parts(&shown, kept.as_ref()));
        }
        let damaged = u64::from(found != wanted);
        events.verified(&Verified {
            path: shown.clone(),
            root: Some(found.clone()),
            entries: 1,
            bytes: 0,
            damaged,
            touched: 0,
        })?;
        if damaged == 0 {
            return if events.is_json() {
                Ok(())
            } else {
                output::line(format_args!("the same: {shown}  {found}"))
            };
        }
        let what = format!("{shown} is not what it was: its root is {found}, that of the receipt {wanted}");
        let trouble = Trouble::new(Exit::Corrupt, what);
        Err(match kept.as_ref().and_then(Kept::event) {
            Some(reference) => {
                trouble.hint(format!("which files and where: hikyaku verify '{reference}' DIR"))
            }
            None => trouble.hint("names, modes and times count too"),
        })
    }

    /// The root of what lies here; of a file both the one it has alone and the one it has as a tree of one.
    async fn read(&self, path: PathBuf, kept: Option<&Kept>) -> Result<Vec<String>> {
        let (progress, moments) = Progress::new();
        let walk = WalkOptions {
            attributes: self.xattrs || kept.is_some_and(|kept| kept.xattrs),
            ..WalkOptions::default()
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        let counted = Watch::is_drawn(self.json).then(|| Counted::begin(std::slice::from_ref(&path), &walk));
        let subject = Subject { name: format!("reading {}", events::path(&name)), counted, here: true };
        let (watch, progress) = Watch::begin(false, subject, progress, moments.clone());
        let shown = events::path(path.as_os_str());
        let reading = super::blocking(move || {
            let mut roots = Vec::new();
            if path.is_file() && !path.is_symlink() {
                roots.push(root_of_file(&path, &progress)?.root.to_string());
            }
            let tree = root_of_tree(std::slice::from_ref(&path), walk, &progress)?;
            roots.push(tree.root.to_string());
            match tree.unread {
                0 => Ok(roots),
                unread => {
                    Err(Trouble::new(Exit::Failed, format!("{shown}: {unread} things in it cannot be read")))
                }
            }
        });
        let roots = reading.await;
        watch.finish();
        roots
    }
}

/// Nobody has read the whole since it changed.
fn only_parts(shown: &str, kept: Option<&Kept>) -> Trouble {
    let what = format!(
        "{shown} has changed since it was sent whole; what was sent since was only what had changed, and no receipt of the \
         whole is kept"
    );
    let trouble = Trouble::new(Exit::NotFound, what);
    match kept.and_then(|kept| kept.reference.as_deref()).and_then(|reference| reference.rsplit_once('/')) {
        Some((directory, _)) => trouble.hint(format!(
            "compare all of it by content with: hikyaku send {shown} --to {directory} --checksum --dry-run"
        )),
        None => trouble.hint(format!(
            "compare all of it by content with: hikyaku send {shown} --to : --checksum --dry-run"
        )),
    }
}

/// Why nothing could be compared.
enum Ending {
    Told(Trouble),
    Failed(FilesError),
}

async fn attempt(
    client: &Client,
    wanted: &Wanted,
    poured: &Poured,
    progress: &Progress,
) -> Result<Head, FilesError> {
    let connection = client.connect().await?;
    let (head, _) = FilesClient::new(connection.clone()).pour(wanted, poured, progress).await?;
    connection.close().await;
    Ok(head)
}
