//! What a batch promises: all of it or nothing, and only while its checks hold.

use super::{
    Backend, append, assert_key_conflict, assert_room_conflict, guard, join_all, key, ok, put, read, records,
    room,
};
use crate::error::StoreError;
use crate::store::Store;
use crate::types::Batch;

pub(super) async fn an_empty_batch_is_accepted<B: Backend>(backend: &B) {
    let store = backend.create().await;
    assert_eq!(ok(store.commit(Batch::new()).await).version, 0);
}

pub(super) async fn a_batch_changes_keys_and_rooms_together<B: Backend>(backend: &B) {
    let store = backend.create().await;
    put(&store, "old", "v").await;
    let batch = Batch::new().put(key("a"), "1").put(key("b"), "2").delete(key("old"));
    let batch = batch.append(append(1, 0, &["x", "y"])).append(append(2, 0, &["z"]));
    let version = ok(store.commit(batch).await).version;

    for (name, value) in [("a", "1"), ("b", "2")] {
        let found = read(&store, name).await.expect("written");
        assert_eq!((found.version, &found.value[..]), (version, value.as_bytes()));
    }
    assert_eq!(read(&store, "old").await, None);
    assert_eq!(records(&store, 1).await, ["x", "y"]);
    assert_eq!(records(&store, 2).await, ["z"]);
}

/// Keys and rooms as they were before a batch that must not be applied, and the proof that they still are.
async fn apply_nothing<B: Backend>(backend: &B, spoil: impl Fn(Batch) -> Batch) -> StoreError {
    let store = backend.create().await;
    let version = put(&store, "kept", "before").await;
    ok(store.commit(Batch::new().append(append(1, 0, &["before"]))).await);
    let head = ok(store.head(room(1)).await);

    let batch = Batch::new().check(key("kept"), version).put(key("kept"), "after").put(key("new"), "after");
    let batch = batch.delete(key("other")).append(append(1, 1, &["after"]));
    let refused = store.commit(spoil(batch.clone())).await.expect_err("the spoilt batch must be refused");

    assert_eq!(read(&store, "kept").await.expect("untouched").value, "before");
    assert_eq!(read(&store, "new").await, None);
    assert_eq!(ok(store.head(room(1)).await), head);
    assert_eq!(ok(store.head(room(2)).await), None);
    assert_eq!(records(&store, 1).await, ["before"]);
    // The same batch without the spoiling goes through: nothing of the refused one is in its way.
    ok(store.commit(batch).await);
    assert_eq!(records(&store, 1).await, ["before", "after"]);
    refused
}

pub(super) async fn a_failed_check_applies_nothing<B: Backend>(backend: &B) {
    let refused = apply_nothing(backend, |batch| batch.check(key("absent"), 7)).await;
    assert_key_conflict::<()>(Err(refused), "absent", 7, 0);
}

pub(super) async fn a_failed_guard_applies_nothing<B: Backend>(backend: &B) {
    let refused = apply_nothing(backend, |batch| batch.append(append(2, 4, &["lost"]))).await;
    assert_room_conflict::<()>(Err(refused), 2, guard(1, 4), guard(1, 0));
}

pub(super) async fn version_zero_demands_absence<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let claim = |owner: &'static str| Batch::new().check(key("name"), 0).put(key("name"), owner);
    let version = ok(store.commit(claim("ada")).await).version;
    assert_key_conflict(store.commit(claim("eve")).await, "name", 0, version);
    assert_eq!(read(&store, "name").await.expect("claimed").value, "ada");

    ok(store.commit(Batch::new().check(key("name"), version).delete(key("name"))).await);
    ok(store.commit(claim("eve")).await);
    assert_eq!(read(&store, "name").await.expect("claimed").value, "eve");
}

pub(super) async fn a_check_alone_reports_whether_it_holds<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let version = put(&store, "k", "v").await;
    assert_eq!(ok(store.commit(Batch::new().check(key("k"), version)).await).version, 0);
    assert_key_conflict(store.commit(Batch::new().check(key("k"), 0)).await, "k", 0, version);
}

pub(super) async fn a_key_twice_in_one_batch_is_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    for batch in [
        Batch::new().put(key("k"), "1").put(key("k"), "2"),
        Batch::new().put(key("k"), "1").delete(key("k")),
        Batch::new().check(key("k"), 0).check(key("k"), 1),
    ] {
        let refused = store.commit(batch).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    }
    assert_eq!(read(&store, "k").await, None);
}

pub(super) async fn a_room_twice_in_one_batch_is_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let batch = Batch::new().append(append(1, 0, &["a"])).append(append(1, 1, &["b"]));
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    assert_eq!(ok(store.head(room(1)).await), None);
}

pub(super) async fn of_two_racing_writers_one_wins<B: Backend>(backend: &B) {
    let store = backend.create().await;
    // Read by all before any of them writes: who had read what another one wrote would rightly take its place.
    let seen = read(&store, "name").await;
    let claims = ["ada", "bob", "eve"].map(|owner| {
        let claim = Batch::new().check_read(key("name"), seen.as_ref()).put(key("name"), owner);
        let store = &store;
        async move { store.commit(claim).await.map(|_| owner) }
    });
    let outcomes = join_all(claims).await;
    let winners: Vec<_> = outcomes.iter().flatten().collect();
    let [winner] = winners[..] else { panic!("exactly one must win: {outcomes:?}") };
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().map_or_else(StoreError::is_conflict, |_| true)));
    assert_eq!(read(&store, "name").await.expect("claimed").value, winner.as_bytes());
}
