//! Reader threads: each has a read-only connection of its own, so a read waits neither for the writer nor, unless all
//! are busy, for another read.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use hikyaku_storage::StoreError;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use crate::error::OpenError;
use crate::file;
use crate::schema::FORMAT;
use crate::store::Health;

const THREADS: usize = 4;
/// Reads that may wait for a thread; further ones wait for a place in the queue.
const QUEUE: usize = 1_024;

type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(crate) struct Readers {
    /// `None` only while being dropped.
    jobs: Option<Sender<Job>>,
    places: Arc<Semaphore>,
    health: Arc<Health>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(path: &Path, health: Arc<Health>) -> Result<Self, OpenError> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let places = Arc::new(Semaphore::new(QUEUE));
        let mut readers = Self { jobs: Some(jobs), places, health, threads: Vec::new() };
        for number in 0..THREADS {
            let connection = file::open_read_only(path, FORMAT)?;
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name(format!("store-reader-{number}"));
            let thread = thread.spawn(move || serve(&connection, &queue));
            readers.threads.push(thread.map_err(|error| OpenError::io(path, error))?);
        }
        Ok(readers)
    }

    /// Runs `query` on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _place = place;
            // A caller that has gone away does not cost a read.
            if !answer.is_closed() {
                let _ = answer.send(query(connection));
            }
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        match answered.await {
            Ok(result) => result.map_err(|error| self.health.judge_read(&error)),
            Err(_) => Err(self.health.fail(format!("a reader thread ended (job taken: {sent})"))),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, queue: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting: one idle thread waits for a job, the others for the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(connection),
            Err(_) => return,
        }
    }
}
