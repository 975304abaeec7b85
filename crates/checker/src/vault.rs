//! Proof of the vault: parcels go into rooms and out of them, while they are still being sent and later, under everything
//! that can happen to those who send, receive and keep them.
//!
//! At least nine processes: senders into a room that keeps files, into one that keeps them for seconds, and to people;
//! receivers with `get`, `get --stdout --follow` and `receive`; followers of the rooms; one server that lets go of what is
//! over every second. They are killed, the power fails under the vault, its disk gets full, a sender is revoked in the
//! middle. What everybody was told and what lies on the disk ([`facts`]) is then checked against seven invariants
//! ([`check`](check::check)).

mod actors;
pub mod check;
mod ending;
pub mod facts;
mod faults;
mod look;
mod sources;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use check::{Broken, check, check_stuck};
use facts::Facts;

/// How often each thing is to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VaultFaults {
    /// `kill -9` of the server.
    pub server_kills: u64,
    /// `kill -9` of a sender.
    pub sender_kills: u64,
    /// `kill -9` of a receiver that fetches one parcel.
    pub getter_kills: u64,
    /// `kill -9` of a receiver that stays.
    pub receiver_kills: u64,
    /// The power fails under the vault; only root can do that.
    pub cuts: u64,
    /// The disk under the vault gets full, for files or for everything; only root can do that.
    pub fulls: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct VaultPlan {
    /// The program `hikyaku`.
    pub server: PathBuf,
    /// Where to keep everything; the run makes a directory of its own in it.
    pub directory: PathBuf,
    /// Where randomness begins.
    pub seed: u64,
    /// Those who send; one more is revoked on the way.
    pub senders: u64,
    /// Those who fetch.
    pub getters: u64,
    /// Those who receive what comes.
    pub receivers: u64,
    /// What happens to them.
    pub faults: VaultFaults,
    /// How long it is from one fault to the next, on average.
    pub gap: Duration,
    /// How long nothing may move.
    pub patience: Duration,
    /// Whether the directory stays.
    pub keep: bool,
}

impl VaultPlan {
    /// A small run: everything once or twice.
    pub fn small(server: PathBuf, directory: PathBuf, seed: u64) -> Self {
        let faults = VaultFaults {
            server_kills: 3,
            sender_kills: 2,
            getter_kills: 2,
            receiver_kills: 1,
            ..VaultFaults::default()
        };
        Self {
            server,
            directory,
            seed,
            senders: 2,
            getters: 2,
            receivers: 1,
            faults,
            gap: Duration::from_millis(400),
            patience: Duration::from_secs(90),
            keep: false,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct VaultOutcome {
    /// Where randomness began.
    pub seed: u64,
    /// How many processes there were at once.
    pub processes: usize,
    /// How often each fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was looked at, by its name.
    pub checked: BTreeMap<&'static str, u64>,
    /// What does not hold.
    pub violations: Vec<Broken>,
    /// Why it proves nothing.
    pub vacuous: Vec<String>,
    /// How long it took.
    pub took: Duration,
    /// Where everything is, if it was kept.
    pub kept: Option<PathBuf>,
}

impl VaultOutcome {
    /// Whether everything holds, and enough was tried.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.vacuous.is_empty()
    }
}

impl fmt::Display for VaultOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "seed {} in {:.1} s, {} processes", self.seed, self.took.as_secs_f64(), self.processes)?;
        writeln!(f, "faults: {}", list(&self.faults))?;
        writeln!(f, "checked: {}", list(&self.checked))?;
        for what in &self.vacuous {
            writeln!(f, "proves nothing: {what}")?;
        }
        for Broken { invariant, says } in self.violations.iter().take(20) {
            writeln!(f, "V{invariant} is broken: {says}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "everything is in {}", kept.display())?;
        }
        write!(f, "violations: {}", self.violations.len())
    }
}

/// Does one run and checks it. An error means that there was nothing to check.
pub fn run(plan: &VaultPlan) -> Result<VaultOutcome, String> {
    let begun = Instant::now();
    let home = tempfile::Builder::new().prefix("vault-").tempdir_in(&plan.directory);
    let home = home.map_err(|error| error.to_string())?;
    let mut world = world::World::new(plan, home.path())?;
    let processes = world.processes();
    let facts = world.play()?;
    drop(world);
    let checked = counts(&facts);
    let vacuous = guards(plan, &facts, &checked);
    let mut outcome = VaultOutcome {
        seed: plan.seed,
        processes,
        violations: if facts.stuck.is_none() { check(&facts) } else { check_stuck(&facts) },
        vacuous,
        checked,
        faults: facts.faults,
        took: begun.elapsed(),
        kept: None,
    };
    if plan.keep || !outcome.is_good() {
        outcome.kept = Some(home.keep());
    }
    Ok(outcome)
}

/// What there was to check.
fn counts(facts: &Facts) -> BTreeMap<&'static str, u64> {
    let ends = |wanted: &str| {
        let told = facts.end.rooms.values().flatten();
        told.filter(|told| matches!(&told.what, facts::Says::End { status, .. } if status == wanted)).count()
    };
    let got = |which: fn(&facts::Got) -> bool| facts.got.iter().filter(|got| which(got)).count();
    let objects = facts.looks.iter().map(|look| look.objects.len()).sum();
    let counts = [
        ("room events", facts.end.rooms.values().map(Vec::len).sum()),
        ("receipts of senders", facts.sent.len()),
        ("settled", ends("settled")),
        ("aborted", ends("aborted")),
        ("expired", ends("expired")),
        ("fetched", got(|got| !got.poured)),
        ("fetched while they were sent", got(|got| got.early && !got.poured)),
        ("poured", got(|got| got.poured)),
        ("receipts of receivers", facts.hands.values().map(std::collections::BTreeSet::len).sum()),
        ("looks at the vault", facts.looks.len()),
        ("objects looked at", objects),
        ("quotas", facts.calm.counted.len() + facts.end.counted.len()),
    ];
    let counts = counts.into_iter().map(|(what, count)| (what, count as u64));
    counts.chain([("collected", facts.collected), ("told that there is no room", facts.full)]).collect()
}

/// A run that did nothing proves nothing.
fn guards(plan: &VaultPlan, facts: &Facts, checked: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let mut vacuous: Vec<String> =
        facts.stuck.iter().map(|why| format!("the run was stuck: {why}")).collect();
    for (what, count) in checked {
        let is_demanded = *what != "told that there is no room" || plan.faults.fulls > 0;
        if *count == 0 && is_demanded {
            vacuous.push(format!("{what}: none"));
        }
    }
    for (what, wanted) in faults::demands(&plan.faults) {
        let done = facts.faults.get(what).copied().unwrap_or(0);
        if done < wanted {
            vacuous.push(format!("{what}: {done} of {wanted}"));
        }
    }
    vacuous
}
