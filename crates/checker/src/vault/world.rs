//! One run: who is there, what they do next, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::actors::{Actor, Ended, Job, Role, place};
use super::facts::{Facts, Got, Place, Says, Sent};
use super::look::look;
use super::sources::{Sources, news};
use super::{VaultPlan, ending};
use crate::host::Host;
use crate::plan::Random;
use crate::power::{Clock, Disk};

/// Who makes rooms and sends nothing.
pub(super) const OWNER: &str = "owner";
/// Who is revoked on the way.
pub(super) const REVOKED: &str = "revoked";
/// A room that keeps files, and one that does not for long.
pub(super) const ROOMS: [&str; 2] = ["keep", "short"];
/// How long the second one keeps them, in seconds.
const SHORT: i64 = 3;
/// How long somebody waits for the rest of a parcel.
const WAITS: Duration = Duration::from_secs(6);
/// How large what is sent may be.
const LARGEST: u64 = 1536 << 10;
/// Bytes of its disk that a server leaves free, and what there is beside them.
pub(super) const KEEP_FREE: u64 = 256 << 20;
const DISK: u64 = KEEP_FREE + (192 << 20);

/// Everything that lives during a run. Dropped in this order: clients, then the server and its disk.
pub(super) struct World<'a> {
    pub(super) plan: &'a VaultPlan,
    pub(super) home: PathBuf,
    pub(super) random: Random,
    pub(super) actors: Vec<Actor>,
    feeds: Vec<Feed>,
    pub(super) host: Host,
    pub(super) sources: Sources,
    /// Parcels of rooms, and whether they have no end yet.
    pub(super) known: BTreeMap<Place, Known>,
    pub(super) facts: Facts,
    /// What has just expired: whoever sends it again meets its collection.
    lapsed: Option<String>,
    /// Nobody begins with anything new.
    pub(super) quiet: bool,
    /// Jobs that came to their end.
    pub(super) done: u64,
    /// Direct rooms that were sent to.
    pub(super) direct: BTreeSet<(String, String)>,
}

/// A parcel, as far as followers of its room have heard.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) author: String,
    pub(super) open: bool,
    pub(super) expired: bool,
    /// Somebody has waited for it in vain: nobody begins with it again before it has its end.
    waited: bool,
}

/// Somebody who follows a room.
struct Feed {
    room: &'static str,
    child: Child,
    out: PathBuf,
    seen: u64,
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a VaultPlan, home: &Path) -> Result<Self, String> {
        let mut host = Host::new(&plan.server, home, plan.seed);
        host.arguments(["--sweep-every", "1s", "--pause-timeout", "20s"]);
        host.arguments(ending::QUOTAS);
        host.logs("warn,hikyaku::server=debug");
        host.clock = Some(Clock::new(home)?);
        let has_disk = plan.faults.cuts + plan.faults.fulls > 0;
        host.disk = if has_disk { Some(Disk::with_size(home, DISK)?) } else { None };
        let sources = Sources::new(home.join("sources"), plan.seed).map_err(|error| error.to_string())?;
        let named = |count: u64, letter: &str, role: Role| {
            (0..count).map(|number| Actor::new(format!("{letter}{number}"), role)).collect::<Vec<_>>()
        };
        let mut actors = named(plan.senders, "s", Role::Sender);
        actors.extend(named(plan.getters, "g", Role::Getter));
        actors.extend(named(plan.receivers, "r", Role::Receiver));
        actors.push(Actor::new(REVOKED.to_owned(), Role::Revoked));
        let mut world = Self {
            plan,
            home: home.to_owned(),
            random: Random::new(plan.seed),
            actors,
            feeds: Vec::new(),
            host,
            sources,
            known: BTreeMap::new(),
            facts: Facts::default(),
            lapsed: None,
            quiet: false,
            done: 0,
            direct: BTreeSet::new(),
        };
        world.settle()?;
        Ok(world)
    }

    /// Everybody joins, rooms are made and followed.
    fn settle(&mut self) -> Result<(), String> {
        self.host.serve()?;
        let names = self.actors.iter().map(|actor| actor.name.clone());
        self.host.join(&[OWNER.to_owned()].into_iter().chain(names).collect::<Vec<_>>())?;
        for room in ROOMS {
            self.host.once(OWNER, &["room", "create", room], "")?;
            self.feeds.push(self.feed(room)?);
        }
        self.host.once(OWNER, &["room", "create", ending::EMPTY], "")?;
        let files = format!("{SHORT}s");
        self.host.once(OWNER, &["room", "retention", ROOMS[1], "--files", &files], "")?;
        self.facts.retention.insert(ROOMS[1].to_owned(), SHORT * 1_000);
        Ok(())
    }

    fn feed(&self, room: &'static str) -> Result<Feed, String> {
        let out = self.home.join(format!("{room}.feed"));
        let mut command = Command::new(&self.plan.server);
        command.env("HIKYAKU_HOME", self.host.of(OWNER)).args(["tail", room, "-f", "--json", "--after", "0"]);
        let log =
            fs::File::create(self.home.join(format!("{room}.log"))).map_err(|error| error.to_string())?;
        let file = fs::File::create(&out).map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(log).spawn();
        Ok(Feed { room, child: child.map_err(|error| error.to_string())?, out, seen: 0 })
    }

    /// How many processes there are at once: everybody, those who follow rooms, and the server.
    pub(super) fn processes(&self) -> usize {
        self.actors.len() + self.feeds.len() + 1
    }

    /// Everything from the first command to the last look.
    pub(super) fn play(&mut self) -> Result<Facts, String> {
        let ended = self.suffer().and_then(|()| self.finish());
        self.facts.stuck = ended.err();
        if self.facts.stuck.is_some()
            && let Err(why) = self.break_off()
        {
            self.facts.complaints.push(format!("after the run was stuck: {why}"));
        }
        let lost = self.host.log();
        let lost =
            lost.lines().filter(|line| line.contains("is not in the vault") || line.contains("has decayed"));
        self.facts.complaints.extend(lost.take(5).map(|line| format!("the server says: {line}")));
        Ok(std::mem::take(&mut self.facts))
    }

    pub(super) fn look(&mut self, after: &'static str) {
        let collections = self.collections();
        let seen = look(&self.host.data(), &self.sources, after, now(), collections);
        self.facts.looks.push(seen);
    }

    /// How many collections were finished.
    pub(super) fn collections(&self) -> u64 {
        self.host.log().matches("swept=Swept").count() as u64
    }

    /// Lets everybody do what they do until it is so.
    pub(super) fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            self.tick()?;
            if is(self) {
                return Ok(());
            }
            if begun.elapsed() > self.plan.patience {
                let jobs: Vec<_> = self.actors.iter().filter_map(|actor| actor.job.as_ref()).collect();
                return Err(format!("never: {what}; after {:?}; on their way: {jobs:?}", self.facts.faults));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        self.hear()?;
        for at in 0..self.actors.len() {
            let ended = self.actors.get_mut(at).map_or(Ok(None), Actor::poll)?;
            if let Some(ended) = ended {
                self.ended(at, &ended)?;
            }
            self.give_up(at)?;
            if self.actors.get(at).is_some_and(Actor::is_ready) {
                self.begin(at)?;
            }
        }
        Ok(())
    }

    /// Whoever follows a parcel waits for its sender for ever; here nobody does that for long.
    fn give_up(&mut self, at: usize) -> Result<(), String> {
        let Some(actor) = self.actors.get_mut(at) else { return Ok(()) };
        let is_open = |place: &Place| self.known.get(place).is_some_and(|known| known.open);
        let place = actor.waits_for(WAITS).filter(|place| is_open(place)).cloned();
        if let Some(known) = place.and_then(|place| self.known.get_mut(&place)) {
            known.waited = true;
            actor.kill()?;
            actor.job = None;
        }
        Ok(())
    }

    /// Takes note of what followers of rooms have heard.
    fn hear(&mut self) -> Result<(), String> {
        for feed in &mut self.feeds {
            let lines = news(&feed.out, &mut feed.seen).map_err(|error| error.to_string())?;
            for told in lines.iter().filter_map(|line| ending::told(line)) {
                match told.what {
                    Says::Parcel { name, .. } => {
                        let known =
                            Known { name, author: told.author, open: true, expired: false, waited: false };
                        self.known.insert((feed.room.to_owned(), told.seq), known);
                    }
                    Says::End { of, status, .. } => {
                        if let Some(known) = self.known.get_mut(&(feed.room.to_owned(), of)) {
                            (known.open, known.expired) = (false, status != "settled");
                            if status == "expired" && Sources::is_file(&known.name) {
                                self.lapsed = Some(known.name.clone());
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins with its job, or goes on with it.
    fn begin(&mut self, at: usize) -> Result<(), String> {
        let Some(actor) = self.actors.get(at) else { return Ok(()) };
        if actor.job.is_none() && (!self.quiet || actor.role == Role::Receiver) {
            let (name, role) = (actor.name.clone(), actor.role);
            let job = match role {
                Role::Sender | Role::Revoked => Some(self.next_send(&name, role)?),
                Role::Getter => self.next_get(&name),
                Role::Receiver => Some(Job::Receive { into: self.home.join("into").join(&name) }),
            };
            if let Some(actor) = self.actors.get_mut(at) {
                actor.job = job;
            }
        }
        let Some(actor) = self.actors.get_mut(at) else { return Ok(()) };
        actor.start(&self.plan.server, &self.home, |name| self.sources.path(name))
    }

    fn next_send(&mut self, who: &str, role: Role) -> Result<Job, String> {
        let random = &mut self.random;
        if role == Role::Revoked {
            let (source, _) = self.sources.fresh(random, 2 * LARGEST).map_err(|error| error.to_string())?;
            return Ok(Job::Send { source, to: format!("#{}", ROOMS[0]), rate: Some(128 << 10) });
        }
        if let Some(source) = self.lapsed.take() {
            return Ok(Job::Send { source, to: format!("#{}", ROOMS[0]), rate: None });
        }
        let kind = random.below(10);
        if kind >= 7 && self.plan.receivers > 0 {
            let other = format!("r{}", random.below(self.plan.receivers));
            self.direct.insert((who.to_owned(), other.clone()));
            // What comes to one directory must have a name of its own there.
            let (source, _) = self.sources.fresh(random, LARGEST).map_err(|error| error.to_string())?;
            return Ok(Job::Send { source, to: format!("@{other}"), rate: None });
        }
        let to = format!("#{}", ROOMS[usize::from(kind >= 4)]);
        let is_tree = random.below(6) == 0;
        if (is_tree || random.below(3) == 0)
            && let Some(source) = self.sources.again(random, is_tree)
        {
            return Ok(Job::Send { source, to, rate: None });
        }
        let (source, size) = self.sources.fresh(random, LARGEST).map_err(|error| error.to_string())?;
        let slow = random.below(2) == 0;
        Ok(Job::Send { source, to, rate: slow.then(|| (size / (1 + random.below(3))).max(64 << 10)) })
    }

    fn next_get(&mut self, who: &str) -> Option<Job> {
        let (open, others): (Vec<_>, Vec<_>) = self
            .known
            .iter()
            .filter(|(_, known)| !(known.expired || known.open && known.waited))
            .partition(|(_, known)| known.open);
        let newest = others.len().saturating_sub(8);
        let early = !open.is_empty() && (others.is_empty() || self.random.below(3) > 0);
        let choice = if early { &open[..] } else { &others[newest..] };
        let at = usize::try_from(self.random.below((choice.len() as u64).max(1))).unwrap_or(0);
        let (place, known) = choice.get(at)?;
        let (place, name) = ((*place).clone(), known.name.clone());
        if early && Sources::is_file(&name) && self.random.below(3) == 0 {
            return Some(Job::Pour { place, name });
        }
        let into = self.home.join("into").join(who).join(self.random.next().to_string());
        Some(Job::Get { place, name, into, early })
    }

    /// Somebody's command has ended by itself.
    fn ended(&mut self, at: usize, ended: &Ended) -> Result<(), String> {
        let said = fs::read_to_string(&ended.out).unwrap_or_default();
        let Some(actor) = self.actors.get_mut(at) else { return Ok(()) };
        let (Some(job), who) = (actor.job.clone(), actor.name.clone()) else { return Ok(()) };
        if actor.role == Role::Revoked && self.facts.revoked.is_some() {
            actor.job = None;
            actor.retired = true;
            return Ok(());
        }
        let is_send = matches!(job, Job::Send { .. });
        self.facts.full += u64::from(is_send && (ended.code == 8 || said.contains("\"paused\"")));
        if ended.code != 0 {
            actor.pause();
            if let (6, Job::Get { place, .. } | Job::Pour { place, .. }) = (ended.code, &job) {
                self.facts.gone.insert(place.clone());
                actor.job = None;
                self.done += 1;
            } else if actor.failed > 200 {
                return Err(format!("{who} cannot do {job:?}: exit code {}: {said}", ended.code));
            }
            return Ok(());
        }
        (actor.failed, actor.job) = (0, None);
        self.done += 1;
        self.came_to_its_end(&who, job, &said, &ended.out)
    }

    fn came_to_its_end(&mut self, who: &str, job: Job, said: &str, out: &Path) -> Result<(), String> {
        let (who, at) = (who.to_owned(), now());
        match job {
            Job::Send { source, .. } => {
                let done =
                    said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                let done = done.into_iter().find(|said| said["type"] == "done");
                let done = done
                    .as_ref()
                    .and_then(|done| Some((done["reference"].as_str()?, done["root"].as_str()?)));
                let (reference, root) = done.ok_or_else(|| format!("{who} was told nothing: {said}"))?;
                let place = place(reference, &who, true).ok_or_else(|| format!("{reference} is no place"))?;
                self.sources.has_root(root, &source);
                self.facts.sent.push(Sent { who, place, root: root.to_owned() });
            }
            Job::Get { place, name, into, early } => {
                let wrong = self.sources.wrong(&name, &into.join(&name));
                self.facts.got.push(Got {
                    who,
                    place,
                    at,
                    wrong,
                    early,
                    poured: false,
                    beside: BTreeSet::new(),
                });
            }
            Job::Pour { place, name } => {
                let wrong = self.sources.wrong(&name, out);
                self.facts.got.push(Got {
                    who,
                    place,
                    at,
                    wrong,
                    early: true,
                    poured: true,
                    beside: BTreeSet::new(),
                });
            }
            Job::Receive { .. } => {}
        }
        Ok(())
    }
}

/// The time, as text that sorts like the server's.
pub(super) fn now() -> String {
    format!("{:.3}", Timestamp::now())
}
