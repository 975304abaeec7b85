//! Who is here, through the whole protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use hikyaku::{ErrorCode, KeyId, Router, local};
use hikyaku_chat::client::Looking;
use hikyaku_chat::wire::{
    Change, ChangeMember, DeviceId, MessageId, PROTOCOL, Present, RoomId, State, UserId,
};
use hikyaku_chat::{
    Answer, Ask, Author, ChatClient, ChatServer, Limits, Member, Named, Permit, presence::PresenceLimits,
};
use hikyaku_storage::memory::MemoryStore;

const DEN: RoomId = RoomId([1; 16]);

/// A member who may do everything that the room lets them.
struct Anybody(u8);

impl Member for Anybody {
    fn author(&self) -> Author {
        Author { id: UserId([self.0; 16]), name: format!("user {}", self.0), device: DeviceId([self.0; 32]) }
    }

    fn permit(&self, ask: Ask) -> Answer<'_> {
        Box::pin(async move {
            match ask.operation {
                hikyaku_chat::Operation::Moderate => Err(hikyaku_chat::Refusal::Denied("moderate")),
                _ => Ok(Permit::default()),
            }
        })
    }

    fn name_of(&self, user: UserId) -> Named<'_> {
        Box::pin(async move { Ok(Some(format!("user {}", user.0[0]))) })
    }
}

async fn client(chat: &ChatServer, user: u8) -> ChatClient {
    client_within(chat, user, hikyaku::Limits::default()).await
}

async fn client_within(chat: &ChatServer, user: u8, limits: hikyaku::Limits) -> ChatClient {
    let router = Router::new().route(PROTOCOL, chat.clone());
    let (client, server) = tokio::io::duplex(64 * 1024);
    let peer = KeyId::from_bytes([user; 32]);
    local::serve(server, peer, Anybody(user), Arc::new(router), hikyaku::Limits::default());
    ChatClient::new(local::connect(client, Router::new(), limits).await.unwrap())
}

fn server(limits: Limits) -> ChatServer {
    ChatServer::new(Arc::new(MemoryStore::new()), limits)
}

/// Waits until somebody is told to do this.
async fn until(looking: &mut Looking, user: u8, state: State) -> Present {
    loop {
        let present = looking.next().await.unwrap();
        if present.someone.iter().any(|one| one.user == UserId([user; 16]) && one.state == state) {
            return present;
        }
    }
}

fn change(n: u8, change: Change, user: Option<u8>) -> ChangeMember {
    let user = user.map(|user| UserId([user; 16]));
    ChangeMember { room: DEN.into(), id: MessageId([n; 16]), change, user, role: None }
}

#[tokio::test]
async fn who_looks_hears_who_comes_who_types_and_who_goes() {
    let chat = server(Limits::default());
    let (ana, ben) = (client(&chat, 1).await, client(&chat, 2).await);
    ana.create_room(DEN, "den", None).await.unwrap();
    let (first, mut looking) = ana.look(DEN).await.unwrap();
    assert_eq!((first.count, first.someone.len()), (0, 0), "who has not said so is not here");
    looking.say(State::Here).unwrap();
    until(&mut looking, 1, State::Here).await;

    let (first, at_bens) = ben.look(DEN).await.unwrap();
    assert_eq!((first.count, first.someone[0].name.as_str()), (1, "user 1"));
    at_bens.say(State::Typing).unwrap();
    assert_eq!(until(&mut looking, 2, State::Typing).await.count, 2);
    assert_eq!(ana.who(DEN).await.unwrap().someone.len(), 2, "asking is not being here");
    at_bens.say(State::Here).unwrap();
    until(&mut looking, 2, State::Here).await;
    ben.connection().close().await;
    assert_eq!(until(&mut looking, 2, State::Gone).await.count, 1, "a connection that ends is a person gone");
}

//= S4.71 (test)
#[tokio::test]
async fn who_may_read_the_room_no_longer_is_told_nothing_more() {
    let chat = server(Limits::default());
    let (ana, ben, eve) = (client(&chat, 1).await, client(&chat, 2).await, client(&chat, 3).await);
    ana.create_private_room(DEN, "den", None).await.unwrap();
    let unknown = eve.look(DEN).await.err().unwrap();
    assert_eq!(unknown.code(), ErrorCode::ROOM_UNKNOWN, "nor that there is a room");
    ana.change_member(&change(1, Change::Invite, Some(2))).await.unwrap();
    assert_eq!(ben.look(DEN).await.err().unwrap().code(), ErrorCode::DENIED);
    ben.change_member(&change(2, Change::Join, None)).await.unwrap();

    let (_, mut at_anas) = ana.look(DEN).await.unwrap();
    let (_, mut at_bens) = ben.look(DEN).await.unwrap();
    at_bens.say(State::Here).unwrap();
    until(&mut at_anas, 2, State::Here).await;
    until(&mut at_bens, 2, State::Here).await;
    ana.change_member(&change(3, Change::Leave, Some(2))).await.unwrap();
    at_anas.say(State::Here).unwrap();
    until(&mut at_anas, 1, State::Here).await;
    // Ana's datagram was told before this is answered; Ben's exchange ends with the next thing he says.
    at_bens.say(State::Typing).unwrap();
    let heard = loop {
        match at_bens.next().await {
            Ok(present) => {
                assert!(present.someone.iter().all(|one| one.user != UserId([1; 16])), "{present:?}")
            }
            Err(error) => break error,
        }
    };
    assert_eq!(heard.code(), ErrorCode::ROOM_UNKNOWN);
}

#[tokio::test]
async fn as_many_look_as_the_server_takes_in_all_its_rooms() {
    let presence = PresenceLimits { lookers_in_all: 1, ..PresenceLimits::default() };
    let chat = server(Limits { presence, ..Limits::default() });
    let ana = client(&chat, 1).await;
    ana.create_room(DEN, "den", None).await.unwrap();
    ana.create_room(RoomId([2; 16]), "lab", None).await.unwrap();
    let (_, looking) = ana.look(DEN).await.unwrap();
    let refused = ana.look(RoomId([2; 16])).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::LIMIT);
    assert!(refused.to_string().contains("1 lookers at rooms"), "{refused}");
    looking.finish().await.unwrap();
    assert!(ana.look(RoomId([2; 16])).await.is_ok());
}

//= S4.76 (test)
#[tokio::test]
async fn whoever_takes_no_datagrams_holds_up_nobody() {
    let chat = server(Limits::default());
    let ana = client(&chat, 1).await;
    ana.create_room(DEN, "den", None).await.unwrap();
    let deaf =
        client_within(&chat, 2, hikyaku::Limits { datagram_queue: 0, ..hikyaku::Limits::default() }).await;
    let (_, _at_deafs) = deaf.look(DEN).await.unwrap();
    let (_, mut looking) = ana.look(DEN).await.unwrap();
    for state in [State::Typing, State::Here] {
        looking.say(state).unwrap();
        until(&mut looking, 1, state).await;
    }
    assert_eq!(deaf.who(DEN).await.unwrap().count, 1, "and what is not a datagram arrives");
}
