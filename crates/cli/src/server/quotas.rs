//! What users may have beside what everybody may, and who is told how much there is: `quota` of `files/1`, and what the
//! operator sets through the administration door (`admin/1`, private between a program and itself). Spec: section 5.5.
//!
//! `allowance/<user>` in the store is what one user may have.

use hikyaku::{Connection, ErrorCode, Exchange, Failure};
use hikyaku_accounts::{Accounts, UserName};
use hikyaku_chat::{ChatServer, Operation};
use hikyaku_files::rooms::Allowance;
use hikyaku_files::{FilesServer, Quotas};
use hikyaku_storage::{Batch, Key, Store, StoreError};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{RoomId, RoomRef, UserId};
use hikyaku_wire::files::quotas::{AskQuotas, Quota};
use minicbor::{Decode, Encode};

use std::sync::Arc;

use super::context::Context;
use super::parcels::Parcels;
use crate::exit::Result as Outcome;

/// The method of `admin/1`.
pub(super) const SET: &str = "quota";

/// What is stored of one user.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    rooms: Option<u64>,
    #[n(1)]
    directory: Option<u64>,
}

/// What to set: what is not said stays.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Set {
    #[n(0)]
    pub(crate) user: String,
    #[n(1)]
    pub(crate) rooms: Option<Bound>,
    #[n(2)]
    pub(crate) directory: Option<Bound>,
}

/// What somebody may have from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub(crate) enum Bound {
    /// As everybody.
    #[n(0)]
    Usual,
    /// So many bytes.
    #[n(1)]
    Bytes(#[n(0)] u64),
    /// As much as there is room for.
    #[n(2)]
    None,
}

impl Bound {
    fn own(self) -> Option<u64> {
        match self {
            Self::Usual => None,
            Self::Bytes(bytes) => Some(bytes.min(Allowance::BOUNDLESS - 1)),
            Self::None => Some(Allowance::BOUNDLESS),
        }
    }
}

/// It is done.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Done {}

fn key(user: UserId) -> Key {
    Key::join([b"allowance/".as_slice(), &user.0])
}

/// What one user may have.
pub(super) async fn allowance(store: &dyn Store, user: UserId) -> Result<Allowance, Failure> {
    let found = store.get(&key(user)).await.map_err(|error| failed(&error))?;
    let Some(found) = found else { return Ok(Allowance::default()) };
    let record = cbor::decode(&found.value, &cbor::Limits::default());
    let Record { rooms, directory } = record.map_err(|_| {
        tracing::error!(%user, "what a user may have cannot be read");
        Failure::new(ErrorCode::CORRUPT, "the server's record of this user's quota cannot be read")
    })?;
    Ok(Allowance { rooms, directory })
}

fn failed(error: &StoreError) -> Failure {
    tracing::error!(%error, "the store failed under a quota");
    Failure::new(ErrorCode::INTERNAL, "the server's store failed; its log says why")
}

/// Who answers.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) files: FilesServer<Context, Parcels>,
    pub(super) chat: ChatServer,
    pub(super) accounts: Accounts,
    pub(super) store: Arc<dyn Store>,
}

impl Desk {
    /// Tells what there is and may be: to everybody of himself and of rooms that he may read, to the operator of all.
    //= S5.77
    pub(super) async fn tell(self, mut exchange: Exchange<Context>) -> hikyaku::Result<()> {
        let ask: AskQuotas = exchange.receive().await?;
        let context = exchange.shared_context();
        let session = context.session();
        let is_own = ask.user.as_deref().is_none_or(|asked| is_called(session.name.as_ref(), asked));
        if !session.operator && (ask.all == Some(true) || !is_own) {
            let only = "only the operator of the server sees what others have";
            return Err(Failure::new(ErrorCode::DENIED, only).into());
        }
        let told = match (&ask.room, &ask.user, session.user) {
            (Some(room), _, _) => vec![self.of_room(&context, room).await?],
            (None, Some(name), _) => {
                let (user, name) = self.named(name).await?;
                self.of_user(user, name.as_str()).await?
            }
            (None, None, Some(user)) if ask.all != Some(true) => {
                let own = session.name.as_ref().map_or("", UserName::as_str);
                self.of_user(user_id(user), own).await?
            }
            _ => self.of_all(&context).await?,
        };
        let (mut sender, _receiver) = exchange.split();
        for quota in &told {
            sender.send(quota).await?;
        }
        sender.finish().await
    }

    /// Sets what one user may have.
    pub(super) async fn set(self, mut exchange: Exchange<Context>) -> hikyaku::Result<()> {
        let Set { user, rooms, directory } = exchange.receive().await?;
        if directory.is_some() && self.files.directory_quotas().is_none_or(|quotas| quotas.user.is_none()) {
            let why = "users have no quotas in this server's directory: start it with --user-quota SIZE, which holds for \
                       whom nothing else is set";
            return Err(Failure::new(ErrorCode::CONFLICT, why).into());
        }
        let (user, _) = self.named(&user).await?;
        let before = allowance(&*self.store, user).await?;
        let record = Record {
            rooms: rooms.map_or(before.rooms, Bound::own),
            directory: directory.map_or(before.directory, Bound::own),
        };
        let batch = match record {
            Record { rooms: None, directory: None } => Batch::new().delete(key(user)),
            record => Batch::new().put(key(user), cbor::encode(&record)),
        };
        self.store.commit(batch).await.map_err(|error| failed(&error))?;
        exchange.reply(&Done {}).await
    }

    /// The user of a name, and the name as it is kept.
    async fn named(&self, name: &str) -> Result<(UserId, UserName), Failure> {
        let unknown = || Failure::new(ErrorCode::NOT_FOUND, "there is no user of that name");
        let name = name.parse().map_err(|_| unknown())?;
        let user = self.accounts.user_of_name(&name).await?.map(user_id).ok_or_else(unknown)?;
        Ok((user, name))
    }

    async fn of_room(&self, context: &Context, name: &str) -> hikyaku::Result<Quota> {
        let wanted = RoomRef::Name(name.to_owned());
        let room = if context.session().operator {
            self.chat.resolve(&wanted).await.map_err(Failure::from)?
        } else {
            let room = self.chat.meant(context, &wanted).await.map_err(Failure::from)?;
            self.chat.may(context, Operation::Read, room).await.map_err(Failure::from)?;
            room
        };
        let used = self.files.used([0; 16], room.0).await?.1;
        let limit = self.files.limits().room_quota;
        Ok(quota(Quota::ROOM, Some(name.to_owned()), None, used, (limit, false)))
    }

    async fn of_user(&self, user: UserId, name: &str) -> hikyaku::Result<Vec<Quota>> {
        let (rooms, directory) = self.files.used_by(user.0).await?;
        let own = allowance(&*self.store, user).await?;
        let name = || Some(name.to_owned());
        let bound = (Allowance::bound(own.rooms, self.files.limits().room_user_quota), own.rooms.is_some());
        let mut told = vec![quota(Quota::USER_IN_ROOMS, name(), Some(user), rooms, bound)];
        if let (Some(used), Some(Quotas { user: Some(usual), .. })) =
            (directory, self.files.directory_quotas())
        {
            let bound = (Allowance::bound(own.directory, Some(usual)), own.directory.is_some());
            told.push(quota(Quota::USER_IN_DIRECTORY, name(), Some(user), used, bound));
        }
        Ok(told)
    }

    async fn of_all(&self, context: &Context) -> hikyaku::Result<Vec<Quota>> {
        let uses = self.files.uses().await?;
        let limits = self.files.limits();
        let mut told = vec![quota(Quota::STORE, None, None, uses.vault, (limits.vault_quota, false))];
        if let (Some((used, _)), Some(quotas)) = (&uses.directory, self.files.directory_quotas()) {
            told.push(quota(Quota::DIRECTORY, None, None, *used, (quotas.directory, false)));
        }
        for (room, used) in uses.rooms {
            // What a room had that is gone is swept with it.
            let Ok(name) = self.chat.name(RoomId(room)).await else { continue };
            told.push(quota(Quota::ROOM, Some(name), None, used, (limits.room_quota, false)));
        }
        let mut after = None;
        loop {
            let page = self.accounts.list_users(context.session(), after).await.map_err(Failure::from)?;
            for user in &page.users {
                told.extend(self.of_user(user_id(user.id), &user.name).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(told);
            }
        }
    }
}

/// Whether this is somebody's name, however it is written.
fn is_called(own: Option<&UserName>, asked: &str) -> bool {
    own.is_some_and(|own| asked.parse().is_ok_and(|asked: UserName| asked == *own))
}

fn quota(
    scope: u64,
    name: Option<String>,
    user: Option<UserId>,
    used: hikyaku_files::quota::Used,
    (limit, is_own): (Option<u64>, bool),
) -> Quota {
    Quota { scope, name, user, used: used.there, held: used.held, limit, own: is_own.then_some(true) }
}

/// The id of a user, as rooms have it.
fn user_id(user: hikyaku_wire::enroll::UserId) -> UserId {
    UserId(user.0)
}

/// Sets what a user may have, as the operator behind this connection.
pub(crate) async fn set(connection: &Connection, set: &Set) -> Outcome {
    let Done {} = connection.call(super::backup::PROTOCOL, SET, set).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_called_by_the_name_however_it_is_written() {
        let ana: UserName = "ana".parse().unwrap();
        assert_eq!(
            ["ana", "ANA", "Ana", "anna", "", "a a"].map(|asked| is_called(Some(&ana), asked)),
            [true, true, true, false, false, false]
        );
        assert!(!is_called(None, "ana"));
    }
}
