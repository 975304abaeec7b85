//! Parcels announced by somebody who may no longer, and by a server that died while it announced them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hikyaku::KeyId;
use hikyaku::{Router, local};
use hikyaku_accounts::{Accounts, DeviceId as AccountDevice, InviteWish, IssuedInvite, Redemption, Session};
use hikyaku_chat::{ChatClient, Limits};
use hikyaku_storage::memory::MemoryStore;
use hikyaku_storage::{Committed, Head, Key, Page, Pending, RoomId as StoreRoom};
use hikyaku_wire::chat::{Retain, Retention, Trim};
use tokio::sync::Semaphore;

use super::*;

/// A store in memory in which appends can be held up.
struct Gated {
    inner: Arc<MemoryStore>,
    gate: Arc<Gate>,
}

struct Gate {
    closed: AtomicBool,
    /// One permit for each append that has come to the gate.
    waiting: Semaphore,
    /// One permit for each append that may pass.
    passing: Semaphore,
}

impl Store for Gated {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        let (inner, gate) = (self.inner.clone(), self.gate.clone());
        let commit = async move {
            if !batch.appends.is_empty() && gate.closed.load(Ordering::SeqCst) {
                gate.waiting.add_permits(1);
                gate.passing.acquire().await.unwrap().forget();
            }
            inner.commit(batch).await
        };
        // As on a disk: what was begun is done, whether or not anybody still waits for it.
        Box::pin(async move { tokio::spawn(commit).await.unwrap() })
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
    owner: Context,
    member: Context,
    /// The owner's.
    client: ChatClient,
    /// The parcels' clock.
    now: Arc<AtomicU64>,
}

const OPS: RoomId = RoomId([7; 16]);
const NOW: u64 = 1_800_000_000_000;

fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32])
}

impl World {
    async fn new() -> Self {
        let (waiting, passing) = (Semaphore::new(0), Semaphore::new(0));
        let gate = Arc::new(Gate { closed: AtomicBool::new(false), waiting, passing });
        let store = Arc::new(Gated { inner: Arc::new(MemoryStore::new()), gate });
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
        let client = ChatClient::new(client);
        client.create_room(OPS, "ops", None).await.unwrap();
        let now = Arc::new(AtomicU64::new(1_000));
        let ticking = now.clone();
        let clock: Clock = Arc::new(move || ticking.load(Ordering::SeqCst));
        let parcels = Parcels { clock, ..Parcels::new(chat, store.clone()) };
        Self { store, accounts, parcels, owner, member, client, now }
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

    /// Announces a parcel and settles it, at a time of the parcels' clock.
    async fn settle(&self, number: u8) -> EventRef {
        let announced = self.parcels.announce(&self.member, "ops", &parcel(number)).await.unwrap();
        let root = Some(Root([number; 32]));
        let (parcel, status, bytes) = (announced.event.seq, EndStatus::Settled, Some(1));
        let end = ParcelEnd { parcel, status, root, bytes, entries: None };
        assert_eq!(self.parcels.conclude(&announced.event, &end).await.unwrap(), end);
        announced.event
    }

    async fn retain(&self, retention: Retention) {
        let room = RoomRef::Name("ops".to_owned());
        self.client.retain(&Retain { room, retention }).await.unwrap();
    }

    /// The ends of parcels in the room: which parcel, and how.
    async fn ends(&self) -> Vec<(u64, EndStatus)> {
        let page = self.store.events(StoreRoom(OPS.0), 1, 1_000, usize::MAX).await.unwrap();
        let events = page.events.iter().map(|event| hikyaku_chat::Event::from_record(&event.record).unwrap());
        let ends = events.filter(|event| event.envelope.kind == Kind::PARCEL_END);
        ends.map(|event| decode::<ParcelEnd>(&event.body.unwrap()).unwrap())
            .map(|end| (end.parcel, end.status))
            .collect()
    }

    /// How many parcels the index of what is kept has.
    async fn kept(&self) -> usize {
        self.store.scan(Key::from("parcel-kept/"), None, 10).await.unwrap().len()
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
    Parcel { transfer, name, kind: EntryKind::File, bytes: Some(1), entries: None, meta: None, device: None }
}

//= S4.81 (test)
#[tokio::test]
async fn who_is_removed_while_a_parcel_is_being_announced_announces_nothing() {
    let world = World::new().await;
    // The right to write is remembered from here on.
    let first = world.parcels.announce(&world.member, "ops", &parcel(1)).await.unwrap();
    assert_eq!((first.event.seq, world.left().await), (1, (1, 1)));
    world.store.gate.closed.store(true, Ordering::SeqCst);
    let parcel = parcel(2);
    let announce = world.parcels.announce(&world.member, "ops", &parcel);
    let revoke = async {
        world.store.gate.waiting.acquire().await.unwrap().forget();
        world.revoke_member().await;
        world.store.gate.closed.store(false, Ordering::SeqCst);
        world.store.gate.passing.add_permits(1);
    };
    let (announced, ()) = tokio::join!(announce, revoke);
    assert_eq!(announced.unwrap_err().code, ErrorCode::DENIED);
    assert_eq!((world.last().await, world.left().await), (1, (1, 1)), "nothing of it is left");
}

//= S5.38 (test)
#[tokio::test]
async fn what_is_over_is_let_go_of_while_a_parcel_is_being_announced_and_it_has_its_end_in_the_end() {
    let world = World::new().await;
    // The first time, and once more as after a crash: then its record is there before.
    for number in [1, 2] {
        let parcel = parcel(number);
        if number == 2 {
            let (record, _) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
            let died = ParcelRecord { parcel: parcel.clone(), place: None, end: None, kept: None, ..record };
            assert!(world.parcels.write(&died, 0).await.unwrap());
        }
        world.store.gate.closed.store(true, Ordering::SeqCst);
        let announce = world.parcels.announce(&world.member, "ops", &parcel);
        let sweep = async {
            world.store.gate.waiting.acquire().await.unwrap().forget();
            let open = world.parcels.open_parcels().await.unwrap();
            world.store.gate.closed.store(false, Ordering::SeqCst);
            world.store.gate.passing.add_permits(1);
            open
        };
        let (announced, open) = tokio::join!(announce, sweep);
        let announced = announced.unwrap();
        assert!(open.iter().all(|open| open.transfer != parcel.transfer), "nobody was told of it yet");
        let open = world.parcels.open_parcels().await.unwrap();
        assert!(open.iter().any(|open| open.event == announced.event), "it waits for its end: {open:?}");
    }
}

//= S5.38 (test)
#[tokio::test]
async fn a_parcel_whose_offer_is_given_up_while_it_is_being_announced_is_not_forgotten() {
    let world = World::new().await;
    let (parcel, transfer) = (parcel(1), TransferId([1; 16]));
    world.store.gate.closed.store(true, Ordering::SeqCst);
    tokio::select! {
        _ = world.parcels.announce(&world.member, "ops", &parcel) => panic!("the gate is closed"),
        begun = world.store.gate.waiting.acquire() => begun.unwrap().forget(),
    }
    assert_eq!(world.parcels.open_parcels().await.unwrap(), [], "nobody was told of it yet");
    world.store.gate.closed.store(false, Ordering::SeqCst);
    world.store.gate.passing.add_permits(1);
    while world.last().await == 0 || world.parcels.announcing.has(transfer) {
        tokio::task::yield_now().await;
    }
    let open = world.parcels.open_parcels().await.unwrap();
    assert_eq!(open.iter().map(|open| (open.transfer, open.event.seq)).collect::<Vec<_>>(), [(transfer, 1)]);
    let wanted = Wanted::Event(open[0].event.clone());
    assert_eq!(world.parcels.resolve(&world.member, &wanted).await.unwrap().transfer, transfer);
}

#[tokio::test]
async fn whoever_sees_a_parcel_in_its_room_may_have_it_although_its_place_is_not_noted_yet() {
    let world = World::new().await;
    let announced = world.parcels.announce(&world.member, "ops", &parcel(1)).await.unwrap();
    let (record, version) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    assert!(world.parcels.write(&ParcelRecord { place: None, ..record }, version).await.unwrap());
    let noted = place_key(OPS, announced.event.seq);
    world.store.commit(Batch::new().delete(noted)).await.unwrap();
    let wanted = |seq| Wanted::Event(EventRef { seq, ..announced.event.clone() });
    let resolved = world.parcels.resolve(&world.member, &wanted(1)).await.unwrap();
    assert_eq!(resolved.transfer, TransferId([1; 16]));
    let other = world.parcels.resolve(&world.member, &wanted(2)).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::NOT_FOUND);
}

//= S5.38 (test)
#[tokio::test]
async fn a_parcel_that_is_offered_again_is_not_forgotten_by_who_has_read_it_before() {
    let world = World::new().await;
    world.settle(1).await;
    let (record, _) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    let died = ParcelRecord { parcel: parcel(2), place: None, end: None, kept: None, ..record };
    assert!(world.parcels.write(&died, 0).await.unwrap());
    let (_, version) = world.parcels.read(TransferId([2; 16])).await.unwrap().unwrap();
    world.parcels.recorded(&world.member, "ops", &parcel(2)).await.unwrap();
    world.parcels.forget(TransferId([2; 16]), version).await.unwrap();
    let announced = world.parcels.announce(&world.member, "ops", &parcel(2)).await.unwrap();
    let open = world.parcels.open_parcels().await.unwrap();
    assert_eq!(open.iter().map(|open| &open.event).collect::<Vec<_>>(), [&announced.event]);
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

fn content(number: u8) -> (TransferId, Root) {
    (TransferId([number; 16]), Root([number; 32]))
}

/// What is kept, and by whom.
fn plain(contents: &[Content]) -> Vec<(TransferId, Root)> {
    contents.iter().map(|content| (content.transfer, content.root)).collect()
}

//= S5.71 (test)
#[tokio::test]
async fn files_that_are_older_than_their_room_keeps_them_expire_once() {
    let world = World::new().await;
    let first = world.settle(1).await;
    world.now.store(5_000, Ordering::SeqCst);
    world.settle(2).await;
    assert_eq!(world.parcels.expire().await.unwrap(), [], "nothing was said of files");
    world.retain(Retention { files_ms: Some(10_000), ..Retention::default() }).await;
    world.now.store(10_999, Ordering::SeqCst);
    assert_eq!(world.parcels.expire().await.unwrap(), []);
    world.now.store(11_000, Ordering::SeqCst);
    assert_eq!(world.parcels.holds(TransferId([1; 16])).await.unwrap(), Some(Holds::Content(Root([1; 32]))));
    assert_eq!(plain(&world.parcels.expire().await.unwrap()), [content(1)]);
    assert_eq!(world.parcels.expire().await.unwrap(), []);
    assert_eq!(world.parcels.holds(TransferId([1; 16])).await.unwrap(), Some(Holds::Nothing));
    let wanted = Wanted::Event(first.clone());
    let failure = world.parcels.resolve(&world.member, &wanted).await.unwrap_err();
    assert!(failure.message.contains("expired"), "{failure:?}");
    assert_eq!(plain(&world.parcels.contents(None).await.unwrap()), [content(2)]);
    assert_eq!(world.parcels.contents(Some(TransferId([2; 16]))).await.unwrap(), []);
    let ends = world.ends().await;
    assert_eq!(ends, [(1, EndStatus::Settled), (3, EndStatus::Settled), (1, EndStatus::Expired)]);
    assert_eq!(world.kept().await, 1);
    // Whoever ends it again learns how it ended.
    let end = ParcelEnd { parcel: 1, status: EndStatus::Aborted, root: None, bytes: None, entries: None };
    assert_eq!(world.parcels.conclude(&first, &end).await.unwrap().status, EndStatus::Expired);
}

//= S5.71 (test)
#[tokio::test]
async fn a_crash_between_the_event_and_its_record_writes_the_event_once() {
    let world = World::new().await;
    world.settle(1).await;
    let (before, _) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    world.retain(Retention { files_ms: Some(1), ..Retention::default() }).await;
    world.now.store(2_000, Ordering::SeqCst);
    assert_eq!(plain(&world.parcels.expire().await.unwrap()), [content(1)]);
    let (_, version) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    assert!(world.parcels.write(&before, version).await.unwrap(), "the record as it was before");
    assert_eq!(plain(&world.parcels.expire().await.unwrap()), [content(1)]);
    assert_eq!(world.ends().await, [(1, EndStatus::Settled), (1, EndStatus::Expired)]);
}

//= S5.71 (test)
#[tokio::test]
async fn files_go_with_the_events_that_name_them_and_nobody_is_told() {
    let world = World::new().await;
    world.settle(1).await;
    world.settle(2).await;
    let trim = Trim { room: RoomRef::Name("ops".to_owned()), epoch: 1, through: 2 };
    world.client.trim(&trim).await.unwrap();
    assert_eq!(plain(&world.parcels.expire().await.unwrap()), [content(1)]);
    assert_eq!(world.parcels.expire().await.unwrap(), []);
    assert_eq!((world.ends().await, world.kept().await), (vec![(3, EndStatus::Settled)], 1));
    // One that is trimmed while it is on its way can be named by nobody either.
    let announced = world.parcels.announce(&world.member, "ops", &parcel(3)).await.unwrap();
    let through = announced.event.seq;
    world.client.trim(&Trim { through, ..trim }).await.unwrap();
    let (root, bytes) = (Some(Root([3; 32])), Some(1));
    let end = ParcelEnd { parcel: through, status: EndStatus::Settled, root, bytes, entries: None };
    let ended = world.parcels.conclude(&announced.event, &end).await.unwrap();
    assert_eq!(ended.status, EndStatus::Aborted);
    assert_eq!(world.parcels.open_parcels().await.unwrap(), []);
}

#[tokio::test]
async fn parcels_of_an_earlier_release_have_their_time_from_now_on() {
    let world = World::new().await;
    world.settle(1).await;
    let (mut record, version) = world.parcels.read(TransferId([1; 16])).await.unwrap().unwrap();
    let batch = Batch::new().delete(record::kept_key(OPS, 1_000, TransferId([1; 16])));
    world.store.commit(batch).await.unwrap();
    record.kept = None;
    assert!(world.parcels.write(&record, version).await.unwrap());
    world.retain(Retention { files_ms: Some(1_000), ..Retention::default() }).await;
    world.now.store(50_000, Ordering::SeqCst);
    assert_eq!(world.parcels.expire().await.unwrap(), []);
    world.now.store(51_000, Ordering::SeqCst);
    assert_eq!(plain(&world.parcels.expire().await.unwrap()), [content(1)]);
}

#[tokio::test]
async fn more_files_than_one_round_takes_expire_in_several_in_every_room() {
    let world = World::new().await;
    for number in 1..=150 {
        world.settle(number).await;
    }
    world.retain(Retention { files_ms: Some(1), ..Retention::default() }).await;
    world.now.store(2_000, Ordering::SeqCst);
    let mut expired = 0;
    loop {
        let some = world.parcels.expire().await.unwrap();
        if some.is_empty() {
            break;
        }
        expired += some.len();
    }
    assert_eq!((expired, world.kept().await), (150, 0));
}

//= S5.100 (test)
#[tokio::test]
async fn the_older_version_is_the_newest_of_that_name_for_those_who_may_read_its_room() {
    let world = World::new().await;
    let private = RoomId([9; 16]);
    world.client.create_private_room(private, "secret", None).await.unwrap();
    let older = async |who: &Context, room: &str, name: &[u8], kind| {
        world.parcels.older(who, room, name, kind).await.ok().flatten()
    };
    let (name, file) = (&b"plan.pdf"[..], EntryKind::File);
    assert_eq!(older(&world.member, "ops", name, file).await, None);
    world.settle(1).await;
    world.now.store(2_000, Ordering::SeqCst);
    world.settle(2).await;
    assert_eq!(older(&world.member, "ops", name, file).await, Some(Root([2; 32])));
    assert_eq!(older(&world.owner, "ops", name, file).await, Some(Root([2; 32])));
    assert_eq!(older(&world.owner, "ops", b"plan.pd", file).await, None);
    assert_eq!(older(&world.owner, "ops", name, EntryKind::Tree).await, None);
    assert_eq!(older(&world.owner, "secret", name, file).await, None, "another room's is not taken");
    let announced = world.parcels.announce(&world.owner, "secret", &parcel(3)).await.unwrap();
    let (parcel, status, root) = (announced.event.seq, EndStatus::Settled, Some(Root([3; 32])));
    let end = ParcelEnd { parcel, status, root, bytes: Some(1), entries: None };
    world.parcels.conclude(&announced.event, &end).await.unwrap();
    assert_eq!(older(&world.owner, "secret", name, file).await, Some(Root([3; 32])));
    assert_eq!(older(&world.member, "secret", name, file).await, None);
    // With its content, a parcel is no older version any more.
    world.retain(Retention { files_ms: Some(1_500), ..Retention::default() }).await;
    world.now.store(3_000, Ordering::SeqCst);
    assert_eq!(world.parcels.expire().await.unwrap().len(), 1);
    assert_eq!(older(&world.member, "ops", name, file).await, Some(Root([2; 32])));
    world.now.store(9_000, Ordering::SeqCst);
    assert_eq!(world.parcels.expire().await.unwrap().len(), 1);
    assert_eq!(older(&world.member, "ops", name, file).await, None);
}

//= S5.72 (test)
#[tokio::test]
async fn contents_are_known_to_those_who_may_read_their_room_and_to_nobody_else() {
    let world = World::new().await;
    let size = super::known::KNOWN_FROM;
    let large = |number| Parcel { bytes: Some(size), ..parcel(number) };
    let settle = async |who: &Context, room: &str, number: u8| {
        let announced = world.parcels.announce(who, room, &large(number)).await.unwrap();
        let root = Some(Root([number; 32]));
        let (parcel, status, bytes) = (announced.event.seq, EndStatus::Settled, Some(size));
        let end = ParcelEnd { parcel, status, root, bytes, entries: None };
        world.parcels.conclude(&announced.event, &end).await.unwrap();
    };
    let private = RoomId([9; 16]);
    world.client.create_private_room(private, "secret", None).await.unwrap();
    settle(&world.owner, "secret", 1).await;
    let known = async |who: &Context, size| world.parcels.known(who, "ops", size).await.unwrap();
    assert_eq!(known(&world.owner, size).await, [Root([1; 32])], "from another room of theirs");
    assert_eq!(known(&world.member, size).await, []);
    settle(&world.member, "ops", 2).await;
    assert_eq!(known(&world.member, size).await, [Root([2; 32])]);
    assert_eq!(known(&world.owner, size).await, [Root([2; 32]), Root([1; 32])]);
    assert_eq!(known(&world.owner, size + 1).await, []);
    assert_eq!(known(&world.owner, size - 1).await, []);
    let refused = world.parcels.known(&world.member, "secret", size).await;
    assert!(refused.is_err() || refused.unwrap() == [Root([2; 32])]);
    // With its content, a parcel loses what it was known by.
    world.retain(Retention { files_ms: Some(1), ..Retention::default() }).await;
    world.now.store(9_000, Ordering::SeqCst);
    assert_eq!(world.parcels.expire().await.unwrap().len(), 1);
    assert_eq!(known(&world.member, size).await, []);
}
