//! The trait itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::StoreError;
use crate::types::{Batch, Committed, Head, Key, Page, RoomId, Versioned};

/// What a store's methods return: a boxed future, so that `Arc<dyn Store>` works.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Versioned keys and dense room logs, changed only by atomic conditional batches.
///
/// A read sees every batch whose commit resolved before the read began, and never a part of a batch; one call sees one
/// moment. Batches are applied in the order in which their futures were first polled. A commit future that is dropped
/// leaves its batch applied or not applied, never half.
pub trait Store: Send + Sync + 'static {
    /// Applies a batch if all its checks and guards hold; durable when it resolves to `Ok`.
    fn commit(&self, batch: Batch) -> Pending<'_, Committed>;

    /// The value under a key.
    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>>;

    /// The values under several keys, in the order of the keys, all of one moment.
    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>>;

    /// Keys that begin with `prefix`, in bytewise order, after the key `after` if one is given.
    ///
    /// At most `limit` entries; a page may also end early to keep within
    /// [`MAX_PAGE_ITEMS`](crate::limits::MAX_PAGE_ITEMS) and [`MAX_PAGE_BYTES`](crate::limits::MAX_PAGE_BYTES).
    /// Go on after the last key of a page until a page is empty.
    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>>;

    /// Where a room stands; `None` for a room nobody has appended to.
    fn head(&self, room: RoomId) -> Pending<'_, Option<Head>>;

    /// Where several rooms stand, in the order of the rooms, all of one moment.
    fn heads(&self, rooms: Vec<RoomId>) -> Pending<'_, Vec<Option<Head>>>;

    /// Events of a room from the sequence number `from` on, oldest first.
    ///
    /// At most `max_count` events and `max_bytes` bytes of records, except that the first event is given however large
    /// it is, so a reader always gets on (unless `max_count` is 0). A page also keeps within
    /// [`MAX_PAGE_ITEMS`](crate::limits::MAX_PAGE_ITEMS) and [`MAX_PAGE_BYTES`](crate::limits::MAX_PAGE_BYTES).
    /// Events before the head's `first` are gone: the answer then begins at `first`. The page says the epoch, the
    /// first and the last event of the same moment; an unknown room answers as one that is empty.
    fn events(&self, room: RoomId, from: u64, max_count: usize, max_bytes: usize) -> Pending<'_, Page>;

    /// The first sequence number whose time is at or after `ts_ms`; one past the last when there is none.
    fn seq_at(&self, room: RoomId, ts_ms: u64) -> Pending<'_, u64>;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        (**self).commit(batch)
    }

    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>> {
        (**self).get(key)
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>> {
        (**self).get_many(keys)
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>> {
        (**self).scan(prefix, after, limit)
    }

    fn head(&self, room: RoomId) -> Pending<'_, Option<Head>> {
        (**self).head(room)
    }

    fn heads(&self, rooms: Vec<RoomId>) -> Pending<'_, Vec<Option<Head>>> {
        (**self).heads(rooms)
    }

    fn events(&self, room: RoomId, from: u64, max_count: usize, max_bytes: usize) -> Pending<'_, Page> {
        (**self).events(room, from, max_count, max_bytes)
    }

    fn seq_at(&self, room: RoomId, ts_ms: u64) -> Pending<'_, u64> {
        (**self).seq_at(room, ts_ms)
    }
}
