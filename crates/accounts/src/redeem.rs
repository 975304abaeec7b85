//! Redeeming an invite: a stranger's device becomes known, in one batch.
//!
//! The batch checks the invite, the device and the name as they were read, so of any number of devices that race for
//! the last use exactly one wins. A device that asks again with the same secret (its WELCOME was lost) gets the same answer.

use bytes::Bytes;
use hikyaku_storage::Batch;
use hikyaku_wire::enroll::{DeviceId, InviteId, UserId};

use crate::accounts::{Accounts, Decision, Found, settle};
use crate::error::AccountsError;
use crate::limits::MAX_DEVICES;
use crate::name::{DeviceName, UserName};
use crate::record::{
    DeviceRecord, InviteRecord, UserRecord, device_key, encode, invite_key, name_key, owner_key,
    user_device_key, user_key,
};
use crate::role::Role;
use crate::secret::{Secret, SecretDigest, random};

/// What a device shows to become known.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Which invite.
    pub invite: InviteId,
    /// Its secret.
    pub secret: Secret,
    /// The device, as its connection has proved it.
    pub device: DeviceId,
    /// The name the user wants; not looked at when the invite is for a user who exists.
    pub user_name: String,
    /// The name of the device.
    pub device_name: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The device's user.
    pub user: UserId,
    /// The user's name.
    pub user_name: UserName,
    /// The user's role.
    pub role: Role,
    /// The device's name, which may have got a number.
    pub device_name: DeviceName,
}

impl Accounts {
    //= S6.26
    /// Makes a device known that holds the secret of an open invite.
    pub async fn redeem(&self, redemption: &Redemption, now: u64) -> Result<Enrolled, AccountsError> {
        settle!(self, self.try_redeem(redemption, now))
    }

    async fn try_redeem(&self, wish: &Redemption, now: u64) -> Result<Decision<Enrolled>, AccountsError> {
        let digest = wish.secret.digest();
        let read = self.store.get_many(vec![device_key(wish.device), invite_key(wish.invite)]).await?;
        let [device, invite] = read.as_slice() else { return Err(AccountsError::Damaged("answer")) };
        if let Some(device) = device {
            let device: Found<DeviceRecord> = Found::new("device", device)?;
            return self.again(wish, &device.record, digest).await.map(Decision::Already);
        }
        let invite = invite.as_ref().map(|found| Found::new("invite", found)).transpose()?;
        let invite = admissible(invite, digest, now)?;
        let device_name: DeviceName = wish.device_name.parse()?;

        let used = InviteRecord { uses_left: invite.record.uses_left - 1, ..invite.record.clone() };
        let batch = Batch::new()
            .check(invite_key(wish.invite), invite.version)
            .put(invite_key(wish.invite), encode(&used))
            .check(device_key(wish.device), 0);
        let newcomer = Newcomer { wish, digest, device_name, now };
        match invite.record.user {
            Some(user) => self.add_device(batch, newcomer, user).await,
            None => self.add_user(batch, newcomer, invite.record.role).await,
        }
    }

    //= S6.27
    /// The device is known. With the secret that made it known it hears the same again; with another one, that it is.
    async fn again(
        &self,
        wish: &Redemption,
        device: &DeviceRecord,
        digest: SecretDigest,
    ) -> Result<Enrolled, AccountsError> {
        if device.invite != wish.invite || device.secret != digest {
            return Err(AccountsError::AlreadyEnrolled);
        }
        let user = self.user(device.user).await?.ok_or(AccountsError::Damaged("user"))?.record;
        enrolled(device.user, &user, device.name.parse().map_err(|_| AccountsError::Damaged("device"))?)
    }

    async fn add_device(
        &self,
        batch: Batch,
        newcomer: Newcomer<'_>,
        id: UserId,
    ) -> Result<Decision<Enrolled>, AccountsError> {
        let user = self.user(id).await?.filter(|user| user.record.revoked_ms.is_none());
        let user = user.ok_or(AccountsError::InviteUnknown)?;
        let batch = self.guard_user(batch.check(user_key(id), user.version), id).await?;
        let others = self.device_names(id).await?;
        if others.len() >= MAX_DEVICES {
            return Err(AccountsError::Limit { what: "devices", limit: MAX_DEVICES });
        }
        let name = free_name(&newcomer.device_name, &others);
        let answer = enrolled(id, &user.record, name.clone())?;
        Ok(Decision::Change(newcomer.put_device(batch, id, &name), answer))
    }

    async fn add_user(
        &self,
        batch: Batch,
        newcomer: Newcomer<'_>,
        role: Role,
    ) -> Result<Decision<Enrolled>, AccountsError> {
        let name: UserName = newcomer.wish.user_name.parse()?;
        let name_key = name_key(&name.skeleton());
        if self.store.get(&name_key).await?.is_some() {
            return Err(AccountsError::NameTaken);
        }
        let id = UserId(random()?);
        let (name, created_ms) = (name.to_string(), newcomer.now);
        let user = UserRecord { name, role, created_ms, revoked_ms: None, grants: None };
        let mut batch = batch
            .check(name_key.clone(), 0)
            .put(name_key, Bytes::copy_from_slice(&id.0))
            .check(user_key(id), 0)
            .put(user_key(id), encode(&user));
        if role == Role::Owner {
            batch = batch.put(owner_key(Some(id)), Bytes::new());
        }
        let device_name = newcomer.device_name.clone();
        let answer = enrolled(id, &user, device_name.clone())?;
        Ok(Decision::Change(newcomer.put_device(batch, id, &device_name), answer))
    }

    /// The names of a user's devices.
    pub(crate) async fn device_names(&self, user: UserId) -> Result<Vec<String>, AccountsError> {
        Ok(self.devices_of(user).await?.into_iter().map(|(_, device)| device.record.name).collect())
    }
}

/// A device about to become known.
struct Newcomer<'a> {
    wish: &'a Redemption,
    digest: SecretDigest,
    device_name: DeviceName,
    now: u64,
}

impl Newcomer<'_> {
    fn put_device(&self, batch: Batch, user: UserId, name: &DeviceName) -> Batch {
        let record = DeviceRecord {
            user,
            name: name.to_string(),
            added_ms: self.now,
            seen_ms: self.now,
            invite: self.wish.invite,
            secret: self.digest,
        };
        batch
            .put(device_key(self.wish.device), encode(&record))
            .put(user_device_key(user, Some(self.wish.device)), Bytes::new())
    }
}

//= S6.28
/// The invite, if this secret opens it now. A wrong secret learns nothing, not even that the invite exists.
fn admissible(
    invite: Option<Found<InviteRecord>>,
    digest: SecretDigest,
    now: u64,
) -> Result<Found<InviteRecord>, AccountsError> {
    let invite =
        invite.filter(|invite| invite.record.secret == digest).ok_or(AccountsError::InviteUnknown)?;
    if invite.record.uses_left == 0 {
        return Err(AccountsError::InviteUsed);
    }
    if !invite.record.is_open(now) {
        return Err(AccountsError::InviteExpired);
    }
    Ok(invite)
}

/// The name itself, or with the first number that makes it different from all others.
fn free_name(wanted: &DeviceName, others: &[String]) -> DeviceName {
    let is_free = |name: &DeviceName| !others.iter().any(|other| other == name.as_str());
    let numbered = (2..=MAX_DEVICES + 2).map(|number| wanted.numbered(number));
    std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or_else(|| wanted.clone())
}

fn enrolled(id: UserId, user: &UserRecord, device_name: DeviceName) -> Result<Enrolled, AccountsError> {
    let user_name = user.name.parse().map_err(|_| AccountsError::Damaged("user"))?;
    Ok(Enrolled { user: id, user_name, role: user.role, device_name })
}
