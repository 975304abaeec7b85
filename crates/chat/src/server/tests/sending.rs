//! Sending: durable before answered, dense, once, in order, many with one commit.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::server::{Authority, ChatServer, NewEvent};

//= S4.34 (test)
//= S4.40 (test)
#[tokio::test]
async fn nobody_hears_of_an_event_before_it_is_durable() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    world.store.gated.store(true, Ordering::SeqCst);
    let mut pending = world.submit(OPS, proposal(1, [1; 16], "x")).await.unwrap();
    everybody_had_a_turn().await;
    assert!(pending.try_recv().is_err(), "not acknowledged while the commit runs");
    assert_eq!(updates(&mut feed).await, [], "not shown while the commit runs");
    world.store.gate.0.add_permits(1);
    assert_eq!(pending.await.unwrap().unwrap().seq, 1);
    assert_eq!(events(&updates(&mut feed).await, OPS, 1), ["x"]);
}

//= S4.30 (test)
#[tokio::test]
async fn sends_that_wait_for_a_commit_share_the_next_one() {
    let world = World::new(Limits::default()).await;
    world.store.gated.store(true, Ordering::SeqCst);
    let before = world.store.commits.load(Ordering::SeqCst);
    let mut pending = vec![world.submit(OPS, proposal(1, [0; 16], "first")).await.unwrap()];
    everybody_had_a_turn().await;
    for n in 1..=100 {
        pending.push(world.submit(OPS, proposal(1, [n; 16], "x")).await.unwrap());
    }
    world.store.gate.0.add_permits(100);
    for (n, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await.unwrap().unwrap().seq, n as u64 + 1, "in the order they came");
    }
    assert_eq!(world.store.commits.load(Ordering::SeqCst) - before, 2);
}

//= S4.10 (test)
//= S4.32 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_and_retries_make_each_message_one_event() {
    let world = Arc::new(World::new(Limits::default()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u8 {
        let world = world.clone();
        tasks.spawn(async move {
            let mut seqs = Vec::new();
            for n in 0..40u8 {
                // Two tasks share each author and each id: every message is sent twice, at about the same time.
                let (user, id) = (task / 2, [n; 16]);
                let sent = world.send(OPS, proposal(user, id, &format!("{user}/{n}"))).await.unwrap();
                seqs.push(((user, n), sent.seq));
            }
            assert!(seqs.is_sorted_by_key(|(_, seq)| *seq), "one sender's order is kept");
            seqs
        });
    }
    let mut places = HashMap::new();
    for (message, seq) in tasks.join_all().await.into_iter().flatten() {
        assert_eq!(*places.entry(message).or_insert(seq), seq, "both senders were given the same place");
    }
    let texts = world.texts(OPS).await;
    assert_eq!(texts.len(), 4 * 40);
    for ((user, n), seq) in places {
        assert_eq!(texts[seq as usize - 1], format!("{user}/{n}"));
    }
}

//= S4.10 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_store_make_one_log() {
    let world = World::new(Limits { commit_attempts: 1_000, ..Limits::default() }).await;
    let other = Core::new(world.store.clone(), world.core.limits.clone(), Arc::new(|| 1_000));
    let worlds = [Arc::new(world), Arc::new(World { store: Arc::default(), core: Arc::new(other) })];
    let store = worlds[0].store.clone();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60u8 {
        let core = worlds[usize::from(n % 2)].core.clone();
        let member = Somebody::new(n, store.clone());
        tasks.spawn(async move {
            let room = core.room(OPS).await.unwrap();
            let pending = core.submit(room, proposal(n, [n; 16], "x"), Some(member)).await.unwrap();
            pending.await.unwrap().unwrap().seq
        });
    }
    let mut seqs = tasks.join_all().await;
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=60).collect::<Vec<u64>>());
}

//= S4.37 (test)
#[tokio::test]
async fn a_permission_that_was_withdrawn_is_not_used_once_more() {
    let world = World::new(Limits::default()).await;
    let member = world.somebody(1);
    let send = async |id| {
        let room = world.core.room(OPS).await.unwrap();
        world
            .core
            .submit(room, proposal(1, [id; 16], "x"), Some(member.clone()))
            .await
            .unwrap()
            .await
            .unwrap()
    };
    assert_eq!(send(1).await.unwrap().seq, 1);
    // The member remembers that they may; the store knows better.
    world.store.commit(Batch::new().put(member.key(), "no")).await.unwrap();
    assert!(matches!(send(2).await, Err(Refusal::Denied(_))));
    assert_eq!(world.texts(OPS).await.len(), 1);
    assert_eq!(
        send(1).await.map(|sent| (sent.seq, sent.duplicate)),
        Ok((1, true)),
        "what happened has happened"
    );
    world.store.commit(Batch::new().delete(member.key())).await.unwrap();
    assert_eq!(send(2).await.unwrap().seq, 2, "nor is a refusal that no longer holds");
}

//= S4.35 (test)
#[tokio::test]
async fn a_guarded_send_that_succeeded_is_not_a_conflict_when_repeated() {
    let world = World::new(Limits::default()).await;
    let guarded = Proposal { expect_last: Some(0), ..proposal(1, [1; 16], "x") };
    let sent = world.send(OPS, guarded.clone()).await.unwrap();
    world.say(OPS, "y").await;
    assert_eq!(world.send(OPS, guarded).await, Ok(Sent { duplicate: true, ..sent }));
    let late = Proposal { expect_last: Some(1), ..proposal(1, [2; 16], "z") };
    assert_eq!(world.send(OPS, late).await, Err(Refusal::Moved { expected: 1, last: 2 }));
}

#[tokio::test]
async fn a_refused_send_does_not_disturb_its_neighbours() {
    let world = World::new(Limits::default()).await;
    world.store.gated.store(true, Ordering::SeqCst);
    let first = world.submit(OPS, proposal(1, [0; 16], "a")).await.unwrap();
    everybody_had_a_turn().await;
    let good = world.submit(OPS, proposal(1, [1; 16], "b")).await.unwrap();
    let reused = world.submit(OPS, proposal(1, [0; 16], "other")).await.unwrap();
    let last = world.submit(OPS, proposal(1, [2; 16], "c")).await.unwrap();
    world.store.gate.0.add_permits(100);
    assert_eq!(first.await.unwrap().unwrap().seq, 1);
    assert_eq!(good.await.unwrap().unwrap().seq, 2);
    assert_eq!(reused.await.unwrap(), Err(Refusal::IdReused { seq: 1 }));
    assert_eq!(last.await.unwrap().unwrap().seq, 3);
}

#[tokio::test]
async fn a_full_disk_is_said_and_the_same_id_works_later() {
    let world = World::new(Limits::default()).await;
    world.store.full.store(true, Ordering::SeqCst);
    assert_eq!(world.send(OPS, proposal(1, [1; 16], "x")).await, Err(Refusal::Full));
    world.store.full.store(false, Ordering::SeqCst);
    assert_eq!(world.send(OPS, proposal(1, [1; 16], "x")).await.map(|sent| sent.duplicate), Ok(false));
}

#[tokio::test]
async fn a_room_takes_so_many_waiting_sends_and_says_so_to_the_next() {
    let world = World::new(Limits { sends_waiting: 3, ..Limits::default() }).await;
    world.store.gated.store(true, Ordering::SeqCst);
    let mut pending = vec![world.submit(OPS, proposal(1, [0; 16], "x")).await.unwrap()];
    everybody_had_a_turn().await;
    for n in 1..=3 {
        pending.push(world.submit(OPS, proposal(1, [n; 16], "x")).await.unwrap());
    }
    let busy = world.submit(OPS, proposal(1, [4; 16], "x")).await.unwrap_err();
    assert_eq!(busy, Refusal::Busy { waiting: 3, limit: 3 });
    world.store.gate.0.add_permits(10);
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
}

//= S4.14 (test)
#[tokio::test]
async fn the_program_appends_parcels_once_and_in_the_senders_name() {
    let world = World::new(Limits::default()).await;
    let server = ChatServer { core: world.core.clone() };
    let id = Some(MessageId([7; 16]));
    let event = NewEvent { kind: Kind::PARCEL, id, body: Bytes::from_static(b"parcel"), refs: Vec::new() };
    let member = Authority::Member(world.somebody(1));
    let first = server.append_event(OPS, member.clone(), event.clone()).await.unwrap();
    let again = server.append_event(OPS, member, event).await.unwrap();
    assert_eq!((first.seq, again.seq, again.duplicate), (1, 1, true));
    let end = NewEvent { kind: Kind::PARCEL_END, id: None, body: Bytes::new(), refs: vec![first.seq] };
    assert_eq!(server.append_event(OPS, Authority::Server(author(1)), end).await.unwrap().seq, 2);
    let event = server.event(OPS, 1).await.unwrap().unwrap();
    assert_eq!((event.envelope.kind, event.envelope.author), (Kind::PARCEL, UserId([1; 16])));
    assert_eq!(server.event(OPS, 3).await.unwrap(), None);
}

#[tokio::test]
async fn a_room_nobody_uses_takes_no_memory() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    assert_eq!(world.core.room(RoomId([1; 16])).await.map(|_| ()).unwrap_err(), Refusal::RoomUnknown);
    while world.core.rooms_in_memory() > 0 {
        everybody_had_a_turn().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    //= S4.11 (test)
    #[test]
    fn the_log_is_what_was_acknowledged(sends in prop::collection::vec((0u8..3, 0u8..20, "[ab]"), 1..60), at_once in 1usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new(Limits { commit_events: 4, ..Limits::default() }).await;
            let mut acknowledged: HashMap<u64, String> = HashMap::new();
            for sends in sends.chunks(at_once) {
                let mut pending = Vec::new();
                for (user, id, body) in sends {
                    pending.push((body, world.submit(OPS, proposal(*user, [*id; 16], body)).await.unwrap()));
                }
                for (body, pending) in pending {
                    match pending.await.unwrap() {
                        Ok(sent) => {
                            let before = acknowledged.insert(sent.seq, body.clone());
                            assert_eq!(before.is_some(), sent.duplicate);
                            assert!(before.is_none_or(|before| before == *body));
                        }
                        Err(refusal) => assert!(matches!(refusal, Refusal::IdReused { .. })),
                    }
                }
            }
            let texts = world.texts(OPS).await;
            assert_eq!(texts.len(), acknowledged.len());
            for (seq, text) in (1..).zip(texts) {
                assert_eq!(acknowledged[&seq], text);
            }
        });
    }
}

//= S4.25 (test)
#[tokio::test]
async fn what_is_deleted_is_gone_from_the_store_and_from_memory_before_anybody_is_told() {
    let world = World::new(Limits::default()).await;
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    updates(&mut feed).await;
    for text in ["a secret", "not so"] {
        world.say(OPS, text).await;
    }
    let edit = Proposal { kind: Kind::EDIT, refs: vec![1], ..proposal(1, [70; 16], "still a secret") };
    assert_eq!(world.send(OPS, edit).await.unwrap().seq, 3);
    let delete = |user, id| Proposal { kind: Kind::DELETE, refs: vec![1], ..proposal(user, [id; 16], "") };
    let denied = world.send(OPS, delete(2, 71)).await;
    assert_eq!(denied, Err(Refusal::Denied("delete what others wrote")));
    assert_eq!(world.send(OPS, delete(1, 72)).await.unwrap().seq, 4);
    assert_eq!(world.send(OPS, delete(1, 72)).await.map(|sent| sent.duplicate), Ok(true));
    assert_eq!(world.send(OPS, delete(1, 73)).await, Err(Refusal::RefErased { seq: 1 }));

    // The reader had not looked since: it takes everything from memory, if memory has it.
    let told = updates(&mut feed).await;
    let seen: Vec<_> = told
        .iter()
        .flat_map(|update| &update.batches)
        .flat_map(|batch| batch.records.iter().collect::<Vec<_>>())
        .map(|record| Event::from_record(&record).unwrap().body)
        .collect();
    assert_eq!(seen, [None, Some("not so".into()), None, Some("".into())]);
    let kept = world.store.get(&crate::stored::edits_key(OPS, 1)).await.unwrap();
    assert_eq!(kept, None);
}

//= S4.37 (test)
#[tokio::test]
async fn a_moderator_is_who_made_the_room_or_whom_the_program_calls_one_at_that_moment() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    let pin = |user, id, kind| Proposal { kind, refs: vec![1], ..proposal(user, [id; 16], "") };
    assert_eq!(world.send(OPS, pin(0, 1, Kind::PIN)).await.map(|sent| sent.seq), Ok(2), "made the room");
    assert!(matches!(world.send(OPS, pin(3, 2, Kind::UNPIN)).await, Err(Refusal::Denied(_))));
    let moderator = Key::join([b"mod/".as_slice(), &[3]]);
    world.store.commit(Batch::new().put(moderator.clone(), "yes")).await.unwrap();
    assert_eq!(world.send(OPS, pin(3, 3, Kind::UNPIN)).await.map(|sent| sent.seq), Ok(3));

    // The right is withdrawn while the pin waits for its commit.
    world.store.gated.store(true, Ordering::SeqCst);
    let pending = world.submit(OPS, pin(3, 4, Kind::PIN)).await.unwrap();
    everybody_had_a_turn().await;
    world.store.inner.commit(Batch::new().delete(moderator)).await.unwrap();
    world.store.gated.store(false, Ordering::SeqCst);
    world.store.gate.0.add_permits(8);
    assert!(matches!(pending.await.unwrap(), Err(Refusal::Denied(_))));
}

//= S4.25 (test)
#[tokio::test]
async fn an_edit_that_waits_with_a_deletion_does_not_keep_the_text() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "a secret").await;
    world.store.gated.store(true, Ordering::SeqCst);
    let mut pending = vec![world.submit(OPS, proposal(2, [1; 16], "x")).await.unwrap()];
    everybody_had_a_turn().await;
    for (id, kind, body) in [(2, Kind::EDIT, "still a secret"), (3, Kind::DELETE, "")] {
        let about = Proposal { kind, refs: vec![1], ..proposal(1, [id; 16], body) };
        pending.push(world.submit(OPS, about).await.unwrap());
    }
    world.store.gate.0.add_permits(100);
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    let events = world.store.inner.events(StoreRoom(OPS.0), 1, 10, usize::MAX).await.unwrap().events;
    let bodies: Vec<_> = events.iter().map(|event| Event::from_record(&event.record).unwrap().body).collect();
    assert_eq!(bodies, [None, Some("x".into()), None, Some("".into())]);
}
