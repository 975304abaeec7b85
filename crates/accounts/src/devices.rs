//! The devices of a user: listed, renamed, revoked.

use hikyaku::KeyId;
use hikyaku_storage::Batch;
use hikyaku_wire::accounts::{Device, Devices};
use hikyaku_wire::enroll::{DeviceId, UserId};

use crate::accounts::{Accounts, Decision, Found, settle};
use crate::error::AccountsError;
use crate::invites::delete_invite;
use crate::name::DeviceName;
use crate::record::{DeviceRecord, device_key, encode, last, owner_key, owners_guard_key, user_device_key};
use crate::role::{Permission, Role};
use crate::session::Session;

/// What a revocation ended. The live connections of these devices are the caller's to close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// Devices that are unknown now.
    pub devices: Vec<KeyId>,
    /// How many invites ended with them.
    pub invites: u32,
}

impl Accounts {
    /// The devices of a user: of the session's own when none is named, of others if the session may.
    pub async fn list_devices(
        &self,
        session: &Session,
        user: Option<UserId>,
    ) -> Result<Devices, AccountsError> {
        self.acting(session).await?;
        let user = user.or(session.user).ok_or(AccountsError::NotFound("user"))?;
        if session.user != Some(user) {
            session.must(Permission::ManageDevices)?;
        }
        let shown = |(id, found): (DeviceId, Found<DeviceRecord>)| shown(session, id, found.record);
        Ok(Devices { devices: self.devices_of(user).await?.into_iter().map(shown).collect() })
    }

    /// Gives one of the session's own devices another name.
    pub async fn rename_device(
        &self,
        session: &Session,
        id: DeviceId,
        name: &DeviceName,
    ) -> Result<Device, AccountsError> {
        settle!(self, async {
            self.acting(session).await?;
            let found = self.device(id).await?.filter(|found| Some(found.record.user) == session.user);
            let found = found.ok_or(AccountsError::NotFound("device"))?;
            let user = found.record.user;
            for (other, device) in self.devices_of(user).await? {
                if other != id && device.record.name == name.as_str() {
                    return Err(AccountsError::DeviceNameTaken);
                }
            }
            let record = DeviceRecord { name: name.to_string(), ..found.record };
            let batch =
                Batch::new().check(device_key(id), found.version).put(device_key(id), encode(&record));
            let batch = self.guard_user(self.also_acting(batch, session, id).await?, user).await?;
            Ok::<_, AccountsError>(Decision::Change(batch, shown(session, id, record)))
        })
    }

    /// Makes a device unknown and ends the invites that were made on it: one's own device, or any if the session may.
    pub async fn revoke_device(&self, session: &Session, id: DeviceId) -> Result<Revocation, AccountsError> {
        settle!(self, self.try_revoke_device(session, id))
    }

    async fn try_revoke_device(
        &self,
        session: &Session,
        id: DeviceId,
    ) -> Result<Decision<Revocation>, AccountsError> {
        self.acting(session).await?;
        let may_all = session.may(Permission::ManageDevices);
        let found = self.device(id).await?;
        let found = found.filter(|found| may_all || Some(found.record.user) == session.user);
        let found = found.ok_or(AccountsError::NotFound("device"))?;
        let user = found.record.user;

        let batch = Batch::new().check(device_key(id), found.version).delete(device_key(id));
        let batch = batch.delete(user_device_key(user, Some(id)));
        let batch = self.guard_user(self.also_acting(batch, session, id).await?, user).await?;
        let mut batch = self.keep_an_owner(batch, session, user).await?;
        let mut invites = 0;
        for (invite, found) in self.invites_of(user).await? {
            if found.record.by_device == id {
                batch = delete_invite(batch, user, invite);
                invites += 1;
            }
        }
        let devices = vec![KeyId::from_bytes(id.0)];
        Ok(Decision::Change(batch, Revocation { devices, invites }))
    }

    //= S6.35
    /// Refuses to take the last device of the last owner over the network: nobody could let anyone in again.
    /// The operator may, since the administration socket needs no device.
    async fn keep_an_owner(
        &self,
        batch: Batch,
        session: &Session,
        user: UserId,
    ) -> Result<Batch, AccountsError> {
        let record = self.user(user).await?.ok_or(AccountsError::Damaged("user"))?.record;
        if record.role != Role::Owner {
            return Ok(batch);
        }
        let batch = self.guard(batch, owners_guard_key()).await?;
        if session.operator || self.has_devices(user, 2).await? {
            return Ok(batch);
        }
        for key in self.keys(owner_key(None)).await? {
            let owner = UserId(last(&key)?);
            if owner != user && self.has_devices(owner, 1).await? {
                return Ok(batch);
            }
        }
        Err(AccountsError::LastOwner)
    }

    async fn has_devices(&self, user: UserId, count: usize) -> Result<bool, AccountsError> {
        Ok(self.store.scan(user_device_key(user, None), None, count).await?.len() == count)
    }

    /// The device of a user that has this name.
    pub async fn device_named(&self, user: UserId, name: &str) -> Result<Option<DeviceId>, AccountsError> {
        let devices = self.devices_of(user).await?;
        let mut named = devices.into_iter().filter(|(_, found)| found.record.name == name);
        Ok(named.next().map(|(id, _)| id))
    }

    /// All devices of a user.
    pub(crate) async fn devices_of(
        &self,
        user: UserId,
    ) -> Result<Vec<(DeviceId, Found<DeviceRecord>)>, AccountsError> {
        let mut ids = Vec::new();
        for key in self.keys(user_device_key(user, None)).await? {
            ids.push(DeviceId(last(&key)?));
        }
        let read = self.store.get_many(ids.iter().map(|id| device_key(*id)).collect()).await?;
        let mut devices = Vec::new();
        for (id, found) in ids.into_iter().zip(read) {
            // A device may have gone between the two reads.
            if let Some(found) = found {
                devices.push((id, Found::new("device", &found)?));
            }
        }
        Ok(devices)
    }

    /// Adds the check that the acting device is still known, unless the batch already checks that very device.
    async fn also_acting(
        &self,
        batch: Batch,
        session: &Session,
        id: DeviceId,
    ) -> Result<Batch, AccountsError> {
        match self.acting(session).await? {
            Some(acting) if session.device_id() != id => {
                Ok(batch.check(device_key(session.device_id()), acting.version))
            }
            _ => Ok(batch),
        }
    }
}

fn shown(session: &Session, id: DeviceId, record: DeviceRecord) -> Device {
    Device {
        id,
        name: record.name,
        added_ms: record.added_ms,
        seen_ms: record.seen_ms,
        this: id == session.device_id(),
    }
}

/// Adds the end of a device to a batch.
pub(crate) fn delete_device(batch: Batch, user: UserId, id: DeviceId) -> Batch {
    batch.delete(device_key(id)).delete(user_device_key(user, Some(id)))
}
