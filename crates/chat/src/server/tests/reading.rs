//! How far somebody has read, and what is unread.

use hikyaku_storage::{Guard, Raise};
use hikyaku_wire::chat::{MarkRead, ReadPosition, Resolve};

use super::*;
use crate::server::{methods, reads};

impl World {
    async fn mark(&self, user: u8, epoch: u32, seq: u64) -> Result<ReadPosition, Refusal> {
        let ask = MarkRead { room: OPS.into(), epoch, seq };
        reads::mark(&self.core, &*self.somebody(user), ask).await
    }

    /// Unread events and mentions, as a list of rooms shows them.
    async fn unread(&self, user: u8) -> (u64, u32) {
        let ask = Resolve { room: OPS.into() };
        let room = methods::resolve(&self.core, &*self.somebody(user), ask).await.unwrap();
        let read = room.read;
        (room.head.count - read.map_or(0, |read| read.count), read.map_or(0, |read| read.mentions))
    }

    async fn say_to(&self, users: &[u8], text: &str) -> u64 {
        let mentions = users.iter().map(|user| UserId([*user; 16])).collect();
        let proposal = Proposal { mentions, ..proposal(1, random().unwrap(), text) };
        self.send(OPS, proposal).await.unwrap().seq
    }
}

//= S4.90 (test)
#[tokio::test]
async fn what_was_read_never_goes_back_and_is_each_users_own() {
    let world = World::new(Limits::default()).await;
    for n in 1..=5 {
        world.say(OPS, &n.to_string()).await;
    }
    assert_eq!(world.unread(2).await, (5, 0));
    let at = async |seq| world.mark(2, 1, seq).await.map(|read| (read.seq, read.count));
    assert_eq!(at(3).await, Ok((3, 3)));
    assert_eq!(at(2).await, Ok((3, 3)), "another device was further");
    assert_eq!(world.unread(2).await, (2, 0));
    assert_eq!(at(5).await, Ok((5, 5)));
    assert_eq!((world.unread(2).await, world.unread(3).await), ((0, 0), (5, 0)));
    assert_eq!(at(6).await, Err(Refusal::RefUnknown { seq: 6, last: 5 }));
    assert_eq!(world.mark(2, 2, 5).await, Err(Refusal::Rewound { epoch: 1, last: 5 }));
}

/// A question about what is unread costs the same however long the log is, and however much of it is unread.
#[tokio::test]
async fn what_is_unread_is_told_with_as_many_reads_in_a_long_room_as_in_a_short_one() {
    let world = World::new(Limits::default()).await;
    let mut costs = Vec::new();
    let (mut said, mut read) = (0, 0);
    for length in [10, 100, 1_000] {
        for _ in said..length {
            world.say_to(&[2], "you").await;
        }
        said = length;
        let (questions, rows) = (&world.store.questions, &world.store.rows);
        let counted = || (questions.load(Ordering::SeqCst), rows.load(Ordering::SeqCst));
        let before = counted();
        let unread = world.unread(3).await;
        let listed = counted();
        world.mark(3, 1, length / 2).await.unwrap();
        let marked = counted();
        assert_eq!(unread, (length - std::mem::replace(&mut read, length / 2), 0));
        let mentions = u64::from(world.unread(2).await.1);
        assert_eq!(mentions, length.min(u64::try_from(world.core.limits.mentioned).unwrap()));
        costs.push(((listed.0 - before.0, listed.1 - before.1), (marked.0 - listed.0, marked.1 - listed.1)));
    }
    println!("questions and rows of a list, and of a mark: {costs:?}");
    assert_eq!(costs[1], costs[2], "ten times as long");
    let ((list, rows), (mark, marked)) = costs[0];
    assert!(list + mark < 20 && rows + marked < 20, "{costs:?}");
}

//= S4.13 (test)
#[tokio::test]
async fn reactions_and_edits_are_not_unread() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    world.mark(2, 1, 1).await.unwrap();
    for (kind, body) in [(Kind::REACTION, "+"), (Kind::EDIT, "y"), (Kind::REPLY, "z")] {
        let about = Proposal { kind, refs: vec![1], ..proposal(1, random().unwrap(), body) };
        world.send(OPS, about).await.unwrap();
    }
    assert_eq!(world.unread(2).await, (1, 0));
}

//= S4.92 (test)
#[tokio::test]
async fn mentions_are_counted_for_those_they_mean_until_they_have_read_them() {
    let world = World::new(Limits { mentioned: 3, ..Limits::default() }).await;
    world.say_to(&[2, 1], "both").await;
    world.say_to(&[2], "one").await;
    assert_eq!((world.unread(2).await.1, world.unread(1).await.1, world.unread(3).await.1), (2, 0, 0));
    world.mark(2, 1, 1).await.unwrap();
    assert_eq!(world.unread(2).await.1, 1);
    world.mark(2, 1, 2).await.unwrap();
    assert_eq!(world.unread(2).await.1, 0);
    // Many in one commit, and never more than are remembered.
    world.store.gated.store(true, Ordering::SeqCst);
    let mut pending = Vec::new();
    for n in 0..5 {
        let send = Proposal { mentions: vec![UserId([2; 16])], ..proposal(1, [100 + n; 16], "x") };
        pending.push(world.submit(OPS, send).await.unwrap());
        everybody_had_a_turn().await;
    }
    world.store.gate.0.add_permits(8);
    for pending in pending {
        pending.await.unwrap().unwrap();
    }
    assert_eq!(world.unread(2).await.1, 3);
}

//= S4.91 (test)
#[tokio::test]
async fn all_devices_of_a_user_hear_how_far_one_has_read_and_what_mentions_them() {
    let world = World::new(Limits::default()).await;
    world.say(OPS, "x").await;
    let mut devices = [(); 2].map(|()| Feed::new(world.core.clone(), world.somebody(2)));
    let mut other = Feed::new(world.core.clone(), world.somebody(3));
    for feed in devices.iter_mut().chain([&mut other]) {
        feed.apply(follow(OPS, 0, 2, Mode::Heads)).await.unwrap();
        assert!(updates(feed).await.iter().all(|update| update.reads.is_empty()), "nothing was ever read");
    }
    let read = world.mark(2, 1, 1).await.unwrap();
    for feed in &mut devices {
        feed.mailbox().changed().await;
        assert_eq!(updates(feed).await[0].reads, [read]);
    }
    assert_eq!(updates(&mut other).await, []);
    world.say_to(&[3], "you").await;
    assert_eq!(updates(&mut other).await[0].reads[0].mentions, 1);
    // A new connection begins with what is known.
    let mut late = Feed::new(world.core.clone(), world.somebody(2));
    late.apply(follow(OPS, 0, 2, Mode::Heads)).await.unwrap();
    let told = updates(&mut late).await;
    assert_eq!(told.iter().flat_map(|update| update.reads.clone()).collect::<Vec<_>>(), [read]);
}

//= S4.93 (test)
#[tokio::test]
async fn what_a_new_epoch_replaced_was_not_read() {
    let world = World::new(Limits::default()).await;
    for n in 1..=4 {
        world.say(OPS, &n.to_string()).await;
    }
    world.mark(2, 1, 4).await.unwrap();
    // A backup ended at event 4, but readers may have seen more: nothing of what they read is lost.
    let raise = Raise { room: StoreRoom(OPS.0), guard: Guard { epoch: 1, expect_last: 4 }, epoch: 2 };
    world.store.commit(Batch::new().raise(raise)).await.unwrap();
    world.say(OPS, "new").await;
    assert_eq!(world.unread(2).await, (1, 0));
    assert_eq!(world.mark(2, 2, 5).await.map(|read| (read.epoch, read.seq)), Ok((2, 5)));
    // In the record of another room the position lies behind what was replaced.
    let log = world.core.room(OPS).await.unwrap().log();
    let log = crate::rules::Log { epoch: 3, epochs: Arc::new(vec![(2, 5), (3, 3)]), ..log };
    let read = world.core.position(UserId([2; 16]), &log).await.unwrap();
    assert_eq!((read.epoch, read.seq, read.count), (3, 2, 2));
}
