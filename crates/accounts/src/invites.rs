//! Invites: made, listed, cancelled. The secret leaves the server once, in the answer that makes it.

use bytes::Bytes;
use hikyaku_storage::{Batch, Key};
use hikyaku_wire::accounts::{Invite, Invites};
use hikyaku_wire::enroll::{DeviceId, InviteId, UserId};

use crate::accounts::{Accounts, Decision, Found, settle};
use crate::error::AccountsError;
use crate::limits::{
    DAY_MS, DEVICE_INVITE_TTL_MS, FIRST_INVITE_TTL_MS, INVITE_TTL_MS, MAX_INVITES, MAX_PAGE, MAX_TTL_MS,
    MAX_USES, MIN_TTL_MS,
};
use crate::record::{InviteRecord, OPERATOR, device_key, encode, invite_key, last, user_invite_key};
use crate::role::{Permission, Role};
use crate::secret::{Secret, random};
use crate::session::Session;

/// A new invite with its secret, which is told this once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedInvite {
    /// Its name.
    pub id: InviteId,
    /// Its secret.
    pub secret: Secret,
    /// When it ends.
    pub expires_ms: u64,
}

/// What an invite is to be. Everything absent has a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InviteWish {
    /// How many devices may redeem it; 1.
    pub uses: Option<u32>,
    /// How long it is valid, in milliseconds; a day.
    pub ttl_ms: Option<u64>,
    /// What its users become; members, or owners as long as the server has none.
    pub role: Option<Role>,
}

/// An invite about to be made, everything decided.
struct Draft {
    role: Role,
    uses: u32,
    ttl_ms: u64,
    user: Option<UserId>,
    by: UserId,
    by_device: DeviceId,
}

/// Stands for the device where the server itself makes an invite.
const NO_DEVICE: DeviceId = DeviceId([0; 32]);

impl Accounts {
    /// The invite that a server without an owner prints when it starts; `None` when it has one.
    /// The one printed at an earlier start ends.
    pub async fn first_invite(&self, now: u64) -> Result<Option<IssuedInvite>, AccountsError> {
        if self.has_owner().await? {
            return Ok(None);
        }
        let mut batch = Batch::new();
        for (id, found) in self.invites_of(OPERATOR).await? {
            if found.record.by_device == NO_DEVICE {
                batch = delete_invite(batch, OPERATOR, id);
            }
        }
        self.commit(batch).await?;
        let ttl_ms = FIRST_INVITE_TTL_MS;
        let draft =
            || Draft { role: Role::Owner, uses: 1, ttl_ms, user: None, by: OPERATOR, by_device: NO_DEVICE };
        settle!(self, async { some(self.try_issue(Batch::new(), draft(), now).await) })
    }

    /// An invite for people who are not users yet.
    pub async fn create_invite(
        &self,
        session: &Session,
        wish: InviteWish,
        now: u64,
    ) -> Result<IssuedInvite, AccountsError> {
        session.must(Permission::Invite)?;
        let uses = wish.uses.unwrap_or(1);
        if !(1..=MAX_USES).contains(&uses) {
            return Err(AccountsError::Range { what: "uses", least: 1, most: u64::from(MAX_USES) });
        }
        let ttl_ms = ttl(wish.ttl_ms, INVITE_TTL_MS)?;
        settle!(self, async {
            let role = match wish.role {
                Some(role) => role,
                None if self.has_owner().await? => Role::Member,
                None => Role::Owner,
            };
            let batch = self.batch_of(session).await?;
            let (by, by_device) = author(session);
            self.try_issue(batch, Draft { role, uses, ttl_ms, user: None, by, by_device }, now).await
        })
    }

    /// An invite for one more device: of the session's own user, or of any user if the operator asks.
    pub async fn invite_device(
        &self,
        session: &Session,
        user: Option<UserId>,
        ttl_ms: Option<u64>,
        now: u64,
    ) -> Result<IssuedInvite, AccountsError> {
        let ttl_ms = ttl(ttl_ms, DEVICE_INVITE_TTL_MS)?;
        let user = user.or(session.user).ok_or(AccountsError::NotFound("user"))?;
        if session.user != Some(user) && !session.operator {
            return Err(AccountsError::Denied("add devices to other users"));
        }
        settle!(self, async {
            let found = self.user(user).await?.filter(|found| found.record.revoked_ms.is_none());
            let role = found.ok_or(AccountsError::NotFound("user"))?.record.role;
            let batch = self.batch_of(session).await?;
            let (by, by_device) = author(session);
            self.try_issue(batch, Draft { role, uses: 1, ttl_ms, user: Some(user), by, by_device }, now).await
        })
    }

    /// A page of invites: the session's own, or all if it may see them.
    pub async fn list_invites(
        &self,
        session: &Session,
        after: Option<InviteId>,
    ) -> Result<Invites, AccountsError> {
        self.acting(session).await?;
        let all = session.may(Permission::ManageInvites);
        let key = |id: Option<InviteId>| match session.user {
            Some(user) if !all => user_invite_key(user, id),
            _ => id.map_or_else(|| Key::from("i/"), invite_key),
        };
        let after = after.map(|id| key(Some(id)));
        let page = self.store.scan(key(None), after, MAX_PAGE + 1).await?;
        let more = page.len() > MAX_PAGE;
        let mut ids = Vec::new();
        for (key, _) in page.iter().take(MAX_PAGE) {
            ids.push(InviteId(last(key)?));
        }
        let invites =
            self.invites(&ids).await?.into_iter().map(|(id, found)| shown(id, &found.record)).collect();
        Ok(Invites { invites, more })
    }

    /// Ends an invite before its time: one's own, or any if the session may.
    pub async fn cancel_invite(&self, session: &Session, id: InviteId) -> Result<(), AccountsError> {
        settle!(self, async {
            let batch = self.batch_of(session).await?;
            let found: Option<Found<InviteRecord>> = self.read("invite", &invite_key(id)).await?;
            let mine = |found: &Found<InviteRecord>| found.record.by == author(session).0;
            let found = found.filter(|found| mine(found) || session.may(Permission::ManageInvites));
            let found = found.ok_or(AccountsError::NotFound("invite"))?;
            let batch = batch.check(invite_key(id), found.version);
            Ok::<_, AccountsError>(Decision::Change(delete_invite(batch, found.record.by, id), ()))
        })
    }

    /// One attempt to make an invite; on the way, what its author made long ago is forgotten.
    async fn try_issue(
        &self,
        batch: Batch,
        draft: Draft,
        now: u64,
    ) -> Result<Decision<IssuedInvite>, AccountsError> {
        let mut batch = self.guard_user(batch, draft.by).await?;
        let mut open = 0;
        for (id, found) in self.invites_of(draft.by).await? {
            if found.record.is_open(now) {
                open += 1;
            } else if is_forgotten(&found.record, now) {
                batch = delete_invite(batch, draft.by, id);
            }
        }
        if open >= MAX_INVITES {
            return Err(AccountsError::Limit { what: "open invites", limit: MAX_INVITES });
        }
        let (id, secret) = (InviteId(random()?), Secret::generate()?);
        let expires_ms = now.saturating_add(draft.ttl_ms);
        let record = InviteRecord {
            secret: secret.digest(),
            role: draft.role,
            uses_left: draft.uses,
            uses: draft.uses,
            created_ms: now,
            expires_ms,
            by: draft.by,
            by_device: draft.by_device,
            user: draft.user,
        };
        let batch = batch
            .check(invite_key(id), 0)
            .put(invite_key(id), encode(&record))
            .put(user_invite_key(draft.by, Some(id)), Bytes::new());
        Ok(Decision::Change(batch, IssuedInvite { id, secret, expires_ms }))
    }

    /// A batch that holds only as long as the session's device is known.
    pub(crate) async fn batch_of(&self, session: &Session) -> Result<Batch, AccountsError> {
        let acting = self.acting(session).await?;
        Ok(match acting {
            Some(found) => Batch::new().check(device_key(session.device_id()), found.version),
            None => Batch::new(),
        })
    }

    /// All invites that a user made.
    pub(crate) async fn invites_of(
        &self,
        user: UserId,
    ) -> Result<Vec<(InviteId, Found<InviteRecord>)>, AccountsError> {
        let mut ids = Vec::new();
        for key in self.keys(user_invite_key(user, None)).await? {
            ids.push(InviteId(last(&key)?));
        }
        self.invites(&ids).await
    }

    /// Those of these invites that exist.
    async fn invites(&self, ids: &[InviteId]) -> Result<Vec<(InviteId, Found<InviteRecord>)>, AccountsError> {
        let read = self.store.get_many(ids.iter().map(|id| invite_key(*id)).collect()).await?;
        let mut invites = Vec::new();
        for (id, found) in ids.iter().zip(read) {
            if let Some(found) = found {
                invites.push((*id, Found::new("invite", &found)?));
            }
        }
        Ok(invites)
    }
}

/// Adds the end of an invite to a batch.
pub(crate) fn delete_invite(batch: Batch, by: UserId, id: InviteId) -> Batch {
    batch.delete(invite_key(id)).delete(user_invite_key(by, Some(id)))
}

/// An ended invite is kept for a day, so that whoever comes late hears why it no longer opens.
fn is_forgotten(invite: &InviteRecord, now: u64) -> bool {
    let ended = if invite.uses_left == 0 { invite.created_ms } else { invite.expires_ms };
    !invite.is_open(now) && now >= ended.saturating_add(DAY_MS)
}

fn author(session: &Session) -> (UserId, DeviceId) {
    (session.user.unwrap_or(OPERATOR), session.device_id())
}

fn ttl(wish: Option<u64>, usual: u64) -> Result<u64, AccountsError> {
    let ttl_ms = wish.unwrap_or(usual);
    let range = MIN_TTL_MS..=MAX_TTL_MS;
    if range.contains(&ttl_ms) {
        return Ok(ttl_ms);
    }
    Err(AccountsError::Range { what: "the validity of an invite (ms)", least: MIN_TTL_MS, most: MAX_TTL_MS })
}

fn some<T>(decision: Result<Decision<T>, AccountsError>) -> Result<Decision<Option<T>>, AccountsError> {
    decision.map(|decision| match decision {
        Decision::Change(batch, answer) => Decision::Change(batch, Some(answer)),
        Decision::Already(answer) => Decision::Already(Some(answer)),
    })
}

fn shown(id: InviteId, record: &InviteRecord) -> Invite {
    Invite {
        id,
        role: record.role.name().to_owned(),
        uses_left: record.uses_left,
        uses: record.uses,
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        by: (record.by != OPERATOR).then_some(record.by),
        user: record.user,
    }
}
