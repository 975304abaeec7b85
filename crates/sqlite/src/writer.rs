//! The writer thread: takes every batch that is waiting, applies them in one transaction, and answers after its commit.
//!
//! While one commit waits for the disk, the next group gathers by itself; only in a [crowd](crate::crowd) does a commit
//! wait a moment on purpose. Within a group each batch is judged on its own, and a conflict leaves nothing behind (see
//! [`apply`]). An error while writing rolls the whole group back. If
//! the disk was full, each batch is then tried alone; after any other error nobody can say what is on the disk, so the
//! store goes out of service.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hikyaku_storage::{Batch, Committed, StoreError, limits};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::apply::apply;
use crate::copier::{self, Copier, Log};
use crate::crowd::{Crowd, LINGER};
use crate::error::OpenError;
use crate::file;
use crate::queries::{self, signed};
use crate::store::Health;

/// Places in the queue: one a batch, and one more for each [`BYTES_PER_PLACE`] of it.
const QUEUE: usize = 1_024;
const BYTES_PER_PLACE: usize = 64 << 10;
/// The most batches in one transaction.
const GROUP: usize = 256;
/// The write-ahead log is never longer than this when a commit ends, and two such commits apart from readers of an old
/// moment: the writer then copies it itself, however long that takes.
const LONGEST_LOG: i64 = 2 * copier::PAGES;
/// How long what was erased may still stand in the log while readers are in the way and nothing is written.
const ERASE_AGAIN: Duration = Duration::from_millis(100);
/// Versions put aside at once, so that not every commit writes down the last one.
const VERSIONS: u64 = 1_024;

struct Request {
    batch: Batch,
    answer: oneshot::Sender<Result<Committed, StoreError>>,
    _places: OwnedSemaphorePermit,
}

/// The writer as its callers see it.
pub(crate) struct Writer {
    /// `None` only while being dropped.
    requests: Option<Sender<Request>>,
    places: Arc<Semaphore>,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(connection: Connection, path: &Path, health: Arc<Health>) -> Result<Self, OpenError> {
        let sql = "SELECT value FROM counters WHERE name = 'version'";
        let version = connection.query_row(sql, [], |row| queries::unsigned(row, 0));
        let version = version.map_err(|error| OpenError::sqlite(path, error))?;
        // From here on the thread decides when to copy the log, so that no commit waits for it.
        let manual = connection.pragma_update(None, "wal_autocheckpoint", 0);
        manual.map_err(|error| OpenError::sqlite(path, error))?;

        let (requests, queue) = mpsc::channel();
        let crowd = Crowd::default();
        let copier = Copier::start(path, Arc::clone(&health))?;
        let mut group = Group {
            connection,
            copier,
            version,
            reserved: version,
            erased: true,
            copied: false,
            crowd,
            health: Arc::clone(&health),
        };
        let thread = thread::Builder::new().name("store-writer".to_owned());
        let thread = thread.spawn(move || group.serve(&queue));
        let thread = thread.map_err(|error| OpenError::io(path, error))?;
        let places = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { requests: Some(requests), places, health, thread: Some(thread) })
    }

    /// Queues a batch and waits until it is durable or refused.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        limits::check_batch(&batch)?;
        self.health.check()?;
        let wanted = u32::try_from(1 + bytes_of(&batch) / BYTES_PER_PLACE).unwrap_or(u32::MAX);
        let places = Arc::clone(&self.places).acquire_many_owned(wanted).await;
        let closed = || self.health.fail("the writer thread ended".to_owned());
        let (answer, answered) = oneshot::channel();
        let request = Request { batch, answer, _places: places.map_err(|_| closed())? };
        self.requests.as_ref().and_then(|requests| requests.send(request).ok()).ok_or_else(closed)?;
        answered.await.map_err(|_| closed())?
    }
}

impl Drop for Writer {
    /// Lets the thread finish what is queued, then waits for it.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bytes_of(batch: &Batch) -> usize {
    let puts = batch.puts.iter().map(|(_, value)| value.as_ref().map_or(0, |value| value.len()));
    let events = batch.appends.iter().flat_map(|append| &append.events).map(|event| event.record.len());
    let replaces = batch.replaces.iter().map(|replace| replace.expect.len() + replace.record.len());
    puts.chain(events).chain(replaces).sum()
}

/// What ended a whole transaction.
enum Failure {
    Full,
    /// Another process kept the write lock; nothing was begun.
    Busy,
    Fatal(String),
}

/// The writer's own side of the queue.
struct Group {
    // Dropped in this order: whoever closes the file last tidies the log away.
    copier: Copier,
    connection: Connection,
    /// The last version given.
    version: u64,
    /// The last version that may be given before more are put aside.
    reserved: u64,
    /// Whether the log still holds what a batch has erased or trimmed.
    erased: bool,
    /// Whether the copier was sent, and what it left is still to be copied.
    copied: bool,
    crowd: Crowd,
    health: Arc<Health>,
}

impl Group {
    fn serve(&mut self, queue: &Receiver<Request>) {
        while let Some(first) = self.next(queue) {
            if self.crowd.is_worth_waiting_for(Instant::now()) {
                thread::sleep(LINGER);
            }
            let mut requests = vec![first];
            requests.extend(queue.try_iter().take(GROUP - 1));
            self.crowd.came(requests.iter().map(|request| &request.batch), Instant::now());
            self.answer(requests);
            self.checkpoint();
        }
    }

    /// Waits for the next batch, and meanwhile for a moment without readers if the log is to be emptied.
    fn next(&mut self, queue: &Receiver<Request>) -> Option<Request> {
        while self.erased && self.health.check().is_ok() {
            match queue.recv_timeout(ERASE_AGAIN) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        queue.recv().ok()
    }

    fn answer(&mut self, requests: Vec<Request>) {
        let (batches, answers): (Vec<_>, Vec<_>) =
            requests.into_iter().map(|request| (request.batch, (request.answer, request._places))).unzip();
        let outcomes = match self.commit(&batches) {
            Err(Failure::Full) if batches.len() > 1 => {
                batches.iter().flat_map(|batch| self.commit_or_say_why(std::slice::from_ref(batch))).collect()
            }
            Ok(outcomes) => outcomes,
            Err(failure) => self.refuse(&failure, batches.len()),
        };
        for ((answer, _places), outcome) in answers.into_iter().zip(outcomes) {
            // The caller may have gone away; the batch stands all the same.
            let _ = answer.send(outcome);
        }
    }

    fn commit_or_say_why(&mut self, batches: &[Batch]) -> Vec<Result<Committed, StoreError>> {
        self.commit(batches).unwrap_or_else(|failure| self.refuse(&failure, batches.len()))
    }

    fn refuse(&self, failure: &Failure, count: usize) -> Vec<Result<Committed, StoreError>> {
        let error = match failure {
            Failure::Full => StoreError::Full,
            Failure::Busy => StoreError::Failed("another process keeps the store locked".to_owned()),
            Failure::Fatal(reason) => self.health.fail(reason.clone()),
        };
        vec![Err(error); count]
    }

    /// One transaction: an outcome for every batch, all of them durable, or nothing at all.
    fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Result<Committed, StoreError>>, Failure> {
        if let Err(StoreError::Fatal(reason)) = self.health.check() {
            return Err(Failure::Fatal(reason));
        }
        let before = (self.version, self.reserved);
        let outcomes = self.transact(batches).map_err(|error| {
            (self.version, self.reserved) = before;
            self.roll_back(&error)
        })?;
        let applied = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if applied > 0 {
            self.health.commits.fetch_add(1, Ordering::Relaxed);
            self.health.batches.fetch_add(u64::try_from(applied).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Ok(outcomes)
    }

    fn transact(&mut self, batches: &[Batch]) -> rusqlite::Result<Vec<Result<Committed, StoreError>>> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let outcomes = batches.iter().map(|batch| self.apply(batch)).collect::<rusqlite::Result<Vec<_>>>()?;
        if self.version > self.reserved {
            self.reserved = self.version + VERSIONS;
            let sql = "UPDATE counters SET value = ?1 WHERE name = 'version'";
            self.connection.prepare_cached(sql)?.execute([signed(self.reserved)])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(outcomes)
    }

    /// Ends a failed transaction and says what its failure means.
    fn roll_back(&self, error: &rusqlite::Error) -> Failure {
        let begun = !self.connection.is_autocommit();
        if begun && let Err(second) = self.connection.execute_batch("ROLLBACK") {
            return Failure::Fatal(format!(
                "{error}; and the transaction could not be rolled back: {second}"
            ));
        }
        match error.sqlite_error_code() {
            // The last page written carries the commit, so a disk that was full did not take it.
            Some(ErrorCode::DiskFull) => Failure::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if !begun => Failure::Busy,
            _ => Failure::Fatal(error.to_string()),
        }
    }

    /// Judges one batch, and only then writes it.
    fn apply(&mut self, batch: &Batch) -> rusqlite::Result<Result<Committed, StoreError>> {
        let version = if batch.puts.is_empty() { 0 } else { self.version + 1 };
        if let Err(refused) = apply(&self.connection, batch, version)? {
            return Ok(Err(refused));
        }
        self.version = self.version.max(version);
        self.erased |= !(batch.replaces.is_empty() && batch.trims.is_empty());
        Ok(Ok(Committed { version }))
    }

    /// Copies the log into the file once it is long enough, or once it holds what was erased. Callers have their
    /// answers already.
    fn checkpoint(&mut self) {
        if self.health.check().is_err() {
            return;
        }
        if let Err(error) = self.copy_log() {
            // The next group tries again.
            copier::judge(&self.health, &error);
        }
    }

    fn copy_log(&mut self) -> rusqlite::Result<()> {
        let log = Log::of(&self.connection)?;
        let ends = self.copied && log.left <= copier::FEW_PAGES;
        if !self.copier.is_busy() {
            if ends || log.pages >= LONGEST_LOG {
                self.copied = false;
                Log::copy(&self.connection)?;
            } else if log.left >= copier::PAGES {
                self.copied = true;
                self.copier.begin();
            }
        }
        if self.erased {
            // What was erased still stands in the log as it was appended. Emptying the log takes a moment without
            // readers; where there is none, it is tried again soon.
            self.connection.busy_timeout(Duration::ZERO)?;
            let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy = self.connection.query_row(empty, [], |row| row.get::<_, i64>(0));
            self.connection.busy_timeout(file::BUSY_TIMEOUT)?;
            self.erased = busy? != 0;
        }
        Ok(())
    }
}
