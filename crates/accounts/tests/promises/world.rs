//! A server's accounts and the people around it. Time moves only when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hikyaku::KeyId;
use hikyaku_accounts::{
    Accounts, AccountsError, DeviceId, Enrolled, InviteWish, IssuedInvite, Redemption, Session,
};
use hikyaku_storage::memory::MemoryStore;

pub(crate) const MINUTE: u64 = 60 * 1_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) accounts: Accounts,
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
        let accounts = Accounts::new(Arc::new(MemoryStore::new()));
        Self { accounts, now: Arc::new(AtomicU64::new(1_800_000_000_000)) }
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
