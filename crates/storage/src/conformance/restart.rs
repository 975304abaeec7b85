//! What survives when a store is closed and opened again: everything that was acknowledged.

use super::history::{raise, replace, trim};
use super::{Backend, append, guard, key, ok, put, read, records, room};
use crate::store::Store;
use crate::types::Batch;

pub(super) async fn what_was_committed_survives_a_reopening<B: Backend>(backend: &B) {
    let store = backend.create().await;
    put(&store, "kept", "value").await;
    put(&store, "gone", "value").await;
    ok(store.commit(Batch::new().delete(key("gone")).append(append(1, 0, &["a", "b"]))).await);
    let before = (read(&store, "kept").await, ok(store.head(room(1)).await));

    let store = backend.reopen(store).await;
    assert_eq!((read(&store, "kept").await, ok(store.head(room(1)).await)), before);
    assert_eq!(read(&store, "gone").await, None);
    assert_eq!(records(&store, 1).await, ["a", "b"]);
    ok(store.commit(Batch::new().append(append(1, 2, &["c"]))).await);
    assert_eq!(records(&store, 1).await, ["a", "b", "c"]);
}

pub(super) async fn versions_go_on_rising_after_a_reopening<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let before = put(&store, "k", "first life").await;
    ok(store.commit(Batch::new().delete(key("k"))).await);
    // The deleted key was the newest: its version must be remembered although no key has it.
    let store = backend.reopen(store).await;
    let after = put(&store, "k", "second life").await;
    assert!(after > before, "{after} after {before}");
}

pub(super) async fn trims_erasures_and_epochs_survive_a_reopening<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a", "secret", "c"]))).await);
    ok(store.commit(Batch::new().trim(trim(1, 1, 2)).replace(replace(2, "secret", "-"))).await);
    ok(store.commit(Batch::new().raise(raise(guard(1, 3), 2))).await);
    let before = (ok(store.head(room(1)).await), ok(store.events(room(1), 1, 10, 1_000).await));
    let store = backend.reopen(store).await;
    assert_eq!((ok(store.head(room(1)).await), ok(store.events(room(1), 1, 10, 1_000).await)), before);
}
