//! A program that runs, the lines it prints, and how it ended.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, assert_harmless, json};

/// A program that is running. It is killed when this is dropped.
pub struct Program {
    child: Child,
    pub out: Lines,
    pub err: Lines,
    what: String,
}

impl Program {
    /// Starts `command`, with `input` as its standard input.
    pub fn start(mut command: Command, input: Option<&[u8]>) -> Self {
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            let input = input.to_owned();
            // A program that does not read its input is no reason to fail here.
            std::thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { child, out, err, what }
    }

    /// Starts `command` with a standard input that stays open for as long as the second is held.
    pub fn talk(mut command: Command) -> (Self, std::process::ChildStdin) {
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        (Self { child, out, err, what }, stdin)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it for a while; when this returns none of its threads does anything any more.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            // One that has ended meanwhile does nothing, too.
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        };
        let begun = Instant::now();
        while !std::fs::read_dir(&tasks).unwrap().all(is_stopped) {
            assert!(begun.elapsed() < PATIENCE, "{} does not stop", self.what);
            std::thread::yield_now();
        }
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Done {
        let begun = Instant::now();
        let (out, err) = (self.out.rest(&self.what), self.err.rest(&self.what));
        let status = self.wait();
        Done { what: self.what.clone(), status, out, err, took: begun.elapsed() }
    }

    fn wait(&mut self) -> ExitStatus {
        // Both outputs are closed: what is left is the kernel's work.
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not end", self.what);
            std::thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of an output, as they come.
pub struct Lines {
    coming: mpsc::Receiver<String>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (to, coming) = mpsc::channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                // Bytes that are no text must be seen by the tests that look for them.
                let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
                all.lock().unwrap().push(text.clone());
                if to.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { coming, seen }
    }

    /// The next line; `None` when there are no more.
    pub fn next(&self) -> Option<String> {
        match self.coming.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("nothing more came; until then: {:#?}", self.seen())
            }
        }
    }

    /// The next line that `is` it.
    pub fn until(&self, is: impl Fn(&str) -> bool) -> String {
        loop {
            match self.next() {
                Some(line) if is(&line) => return line,
                Some(_) => {}
                None => panic!("it ended without the line waited for: {:#?}", self.seen()),
            }
        }
    }

    /// Everything printed so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn rest(&self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.coming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return self.seen().iter().map(|line| format!("{line}\n")).collect();
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("{what} does not end; it printed {:#?}", self.seen())
                }
            }
        }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Done {
    pub what: String,
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Done {
    /// The exit code; a signal that killed it fails the test.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("{} was killed by signal {:?}", self.what, self.status.signal()))
    }

    /// It succeeded without a word of complaint; its output without the last line break.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code(), 0, "{self:#?}");
        assert_eq!(self.err, "", "{self:#?}");
        self.out.strip_suffix('\n').unwrap_or(&self.out)
    }

    /// It succeeded, whatever it said on the side; its output without the last line break. Where several say something at once
    /// from one home, one of them may send what another has waited with, and tells so.
    #[track_caller]
    pub fn out_of_success(&self) -> &str {
        assert_eq!(self.code(), 0, "{self:#?}");
        self.out.strip_suffix('\n').unwrap_or(&self.out)
    }

    /// It failed with this code, printed nothing on standard output, and said all of this: what failed, why, what to
    /// do. No sentence has a control character in it.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code(), code, "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        for phrase in says {
            assert!(self.err.contains(phrase), "'{phrase}' is missing in {self:#?}");
        }
        assert_harmless(&self.err);
    }

    /// Its only output line as JSON; of a transfer's events the one that says that it is done.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let mut objects: Vec<_> = self.ok().lines().map(json).collect();
        if objects.len() > 1 {
            objects.retain(|object| object["type"] == "done");
        }
        assert_eq!(objects.len(), 1, "{self:#?}");
        objects.remove(0)
    }

    /// Every output line of these types as JSON.
    #[track_caller]
    pub fn objects(&self, types: &[&str]) -> Vec<serde_json::Value> {
        let objects = self.out.lines().map(json);
        objects.filter(|object| types.iter().any(|ty| object["type"] == *ty)).collect()
    }
}
