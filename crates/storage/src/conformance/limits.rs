//! Every limit, at N and at N + 1.

use bytes::Bytes;

use super::{Backend, append, assert_limit, key, ok, room};
use crate::limits;
use crate::store::Store;
use crate::types::{Append, Batch, Key, NewEvent};

/// `size` bytes that no compression or terminator shortens.
fn filled(size: usize) -> Bytes {
    (0..size).map(|n| u8::try_from(n % 251).unwrap_or_default()).collect()
}

fn over(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX) + 1
}

pub(super) async fn a_key_at_the_limit_is_kept_and_above_it_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let [fits, long] = [limits::MAX_KEY, limits::MAX_KEY + 1].map(|size| Key::new(filled(size)));
    ok(store.commit(Batch::new().check(fits.clone(), 0).put(fits.clone(), "v")).await);
    assert_eq!(ok(store.get(&fits).await).expect("kept").value, "v");
    assert_eq!(ok(store.scan(fits.clone(), None, 2).await).len(), 1);

    assert_limit(
        store.commit(Batch::new().put(long.clone(), "v")).await,
        over(limits::MAX_KEY),
        limits::MAX_KEY,
    );
    assert_limit(
        store.commit(Batch::new().check(long.clone(), 0)).await,
        over(limits::MAX_KEY),
        limits::MAX_KEY,
    );
    assert_limit(store.get(&long).await, over(limits::MAX_KEY), limits::MAX_KEY);
    assert_limit(store.get_many(vec![long.clone()]).await, over(limits::MAX_KEY), limits::MAX_KEY);
    assert_limit(store.scan(long, None, 1).await, over(limits::MAX_KEY), limits::MAX_KEY);
}

pub(super) async fn a_value_at_the_limit_is_kept_and_above_it_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let value = filled(limits::MAX_VALUE);
    ok(store.commit(Batch::new().put(key("k"), value.clone())).await);
    assert!(ok(store.get(&key("k")).await).expect("kept").value == value);

    let refused = store.commit(Batch::new().put(key("k"), filled(limits::MAX_VALUE + 1))).await;
    assert_limit(refused, over(limits::MAX_VALUE), limits::MAX_VALUE);
    assert!(ok(store.get(&key("k")).await).expect("untouched").value == value);
}

/// Appends one record of `size` bytes.
fn record(last: u64, size: usize) -> Batch {
    let events = vec![NewEvent { ts_ms: 1, record: filled(size) }];
    Batch::new().append(Append { events, ..append(1, last, &[]) })
}

pub(super) async fn a_record_at_the_limit_is_kept_and_above_it_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(record(0, limits::MAX_RECORD)).await);
    let kept = ok(store.events(room(1), 1, 1, 1).await).events;
    assert!(kept.first().is_some_and(|event| event.record == filled(limits::MAX_RECORD)));
    let refused = store.commit(record(1, limits::MAX_RECORD + 1)).await;
    assert_limit(refused, over(limits::MAX_RECORD), limits::MAX_RECORD);
}

pub(super) async fn a_state_at_the_limit_is_kept_and_above_it_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let of = |size| Batch::new().append(Append { state: filled(size), ..append(1, 0, &[]) });
    assert_limit(store.commit(of(limits::MAX_STATE + 1)).await, over(limits::MAX_STATE), limits::MAX_STATE);
    assert_eq!(ok(store.head(room(1)).await), None);
    ok(store.commit(of(limits::MAX_STATE)).await);
    assert_eq!(ok(store.head(room(1)).await).expect("made").state, filled(limits::MAX_STATE));
}

pub(super) async fn a_batch_at_the_limit_is_applied_and_above_it_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let items =
        (0..limits::MAX_BATCH_ITEMS).fold(Batch::new(), |batch, n| batch.put(key(&format!("{n}")), "v"));
    let refused = store.commit(items.clone().check(key("one more"), 0)).await;
    assert_limit(refused, over(limits::MAX_BATCH_ITEMS), limits::MAX_BATCH_ITEMS);
    ok(store.commit(items).await);

    let full = limits::MAX_BATCH_BYTES / limits::MAX_VALUE;
    let large = (0..full).fold(Batch::new(), |batch, n| {
        // Each key has one byte, so its value gives up one.
        let name = Key::new(vec![u8::try_from(n).unwrap_or_default()]);
        batch.put(name, filled(limits::MAX_VALUE - 1))
    });
    let refused = store.commit(large.clone().check(key("x"), 0)).await;
    assert_limit(refused, over(limits::MAX_BATCH_BYTES), limits::MAX_BATCH_BYTES);
    ok(store.commit(large).await);
}

pub(super) async fn a_time_above_the_limit_is_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let at = |last, ts_ms| {
        let events = vec![NewEvent { ts_ms, record: Bytes::from_static(b"event") }];
        Batch::new().append(Append { events, ..append(1, last, &[]) })
    };
    let most = usize::try_from(limits::MAX_NUMBER).unwrap_or(usize::MAX);
    assert_limit(store.commit(at(0, limits::MAX_NUMBER + 1)).await, limits::MAX_NUMBER + 1, most);
    ok(store.commit(at(0, limits::MAX_NUMBER)).await);
    assert_eq!(ok(store.head(room(1)).await).expect("made").last_ts, limits::MAX_NUMBER);
    assert_eq!(ok(store.seq_at(room(1), limits::MAX_NUMBER).await), 1);
    assert_eq!(ok(store.seq_at(room(1), u64::MAX).await), 2);
}

pub(super) async fn a_read_of_too_many_items_is_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let most = limits::MAX_READ_ITEMS;
    assert_eq!(ok(store.get_many(vec![key("k"); most]).await).len(), most);
    assert_limit(store.get_many(vec![key("k"); most + 1]).await, over(most), most);
    assert_eq!(ok(store.heads(vec![room(1); most]).await).len(), most);
    assert_limit(store.heads(vec![room(1); most + 1]).await, over(most), most);
}
