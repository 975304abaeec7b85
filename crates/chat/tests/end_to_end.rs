//! The chat's promises through the whole protocol: client, session, multiplexer, server, store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hikyaku::{Connection, Error, ErrorCode, KeyId, Retry, Router, local};
use hikyaku_chat::client::{Backoff, Delivery, id_for_key, message};
use hikyaku_chat::wire::{
    Cursor, DeviceId, Follow, History, Kind, Mode, PROTOCOL, RoomId, Send, Sent, Update, UserId,
};
use hikyaku_chat::{
    Answer, Ask, Author, Chain, ChatClient, ChatServer, Event, Follower, Following, Limits, Member, News,
    Permit, Position,
};
use hikyaku_storage::memory::MemoryStore;

const OPS: RoomId = RoomId([1; 16]);

/// A member who may do everything.
struct Anybody(u8);

impl Member for Anybody {
    fn author(&self) -> Author {
        Author { id: UserId([self.0; 16]), name: format!("user {}", self.0), device: DeviceId([self.0; 32]) }
    }

    fn permit(&self, _: Ask) -> Answer<'_> {
        Box::pin(async { Ok(Permit::default()) })
    }
}

/// A server over a store that outlives it.
#[derive(Clone)]
struct World {
    store: MemoryStore,
    chat: Arc<Mutex<ChatServer>>,
    limits: Limits,
    /// The server's ends of all connections, to be cut.
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let store = MemoryStore::new();
        let chat = ChatServer::new(Arc::new(store.clone()), limits.clone());
        Self { store, chat: Arc::new(Mutex::new(chat)), limits, connections: Arc::default() }
    }

    async fn with_ops() -> Self {
        let world = Self::new(Limits::default());
        world.client(0).await.create_room(OPS, "ops", None).await.unwrap();
        world
    }

    /// A new connection of somebody.
    async fn connect(&self, user: u8) -> hikyaku::Result<Connection> {
        let router = Router::new().route(PROTOCOL, self.chat.lock().unwrap().clone());
        let (client, server) = tokio::io::duplex(64 * 1024);
        let peer = KeyId::from_bytes([user; 32]);
        let server = local::serve(server, peer, Anybody(user), Arc::new(router), hikyaku::Limits::default());
        self.connections.lock().unwrap().push(server);
        local::connect(client, Router::new(), hikyaku::Limits::default()).await
    }

    async fn client(&self, user: u8) -> ChatClient {
        ChatClient::new(self.connect(user).await.unwrap())
    }

    fn cut_all(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort(ErrorCode::INTERNAL_ERROR, "cut");
        }
    }

    /// Everything the server has in memory is gone.
    fn restart(&self) {
        *self.chat.lock().unwrap() = ChatServer::new(Arc::new(self.store.clone()), self.limits.clone());
        self.cut_all();
    }

    fn following(&self, user: u8) -> Following {
        let mut follower = Follower::new();
        follower.follow(OPS, Position::START, Mode::Live);
        let world = self.clone();
        let quick = Backoff { first: std::time::Duration::from_millis(1), ..Backoff::default() };
        Following::start(follower, quick, move || {
            let world = world.clone();
            async move { world.connect(user).await }
        })
    }

    /// Sends until there is an answer, whatever happens to connections.
    async fn send_for_sure(&self, user: u8, send: &Send) -> Sent {
        loop {
            let answer = match self.connect(user).await {
                Ok(connection) => ChatClient::new(connection).send(send).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(sent) => return sent,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    }
}

fn text(event: &Event) -> String {
    String::from_utf8(event.body.clone().unwrap().to_vec()).unwrap()
}

/// The next so many events, which must follow each other; checks the chain on the way.
async fn next_events(following: &mut Following, from: u64, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        if let News::Event(delivery) = following.next().await.unwrap().unwrap() {
            assert_eq!(delivery.seq, from + texts.len() as u64, "no gap, no repetition");
            texts.push(text(&delivery.event().unwrap()));
        }
    }
    texts
}

#[tokio::test]
async fn two_people_talk_and_both_see_the_same() {
    let world = World::with_ops().await;
    let (mut one, mut two) = (world.following(1), world.following(2));
    let (hana, taro) = (world.client(1).await, world.client(2).await);
    let first = hana.send(&message(OPS, "Are the runners back?").unwrap()).await.unwrap();
    let second = Send { kind: Kind::REPLY, refs: vec![first.seq], ..message(OPS, "All but one.").unwrap() };
    assert_eq!(taro.send(&second).await.unwrap().seq, 2);
    let said = ["Are the runners back?", "All but one."];
    assert_eq!(next_events(&mut one, 1, 2).await, said);
    assert_eq!(next_events(&mut two, 1, 2).await, said);

    let page = hana
        .history(&History { room: OPS.into(), from: Some(1), since_ms: None, limit: None, chain: false })
        .await
        .unwrap();
    let mut chain = Chain::genesis(OPS);
    for record in page.records.iter() {
        chain = Event::from_record(&record).unwrap().link(chain);
    }
    assert_eq!(chain.0, page.head.chain, "the reader computes the server's chain");
}

#[tokio::test]
async fn rooms_are_created_listed_and_found() {
    let world = World::with_ops().await;
    let client = world.client(1).await;
    let lab = RoomId([2; 16]);
    assert!(!client.create_room(lab, "#Lab", Some("white mice")).await.unwrap().duplicate);
    assert!(client.create_room(lab, "lab", Some("white mice")).await.unwrap().duplicate);
    let names: Vec<_> =
        client.rooms().await.unwrap().into_iter().map(|room| (room.name, room.head.last)).collect();
    assert_eq!(names, [("lab".to_owned(), 1), ("ops".to_owned(), 0)]);
    let room = client.resolve(hikyaku_chat::wire::RoomRef::Name("lab".into())).await.unwrap();
    assert_eq!(room.head.room, lab);
}

#[tokio::test]
async fn a_refusal_arrives_with_its_code_and_its_reason() {
    let world = World::with_ops().await;
    let client = world.client(1).await;
    let code = |result: hikyaku::Result<Sent>| match result {
        Err(Error::Failure(failure)) => (failure.code, failure.retry, failure.message),
        other => panic!("{other:?}"),
    };
    let nowhere = message(hikyaku_chat::wire::RoomRef::Name("nowhere".into()), "x").unwrap();
    let unknown = code(client.send(&nowhere).await);
    assert_eq!((unknown.0, unknown.1), (ErrorCode::ROOM_UNKNOWN, Retry::No));
    let large = code(client.send(&message(OPS, "x".repeat(65_537)).unwrap()).await);
    assert_eq!(large.0, ErrorCode::BODY_TOO_LARGE);
    assert!(large.2.contains("65537") && large.2.contains("65536"), "{}", large.2);
    let keyed = Send { id: id_for_key(OPS, "deploy-42"), ..message(OPS, "done").unwrap() };
    assert!(!client.send(&keyed).await.unwrap().duplicate);
    assert!(client.send(&keyed).await.unwrap().duplicate);
    let other = Send { id: keyed.id, ..message(OPS, "failed").unwrap() };
    assert_eq!(code(client.send(&other).await).0, ErrorCode::ID_REUSED);
    assert_eq!(world.client(2).await.send(&other).await.unwrap().seq, 2, "another user's key is another's");
}

//= S4.36 (test)
#[tokio::test]
async fn sends_of_one_exchange_keep_their_order_and_end_at_the_first_refusal() {
    let world = World::with_ops().await;
    let client = world.client(1).await;
    let mut sends = client.sends().await.unwrap();
    for n in 0..500 {
        sends.sender.feed(&message(OPS, n.to_string()).unwrap()).await.unwrap();
    }
    sends.sender.finish().await.unwrap();
    for n in 1..=500 {
        assert_eq!(sends.receiver.next().await.unwrap().unwrap().seq, n);
    }
    assert!(sends.receiver.next().await.unwrap().is_none());

    let mut sends = client.sends().await.unwrap();
    sends.sender.send(&message(OPS, "good").unwrap()).await.unwrap();
    sends.sender.send(&Send { kind: Kind::PARCEL, ..message(OPS, "forged").unwrap() }).await.unwrap();
    assert_eq!(sends.receiver.next().await.unwrap().unwrap().seq, 501);
    assert_eq!(sends.receiver.next().await.unwrap_err().code(), ErrorCode::DENIED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_and_restarts_lose_nothing_and_double_nothing() {
    let world = World::with_ops().await;
    let mut readers = tokio::task::JoinSet::new();
    let seen = Arc::new(AtomicUsize::new(0));
    for user in 10..13 {
        let (mut following, seen) = (world.following(user), seen.clone());
        readers.spawn(async move {
            let mut texts = Vec::new();
            while texts.len() < 300 {
                texts.extend(next_events(&mut following, texts.len() as u64 + 1, 1).await);
                seen.fetch_add(1, Ordering::SeqCst);
            }
            texts
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for user in 1..4u8 {
        let world = world.clone();
        writers.spawn(async move {
            let mut places = Vec::new();
            for n in 0..100 {
                let send = message(OPS, format!("{user}/{n}")).unwrap();
                places.push((world.send_for_sure(user, &send).await.seq, format!("{user}/{n}")));
            }
            places
        });
    }
    // Faults happen as long as there is something to lose, paced by progress and not by time.
    let faults = Arc::new(AtomicUsize::new(0));
    let nemesis = tokio::spawn({
        let (world, faults) = (world.clone(), faults.clone());
        async move {
            let mut next = 0;
            loop {
                if seen.load(Ordering::SeqCst) >= next {
                    next = seen.load(Ordering::SeqCst) + 25;
                    let fault = faults.fetch_add(1, Ordering::SeqCst);
                    if fault % 3 == 2 { world.restart() } else { world.cut_all() }
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let mut acknowledged: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    acknowledged.sort();
    let log: Vec<String> = acknowledged.iter().map(|(_, text)| text.clone()).collect();
    let places: Vec<u64> = acknowledged.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(places, (1..=300).collect::<Vec<_>>(), "each message has one place");
    let all = readers.join_all().await;
    nemesis.abort();
    assert!(faults.load(Ordering::SeqCst) > 3, "cut and restarted at least once: {faults:?}");
    for texts in all {
        assert_eq!(texts, log, "every reader sees what was acknowledged, once and in order");
    }
}

//= S4.48 (test)
#[tokio::test]
async fn a_server_that_goes_away_says_so_and_the_reader_goes_on_elsewhere() {
    let world = World::with_ops().await;
    let client = world.client(1).await;
    let mut following = world.following(2);
    client.send(&message(OPS, "before").unwrap()).await.unwrap();
    assert_eq!(next_events(&mut following, 1, 1).await, ["before"]);
    let old: Vec<_> = world.connections.lock().unwrap().drain(..).collect();
    for connection in old {
        connection.drain().await;
    }
    world.client(1).await.send(&message(OPS, "after").unwrap()).await.unwrap();
    assert_eq!(next_events(&mut following, 2, 1).await, ["after"]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let world = World::with_ops().await;
    let mut asleep = world.client(8).await.sync().await.unwrap();
    let cursor = Cursor { room: OPS, epoch: 0, next: 1, mode: Mode::Live };
    let follow = Follow { subscribe: vec![cursor], unsubscribe: Vec::new() };
    asleep.sender.follow(&follow).await.unwrap();

    // More than the windows of a connection hold.
    let (mut awake, writer) = (world.following(9), world.client(1).await);
    let mut sends = writer.sends().await.unwrap();
    let count = 600;
    let write = async {
        for n in 0..count {
            let mut text = n.to_string();
            text.push_str(&" ".repeat(60_000));
            sends.sender.send(&message(OPS, text).unwrap()).await.unwrap();
        }
        sends.sender.finish().await.unwrap();
    };
    let answers = async { while sends.receiver.next().await.unwrap().is_some() {} };
    let (_, _, texts) = tokio::join!(write, answers, next_events(&mut awake, 1, count));
    assert_eq!(texts.len(), count);

    let mut next = 1;
    while next <= count as u64 {
        let update: Update = asleep.receiver.next().await.unwrap().unwrap();
        for batch in update.batches {
            assert_eq!(batch.first, next);
            next += batch.records.len();
        }
    }
}

#[tokio::test]
async fn what_a_new_follower_is_told_can_be_changed_while_it_follows() {
    let world = World::with_ops().await;
    let lab = RoomId([2; 16]);
    let client = world.client(1).await;
    client.create_room(lab, "lab", None).await.unwrap();
    let mut following = world.following(2);
    client.send(&message(OPS, "in ops").unwrap()).await.unwrap();
    assert_eq!(next_events(&mut following, 1, 1).await, ["in ops"]);
    following.follow(lab, Position::START, Mode::Live);
    following.leave(OPS);
    client.send(&message(OPS, "not heard").unwrap()).await.unwrap();
    client.send(&message(lab, "in lab").unwrap()).await.unwrap();
    let delivery: Delivery = loop {
        match following.next().await.unwrap().unwrap() {
            News::Event(delivery) if delivery.room == lab => break delivery,
            News::Event(delivery) => assert_eq!(delivery.seq, 2, "at most what was on its way"),
            _ => {}
        }
    };
    assert_eq!(text(&delivery.event().unwrap()), "in lab");
}

#[tokio::test]
async fn an_unknown_method_and_a_malformed_message_fail_their_exchange_alone() {
    let world = World::with_ops().await;
    let connection = world.connect(1).await.unwrap();
    let answer: hikyaku::Result<Sent> = connection.call(PROTOCOL, "dance", &1u8).await;
    assert_eq!(answer.unwrap_err().code(), ErrorCode::UNKNOWN_METHOD);
    let answer: hikyaku::Result<Sent> = connection.call(PROTOCOL, "send", &"not a send").await;
    assert_eq!(answer.unwrap_err().code(), ErrorCode::INVALID_MESSAGE);
    let client = ChatClient::new(connection);
    assert_eq!(client.send(&message(OPS, "still here").unwrap()).await.unwrap().seq, 1);
}
