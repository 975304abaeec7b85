//! The users of a server: listed, named, revoked.

use hikyaku::KeyId;
use hikyaku_storage::{Batch, Key};
use hikyaku_wire::accounts::{User, Users};
use hikyaku_wire::enroll::UserId;

use crate::accounts::{Accounts, Decision, Found, settle};
use crate::devices::{Revocation, delete_device};
use crate::error::AccountsError;
use crate::invites::delete_invite;
use crate::limits::MAX_PAGE;
use crate::name::UserName;
use crate::record::{UserRecord, device_key, encode, last, owner_key, owners_guard_key, user_key};
use crate::role::{Grant, Permission, Role};
use crate::session::Session;

impl Accounts {
    /// A page of the users who were not revoked. Every user may see the others.
    pub async fn list_users(&self, session: &Session, after: Option<UserId>) -> Result<Users, AccountsError> {
        self.acting(session).await?;
        let after = after.map(user_key);
        let page = self.store.scan(Key::from("u/"), after, MAX_PAGE + 1).await?;
        let more = page.len() > MAX_PAGE;
        let mut users = Vec::new();
        for (key, found) in page.iter().take(MAX_PAGE) {
            let user: Found<UserRecord> = Found::new("user", found)?;
            if user.record.revoked_ms.is_none() {
                users.push(shown(UserId(last(key)?), user.record));
            }
        }
        // A page may hold nothing but revoked users, so it says itself where it ended.
        let next = if more { Some(UserId(last(&page[MAX_PAGE - 1].0)?)) } else { None };
        Ok(Users { users, next })
    }

    /// The names of these users, in their order, of revoked ones too: their messages stay.
    pub async fn names(&self, users: &[UserId]) -> Result<Vec<Option<UserName>>, AccountsError> {
        let read = self.store.get_many(users.iter().map(|user| user_key(*user)).collect()).await?;
        let mut names = Vec::new();
        for found in read {
            let user: Option<Found<UserRecord>> =
                found.map(|found| Found::new("user", &found)).transpose()?;
            let name = user.map(|user| user.record.name.parse().map_err(|_| AccountsError::Damaged("user")));
            names.push(name.transpose()?);
        }
        Ok(names)
    }

    /// The name of a user who was not revoked.
    pub async fn name_of(&self, user: UserId) -> Result<Option<UserName>, AccountsError> {
        let found = self.user(user).await?.filter(|found| found.record.revoked_ms.is_none());
        found.map(|found| found.record.name.parse().map_err(|_| AccountsError::Damaged("user"))).transpose()
    }

    //= S6.36
    /// Ends a user with all devices and invites. The operator alone may. The name is given to nobody else.
    pub async fn revoke_user(
        &self,
        session: &Session,
        id: UserId,
        now: u64,
    ) -> Result<Revocation, AccountsError> {
        if !session.operator {
            return Err(AccountsError::Denied("revoke users; the server's operator may"));
        }
        settle!(self, self.try_revoke_user(id, now))
    }

    async fn try_revoke_user(&self, id: UserId, now: u64) -> Result<Decision<Revocation>, AccountsError> {
        let found = self.user(id).await?.filter(|found| found.record.revoked_ms.is_none());
        let found = found.ok_or(AccountsError::NotFound("user"))?;
        let is_owner = found.record.role == Role::Owner;
        let record = UserRecord { revoked_ms: Some(now), ..found.record };
        let batch = Batch::new().check(user_key(id), found.version).put(user_key(id), encode(&record));
        let mut batch = self.guard_user(batch, id).await?;
        if is_owner {
            batch = self.guard(batch.delete(owner_key(Some(id))), owners_guard_key()).await?;
        }
        let mut revocation = Revocation::default();
        for (device, _) in self.devices_of(id).await? {
            batch = delete_device(batch, id, device);
            revocation.devices.push(KeyId::from_bytes(device.0));
        }
        for (invite, _) in self.invites_of(id).await? {
            batch = delete_invite(batch, id, invite);
            revocation.invites += 1;
        }
        Ok(Decision::Change(batch, revocation))
    }
}

impl Accounts {
    //= S6.37
    /// Grants a user something beside the role, or takes it back. An owner or the operator may.
    pub async fn grant(
        &self,
        session: &Session,
        id: UserId,
        grant: Grant,
        granted: bool,
    ) -> Result<(), AccountsError> {
        settle!(self, self.try_grant(session, id, grant, granted))
    }

    async fn try_grant(
        &self,
        session: &Session,
        id: UserId,
        grant: Grant,
        granted: bool,
    ) -> Result<Decision<()>, AccountsError> {
        session.must(Permission::Grant)?;
        let acting = self.acting(session).await?;
        let found = self.user(id).await?.filter(|found| found.record.revoked_ms.is_none());
        let Found { mut record, version } = found.ok_or(AccountsError::NotFound("user"))?;
        let mut grants = record.grants.take().unwrap_or_default();
        if grants.contains(&grant) == granted {
            return Ok(Decision::Already(()));
        }
        grants.retain(|known| *known != grant);
        grants.extend(granted.then_some(grant));
        record.grants = Some(grants).filter(|grants| !grants.is_empty());
        let mut batch = Batch::new().check(user_key(id), version).put(user_key(id), encode(&record));
        if let Some(acting) = acting {
            batch = batch.check(device_key(session.device_id()), acting.version);
        }
        Ok(Decision::Change(batch, ()))
    }

    /// An error that says what to ask for, unless the session's user may do at this moment what can be granted.
    pub async fn must_now(&self, session: &Session, grant: Grant) -> Result<(), AccountsError> {
        if session.operator {
            return Ok(());
        }
        let user = session.user.ok_or(AccountsError::Unknown)?;
        let record = self.user(user).await?.ok_or(AccountsError::Damaged("user"))?.record;
        if record.revoked_ms.is_none() && record.may(grant.permission()) {
            return Ok(());
        }
        let (what, grant) = (grant.permission().words(), grant.name());
        Err(AccountsError::NotGranted { what, name: record.name, grant })
    }
}

fn shown(id: UserId, record: UserRecord) -> User {
    let roles = record.roles();
    User { id, name: record.name, roles, created_ms: record.created_ms }
}
