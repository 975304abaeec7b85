//! The two application protocols over [`Accounts`]: `enroll/1` for strangers, `accounts/1` for everybody who is known.
//!
//! A handler decodes, asks [`Accounts`], and answers; what is permitted is decided there. Generic over the connection's
//! context, as long as a [`Session`] can be found in it. Spec: chapter 6.

mod enroll;
mod manage;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use hikyaku::{Failure, KeyId, Retry};
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::{accounts, enroll as wire};

use crate::accounts::Accounts;
use crate::error::AccountsError;
use crate::link::Address;
use crate::session::Session;

pub use enroll::Enroll;
pub use manage::Manage;

/// How soon a busy server is to be asked again.
const AGAIN: Duration = Duration::from_millis(200);

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
type OnRevoked = Arc<dyn Fn(&[KeyId]) + Send + Sync>;

/// What the handlers of a server share. Cheap to clone.
///
/// ```
/// use std::sync::{Arc, PoisonError, RwLock};
/// use hikyaku::{KeyId, Router};
/// use hikyaku_accounts::{Accounts, Service, Session};
/// use hikyaku_storage::memory::MemoryStore;
///
/// let accounts = Accounts::new(Arc::new(MemoryStore::new()));
/// let service = Service::new(accounts, KeyId::from_bytes([7; 32]), "home");
/// let router: Router<Session> = service.mount(Router::new());
/// assert_eq!(router.protocols(), ["accounts/1", "enroll/1"]);
/// ```
#[derive(Clone)]
pub struct Service {
    accounts: Accounts,
    host: KeyId,
    name: String,
    /// Shared by all clones: a server knows its addresses only once it listens.
    addresses: Arc<RwLock<Vec<Address>>>,
    clock: Clock,
    on_revoked: OnRevoked,
}

impl Service {
    /// The service of a server with this key and name. Revocations close nothing until [`Service::on_revoked`] says how.
    pub fn new(accounts: Accounts, host: KeyId, name: &str) -> Self {
        Self {
            accounts,
            host,
            name: name.to_owned(),
            addresses: Arc::default(),
            clock: Arc::new(system_time),
            on_revoked: Arc::new(|_| {}),
        }
    }

    /// The addresses that invite links carry. Without them the inviting client puts in its own.
    #[must_use]
    pub fn addresses(self, addresses: Vec<Address>) -> Self {
        self.announce(addresses);
        self
    }

    /// The addresses that invite links carry from now on, also those made through clones of this service.
    pub fn announce(&self, addresses: Vec<Address>) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Another clock, in milliseconds since 1970.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Called with the devices that a revocation ended, after it is durable: close their connections with `REVOKED`.
    #[must_use]
    pub fn on_revoked(mut self, close: impl Fn(&[KeyId]) + Send + Sync + 'static) -> Self {
        self.on_revoked = Arc::new(close);
        self
    }

    /// Adds both protocols to a router.
    pub fn mount<C>(&self, router: hikyaku::Router<C>) -> hikyaku::Router<C>
    where
        C: AsRef<Session> + Send + Sync + 'static,
    {
        router
            .stranger_route(wire::PROTOCOL, Enroll::new(self.clone()))
            .route(accounts::PROTOCOL, Manage::new(self.clone()))
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }
}

impl AsRef<Session> for Session {
    fn as_ref(&self) -> &Session {
        self
    }
}

/// Milliseconds since 1970 by the system's clock.
pub fn system_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a peer is told. The inside of the server is told to the log alone.
impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        let code = error.code();
        if error.is_internal() {
            tracing::error!(%error, "a request about accounts failed");
            let message = match code {
                ErrorCode::FULL => "the server's disk is full",
                _ => "the server could not look into its accounts; its log says why",
            };
            return Failure::new(code, message);
        }
        let mut failure = Failure::new(code, error.to_string());
        if error == AccountsError::Busy {
            failure.retry = Retry::After(AGAIN);
        }
        failure
    }
}

impl From<AccountsError> for hikyaku::Error {
    fn from(error: AccountsError) -> Self {
        Self::Failure(error.into())
    }
}

/// The answer to a method that a protocol does not have.
fn unknown_method(protocol: &str) -> Failure {
    Failure::new(ErrorCode::UNKNOWN_METHOD, format!("{protocol} has no such method"))
}
