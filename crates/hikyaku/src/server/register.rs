//! Who is connected: from the moment a key has been proved, before anybody has looked it up, to the session's end.
//!
//! Because a connection is entered before it is authorised, revoking a device misses none that was looked up a moment
//! too early, and the limit on connections cannot be overrun by those that are being looked up. Spec: chapter 6.

use std::collections::HashMap;
use std::collections::hash_map::Entry::Occupied;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_wire::codes::ErrorCode;

use super::Shared;
use crate::connection::Connection;
use crate::error::Failure;
use crate::identity::KeyId;
use crate::limits::Limits;
use crate::transport::Link;

/// The connections of one server.
#[derive(Default)]
pub(super) struct Register {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    /// The server drains: nobody else comes in.
    shut: bool,
    by_number: HashMap<u64, Entry>,
    /// How many of them each key has.
    by_key: HashMap<KeyId, usize>,
}

/// Small: there is one for each connection, and places for more.
enum Entry {
    /// Nobody has looked it up yet.
    Waiting(Box<(KeyId, Link)>),
    /// It was authorised.
    Live(Connection),
}

impl Entry {
    fn peer(&self) -> KeyId {
        match self {
            Self::Waiting(entry) => entry.0,
            Self::Live(connection) => connection.peer(),
        }
    }

    fn link(&self) -> &Link {
        match self {
            Self::Waiting(entry) => &entry.1,
            Self::Live(connection) => connection.link(),
        }
    }

    fn connection(&self) -> Option<Connection> {
        match self {
            Self::Waiting(_) => None,
            Self::Live(connection) => Some(connection.clone()),
        }
    }
}

/// A place in the register, held as long as the connection; dropping it closes what is not closed yet.
pub(super) struct Slot<C: Send + Sync + 'static> {
    shared: Arc<Shared<C>>,
    number: u64,
}

/// Why a connection found no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The server drains.
    Shut,
    /// There are so many connections already.
    All(usize),
    /// The key has so many already.
    OfKey(usize),
}

impl NoPlace {
    /// What the peer is told.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Shut => Failure::new(ErrorCode::GOING_AWAY, "this server is shutting down"),
            Self::All(limit) => {
                let reason = format!("this server takes {limit} connections (max_connections), and has them");
                Failure::new(ErrorCode::LIMIT_EXCEEDED, reason)
            }
            Self::OfKey(limit) => {
                let reason = format!(
                    "this server takes {limit} connections of one key (max_connections_per_key), and has them"
                );
                Failure::new(ErrorCode::LIMIT_EXCEEDED, reason)
            }
        }
    }
}

impl Register {
    /// Enters a connection whose peer has proved its key, unless there are as many as `limits` permits, where there are
    /// some, or the server drains.
    pub(super) fn enter<C: Send + Sync>(
        shared: &Arc<Shared<C>>,
        peer: KeyId,
        link: &Link,
        limits: Option<&Limits>,
    ) -> Result<Slot<C>, NoPlace> {
        let mut entries = shared.register.lock();
        if entries.shut {
            return Err(NoPlace::Shut);
        }
        if let Some(Limits { max_connections: all, max_connections_per_key: of_key, .. }) = limits {
            if entries.by_number.len() >= *all {
                return Err(NoPlace::All(*all));
            }
            if entries.by_key.get(&peer).is_some_and(|has| has >= of_key) {
                return Err(NoPlace::OfKey(*of_key));
            }
        }
        let number = entries.next;
        entries.next += 1;
        *entries.by_key.entry(peer).or_insert(0) += 1;
        entries.by_number.insert(number, Entry::Waiting(Box::new((peer, link.clone()))));
        drop(entries);
        Ok(Slot { shared: shared.clone(), number })
    }

    /// The authorised connections.
    pub(super) fn connections(&self) -> Vec<Connection> {
        self.lock().by_number.values().filter_map(Entry::connection).collect()
    }

    /// Closes the live connections of `peer`; returns how many.
    pub(super) fn close_peer(&self, peer: KeyId, code: ErrorCode, reason: &str) -> usize {
        let entries = self.lock();
        let live = entries.by_number.values().filter(|entry| entry.peer() == peer);
        live.map(Entry::link)
            .filter(|link| link.close_reason().is_none())
            .map(|link| link.close(code.0, reason))
            .count()
    }

    /// Lets nobody in any more; returns the connections that may finish. Those not yet authorised are closed.
    pub(super) fn shut(&self) -> Vec<Connection> {
        let mut entries = self.lock();
        entries.shut = true;
        let waiting = entries.by_number.values().filter(|entry| matches!(entry, Entry::Waiting(_)));
        waiting.for_each(|entry| entry.link().close(ErrorCode::GOING_AWAY.0, "this server is shutting down"));
        entries.by_number.values().filter_map(Entry::connection).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Single insertions and removals: a panic elsewhere leaves the map whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Send + Sync + 'static> Slot<C> {
    /// Notes that the connection was authorised.
    pub(super) fn set(&self, connection: &Connection) {
        if let Some(entry) = self.shared.register.lock().by_number.get_mut(&self.number) {
            *entry = Entry::Live(connection.clone());
        }
    }
}

impl<C: Send + Sync + 'static> Drop for Slot<C> {
    fn drop(&mut self) {
        let mut entries = self.shared.register.lock();
        let removed = entries.by_number.remove(&self.number);
        if let Some(entry) = &removed
            && let Occupied(mut has) = entries.by_key.entry(entry.peer())
        {
            *has.get_mut() -= 1;
            if *has.get() == 0 {
                has.remove();
            }
        }
        drop(entries);
        if let Some(entry) = removed {
            // No-op after a session; otherwise something went wrong before there was one.
            entry.link().close(ErrorCode::INTERNAL_ERROR.0, "the connection could not be taken in");
        }
    }
}
