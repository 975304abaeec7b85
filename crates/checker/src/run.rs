//! One run: a server, its clients, faults in random order, healing, and the check.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::check::{Demands, Report, check};
use crate::client::Options;
use crate::history::{self, Event, History};
use crate::host::Host;
use crate::plan::{Plan, Random};
use crate::power::{Clock, Disk};
use crate::program::{Program, Progress, State};

/// The names of the faults, as a report shows them.
const KILL_SERVER: &str = "server killed";
const KILL_CLIENT: &str = "client killed";
const CUT: &str = "power cut";
const STOP_CLIENT: &str = "client stopped";
const STOP_SERVER: &str = "server stopped";
const JUMP: &str = "clock jumped";
const LULL: &str = "lull";
const REVOKE: &str = "device revoked";
/// The client that is revoked on the way.
const REVOKED: &str = "revoked";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed it was had with.
    pub seed: u64,
    /// The check.
    pub report: Report,
    /// How often each fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// How long it took.
    pub took: Duration,
    /// Where everything is, if it was kept.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            violations,
            vacuous,
            acknowledged,
            delivered,
            logged,
            connections,
            switches,
            disconnects,
        } = &self.report;
        writeln!(f, "seed {} in {:.1} s", self.seed, self.took.as_secs_f64())?;
        let faults: Vec<_> = self.faults.iter().map(|(what, count)| format!("{what} {count}")).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        writeln!(
            f,
            "connections: {connections}, {switches} of them over another transport; {disconnects} broken on purpose"
        )?;
        writeln!(
            f,
            "events checked: {acknowledged} acknowledged, {logged} in the logs, {delivered} delivered"
        )?;
        for what in vacuous {
            writeln!(f, "proves nothing: {what}")?;
        }
        for violation in violations.iter().take(20) {
            writeln!(f, "I{} is broken: {}", violation.invariant, violation.says)?;
        }
        if violations.len() > 20 {
            writeln!(f, "… and {} more", violations.len() - 20)?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "everything is in {}", kept.display())?;
        }
        write!(f, "violations: {}", violations.len())
    }
}

/// Does one run and checks it. An error means that there was nothing to check.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let begun = Instant::now();
    let home = tempfile::Builder::new().prefix("checker-").tempdir_in(&plan.directory);
    let home = home.map_err(|error| error.to_string())?;
    let mut world = World::new(plan, home.path().to_owned())?;
    let history = world.play()?;
    let report = check(&history, &world.demands());
    drop(world);
    let keep = plan.keep || !report.is_good();
    let kept = keep.then(|| home.keep());
    Ok(Outcome { seed: plan.seed, report, faults: history.faults, took: begun.elapsed(), kept })
}

/// Whether this process may cut the power of a disk.
pub fn can_cut_power() -> bool {
    Disk::is_possible()
}

/// Everything that lives during a run. Dropped in this order: clients, then the server.
struct World<'a> {
    plan: &'a Plan,
    home: PathBuf,
    random: Random,
    progress: Arc<Progress>,
    clients: BTreeMap<String, (Options, Program)>,
    host: Host,
    /// Names and ids.
    rooms: Vec<(String, String)>,
    history: History,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, home: PathBuf) -> Result<Self, String> {
        let mut host = Host::new(&plan.server, &home, plan.seed);
        host.disk = if plan.faults.power_cuts > 0 { Some(Disk::new(&home)?) } else { None };
        host.clock = if plan.faults.clock_jumps > 0 { Some(Clock::new(&home)?) } else { None };
        host.serve()?;
        Ok(Self {
            plan,
            home,
            random: Random::new(plan.seed),
            progress: Arc::default(),
            clients: BTreeMap::new(),
            host,
            rooms: Vec::new(),
            history: History::default(),
        })
    }

    /// Everything from the first join to the last page.
    fn play(&mut self) -> Result<History, String> {
        self.settle()?;
        if let Err(stuck) = self.suffer().and_then(|()| self.heal()) {
            // What there is can still be wrong.
            self.history.stuck = Some(stuck);
            self.kill_clients()?;
            self.host.kill()?;
            if let Err(why) = self.host.serve() {
                self.history.lost.push(why);
            }
        }
        self.read()?;
        Ok(std::mem::take(&mut self.history))
    }

    /// All faults, and as many broken connections as are wanted.
    fn suffer(&mut self) -> Result<(), String> {
        let mut faults = self.schedule();
        while let Some(fault) = faults.pop() {
            self.after(self.plan.gap)?;
            self.fault(fault)?;
        }
        while self.progress.disconnects() < self.plan.disconnects {
            self.after(self.plan.gap)?;
        }
        Ok(())
    }

    fn demands(&self) -> Demands {
        let faults = self.plan.faults;
        let faults = BTreeMap::from([
            (KILL_SERVER, faults.server_kills),
            (KILL_CLIENT, faults.client_kills),
            (CUT, faults.power_cuts),
            (STOP_CLIENT, faults.client_stops),
            (STOP_SERVER, faults.server_stops),
            (JUMP, faults.clock_jumps),
            (LULL, faults.lulls),
            (REVOKE, 1),
        ]);
        let disconnects = self.plan.disconnects;
        Demands { acknowledged: 100, connections: 2, switches: disconnects.min(1), disconnects, faults }
    }

    /// Everybody joins, rooms are made, clients begin.
    fn settle(&mut self) -> Result<(), String> {
        let names: Vec<String> = (0..self.plan.clients).map(|number| format!("c{number}")).collect();
        let all: Vec<String> = names.into_iter().chain([REVOKED.to_owned()]).collect();
        self.host.join(&all)?;
        for number in 0..self.plan.rooms {
            self.host.once("c0", &["room", "create", &format!("r{number}")], "")?;
        }
        let list = self.host.once("c0", &["room", "list", "--json"], "")?;
        let rooms = list.lines().map(|line| {
            let room: serde_json::Value = serde_json::from_str(line).ok()?;
            Some((room["name"].as_str()?.to_owned(), room["id"].as_str()?.to_owned()))
        });
        let rooms: Vec<_> = rooms.collect::<Option<_>>().ok_or("the list of rooms cannot be read")?;
        for (number, who) in (0_u64..).zip(&all) {
            let options = Options {
                home: self.home.join(who),
                journal: self.home.join(format!("{who}.journal")),
                rooms: rooms.clone(),
                quic: number % 2 == 1,
                breaks: self.plan.breaks,
                pause_ms: u64::try_from(self.plan.pause.as_millis()).unwrap_or(u64::MAX),
                seed: self.random.next(),
                late_cursor: self.plan.late_cursor,
            };
            let program = self.progress.start(&self.plan.client, &options)?;
            self.clients.insert(who.clone(), (options, program));
        }
        self.rooms = rooms;
        Ok(())
    }

    /// All faults in random order; the revocation somewhere among them.
    fn schedule(&mut self) -> Vec<&'static str> {
        let demands = self.demands();
        let mut all: Vec<_> = demands
            .faults
            .iter()
            .flat_map(|(what, count)| std::iter::repeat_n(*what, usize::try_from(*count).unwrap_or(0)))
            .collect();
        self.random.shuffle(&mut all);
        all
    }

    /// Waits for so many more acknowledgements.
    fn after(&mut self, more: u64) -> Result<(), String> {
        let goal = self.progress.acks() + 1 + self.random.below(2 * more.max(1));
        if self.progress.wait(self.plan.patience, |state| state.acks, |state| state.acks >= goal) {
            return Ok(());
        }
        let log = std::fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
        let end: Vec<_> = log.lines().rev().take(5).collect();
        Err(format!(
            "nothing is acknowledged any more; faults so far {:?}; the server says {end:?}",
            self.history.faults
        ))
    }

    fn fault(&mut self, what: &'static str) -> Result<(), String> {
        match what {
            KILL_SERVER => {
                self.host.kill()?;
                self.host.serve()?;
            }
            CUT => {
                self.host.cut()?;
                self.host.serve()?;
            }
            KILL_CLIENT => {
                let who = self.somebody();
                if let Some((options, program)) = self.clients.get_mut(&who) {
                    program.kill()?;
                    options.seed = self.random.next();
                    *program = self.progress.start(&self.plan.client, options)?;
                }
            }
            STOP_CLIENT => {
                let who = self.somebody();
                if let Some((_, program)) = self.clients.get(&who) {
                    stop(program, self.plan.stop_for)?;
                }
            }
            STOP_SERVER => {
                self.host.signal(Signal::STOP)?;
                std::thread::sleep(self.plan.stop_for);
                self.host.signal(Signal::CONT)?;
            }
            JUMP => {
                let seconds = i64::try_from(self.random.below(2 * 86_400)).unwrap_or(0) - 86_400;
                if let Some(clock) = &self.host.clock {
                    clock.set(seconds)?;
                }
            }
            LULL => self.lull()?,
            REVOKE => {
                self.host.revoke("c0", REVOKED)?;
                self.history.revoked.insert(REVOKED.to_owned(), history::now());
            }
            other => return Err(format!("there is no fault '{other}'")),
        }
        *self.history.faults.entry(what).or_default() += 1;
        Ok(())
    }

    /// Any client but the one that is revoked.
    fn somebody(&mut self) -> String {
        format!("c{}", self.random.below(self.plan.clients))
    }

    /// No more sends and no more faults; everybody gets what there is.
    fn heal(&mut self) -> Result<(), String> {
        let waiting = self.settle_down()?;
        // Whatever was still on its way in the server is decided when it starts again.
        self.host.kill()?;
        self.host.serve()?;
        self.history.faults.entry(KILL_SERVER).and_modify(|count| *count += 1).or_insert(1);
        let places = self.newest()?.into_iter().map(|(room, last)| format!(" {room} {last}"));
        let order = format!("until{}", places.collect::<String>());
        for (who, (_, program)) in &mut self.clients {
            if who != REVOKED {
                program.tell(&order);
            }
        }
        // Who does not come to an end is told by the check.
        let ended = |state: &State| waiting.iter().all(|pid| state.ended.contains(pid));
        self.progress.wait(self.plan.patience, |state| state.deliveries, ended);
        self.kill_clients()
    }

    /// Nobody sends any more; the processes of all clients but the one that is revoked.
    fn settle_down(&mut self) -> Result<Vec<u32>, String> {
        let mut waiting = Vec::new();
        for (who, (_, program)) in &mut self.clients {
            program.tell("quiet");
            if who != REVOKED {
                waiting.push(program.pid());
            }
        }
        let quiet = |state: &State| waiting.iter().all(|pid| state.quiet.contains(pid));
        let quiet = self.progress.wait(self.plan.patience, |state| state.quiet.len() as u64, quiet);
        quiet.then_some(waiting).ok_or_else(|| "not every client came to an end of its sends".to_owned())
    }

    /// Nobody sends, nothing breaks: whoever is connected must be told all there is, and by nothing but its server.
    fn lull(&mut self) -> Result<(), String> {
        let waiting = self.settle_down()?;
        let goal = self.newest()?;
        let told = |state: &State| !waiting.iter().any(|pid| state.is_behind(*pid, &goal));
        self.progress.wait(self.plan.patience, |state| state.deliveries, told);
        for pid in self.progress.behind(&waiting, &goal) {
            let who = self.clients.iter().find(|(_, (_, program))| program.pid() == pid);
            let who = who.map_or("?", |(who, _)| who.as_str());
            self.history
                .asleep
                .push(format!("{who} was told nothing for {:?}, before {goal:?}", self.plan.patience));
        }
        for (_, program) in self.clients.values_mut() {
            program.tell("loud");
        }
        let loud = |state: &State| !waiting.iter().any(|pid| state.quiet.contains(pid));
        self.progress.wait(self.plan.patience, |state| state.quiet.len() as u64, loud);
        Ok(())
    }

    /// The newest event of each room.
    fn newest(&self) -> Result<BTreeMap<String, u64>, String> {
        let newest = self.rooms.iter().map(|(room, _)| {
            let (log, _) = self.log(room, &["-n", "1"])?;
            Ok((room.clone(), log.last().map_or(0, |event| event.seq)))
        });
        newest.collect()
    }

    fn kill_clients(&mut self) -> Result<(), String> {
        self.clients.values_mut().try_for_each(|(_, program)| program.kill())
    }

    fn read(&mut self) -> Result<(), String> {
        for (room, _) in &self.rooms {
            let (log, times) = self.log(room, &["--after", "0"]).unwrap_or_else(|why| {
                self.history.lost.push(why);
                Default::default()
            });
            self.history.logs.insert(room.clone(), log);
            self.history.times.insert(room.clone(), times);
        }
        for (who, (options, _)) in &self.clients {
            let lines = history::read(&options.journal).map_err(|error| error.to_string())?;
            self.history.journals.insert(who.clone(), lines);
        }
        Ok(())
    }

    /// A room's log as pages of history show it, and its times.
    fn log(&self, room: &str, which: &[&str]) -> Result<(Vec<Event>, Vec<String>), String> {
        let arguments = [&["tail", room, "--json"], which].concat();
        let text = self.host.once("c0", &arguments, "")?;
        let events = text.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_message = event["kind"] == "message";
            let logged = Event {
                room: room.to_owned(),
                epoch: u32::try_from(event["epoch"].as_u64()?).ok()?,
                seq: event["seq"].as_u64()?,
                id: event["id"].as_str()?.to_owned(),
                text: event["text"].as_str().filter(|_| is_message).map(str::to_owned),
            };
            Some((logged, event["ts"].as_str()?.to_owned()))
        });
        events.collect::<Option<_>>().ok_or_else(|| format!("the log of {room} cannot be read"))
    }
}

fn stop(program: &Program, time: Duration) -> Result<(), String> {
    program.signal(Signal::STOP)?;
    std::thread::sleep(time);
    program.signal(Signal::CONT)
}
