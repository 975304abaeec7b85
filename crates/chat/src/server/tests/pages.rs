//! What readers have in common: they are sent the same bytes, from the ring or from pages of the log.

use super::*;

#[tokio::test]
async fn readers_that_stand_at_one_place_are_sent_the_same_bytes() {
    let world = World::new(Limits::default()).await;
    let mut feeds = [world.feed(), world.feed(), world.feed()];
    for feed in &mut feeds {
        feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
        updates(feed).await;
    }
    for n in 0..3 {
        world.say(OPS, &n.to_string()).await;
    }
    let mut sent = Vec::new();
    // The last one has fallen behind meanwhile, and what it is sent is not what the others are.
    for feed in &mut feeds[..2] {
        match feed.next().await.unwrap() {
            Some(Next::Shared(message)) => sent.push(message.item()),
            _ => panic!("nothing in common"),
        }
    }
    assert_eq!(sent[0].as_ptr(), sent[1].as_ptr(), "encoded once");
    world.say(OPS, "3").await;
    assert_eq!(events(&updates(&mut feeds[0]).await, OPS, 4), ["3"]);
    assert_eq!(events(&updates(&mut feeds[2]).await, OPS, 1), ["0", "1", "2", "3"]);
    assert_eq!(events(&updates(&mut feeds[1]).await, OPS, 4), ["3"]);
}

#[tokio::test]
async fn who_comes_back_to_one_place_is_sent_the_same_bytes_from_memory_or_from_the_log() {
    for ring_events in [1_000, 2] {
        let limits = Limits { update_events: 8, ring_events, ..Limits::default() };
        let world = World::new(limits).await;
        let mut texts = Vec::new();
        for n in 0..30 {
            world.say(OPS, &n.to_string()).await;
            texts.push(n.to_string());
        }
        // Pages are kept as long as somebody is there.
        let _room = world.core.room(OPS).await.unwrap();
        let (mut all, mut pages): (Vec<Vec<Update>>, Vec<Vec<Bytes>>) = Default::default();
        for mut feed in [world.feed(), world.feed()] {
            feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
            let (mut updates, mut shared) = (Vec::new(), Vec::new());
            while let Some(next) = feed.next().await.unwrap() {
                updates.push(match next {
                    Next::Own(update) => *update,
                    Next::Shared(message) => {
                        shared.push(message.item());
                        cbor::decode(&message.item(), &cbor::Limits::default()).unwrap()
                    }
                });
            }
            assert_eq!(events(&updates, OPS, 1), texts);
            assert!(!updates[0].heads.is_empty() && updates[0].batches.is_empty(), "the head comes first");
            assert_eq!(updates.last().unwrap().live[0].through, 30);
            all.push(updates);
            pages.push(shared);
        }
        assert_eq!(all[0], all[1]);
        assert!(pages[0].len() >= 3, "{} pages", pages[0].len());
        let addresses = |pages: &[Bytes]| pages.iter().map(|page| page.as_ptr()).collect::<Vec<_>>();
        assert_eq!(addresses(&pages[0]), addresses(&pages[1]), "encoded once");
    }
}

#[tokio::test]
async fn no_page_shows_what_was_erased_not_even_one_that_was_being_read() {
    let limits = Limits { update_events: 4, ring_events: 2, ..Limits::default() };
    let world = World::new(limits.clone()).await;
    for n in 1..=12 {
        world.say(OPS, &format!("word {n}")).await;
    }
    let room = world.core.room(OPS).await.unwrap();
    let budget = super::super::ring::Budget { events: 4, bytes: 9_999 };
    let old = world.core.page(&room, 1, 1, budget).await.unwrap().unwrap();
    let generation = room.find_page(1, 5).unwrap_err();
    assert!(room.find_page(1, 1).is_ok(), "kept");
    let delete = Proposal { kind: Kind::DELETE, refs: vec![2], ..proposal(1, random().unwrap(), "") };
    world.send(OPS, delete).await.unwrap();
    // Somebody began to read before the deletion and is done after it.
    room.keep_page(old, generation, &limits);
    let mut feed = world.feed();
    feed.apply(follow(OPS, 0, 1, Mode::Live)).await.unwrap();
    let updates = updates(&mut feed).await;
    let records = updates.iter().flat_map(|update| &update.batches).flat_map(|batch| batch.records.iter());
    let bodies: Vec<_> = records.map(|record| Event::from_record(&record).unwrap().body).collect();
    assert_eq!((bodies.len(), &bodies[1]), (13, &None));
}

#[tokio::test]
async fn pages_are_bounded_and_their_memory_is_given_back() {
    let limits = Limits { update_events: 1, ring_events: 1, ..Limits::default() };
    let world = World::new(limits.clone()).await;
    for n in 0..50 {
        world.say(OPS, &n.to_string()).await;
    }
    let room = world.core.room(OPS).await.unwrap();
    let held = || world.core.bytes_held();
    let (before, budget) = (held(), super::super::ring::Budget { events: 1, bytes: 9_999 });
    for from in 1..=50 {
        world.core.page(&room, 1, from, budget).await.unwrap().unwrap();
    }
    let kept = (1..=50).filter(|from| room.find_page(1, *from).is_ok()).count();
    assert_eq!(kept, 32);
    assert!(held() > before + 32 * 100 && held() < before + 32 * 300, "{} bytes", held() - before);
    drop(room);
    assert_eq!(held(), 0);
}
