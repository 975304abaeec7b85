//! Parcels announced by somebody who may no longer, and by a server that died while it announced them.

use std::sync::atomic::{AtomicBool, Ordering};

use hikyaku::KeyId;
use hikyaku::{Router, local};
use hikyaku_accounts::{Accounts, DeviceId as AccountDevice, InviteWish, IssuedInvite, Redemption, Session};
use hikyaku_chat::{ChatClient, Limits};
use hikyaku_storage::memory::MemoryStore;
use hikyaku_storage::{Committed, Head, Page, Pending, RoomId as StoreRoom};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::Semaphore;

use super::*;

/// A store in memory in which appends can be held up.
struct Gated {
    inner: MemoryStore,
    closed: AtomicBool,
    /// One permit for each append that has come to the gate.
    waiting: Semaphore,
    /// One permit for each append that may pass.
    passing: Semaphore,
}

impl Store for Gated {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        Box::pin(async move {
            if !batch.appends.is_empty() && self.closed.load(Ordering::SeqCst) {
                self.waiting.add_permits(1);
                self.passing.acquire().await.unwrap().forget();
            }
            self.inner.commit(batch).await
        })
    }

    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>> {
        self.inner.get(key)
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>> {
        self.inner.get_many(keys)
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>> {
        self.inner.scan(prefix, after, limit)
    }

    fn head(&self, room: StoreRoom) -> Pending<'_, Option<Head>> {
        self.inner.head(room)
    }

    fn heads(&self, rooms: Vec<StoreRoom>) -> Pending<'_, Vec<Option<Head>>> {
        self.inner.heads(rooms)
    }

    fn events(&self, room: StoreRoom, from: u64, count: usize, bytes: usize) -> Pending<'_, Page> {
        self.inner.events(room, from, count, bytes)
    }

    fn seq_at(&self, room: StoreRoom, ts_ms: u64) -> Pending<'_, u64> {
        self.inner.seq_at(room, ts_ms)
    }
}

/// A server with an owner, the member `ben`, and the room `ops`.
struct World {
    store: Arc<Gated>,
    accounts: Accounts,
    parcels: Parcels,
    member: Context,
}

const OPS: RoomId = RoomId([7; 16]);
const NOW: u64 = 1_800_000_000_000;

fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32])
}

impl World {
    async fn new() -> Self {
        let (waiting, passing) = (Semaphore::new(0), Semaphore::new(0));
        let store =
            Arc::new(Gated { inner: MemoryStore::new(), closed: AtomicBool::new(false), waiting, passing });
        let accounts = Accounts::new(store.clone());
        let invite = accounts.first_invite(NOW).await.unwrap().unwrap();
        let owner = enrol(&accounts, &invite, 1, "ada").await;
        let wish = InviteWish::default();
        let invite = accounts.create_invite(owner.session(), wish, NOW).await.unwrap();
        let member = enrol(&accounts, &invite, 2, "ben").await;
        let chat = ChatServer::new(store.clone(), Limits::default());
        let (client, server) = tokio::io::duplex(64 * 1024);
        let router = Arc::new(Router::new().route("chat/1", chat.clone()));
        let _server = local::serve(server, key(1), owner.again(), router, hikyaku::Limits::default());
        let client = local::connect(client, Router::new(), hikyaku::Limits::default()).await.unwrap();
        ChatClient::new(client).create_room(OPS, "ops", None).await.unwrap();
        let parcels = Parcels::new(chat, store.clone());
        Self { store, accounts, parcels, member }
    }

    async fn revoke_member(&self) {
        let user = self.member.session().user.unwrap();
        let operator = Session::operator(key(9));
        self.accounts.revoke_user(&operator, user, NOW).await.unwrap();
    }

    /// What is left of parcels: records and those that have no end.
    async fn left(&self) -> (usize, usize) {
        let records = self.store.scan(Key::from("parcel/"), None, 10).await.unwrap().len();
        (records, self.store.scan(Key::from("parcel-open/"), None, 10).await.unwrap().len())
    }

    async fn last(&self) -> u64 {
        self.store.head(StoreRoom(OPS.0)).await.unwrap().map_or(0, |head| head.last)
    }
}

async fn enrol(accounts: &Accounts, invite: &IssuedInvite, number: u8, name: &str) -> Context {
    let redemption = Redemption {
        invite: invite.id,
        secret: invite.secret.clone(),
        device: AccountDevice([number; 32]),
        user_name: name.to_owned(),
        device_name: "d".to_owned(),
    };
    accounts.redeem(&redemption, NOW).await.unwrap();
    Context::new(accounts.session(key(number), NOW).await.unwrap(), accounts.clone())
}

fn parcel(number: u8) -> Parcel {
    let (transfer, name) = (TransferId([number; 16]), b"plan.pdf".to_vec());
    Parcel { transfer, name, kind: EntryKind::File, bytes: Some(1), entries: None, meta: None }
}

//= S4.81 (test)
#[tokio::test]
async fn who_is_removed_while_a_parcel_is_being_announced_announces_nothing() {
    let world = World::new().await;
    // The right to write is remembered from here on.
    let first = world.parcels.announce(&world.member, "ops", &parcel(1)).await.unwrap();
    assert_eq!((first.event.seq, world.left().await), (1, (1, 1)));
    world.store.closed.store(true, Ordering::SeqCst);
    let parcel = parcel(2);
    let announce = world.parcels.announce(&world.member, "ops", &parcel);
    let revoke = async {
        world.store.waiting.acquire().await.unwrap().forget();
        world.revoke_member().await;
        world.store.closed.store(false, Ordering::SeqCst);
        world.store.passing.add_permits(1);
    };
    let (announced, ()) = tokio::join!(announce, revoke);
    assert_eq!(announced.unwrap_err().code, ErrorCode::DENIED);
    assert_eq!((world.last().await, world.left().await), (1, (1, 1)), "nothing of it is left");
}

#[tokio::test]
async fn a_parcel_that_nobody_was_told_of_is_forgotten_at_the_next_start() {
    let world = World::new().await;
    let announced = world.parcels.announce(&world.member, "ops", &parcel(1)).await.unwrap();
    let (record, version) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    // The server died after the event and before its place was noted, and before the event of another parcel.
    let died = ParcelRecord { place: None, ..record };
    assert!(world.parcels.write(&died, version).await.unwrap());
    assert!(world.parcels.write(&ParcelRecord { parcel: parcel(2), ..died }, 0).await.unwrap());
    world.revoke_member().await;
    let open = world.parcels.open_parcels().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].transfer, &open[0].event), (TransferId([1; 16]), &announced.event));
    assert_eq!((world.last().await, world.left().await), (1, (1, 1)));
}
