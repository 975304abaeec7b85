//! A room in memory while somebody reads it or writes in it: its newest events, its readers, its waiting sends.
//!
//! There is at most one per room (see [`Core::room`](super::core::Core::room)), and it holds nothing the store does
//! not have: dropping it loses nothing. No lock here is held across an await.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_wire::chat::{MemberRole, Records, RoomId, UserId};
use tokio::sync::{Notify, Semaphore};

use super::pages::{self, Pages};
use super::ring::{Budget, Chunk, Ring, Shared};
use super::sequencer::Waiting;
use crate::limits::Limits;
use crate::rules::Log;
use crate::stored::RoomRecord;

/// One room.
pub(crate) struct LiveRoom {
    pub(crate) id: RoomId,
    tail: Mutex<Tail>,
    watchers: Mutex<Vec<Arc<Watcher>>>,
    queue: Mutex<Queue>,
    /// Places for those who read pages.
    pub(super) places: Semaphore,
    /// What all rings and pages of the server hold together.
    rings_bytes: Arc<AtomicUsize>,
}

/// Where the log stands, as far as readers may know: everything here is committed.
struct Tail {
    log: Log,
    record: Arc<Versioned>,
    ring: Ring,
    pages: Pages,
}

impl Tail {
    /// What it holds of the log, in bytes.
    fn bytes(&self) -> usize {
        self.ring.bytes() + self.pages.bytes()
    }
}

/// A room's record and the version it was read with.
#[derive(Debug)]
pub(crate) struct Versioned {
    pub(crate) room: RoomId,
    pub(crate) version: u64,
    pub(crate) record: RoomRecord,
    /// What users are in it at this version: every change of a membership changes the record too.
    roles: Mutex<HashMap<UserId, Option<MemberRole>>>,
}

/// Roles remembered with one version of a room's record.
const ROLES: usize = 4_096;

impl Versioned {
    pub(crate) fn new(room: RoomId, version: u64, record: RoomRecord) -> Self {
        Self { room, version, record, roles: Mutex::default() }
    }

    /// What a user is, if that is remembered.
    pub(crate) fn role(&self, user: &UserId) -> Option<Option<MemberRole>> {
        lock(&self.roles).get(user).copied()
    }

    /// Remembers what a user is at this version.
    pub(crate) fn remember(&self, user: UserId, role: Option<MemberRole>) {
        let mut roles = lock(&self.roles);
        if roles.len() >= ROLES {
            roles.clear();
        }
        roles.insert(user, role);
    }

    /// Changes whenever who may read may have changed; 0 for a room that everybody may read.
    pub(crate) fn access(&self) -> u64 {
        if self.record.private { self.version } else { 0 }
    }
}

/// Sends that wait for the commit in front of them.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: VecDeque<Waiting>,
    /// Whether a task is committing. It looks at the queue once more, under this lock, before it says it is not.
    pub(crate) committing: bool,
}

/// What a commit has changed, for the readers of a room.
pub(crate) struct News {
    pub(crate) log: Log,
    pub(crate) chunk: Chunk,
    /// Whether something in the log was erased.
    pub(crate) erases: bool,
    /// The room's record, if it is another one.
    pub(crate) record: Option<Versioned>,
    /// Users who were mentioned.
    pub(crate) mentioned: Vec<UserId>,
}

/// What was published and readers were not told of yet.
pub(crate) struct Unseen {
    mentioned: Vec<UserId>,
}

impl LiveRoom {
    pub(crate) fn new(log: Log, record: Versioned, rings_bytes: Arc<AtomicUsize>) -> Self {
        Self {
            id: log.room,
            tail: Mutex::new(Tail {
                log,
                record: Arc::new(record),
                ring: Ring::default(),
                pages: Pages::default(),
            }),
            watchers: Mutex::default(),
            queue: Mutex::default(),
            places: pages::places(),
            rings_bytes,
        }
    }

    /// Where the log stands.
    pub(crate) fn log(&self) -> Log {
        lock(&self.tail).log.clone()
    }

    /// Where the log stands, and what changes when those change who may read it.
    pub(crate) fn log_and_access(&self) -> (Log, u64) {
        let tail = lock(&self.tail);
        (tail.log.clone(), tail.record.access())
    }

    /// The room's record as last read.
    pub(crate) fn record(&self) -> Arc<Versioned> {
        lock(&self.tail).record.clone()
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Takes note of what was read from the store; what is known to be newer stays.
    pub(crate) fn refresh(&self, log: Log, record: Option<Versioned>) {
        let moved = {
            let mut tail = lock(&self.tail);
            let moved = tail.log != log && tail.log.is_not_after(&log);
            if moved {
                tail.log = log;
                self.change(&mut tail, |tail| tail.pages.clear());
            }
            let newer = record.filter(|record| record.version > tail.record.version);
            let changed = newer.as_ref().is_some_and(|record| record.access() != tail.record.access());
            if let Some(record) = newer {
                tail.record = Arc::new(record);
            }
            moved || changed
        };
        if moved {
            self.wake_all();
        }
    }

    /// Takes in what was just committed; whoever looks finds it. Those who wait are to be told with [`show`](Self::show).
    //= S4.40
    #[must_use]
    pub(crate) fn publish(&self, news: News, limits: &Limits) -> Unseen {
        let News { log, chunk, erases, record, mentioned } = news;
        {
            let mut tail = lock(&self.tail);
            let crowded = self.rings_bytes.load(Ordering::Relaxed) > limits.rings_bytes;
            let events = u64::try_from(limits.ring_events).unwrap_or(u64::MAX);
            let bytes = if crowded { 0 } else { limits.ring_bytes };
            self.change(&mut tail, |tail| {
                if erases {
                    // What was erased may stand in any chunk; readers take it from the log, as it is now.
                    tail.ring.clear();
                    tail.pages.clear();
                }
                tail.ring.push(chunk, Budget { events, bytes });
            });
            if tail.log.is_not_after(&log) {
                tail.log = log;
            }
            if let Some(record) = record.filter(|record| record.version > tail.record.version) {
                tail.record = Arc::new(record);
            }
        }
        Unseen { mentioned }
    }

    /// Wakes the readers for what was published.
    pub(crate) fn show(&self, Unseen { mentioned }: &Unseen) {
        self.wake_all();
        if !mentioned.is_empty() {
            self.tell_reads(|user| mentioned.contains(user));
        }
    }

    /// Takes note that a prefix was trimmed.
    pub(crate) fn trimmed(&self, log: Log, record: Versioned) {
        {
            let mut tail = lock(&self.tail);
            self.change(&mut tail, |tail| {
                tail.ring.clear();
                tail.pages.clear();
            });
            // What was appended meanwhile stays; only what the trim has changed is taken over.
            let first = tail.log.first.max(log.first);
            tail.log = Log { first, ..tail.log.clone() };
            if tail.log.last == log.last {
                tail.log.marks = log.marks;
            }
            if record.version > tail.record.version {
                tail.record = Arc::new(record);
            }
        }
        self.wake_all();
    }

    /// Tells the readers of some users that something about what those have read has changed.
    pub(crate) fn tell_reads(&self, of: impl Fn(&UserId) -> bool) {
        for watcher in lock(&self.watchers).iter().filter(|watcher| of(&watcher.user)) {
            lock(&watcher.mailbox.reads).insert(self.id);
            watcher.mailbox.notify.notify_one();
        }
    }

    /// All that is new for a reader of this epoch at `from`, if it is in memory and fits one update: the same bytes for
    /// every reader that stands there. `None` if who may read has changed since `access`: that is looked at first.
    //= S4.80
    pub(crate) fn share(&self, access: u64, epoch: u32, from: u64, budget: Budget) -> Option<Shared> {
        let mut tail = lock(&self.tail);
        if tail.record.access() != access || tail.log.epoch != epoch || from < tail.log.first {
            return None;
        }
        let last = tail.log.last;
        tail.ring.share(self.id, epoch, from, budget).filter(|shared| shared.next == last + 1)
    }

    /// Newest events from memory; `None` if the first of them is not there.
    pub(crate) fn newest(&self, from: u64, budget: Budget) -> Option<Records> {
        lock(&self.tail).ring.read(from, budget)
    }

    /// Whether a reader at `from` is further behind than one update from memory can tell.
    pub(crate) fn is_far_from(&self, epoch: u32, from: u64, budget: Budget) -> bool {
        let tail = lock(&self.tail);
        let there = tail.log.epoch == epoch && (tail.log.first..=tail.log.last).contains(&from);
        let near = |records: Records| from + records.len() > tail.log.last;
        there && !tail.ring.read(from, budget).is_some_and(near)
    }

    /// The page at a place if it is kept, or else the generation under which it may be read.
    pub(super) fn find_page(&self, epoch: u32, from: u64) -> Result<Shared, u64> {
        let tail = lock(&self.tail);
        tail.pages.find(epoch, from).ok_or(tail.pages.generation())
    }

    /// Keeps a page for others, unless memory is short or it is no longer true.
    pub(super) fn keep_page(&self, page: Shared, generation: u64, limits: &Limits) {
        // Pages leave half of the memory to the newest events.
        if self.rings_bytes.load(Ordering::Relaxed) <= limits.rings_bytes / 2 {
            self.change(&mut lock(&self.tail), |tail| tail.pages.keep(page, generation));
        }
    }

    /// Whether nothing has changed about who may read this epoch of the log, and its prefix is still there.
    pub(crate) fn still_has(&self, access: u64, epoch: u32, from: u64) -> bool {
        let tail = lock(&self.tail);
        tail.record.access() == access && tail.log.epoch == epoch && from >= tail.log.first
    }

    /// Changes what is held of the log, and counts it.
    fn change(&self, tail: &mut Tail, how: impl FnOnce(&mut Tail)) {
        let before = tail.bytes();
        how(tail);
        self.rings_bytes.fetch_add(tail.bytes(), Ordering::Relaxed);
        self.rings_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// From now on the mailbox learns of every change, until the guard goes. Look at the log only after this.
    pub(crate) fn watch(self: &Arc<Self>, user: UserId, mailbox: &Arc<Mailbox>) -> Watching {
        let told = AtomicBool::new(false);
        let watcher = Arc::new(Watcher { room: self.id, user, mailbox: mailbox.clone(), told });
        lock(&self.watchers).push(watcher.clone());
        Watching { room: self.clone(), watcher }
    }

    fn wake_all(&self) {
        for watcher in lock(&self.watchers).iter() {
            watcher.tell();
        }
    }

    #[cfg(test)]
    pub(crate) fn forget_ring(&self) {
        self.change(&mut lock(&self.tail), |tail| tail.ring.clear());
    }
}

impl Drop for LiveRoom {
    fn drop(&mut self) {
        let bytes = self.tail.get_mut().unwrap_or_else(PoisonError::into_inner).bytes();
        self.rings_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One reader's interest in one room.
struct Watcher {
    room: RoomId,
    user: UserId,
    mailbox: Arc<Mailbox>,
    /// Whether the mailbox has been told since the reader last looked.
    told: AtomicBool,
}

impl Watcher {
    fn tell(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            lock(&self.mailbox.changed).push(self.room);
            self.mailbox.notify.notify_one();
        }
    }
}

/// Keeps a room in memory and its reader informed.
pub(crate) struct Watching {
    pub(crate) room: Arc<LiveRoom>,
    watcher: Arc<Watcher>,
}

impl Watching {
    /// To be called before looking at the room: what changes from here on is told again.
    pub(crate) fn looking(&self) {
        self.watcher.told.swap(false, Ordering::AcqRel);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = lock(&self.room.watchers);
        if let Some(at) = watchers.iter().position(|other| Arc::ptr_eq(other, &self.watcher)) {
            watchers.swap_remove(at);
        }
    }
}

/// Where a reader finds which of its rooms have changed: each at most once, however much happens.
#[derive(Default)]
pub(crate) struct Mailbox {
    changed: Mutex<Vec<RoomId>>,
    /// Rooms in which the reader's user has read on, or was mentioned.
    reads: Mutex<BTreeSet<RoomId>>,
    notify: Notify,
}

impl Mailbox {
    /// What has changed since the last call; `taken` must be empty, and its memory is used next.
    pub(crate) fn take(&self, taken: &mut Vec<RoomId>) {
        std::mem::swap(taken, &mut *lock(&self.changed));
    }

    /// Where the user has read on or was mentioned since the last call.
    pub(crate) fn take_reads(&self) -> BTreeSet<RoomId> {
        std::mem::take(&mut *lock(&self.reads))
    }

    /// Resolves when something has changed since the last [`take`](Self::take), or a little too often.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

/// Every change under these locks is applied after everything that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
