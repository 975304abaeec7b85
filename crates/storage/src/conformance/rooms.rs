//! What a room promises: dense sequence numbers, guarded appends, bounded pages, times that do not fall.

use bytes::Bytes;

use super::{Backend, append, assert_room_conflict, guard, join_all, ok, records, room, yield_once};
use crate::error::StoreError;
use crate::store::Store;
use crate::types::{Append, Batch, Guard, Head, NewEvent, Page};

pub(super) async fn an_unknown_room_has_no_head_and_no_events<B: Backend>(backend: &B) {
    let store = backend.create().await;
    assert_eq!(ok(store.head(room(1)).await), None);
    assert_eq!(ok(store.events(room(1), 0, 10, 1_000).await), Page::of_unknown_room());
    assert_eq!(ok(store.seq_at(room(1), 0).await), 1);
}

pub(super) async fn sequence_numbers_are_dense_from_one<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a"]))).await);
    ok(store.commit(Batch::new().append(append(1, 1, &["b", "c", "d"]))).await);
    ok(store.commit(Batch::new().append(append(1, 4, &["e"]))).await);
    assert_eq!(records(&store, 1).await, ["a", "b", "c", "d", "e"]);
    let head = ok(store.head(room(1)).await).expect("appended to");
    assert_eq!((head.epoch, head.first, head.last, head.last_ts), (1, 1, 5, 5));
}

pub(super) async fn the_guard_compares_epoch_and_last<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a", "b"]))).await);
    for wrong in [guard(1, 0), guard(1, 1), guard(1, 3), guard(2, 2), guard(0, 2)] {
        let mut late = append(1, 2, &["lost"]);
        late.guard = wrong;
        assert_room_conflict(store.commit(Batch::new().append(late)).await, 1, wrong, guard(1, 2));
    }
    for wrong in [guard(1, 1), guard(2, 0), guard(0, 0)] {
        let mut early = append(2, 0, &["lost"]);
        early.guard = wrong;
        assert_room_conflict(store.commit(Batch::new().append(early)).await, 2, wrong, Guard::UNKNOWN_ROOM);
    }
    assert_eq!(records(&store, 1).await, ["a", "b"]);
    assert_eq!(ok(store.head(room(2)).await), None);
}

pub(super) async fn the_head_keeps_the_state_of_the_last_append<B: Backend>(backend: &B) {
    let store = backend.create().await;
    for (last, state) in [(0, &b"one"[..]), (1, b""), (2, b"\0three")] {
        let mut next = append(1, last, &["event"]);
        next.state = Bytes::from_static(state);
        ok(store.commit(Batch::new().append(next)).await);
        let head = ok(store.head(room(1)).await).expect("appended to");
        assert_eq!((head.last, &head.state[..]), (last + 1, state));
    }
}

pub(super) async fn an_append_without_events_changes_only_the_state<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let only_state = |last, state: &'static str| Append { state: state.into(), ..append(1, last, &[]) };
    ok(store.commit(Batch::new().append(only_state(0, "made"))).await);
    let head = Head { epoch: 1, first: 1, last: 0, last_ts: 0, state: "made".into(), epochs: Vec::new() };
    assert_eq!(ok(store.head(room(1)).await), Some(head.clone()));

    ok(store.commit(Batch::new().append(append(1, 0, &["a"]))).await);
    ok(store.commit(Batch::new().append(only_state(1, "changed"))).await);
    let head = Head { last: 1, last_ts: 1, state: "changed".into(), ..head };
    assert_eq!(ok(store.head(room(1)).await), Some(head));
    assert_eq!(records(&store, 1).await, ["a"]);
}

pub(super) async fn racing_appenders_lose_nothing_and_leave_no_hole<B: Backend>(backend: &B) {
    const APPENDERS: usize = 4;
    const EACH: usize = 12;
    let store = backend.create().await;
    let appenders = (0..APPENDERS).map(|who| {
        let store = &store;
        async move {
            let mut conflicts = 0;
            for n in 0..EACH {
                let record = format!("{who}-{n:02}");
                while let Err(error) = append_once(store, &record).await {
                    assert!(error.is_conflict(), "{error}");
                    conflicts += 1;
                }
            }
            conflicts
        }
    });
    let conflicts: usize = join_all(appenders).await.into_iter().sum();
    assert!(conflicts > 0, "the appenders never met: this check proves nothing");

    let all = records(&store, 1).await;
    assert_eq!(all.len(), APPENDERS * EACH);
    for who in 0..APPENDERS {
        let own: Vec<_> =
            all.iter().filter(|record| record.starts_with(format!("{who}-").as_bytes())).collect();
        let expected: Vec<_> = (0..EACH).map(|n| format!("{who}-{n:02}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>(), "each event once, in its author's order");
    }
}

async fn append_once(store: &impl Store, record: &str) -> Result<(), StoreError> {
    let head = store.head(room(1)).await?;
    yield_once().await;
    let last = head.map_or(0, |head| head.last);
    store.commit(Batch::new().append(append(1, last, &[record]))).await.map(|_| ())
}

pub(super) async fn events_are_bounded_by_count_and_bytes<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let records = ["1234567890"; 9];
    ok(store.commit(Batch::new().append(append(1, 0, &records))).await);
    let seqs = async |from, count, bytes| -> Vec<u64> {
        ok(store.events(room(1), from, count, bytes).await).events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(seqs(1, 3, 1_000).await, [1, 2, 3]);
    assert_eq!(seqs(0, 2, 1_000).await, [1, 2]);
    assert_eq!(seqs(8, 100, 1_000).await, [8, 9]);
    assert_eq!(seqs(10, 100, 1_000).await, []);
    assert_eq!(seqs(u64::MAX, 100, 1_000).await, []);
    assert_eq!(seqs(1, 100, 30).await, [1, 2, 3], "exactly the bytes allowed");
    assert_eq!(seqs(1, 100, 29).await, [1, 2]);
    assert_eq!(seqs(4, 100, 1).await, [4], "one event is given however large it is");
    assert_eq!(seqs(4, 100, 0).await, [4]);
    assert_eq!(seqs(4, 0, 1_000).await, []);
    assert_eq!(seqs(1, usize::MAX, usize::MAX).await.len(), 9);
}

pub(super) async fn rooms_do_not_see_each_other<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a1", "a2"])).append(append(2, 0, &["b1"]))).await);
    ok(store.commit(Batch::new().append(append(2, 1, &["b2"]))).await);
    ok(store.commit(Batch::new().append(append(1, 2, &["a3"]))).await);
    assert_eq!(records(&store, 1).await, ["a1", "a2", "a3"]);
    assert_eq!(records(&store, 2).await, ["b1", "b2"]);
}

pub(super) async fn heads_are_given_in_the_order_asked<B: Backend>(backend: &B) {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a"])).append(append(2, 0, &["b", "c"]))).await);
    let heads = ok(store.heads([2, 9, 1, 2].map(room).to_vec()).await);
    let lasts: Vec<_> = heads.iter().map(|head| head.as_ref().map(|head| head.last)).collect();
    assert_eq!(lasts, [Some(2), None, Some(1), Some(2)]);
    assert_eq!(ok(store.heads(Vec::new()).await), []);
    assert_eq!(ok(store.head(room(2)).await), heads[0]);
}

pub(super) async fn seq_at_finds_the_first_event_at_or_after_a_time<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let times = [10, 10, 20, 20, 20, 35];
    let events = times.map(|ts_ms| NewEvent { ts_ms, record: Bytes::from_static(b"event") }).to_vec();
    ok(store.commit(Batch::new().append(Append { events, ..append(1, 0, &[]) })).await);
    for (time, expected) in [(0, 1), (10, 1), (11, 3), (20, 3), (21, 6), (35, 6), (36, 7), (u64::MAX, 7)] {
        assert_eq!(ok(store.seq_at(room(1), time).await), expected, "at {time}");
    }
    assert_eq!(ok(store.head(room(1)).await).expect("appended to").last_ts, 35);
}

pub(super) async fn a_falling_time_is_refused<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let at = |last, times: &[u64]| {
        let events =
            times.iter().map(|ts_ms| NewEvent { ts_ms: *ts_ms, record: Bytes::from_static(b"event") });
        Batch::new().append(Append { events: events.collect(), ..append(1, last, &[]) })
    };
    ok(store.commit(at(0, &[10, 10])).await);
    for batch in [at(2, &[9]), at(2, &[11, 10])] {
        let refused = store.commit(batch).await;
        assert!(matches!(refused, Err(StoreError::TimeFell { .. })), "{refused:?}");
    }
    ok(store.commit(at(2, &[10, 11])).await);
    assert_eq!(records(&store, 1).await.len(), 4);
}
