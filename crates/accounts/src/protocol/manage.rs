//! `accounts/1`: who am I, invites, devices, users.

use std::sync::PoisonError;

use std::sync::Arc;
use std::time::Duration;

use hikyaku::{Connection, Exchange, Failure, Handler, KeyId, Result};
use hikyaku_wire::accounts::{
    CancelInvite, CreateInvite, CreatedInvite, GrantUser, InviteDevice, ListDevices, ListInvites, ListUsers,
    Me, Nothing, PROTOCOL, RenameDevice, RevokeDevice, RevokeUser, Revoked, method,
};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::enroll::{DeviceId, SecretBytes};

use super::{Service, unknown_method};
use crate::devices::Revocation;
use crate::error::AccountsError;
use crate::invites::{InviteWish, IssuedInvite};
use crate::link::join;
use crate::role::{Grant, Role};
use crate::session::Session;

/// How long a device that revoked itself has for reading the answer before its connections are closed.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The handler of `accounts/1`.
pub struct Manage {
    service: Service,
}

impl Manage {
    /// The handler that answers with this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    fn whoami(&self, session: &Session) -> Me {
        Me {
            id: session.user,
            user: session.name.as_ref().map(ToString::to_string),
            device: session.device_name.as_ref().map(ToString::to_string),
            server: self.service.name.clone(),
            roles: session.roles(),
            operator: session.operator,
        }
    }

    async fn create_invite(
        &self,
        session: &Session,
        wish: CreateInvite,
    ) -> Result<CreatedInvite, AccountsError> {
        let role = wish.role.as_deref().map(|name| Role::of_name(name).ok_or(AccountsError::RoleUnknown));
        let wish = InviteWish { uses: wish.uses, ttl_ms: wish.ttl_ms, role: role.transpose()? };
        let issued = self.service.accounts.create_invite(session, wish, self.service.now()).await?;
        Ok(self.created(&issued))
    }

    async fn invite_device(
        &self,
        session: &Session,
        wish: InviteDevice,
    ) -> Result<CreatedInvite, AccountsError> {
        let now = self.service.now();
        let issued = self.service.accounts.invite_device(session, wish.user, wish.ttl_ms, now).await?;
        Ok(self.created(&issued))
    }

    fn created(&self, issued: &IssuedInvite) -> CreatedInvite {
        CreatedInvite {
            id: issued.id,
            secret: SecretBytes(*issued.secret.reveal()),
            expires_ms: issued.expires_ms,
            addresses: join(&self.service.addresses.read().unwrap_or_else(PoisonError::into_inner)),
            host: DeviceId(*self.service.host.as_bytes()),
        }
    }

    async fn rename_device(
        &self,
        session: &Session,
        wish: RenameDevice,
    ) -> Result<hikyaku_wire::accounts::Device, AccountsError> {
        let name = wish.name.parse()?;
        self.service.accounts.rename_device(session, wish.id, &name).await
    }

    //= S6.7
    /// Revokes, and closes connections, in a task of its own: a caller who goes away in the middle must not keep a
    /// revoked connection alive. The caller's own connections are closed last, so that it may read the answer.
    async fn revoke<W>(&self, connection: &Connection, session: Arc<Session>, work: W) -> Result<Revoked>
    where
        W: Future<Output = Result<Revocation, AccountsError>> + Send + 'static,
    {
        let (service, connection) = (self.service.clone(), connection.clone());
        let task = tokio::spawn(async move {
            let revocation = work.await?;
            let (own, others): (Vec<KeyId>, Vec<KeyId>) =
                revocation.devices.iter().partition(|device| **device == session.device);
            (service.on_revoked)(&others);
            if !own.is_empty() {
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(LAST_WORDS, connection.closed()).await;
                    (service.on_revoked)(&own);
                });
            }
            Ok::<_, AccountsError>(revocation)
        });
        let revocation =
            task.await.map_err(|_| Failure::new(ErrorCode::INTERNAL, "the revocation was interrupted"))??;
        tracing::info!(devices = revocation.devices.len(), invites = revocation.invites, "revoked");
        let devices = revocation.devices.iter().map(|device| DeviceId(*device.as_bytes())).collect();
        Ok(Revoked { devices, invites: revocation.invites })
    }
}

impl<C: AsRef<Session> + Send + Sync + 'static> Handler<C> for Manage {
    async fn handle(&self, mut exchange: Exchange<C>) -> Result<()> {
        let session = Arc::new(exchange.context().as_ref().clone());
        let (accounts, caller) = (&self.service.accounts, exchange.connection().clone());
        // The length of this function is the number of methods; each is one question and one answer.
        match exchange.method().to_owned().as_str() {
            method::WHOAMI => {
                let Nothing {} = exchange.receive().await?;
                exchange.reply(&self.whoami(&session)).await
            }
            method::INVITE_CREATE => {
                let wish: CreateInvite = exchange.receive().await?;
                exchange.reply(&self.create_invite(&session, wish).await?).await
            }
            method::INVITE_LIST => {
                let ListInvites { after } = exchange.receive().await?;
                exchange.reply(&accounts.list_invites(&session, after).await?).await
            }
            method::INVITE_CANCEL => {
                let CancelInvite { id } = exchange.receive().await?;
                accounts.cancel_invite(&session, id).await?;
                exchange.reply(&Nothing {}).await
            }
            method::DEVICE_INVITE => {
                let wish: InviteDevice = exchange.receive().await?;
                exchange.reply(&self.invite_device(&session, wish).await?).await
            }
            method::DEVICE_LIST => {
                let ListDevices { user } = exchange.receive().await?;
                exchange.reply(&accounts.list_devices(&session, user).await?).await
            }
            method::DEVICE_RENAME => {
                let wish: RenameDevice = exchange.receive().await?;
                exchange.reply(&self.rename_device(&session, wish).await?).await
            }
            method::DEVICE_REVOKE => {
                let RevokeDevice { id } = exchange.receive().await?;
                let (accounts, by) = (accounts.clone(), session.clone());
                let work = async move { accounts.revoke_device(&by, id).await };
                exchange.reply(&self.revoke(&caller, session, work).await?).await
            }
            method::USER_LIST => {
                let ListUsers { after } = exchange.receive().await?;
                exchange.reply(&accounts.list_users(&session, after).await?).await
            }
            method::USER_GRANT => {
                let GrantUser { id, grant, granted } = exchange.receive().await?;
                let grant = Grant::of_name(&grant).ok_or(AccountsError::GrantUnknown)?;
                accounts.grant(&session, id, grant, granted).await?;
                tracing::info!(user = %id, grant = grant.name(), granted, "a user's grants were changed");
                exchange.reply(&Nothing {}).await
            }
            method::USER_REVOKE => {
                let RevokeUser { id } = exchange.receive().await?;
                let (accounts, by, now) = (accounts.clone(), session.clone(), self.service.now());
                let work = async move { accounts.revoke_user(&by, id, now).await };
                exchange.reply(&self.revoke(&caller, session, work).await?).await
            }
            _ => Err(unknown_method(PROTOCOL).into()),
        }
    }
}
