//! A server's accounts and the people around it. Time moves only when a test says so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hikyaku::KeyId;
use hikyaku_accounts::{
    Accounts, AccountsError, DeviceId, Enrolled, InviteWish, IssuedInvite, Redemption, Session,
};
use hikyaku_storage::memory::MemoryStore;
use hikyaku_storage::{Batch, Committed, Head, Key, Page, Pending, RoomId, Store, Versioned};

pub(crate) const MINUTE: u64 = 60 * 1_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// A store before which every call lets all other tasks go first: operations that run at once interleave at every
/// step, so a check that is missing from a batch is found and not only possible to find.
struct Contended(MemoryStore);

impl Contended {
    fn after_others<'a, T: 'a>(
        &'a self,
        call: impl Future<Output = T> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            call.await
        })
    }
}

impl Store for Contended {
    fn commit(&self, batch: Batch) -> Pending<'_, Committed> {
        self.after_others(async move { self.0.commit(batch).await })
    }

    fn get(&self, key: &Key) -> Pending<'_, Option<Versioned>> {
        let key = key.clone();
        self.after_others(async move { self.0.get(&key).await })
    }

    fn get_many(&self, keys: Vec<Key>) -> Pending<'_, Vec<Option<Versioned>>> {
        self.after_others(async move { self.0.get_many(keys).await })
    }

    fn scan(&self, prefix: Key, after: Option<Key>, limit: usize) -> Pending<'_, Vec<(Key, Versioned)>> {
        self.after_others(async move { self.0.scan(prefix, after, limit).await })
    }

    // Accounts keep nothing in rooms.
    fn head(&self, room: RoomId) -> Pending<'_, Option<Head>> {
        self.0.head(room)
    }

    fn heads(&self, rooms: Vec<RoomId>) -> Pending<'_, Vec<Option<Head>>> {
        self.0.heads(rooms)
    }

    fn events(&self, room: RoomId, from: u64, count: usize, bytes: usize) -> Pending<'_, Page> {
        self.0.events(room, from, count, bytes)
    }

    fn seq_at(&self, room: RoomId, ts_ms: u64) -> Pending<'_, u64> {
        self.0.seq_at(room, ts_ms)
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) accounts: Accounts,
    pub(crate) store: Arc<dyn Store>,
    now: Arc<AtomicU64>,
}

/// The key with this number.
pub(crate) fn key(number: u64) -> KeyId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    KeyId::from_bytes(bytes)
}

pub(crate) fn device(number: u64) -> DeviceId {
    DeviceId(*key(number).as_bytes())
}

impl World {
    pub(crate) fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(Contended(MemoryStore::new()));
        let accounts = Accounts::new(store.clone());
        Self { accounts, store, now: Arc::new(AtomicU64::new(1_800_000_000_000)) }
    }

    /// A world with the owner `ada` on device 1.
    pub(crate) async fn owned() -> (Self, Session) {
        let world = Self::new();
        let invite = world.accounts.first_invite(world.now()).await.unwrap().unwrap();
        world.redeem(&invite, 1, "ada").await.unwrap();
        let session = world.session(1).await;
        (world, session)
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) async fn session(&self, number: u64) -> Session {
        self.accounts.session(key(number), self.now()).await.unwrap()
    }

    pub(crate) fn operator(&self) -> Session {
        Session::operator(key(u64::MAX))
    }

    pub(crate) async fn redeem(
        &self,
        invite: &IssuedInvite,
        number: u64,
        name: &str,
    ) -> Result<Enrolled, AccountsError> {
        let redemption = Redemption {
            invite: invite.id,
            secret: invite.secret.clone(),
            device: device(number),
            user_name: name.into(),
            device_name: "laptop".into(),
        };
        self.accounts.redeem(&redemption, self.now()).await
    }

    pub(crate) async fn invite(&self, session: &Session, uses: u32) -> IssuedInvite {
        let wish = InviteWish { uses: Some(uses), ..InviteWish::default() };
        self.accounts.create_invite(session, wish, self.now()).await.unwrap()
    }

    /// Another user with one device, invited by `session`.
    pub(crate) async fn join(&self, session: &Session, number: u64, name: &str) -> Session {
        let invite = self.invite(session, 1).await;
        self.redeem(&invite, number, name).await.unwrap();
        self.session(number).await
    }

    /// One more device of `session`'s user.
    pub(crate) async fn join_device(&self, session: &Session, number: u64) -> Session {
        let invite = self.accounts.invite_device(session, None, None, self.now()).await.unwrap();
        self.redeem(&invite, number, "").await.unwrap();
        self.session(number).await
    }
}
