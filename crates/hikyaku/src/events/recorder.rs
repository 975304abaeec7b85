//! Counting events, and telling the log and an observer about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Event, Name};

/// Is told every event. It runs in the task that the event happened in, so it must be quick.
pub(crate) type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

/// An event, and the connection it happened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The connection's number, unique in this process; 0 for what concerns no single connection.
    pub connection: u64,
    /// What happened.
    pub event: Event,
}

/// How often each event has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; Name::ALL.len()]);

impl Counts {
    /// How often this event has happened.
    pub fn of(&self, name: Name) -> u64 {
        // There is one number for every name.
        self.0.get(name as usize).copied().unwrap_or(0)
    }

    /// Every name with its number, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (Name, u64)> + '_ {
        Name::ALL.iter().copied().zip(self.0.iter().copied())
    }
}

/// Where the events of a connection, or of a whole endpoint, are recorded.
pub(crate) struct Recorder {
    connection: u64,
    counts: Tally,
    observer: Option<Observer>,
    /// What happens on a connection counts for its endpoint, too.
    endpoint: Option<Arc<Recorder>>,
}

/// How often each event has happened so far.
enum Tally {
    /// On one connection, of which there are many: four bytes each. Who has counted to the end of them stays there.
    Connection([AtomicU32; Name::ALL.len()]),
    Endpoint(Box<[AtomicU64; Name::ALL.len()]>),
}

impl Tally {
    fn add(&self, name: Name, times: u64) {
        match self {
            Self::Connection(counts) => {
                let Some(count) = counts.get(name as usize) else { return };
                let times = u32::try_from(times).unwrap_or(u32::MAX);
                // Never `None`: there is always another value.
                let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    Some(count.saturating_add(times))
                });
            }
            Self::Endpoint(counts) => {
                if let Some(count) = counts.get(name as usize) {
                    count.fetch_add(times, Ordering::Relaxed);
                }
            }
        }
    }

    fn of(&self, index: usize) -> u64 {
        let count = match self {
            Self::Connection(counts) => counts.get(index).map(|count| count.load(Ordering::Relaxed).into()),
            Self::Endpoint(counts) => counts.get(index).map(|count| count.load(Ordering::Relaxed)),
        };
        count.unwrap_or(0)
    }
}

impl Recorder {
    /// For a server, or for one client's attempts to connect.
    pub(crate) fn endpoint(observer: Option<Observer>) -> Arc<Self> {
        let counts = Tally::Endpoint(Box::new([const { AtomicU64::new(0) }; Name::ALL.len()]));
        Arc::new(Self { connection: 0, counts, observer, endpoint: None })
    }

    /// For one connection of this endpoint.
    pub(crate) fn connection(self: &Arc<Self>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            connection: NEXT.fetch_add(1, Ordering::Relaxed),
            counts: Tally::Connection([const { AtomicU32::new(0) }; Name::ALL.len()]),
            observer: self.observer.clone(),
            endpoint: Some(self.clone()),
        })
    }

    /// The connection's number; 0 for an endpoint.
    pub(crate) fn number(&self) -> u64 {
        self.connection
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts(std::array::from_fn(|index| self.counts.of(index)))
    }

    /// Counts an event; true when somebody wants to hear more of it. Use the macro `event!`.
    pub(crate) fn count(&self, name: Name, times: u64) -> bool {
        for recorder in [Some(self), self.endpoint.as_deref()].into_iter().flatten() {
            recorder.counts.add(name, times);
        }
        self.observer.is_some() || name.is_logged()
    }

    /// Tells whoever wants to hear.
    pub(crate) fn tell(&self, event: Event) {
        event.log(self.connection);
        if let Some(observer) = &self.observer {
            observer(&Record { connection: self.connection, event });
        }
    }
}

/// Records an event: `event!(recorder, LimitReached { limit: "max_connections", value, owner: By::Us })`. The fields are
/// evaluated only when somebody wants to hear them. `event!(recorder, times = 3, …)` counts it more than once.
macro_rules! event {
    ($recorder:expr, $variant:ident { $($fields:tt)* }) => {
        $crate::events::event!($recorder, times = 1, $variant { $($fields)* })
    };
    ($recorder:expr, times = $times:expr, $variant:ident { $($fields:tt)* }) => {{
        let recorder: &$crate::events::Recorder = &$recorder;
        if recorder.count($crate::events::Name::$variant, $times) {
            recorder.tell($crate::events::Event::$variant { $($fields)* });
        }
    }};
}

pub(crate) use event;
