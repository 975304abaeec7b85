//! Who belongs to a room: what members may do, and that whoever was sent away does nothing and sees nothing any more.

use hikyaku_wire::chat::{
    Change, ChangeMember, History, List, ListMembers, MemberRole, Membership, Resolve, RoomRef,
};

use super::*;
use crate::server::{members, methods};

const DEN: RoomId = RoomId([0xdd; 16]);

impl World {
    /// A private room of user 0.
    async fn den(&self) {
        let ask = Create { room: DEN, name: "den".into(), topic: None, private: true };
        create(&self.core, &*self.somebody(0), ask).await.unwrap();
    }

    async fn change(&self, by: u8, change: Change, of: u8) -> Result<u64, Refusal> {
        self.change_in(DEN, by, change, of, None).await
    }

    async fn change_in(
        &self,
        room: RoomId,
        by: u8,
        change: Change,
        of: u8,
        role: Option<MemberRole>,
    ) -> Result<u64, Refusal> {
        let (id, user) = (MessageId(random().unwrap()), Some(UserId([of; 16])));
        let ask = ChangeMember { room: room.into(), id, change, user, role };
        members::change(&self.core, self.somebody(by), ask).await.map(|sent| sent.seq)
    }

    async fn admit(&self, user: u8) {
        self.change(0, Change::Invite, user).await.unwrap();
        self.change(user, Change::Join, user).await.unwrap();
    }
}

//= S4.80 (test)
#[tokio::test]
async fn a_private_room_is_unknown_to_everybody_else() {
    let world = World::new(Limits::default()).await;
    world.den().await;
    world.say(OPS, "x").await;
    let (owner, other) = (world.somebody(0), world.somebody(2));
    assert_eq!(world.send(DEN, proposal(0, [1; 16], "mine")).await.map(|sent| sent.seq), Ok(1));
    let unknown = Err(Refusal::RoomUnknown);
    for room in [RoomRef::Id(DEN), RoomRef::Name("den".into())] {
        assert_eq!(methods::resolve(&world.core, &*other, Resolve { room: room.clone() }).await, unknown);
        let ask = History { room: room.clone(), from: None, since_ms: None, limit: None, chain: false };
        assert!(methods::history(&world.core, &*owner, ask.clone(), u64::MAX).await.is_ok());
        assert_eq!(
            methods::history(&world.core, &*other, ask, u64::MAX).await.map(|_| ()),
            Err(Refusal::RoomUnknown)
        );
        let ask = ListMembers { room, after: None };
        assert_eq!(members::list(&world.core, &*other, ask).await, Err(Refusal::RoomUnknown));
    }
    assert_eq!(world.send(DEN, proposal(2, [2; 16], "in")).await, Err(Refusal::RoomUnknown));
    assert_eq!(world.change(2, Change::Join, 2).await, Err(Refusal::RoomUnknown));
    let mut feed = Feed::new(world.core.clone(), other.clone());
    feed.apply(follow(DEN, 0, 1, Mode::Heads)).await.unwrap();
    assert_eq!(updates(&mut feed).await[0].refused[0].code, Refusal::RoomUnknown.code().0);
    let names = async |member: &Somebody| {
        let list = methods::list(&world.core, member, List::default()).await.unwrap();
        list.rooms.into_iter().map(|room| room.name).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&other).await, names(&owner).await),
        (vec!["ops".into()], vec!["den".into(), "ops".into()])
    );
}

//= S4.81 (test)
//= S4.82 (test)
#[tokio::test]
async fn an_invitation_shows_the_room_and_joining_opens_it() {
    let world = World::new(Limits::default()).await;
    world.den().await;
    world.send(DEN, proposal(0, [1; 16], "before")).await.unwrap();
    assert_eq!(world.change(0, Change::Invite, 2).await, Ok(2));
    let guest = world.somebody(2);
    let room = methods::resolve(&world.core, &*guest, Resolve { room: DEN.into() }).await.unwrap();
    assert_eq!((room.role, room.private), (Some(MemberRole::Invited), true));
    assert!(matches!(world.send(DEN, proposal(2, [2; 16], "x")).await, Err(Refusal::Denied(_))));
    let ask = History { room: DEN.into(), from: None, since_ms: None, limit: None, chain: false };
    assert!(matches!(methods::history(&world.core, &*guest, ask, u64::MAX).await, Err(Refusal::Denied(_))));
    assert_eq!(world.change(2, Change::Join, 2).await, Ok(3));
    assert_eq!(world.change(2, Change::Join, 2).await, Err(Refusal::MemberAlready));
    assert_eq!(world.send(DEN, proposal(2, [2; 16], "x")).await.map(|sent| sent.seq), Ok(4));

    let list =
        members::list(&world.core, &*guest, ListMembers { room: DEN.into(), after: None }).await.unwrap();
    let list: Vec<_> = list.members.iter().map(|member| (member.name.as_str(), member.role)).collect();
    assert_eq!(list, [("user 0", MemberRole::Owner), ("user 2", MemberRole::Member)]);
    // The log says so: who did it, and to whom.
    let events = world.store.inner.events(StoreRoom(DEN.0), 2, 2, usize::MAX).await.unwrap().events;
    let events = events.iter().map(|event| Event::from_record(&event.record).unwrap());
    let said: Vec<_> = events
        .map(|event| {
            let body: Membership =
                hikyaku_wire::cbor::decode(&event.body.unwrap(), &hikyaku_wire::cbor::Limits::default())
                    .unwrap();
            (event.envelope.kind, event.envelope.name, body.name, body.role)
        })
        .collect();
    let invited = (Kind::INVITE, "user 0".into(), "user 2".into(), Some(MemberRole::Invited));
    let joined = (Kind::JOIN, "user 2".into(), "user 2".into(), Some(MemberRole::Member));
    assert_eq!(said, [invited, joined]);
    assert_eq!(world.change(0, Change::Invite, 200).await, Err(Refusal::UserUnknown));
}

//= S4.82 (test)
#[tokio::test]
async fn a_repeated_change_is_one_change() {
    let world = World::new(Limits::default()).await;
    let ask = ChangeMember {
        room: OPS.into(),
        id: MessageId([5; 16]),
        change: Change::Join,
        user: None,
        role: None,
    };
    let join = async || members::change(&world.core, world.somebody(2), ask.clone()).await.unwrap();
    assert_eq!((join().await.duplicate, join().await.duplicate), (false, true));
    assert_eq!(world.core.room(OPS).await.unwrap().record().record.members, 2);
}

//= S4.84 (test)
#[tokio::test]
async fn owners_give_roles_moderators_keep_order_and_an_owner_stays() {
    let world = World::new(Limits::default()).await;
    world.den().await;
    for user in [2, 3, 4] {
        world.admit(user).await;
    }
    let role = async |by, of, role| world.change_in(DEN, by, Change::Role, of, Some(role)).await;
    assert!(
        matches!(role(2, 2, MemberRole::Owner).await, Err(Refusal::Denied(_))),
        "nobody promotes themselves"
    );
    assert!(matches!(world.change(2, Change::Invite, 5).await, Err(Refusal::Denied(_))));
    assert!(matches!(world.change(2, Change::Leave, 3).await, Err(Refusal::Denied(_))));
    assert!(role(0, 2, MemberRole::Moderator).await.is_ok());
    assert!(world.change(2, Change::Invite, 5).await.is_ok());
    assert!(world.change(2, Change::Leave, 3).await.is_ok(), "a moderator removes a member");
    assert!(matches!(world.change(2, Change::Leave, 0).await, Err(Refusal::Denied(_))), "and no owner");
    assert_eq!(world.change(0, Change::Leave, 0).await, Err(Refusal::LastOwner));
    assert_eq!(role(0, 0, MemberRole::Member).await, Err(Refusal::LastOwner));
    assert!(role(0, 4, MemberRole::Owner).await.is_ok());
    assert!(world.change(0, Change::Leave, 0).await.is_ok());
    assert_eq!(world.send(DEN, proposal(0, [9; 16], "x")).await, Err(Refusal::RoomUnknown));
    assert_eq!(role(4, 5, MemberRole::Member).await, Err(Refusal::MemberUnknown), "who was only invited");
    assert_eq!(world.change(4, Change::Leave, 9).await, Err(Refusal::MemberUnknown));
}

//= S4.37 (test)
//= S4.81 (test)
#[tokio::test]
async fn a_member_who_is_removed_while_a_message_waits_does_not_get_it_in() {
    let world = World::new(Limits::default()).await;
    world.den().await;
    world.admit(2).await;
    // The role is remembered from here on.
    world.send(DEN, proposal(2, [1; 16], "one")).await.unwrap();
    let last = world.core.room(DEN).await.unwrap().log().last;
    world.store.gated.store(true, Ordering::SeqCst);
    let removal = {
        let (core, owner) = (world.core.clone(), world.somebody(0));
        let (id, user) = (MessageId([7; 16]), Some(UserId([2; 16])));
        let ask = ChangeMember { room: DEN.into(), id, change: Change::Leave, user, role: None };
        tokio::spawn(async move { members::change(&core, owner, ask).await })
    };
    everybody_had_a_turn().await;
    let late = world.submit(DEN, proposal(2, [2; 16], "two")).await.unwrap();
    world.store.gate.0.add_permits(16);
    assert_eq!(removal.await.unwrap().map(|sent| sent.seq), Ok(last + 1));
    assert_eq!(late.await.unwrap(), Err(Refusal::RoomUnknown));
}

//= S4.80 (test)
#[tokio::test]
async fn a_reader_who_is_removed_is_told_so_and_sees_nothing_that_follows() {
    for mode in [Mode::Live, Mode::Heads] {
        let world = World::new(Limits::default()).await;
        world.den().await;
        world.admit(2).await;
        let mut feed = Feed::new(world.core.clone(), world.somebody(2));
        feed.apply(follow(DEN, 0, 1, mode)).await.unwrap();
        updates(&mut feed).await;
        // A change that does not concern the reader does not end its subscription.
        world.admit(3).await;
        world.send(DEN, proposal(0, [1; 16], "for all")).await.unwrap();
        let told = updates(&mut feed).await;
        assert!(told.iter().all(|update| update.refused.is_empty()), "{told:?}");
        world.change(0, Change::Leave, 2).await.unwrap();
        world.send(DEN, proposal(0, [2; 16], "about user 2")).await.unwrap();
        let told = updates(&mut feed).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].refused[0].code, Refusal::RoomUnknown.code().0);
        assert!(told[0].batches.is_empty() && told[0].heads.is_empty(), "{told:?}");
        feed.check_all();
        assert_eq!(updates(&mut feed).await, []);
    }
}

//= S4.84 (test)
#[tokio::test]
async fn one_member_too_many_is_refused_by_the_name_of_the_limit() {
    let world = World::new(Limits { members: 2, ..Limits::default() }).await;
    world.den().await;
    world.admit(2).await;
    let refused = world.change(0, Change::Invite, 3).await;
    assert_eq!(refused, Err(Refusal::Limit { what: "members of a room", size: 3, limit: 2 }));
}

//= S4.83 (test)
#[tokio::test]
async fn members_are_listed_page_by_page() {
    let world = World::new(Limits { members_listed: 2, ..Limits::default() }).await;
    world.den().await;
    for user in [2, 3, 4] {
        world.admit(user).await;
    }
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let ask = ListMembers { room: DEN.into(), after };
        let page = members::list(&world.core, &*world.somebody(3), ask).await.unwrap();
        assert!(page.members.len() <= 2);
        users.extend(page.members.iter().map(|member| member.user.0[0]));
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(users, [0, 2, 3, 4]);
}

//= S4.80 (test)
#[tokio::test]
async fn nobody_learns_of_a_private_room_by_changing_its_members() {
    let world = World::new(Limits::default()).await;
    world.den().await;
    world.admit(3).await;
    for (change, of, role) in [
        (Change::Join, 2, None),
        (Change::Leave, 2, None),
        (Change::Leave, 0, None),
        (Change::Leave, 5, None),
        (Change::Invite, 3, None),
        (Change::Invite, 5, None),
        (Change::Role, 3, Some(MemberRole::Owner)),
    ] {
        let done = world.change_in(DEN, 2, change, of, role).await;
        assert_eq!(done, Err(Refusal::RoomUnknown), "{change:?} of {of}");
    }
}

//= S4.80 (test)
#[tokio::test]
async fn who_is_only_invited_sees_a_rooms_name_and_neither_topic_nor_pins() {
    let world = World::new(Limits::default()).await;
    let ask = Create { room: DEN, name: "den".into(), topic: Some("a secret".into()), private: true };
    create(&world.core, &*world.somebody(0), ask).await.unwrap();
    let said = world.send(DEN, proposal(0, [1; 16], "x")).await.unwrap().seq;
    let pin = Proposal { kind: Kind::PIN, refs: vec![said], ..proposal(0, [2; 16], "") };
    world.send(DEN, pin).await.unwrap();
    world.change(0, Change::Invite, 2).await.unwrap();
    let seen = async || {
        let room = methods::view(&world.core, &*world.somebody(2), &DEN.into()).await.unwrap();
        (room.name, room.topic, room.pins)
    };
    assert_eq!(seen().await, ("den".into(), None, vec![]));
    world.change(2, Change::Join, 2).await.unwrap();
    assert_eq!(seen().await, ("den".into(), Some("a secret".into()), vec![said]));
}

//= S4.82 (test)
#[tokio::test]
async fn changes_that_wait_together_are_all_counted() {
    let world = Arc::new(World::new(Limits::default()).await);
    world.store.gated.store(true, Ordering::SeqCst);
    let first = world.submit(OPS, proposal(1, [1; 16], "x")).await.unwrap();
    everybody_had_a_turn().await;
    let mut joining = tokio::task::JoinSet::new();
    for user in [2, 3, 4] {
        let world = world.clone();
        joining.spawn(async move { world.change_in(OPS, user, Change::Join, user, None).await.unwrap() });
    }
    everybody_had_a_turn().await;
    world.store.gate.0.add_permits(100);
    first.await.unwrap().unwrap();
    assert_eq!(joining.join_all().await.len(), 3);
    assert_eq!(world.core.room(OPS).await.unwrap().record().record.members, 4, "with who made the room");
}

//= S4.5 (test)
#[tokio::test]
async fn two_people_who_begin_at_the_same_moment_have_one_room() {
    let world = World::new(Limits::default()).await;
    let rooms = || async { world.store.inner.get(&crate::stored::rooms_key()).await.unwrap().unwrap().value };
    let before: u64 = crate::stored::decode(&rooms().await).unwrap();
    world.store.gated.store(true, Ordering::SeqCst);
    let begin = |by: u8, whom: &'static str| {
        let (core, member) = (world.core.clone(), world.somebody(by));
        tokio::spawn(async move { core.begin(&*member, author(by), whom).await.unwrap() })
    };
    let (one, other) = (begin(1, "user 2"), begin(2, "user 1"));
    // Both have looked, found no room, and stand before their commits.
    everybody_had_a_turn().await;
    let rooms_now: u64 = crate::stored::decode(&rooms().await).unwrap();
    assert!(rooms_now == before && !one.is_finished() && !other.is_finished());
    world.store.gate.0.add_permits(8);
    assert_eq!(one.await.unwrap(), other.await.unwrap());
    let after: u64 = crate::stored::decode(&rooms().await).unwrap();
    assert_eq!(after, before + 1);
}
