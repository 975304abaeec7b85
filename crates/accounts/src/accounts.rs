//! [`Accounts`]: the rules over a store. Every operation reads, decides, and commits one conditional batch; when others
//! were faster it reads and decides again. So two devices never redeem one use, and nobody acts after being revoked.
//!
//! Time is passed in as milliseconds since 1970. The operations are in the modules beside this one, one family each.

use std::sync::Arc;

use hikyaku::KeyId;
use hikyaku_storage::{Batch, Key, Store, Versioned};
use hikyaku_wire::enroll::{DeviceId, UserId};
use minicbor::Decode;

use crate::error::AccountsError;
use crate::name::UserName;
use crate::record::{
    DeviceRecord, UserRecord, decode, device_key, encode, guard_key, name_key, owner_key, user_key,
};
use crate::session::Session;

/// How often an operation is tried against others that change the same keys. Each failed attempt means that another
/// one succeeded, so this is also how many may contend.
pub(crate) const ATTEMPTS: usize = 128;
/// A device's last appearance is written at most this often.
const SEEN_EVERY_MS: u64 = 10 * 60 * 1_000;

/// The accounts of one server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) store: Arc<dyn Store>,
}

/// A stored record with the version under which it was read.
pub(crate) struct Found<T> {
    pub(crate) record: T,
    pub(crate) version: u64,
}

/// What an operation wants after reading: a change, or nothing because it is already as asked for.
pub(crate) enum Decision<T> {
    Change(Batch, T),
    Already(T),
}

/// Repeats an attempt until its batch is committed or it needs none.
macro_rules! settle {
    ($accounts:expr, $attempt:expr) => {{
        for _ in 0..$crate::accounts::ATTEMPTS {
            match $attempt.await? {
                $crate::accounts::Decision::Already(answer) => return Ok(answer),
                $crate::accounts::Decision::Change(batch, answer) => {
                    if $accounts.commit(batch).await? {
                        return Ok(answer);
                    }
                }
            }
        }
        Err($crate::error::AccountsError::Busy)
    }};
}
pub(crate) use settle;

impl Accounts {
    /// The accounts kept in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    //= S6.6
    /// Who the holder of this key is. An unknown or revoked device is a stranger.
    pub async fn session(&self, device: KeyId, now: u64) -> Result<Session, AccountsError> {
        let id = DeviceId(*device.as_bytes());
        let Some(found) = self.device(id).await? else { return Ok(Session::stranger(device)) };
        let user_id = found.record.user;
        let user = self.user(user_id).await?.ok_or(AccountsError::Damaged("user"))?.record;
        if user.revoked_ms.is_some() {
            return Ok(Session::stranger(device));
        }
        let device_name = found.record.name.parse().map_err(|_| AccountsError::Damaged("device"))?;
        let name = user.name.parse().map_err(|_| AccountsError::Damaged("user"))?;
        self.note_appearance(id, found, now).await;
        let session = Session::member(user_id, name, user.role, device, device_name);
        Ok(Session { grants: user.grants.unwrap_or_default(), ..session })
    }

    /// Whether the server has an owner. As long as it has none, an invite makes one.
    pub async fn has_owner(&self) -> Result<bool, AccountsError> {
        Ok(!self.store.scan(owner_key(None), None, 1).await?.is_empty())
    }

    /// The user of this name, if there is one who was not revoked.
    pub async fn user_of_name(&self, name: &UserName) -> Result<Option<UserId>, AccountsError> {
        let Some(found) = self.store.get(&name_key(&name.skeleton())).await? else { return Ok(None) };
        let id = UserId(found.value.as_ref().try_into().map_err(|_| AccountsError::Damaged("name"))?);
        let user = self.user(id).await?.ok_or(AccountsError::Damaged("user"))?.record;
        Ok((user.revoked_ms.is_none() && user.name == name.as_str()).then_some(id))
    }

    /// Writes down when a device was last seen. Not worth failing a connection for.
    async fn note_appearance(&self, id: DeviceId, found: Found<DeviceRecord>, now: u64) {
        if now < found.record.seen_ms.saturating_add(SEEN_EVERY_MS) {
            return;
        }
        let record = DeviceRecord { seen_ms: now, ..found.record };
        let batch = Batch::new().check(device_key(id), found.version).put(device_key(id), encode(&record));
        if let Err(error) = self.commit(batch).await {
            tracing::debug!(%error, "could not note when a device was seen");
        }
    }

    /// What a session's rights rest on: a key and the version it must still have in whatever batch makes use of them.
    /// `None` for the operator. A revoked device has none: [`AccountsError::Unknown`].
    pub async fn standing(&self, session: &Session) -> Result<Option<(Key, u64)>, AccountsError> {
        let found = self.acting(session).await?;
        Ok(found.map(|found| (device_key(session.device_id()), found.version)))
    }

    /// The session's own device record, which must still be there: its version goes into the checks of every change
    /// that the session makes. The operator has none.
    pub(crate) async fn acting(
        &self,
        session: &Session,
    ) -> Result<Option<Found<DeviceRecord>>, AccountsError> {
        if session.operator {
            return Ok(None);
        }
        let found = self.device(session.device_id()).await?.ok_or(AccountsError::Unknown)?;
        if Some(found.record.user) == session.user { Ok(Some(found)) } else { Err(AccountsError::Unknown) }
    }

    pub(crate) async fn device(&self, id: DeviceId) -> Result<Option<Found<DeviceRecord>>, AccountsError> {
        self.read("device", &device_key(id)).await
    }

    pub(crate) async fn user(&self, id: UserId) -> Result<Option<Found<UserRecord>>, AccountsError> {
        self.read("user", &user_key(id)).await
    }

    pub(crate) async fn read<T>(
        &self,
        what: &'static str,
        key: &Key,
    ) -> Result<Option<Found<T>>, AccountsError>
    where
        T: for<'b> Decode<'b, ()>,
    {
        self.store.get(key).await?.map(|found| Found::new(what, &found)).transpose()
    }

    /// All keys with this prefix, page by page.
    pub(crate) async fn keys(&self, prefix: Key) -> Result<Vec<Key>, AccountsError> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let page = self.store.scan(prefix.clone(), keys.last().cloned(), PAGE).await?;
            if page.is_empty() {
                return Ok(keys);
            }
            keys.extend(page.into_iter().map(|(key, _)| key));
        }
    }

    /// Applies a batch; `false` when others were faster.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<bool, AccountsError> {
        match self.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts changes to a user's devices and invites one after the other.
    pub(crate) async fn guard(&self, batch: Batch, key: Key) -> Result<Batch, AccountsError> {
        let found = self.store.get(&key).await?;
        Ok(batch.check_read(key.clone(), found.as_ref()).put(key, bytes::Bytes::new()))
    }

    /// [`Accounts::guard`] for the devices and invites of one user.
    pub(crate) async fn guard_user(&self, batch: Batch, user: UserId) -> Result<Batch, AccountsError> {
        self.guard(batch, guard_key(user)).await
    }
}

/// How many keys are read at once.
const PAGE: usize = 1_000;

impl<T: for<'b> Decode<'b, ()>> Found<T> {
    pub(crate) fn new(what: &'static str, found: &Versioned) -> Result<Self, AccountsError> {
        Ok(Self { record: decode(what, found)?, version: found.version })
    }
}
