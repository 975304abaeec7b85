//! What a transfer tells programs: one JSON object a line, described in `docs/json.md`, whose schema the tests hold it to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use hikyaku_files::{Item, Passing, Report, escape};
use hikyaku_wire::files::Verdict;
use serde::Serialize;

use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};

/// The transfers of one command.
pub(crate) struct Events {
    command: &'static str,
    json: bool,
    begun: Instant,
    summary: Counts,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    done: u64,
    failed: u64,
    missing: u64,
    /// Of them, those without a line of their own.
    #[serde(skip_serializing_if = "is_none")]
    unnamed: u64,
    bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Every object begins like this.
#[derive(Serialize)]
struct Tagged<T> {
    v: u32,
    r#type: &'static str,
    #[serde(flatten)]
    rest: T,
}

/// A transfer begins.
#[derive(Default, Serialize)]
pub(crate) struct Start {
    pub(crate) paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
}

/// A transfer is done.
#[derive(Default, Serialize)]
pub(crate) struct Done {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) root: String,
    pub(crate) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) synced: Option<&'static str>,
    pub(crate) seconds: f64,
}

/// What was compared.
#[derive(Serialize)]
pub(crate) struct Verified {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged: u64,
    pub(crate) touched: u64,
}

#[derive(Serialize)]
struct WithCommand<T> {
    command: &'static str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Failed<'a> {
    path: &'a str,
    error: &'a str,
    exit: u8,
}

#[derive(Serialize)]
struct Missing<'a> {
    path: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Listed<'a> {
    path: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Would<'a> {
    path: &'a str,
    bytes: u64,
    action: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    bytes: u64,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// How far a transfer is.
#[derive(Serialize)]
pub(crate) struct Far {
    pub(crate) bytes: u64,
    pub(crate) from: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    pub(crate) files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eta: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<&'static str>,
    /// Of a parcel that is fetched while it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arrived: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sending: Option<bool>,
}

#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    exit: u8,
}

impl Events {
    pub(crate) fn new(command: &'static str, json: bool) -> Self {
        Self { command, json, begun: Instant::now(), summary: Counts::default() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    fn print(&self, ty: &'static str, rest: impl Serialize) -> Result {
        if self.json { print(ty, WithCommand { command: self.command, rest }) } else { Ok(()) }
    }

    pub(crate) fn start(&self, start: &Start) -> Result {
        self.print("start", start)
    }

    /// Counts what is done, and tells programs of it.
    pub(crate) fn done(&mut self, done: &Done) -> Result {
        self.summary.done += 1;
        self.summary.bytes += done.bytes;
        self.print("done", done)
    }

    /// Counts what was compared, and tells programs of it.
    pub(crate) fn verified(&mut self, verified: &Verified) -> Result {
        self.summary.done += 1;
        self.summary.bytes += verified.bytes;
        self.print("verified", verified)
    }

    /// Tells what differs.
    pub(crate) fn differs(&self, path: &[u8], why: &str) -> Result {
        self.tell("differs", path, why)
    }

    /// Tells what is not at the receiver as it was at the sender.
    pub(crate) fn missing(&self, path: &[u8], why: &str) -> Result {
        self.tell("missing", path, why)
    }

    /// Tells what would become of a file.
    pub(crate) fn would(&mut self, item: &Item) -> Result {
        let (action, why) = match item.verdict {
            Verdict::NEW => ("send", "it is not there"),
            Verdict::REPLACES => ("replace", "another one is there"),
            Verdict::RENAMED => ("rename", "its name is taken"),
            Verdict::LINKED => ("send", "its name is taken, and others of it are not"),
            Verdict::SAME => ("keep", "it is there"),
            Verdict::TAKEN => ("leave", "something of that name exists and is not replaced"),
            Verdict::OLDER => ("leave", "what is there is not older"),
            Verdict::COLLIDES => ("leave", "its name and another one differ by case or by composition alone"),
            Verdict::UNASKED => ("leave", "this time it is not asked for"),
            other if other.is_wanted() => ("send", "for a reason that this version does not know"),
            _ => ("leave", "for a reason that this version does not know"),
        };
        let path = escape(&item.path).to_string();
        if self.json {
            return print("would", Would { path: &path, bytes: item.size, action, why });
        }
        output::line(format_args!("{action:<8}{path}  {}  {why}", crate::event::bytes(item.size)))
    }

    /// Shows a file of a tree that is only looked at.
    pub(crate) fn entry(&mut self, item: &Item) -> Result {
        let path = escape(&item.path).to_string();
        if self.json {
            return print("entry", Listed { path: &path, bytes: item.size });
        }
        output::line(format_args!("{path}  {}", crate::event::bytes(item.size)))
    }

    fn tell(&self, ty: &'static str, path: &[u8], why: &str) -> Result {
        let (path, why) = (escape(path).to_string(), hikyaku::printable(why).to_string());
        if self.json {
            return print(ty, Missing { path: &path, why: &why });
        }
        output::note(format_args!("{path}: {why}"));
        Ok(())
    }

    /// Tells what is missing, or would be, as far as it is named, and counts the rest.
    pub(crate) fn all_missing(&mut self, report: &Report) -> Result {
        report.missing.iter().try_for_each(|(path, why)| self.missing(path, &why.to_string()))?;
        self.count_missing(report.missing_count, report.missing.len() as u64);
        Ok(())
    }

    /// Counts what is missing: more than is told one by one.
    pub(crate) fn count_missing(&mut self, count: u64, told: u64) {
        self.summary.missing += count;
        let more = count.saturating_sub(told);
        self.summary.unnamed += more;
        if more > 0 && !self.json {
            output::note(format_args!("… and {more} more"));
        }
    }

    /// Counts what failed, and tells programs of it.
    pub(crate) fn failed(&mut self, path: &str, trouble: &Trouble) -> Result {
        self.summary.failed += 1;
        self.print("failed", Failed { path, error: trouble.what(), exit: trouble.exit as u8 })
    }

    /// The last word, with the exit code that the program will have.
    pub(crate) fn end(&self, result: Result) -> Result {
        let exit = result.as_ref().map_or_else(|trouble| trouble.exit as u8, |()| 0);
        let (counts, seconds) = (self.summary, self.begun.elapsed().as_secs_f64());
        let told = self.print("summary", Summary { counts, seconds, exit });
        result.and(told)
    }
}

/// Tells of a file that was sent or fetched alone.
pub(crate) fn file(at: &Path, bytes: u64) {
    // Nobody reading is found out when the end is told.
    let _ = print("file", File { path: path(at.as_os_str()), bytes, state: "passed", why: None });
}

/// Tells of one file of a tree that has passed.
pub(super) fn passing(passing: Passing<'_>) {
    let Passing::Passed { path, size, failed } = passing else { return };
    let why = failed.map(|reason| hikyaku_files::Missing::Source(reason).to_string());
    let state = if why.is_some() { "failed" } else { "passed" };
    // Nobody reading is found out when the end is told.
    let _ = print("file", File { path: escape(path).to_string(), bytes: size, state, why });
}

/// Tells what happens in the middle of a transfer.
pub(super) fn told(ty: &'static str, rest: impl Serialize) {
    // Nobody reading is found out when the end is told.
    let _ = print(ty, rest);
}

pub(super) fn far(far: &Far) {
    let _ = print("progress", far);
}

fn print(ty: &'static str, rest: impl Serialize) -> Result {
    output::json(&Tagged { v: JSON_VERSION, r#type: ty, rest })
}

/// A path as it is told: its bytes, escaped where they are no text.
pub(crate) fn path(path: &OsStr) -> String {
    escape(path.as_bytes()).to_string()
}
