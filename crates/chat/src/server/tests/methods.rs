//! Rooms and history.

use hikyaku_wire::chat::{History, List, Resolve, RoomRef};

use super::*;
use crate::name::NameError;
use crate::server::methods;

//= S4.3 (test)
#[tokio::test]
async fn creating_a_room_again_with_its_id_is_creating_it_once() {
    let world = World::new(Limits::default()).await;
    assert_eq!(world.create(OPS, "ops").await, Ok(true));
    assert_eq!(world.create(OPS, "#OPS").await, Ok(true), "the same name");
    assert_eq!(world.create(OPS, "lab").await, Err(Refusal::RoomTaken));
    assert_eq!(world.create(RoomId([1; 16]), "Ops").await, Err(Refusal::NameTaken));
    assert_eq!(
        world.create(RoomId([1; 16]), "a b").await,
        Err(Refusal::NameInvalid(NameError::Character(' ')))
    );
}

//= S4.4 (test)
#[tokio::test]
async fn a_topic_is_the_first_event() {
    let world = World::new(Limits::default()).await;
    let ask = Create {
        room: RoomId([1; 16]),
        name: "lab".into(),
        topic: Some("white mice".into()),
        private: false,
    };
    let created = create(&world.core, &*world.somebody(1), ask).await.unwrap();
    assert_eq!((created.room.head.last, created.room.head.count), (1, 0));
    assert_eq!(world.texts(RoomId([1; 16])).await, ["white mice"]);
    let long =
        Create { room: RoomId([2; 16]), name: "long".into(), topic: Some("x".repeat(1_025)), private: false };
    assert!(matches!(
        create(&world.core, &*world.somebody(1), long).await,
        Err(Refusal::Limit { limit: 1_024, .. })
    ));
    assert_eq!(world.say(RoomId([1; 16]), "hello").await, 2);
}

#[tokio::test]
async fn one_room_too_many_is_refused_by_the_name_of_the_limit() {
    let world = World::new(Limits { rooms: 2, ..Limits::default() }).await;
    assert_eq!(world.create(RoomId([1; 16]), "lab").await, Ok(false));
    let refusal = world.create(RoomId([2; 16]), "more").await.unwrap_err();
    assert_eq!(refusal.to_string(), "this server's limit of 2 rooms is exceeded (3)");
}

#[tokio::test]
async fn rooms_are_listed_by_name_page_by_page() {
    let world = World::new(Limits { listed: 2, ..Limits::default() }).await;
    for (n, name) in ["lab", "zoo", "attic"].into_iter().enumerate() {
        world.create(RoomId([n as u8; 16]), name).await.unwrap();
    }
    world.say(OPS, "x").await;
    let (mut names, mut after, member) = (Vec::new(), None, world.somebody(1));
    loop {
        let page = methods::list(&world.core, &*member, List { after, limit: None }).await.unwrap();
        assert!(page.rooms.len() <= 2);
        names.extend(page.rooms.iter().map(|room| (room.name.clone(), room.head.last)));
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    let names: Vec<_> = names.iter().map(|(name, last)| (name.as_str(), *last)).collect();
    assert_eq!(names, [("attic", 0), ("lab", 0), ("ops", 1), ("zoo", 0)]);
}

#[tokio::test]
async fn a_room_is_found_by_name_and_by_id() {
    let world = World::new(Limits::default()).await;
    let member = world.somebody(1);
    let resolve = async |room| methods::resolve(&world.core, &*member, Resolve { room }).await;
    let by_name = resolve(RoomRef::Name("#Ops".into())).await.unwrap();
    assert_eq!((by_name.name.as_str(), by_name.head.room), ("ops", OPS));
    assert_eq!(resolve(OPS.into()).await, Ok(by_name));
    assert_eq!(resolve(RoomRef::Name("nowhere".into())).await, Err(Refusal::RoomUnknown));
    assert_eq!(resolve(RoomId([3; 16]).into()).await, Err(Refusal::RoomUnknown));
}

//= S4.50 (test)
//= S4.51 (test)
#[tokio::test]
async fn history_is_what_followers_saw() {
    let world = World::new(Limits { update_events: 7, ..Limits::default() }).await;
    for n in 0..30 {
        world.say(OPS, &n.to_string()).await;
    }
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    let seen = events(&updates(&mut feed).await, OPS, 1);
    let (member, mut read) = (world.somebody(1), Vec::new());
    let page = async |from, limit| {
        let ask = History { room: OPS.into(), from: Some(from), since_ms: None, limit, chain: false };
        methods::history(&world.core, &*member, ask, u64::MAX).await.unwrap()
    };
    loop {
        let page = page(read.len() as u64 + 1, None).await;
        assert_eq!(page.first, read.len() as u64 + 1);
        read.extend(page.records.iter().map(|record| text(&record)));
        if read.len() as u64 == page.head.last {
            break;
        }
    }
    assert_eq!(read, seen);
    assert_eq!(page(29, Some(1)).await.records.len(), 1);
    assert_eq!((page(99, None).await.first, page(99, None).await.records.len()), (31, 0), "behind the end");
    *world.store.edit_head.lock().unwrap() = Some(|head| Head { first: 5, ..head });
    let trimmed = page(1, Some(2)).await;
    assert_eq!((trimmed.first, trimmed.head.first), (5, 5), "what is gone shows in where the page begins");
}

//= S4.51 (test)
#[tokio::test]
async fn history_begins_at_a_time() {
    let store = Arc::new(TestStore::default());
    let clock = Arc::new(AtomicUsize::new(100));
    let ticking = clock.clone();
    let core =
        Core::new(store.clone(), Limits::default(), Arc::new(move || ticking.load(Ordering::SeqCst) as u64));
    let world = World { store, core: Arc::new(core) };
    world.create(OPS, "ops").await.unwrap();
    for n in 1..=5 {
        clock.store(n * 100, Ordering::SeqCst);
        world.say(OPS, &n.to_string()).await;
    }
    let member = world.somebody(1);
    let since = async |since| {
        let ask = History { room: OPS.into(), from: None, since_ms: Some(since), limit: None, chain: false };
        methods::history(&world.core, &*member, ask, u64::MAX).await.unwrap().first
    };
    assert_eq!([since(0).await, since(300).await, since(301).await, since(999).await], [1, 3, 4, 6]);
    let both = History { room: OPS.into(), from: Some(1), since_ms: Some(1), limit: None, chain: false };
    assert!(matches!(
        methods::history(&world.core, &*member, both, u64::MAX).await,
        Err(Refusal::Invalid(_))
    ));
}

//= S4.52 (test)
#[tokio::test]
async fn the_chain_is_told_at_any_place_also_where_events_were_erased() {
    let world = World::new(Limits { update_events: 500, ..Limits::default() }).await;
    let mut pending = Vec::new();
    for n in 0..2_500_u32 {
        let id = [[0; 12].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap();
        pending.push(world.submit(OPS, proposal(1, id, &n.to_string())).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    let delete = Proposal { kind: Kind::DELETE, refs: vec![1_500], ..proposal(1, [9; 16], "") };
    assert_eq!(world.send(OPS, delete).await.unwrap().seq, 2_501);
    let member = world.somebody(1);
    let page = async |from| {
        let ask = History { room: OPS.into(), from: Some(from), since_ms: None, limit: None, chain: true };
        methods::history(&world.core, &*member, ask, u64::MAX).await.unwrap()
    };
    let (mut chain, mut next) = (crate::chain::Chain::genesis(OPS), 1);
    while next <= 2_501 {
        let page = page(next).await;
        assert_eq!(page.chain, Some(chain.0), "before event {next}");
        for record in page.records.iter() {
            chain = Event::from_record(&record).unwrap().link(chain);
            next += 1;
        }
    }
    assert_eq!(page(2_502).await.chain, Some(chain.0), "behind the newest");
}
