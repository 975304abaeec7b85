//! What the client's store promises: nothing said is lost or said twice, and other processes may be at work beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use hikyaku_storage::RoomId;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const ROOM: RoomId = RoomId([1; 16]);

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn message(number: u8) -> NewMessage {
    NewMessage {
        id: [number; 16],
        room: "ops".to_owned(),
        kind: 1,
        body: vec![number].into(),
        details: Bytes::new(),
        created_ms: 5,
    }
}

fn waiting(store: &ClientStore) -> Vec<u8> {
    store.outbox(100).unwrap().iter().map(|entry| entry.message.id[0]).collect()
}

#[test]
fn the_outbox_keeps_its_order_through_a_restart_until_each_is_settled() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    for number in [7, 3, 9] {
        store.change(|changes| changes.enqueue(&message(number), None)).unwrap();
    }
    store.change(|changes| changes.attempt([7; 16])).unwrap();
    drop(store);

    let mut store = ClientStore::open(home.path()).unwrap();
    assert_eq!(waiting(&store), [7, 3, 9]);
    let first = store.outbox_entry([7; 16]).unwrap().unwrap();
    let expected =
        OutboxEntry { message: message(7), state: OutboxState::Attempted, attempts: 1, reason: None };
    assert_eq!(first, expected);

    store.change(|changes| changes.settle([7; 16])).unwrap();
    store.change(|changes| changes.refuse([3; 16], "not a member")).unwrap();
    assert_eq!(waiting(&store), [9], "one that was refused holds up nobody");
    assert_eq!(store.refused().unwrap()[0].reason.as_deref(), Some("not a member"));
    assert_eq!(store.outbox_entry([7; 16]).unwrap(), None);
    store.change(|changes| changes.enqueue(&message(1), None)).unwrap();
    assert_eq!(waiting(&store), [9, 1]);
}

#[test]
fn a_key_stands_for_one_message_for_ever() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let say = |store: &mut ClientStore, number, room: &str, key| {
        let message = NewMessage { room: room.to_owned(), body: "done".into(), ..message(number) };
        store.change(|changes| changes.enqueue(&message, Some(key))).unwrap()[0]
    };
    assert_eq!(say(&mut store, 1, "ops", "deploy-42"), 1);
    assert_eq!(say(&mut store, 2, "ops", "deploy-42"), 1, "still waiting: not a second time");
    assert_eq!(waiting(&store), [1]);
    assert_eq!(say(&mut store, 3, "ops", "deploy-43"), 3);
    assert_eq!(say(&mut store, 4, "lab", "deploy-42"), 4, "another room, another message");

    store.change(|changes| changes.settle([1; 16])).unwrap();
    drop(store);
    let mut store = ClientStore::open(home.path()).unwrap();
    assert_eq!(say(&mut store, 5, "ops", "deploy-42"), 1, "acknowledged long ago: sent again as the same");
    assert_eq!(waiting(&store), [3, 4, 1]);
}

#[test]
fn another_message_under_a_waiting_key_is_refused_and_a_refused_one_may_be_corrected() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let say = |store: &mut ClientStore, number| {
        store.change(|changes| changes.enqueue(&message(number), Some("deploy-42")))
    };
    say(&mut store, 1).unwrap();
    store.change(|changes| changes.attempt([1; 16])).unwrap();
    let refused = say(&mut store, 2);
    assert!(matches!(&refused, Err(ClientError::KeyReused { key }) if key == "deploy-42"), "{refused:?}");
    let kept = store.outbox_entry([1; 16]).unwrap().unwrap();
    assert_eq!((kept.message, kept.state), (message(1), OutboxState::Attempted));

    store.change(|changes| changes.refuse([1; 16], "room closed")).unwrap();
    assert_eq!(say(&mut store, 2).unwrap(), [1; 16]);
    let again = store.outbox_entry([1; 16]).unwrap().unwrap();
    assert_eq!((again.message.body, again.state, again.reason), (message(2).body, OutboxState::Queued, None));
}

#[test]
fn processes_that_say_the_same_key_at_once_send_one_message() {
    let home = home();
    // Also the first opening is a race: whoever comes first makes the file.
    let ids: BTreeSet<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let directory = home.path().join("new");
                scope.spawn(move || {
                    let mut store = ClientStore::open(directory).unwrap();
                    let message = NewMessage { body: "done".into(), ..message(number) };
                    store.change(|changes| changes.enqueue(&message, Some("once"))).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let store = ClientStore::open(home.path().join("new")).unwrap();
    assert_eq!(store.outbox(100).unwrap().len(), 1);
}

#[test]
fn one_process_at_a_time_sends_from_the_outbox() {
    let home = home();
    let [one, two] = [(); 2].map(|()| ClientStore::open(home.path()).unwrap());
    let lock = one.try_lock_outbox().unwrap();
    assert!(lock.is_some());
    assert!(two.try_lock_outbox().unwrap().is_none());
    drop(lock);
    assert!(two.try_lock_outbox().unwrap().is_some());
}

#[test]
fn what_is_too_much_is_refused_with_the_limits_name() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let mut try_body = |size| {
        let large = NewMessage { body: vec![0; size].into(), ..message(1) };
        store.change(|changes| changes.enqueue(&large, None))
    };
    let refused = try_body(MAX_BODY + 1).unwrap_err().to_string();
    assert_eq!(refused, "client store limit: message body (bytes) is 1048577, the limit is 1048576");
    try_body(MAX_BODY).unwrap();

    let id = |n: usize| u128::try_from(n).unwrap().to_be_bytes();
    let filled = store.change(|changes| {
        for n in 1..MAX_OUTBOX {
            changes.enqueue(&NewMessage { id: id(n), ..message(2) }, None)?;
        }
        Ok(())
    });
    filled.unwrap();
    let refused = store.change(|changes| changes.enqueue(&message(3), None));
    assert!(matches!(refused, Err(ClientError::Limit { what: "outbox (messages)", .. })), "{refused:?}");
}

#[test]
fn a_change_that_fails_leaves_nothing() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let failed: Result<()> = store.change(|changes| {
        changes.set_meta("name", Some(b"value"))?;
        changes.insert_events(ROOM, 1, 1, &[Bytes::from_static(b"event")])?;
        changes.advance_cursor(ROOM, Cursor { epoch: 1, next_seq: 2 })?;
        Err(ClientError::Busy)
    });
    assert!(matches!(failed, Err(ClientError::Busy)));
    assert_eq!(store.meta("name").unwrap(), None);
    assert_eq!(store.ranges(ROOM, 1).unwrap(), []);
    assert_eq!(store.cursor(ROOM).unwrap(), None);

    store.change(|changes| changes.set_meta("name", Some(b"value"))).unwrap();
    assert_eq!(store.meta("name").unwrap().unwrap(), "value");
    store.change(|changes| changes.set_meta("name", None)).unwrap();
    assert_eq!(store.meta("name").unwrap(), None);
}

#[test]
fn a_cursor_moves_only_forward_unless_it_is_set() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let at = |epoch, next_seq| Cursor { epoch, next_seq };
    let steps = [
        (at(1, 5), true),
        (at(1, 5), false),
        (at(1, 4), false),
        (at(1, 6), true),
        (at(2, 3), true),
        (at(1, 9), false),
    ];
    for (to, moves) in steps {
        assert_eq!(store.change(|changes| changes.advance_cursor(ROOM, to)).unwrap(), moves, "to {to:?}");
    }
    assert_eq!(store.cursor(ROOM).unwrap(), Some(at(2, 3)));
    store.change(|changes| changes.set_cursor(ROOM, at(1, 1))).unwrap();
    assert_eq!(store.cursor(ROOM).unwrap(), Some(at(1, 1)));
}

#[test]
fn a_name_is_one_rooms() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let known = |number, name: &str| KnownRoom {
        room: RoomId([number; 16]),
        name: name.to_owned(),
        epoch: 1,
        last: 7,
        title: Some("Operations".to_owned()),
    };
    for room in [known(1, "ops"), known(2, "lab"), known(1, "operations"), known(3, "lab")] {
        store.change(|changes| changes.put_room(&room)).unwrap();
    }
    assert_eq!(store.rooms().unwrap(), [known(3, "lab"), known(1, "operations")]);
    assert_eq!(store.room("operations").unwrap(), Some(known(1, "operations")));
    assert_eq!(store.room("ops").unwrap(), None);
    store.change(|changes| changes.insert_events(ROOM, 1, 1, &[Bytes::from_static(b"event")])).unwrap();
    store.change(|changes| changes.forget_room(ROOM)).unwrap();
    assert_eq!(store.room("operations").unwrap(), None);
    assert_eq!(store.ranges(ROOM, 1).unwrap(), []);
    assert_eq!(store.events(ROOM, 1, 1, 10, 1_000).unwrap(), []);
}

#[test]
fn events_are_read_without_a_gap_and_within_bounds() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let ten = vec![Bytes::from_static(b"1234567890"); 10];
    store.change(|changes| changes.insert_events(ROOM, 1, 1, &ten)).unwrap();
    store.change(|changes| changes.insert_events(ROOM, 1, 12, &ten)).unwrap();
    let seqs = |from, count, bytes| -> Vec<u64> {
        store.events(ROOM, 1, from, count, bytes).unwrap().into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(seqs(8, 100, 1_000), [8, 9, 10]);
    assert_eq!(seqs(11, 100, 1_000), []);
    assert_eq!(seqs(20, 100, 1_000), [20, 21]);
    assert_eq!(seqs(1, 2, 1_000), [1, 2]);
    assert_eq!(seqs(1, 100, 20), [1, 2]);
    assert_eq!(seqs(1, 100, 0), [1], "one event is given however large it is");
    assert_eq!(store.missing(ROOM, 1, 5..=30).unwrap(), [11..=11, 22..=30]);
    assert_eq!(store.missing(ROOM, 2, 5..=30).unwrap(), [5..=30]);
    assert_eq!(store.missing(ROOM, 1, 20..=u64::MAX).unwrap(), [22..=u64::MAX]);
    assert_eq!(store.events(ROOM, 1, u64::MAX, 10, 10).unwrap(), []);
    assert_eq!(store.missing(ROOM, 1, 12..=15).unwrap(), []);
    let absurd = store.change(|changes| changes.insert_events(ROOM, 1, u64::MAX, &ten));
    assert!(matches!(absurd, Err(ClientError::Limit { what: "sequence number", .. })), "{absurd:?}");
}

#[test]
fn the_oldest_events_go_when_there_are_too_many() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let some = vec![Bytes::from_static(b"event"); 30];
    let most = vec![Bytes::from_static(b"event"); usize::try_from(MAX_CACHED_EVENTS).unwrap() - 50];
    store.change(|changes| changes.insert_events(ROOM, 1, 1, &some)).unwrap();
    store.change(|changes| changes.insert_events(ROOM, 1, 51, &some)).unwrap();
    store.change(|changes| changes.insert_events(ROOM, 2, 101, &most)).unwrap();
    // Ten too many: the lowest range of the first epoch gives them.
    assert_eq!(store.ranges(ROOM, 1).unwrap(), [11..=30, 51..=80]);
    store.change(|changes| changes.insert_events(ROOM, 2, 1, &some)).unwrap();
    assert_eq!(store.ranges(ROOM, 1).unwrap(), [61..=80]);
    assert_eq!(store.events(ROOM, 1, 60, 1, 1_000).unwrap(), []);
    assert_eq!(store.events(ROOM, 1, 61, 1, 1_000).unwrap().len(), 1);
}

#[test]
fn a_transfer_is_found_again_whatever_its_path_is_made_of() {
    use std::os::unix::ffi::OsStringExt;
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let transfer = |number, updated_ms| Transfer {
        id: [number; 16],
        direction: if number == 1 { Direction::Send } else { Direction::Receive },
        path: PathBuf::from(std::ffi::OsString::from_vec(b"/srv/\xff name".to_vec())),
        target: "#lab".to_owned(),
        state: Bytes::from_static(b"\0state"),
        updated_ms,
    };
    for transfer in [transfer(1, 10), transfer(2, 20), transfer(1, 30)] {
        store.change(|changes| changes.put_transfer(&transfer)).unwrap();
    }
    drop(store);
    let mut store = ClientStore::open(home.path()).unwrap();
    assert_eq!(store.transfers().unwrap(), [transfer(1, 30), transfer(2, 20)]);
    assert_eq!(store.transfer([2; 16]).unwrap(), Some(transfer(2, 20)));
    store.change(|changes| changes.remove_transfer([1; 16])).unwrap();
    assert_eq!(store.transfer([1; 16]).unwrap(), None);
}

#[test]
fn a_servers_store_is_not_a_clients() {
    let home = home();
    drop(crate::SqliteStore::open(home.path()).unwrap());
    std::fs::rename(home.path().join(crate::FILE_NAME), home.path().join(FILE_NAME)).unwrap();
    assert!(matches!(ClientStore::open(home.path()), Err(OpenError::Foreign { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The cache against a plain map: any runs, in any order, over two epochs and a rewinding between them.
    #[test]
    fn the_cache_is_a_set_of_ranges(
        runs in prop::collection::vec((1_u32..3, 1_u64..40, 0_usize..9), 0..25),
        rewind in 1_u64..40,
    ) {
        let home = home();
        let mut store = ClientStore::open(home.path()).unwrap();
        let mut model = BTreeMap::new();
        for (epoch, first, count) in runs {
            let records: Vec<_> = (first..).take(count).map(|seq| Bytes::from(format!("{epoch}.{seq}"))).collect();
            store.change(|changes| changes.insert_events(ROOM, epoch, first, &records)).unwrap();
            model.extend((first..).zip(records).map(|(seq, record)| ((epoch, seq), record)));
            compare(&store, &model);
        }
        store.change(|changes| changes.rewind(ROOM, 2, rewind)).unwrap();
        model.retain(|(epoch, seq), _| *epoch >= 2 || *seq < rewind);
        compare(&store, &model);
    }
}

fn compare(store: &ClientStore, model: &BTreeMap<(u32, u64), Bytes>) {
    for epoch in 1..3 {
        let numbers: BTreeSet<u64> =
            model.keys().filter(|(of, _)| *of == epoch).map(|(_, seq)| *seq).collect();
        let ranges = store.ranges(ROOM, epoch).unwrap();
        assert_eq!(ranges.iter().cloned().flatten().collect::<BTreeSet<_>>(), numbers);
        let apart = ranges.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start());
        assert!(apart, "no two ranges touch: {ranges:?}");

        let missing: BTreeSet<u64> =
            store.missing(ROOM, epoch, 3..=45).unwrap().into_iter().flatten().collect();
        assert_eq!(missing, (3..=45).filter(|seq| !numbers.contains(seq)).collect());
        for range in ranges {
            let events = store.events(ROOM, epoch, *range.start(), 1_000, 1_000_000).unwrap();
            let expected: Vec<_> = range.map(|seq| (seq, model[&(epoch, seq)].clone())).collect();
            assert_eq!(events, expected);
        }
    }
}

#[test]
fn what_is_forgotten_is_missing_and_nothing_else() {
    let home = home();
    let mut store = ClientStore::open(home.path()).unwrap();
    let records = |count: u8| (0..count).map(|n| Bytes::from(vec![n])).collect::<Vec<_>>();
    let check = |store: &ClientStore, expected: &[std::ops::RangeInclusive<u64>]| {
        assert_eq!(store.ranges(ROOM, 1).unwrap(), expected);
        for seq in 1..=30 {
            let here = !store.events(ROOM, 1, seq, 1, 9).unwrap().is_empty();
            assert_eq!(here, expected.iter().any(|range| range.contains(&seq)), "event {seq}");
        }
    };
    let mut change = |gone: std::ops::RangeInclusive<u64>, expected: &[_]| {
        store.change(|changes| changes.forget_events(ROOM, 1, gone)).unwrap();
        check(&store, expected);
    };
    change(1..=9, &[]);
    store.change(|changes| changes.insert_events(ROOM, 1, 1, &records(10))).unwrap();
    store.change(|changes| changes.insert_events(ROOM, 1, 21, &records(10))).unwrap();
    let mut change = |gone: std::ops::RangeInclusive<u64>, expected: &[_]| {
        store.change(|changes| changes.forget_events(ROOM, 1, gone)).unwrap();
        check(&store, expected);
    };
    change(11..=20, &[1..=10, 21..=30]);
    change(4..=5, &[1..=3, 6..=10, 21..=30]);
    change(10..=21, &[1..=3, 6..=9, 22..=30]);
    change(1..=3, &[6..=9, 22..=30]);
    change(30..=u64::MAX >> 1, &[6..=9, 22..=29]);
    change(1..=30, &[]);
}
