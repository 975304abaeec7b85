//! What a connection is to this server: whose it is, and what that permits. The one place where accounts, rooms and
//! files meet.

use std::sync::{Mutex, PoisonError};

use hikyaku::{Admission, Failure, Peer};
use hikyaku_accounts::{Accounts, Grant, Permission, Session, system_time};
use hikyaku_chat::{Answer, Ask, Author, Member, Named, Operation, Permit, Refusal, Sought};
use hikyaku_storage::Key;
use hikyaku_wire::chat::{DeviceId, UserId};

/// The context of every exchange of a connection.
pub(crate) struct Context {
    session: Session,
    accounts: Accounts,
    /// What the session's rights rest on, as read last.
    standing: Mutex<Option<(Key, u64)>>,
}

impl Context {
    pub(crate) fn new(session: Session, accounts: Accounts) -> Self {
        Self { session, accounts, standing: Mutex::new(None) }
    }

    /// Decides who a peer is, by its key alone.
    pub(crate) async fn admit(accounts: Accounts, peer: Peer) -> Result<Admission<Self>, Failure> {
        let session = accounts.session(peer.id, system_time()).await?;
        let stranger = session.is_stranger();
        let context = Self::new(session, accounts);
        Ok(if stranger { Admission::Stranger(context) } else { Admission::Member(context) })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// An error that says what to ask for, unless the user may do now what can be granted.
    pub(crate) async fn must_now(&self, grant: Grant) -> Result<(), Failure> {
        Ok(self.accounts.must_now(&self.session, grant).await?)
    }

    /// The device of somebody that has this name.
    pub(crate) async fn device_named(&self, user: UserId, name: &str) -> Result<Option<DeviceId>, Failure> {
        let found = self.accounts.device_named(hikyaku_wire::enroll::UserId(user.0), name).await?;
        Ok(found.map(|device| DeviceId(device.0)))
    }

    /// The same person, for what is decided later.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.session.clone(), self.accounts.clone())
    }

    /// The key and version that must still hold when the session's rights are used; read again if `fresh`.
    async fn standing(&self, fresh: bool) -> Result<Option<(Key, u64)>, Refusal> {
        let known = self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && !fresh {
            return Ok(known);
        }
        let read = self.accounts.standing(&self.session).await;
        // A device that is gone may do nothing any more; its connection is about to be closed.
        let standing = read.map_err(|_| Refusal::Denied("act: this device was revoked"))?;
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&standing);
        Ok(standing)
    }

    fn may(&self, operation: Operation) -> bool {
        match operation {
            Operation::Create => self.session.may(Permission::CreateRooms),
            Operation::Moderate => self.session.may(Permission::Moderate),
            // Every member of the server reads and writes every room that is open; what else is to be said about a
            // room is the room's to say.
            _ => !self.session.is_stranger(),
        }
    }
}

impl AsRef<Session> for Context {
    fn as_ref(&self) -> &Session {
        &self.session
    }
}

impl Member for Context {
    fn author(&self) -> Author {
        Author {
            id: UserId(self.session.user.map_or([0; 16], |user| user.0)),
            name: self.session.name.as_ref().map_or_else(|| "operator".to_owned(), ToString::to_string),
            device: DeviceId(*self.session.device.as_bytes()),
        }
    }

    fn name_of(&self, user: UserId) -> Named<'_> {
        Box::pin(async move {
            let name = self.accounts.name_of(hikyaku_wire::enroll::UserId(user.0)).await;
            let name = name.map_err(|error| Refusal::Other(error.into()))?;
            Ok(name.map(|name| name.to_string()))
        })
    }

    fn user_named<'a>(&'a self, name: &'a str) -> Sought<'a> {
        Box::pin(async move {
            // What is no name is nobody's.
            let Ok(name) = name.parse::<hikyaku_accounts::UserName>() else { return Ok(None) };
            let user = self.accounts.user_of_name(&name).await;
            let user = user.map_err(|error| Refusal::Other(error.into()))?;
            Ok(user.map(|user| (UserId(user.0), name.to_string())))
        })
    }

    fn permit(&self, ask: Ask) -> Answer<'_> {
        Box::pin(async move {
            if !self.may(ask.operation) {
                return Err(Refusal::Denied(ask.operation.describe()));
            }
            let standing = self.standing(ask.fresh).await?;
            Ok(Permit { checks: standing.into_iter().collect() })
        })
    }
}
