//! Proof of transfers: a tree of one large and many small files goes to a directory and comes from a room, while either
//! end is killed and the power fails. What is checked after each fault, and at the end of each transfer:
//!
//! - what has a final name is what was sent, byte for byte, with its mode and time, and nothing else was touched;
//! - a transfer that was broken goes on and ends, with the root that it has without faults;
//! - what has a receipt is there after the power fails;
//! - nothing is left over once the sender has its receipt.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::plan::Random;
use crate::power::Disk;
use crate::tree::{compare, make, names};

/// One run.
#[derive(Clone, Debug)]
pub struct FilesPlan {
    /// The program `hikyaku`.
    pub server: PathBuf,
    /// Where to keep everything; the run makes a directory of its own in it.
    pub directory: PathBuf,
    /// Where randomness begins.
    pub seed: u64,
    /// The bytes of the large file.
    pub large: u64,
    /// How many small files there are beside it.
    pub small: u64,
    /// `kill -9` of either end.
    pub kills: u64,
    /// The power fails under the server's disk; only root can do that.
    pub cuts: u64,
    /// How long a transfer may take from one fault to its end.
    pub patience: Duration,
    /// Whether the directory stays.
    pub keep: bool,
}

impl FilesPlan {
    /// A small run: everything a few times.
    pub fn small(server: PathBuf, directory: PathBuf, seed: u64) -> Self {
        let patience = Duration::from_secs(180);
        Self {
            server,
            directory,
            seed,
            large: 48 << 20,
            small: 300,
            kills: 10,
            cuts: 0,
            patience,
            keep: false,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct FilesOutcome {
    /// Where randomness began.
    pub seed: u64,
    /// Transfers that ended.
    pub transfers: u64,
    /// Of these, how many went to the directory.
    pub puts: u64,
    /// How often the server was killed.
    pub server_kills: u64,
    /// How often the client was killed.
    pub client_kills: u64,
    /// How often the power failed.
    pub cuts: u64,
    /// How often it failed right behind a receipt.
    pub cuts_behind_receipts: u64,
    /// What was not as it has to be.
    pub violations: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl FilesOutcome {
    /// Whether nothing was wrong, and enough was tried.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.transfers > 0
    }
}

impl fmt::Display for FilesOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, transfers, puts, server_kills, client_kills, cuts, cuts_behind_receipts, .. } = self;
        writeln!(f, "seed {seed}: {transfers} transfers ({puts} to the directory) in {:.0?}", self.took)?;
        writeln!(
            f,
            "  {server_kills} kills of the server, {client_kills} of the client, {cuts} power cuts, \
             {cuts_behind_receipts} of them right behind a receipt"
        )?;
        writeln!(f, "  {} violations", self.violations.len())?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "  ! {violation}"))
    }
}

/// Runs it.
pub fn run(plan: &FilesPlan) -> Result<FilesOutcome, String> {
    let begun = Instant::now();
    let directory = tempfile::Builder::new().prefix("files-").tempdir_in(&plan.directory);
    let directory = directory.map_err(|error| error.to_string())?;
    let mut world = World::new(plan, directory.path())?;
    let played = world.play();
    let mut outcome = std::mem::take(&mut world.outcome);
    drop(world);
    if let Err(stuck) = played {
        outcome.violations.push(stuck);
    }
    (outcome.seed, outcome.took) = (plan.seed, begun.elapsed());
    if plan.keep || !outcome.violations.is_empty() {
        println!("everything is kept in {}", directory.keep().display());
    }
    Ok(outcome)
}

/// Everything that lives during a run.
struct World<'a> {
    plan: &'a FilesPlan,
    home: PathBuf,
    random: Random,
    host: Host,
    outcome: FilesOutcome,
    /// How long a transfer takes without faults.
    usual: Duration,
    /// The root it has then, of a put and of a get.
    root: Option<String>,
    /// Journals of transfers whose end the server did not hear of: it keeps their receipts for a time.
    unheard: BTreeSet<String>,
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Into the server's directory, where the name is free.
    Put,
    /// Into a directory that is there, file by file.
    Merge,
    /// From a room.
    Get,
}

/// What is there before a merge, and has to stay.
const THEIRS: &[u8] = b"theirs, and it stays";

impl<'a> World<'a> {
    fn new(plan: &'a FilesPlan, home: &Path) -> Result<Self, String> {
        // Beside what is sent there is what a server keeps free.
        let size = (plan.large + plan.small * 16_384) * 4 + (512 << 20);
        let mut host = Host::new(&plan.server, home, plan.seed);
        host.disk = if plan.cuts > 0 { Some(Disk::with_size(home, size)?) } else { None };
        let drop_dir = host.base().join("drop");
        host.arguments([OsStr::new("--into"), drop_dir.as_os_str()]);
        let mut world = Self {
            plan,
            home: home.to_owned(),
            random: Random::new(plan.seed),
            host,
            outcome: FilesOutcome::default(),
            usual: Duration::from_secs(1),
            root: None,
            unheard: BTreeSet::new(),
        };
        fs::create_dir_all(world.drop_dir()).map_err(|error| error.to_string())?;
        make(&world.source(), plan.large, plan.small, plan.seed).map_err(|error| error.to_string())?;
        world.host.serve()?;
        world.host.join(&["ana".to_owned()])?;
        world.once(&["room", "create", "ops"], "")?;
        Ok(world)
    }

    fn play(&mut self) -> Result<(), String> {
        // Without faults first: how long it takes, and which root it has.
        let source = self.source();
        self.transfer(0, Way::Put, 0)?;
        let source = source.to_str().ok_or("the path is no text")?;
        self.once(&["send", source, "--to", "#ops"], "")?;
        let mut number = 0;
        while self.faults() < self.plan.kills + self.plan.cuts && self.outcome.violations.is_empty() {
            number += 1;
            let way = [Way::Put, Way::Get, Way::Merge][usize::try_from(number % 3).unwrap_or(0)];
            let left = self.plan.kills + self.plan.cuts - self.faults();
            self.transfer(number, way, left.min(24))?;
        }
        Ok(())
    }

    fn faults(&self) -> u64 {
        self.outcome.server_kills + self.outcome.client_kills + self.outcome.cuts
    }

    /// One transfer, with at most so many faults.
    fn transfer(&mut self, number: u64, way: Way, faults: u64) -> Result<(), String> {
        let place = match way {
            Way::Get => self.home.join(format!("into{number}")),
            _ => self.drop_dir().join(format!("t{number}")),
        };
        if way != Way::Put {
            fs::create_dir_all(place.join("tree/kept")).map_err(|error| error.to_string())?;
            fs::write(place.join("tree/kept/here"), THEIRS).map_err(|error| error.to_string())?;
            sync(&place)?;
        }
        let begun = Instant::now();
        let mut client = self.start(number, way, &place)?;
        let mut done = 0;
        let ended = loop {
            let window = u64::try_from(self.usual.as_micros() / 8).unwrap_or(u64::MAX).max(20_000);
            let moment = Duration::from_micros(self.random.below(2 * window));
            let patience = if done < faults { moment } else { self.plan.patience };
            match wait(&mut client, &self.home.join("client.out"), patience)? {
                Some(ended) => break ended,
                None if done >= faults => {
                    let _ = client.kill();
                    return Err(format!("transfer {number} ({way:?}) does not end after {done} faults"));
                }
                None => {}
            }
            done += 1;
            self.fault(number, way, &place, &mut client)?;
        };
        if number == 0 {
            self.usual = begun.elapsed();
        }
        if !ended.0 {
            let last = ended.1.lines().rfind(|line| line.contains("failed"));
            self.wrong(number, way, format!("it failed: {}", last.unwrap_or(&ended.1)));
            return Ok(());
        }
        self.check_root(number, way, &ended.1);
        if way != Way::Get && self.host.disk.is_some() && self.outcome.cuts < self.plan.cuts {
            self.cut()?;
            self.outcome.cuts_behind_receipts += 1;
        }
        self.check(number, way, &place, true);
        self.check_strays(number, way, &place);
        self.outcome.transfers += 1;
        self.outcome.puts += u64::from(way != Way::Get);
        fs::remove_dir_all(&place).map_err(|error| error.to_string())
    }

    fn fault(&mut self, number: u64, way: Way, place: &Path, client: &mut Child) -> Result<(), String> {
        let can_cut = self.host.disk.is_some() && self.outcome.cuts < self.plan.cuts;
        let kills = self.outcome.server_kills + self.outcome.client_kills < self.plan.kills;
        match self.random.below(10) {
            0..4 if can_cut => self.cut()?,
            _ if can_cut && !kills => self.cut()?,
            4..8 => {
                self.host.kill()?;
                self.check(number, way, place, false);
                self.host.serve()?;
                self.outcome.server_kills += 1;
            }
            _ => {
                client.kill().and_then(|()| client.wait()).map_err(|error| error.to_string())?;
                self.outcome.client_kills += 1;
                self.check(number, way, place, false);
                *client = self.start(number, way, place)?;
            }
        }
        Ok(())
    }

    /// The power fails, and comes back with everything that was durable.
    fn cut(&mut self) -> Result<(), String> {
        self.host.cut()?;
        self.outcome.cuts += 1;
        self.host.serve()
    }

    /// What has its final name is what was sent; `whole`: and nothing is missing.
    fn check(&mut self, number: u64, way: Way, place: &Path, whole: bool) {
        let tree = place.join("tree");
        if let Err(what) = compare(&self.source(), &tree, whole, way != Way::Put) {
            self.wrong(number, way, what);
        }
        if way != Way::Put && fs::read(tree.join("kept/here")).ok().as_deref() != Some(THEIRS) {
            self.wrong(number, way, "what was there before is not there any more".to_owned());
        }
    }

    /// Nothing is left of a transfer whose sender has its receipt, and nothing but trees has a name.
    fn check_strays(&mut self, number: u64, way: Way, place: &Path) {
        let own = if way == Way::Get { place.to_owned() } else { self.drop_dir().join(".hikyaku") };
        let begun = Instant::now();
        loop {
            let new = |name: &String| name != "tree" && !self.unheard.contains(name);
            let left: Vec<_> = names(&own).into_iter().filter(new).collect();
            if left.is_empty() {
                break;
            }
            // The server forgets when it hears that its receipt has arrived; that word may be lost with a server.
            if begun.elapsed() > Duration::from_secs(2) {
                if way == Way::Get || !left.iter().all(|name| name.ends_with(".journal")) {
                    self.wrong(number, way, format!("left over: {left:?}"));
                }
                self.unheard.extend(left);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if way != Way::Get {
            let strange: Vec<_> = names(&self.drop_dir())
                .into_iter()
                .filter(|name| !name.starts_with('t') && name != ".hikyaku" && name != "lost+found")
                .collect();
            if !strange.is_empty() {
                self.wrong(number, way, format!("nobody sent {strange:?}"));
            }
        }
    }

    fn check_root(&mut self, number: u64, way: Way, printed: &str) {
        let done = printed.lines().find_map(|line| {
            let said: serde_json::Value = serde_json::from_str(line).ok()?;
            said.get("root").is_some().then_some(said)
        });
        // What was there already is not sent again after a break: the root is then that of the rest.
        if done.as_ref().is_some_and(|done| done["kept"].as_u64().is_some_and(|kept| kept > 0)) {
            return;
        }
        let root = done.and_then(|done| Some(done["root"].as_str()?.to_owned()));
        match (&self.root, root) {
            (_, None) => self.wrong(
                number,
                way,
                format!("no root was printed: {}", printed.lines().next().unwrap_or_default()),
            ),
            (None, Some(root)) => self.root = Some(root),
            (Some(known), Some(root)) if *known == root => {}
            (Some(known), Some(root)) => {
                self.wrong(number, way, format!("the root is {root}, and was {known} without faults"));
            }
        }
    }

    fn wrong(&mut self, number: u64, way: Way, what: String) {
        let faults = self.faults();
        self.outcome.violations.push(format!("transfer {number} ({way:?}), after fault {faults}: {what}"));
    }

    fn start(&self, number: u64, way: Way, place: &Path) -> Result<Child, String> {
        let mut command = Command::new(&self.plan.server);
        command.env("HIKYAKU_HOME", self.home.join("ana"));
        match way {
            Way::Get => command.args(["get", "#ops:1", "--json", "--into"]).arg(place),
            _ => command.arg("send").arg(self.source()).args(["--json", "--to", &format!(":t{number}")]),
        };
        let log = fs::File::options().append(true).create(true).open(self.home.join("client.log"));
        let log = log.map_err(|error| error.to_string())?;
        // Into a file: nobody reads before the end, and a pipe would be full long before.
        let out = fs::File::create(self.home.join("client.out")).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        command.spawn().map_err(|error| error.to_string())
    }

    fn once(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        self.host.once("ana", arguments, input)
    }

    fn drop_dir(&self) -> PathBuf {
        self.host.base().join("drop")
    }

    fn source(&self) -> PathBuf {
        self.home.join("tree")
    }
}

/// Makes durable what a transfer finds.
fn sync(place: &Path) -> Result<(), String> {
    let opened = fs::File::open(place).map_err(|error| error.to_string())?;
    rustix::fs::syncfs(&opened).map_err(|error| error.to_string())
}

/// Waits for the end of a client: whether it was a good one, and what it printed.
fn wait(client: &mut Child, out: &Path, patience: Duration) -> Result<Option<(bool, String)>, String> {
    let begun = Instant::now();
    loop {
        if let Some(status) = client.try_wait().map_err(|error| error.to_string())? {
            let printed = fs::read_to_string(out).map_err(|error| error.to_string())?;
            // Of a merge, what stays is reported: 10 says so.
            let is_good = matches!(status.code(), Some(0 | 10));
            return Ok(Some((is_good, format!("{status}\n{printed}"))));
        }
        if begun.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2).min(patience));
    }
}
