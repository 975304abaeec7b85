//! The last events in memory: what a test asks "did exactly this happen?".

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Event, Record};

/// Records kept; beyond it the oldest go.
const KEPT: usize = 100_000;

/// Keeps what it observes. Cloning shares it.
///
/// ```no_run
/// # async fn example(builder: hikyaku::Connect) -> hikyaku::Result<()> {
/// use hikyaku::events::{Event, Log};
/// let log = Log::default();
/// let connection = builder.observe(log.observer()).await?;
/// assert_eq!(log.count(|event| matches!(event, Event::TransportWon { .. })), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    records: Mutex<VecDeque<Record>>,
    arrived: Notify,
}

impl Log {
    /// What fills it: give it to a server or to a client that is about to connect.
    pub fn observer(&self) -> impl Fn(&Record) + Send + Sync + 'static {
        let log = self.clone();
        move |record: &Record| {
            let mut records = log.records_mut();
            if records.len() == KEPT {
                records.pop_front();
            }
            records.push_back(record.clone());
            drop(records);
            log.shared.arrived.notify_waiters();
        }
    }

    /// Everything so far.
    pub fn records(&self) -> Vec<Record> {
        self.records_mut().iter().cloned().collect()
    }

    /// How many such events there were.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.records_mut().iter().filter(|record| wanted(&record.event)).count()
    }

    /// Waits for the first such event.
    pub async fn until(&self, wanted: impl Fn(&Event) -> bool) -> Record {
        self.until_count(1, wanted).await
    }

    /// Waits until there were `count` such events; returns the last of them.
    pub async fn until_count(&self, count: usize, wanted: impl Fn(&Event) -> bool) -> Record {
        loop {
            let arrived = self.shared.arrived.notified();
            let found = {
                let records = self.records_mut();
                records.iter().filter(|record| wanted(&record.event)).nth(count.saturating_sub(1)).cloned()
            };
            match found {
                Some(record) => return record,
                None => arrived.await,
            }
        }
    }

    fn records_mut(&self) -> MutexGuard<'_, VecDeque<Record>> {
        // One push at a time: nothing is ever half done.
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
