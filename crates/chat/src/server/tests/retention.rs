//! Forgetting the oldest events.

use hikyaku_wire::chat::{History, Retain, Retention, Trim};

use super::*;
use crate::chain::Chain;
use crate::server::{methods, retention};

impl World {
    async fn trim(&self, user: u8, through: u64) -> Result<(), Refusal> {
        let ask = Trim { room: OPS.into(), epoch: 1, through };
        retention::trim(&self.core, &*self.somebody(user), &ask).await
    }

    async fn retain(&self, age_ms: Option<u64>, events: Option<u64>) -> Result<(), Refusal> {
        let ask = Retain { room: OPS.into(), retention: Retention { age_ms, events, files_ms: None } };
        retention::retain(&self.core, &*self.somebody(0), &ask).await
    }
}

//= S4.44 (test)
//= S4.95 (test)
#[tokio::test]
async fn what_is_trimmed_is_gone_and_the_rest_can_be_verified() {
    let world = World::new(Limits { trimmed_at_once: 4, ..Limits::default() }).await;
    for n in 1..=12_u8 {
        world.send(OPS, proposal(1, [n; 16], &n.to_string())).await.unwrap();
    }
    let mut chain = Chain::genesis(OPS);
    for event in world.store.inner.events(StoreRoom(OPS.0), 1, 9, usize::MAX).await.unwrap().events {
        chain = Event::from_record(&event.record).unwrap().link(chain);
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    assert!(matches!(world.trim(1, 9).await, Err(Refusal::Denied(_))), "owners decide about a room");
    assert_eq!(world.trim(0, 13).await, Err(Refusal::RefUnknown { seq: 13, last: 12 }));
    let elsewhere = Trim { room: OPS.into(), epoch: 2, through: 9 };
    let elsewhere = retention::trim(&world.core, &*world.somebody(0), &elsewhere).await;
    assert_eq!(elsewhere, Err(Refusal::Rewound { epoch: 1, last: 12 }), "numbers of another history");
    world.trim(0, 9).await.unwrap();
    assert_eq!(world.texts(OPS).await, ["10", "11", "12"]);
    let told = updates(&mut feed).await;
    let trimmed: Vec<_> = told.iter().flat_map(|update| update.trimmed.clone()).collect();
    assert_eq!((trimmed.len(), trimmed[0].through, trimmed[0].chain), (1, 9, Some(chain.0)));
    assert_eq!(events(&told, OPS, 10), ["10", "11", "12"]);
    let ask = History { room: OPS.into(), from: Some(1), since_ms: None, limit: None, chain: true };
    let page = methods::history(&world.core, &*world.somebody(1), ask, u64::MAX).await.unwrap();
    assert_eq!((page.first, page.chain), (10, Some(chain.0)));
    // What was said once is not said again, though the event is gone.
    let again = world.send(OPS, proposal(1, [3; 16], "3")).await.unwrap();
    assert_eq!((again.seq, again.duplicate), (3, true));
    assert_eq!(world.say(OPS, "13").await, 13);
}

//= S4.96 (test)
#[tokio::test]
async fn a_room_keeps_its_newest_events_or_those_that_are_young_enough() {
    let store = Arc::new(TestStore::default());
    let clock = Arc::new(AtomicUsize::new(1_000));
    let ticking = clock.clone();
    let now = Arc::new(move || ticking.load(Ordering::SeqCst) as u64);
    let core = Arc::new(Core::new(store.clone(), Limits::default(), now));
    let world = World { store, core };
    world.create(OPS, "ops").await.unwrap();
    for n in 1..=10 {
        clock.store(1_000 + n * 100, Ordering::SeqCst);
        world.say(OPS, &n.to_string()).await;
    }
    world.retain(None, Some(7)).await.unwrap();
    assert_eq!(world.texts(OPS).await.len(), 7);
    world.retain(Some(250), None).await.unwrap();
    assert_eq!(world.texts(OPS).await, ["8", "9", "10"]);
    world.retain(Some(200), None).await.unwrap();
    assert_eq!(world.texts(OPS).await, ["8", "9", "10"], "as old as the limit is not older");
    world.retain(Some(250), None).await.unwrap();
    clock.store(2_130, Ordering::SeqCst);
    world.core.retain_all().await.unwrap();
    assert_eq!(world.texts(OPS).await, ["9", "10"]);
    clock.store(9_000, Ordering::SeqCst);
    world.core.retain_all().await.unwrap();
    assert_eq!(world.texts(OPS).await, [""; 0]);
    assert_eq!(world.say(OPS, "11").await, 11, "numbers go on where they were");
    world.retain(None, None).await.unwrap();
    clock.store(99_000, Ordering::SeqCst);
    world.core.retain_all().await.unwrap();
    assert_eq!(world.texts(OPS).await, ["11"]);
    assert!(matches!(world.retain(None, Some(0)).await, Err(Refusal::Invalid(_))));
}

//= S4.28 (test)
#[tokio::test]
async fn a_trim_takes_pins_with_it_and_leaves_the_topic() {
    let world = World::new(Limits::default()).await;
    let by_owner =
        |kind, body: &str, refs: Vec<u64>| Proposal { kind, refs, ..proposal(0, random().unwrap(), body) };
    world.send(OPS, by_owner(Kind::TOPIC, "what stays", vec![])).await.unwrap();
    world.say(OPS, "pinned").await;
    world.say(OPS, "pinned too").await;
    for seq in [2, 3] {
        world.send(OPS, by_owner(Kind::PIN, "", vec![seq])).await.unwrap();
    }
    world.trim(0, 2).await.unwrap();
    let room = methods::view(&world.core, &*world.somebody(1), &OPS.into()).await.unwrap();
    assert_eq!((room.topic.as_deref(), room.pins), (Some("what stays"), vec![3]));
    let late = world.send(OPS, by_owner(Kind::PIN, "", vec![2])).await;
    assert_eq!(late, Err(Refusal::RefTrimmed { seq: 2, first: 3 }));
}

//= S4.95 (test)
#[tokio::test]
async fn only_its_owners_say_how_long_a_room_keeps_its_events() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    let ask = Retain { room: OPS.into(), retention: Retention { events: Some(1), ..Retention::default() } };
    let refused = retention::retain(&world.core, &*world.somebody(1), &ask).await;
    assert!(matches!(refused, Err(Refusal::Denied(_))), "{refused:?}");
    assert_eq!(world.core.room(OPS).await.unwrap().record().record.retention, None);
}

//= S4.96 (test)
#[tokio::test]
async fn nothing_of_a_trimmed_event_is_left_but_its_id() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    let edit = Proposal { kind: Kind::EDIT, refs: vec![1], ..proposal(1, random().unwrap(), "y") };
    world.send(OPS, edit).await.unwrap();
    let edits = crate::stored::edits_key(OPS, 1);
    assert!(world.store.get(&edits).await.unwrap().is_some());
    world.trim(0, 1).await.unwrap();
    assert_eq!(world.store.get(&edits).await.unwrap(), None);
}
