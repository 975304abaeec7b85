//! Direct rooms: for two, and for nobody else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use hikyaku::{ErrorCode, KeyId, Router, local};
use hikyaku_chat::client::message;
use hikyaku_chat::wire::{
    Change, ChangeMember, DeviceId, List, MessageId, PROTOCOL, RoomId, RoomRef, Rooms, UserId, method,
};
use hikyaku_chat::{
    Answer, Ask, Author, ChatClient, ChatServer, Limits, Member, Operation, Permit, Refusal, Sought,
};
use hikyaku_storage::memory::MemoryStore;

const PEOPLE: [&str; 3] = ["ana", "ben", "eve"];

/// One of the three.
struct Person(usize);

fn user(n: usize) -> UserId {
    UserId([n as u8 + 1; 16])
}

impl Member for Person {
    fn author(&self) -> Author {
        Author { id: user(self.0), name: PEOPLE[self.0].to_owned(), device: DeviceId([1; 32]) }
    }

    fn permit(&self, ask: Ask) -> Answer<'_> {
        Box::pin(async move {
            match ask.operation {
                Operation::Moderate => Err(Refusal::Denied("moderate")),
                _ => Ok(Permit::default()),
            }
        })
    }

    fn user_named<'a>(&'a self, name: &'a str) -> Sought<'a> {
        let found = PEOPLE.iter().position(|person| *person == name);
        Box::pin(async move { Ok(found.map(|n| (user(n), name.to_owned()))) })
    }
}

async fn client(chat: &ChatServer, person: usize) -> ChatClient {
    let router = Router::new().route(PROTOCOL, chat.clone());
    let (client, server) = tokio::io::duplex(64 * 1024);
    local::serve(
        server,
        KeyId::from_bytes([1; 32]),
        Person(person),
        Arc::new(router),
        hikyaku::Limits::default(),
    );
    ChatClient::new(local::connect(client, Router::new(), hikyaku::Limits::default()).await.unwrap())
}

async fn world() -> (ChatClient, ChatClient, ChatClient) {
    let chat = ChatServer::new(Arc::new(MemoryStore::new()), Limits::default());
    (client(&chat, 0).await, client(&chat, 1).await, client(&chat, 2).await)
}

fn named(name: &str) -> RoomRef {
    RoomRef::Name(name.to_owned())
}

//= S4.5 (test)
//= S4.6 (test)
//= S4.7 (test)
#[tokio::test]
async fn two_people_have_one_room_whoever_begins_and_however_they_name_it() {
    let (ana, ben, eve) = world().await;
    // Both begin at once.
    let (at_anas, at_bens) = tokio::join!(ana.resolve(named("@ben")), ben.resolve(named("@Ana")));
    let (at_anas, at_bens) = (at_anas.unwrap(), at_bens.unwrap());
    assert_eq!(at_anas.head.room, at_bens.head.room);
    assert_eq!((at_anas.name.as_str(), at_bens.name.as_str()), ("@ben", "@ana"));
    assert_eq!(ben.rooms().await.unwrap().len(), 0, "nothing was said in it");
    let sent = ana.send(&message(named("@ben"), "hello").unwrap()).await.unwrap();
    assert_eq!((sent.room, sent.seq), (at_anas.head.room, 1));
    assert_eq!(ben.send(&message(named("@ana"), "hello yourself").unwrap()).await.unwrap().seq, 2);
    assert_eq!(ben.resolve(named("@ana+ben")).await.unwrap().head.last, 2);
    let listed = ben.rooms().await.unwrap();
    assert_eq!(listed.iter().map(|room| room.name.as_str()).collect::<Vec<_>>(), ["@ana"]);
    assert!(listed[0].private && eve.rooms().await.unwrap().is_empty());
    for (name, code) in [
        ("@nobody", ErrorCode::NOT_FOUND),
        ("@ana", ErrorCode::INVALID_MESSAGE),
        ("@ben/phone", ErrorCode::ROOM_NAME_INVALID),
    ] {
        assert_eq!(ana.resolve(named(name)).await.unwrap_err().code(), code, "{name}");
    }
}

//= S4.8 (test)
//= S4.80 (test)
#[tokio::test]
async fn nobody_else_reads_writes_joins_or_learns_of_a_direct_room() {
    let (ana, ben, eve) = world().await;
    let room = ana.send(&message(named("@ben"), "hello").unwrap()).await.unwrap().room;
    for reference in [named("@ana+ben"), RoomRef::Id(room)] {
        let unknown = eve.resolve(reference.clone()).await.unwrap_err();
        assert_eq!(unknown.code(), ErrorCode::ROOM_UNKNOWN);
        let refused = eve.send(&message(reference, "x").unwrap()).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::ROOM_UNKNOWN);
    }
    let no_room = eve.resolve(named("@ana+nobody")).await.unwrap_err();
    assert_eq!(no_room.to_string(), eve.resolve(named("@ana+ben")).await.unwrap_err().to_string());
    let created = eve.create_room(RoomId([9; 16]), "@ana+ben", None).await.unwrap_err();
    assert_eq!(created.code(), ErrorCode::ROOM_NAME_INVALID, "nor is anybody there before the two");
    let change = |change, user| ChangeMember {
        room: room.into(),
        id: MessageId([change as u8; 16]),
        change,
        user,
        role: None,
    };
    let denied = ben.change_member(&change(Change::Invite, Some(user(2)))).await.unwrap_err();
    assert_eq!(denied.code(), ErrorCode::DENIED);
    assert_eq!(ben.change_member(&change(Change::Leave, None)).await.unwrap_err().code(), ErrorCode::DENIED);
    let joined = eve.change_member(&change(Change::Join, None)).await.unwrap_err();
    assert_eq!(joined.code(), ErrorCode::ROOM_UNKNOWN);
}

//= S4.9 (test)
#[tokio::test]
async fn a_list_of_rooms_goes_on_after_names_that_the_asker_may_know() {
    let (ana, _, eve) = world().await;
    ana.send(&message(named("@ben"), "hello").unwrap()).await.unwrap();
    for (n, name) in ["a", "c", "e"].into_iter().enumerate() {
        ana.create_room(RoomId([n as u8; 16]), name, None).await.unwrap();
        ana.create_private_room(RoomId([n as u8 + 8; 16]), &format!("{name}-secret"), None).await.unwrap();
    }
    for limit in 1..4 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let ask = List { after: after.clone(), limit: Some(limit) };
            let page: Rooms = eve.connection().call(PROTOCOL, method::LIST, &ask).await.unwrap();
            seen.extend(page.rooms.into_iter().map(|room| room.name));
            match page.more {
                Some(more) => after = Some(more),
                None => break,
            }
            assert!(seen.contains(after.as_ref().unwrap()), "{after:?} was said to eve");
        }
        assert_eq!(seen, ["a", "c", "e"], "by {limit}");
    }
    assert_eq!(ana.rooms().await.unwrap().len(), 7);
}
