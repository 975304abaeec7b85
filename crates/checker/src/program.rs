//! The processes of a run: the server, its clients, and commands typed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Options;

/// How long a server may take to stop: it may be waiting for its disk.
const STOPPING: Duration = Duration::from_secs(30);

/// A process; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self, String> {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{what}: {error}"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|error| error.to_string())
    }

    /// SIGSTOP, and no thread of it does anything more when this returns.
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.signal(Signal::STOP)?;
        let (tasks, begun) = (format!("/proc/{}/task", self.pid()), Instant::now());
        let is_still =
            || fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().all(|task| is_stopped(&task.path())));
        while !is_still() {
            if begun.elapsed() > STOPPING {
                return Err("the server does not stop".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// `kill -9`, and gone when this returns.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(|error| error.to_string())?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something; one that is dead does not hear it.
    pub(crate) fn tell(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        }
    }
}

/// Whether a thread is stopped, or over.
fn is_stopped(task: &Path) -> bool {
    let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The state stands behind the name, which may have anything in it.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server and waits until it is ready; its address.
pub(crate) fn serve(mut command: Command) -> Result<(Program, String), String> {
    let mut program = Program::start(&mut command)?;
    let out = program.child.stdout.take().ok_or("no standard output")?;
    let mut lines = BufReader::new(out).lines();
    for line in lines.by_ref() {
        let line = line.map_err(|error| error.to_string())?;
        if let Some(address) = line.strip_prefix("ready: ") {
            return Ok((program, address.to_owned()));
        }
    }
    Err(format!("the server did not start: {command:?}"))
}

/// Runs `hikyaku` once; what it printed.
pub(crate) fn hikyaku(binary: &Path, home: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(binary);
    command.env("HIKYAKU_HOME", home).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    let done = child.wait_with_output().map_err(|error| format!("{command:?}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

/// How far the clients are, as they say.
#[derive(Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Acknowledgements in all.
    pub(crate) acks: u64,
    /// Processes of clients that send no more.
    pub(crate) quiet: BTreeSet<u32>,
    /// Processes that are over.
    pub(crate) ended: BTreeSet<u32>,
    /// Deliveries in all.
    pub(crate) deliveries: u64,
    /// Connections broken on purpose in all.
    pub(crate) disconnects: u64,
    /// How far each process is in each room.
    pub(crate) places: BTreeMap<(u32, String), u64>,
}

impl State {
    /// Takes note of one line that a client has said.
    fn hear(&mut self, pid: u32, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("acked"), ..) => self.acks += 1,
            (Some("quiet"), ..) => self.quiet.extend([pid]),
            (Some("loud"), ..) => drop(self.quiet.remove(&pid)),
            (Some("broken"), ..) => self.disconnects += 1,
            (Some("at"), Some(room), Some(seq)) => {
                self.deliveries += 1;
                self.places.insert((pid, room.to_owned()), seq.parse().unwrap_or(0));
            }
            _ => {}
        }
    }

    /// Who of these is not so far in a room.
    pub(crate) fn is_behind(&self, pid: u32, goal: &BTreeMap<String, u64>) -> bool {
        let place = |room: &String| self.places.get(&(pid, room.clone())).copied().unwrap_or(0);
        goal.iter().any(|(room, seq)| place(room) < *seq)
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acks(&self) -> u64 {
        self.state().acks
    }

    pub(crate) fn disconnects(&self) -> u64 {
        self.state().disconnects
    }

    /// Who of these is not so far.
    pub(crate) fn behind(&self, pids: &[u32], goal: &BTreeMap<String, u64>) -> Vec<u32> {
        let state = self.state();
        pids.iter().copied().filter(|pid| state.is_behind(*pid, goal)).collect()
    }

    /// Waits until `enough`; false once what is measured has not moved for `patience`.
    pub(crate) fn wait(
        &self,
        patience: Duration,
        measure: impl Fn(&State) -> u64,
        enough: impl Fn(&State) -> bool,
    ) -> bool {
        let mut state = self.state();
        let (mut before, mut since) = (measure(&state), Instant::now());
        loop {
            if enough(&state) {
                return true;
            }
            if measure(&state) != before {
                (before, since) = (measure(&state), Instant::now());
            }
            let Some(left) = patience.checked_sub(since.elapsed()) else { return false };
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.moved.notify_all();
    }

    /// Starts a client and listens to it.
    pub(crate) fn start(self: &Arc<Self>, binary: &Path, options: &Options) -> Result<Program, String> {
        let options = serde_json::to_string(options).map_err(|error| error.to_string())?;
        let mut command = Command::new(binary);
        command.arg(options);
        let mut program = Program::start(&mut command)?;
        let out = program.child.stdout.take().ok_or("no standard output")?;
        let (progress, pid) = (self.clone(), program.pid());
        self.change(|state| {
            // Numbers of processes come again.
            state.quiet.remove(&pid);
            state.ended.remove(&pid);
            state.places.retain(|(other, _), _| *other != pid);
        });
        std::thread::Builder::new()
            .name(format!("listen-{pid}"))
            .spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    progress.change(|state| state.hear(pid, &line));
                }
                progress.change(|state| state.ended.extend([pid]));
            })
            .map_err(|error| error.to_string())?;
        Ok(program)
    }
}
