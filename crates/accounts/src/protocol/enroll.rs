//! `enroll/1`: the only protocol that a stranger may speak.

use hikyaku::{Exchange, Handler, Result};
use hikyaku_wire::enroll::{PROTOCOL, Redeem, Welcome, method};

use super::{Service, unknown_method};
use crate::redeem::Redemption;
use crate::secret::Secret;
use crate::session::Session;

/// The handler of `enroll/1`.
pub struct Enroll {
    service: Service,
}

impl Enroll {
    /// The handler that answers with this service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    async fn redeem(&self, session: &Session, redeem: Redeem) -> Result<Welcome> {
        let redemption = Redemption {
            invite: redeem.invite,
            secret: Secret::from_bytes(redeem.secret.0),
            // The key that the connection has proved, never one that the message could claim.
            device: session.device_id(),
            user_name: redeem.user,
            device_name: redeem.device,
        };
        let enrolled = self.service.accounts.redeem(&redemption, self.service.now()).await?;
        tracing::info!(user = %enrolled.user_name, device = %enrolled.device_name, "a device was enrolled");
        Ok(Welcome {
            id: enrolled.user,
            user: enrolled.user_name.to_string(),
            device: enrolled.device_name.to_string(),
            server: self.service.name.clone(),
            roles: vec![enrolled.role.name().to_owned()],
        })
    }
}

impl<C: AsRef<Session> + Send + Sync + 'static> Handler<C> for Enroll {
    async fn handle(&self, mut exchange: Exchange<C>) -> Result<()> {
        if exchange.method() != method::REDEEM {
            return Err(unknown_method(PROTOCOL).into());
        }
        let redeem: Redeem = exchange.receive().await?;
        let welcome = self.redeem(exchange.shared_context().as_ref().as_ref(), redeem).await?;
        exchange.reply(&welcome).await
    }
}
