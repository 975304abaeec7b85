//! Older versions of a tree's files, at the receiver: which they are, told of one after the other, and read where parts of
//! them are used.
//!
//! What is named is a path below the directory that the tree goes into, of a file that the tree will replace; it is opened
//! when its turn comes, without following links, and whatever is there by then is verified as everything is. A task of
//! its own reads and tells, as far ahead of the bundle as pieces are few. Spec: S5.107–S5.109.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hikyaku_wire::cbor::MAX_INTEGER;
use hikyaku_wire::files::{Answer, Composed, MAX_INDEX, Older, OlderFile, Pieces};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{FilesError, Result};
use crate::jail::Dir;
use crate::names::{SafeName, SafeRelPath};
use crate::older::{OlderVersion, TELL_FOR, new_key, tell};
use crate::versions;

/// The most bytes of paths that are remembered, by those that wait to be read and those that the bundle is not behind.
const MAX_PATHS: usize = 4 * 1024 * 1024;
/// What waits for the task that reads.
const TASKS: usize = 1_024;
/// The most older versions that are held open.
const OPEN: usize = 4;

/// Gives a place among those that may be read at this moment, if there is one.
pub(crate) type Places = Arc<dyn Fn() -> Option<Box<dyn Any + Send>> + Send + Sync>;

/// The older versions of files to come.
pub(crate) struct Olders {
    top: Arc<Dir>,
    teller: mpsc::Sender<Answer>,
    places: Places,
    /// What pieces are hashed with.
    key: Option<[u8; 32]>,
    /// The task that reads, once there is something to read.
    tasks: Option<mpsc::Sender<Task>>,
    /// What it is not to read yet.
    untold: Vec<Task>,
    named: VecDeque<Named>,
    paths: Arc<AtomicUsize>,
    /// Where the next one begins, all put together.
    end: u64,
    open: VecDeque<(u64, OlderVersion)>,
}

#[derive(Debug)]
struct Named {
    file: u64,
    begin: u64,
    size: u64,
    path: Remembered,
}

/// A path, and what it takes of the bytes that paths may have.
#[derive(Debug)]
struct Remembered {
    path: SafeRelPath,
    cost: usize,
    all: Arc<AtomicUsize>,
}

impl Remembered {
    /// `None` where there is no room for it.
    fn new(path: SafeRelPath, all: &Arc<AtomicUsize>) -> Option<Self> {
        let names = path.components().iter().map(|name| name.as_bytes().len() + size_of::<SafeName>());
        let cost = size_of::<Named>() + names.sum::<usize>();
        let held = Self { path, cost, all: all.clone() };
        (all.fetch_add(cost, Ordering::Relaxed) + cost <= MAX_PATHS).then_some(held)
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.all.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

impl fmt::Debug for Olders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Olders").field("named", &self.named).finish_non_exhaustive()
    }
}

impl Olders {
    /// Of files below `top`; what is told of them goes to `teller`.
    pub(crate) fn new(top: Dir, teller: mpsc::Sender<Answer>, places: Places) -> Self {
        let (named, open) = (VecDeque::new(), VecDeque::new());
        Self {
            top: Arc::new(top),
            teller,
            places,
            key: new_key(),
            tasks: None,
            untold: Vec::new(),
            named,
            paths: Arc::default(),
            end: 0,
            open,
        }
    }

    /// Names one: the file with this number takes the place of what is at this path. `None` where too many are named.
    //= S5.107
    pub(super) fn name(&mut self, file: u64, path: SafeRelPath, size: u64) -> Option<OlderFile> {
        let end = self.end.checked_add(size).filter(|end| *end <= MAX_INTEGER)?;
        let older = Older { size, average: versions::average_of(size), key: self.key? };
        let to_tell = Remembered::new(path.clone(), &self.paths)?;
        let path = Remembered::new(path, &self.paths)?;
        self.untold.push(Task::Tell(self.top.clone(), to_tell, older));
        self.named.push_back(Named { file, begin: self.end, size, path });
        self.end = end;
        Some(OlderFile { file, older })
    }

    /// What was named was answered: now it may be told.
    pub(super) fn tell(&mut self) {
        if self.tasks.is_none() && !self.untold.is_empty() {
            let (to, tasks) = mpsc::channel(TASKS);
            let telling = Telling::new(self.teller.clone(), self.places.clone());
            tokio::runtime::Handle::current().spawn(telling.run(tasks));
            self.tasks = Some(to);
        }
        for task in self.untold.drain(..) {
            // Without that task nobody is told anything.
            let _ = self.tasks.as_ref().map(|tasks| tasks.blocking_send(task));
        }
    }

    /// The bundle is behind all files before this one.
    pub(super) fn pass(&mut self, file: u64) {
        while let Some(passed) = self.named.pop_front_if(|named| named.file < file) {
            self.open.retain(|(begin, _)| *begin != passed.begin);
            let _ = self.tasks.as_ref().map(|tasks| tasks.blocking_send(Task::Passed));
        }
    }

    /// Puts a block together from what came and from what is named.
    //= S5.109
    pub(crate) fn compose(&mut self, composed: &Composed, came: &[u8], into: &mut Vec<u8>) -> Result<()> {
        versions::check(composed, Some(self.end))?;
        versions::compose(composed, came, into, |from, part| {
            let end = from.saturating_add(part.len() as u64);
            let named =
                self.named.iter().find(|named| named.begin <= from && end <= named.begin + named.size);
            let Some(named) = named else {
                let reason = "a part of it lies in no older version of a file that is still to come";
                return Err(FilesError::Range { reason, offset: from, len: part.len() as u64 });
            };
            let known = self.open.iter().find(|(begin, _)| *begin == named.begin);
            let older = match known {
                Some((_, older)) => older.clone(),
                None => {
                    let older = open(&self.top, &named.path.path).ok_or(FilesError::OlderChanged)?;
                    self.open.truncate(OPEN - 1);
                    self.open.push_front((named.begin, older.clone()));
                    older
                }
            };
            older.read(from - named.begin, part)
        })
    }
}

/// What is there at this moment, if it can be read and is worth it. No link is followed, and none of its directories is one.
//= S5.107
fn open(top: &Dir, path: &SafeRelPath) -> Option<OlderVersion> {
    let (name, above) = path.components().split_last()?;
    let above = SafeRelPath::of(above.to_vec());
    let file = top.open_dir(&above).ok()?.open_file(name, false).ok().flatten()?;
    OlderVersion::of_file(file)
}

/// What the task that reads is to know.
enum Task {
    /// Of this file is to be told.
    Tell(Arc<Dir>, Remembered, Older),
    /// The bundle is behind the first of those that it was not behind yet.
    Passed,
}

/// Tells of one file after the other.
struct Telling {
    teller: mpsc::Sender<Answer>,
    places: Places,
    waiting: VecDeque<(Arc<Dir>, Remembered, Older)>,
    /// How many pieces were told of those that are not passed.
    told: VecDeque<u64>,
    /// Those that were passed before they were told of.
    early: usize,
}

impl Telling {
    fn new(teller: mpsc::Sender<Answer>, places: Places) -> Self {
        Self { teller, places, waiting: VecDeque::new(), told: VecDeque::new(), early: 0 }
    }

    async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        while let Some(task) = tasks.recv().await {
            self.hear(task);
            while let Ok(task) = tasks.try_recv() {
                self.hear(task);
            }
            while let Some((top, path, older)) = self.next() {
                let Some(told) = self.tell(top, path, older).await else { return };
                match self.early.checked_sub(1) {
                    Some(early) => self.early = early,
                    None => self.told.push_back(told),
                }
                while let Ok(task) = tasks.try_recv() {
                    self.hear(task);
                }
            }
        }
    }

    fn hear(&mut self, task: Task) {
        match task {
            Task::Tell(top, path, older) => self.waiting.push_back((top, path, older)),
            Task::Passed => match self.told.pop_front() {
                Some(_) => {}
                None => self.early += 1,
            },
        }
    }

    /// The next one, when it may be told: the first that the bundle is not behind always may.
    //= S5.108
    fn next(&mut self) -> Option<(Arc<Dir>, Remembered, Older)> {
        let (_, _, older) = self.waiting.front()?;
        let told: u64 = self.told.iter().sum();
        let fits = told + older.size / older.average <= MAX_INDEX as u64;
        if fits || self.told.is_empty() { self.waiting.pop_front() } else { None }
    }

    /// Tells of one; how many pieces it has. Nothing, when nobody listens any more.
    async fn tell(&self, top: Arc<Dir>, path: Remembered, older: Older) -> Option<u64> {
        let place = if self.early == 0 { (self.places)() } else { None };
        let is_read = place.is_some();
        let there = tokio::task::spawn_blocking(move || if is_read { open(&top, &path.path) } else { None });
        match there.await.ok()?.and_then(|there| there.named_as(older)) {
            Some(there) => tell(there, place, self.teller.clone(), Instant::now() + TELL_FOR).await,
            // It is sent whole.
            None => {
                let nothing = Pieces { first: 0, pieces: Vec::new(), last: Some(true) };
                self.teller.send(Answer::Pieces(nothing)).await.ok().map(|()| 0)
            }
        }
    }
}

#[cfg(test)]
mod tests;
