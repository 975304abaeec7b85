//! Following: every event once and in order, from wherever the reader stands, at whatever pace it reads.

use proptest::prelude::*;

use super::*;

const LAB: RoomId = RoomId([0xbb; 16]);

//= S4.41 (test)
#[tokio::test]
async fn a_reader_gets_head_events_and_the_word_that_it_has_everything() {
    let world = World::new(Limits::default()).await;
    for text in ["a", "b", "c"] {
        world.say(OPS, text).await;
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 2, Mode::Live)).await.unwrap();
    let updates_now = updates(&mut feed).await;
    let head = &updates_now[0].heads[0];
    assert_eq!((head.epoch, head.first, head.last, head.count, head.rewound), (1, 1, 3, 3, None));
    assert_eq!(events(&updates_now, OPS, 2), ["b", "c"]);
    assert_eq!(updates_now.last().unwrap().live[0].through, 3);

    world.say(OPS, "d").await;
    feed.mailbox().changed().await;
    let news = updates(&mut feed).await;
    assert_eq!(events(&news, OPS, 4), ["d"]);
    assert!(news.iter().all(|update| update.heads.is_empty() && update.live.is_empty()), "said once");
}

#[tokio::test]
async fn a_reader_that_left_the_ring_reads_on_from_the_log() {
    let world = World::new(Limits { ring_events: 4, ..Limits::default() }).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    for n in 0..100 {
        world.say(OPS, &n.to_string()).await;
    }
    let room = world.core.room(OPS).await.unwrap();
    let budget = super::super::ring::Budget { events: 9, bytes: 9_999 };
    assert!(
        room.newest(1, budget).is_none() && room.newest(97, budget).is_some(),
        "the ring was overwritten"
    );
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(events(&updates(&mut feed).await, OPS, 1), expected);
}

#[tokio::test]
async fn a_reader_that_sleeps_costs_one_entry_however_much_happens() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    for _ in 0..50 {
        world.say(OPS, "x").await;
    }
    let mut changed = Vec::new();
    feed.mailbox().take(&mut changed);
    assert_eq!(changed, [OPS], "one entry for fifty events");
}

#[tokio::test]
async fn updates_keep_their_size_and_rooms_take_turns() {
    let limits = Limits { update_bytes: 600, ..Limits::default() };
    let world = World::new(limits).await;
    world.create(LAB, "lab").await.unwrap();
    for n in 0..20 {
        world.say(OPS, &n.to_string()).await;
        world.say(LAB, &n.to_string()).await;
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    feed.apply(follow(LAB, 0, 1, Mode::Live)).await.unwrap();
    let updates = updates(&mut feed).await;
    for update in &updates {
        let bytes: usize = update.batches.iter().map(|batch| batch.records.encoded_len()).sum();
        assert!(bytes <= 600 + 250, "{bytes}: at most the limit and one record");
    }
    let halfway: Vec<Update> = updates[..updates.len() / 2].to_vec();
    assert!(
        !events(&halfway, LAB, 1).is_empty() && !events(&halfway, OPS, 1).is_empty(),
        "neither room waits"
    );
    assert_eq!(events(&updates, OPS, 1).len(), 20);
    assert_eq!(events(&updates, LAB, 1).len(), 20);
}

//= S4.42 (test)
#[tokio::test]
async fn a_thousand_rooms_are_resumed_with_one_message() {
    let world = World::new(Limits::default()).await;
    let room = |n: u16| RoomId([[0; 14].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap());
    for n in 0..1_000 {
        world.create(room(n), &format!("room-{n}")).await.unwrap();
    }
    world.say(room(77), "x").await;
    let mut follower = crate::client::Follower::new();
    for n in 0..1_000 {
        let mode = if n == 77 { Mode::Live } else { Mode::Heads };
        follower.follow(room(n), crate::client::Position { epoch: 1, next: 1 }, mode);
    }
    let mut feed = world.feed();
    let asked = follower.wishes().unwrap();
    assert_eq!((asked.subscribe.len(), follower.wishes()), (1_000, None), "one message says it all");
    feed.apply(asked).await.unwrap();
    let updates = updates(&mut feed).await;
    assert_eq!(updates.iter().map(|update| update.heads.len()).sum::<usize>(), 1_000);
    assert_eq!(events(&updates, room(77), 1), ["x"]);
    assert!(updates.len() <= 1_000 / super::super::feed::HEADS_AT_ONCE + 2, "{} messages", updates.len());
    let news: usize = updates.into_iter().map(|update| follower.update(update).len()).sum();
    assert_eq!((news, follower.has_wishes()), (1_000 + 2, false), "nothing is left to ask");
}

//= S4.45 (test)
#[tokio::test]
async fn a_refused_subscription_does_not_disturb_the_others() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    let mut feed = world.feed();
    let mut ask = follow(OPS, 0, 1, Mode::Live);
    ask.subscribe.insert(0, Cursor { room: RoomId([1; 16]), epoch: 0, next: 1, mode: Mode::Live });
    feed.apply(ask).await.unwrap();
    let updates = updates(&mut feed).await;
    let refused: Vec<_> = updates.iter().flat_map(|update| &update.refused).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].room, refused[0].code), (RoomId([1; 16]), Refusal::RoomUnknown.code().0));
    assert_eq!(events(&updates, OPS, 1), ["x"]);
}

#[tokio::test]
async fn one_subscription_too_many_is_refused_by_the_name_of_the_limit() {
    let world = World::new(Limits { subscriptions: 1, ..Limits::default() }).await;
    world.create(LAB, "lab").await.unwrap();
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    assert!(
        updates(&mut feed).await.iter().all(|update| update.refused.is_empty()),
        "moving a cursor is free"
    );
    feed.apply(follow(LAB, 0, 1, Mode::Live)).await.unwrap();
    let refused = updates(&mut feed).await.remove(0).refused.remove(0);
    assert!(refused.message.contains("limit of 1 subscriptions"), "{}", refused.message);
    feed.apply(Follow { unsubscribe: vec![OPS], ..follow(LAB, 0, 1, Mode::Live) }).await.unwrap();
    assert!(updates(&mut feed).await.iter().all(|update| update.refused.is_empty()));
}

#[tokio::test]
async fn who_may_not_read_is_refused() {
    let world = World::new(Limits::default()).await;
    let reader = world.somebody(9);
    world.store.commit(Batch::new().put(reader.key(), "no")).await.unwrap();
    let mut feed = Feed::new(world.core.clone(), reader);
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    let updates = updates(&mut feed).await;
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].refused[0].code, Refusal::Denied("").code().0);
    assert!(updates[0].heads.is_empty() && updates[0].batches.is_empty());
}

#[tokio::test]
async fn a_failing_store_ends_the_exchange_and_not_the_subscription() {
    struct Unsure;
    impl Member for Unsure {
        fn author(&self) -> Author {
            author(9)
        }

        fn permit(&self, _: Ask) -> Answer<'_> {
            Box::pin(async { Err(Refusal::Store(StoreError::Failed("disk".into()))) })
        }
    }
    let world = World::new(Limits::default()).await;
    let mut feed = Feed::new(world.core.clone(), Arc::new(Unsure));
    let failed = feed.apply(follow(OPS, 1, 1, Mode::Live)).await.unwrap_err();
    assert_eq!(failed.retry(), hikyaku_wire::exchange::Retry::NewConnection);
    assert_eq!(updates(&mut feed).await, []);
}

//= S4.49 (test)
#[tokio::test]
async fn a_room_off_screen_gives_heads_and_no_events() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Heads)).await.unwrap();
    assert_eq!(updates(&mut feed).await.len(), 1);
    for _ in 0..5 {
        world.say(OPS, "x").await;
    }
    assert_eq!(updates(&mut feed).await, [], "not at once");
    assert!(feed.has_heads_due());
    feed.flush_heads();
    let update = updates(&mut feed).await.remove(0);
    assert_eq!((update.heads.len(), update.heads[0].last, update.heads[0].count), (1, 5, 5));
    assert!(update.batches.is_empty());
}

//= S4.46 (test)
#[tokio::test]
async fn a_reader_whose_wake_up_was_lost_is_late_and_not_wrong() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    world.say(OPS, "x").await;
    feed.mailbox().take(&mut Vec::new());
    assert_eq!(updates(&mut feed).await, [], "the wake-up is lost");
    feed.check_all();
    let late = updates(&mut feed).await;
    assert_eq!(late[0].heads[0].last, 1);
    assert_eq!(events(&late, OPS, 1), ["x"]);
}

//= S4.46 (test)
#[tokio::test]
async fn what_another_server_appends_is_found_at_the_next_look() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    let other = Core::new(world.store.clone(), Limits::default(), Arc::new(|| 1_000));
    let other = World { store: world.store.clone(), core: Arc::new(other) };
    other.say(OPS, "x").await;
    world.core.refresh_logs(&feed.rooms()).await.unwrap();
    assert_eq!(events(&updates(&mut feed).await, OPS, 1), ["x"]);
}

//= S4.47 (test)
#[tokio::test]
async fn what_is_appended_while_a_cursor_is_being_set_is_sent() {
    let world = World::new(Limits::default()).await;
    let writer = Core::new(world.store.clone(), Limits::default(), Arc::new(|| 1_000));
    let writer = World { store: world.store.clone(), core: Arc::new(writer) };
    let room = writer.core.room(OPS).await.unwrap();
    world.store.late_heads.store(true, Ordering::SeqCst);
    let mut feed = world.feed();
    let set = feed.apply(follow(OPS, 1, 1, Mode::Live));
    let append = async {
        while world.store.late_heads.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // The reader's server has read an empty log and does not know that it has.
        writer.say(OPS, "in between").await;
        world.store.gate.0.add_permits(1);
    };
    let (set, ()) = tokio::join!(set, append);
    set.unwrap();
    assert_eq!(events(&updates(&mut feed).await, OPS, 1), ["in between"]);
    drop(room);
}

//= S4.44 (test)
#[tokio::test]
async fn trimmed_events_are_said_to_be_trimmed() {
    let world = World::new(Limits::default()).await;
    for n in 1..=6 {
        world.say(OPS, &n.to_string()).await;
    }
    *world.store.edit_head.lock().unwrap() = Some(|head| Head { first: 4, ..head });
    let mut feed = world.feed();
    feed.apply(follow(OPS, 1, 2, Mode::Live)).await.unwrap();
    world.core.room(OPS).await.unwrap().forget_ring();
    let updates = updates(&mut feed).await;
    let trimmed: Vec<_> = updates.iter().flat_map(|update| &update.trimmed).collect();
    assert_eq!((trimmed.len(), trimmed[0].through), (1, 3));
    assert_eq!(events(&updates, OPS, 4), ["4", "5", "6"]);
}

//= S4.43 (test)
#[tokio::test]
async fn a_reader_of_an_older_epoch_is_told_what_to_throw_away() {
    use hikyaku_storage::{Guard, Raise};
    let world = World::new(Limits::default()).await;
    for n in 1..=3 {
        world.say(OPS, &n.to_string()).await;
    }
    // An operator has restored a backup that ended at event 3, and three other events have followed since.
    let raise = Raise { room: StoreRoom(OPS.0), guard: Guard { epoch: 1, expect_last: 3 }, epoch: 2 };
    world.store.commit(Batch::new().raise(raise)).await.unwrap();
    for n in 4..=6 {
        world.say(OPS, &n.to_string()).await;
    }

    let mut feed = world.feed();
    feed.apply(follow(OPS, 1, 7, Mode::Live)).await.unwrap();
    let told = updates(&mut feed).await;
    assert_eq!((told[0].heads[0].epoch, told[0].heads[0].rewound), (2, Some(4)));
    assert_eq!(events(&told, OPS, 4), ["4", "5", "6"]);

    let mut behind = world.feed();
    behind.apply(follow(OPS, 1, 2, Mode::Live)).await.unwrap();
    assert_eq!(
        events(&updates(&mut behind).await, OPS, 2).len(),
        5,
        "what it lacks comes from the new epoch"
    );
}

//= S4.43 (test)
#[tokio::test]
async fn a_reader_that_is_connected_goes_back_to_what_was_replaced() {
    let world = World::new(Limits::default()).await;
    for n in 1..=6 {
        world.say(OPS, &n.to_string()).await;
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 1, 7, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    *world.store.edit_head.lock().unwrap() = Some(|head| Head { epoch: 2, epochs: vec![(2, 4)], ..head });
    world.core.refresh_logs(&[world.core.room(OPS).await.unwrap()]).await.unwrap();
    let told = updates(&mut feed).await;
    assert_eq!((told[0].heads[0].epoch, told[0].heads[0].rewound), (2, Some(4)));
    assert_eq!(events(&told, OPS, 4), ["4", "5", "6"]);
}

//= S4.43 (test)
#[tokio::test]
async fn a_reader_that_knows_more_than_the_server_is_told_so() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    for (epoch, next) in [(1, 3), (2, 1)] {
        let mut feed = world.feed();
        feed.apply(follow(OPS, epoch, next, Mode::Live)).await.unwrap();
        let update = updates(&mut feed).await.remove(0);
        assert_eq!(update.refused[0].code, (Refusal::Ahead { epoch: 1, last: 1 }).code().0);
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1 << 52, Mode::Live)).await.unwrap();
    let told = updates(&mut feed).await;
    assert_eq!((told.len(), told[0].live[0].through), (1, 1), "who knows nothing may begin at the end");
}

//= S4.70 (test)
#[test]
fn no_message_is_larger_than_every_peer_accepts() {
    use hikyaku_wire::cbor::{MAX_INTEGER, encode};
    use hikyaku_wire::chat as wire;
    const ACCEPTED: usize = 262_144;
    let limits = Limits::default();
    let send = wire::Send {
        room: wire::RoomRef::Name("\u{10000}".repeat(64)),
        id: MessageId([0; 16]),
        kind: Kind(u16::MAX),
        body: vec![0; limits.body].into(),
        refs: vec![MAX_INTEGER; limits.refs],
        mentions: vec![UserId([0; 16]); limits.mentions],
        expect_last: Some(MAX_INTEGER),
        sealed: None,
        signature: None,
        epoch: Some(u32::MAX),
    };
    assert!(encode(&send).len() < ACCEPTED);

    // The record this becomes, behind an update that is otherwise as full as it may be.
    let largest = vec![0; encode(&send).len() + 1_024];
    let mut records = wire::Records::new();
    records.push(&vec![0; limits.update_bytes - 1]);
    records.push(&largest);
    let head = wire::Head { ts_ms: MAX_INTEGER, ..crate::rules::Log::empty(OPS).head(Some(MAX_INTEGER)) };
    let refusal = Refusal::Ahead { epoch: u32::MAX, last: MAX_INTEGER };
    let refused = wire::Refused { room: OPS, code: u32::MAX, message: refusal.to_string() };
    let update = Update {
        heads: vec![head; super::super::feed::HEADS_AT_ONCE],
        refused: vec![refused; super::super::feed::HEADS_AT_ONCE],
        batches: vec![wire::Batch { room: OPS, epoch: u32::MAX, first: MAX_INTEGER, records }],
        ..Update::default()
    };
    assert!(encode(&update).len() < ACCEPTED, "{}", encode(&update).len());
    assert!(hikyaku::Limits::default().max_message >= ACCEPTED as u64);
}

/// What happens to one reader.
#[derive(Clone, Debug)]
enum Happening {
    Say(u8),
    Read,
    Leave,
    Subscribe,
    ForgetRing,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (1u8..6).prop_map(Happening::Say),
        3 => Just(Happening::Read),
        1 => Just(Happening::Leave),
        2 => Just(Happening::Subscribe),
        1 => Just(Happening::ForgetRing),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    //= S4.47 (test)
    #[test]
    fn however_a_reader_comes_and_goes_it_sees_everything_once(happenings in happenings(), ring in 1usize..20, bytes in 1usize..2_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new(Limits { ring_events: ring, update_bytes: bytes, ..Limits::default() }).await;
            let (mut feed, mut said, mut seen) = (world.feed(), 0u64, Vec::new());
            for happening in happenings.into_iter().chain([Happening::Subscribe, Happening::Read]) {
                match happening {
                    Happening::Say(count) => for _ in 0..count {
                        world.say(OPS, &said.to_string()).await;
                        said += 1;
                    },
                    Happening::Read => {
                        let next = seen.len() as u64 + 1;
                        seen.extend(events(&updates(&mut feed).await, OPS, next));
                    }
                    Happening::Leave => {
                        let follow = Follow { unsubscribe: vec![OPS], ..Follow::default() };
                        feed.apply(follow).await.unwrap();
                    }
                    Happening::Subscribe => {
                        let next = seen.len() as u64 + 1;
                        feed.apply(follow(OPS, 1, next, Mode::Live)).await.unwrap();
                    }
                    Happening::ForgetRing => world.core.room(OPS).await.unwrap().forget_ring(),
                }
            }
            let expected: Vec<String> = (0..said).map(|n| n.to_string()).collect();
            assert_eq!(seen, expected);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_wait_are_woken_by_every_commit() {
    let world = Arc::new(World::new(Limits { ring_events: 8, ..Limits::default() }).await);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut feed = world.feed();
        feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
        readers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let next = seen.len() as u64 + 1;
                seen.extend(events(&updates(&mut feed).await, OPS, next));
                if seen.len() == 400 {
                    return seen;
                }
                // A wake-up that is lost would leave this reader here for ever.
                feed.mailbox().changed().await;
            }
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let world = world.clone();
        writers.spawn(async move {
            for n in 0..100 {
                world.say(OPS, &n.to_string()).await;
            }
        });
    }
    writers.join_all().await;
    let log = world.texts(OPS).await;
    for seen in readers.join_all().await {
        assert_eq!(seen, log, "everybody sees the same");
    }
}
