//! Who is connected: from the moment a key has been proved, before anybody has looked it up, to the session's end.
//!
//! Because a connection is entered before it is authorised, revoking a device misses none that was looked up a moment
//! too early, and the limit on connections cannot be overrun by those that are being looked up. Spec: chapter 6.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_wire::codes::ErrorCode;

use super::Shared;
use crate::connection::Connection;
use crate::error::Failure;
use crate::identity::KeyId;
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
}

struct Entry {
    peer: KeyId,
    link: Link,
    /// Once it was authorised.
    connection: Option<Connection>,
}

/// A place in the register, held as long as the connection; dropping it closes what is not closed yet.
pub(super) struct Slot<C: Send + Sync + 'static> {
    shared: Arc<Shared<C>>,
    number: u64,
}

impl Register {
    /// Enters a connection whose peer has proved its key, unless there are `limit` already or the server drains.
    pub(super) fn enter<C: Send + Sync>(
        shared: &Arc<Shared<C>>,
        peer: KeyId,
        link: &Link,
        limit: usize,
    ) -> Result<Slot<C>, Failure> {
        let mut entries = shared.register.lock();
        if entries.shut {
            return Err(Failure::new(ErrorCode::GOING_AWAY, "this server is shutting down"));
        }
        if entries.by_number.len() >= limit {
            let reason = format!("this server takes {limit} connections (max_connections), and has them");
            return Err(Failure::new(ErrorCode::LIMIT_EXCEEDED, reason));
        }
        let number = entries.next;
        entries.next += 1;
        entries.by_number.insert(number, Entry { peer, link: link.clone(), connection: None });
        drop(entries);
        Ok(Slot { shared: shared.clone(), number })
    }

    /// The authorised connections.
    pub(super) fn connections(&self) -> Vec<Connection> {
        self.lock().by_number.values().filter_map(|entry| entry.connection.clone()).collect()
    }

    /// Closes the live connections of `peer`; returns how many.
    pub(super) fn close_peer(&self, peer: KeyId, code: ErrorCode, reason: &str) -> usize {
        let entries = self.lock();
        let live = entries.by_number.values().filter(|entry| entry.peer == peer);
        live.filter(|entry| entry.link.close_reason().is_none())
            .map(|entry| entry.link.close(code.0, reason))
            .count()
    }

    /// Lets nobody in any more; returns the connections that may finish. Those not yet authorised are closed.
    pub(super) fn shut(&self) -> Vec<Connection> {
        let mut entries = self.lock();
        entries.shut = true;
        let waiting = entries.by_number.values().filter(|entry| entry.connection.is_none());
        waiting.for_each(|entry| entry.link.close(ErrorCode::GOING_AWAY.0, "this server is shutting down"));
        entries.by_number.values().filter_map(|entry| entry.connection.clone()).collect()
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
            entry.connection = Some(connection.clone());
        }
    }
}

impl<C: Send + Sync + 'static> Drop for Slot<C> {
    fn drop(&mut self) {
        let removed = self.shared.register.lock().by_number.remove(&self.number);
        if let Some(entry) = removed {
            // No-op after a session; otherwise something went wrong before there was one.
            entry.link.close(ErrorCode::INTERNAL_ERROR.0, "the connection could not be taken in");
        }
    }
}
