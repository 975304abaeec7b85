//! What keys promise: versions, deletion, reading several, scanning a prefix.

use super::{Backend, key, ok, put, read};
use crate::store::Store;
use crate::types::{Batch, Key};

pub(super) async fn a_key_is_absent_until_written<B: Backend>(backend: &B) {
    let store = backend.create().await;
    assert_eq!(read(&store, "k").await, None);

    let version = put(&store, "k", "value").await;
    let found = read(&store, "k").await.expect("just written");
    assert_eq!((found.version, &found.value[..]), (version, &b"value"[..]));
    assert_ne!(version, 0, "0 means absent");
    assert_eq!(read(&store, "k2").await, None);

    put(&store, "k", "").await;
    let found = read(&store, "k").await.expect("an empty value is a value");
    assert!(found.value.is_empty());
}

pub(super) async fn a_version_rises_with_every_write<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let mut last = 0;
    for round in 0..5 {
        let name = if round % 2 == 0 { "even" } else { "odd" };
        let version = put(&store, name, "same value").await;
        assert!(version > last, "{version} after {last}");
        last = version;
    }
}

pub(super) async fn a_version_is_never_reused_after_a_deletion<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let before = put(&store, "k", "first life").await;
    ok(store.commit(Batch::new().delete(key("k"))).await);
    assert_eq!(read(&store, "k").await, None);

    let after = put(&store, "k", "second life").await;
    assert!(after > before, "{after} after {before}");
    let stale = store.commit(Batch::new().check(key("k"), before).put(key("k"), "stale")).await;
    super::assert_key_conflict(stale, "k", before, after);
}

pub(super) async fn deleting_an_absent_key_changes_nothing<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().check(key("k"), 0).delete(key("k"))).await);
    assert_eq!(read(&store, "k").await, None);
    ok(store.commit(Batch::new().check(key("k"), 0).put(key("k"), "v")).await);
}

pub(super) async fn several_keys_are_read_in_the_order_asked<B: Backend>(backend: &B) {
    let store = backend.create().await;
    put(&store, "a", "1").await;
    put(&store, "b", "2").await;
    let asked = ["b", "absent", "a", "b"].map(key).to_vec();
    let found = ok(store.get_many(asked).await);
    let values: Vec<_> = found.iter().map(|found| found.as_ref().map(|found| &found.value[..])).collect();
    assert_eq!(values, [Some(&b"2"[..]), None, Some(&b"1"[..]), Some(&b"2"[..])]);
    assert_eq!(ok(store.get_many(Vec::new()).await), []);
}

pub(super) async fn a_scan_gives_a_prefix_in_byte_order<B: Backend>(backend: &B) {
    let store = backend.create().await;
    // Neighbours on both sides of the prefix, bytes above 0x7f, and the prefix itself.
    let inside =
        [&b"p/"[..], b"p/\0", b"p/A", b"p/a", b"p/a\0", b"p/a/b", b"p/\x80", b"p/\xff", b"p/\xff\xff"];
    let outside = [&b"p"[..], b"p.", b"p0", b"o/z", b"q/", b"P/a"];
    for name in inside.iter().chain(&outside).rev() {
        ok(store.commit(Batch::new().put(Key::from(*name), "v")).await);
    }
    let found = ok(store.scan(key("p/"), None, 100).await);
    let names: Vec<_> = found.iter().map(|(key, _)| key.as_bytes()).collect();
    assert_eq!(names, inside);

    ok(store.commit(Batch::new().put(Key::from(&b"\xff\xffx"[..]), "v")).await);
    let found = ok(store.scan(Key::from(&b"\xff\xff"[..]), None, 100).await);
    assert_eq!(found.len(), 1, "a prefix of 0xff has no upper neighbour");
    let everything = ok(store.scan(Key::default(), None, 100).await);
    assert_eq!(everything.len(), inside.len() + outside.len() + 1);
    assert_eq!(ok(store.scan(key("nothing/"), None, 100).await), []);
}

pub(super) async fn a_scan_pages_without_gap_or_repetition<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let batch = (0..23).fold(Batch::new(), |batch, n| batch.put(key(&format!("p/{n:02}")), format!("{n}")));
    ok(store.commit(batch.put(key("p0"), "outside").put(key("o"), "outside")).await);

    let (mut after, mut values) = (None, Vec::new());
    loop {
        let page = ok(store.scan(key("p/"), after, 5).await);
        assert!(page.len() <= 5);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        values.extend(page.into_iter().map(|(_, found)| found.value));
    }
    let expected: Vec<_> = (0..23).map(|n| format!("{n}")).collect();
    assert_eq!(values, expected);

    assert_eq!(ok(store.scan(key("p/"), None, 0).await), []);
    let from_before = ok(store.scan(key("p/"), Some(key("a")), 1).await);
    assert_eq!(from_before.first().map(|(key, _)| key.as_bytes()), Some(&b"p/00"[..]));
    assert_eq!(ok(store.scan(key("p/"), Some(key("q")), 5).await), [], "after the prefix there is nothing");
    let after_absent = ok(store.scan(key("p/"), Some(key("p/075")), 1).await);
    assert_eq!(after_absent.first().map(|(key, _)| key.as_bytes()), Some(&b"p/08"[..]));
}
