//! What happens to history later: its beginning is trimmed, a record is erased, an operator begins a new epoch.

use bytes::Bytes;

use super::{
    Backend, append, assert_limit, assert_room_conflict, guard, join_all, key, ok, put, read, room,
    yield_once,
};
use crate::error::{Conflict, StoreError};
use crate::limits::{MAX_BATCH_ITEMS, MAX_EPOCHS};
use crate::store::Store;
use crate::types::{Append, Batch, Guard, NewEvent, Raise, Replace, Trim};

/// A trim of room 1.
pub(super) fn trim(epoch: u32, expect_first: u64, first: u64) -> Trim {
    Trim { room: room(1), epoch, expect_first, first }
}

/// A replacement in room 1, of an event of epoch 1.
pub(super) fn replace(seq: u64, expect: &'static str, record: &'static str) -> Replace {
    Replace { room: room(1), epoch: 1, seq, expect: expect.into(), record: record.into() }
}

/// A new epoch of room 1.
pub(super) fn raise(guard: Guard, epoch: u32) -> Raise {
    Raise { room: room(1), guard, epoch }
}

/// A store whose room 1 holds the events a to e, at the times 1 to 5.
async fn five<B: Backend>(backend: &B) -> B::Store {
    let store = backend.create().await;
    ok(store.commit(Batch::new().append(append(1, 0, &["a", "b", "c", "d", "e"]))).await);
    store
}

/// Epoch, first and last, and the records with their sequence numbers.
async fn all(store: &impl Store) -> ((u32, u64, u64), Vec<(u64, Bytes)>) {
    let page = ok(store.events(room(1), 0, 1_000, usize::MAX).await);
    let events = page.events.into_iter().map(|event| (event.seq, event.record)).collect();
    ((page.epoch, page.first, page.last), events)
}

fn numbered(from: u64, records: &[&'static str]) -> Vec<(u64, Bytes)> {
    (from..).zip(records.iter().map(|record| Bytes::from_static(record.as_bytes()))).collect()
}

pub(super) async fn a_trimmed_prefix_is_answered_as_trimmed<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().trim(trim(1, 1, 4))).await);
    assert_eq!(all(&store).await, ((1, 4, 5), numbered(4, &["d", "e"])));
    let page = ok(store.events(room(1), 2, 1, 0).await);
    assert_eq!((page.first, page.events[0].seq), (4, 4), "a page says where the room begins");
    let page = ok(store.events(room(1), 6, 1, 0).await);
    assert_eq!((page.first, page.last, page.events.len()), (4, 5, 0), "an empty page does too");

    ok(store.commit(Batch::new().trim(trim(1, 4, 5))).await);
    assert_eq!(all(&store).await, ((1, 5, 5), numbered(5, &["e"])));
    for (time, seq) in [(0, 5), (4, 5), (5, 5), (6, 6)] {
        assert_eq!(ok(store.seq_at(room(1), time).await), seq, "what is trimmed has no time any more");
    }
}

pub(super) async fn a_trim_leaves_numbers_times_state_and_keys<B: Backend>(backend: &B) {
    let store = five(backend).await;
    put(&store, "id of a", "event 1").await;
    let before = ok(store.head(room(1)).await).expect("appended to");
    ok(store.commit(Batch::new().trim(trim(1, 1, 3))).await);
    let after = ok(store.head(room(1)).await).expect("still there");
    assert_eq!(after, crate::Head { first: 3, ..before });
    assert_eq!(read(&store, "id of a").await.expect("ids are kept for ever").value, "event 1");
    ok(store.commit(Batch::new().append(append(1, 5, &["f"]))).await);
    assert_eq!(all(&store).await, ((1, 3, 6), numbered(3, &["c", "d", "e", "f"])));
}

pub(super) async fn a_room_trimmed_to_nothing_goes_on_where_it_was<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().trim(trim(1, 1, 6))).await);
    assert_eq!(all(&store).await, ((1, 6, 5), Vec::new()));
    assert_eq!(ok(store.seq_at(room(1), 0).await), 6);

    let early = NewEvent { ts_ms: 4, record: Bytes::from_static(b"f") };
    let early = Append { events: vec![early], ..append(1, 5, &[]) };
    let refused = store.commit(Batch::new().append(early)).await;
    assert!(matches!(refused, Err(StoreError::TimeFell { previous: 5, .. })), "{refused:?}");
    ok(store.commit(Batch::new().append(append(1, 5, &["f"]))).await);
    assert_eq!(all(&store).await, ((1, 6, 6), numbered(6, &["f"])));
}

pub(super) async fn a_trim_is_refused_once_the_room_has_moved<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().trim(trim(1, 1, 2))).await);
    for stale in [trim(1, 1, 3), trim(2, 2, 3), Trim { room: room(2), ..trim(1, 2, 3) }] {
        match store.commit(Batch::new().put(key("k"), "v").trim(stale)).await {
            Err(StoreError::Conflict(Conflict::First { expected, .. })) => {
                assert_eq!(expected, (stale.epoch, stale.expect_first));
            }
            other => panic!("{stale:?} must be refused: {other:?}"),
        }
    }
    assert_eq!(read(&store, "k").await, None);
    assert_eq!(all(&store).await.0, (1, 2, 5));
}

pub(super) async fn a_trim_outside_what_is_kept_is_refused<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().trim(trim(1, 1, 3))).await);
    for outside in [2, 7] {
        let refused = store.commit(Batch::new().trim(trim(1, 3, outside))).await;
        assert!(matches!(refused, Err(StoreError::TrimOutside { first: 3, last: 5, .. })), "{refused:?}");
    }
    ok(store.commit(Batch::new().trim(trim(1, 3, 3))).await);
    assert_eq!(all(&store).await.0, (1, 3, 5));
}

pub(super) async fn a_trim_counts_what_it_removes<B: Backend>(backend: &B) {
    let store = backend.create().await;
    let events = vec![NewEvent { ts_ms: 1, record: Bytes::new() }; 2_000];
    for last in [0, 2_000, 4_000] {
        let append = Append { events: events.clone(), ..append(1, last, &[]) };
        ok(store.commit(Batch::new().append(append)).await);
    }
    let most = u64::try_from(MAX_BATCH_ITEMS).unwrap_or(u64::MAX);
    // The trim itself is one item too.
    assert_limit(store.commit(Batch::new().trim(trim(1, 1, 1 + most))).await, most + 1, MAX_BATCH_ITEMS);
    ok(store.commit(Batch::new().trim(trim(1, 1, most))).await);
    assert_eq!(all(&store).await.0, (1, most, 6_000));
}

pub(super) async fn a_replaced_record_keeps_its_place_and_time<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let head = ok(store.head(room(1)).await);
    ok(store.commit(Batch::new().replace(replace(2, "b", "erased")).replace(replace(4, "d", ""))).await);
    assert_eq!(all(&store).await.1, numbered(1, &["a", "erased", "c", "", "e"]));
    assert_eq!(ok(store.head(room(1)).await), head);
    assert_eq!(ok(store.seq_at(room(1), 2).await), 2);
}

pub(super) async fn a_record_is_replaced_only_as_it_was_read<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().raise(raise(guard(1, 5), 2)).trim(trim(1, 1, 2))).await);
    let new = Append { guard: guard(2, 5), ..append(1, 5, &["f"]) };
    ok(store.commit(Batch::new().append(new)).await);
    let wrong = [
        replace(2, "B", "x"),
        replace(1, "a", "x"),
        replace(7, "", "x"),
        replace(0, "", "x"),
        replace(6, "f", "x"),
        Replace { epoch: 2, ..replace(2, "b", "x") },
        Replace { room: room(2), ..replace(2, "b", "x") },
    ];
    for wrong in wrong {
        let refused = store.commit(Batch::new().put(key("k"), "v").replace(wrong.clone())).await;
        let conflict = Conflict::Event { room: wrong.room, epoch: wrong.epoch, seq: wrong.seq };
        assert_eq!(refused.expect_err("must be refused"), StoreError::Conflict(conflict));
    }
    assert_eq!(read(&store, "k").await, None);
    let of_epoch_2 = Replace { epoch: 2, ..replace(6, "f", "F") };
    ok(store.commit(Batch::new().replace(of_epoch_2).replace(replace(2, "b", "B"))).await);
    assert_eq!(all(&store).await, ((2, 2, 6), numbered(2, &["B", "c", "d", "e", "F"])));
}

pub(super) async fn an_erasure_and_its_event_are_one_change<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let erase =
        |expect, last| Batch::new().replace(replace(2, expect, "-")).append(append(1, last, &["b is gone"]));
    for (expect, last) in [("B", 5), ("b", 4)] {
        assert!(store.commit(erase(expect, last)).await.expect_err("refused").is_conflict());
        assert_eq!(all(&store).await.1, numbered(1, &["a", "b", "c", "d", "e"]));
    }
    ok(store.commit(erase("b", 5)).await);
    assert_eq!(all(&store).await.1, numbered(1, &["a", "-", "c", "d", "e", "b is gone"]));
}

pub(super) async fn of_two_racing_erasures_one_wins<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let outcomes = join_all(["x", "y", "z"].map(|record| {
        let store = &store;
        async move {
            yield_once().await;
            store.commit(Batch::new().replace(replace(3, "c", record))).await.map(|_| record)
        }
    }))
    .await;
    let winners: Vec<_> = outcomes.iter().flatten().collect();
    let [winner] = winners[..] else { panic!("exactly one must win: {outcomes:?}") };
    assert_eq!(all(&store).await.1, numbered(1, &["a", "b", winner, "d", "e"]));
}

pub(super) async fn a_new_epoch_begins_after_the_last_event<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let before = ok(store.head(room(1)).await).expect("appended to");
    assert_eq!((before.epoch_of(5), before.epoch_of(6), before.rewound_since(1)), (1, 1, None));
    ok(store.commit(Batch::new().raise(raise(guard(1, 5), 3))).await);
    ok(store.commit(Batch::new().append(Append { guard: guard(3, 5), ..append(1, 5, &["f"]) })).await);
    ok(store.commit(Batch::new().raise(raise(guard(3, 6), 4))).await);

    assert_eq!(all(&store).await, ((4, 1, 6), numbered(1, &["a", "b", "c", "d", "e", "f"])));
    let head = ok(store.head(room(1)).await).expect("still there");
    assert_eq!(head.epochs, [(3, 6), (4, 7)]);
    assert_eq!([1, 5, 6, 7].map(|seq| head.epoch_of(seq)), [1, 1, 3, 4]);
    let rewound = [1, 3, 4].map(|epoch| head.rewound_since(epoch));
    assert_eq!(rewound, [Some(6), Some(7), None], "where a reader of each epoch must begin anew");
    let foreign = [2, 5].map(|epoch| head.rewound_since(epoch));
    assert_eq!(foreign, [Some(1); 2], "a reader of another history begins at the beginning");
    assert_eq!(ok(store.heads(vec![room(1)]).await), [Some(head)]);
}

pub(super) async fn an_epoch_is_raised_only_as_the_room_was_read<B: Backend>(backend: &B) {
    let store = five(backend).await;
    for wrong in [guard(1, 4), guard(2, 5), guard(1, 6)] {
        let refused = store.commit(Batch::new().put(key("k"), "v").raise(raise(wrong, 9))).await;
        assert_room_conflict(refused, 1, wrong, guard(1, 5));
    }
    let unknown = Raise { room: room(2), ..raise(Guard::UNKNOWN_ROOM, 2) };
    assert!(
        store.commit(Batch::new().raise(unknown)).await.expect_err("there is no such room").is_conflict()
    );
    assert_eq!(ok(store.head(room(2)).await), None);
    assert_eq!(read(&store, "k").await, None);
    assert_eq!(all(&store).await.0, (1, 1, 5));
}

pub(super) async fn an_epoch_never_falls<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().raise(raise(guard(1, 5), 3))).await);
    for epoch in [0, 2, 3] {
        let refused = store.commit(Batch::new().raise(raise(guard(3, 5), epoch))).await;
        assert!(matches!(refused, Err(StoreError::EpochFell { previous: 3, .. })), "{refused:?}");
    }
    assert_eq!(all(&store).await.0, (3, 1, 5));
}

pub(super) async fn who_appends_in_the_old_epoch_is_refused<B: Backend>(backend: &B) {
    let store = five(backend).await;
    ok(store.commit(Batch::new().raise(raise(guard(1, 5), 2))).await);
    let late = store.commit(Batch::new().append(append(1, 5, &["of the past"]))).await;
    assert_room_conflict(late, 1, guard(1, 5), guard(2, 5));
    assert_eq!(all(&store).await.0, (2, 1, 5));
}

pub(super) async fn epochs_are_counted<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let most = u32::try_from(MAX_EPOCHS).unwrap_or(u32::MAX);
    for epoch in 1..=most {
        ok(store.commit(Batch::new().raise(raise(guard(epoch, 5), epoch + 1))).await);
    }
    let refused = store.commit(Batch::new().raise(raise(guard(most + 1, 5), most + 2))).await;
    assert_limit(refused, u64::from(most) + 1, MAX_EPOCHS);
    assert_eq!(ok(store.head(room(1)).await).expect("still there").epochs.len(), MAX_EPOCHS);
}

pub(super) async fn one_batch_may_do_everything_at_once<B: Backend>(backend: &B) {
    let store = five(backend).await;
    let batch = Batch::new().put(key("k"), "v").raise(raise(guard(1, 5), 2)).replace(replace(4, "d", "D"));
    let batch = batch.append(append(1, 5, &["f"])).trim(trim(1, 1, 3));
    ok(store.commit(batch).await);
    assert_eq!(all(&store).await, ((2, 3, 6), numbered(3, &["c", "D", "e", "f"])));
    let head = ok(store.head(room(1)).await).expect("still there");
    assert_eq!(
        (head.epoch_of(5), head.epoch_of(6)),
        (1, 2),
        "what the batch appends belongs to the new epoch"
    );
}

pub(super) async fn an_event_or_room_named_twice_is_refused<B: Backend>(backend: &B) {
    let store = five(backend).await;
    for batch in [
        Batch::new().trim(trim(1, 1, 2)).trim(trim(1, 1, 3)),
        Batch::new().raise(raise(guard(1, 5), 2)).raise(raise(guard(1, 5), 3)),
        Batch::new().replace(replace(1, "a", "x")).replace(replace(1, "a", "y")),
    ] {
        let refused = store.commit(batch).await;
        assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}");
    }
    assert_eq!(all(&store).await, ((1, 1, 5), numbered(1, &["a", "b", "c", "d", "e"])));
}
