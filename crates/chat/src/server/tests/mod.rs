//! The server's promises, without a network: the core, the sequencer and the feed over a store in memory.

mod audit;
mod following;
mod members;
mod methods;
mod pages;
mod reading;
mod retention;
mod sending;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use hikyaku_storage::memory::MemoryStore;
use hikyaku_storage::{
    Batch, Committed, Head, Key, Page, Pending as Storing, RoomId as StoreRoom, Store, StoreError, Versioned,
};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{
    Create, Cursor, DeviceId, Follow, Kind, MessageId, Mode, RoomId, Salt, Sent, Update, UserId,
};
use tokio::sync::Semaphore;

use super::core::{Core, random};
use super::feed::{Feed, Next};
use super::methods::create;
use super::sequencer::Pending;
use crate::event::Event;
use crate::limits::Limits;
use crate::member::{Answer, Ask, Author, Member, Permit};
use crate::refusal::Refusal;
use crate::rules::Proposal;

pub(super) const OPS: RoomId = RoomId([0xaa; 16]);

/// Somebody who may do everything as long as the key `may/<n>` of the store is as it was when they first asked.
pub(super) struct Somebody {
    n: u8,
    store: Arc<dyn Store>,
    remembered: std::sync::Mutex<Option<u64>>,
}

impl Somebody {
    pub(super) fn new(n: u8, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { n, store, remembered: std::sync::Mutex::default() })
    }

    pub(super) fn key(&self) -> Key {
        Key::join([b"may/".as_slice(), &[self.n]])
    }
}

impl Member for Somebody {
    fn author(&self) -> Author {
        author(self.n)
    }

    fn permit(&self, ask: Ask) -> Answer<'_> {
        Box::pin(async move {
            if ask.operation == crate::member::Operation::Moderate {
                // Whoever has the key `mod/<n>` moderates.
                let key = Key::join([b"mod/".as_slice(), &[self.n]]);
                let found = self.store.get(&key).await?;
                let found = found.ok_or(Refusal::Denied(ask.operation.describe()))?;
                return Ok(Permit { checks: vec![(key, found.version)] });
            }
            let remembered = self.remembered.lock().unwrap().filter(|_| !ask.fresh);
            let version = match remembered {
                Some(version) => version,
                None => match self.store.get(&self.key()).await? {
                    Some(denied) if denied.value == b"no".as_slice() => {
                        return Err(Refusal::Denied(ask.operation.describe()));
                    }
                    found => found.map_or(0, |found| found.version),
                },
            };
            *self.remembered.lock().unwrap() = Some(version);
            Ok(Permit { checks: vec![(self.key(), version)] })
        })
    }

    fn user_named<'a>(&'a self, name: &'a str) -> crate::member::Sought<'a> {
        let n = name.strip_prefix("user ").and_then(|n| n.parse().ok());
        Box::pin(async move { Ok(n.map(|n| (UserId([n; 16]), name.to_owned()))) })
    }

    /// Everybody but user 200 is known.
    fn name_of(&self, user: UserId) -> crate::member::Named<'_> {
        Box::pin(async move { Ok((user.0[0] != 200).then(|| format!("user {}", user.0[0]))) })
    }
}

pub(super) fn author(n: u8) -> Author {
    Author { id: UserId([n; 16]), name: format!("user {n}"), device: DeviceId([n; 32]) }
}

/// A store in memory that can be held up, counted, and made to fail or to show another head.
#[derive(Default)]
pub(super) struct TestStore {
    pub(super) inner: MemoryStore,
    /// While set, a commit takes a permit of `gate` first.
    pub(super) gated: AtomicBool,
    pub(super) gate: Semaphore0,
    pub(super) commits: AtomicUsize,
    /// Questions that were asked, and keys, heads and events that were read for them.
    pub(super) questions: AtomicUsize,
    pub(super) rows: AtomicUsize,
    pub(super) full: AtomicBool,
    /// The next reading of heads reads, and then takes a permit of `gate` before it answers.
    pub(super) late_heads: AtomicBool,
    pub(super) edit_head: std::sync::Mutex<Option<HeadEdit>>,
}

/// What a head is shown as.
type HeadEdit = fn(Head) -> Head;

/// A semaphore that begins with no permits.
pub(super) struct Semaphore0(pub(super) Semaphore);

impl Default for Semaphore0 {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl TestStore {
    fn asked(&self, rows: usize) {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.rows.fetch_add(rows, Ordering::SeqCst);
    }

    fn edited(&self, head: Option<Head>) -> Option<Head> {
        let edit = *self.edit_head.lock().unwrap();
        head.map(|head| edit.map_or(head.clone(), |edit| edit(head)))
    }
}

impl Store for TestStore {
    fn commit(&self, batch: Batch) -> Storing<'_, Committed> {
        Box::pin(async move {
            if self.gated.load(Ordering::SeqCst) {
                self.gate.0.acquire().await.unwrap().forget();
            }
            if self.full.load(Ordering::SeqCst) {
                return Err(StoreError::Full);
            }
            let committed = self.inner.commit(batch).await?;
            self.commits.fetch_add(1, Ordering::SeqCst);
            Ok(committed)
        })
    }

    fn get(&self, key: &Key) -> Storing<'_, Option<Versioned>> {
        self.asked(1);
        self.inner.get(key)
    }

    fn get_many(&self, keys: Vec<Key>) -> Storing<'_, Vec<Option<Versioned>>> {
        self.asked(keys.len());
        self.inner.get_many(keys)
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Storing<'_, Vec<(Key, Versioned)>> {
        self.asked(limit);
        self.inner.scan(prefix, after, limit)
    }

    fn head(&self, room: StoreRoom) -> Storing<'_, Option<Head>> {
        self.asked(1);
        Box::pin(async move { Ok(self.edited(self.inner.head(room).await?)) })
    }

    fn heads(&self, rooms: Vec<StoreRoom>) -> Storing<'_, Vec<Option<Head>>> {
        Box::pin(async move {
            self.asked(rooms.len());
            let heads = self.inner.heads(rooms).await?;
            if self.late_heads.swap(false, Ordering::SeqCst) {
                self.gate.0.acquire().await.unwrap().forget();
            }
            Ok(heads.into_iter().map(|head| self.edited(head)).collect())
        })
    }

    fn events(&self, room: StoreRoom, from: u64, count: usize, bytes: usize) -> Storing<'_, Page> {
        Box::pin(async move {
            let first = self.head(room).await?.map_or(1, |head| head.first);
            let page = self.inner.events(room, from.max(first), count, bytes).await?;
            self.asked(page.events.len());
            Ok(Page { first: page.first.max(first), ..page })
        })
    }

    fn seq_at(&self, room: StoreRoom, ts_ms: u64) -> Storing<'_, u64> {
        self.inner.seq_at(room, ts_ms)
    }
}

/// A server's core with one room.
pub(super) struct World {
    pub(super) store: Arc<TestStore>,
    pub(super) core: Arc<Core>,
}

impl World {
    pub(super) async fn new(limits: Limits) -> Self {
        let store = Arc::new(TestStore::default());
        let core = Arc::new(Core::new(store.clone(), limits, Arc::new(|| 1_000)));
        let world = Self { store, core };
        world.create(OPS, "ops").await.unwrap();
        world
    }

    pub(super) fn somebody(&self, n: u8) -> Arc<Somebody> {
        Somebody::new(n, self.store.clone())
    }

    pub(super) async fn create(&self, room: RoomId, name: &str) -> Result<bool, Refusal> {
        let ask = Create { room, name: name.into(), topic: None, private: false };
        create(&self.core, &*self.somebody(0), ask).await.map(|created| created.duplicate)
    }

    /// Puts a send into the queue.
    pub(super) async fn submit(&self, room: RoomId, proposal: Proposal) -> Result<Pending, Refusal> {
        let member = self.somebody(proposal.author.id.0[0]);
        self.core.submit(self.core.room(room).await?, proposal, Some(member)).await
    }

    pub(super) async fn send(&self, room: RoomId, proposal: Proposal) -> Result<Sent, Refusal> {
        self.submit(room, proposal).await?.await.unwrap()
    }

    /// Says something with a fresh id.
    pub(super) async fn say(&self, room: RoomId, text: &str) -> u64 {
        self.send(room, proposal(1, random().unwrap(), text)).await.unwrap().seq
    }

    pub(super) fn feed(&self) -> Feed {
        Feed::new(self.core.clone(), self.somebody(9))
    }

    /// All that is in a room's log.
    pub(super) async fn texts(&self, room: RoomId) -> Vec<String> {
        let events = self.store.inner.events(StoreRoom(room.0), 1, 10_000, usize::MAX).await.unwrap().events;
        events.iter().map(|event| text(&event.record)).collect()
    }
}

pub(super) fn proposal(user: u8, id: [u8; 16], body: &str) -> Proposal {
    Proposal {
        author: author(user),
        id: MessageId(id),
        kind: Kind::MESSAGE,
        body: Bytes::copy_from_slice(body.as_bytes()),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        epoch: None,
        salt: Salt([1; 16]),
        wish: None,
    }
}

pub(super) fn text(record: &[u8]) -> String {
    String::from_utf8(Event::from_record(record).unwrap().body.unwrap().to_vec()).unwrap()
}

pub(super) fn follow(room: RoomId, epoch: u32, next: u64, mode: Mode) -> Follow {
    Follow { subscribe: vec![Cursor { room, epoch, next, mode }], unsubscribe: Vec::new() }
}

/// Everything the feed has to tell now.
pub(super) async fn updates(feed: &mut Feed) -> Vec<Update> {
    let mut updates = Vec::new();
    while let Some(next) = feed.next().await.unwrap() {
        updates.push(match next {
            Next::Own(update) => *update,
            Next::Shared(message) => cbor::decode(&message.item(), &cbor::Limits::default()).unwrap(),
        });
    }
    updates
}

/// The events of one room in updates, checked to be without gap or repetition from `next` on.
pub(super) fn events(updates: &[Update], room: RoomId, next: u64) -> Vec<String> {
    let mut texts = Vec::new();
    for batch in updates.iter().flat_map(|update| &update.batches).filter(|batch| batch.room == room) {
        assert_eq!(batch.first, next + texts.len() as u64, "no gap, no repetition");
        texts.extend(batch.records.iter().map(|record| text(&record)));
    }
    texts
}

/// Lets everything run that can, on a runtime of one thread: what was begun stands before the disk by now.
async fn everybody_had_a_turn() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
