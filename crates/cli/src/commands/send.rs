//! `hikyaku send`: files into a room or into the server's directory. Success is the receiver's word: whole, verified,
//! durable. A broken connection is made again, and the transfer goes on where it stopped; so it does in a new process.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use hikyaku_wire::files::{Overwrite, PutOptions, Synced, Target};

use crate::args::Global;
use crate::client::Client;
use crate::exit::{Exit, Result, Trouble};
use crate::failures::{Failures, Id};
use crate::output;
use crate::reference;
use crate::selection::{self, List, Listed, Rules, Twins};
use crate::transfer::events::{self, Events};
use crate::transfer::{Limit, Pausing};

mod renewed;
mod sending;
mod source;
mod told;

use sending::Sending;

/// What is said where nothing is missing but links that lead out.
pub(super) const ALL_LINKS: &str = "--all-links makes links that lead out, too";

#[derive(Debug, Args)]
#[command(after_help = "\
Instead of                                  type
  scp big.iso host:/srv/                      hikyaku send big.iso --to :
  scp a.txt b.txt host:/srv/sub/              hikyaku send a.txt b.txt --to :sub
  rsync -aHS dataset host:/srv/               hikyaku send dataset --to : --overwrite always
  rsync -aHSu dataset host:/srv/              hikyaku send dataset --to : --overwrite newer
  rsync -aHSc dataset host:/srv/              hikyaku send dataset --to : --overwrite always --checksum
  rsync -aHSX dataset host:/srv/              hikyaku send dataset --to : --xattrs
  rsync -ani dataset host:/srv/               hikyaku send dataset --to : --dry-run
  rsync -a --exclude target proj host:/srv/   hikyaku send proj --exclude target --to :
  rsync -am --include '*.rs' … proj host:/    hikyaku send proj --include '*.rs' --to :
  rsync -a --files-from=list . host:/srv/     hikyaku send --files-from list --to :
  rsync --bwlimit=10m big.iso host:/srv/      hikyaku send big.iso --to : --limit-rate 10M
  pg_dump db | ssh host 'cat > db.sql'        pg_dump db | hikyaku send - --name db.sql --to :
  rsync --partial --append-verify …           the same command again: it goes on where it stopped
  rsync … again, after its exit code 23       the same with --retry-failed, after exit code 10

Without --overwrite nothing that is there is replaced, and it is told what stayed. Nothing is ever deleted. To a room \
in place of ':': '#lab'. For scripts: --json.")]
pub(crate) struct Send {
    /// The files and directories; '-' is standard input; with --files-from the directory that the list is about [default: .]
    #[arg(required_unless_present = "files_from", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to: '#room', '@person', '@person/device', ':' (the server's directory) or ':sub/dir'
    #[arg(long, value_name = "TARGET")]
    to: String,
    /// The name of what comes from standard input
    #[arg(long, value_name = "NAME")]
    name: Option<std::ffi::OsString>,
    #[command(flatten)]
    rules: Rules,
    /// Send what this list names, one path a line or ended by NUL bytes; '-' is standard input
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// What becomes of a file whose name is taken in the server's directory
    #[arg(long, value_enum, default_value_t = OnTaken::Never)]
    overwrite: OnTaken,
    /// When the receiver makes files durable: with the system's own time, as one batch, or each [default: batch; each
    /// for a single file]
    #[arg(long, value_enum)]
    fsync: Option<Fsync>,
    /// Make symbolic links that lead out of the tree, too
    #[arg(long)]
    all_links: bool,
    /// What becomes of a name that differs from another one of its directory by case or by how letters are composed
    /// alone [default: it is made, where it can be; --distinct alone: refuse]
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "refuse")]
    distinct: Option<Twins>,
    /// Compare files by their content, not by size and time, to see what is there already
    #[arg(long)]
    checksum: bool,
    /// Send all of it, also parts that the server has in an older version
    #[arg(long)]
    whole_file: bool,
    /// Tell what would become of each file, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Send only what failed when the same paths were sent to the same place last (exit code 10)
    #[arg(long)]
    retry_failed: bool,
    /// Carry extended attributes (user.*)
    #[arg(long)]
    xattrs: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    pausing: Pausing,
    /// One JSON object per event
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnTaken {
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

impl OnTaken {
    /// As a peer is told, or a part of this program; nothing for what is the rule.
    pub(super) fn on_wire(self) -> Option<Overwrite> {
        match self {
            Self::Never => None,
            Self::Newer => Some(Overwrite::Newer),
            Self::Always => Some(Overwrite::Always),
            Self::Rename => Some(Overwrite::Rename),
        }
    }
}

impl Send {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let mut events = Events::new("send", self.json);
        let result = self.send_all(global, &mut events).await;
        events.end(result)
    }

    async fn send_all(mut self, global: &Global, events: &mut Events) -> Result {
        let target = reference::target(&self.to).map_err(|error| Trouble::usage(error.to_string()))?;
        let (id, listed) = (self.id()?, self.listed()?);
        let is_piped = listed.is_none() && self.paths.iter().any(|path| path.as_os_str() == "-");
        self.check_pipe(is_piped)?;
        let (list, vanished) = match listed {
            Some(Listed { list, tops, vanished }) => {
                self.paths = tops;
                (Some(list), vanished)
            }
            None => (None, Vec::new()),
        };
        let walk = selection::walk(&self.rules, list, self.xattrs)?;
        let client = Client::of(global, target.server.as_deref())?.for_bulk();
        let (put, pace, store, to) = (self.put(), self.limit.pace(), client.server.store()?, self.to.clone());
        let mut sending =
            Sending { store, client, target: target.what, to, put, walk, pace, pausing: self.pausing };
        let retried = if self.retry_failed { Some(Failures::of(&sending.store, &id)?) } else { None };
        // A room shows each path as a parcel; a directory takes them all at once. So does a list, which is one thing.
        let at_once = matches!(sending.target, Target::Drop(_)) || self.files_from.is_some();
        let at_once = if at_once { self.paths.len().max(1) } else { 1 };
        let mut fate =
            Fate { failed: Vec::new(), failures: Failures::default(), only_links: vanished.is_empty() };
        self.send_each(&mut sending, (at_once, is_piped), retried.as_ref(), &mut fate, events).await?;
        let is_retried = |path: &Path| {
            let again = retried.as_ref().map(|retried| retried.get(0));
            again.is_none_or(|again| {
                again.is_some_and(|again| {
                    again.more || again.paths.iter().any(|one| one == path.as_os_str().as_bytes())
                })
            })
        };
        let vanished: Vec<_> = vanished.into_iter().filter(|path| is_retried(path)).collect();
        for path in &vanished {
            fate.failures.add(0, path.as_os_str().as_bytes());
            events.missing(path.as_os_str().as_encoded_bytes(), "the list names it, and it is not there")?;
        }
        events.count_missing(vanished.len() as u64, vanished.len() as u64);
        if !self.dry_run && !is_piped {
            fate.failures.remember(&mut sending.store, &id)?;
        }
        let hint = if fate.only_links { ALL_LINKS } else { "--retry-failed sends what failed again alone" };
        self.ending(&fate.failed, vanished.len(), self.paths.len() <= at_once, hint)
    }

    /// Sends so many paths at once, or tells what would become of them, and notes what failed.
    async fn send_each(
        &self,
        sending: &mut Sending,
        (at_once, is_piped): (usize, bool),
        retried: Option<&Failures>,
        fate: &mut Fate,
        events: &mut Events,
    ) -> Result {
        let all = sending.walk.clone();
        for (number, paths) in self.paths.chunks(at_once).enumerate() {
            if let Some(retried) = retried {
                let Some(again) = retried.get(number) else { continue };
                sending.walk = match again.more {
                    true => all.clone(),
                    false => selection::narrowed(&all, List::of_failed(&again.paths)),
                };
            }
            if self.dry_run {
                sending.preview(paths, events).await?;
                continue;
            }
            let source = if is_piped { sending.piped(self.name.as_deref()) } else { sending.outgoing(paths) };
            let trouble = match sending.send(source, paths, events).await {
                Ok(missing) => {
                    fate.missing(number, &missing);
                    continue;
                }
                Err(trouble) => trouble,
            };
            let first = paths.first().map_or(Path::new(""), |path| path);
            events.failed(&events::path(first.as_os_str()), &trouble)?;
            let is_alone = self.paths.len() <= at_once && !self.json;
            if is_alone || trouble.exit == Exit::Interrupted {
                return Err(trouble);
            }
            trouble.report();
            fate.failed(number, trouble.exit);
        }
        Ok(())
    }

    /// Under what is remembered what failed: what was sent, and where to.
    fn id(&self) -> Result<Id> {
        let paths = absolute(&self.paths)?;
        let from = self.files_from.as_deref().unwrap_or(Path::new(""));
        let parts = [b"send".as_slice(), self.to.as_bytes(), from.as_os_str().as_bytes()];
        Ok(Id::of(parts.into_iter().chain(paths.iter().map(|path| path.as_os_str().as_bytes()))))
    }

    /// The exit code that what failed deserves: a single failure its own.
    fn ending(&self, failed: &[Exit], vanished: usize, is_alone: bool, hint: &str) -> Result {
        let told = match failed {
            [] if vanished == 0 => return Ok(()),
            [Exit::PartlyFailed] if is_alone => "some of it is not there as it was sent".to_owned(),
            [only] if is_alone => return Err(Trouble::new(*only, "")),
            [] => format!("{vanished} listed files are not there"),
            failed => format!("{} of {} files were not sent whole", failed.len(), self.paths.len()),
        };
        Err(Trouble::new(Exit::PartlyFailed, told).hint(hint))
    }

    /// Reads the list, if there is one.
    fn listed(&self) -> Result<Option<Listed>> {
        let Some(from) = &self.files_from else { return Ok(None) };
        let base = match self.paths.as_slice() {
            [] => Path::new("."),
            [base] => base,
            _ => {
                return Err(Trouble::usage(
                    "with --files-from, PATH is the one directory that the list is about",
                ));
            }
        };
        let base = std::path::absolute(base).map_err(|error| crate::exit::io(base.display(), &error))?;
        let listed = Listed::read(from, &base)?;
        if listed.tops.is_empty() && listed.vanished.is_empty() {
            output::note("the list is empty: nothing to send");
        }
        Ok(Some(listed))
    }

    fn check_pipe(&self, is_piped: bool) -> Result {
        let is_looked_at = self.checksum || self.all_links || self.whole_file || self.xattrs;
        let is_plain = self.rules.is_empty() && !is_looked_at;
        match (is_piped, self.paths.len(), &self.name) {
            (true, 2.., _) => Err(Trouble::usage("'-' is sent alone: standard input is one file")),
            (true, ..) if self.retry_failed => Err(Trouble::usage("standard input cannot be read again")),
            (true, _, None) => Err(Trouble::usage("--name NAME says what standard input is called there")),
            (true, ..) if !is_plain => Err(Trouble::usage(
                "standard input is one file: patterns, --checksum, --all-links, --whole-file and --xattrs are for what lies on a disk",
            )),
            (true, ..) if self.dry_run => {
                Err(Trouble::usage("standard input is not looked at ahead: --dry-run is for paths"))
            }
            (true, ..) if self.overwrite == OnTaken::Newer => {
                Err(Trouble::usage("standard input has no time of its own: --overwrite always, or rename"))
            }
            (false, _, Some(_)) => Err(Trouble::usage("--name goes with '-', standard input")),
            _ => Ok(()),
        }
    }

    fn put(&self) -> PutOptions {
        let overwrite = self.overwrite.on_wire();
        let synced = self.fsync.map(|fsync| match fsync {
            Fsync::None => Synced::None,
            Fsync::Batch => Synced::Batch,
            Fsync::Each => Synced::Each,
        });
        let all_links = self.all_links.then_some(true);
        let checksum = self.checksum.then_some(true);
        let parts = self.whole_file.then_some(false);
        let options = PutOptions { overwrite, synced, all_links, checksum, parts, ..PutOptions::default() };
        self.distinct.map_or(options, |twins| twins.distinct().over(options))
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|error| crate::exit::io(path.display(), &error));
    paths.iter().map(absolute).collect()
}

/// What became of what was sent.
struct Fate {
    /// How each that failed did.
    failed: Vec<Exit>,
    /// What of it is to be sent again.
    failures: Failures,
    /// Nothing is missing but links that lead out.
    only_links: bool,
}

impl Fate {
    /// It is there, but for this.
    fn missing(&mut self, number: usize, missing: &told::NotKept) {
        self.failed.extend((missing.count > 0).then_some(Exit::PartlyFailed));
        self.only_links &= missing.count == missing.links_out;
        missing.paths.iter().for_each(|path| self.failures.add(number, path));
        if missing.count > missing.paths.len() as u64 {
            self.failures.add_more(number);
        }
    }

    /// It is not there.
    fn failed(&mut self, number: usize, exit: Exit) {
        self.only_links = false;
        self.failures.add_more(number);
        self.failed.push(exit);
    }
}
