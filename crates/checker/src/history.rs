//! What happened, as the processes wrote it down: one JSON object a line, with one clock for all of them.
//!
//! A client's journal is its application: a delivery counts as seen once its line is written, and where the client
//! goes on after its death is read from the same lines. A line torn by `kill -9` did not happen.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in nanoseconds of the computer's monotonic clock.
    pub t: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum What {
    /// The process began.
    Start,
    /// A connection was made.
    Connected {
        /// Over which transport.
        over: String,
    },
    /// A message is about to be sent for the first time.
    Invoke {
        /// The room's name.
        room: String,
        /// Its id.
        id: String,
        /// What it says; no two messages say the same.
        text: String,
    },
    /// The server has acknowledged a message.
    Ack {
        /// Its id.
        id: String,
        /// The epoch it is in.
        epoch: u32,
        /// Its place.
        seq: u64,
    },
    /// The client will not send this message again and does not know what became of it.
    Unknown {
        /// Its id.
        id: String,
    },
    /// The client breaks its connection on purpose, while a send is on its way.
    Broken,
    /// The server refused a message for good.
    Refused {
        /// Its id.
        id: String,
    },
    /// The application has an event.
    Deliver(Event),
    /// The client has everything it was told to wait for, and ended connected.
    Done,
}

/// An event as a reader or the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// The room's name.
    pub room: String,
    /// The epoch.
    pub epoch: u32,
    /// The sequence number.
    pub seq: u64,
    /// The message's id.
    pub id: String,
    /// What it says; `None` for what is no message.
    pub text: Option<String>,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each client's journal, under its name.
    pub journals: BTreeMap<String, Vec<Line>>,
    /// Each room's log at the end, read page by page.
    pub logs: BTreeMap<String, Vec<Event>>,
    /// Each room's times at the end, event by event, as text that sorts like time.
    pub times: BTreeMap<String, Vec<String>>,
    /// Who was connected, undisturbed and told nothing any more, although there was more.
    pub asleep: Vec<String>,
    /// What the server does not have at all any more: its store, a room.
    pub lost: Vec<String>,
    /// How often each kind of fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// Clients whose devices were revoked, and when the server had said so.
    pub revoked: BTreeMap<String, u64>,
    /// Why the run did not come to its end.
    pub stuck: Option<String>,
}

/// The monotonic clock that all processes of this computer share, in nanoseconds.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A client's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens a journal and gives what was written before; a torn last line is cut off.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let lines = read(path)?;
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let text = fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        Ok((Self { file }, lines))
    }

    /// Writes one line, in one call: it is there whole, or torn where the process died.
    pub fn write(&mut self, what: What) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { t: now(), what })?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// The lines of a journal, without a torn last one.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(|line| Ok(serde_json::from_slice(line)?)).collect()
}
