//! Those who send and receive: each types one command after the other, in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::facts::Place;

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Sends.
    Sender,
    /// Sends slowly, until it may not any more.
    Revoked,
    /// Fetches what others send to rooms.
    Getter,
    /// Takes what others send to people.
    Receiver,
}

/// What is to be done; it is tried until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Sends a source to a room or to somebody.
    Send {
        /// Its name.
        source: String,
        /// `#room` or `@name`.
        to: String,
        /// Bytes a second, if it is to take its time.
        rate: Option<u64>,
    },
    /// Fetches a parcel into a directory of its own.
    Get {
        /// Which.
        place: Place,
        /// The name that it has.
        name: String,
        /// Where to.
        into: PathBuf,
        /// Whether it was begun while the parcel was being sent.
        early: bool,
    },
    /// Pours a file into a pipe, while it comes.
    Pour {
        /// Which.
        place: Place,
        /// Its name.
        name: String,
    },
    /// Takes what comes.
    Receive {
        /// Where to.
        into: PathBuf,
    },
}

/// Somebody.
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) job: Option<Job>,
    running: Option<(Child, PathBuf)>,
    began: Instant,
    /// How many commands were typed.
    typed: u64,
    /// How often in a row the job did not come to its end.
    pub(super) failed: u64,
    not_before: Instant,
    /// Nobody does anything as this one any more.
    pub(super) retired: bool,
    /// What every command has printed, oldest first.
    pub(super) outputs: Vec<PathBuf>,
}

/// A command that has ended by itself.
pub(super) struct Ended {
    /// Its exit code; -1 where a signal ended it.
    pub(super) code: i32,
    /// Where its output is.
    pub(super) out: PathBuf,
}

impl Actor {
    pub(super) fn new(name: String, role: Role) -> Self {
        Self {
            name,
            role,
            job: None,
            running: None,
            began: Instant::now(),
            typed: 0,
            failed: 0,
            not_before: Instant::now(),
            retired: false,
            outputs: Vec::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it may begin with something.
    pub(super) fn is_ready(&self) -> bool {
        !self.retired && self.running.is_none() && Instant::now() >= self.not_before
    }

    /// The parcel that it has waited for so long that nobody may be sending it any more.
    pub(super) fn waits_for(&self, long: Duration) -> Option<&Place> {
        match &self.job {
            Some(Job::Get { place, .. } | Job::Pour { place, .. })
                if self.is_running() && self.began.elapsed() > long =>
            {
                Some(place)
            }
            _ => None,
        }
    }

    /// It waits before it tries the same again.
    pub(super) fn pause(&mut self) {
        self.failed += 1;
        self.not_before = Instant::now() + Duration::from_millis(150);
    }

    /// Types the command of its job.
    pub(super) fn start(
        &mut self,
        binary: &Path,
        home: &Path,
        source: impl Fn(&str) -> PathBuf,
    ) -> Result<(), String> {
        let Some(job) = &self.job else { return Ok(()) };
        let mut command = Command::new(binary);
        command.env("HIKYAKU_HOME", home.join(&self.name));
        match job {
            Job::Send { source: name, to, rate } => {
                command.arg("send").arg(source(name)).args(["--to", to, "--json", "--pause-timeout", "1s"]);
                if let Some(rate) = rate {
                    command.args(["--limit-rate", &rate.to_string()]);
                }
            }
            Job::Get { place, into, .. } => {
                fs::create_dir_all(into).map_err(|error| error.to_string())?;
                command.args(["get", &reference(place), "--json", "--into"]).arg(into);
            }
            Job::Pour { place, .. } => {
                command.args(["get", &reference(place), "--stdout", "--follow"]);
            }
            Job::Receive { into } => {
                fs::create_dir_all(into).map_err(|error| error.to_string())?;
                command.args(["receive", "--accept", "all", "--earlier", "--json", "--into"]).arg(into);
            }
        }
        self.typed += 1;
        let out = home.join(format!("{}.{}.out", self.name, self.typed));
        let log = fs::File::options().append(true).create(true).open(home.join(format!("{}.log", self.name)));
        command.stderr(log.map_err(|error| error.to_string())?);
        // Into a file: nobody reads before the end, and a pipe would be full long before.
        command.stdout(fs::File::create(&out).map_err(|error| error.to_string())?).stdin(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        self.outputs.push(out.clone());
        (self.running, self.began) = (Some((child, out)), Instant::now());
        Ok(())
    }

    /// Whether its command has ended.
    pub(super) fn poll(&mut self) -> Result<Option<Ended>, String> {
        let Some((child, _)) = &mut self.running else { return Ok(None) };
        let Some(status) = child.try_wait().map_err(|error| error.to_string())? else { return Ok(None) };
        let out = self.running.take().map(|(_, out)| out).unwrap_or_default();
        Ok(Some(Ended { code: status.code().unwrap_or(-1), out }))
    }

    /// `kill -9`, and gone when this returns.
    pub(super) fn kill(&mut self) -> Result<(), String> {
        let Some((mut child, _)) = self.running.take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.kill();
    }
}

/// A parcel of a room, as it is typed.
pub(super) fn reference((room, seq): &Place) -> String {
    format!("#{room}:{seq}")
}

/// A parcel that somebody named, as everybody here calls it: direct rooms by sender and receiver.
pub(super) fn place(reference: &str, who: &str, sends: bool) -> Option<Place> {
    let (room, seq) = reference.rsplit_once(':')?;
    let seq = seq.parse().ok()?;
    let room = match (room.strip_prefix('#'), room.strip_prefix('@')) {
        (Some(room), _) => room.to_owned(),
        // `@other`, or both names as the server has them.
        (_, Some(names)) => {
            let other = names.split('+').find(|name| *name != who)?;
            if sends { direct(who, other) } else { direct(other, who) }
        }
        _ => return None,
    };
    Some((room, seq))
}

/// The room of two people.
pub(super) fn direct(sender: &str, receiver: &str) -> String {
    format!("{sender}@{receiver}")
}
