//! What an audit finds: each store here has one thing wrong with it.

use hikyaku_storage::Head as StoredHead;
use hikyaku_wire::chat::Digest;

use super::*;
use crate::audit::{Audit, audit};
use crate::stored::{self, MemberRecord, RoomRecord, State, chain_key, member_key, name_key, room_key};

/// A change of a head.
type Edit = fn(StoredHead) -> StoredHead;

/// A room with three events, the second of which is no message.
async fn world() -> World {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "one").await;
    let react = Proposal { kind: Kind::REACTION, refs: vec![1], ..proposal(1, [7; 16], "+") };
    world.send(OPS, react).await.unwrap();
    world.say(OPS, "two").await;
    world
}

async fn found(world: &World) -> Audit {
    audit(&*world.store).await.unwrap()
}

/// What is found with a head that was changed like this.
async fn with_head(edit: Edit) -> Vec<String> {
    let world = world().await;
    *world.store.edit_head.lock().unwrap() = Some(edit);
    found(&world).await.damage
}

fn state(head: &StoredHead, edit: fn(&mut State)) -> Bytes {
    let mut state: State = stored::decode(&head.state).unwrap();
    edit(&mut state);
    stored::encode(&state)
}

#[tokio::test]
async fn a_store_as_the_rules_make_it_is_whole_also_after_a_deletion_and_a_trim() {
    let world = world().await;
    let delete = Proposal { kind: Kind::DELETE, refs: vec![1], ..proposal(1, [8; 16], "") };
    world.send(OPS, delete).await.unwrap();
    let whole = found(&world).await;
    assert_eq!((whole.rooms, whole.events, whole.epoch), (1, 4, 1));
    assert_eq!((whole.damage, whole.orphans), (vec![], vec![]));
    let trim = hikyaku_wire::chat::Trim { room: OPS.into(), epoch: 1, through: 2 };
    crate::server::retention::trim(&world.core, &*world.somebody(0), &trim).await.unwrap();
    let whole = found(&world).await;
    assert_eq!((whole.events, whole.damage, whole.orphans), (2, vec![], vec![]));
}

#[tokio::test]
async fn a_head_that_does_not_fit_its_log_is_damage() {
    let cases: [(Edit, &str); 9] = [
        (|head| StoredHead { epoch: 2, ..head }, "the list of epochs"),
        (|head| StoredHead { epoch: 3, epochs: vec![(2, 3), (3, 2)], ..head }, "the list of epochs"),
        (|head| StoredHead { epoch: 2, epochs: vec![(2, 9)], ..head }, "the list of epochs"),
        (|head| StoredHead { last: 4, ..head }, "events from 4 to 4 are missing"),
        (|head| StoredHead { last_ts: 1, ..head }, "the head says 1"),
        (|head| StoredHead { first: 2, ..head }, "the chain's value before event 2 is missing"),
        (|head| StoredHead { state: "no state".into(), ..head }, "the state in the head cannot be read"),
        (
            |head| StoredHead { state: state(&head, |state| state.count = 3), ..head },
            "the head counts 3, the newest event 2",
        ),
        (
            |head| StoredHead { state: state(&head, |state| state.chain = Digest([9; 32])), ..head },
            "is not the one in the head",
        ),
    ];
    for (edit, words) in cases {
        let damage = with_head(edit).await;
        assert!(damage.iter().any(|what| what.contains(words)), "{words}: {damage:?}");
    }
}

#[tokio::test]
async fn records_and_indexes_that_do_not_fit_the_room_are_named() {
    let cases: [(Batch, &str); 5] = [
        (Batch::new().delete(name_key(&crate::RoomName::parse("ops").unwrap())), "the list of names"),
        (
            Batch::new().delete(member_key(OPS, UserId([0; 16]))),
            "counts 1 members and 1 owners, and has 0 and 0",
        ),
        (Batch::new().put(member_key(OPS, UserId([5; 16])), "?"), "the record of a member cannot be read"),
        (
            Batch::new().put(chain_key(OPS, 0), stored::encode(&(2_u64, Digest([9; 32])))),
            "the chain is broken at or before event 2",
        ),
        (Batch::new().put(room_key(OPS), "?"), "the record of a room cannot be read"),
    ];
    for (batch, words) in cases {
        let world = world().await;
        world.store.commit(batch).await.unwrap();
        let found = found(&world).await;
        let all = [found.damage, found.orphans].concat();
        assert!(all.iter().any(|what| what.contains(words)), "{words}: {all:?}");
    }
}

#[tokio::test]
async fn what_belongs_to_no_room_is_an_orphan() {
    let world = world().await;
    world.store.commit(Batch::new().delete(room_key(OPS))).await.unwrap();
    let found = found(&world).await;
    assert!(found.orphans.iter().any(|what| what.contains("leads to no room")), "{found:?}");
    assert!(found.orphans.iter().any(|what| what == "3 ids of messages belong to no room"), "{found:?}");
}

#[tokio::test]
async fn members_are_counted_as_the_room_says() {
    let world = world().await;
    let record = world.store.get(&room_key(OPS)).await.unwrap().unwrap();
    let record: RoomRecord = stored::decode(&record.value).unwrap();
    let member =
        MemberRecord { role: hikyaku_wire::chat::MemberRole::Owner, name: "x".to_owned(), since_ms: 0 };
    let put = Batch::new().put(member_key(OPS, UserId([5; 16])), stored::encode(&member));
    world.store.commit(put).await.unwrap();
    let damage = found(&world).await.damage;
    assert_eq!((record.members, record.owners), (1, 1));
    assert!(damage[0].contains("counts 1 members and 1 owners, and has 2 and 2"), "{damage:?}");
}
