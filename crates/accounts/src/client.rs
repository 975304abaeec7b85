//! The client's side of `enroll/1` and `accounts/1`: typed calls over one connection.

use std::time::Duration;

use hikyaku::{CallOptions, Connection, Error, ErrorCode, Failure, KeyId, Result, Transport};
use hikyaku_wire::accounts::{
    self, CancelInvite, CreateInvite, CreatedInvite, Device, Devices, GrantUser, Invite, InviteDevice,
    Invites, ListDevices, ListInvites, ListUsers, Me, Nothing, RenameDevice, RevokeDevice, RevokeUser,
    Revoked, User, Users, method,
};
use hikyaku_wire::enroll::{self, DeviceId, InviteId, Redeem, SecretBytes, UserId, Welcome};
use minicbor::{Decode, Encode};

use crate::link::{Address, InviteLink, split};
use crate::secret::Secret;

/// The most pages of one list that are asked for; a server that always says "more" is left after them.
const MAX_PAGES: usize = 1_000;

/// How many bytes of one list are held at most.
const MAX_BYTES: usize = 32 << 20;
/// How long one question may take. A server that says nothing for longer is not waited for.
//= S3.54
const ANSWER: Duration = Duration::from_secs(30);

/// Asks a server about accounts.
#[derive(Clone, Debug)]
pub struct AccountsClient {
    connection: Connection,
}

impl AccountsClient {
    /// A client over this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Redeems an invite for the identity of this connection, which was made to `link.host`. Safe to repeat. The
    /// connection stays a stranger's: make a new one afterwards.
    pub async fn redeem(&self, link: &InviteLink, user: &str, device: &str) -> Result<Welcome> {
        let redeem = Redeem {
            invite: link.invite,
            secret: SecretBytes(*link.secret.reveal()),
            user: user.to_owned(),
            device: device.to_owned(),
        };
        self.connection.call_with(enroll::PROTOCOL, enroll::method::REDEEM, &redeem, options()).await
    }

    /// Who the server takes us for.
    pub async fn whoami(&self) -> Result<Me> {
        self.call(method::WHOAMI, &Nothing {}).await
    }

    /// A new invite as a link. `own` are the addresses under which we know the server, for one that names none itself.
    pub async fn create_invite(&self, wish: &CreateInvite, own: &[Address]) -> Result<InviteLink> {
        self.link(self.call(method::INVITE_CREATE, wish).await?, own)
    }

    /// An invite for one more device of ours, or as the operator of any user, as a link.
    pub async fn invite_device(&self, wish: &InviteDevice, own: &[Address]) -> Result<InviteLink> {
        self.link(self.call(method::DEVICE_INVITE, wish).await?, own)
    }

    /// All invites that we may see.
    pub async fn invites(&self) -> Result<Vec<Invite>> {
        let (mut all, mut bytes) = (Vec::<Invite>::new(), 0);
        for _ in 0..MAX_PAGES {
            let after = all.last().map(|invite| invite.id);
            let Invites { invites, more } = self.call(method::INVITE_LIST, &ListInvites { after }).await?;
            let ends = invites.is_empty() || !more;
            bytes += invites.iter().map(|invite| invite.role.len() + size_of::<Invite>()).sum::<usize>();
            if bytes > MAX_BYTES {
                break;
            }
            all.extend(invites);
            if ends {
                return Ok(all);
            }
        }
        Err(endless("invites"))
    }

    /// Ends an invite.
    pub async fn cancel_invite(&self, id: InviteId) -> Result<()> {
        let Nothing {} = self.call(method::INVITE_CANCEL, &CancelInvite { id }).await?;
        Ok(())
    }

    /// The devices of a user, or our own.
    pub async fn devices(&self, user: Option<UserId>) -> Result<Vec<Device>> {
        let Devices { devices } = self.call(method::DEVICE_LIST, &ListDevices { user }).await?;
        Ok(devices)
    }

    /// Gives one of our devices another name.
    pub async fn rename_device(&self, id: DeviceId, name: &str) -> Result<Device> {
        self.call(method::DEVICE_RENAME, &RenameDevice { id, name: name.to_owned() }).await
    }

    /// Revokes a device.
    pub async fn revoke_device(&self, id: DeviceId) -> Result<Revoked> {
        self.call(method::DEVICE_REVOKE, &RevokeDevice { id }).await
    }

    /// All users of the server.
    pub async fn users(&self) -> Result<Vec<User>> {
        let mut all: Vec<User> = Vec::new();
        let (mut after, mut bytes) = (None, 0);
        for _ in 0..MAX_PAGES {
            let Users { users, next } = self.call(method::USER_LIST, &ListUsers { after }).await?;
            after = next;
            bytes += users.iter().map(bytes_of).sum::<usize>();
            if bytes > MAX_BYTES {
                break;
            }
            all.extend(users);
            if after.is_none() {
                return Ok(all);
            }
        }
        Err(endless("users"))
    }

    /// Revokes a user, as the operator.
    pub async fn revoke_user(&self, id: UserId) -> Result<Revoked> {
        self.call(method::USER_REVOKE, &RevokeUser { id }).await
    }

    /// Grants a user something beside the role, or takes it back.
    pub async fn grant(&self, id: UserId, grant: &str, granted: bool) -> Result<()> {
        let Nothing {} =
            self.call(method::USER_GRANT, &GrantUser { id, grant: grant.to_owned(), granted }).await?;
        Ok(())
    }

    async fn call<Q, A>(&self, method: &str, question: &Q) -> Result<A>
    where
        Q: Encode<()>,
        A: for<'b> Decode<'b, ()>,
    {
        self.connection.call_with(accounts::PROTOCOL, method, question, options()).await
    }

    fn link(&self, created: CreatedInvite, own: &[Address]) -> Result<InviteLink> {
        let host = KeyId::from_bytes(created.host.0);
        let expected = self.connection.peer();
        // On the network the key is proved; a server must not hand out links to another one.
        if self.connection.transport() != Transport::Local && host != expected {
            return Err(Error::IdentityRefused { expected, found: host });
        }
        let addresses = match created.addresses.as_str() {
            "" => own.to_vec(),
            text => split(text).map_err(|error| malformed(&error.to_string()))?,
        };
        if addresses.is_empty() {
            return Err(malformed("the server names no address for the invite"));
        }
        Ok(InviteLink { addresses, host, invite: created.id, secret: Secret::from_bytes(created.secret.0) })
    }
}

fn options() -> CallOptions {
    CallOptions { deadline: Some(ANSWER), ..CallOptions::default() }
}

fn bytes_of(user: &User) -> usize {
    user.name.len() + user.roles.iter().map(|role| role.len() + 24).sum::<usize>() + size_of::<User>()
}

fn malformed(reason: &str) -> Error {
    Failure::new(ErrorCode::INVALID_MESSAGE, format!("the server's answer is of no use: {reason}")).into()
}

fn endless(what: &str) -> Error {
    Failure::new(
        ErrorCode::LIMIT,
        format!("the server's list of {what} does not end within {MAX_PAGES} pages or {MAX_BYTES} bytes"),
    )
    .into()
}
