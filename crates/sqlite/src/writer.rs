//! The writer thread: takes every batch that is waiting, applies them in one transaction, and answers after its commit.
//!
//! While one commit waits for the disk, the next group gathers by itself; nobody waits on purpose. Within a group each
//! batch is judged on its own: its checks and guards are read before anything of it is written, so a conflict leaves
//! nothing behind. An error while writing rolls the whole group back. If the disk was full, each batch is then tried
//! alone; after any other error nobody can say what is on the disk, so the store goes out of service.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use hikyaku_storage::{Append, Batch, Committed, Head, StoreError, limits};
use rusqlite::{Connection, ErrorCode, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::OpenError;
use crate::queries::{self, signed};
use crate::store::Health;

/// Places in the queue: one a batch, and one more for each [`BYTES_PER_PLACE`] of it.
const QUEUE: usize = 1_024;
const BYTES_PER_PLACE: usize = 64 << 10;
/// The most batches in one transaction.
const GROUP: usize = 256;
/// The write-ahead log is copied into the file when it has grown to this many pages.
const CHECKPOINT_PAGES: i64 = 1_000;

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
        let mut group = Group { connection, version, health: Arc::clone(&health) };
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
    puts.chain(events).sum()
}

/// What ended a whole transaction.
enum Failure {
    Full,
    /// Another process kept the write lock; nothing was begun.
    Busy,
    Fatal(String),
}

/// What a batch may build on: for each append the room's number and head, `None` for a room still to be made.
type Verdict = Result<Vec<Option<(i64, Head)>>, StoreError>;

/// The writer's own side of the queue.
struct Group {
    connection: Connection,
    /// The last version given.
    version: u64,
    health: Arc<Health>,
}

impl Group {
    fn serve(&mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut requests = vec![first];
            requests.extend(queue.try_iter().take(GROUP - 1));
            self.answer(requests);
            self.checkpoint();
        }
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
        let before = self.version;
        let outcomes = self.transact(batches).map_err(|error| {
            self.version = before;
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
        let before = self.version;
        let outcomes = batches.iter().map(|batch| self.apply(batch)).collect::<rusqlite::Result<Vec<_>>>()?;
        if self.version != before {
            let sql = "UPDATE counters SET value = ?1 WHERE name = 'version'";
            self.connection.prepare_cached(sql)?.execute([signed(self.version)])?;
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
        let heads = match self.judge(batch)? {
            Ok(heads) => heads,
            Err(refused) => return Ok(Err(refused)),
        };
        let version = self.put(batch)?;
        for (append, head) in batch.appends.iter().zip(heads) {
            self.append(append, head)?;
        }
        Ok(Ok(Committed { version }))
    }

    /// The heads the appends build on, or the first check or guard that does not hold.
    fn judge(&self, batch: &Batch) -> rusqlite::Result<Verdict> {
        let mut version = self.connection.prepare_cached("SELECT version FROM keys WHERE key = ?1")?;
        for (key, expected) in &batch.checks {
            let mut rows = version.query([key.as_bytes()])?;
            let found = rows.next()?.map_or(Ok(0), |row| queries::unsigned(row, 0))?;
            if let Err(conflict) = limits::check_version(key, *expected, found) {
                return Ok(Err(conflict));
            }
        }
        let mut heads = Vec::with_capacity(batch.appends.len());
        for append in &batch.appends {
            let found = queries::numbered_head(&self.connection, append.room)?;
            if let Err(refused) = limits::check_guard(append, found.as_ref().map(|(_, head)| head)) {
                return Ok(Err(refused));
            }
            heads.push(found);
        }
        Ok(Ok(heads))
    }

    fn put(&mut self, batch: &Batch) -> rusqlite::Result<u64> {
        if batch.puts.is_empty() {
            return Ok(0);
        }
        self.version += 1;
        let sql = "INSERT INTO keys VALUES (?1, ?2, ?3)
                   ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value";
        let mut put = self.connection.prepare_cached(sql)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?;
        for (key, value) in &batch.puts {
            match value {
                Some(value) => put.execute(params![key.as_bytes(), signed(self.version), &value[..]])?,
                None => delete.execute([key.as_bytes()])?,
            };
        }
        Ok(self.version)
    }

    fn append(&self, append: &Append, head: Option<(i64, Head)>) -> rusqlite::Result<()> {
        let number = match head {
            Some((number, _)) => number,
            None => {
                let sql = "INSERT INTO rooms (id, epoch, first, last, last_ts, state) VALUES (?1, ?2, 1, 0, 0, x'')";
                let mut create = self.connection.prepare_cached(sql)?;
                create.insert(params![&append.room.0[..], append.guard.epoch])?
            }
        };
        let mut insert = self.connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
        let mut last = append.guard.expect_last;
        for event in &append.events {
            last += 1;
            insert.execute(params![number, signed(last), signed(event.ts_ms), &event.record[..]])?;
        }
        // No event leaves the room's last time as it was.
        let last_ts = append.events.last().map(|event| signed(event.ts_ms));
        let sql = "UPDATE rooms SET last = ?2, last_ts = coalesce(?3, last_ts), state = ?4 WHERE number = ?1";
        let mut update = self.connection.prepare_cached(sql)?;
        update.execute(params![number, signed(last), last_ts, &append.state[..]])?;
        Ok(())
    }

    /// Copies the log into the file once it is long enough. Callers have their answers already.
    fn checkpoint(&self) {
        if self.health.check().is_err() {
            return;
        }
        let pages = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
        let copied = match pages {
            Ok(pages) if pages < CHECKPOINT_PAGES => return,
            Ok(_) => self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            match error.sqlite_error_code() {
                // Everything is safe in the log; the next group tries again.
                Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    tracing::warn!(%error, "the store's log could not be copied into its file yet");
                }
                _ => drop(self.health.fail(format!("copying the log into the file failed: {error}"))),
            }
        }
    }
}
