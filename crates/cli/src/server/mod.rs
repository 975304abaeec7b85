//! The server: store, accounts, rooms, files and their protocols behind one pair of sockets.

mod addresses;
mod admin;
mod audit;
mod backup;
mod context;
pub(crate) mod descriptors;
pub(crate) mod echo;
mod parcels;
mod quotas;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hikyaku::{ErrorCode, Exchange, Identity, KeyId, Router, Server};
use hikyaku_accounts::{Accounts, Address, InviteLink, Service, system_time};
use hikyaku_chat::ChatServer;
use hikyaku_files::receipts::server as receipts;
use hikyaku_files::{Distinct, DropDir, DropOptions, FilesLimits, FilesServer, FsVault, Quotas};
use hikyaku_sqlite::SqliteStore;
use hikyaku_storage::Store;
use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::quotas::QUOTA;

pub(crate) use admin::connect as connect_admin;
pub(crate) use backup::ask as backup;
pub(crate) use parcels::{SettledParcel, settled as settled_parcels};
pub(crate) use quotas::{Bound, Set as SetQuota, set as set_quota};

use crate::exit::{self, Exit, Result, Trouble};
use crate::seeing::Seeing;
use audit::Audit;
use context::Context;
use parcels::{Handed, Parcels};
use quotas::Desk;

/// Bytes of the disk that stored files leave free, so that the log can always be written.
pub(crate) const KEEP_FREE: u64 = 256 * 1024 * 1024;
/// How often what is over is swept, unless it is said, and how often at most.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const SWEEP_AT_MOST: Duration = Duration::from_secs(1);
/// How often rooms forget what they need no longer keep.
const RETAIN_EVERY: Duration = Duration::from_secs(600);

/// How a server is to run.
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data: PathBuf,
    /// Where it listens; the default addresses if empty.
    pub(crate) listen: Vec<SocketAddr>,
    /// Host names or addresses that invite links carry instead of guessed ones.
    pub(crate) advertise: Vec<String>,
    /// The drop directory, if there is one.
    pub(crate) into: Option<PathBuf>,
    /// What becomes of names in it that differ by case or composition alone.
    pub(crate) distinct: Option<Distinct>,
    /// How many bytes may lie in it.
    pub(crate) quotas: Quotas,
    /// How long a transfer waits for room on a full disk, if that is said.
    pub(crate) pause_timeout: Option<Duration>,
    /// How often what is over is let go of, if that is said.
    pub(crate) sweep_every: Option<Duration>,
    /// How many bytes of files users, rooms and the whole store may have.
    pub(crate) room_quotas: RoomQuotas,
    /// Whether prints are kept of the files in it.
    pub(crate) prints: bool,
    /// What the server calls itself.
    pub(crate) name: String,
    /// Whether somebody looks at the connections.
    pub(crate) seeing: Seeing,
}

/// How many bytes of files there may be; no bound where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoomQuotas {
    pub(crate) user: Option<u64>,
    pub(crate) room: Option<u64>,
    pub(crate) vault: Option<u64>,
}

/// A running server. Stop it with [`Running::drain`].
pub(crate) struct Running {
    server: Arc<Server<Context>>,
    accounts: Accounts,
    addresses: Vec<Address>,
    sweeper: tokio::task::JoinHandle<((), ())>,
    admin: admin::Door,
    audit: Audit,
}

impl Running {
    /// Opens the data directory, binds the sockets and answers.
    pub(crate) async fn start(config: Config) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(open_store(&config.data).await?);
        let identity = Identity::load_or_generate(config.data.join("host.pem"))?;
        let accounts = Accounts::new(store.clone());
        let chat = ChatServer::new(store.clone(), hikyaku_chat::Limits::default());
        let audit = Audit::open(&config.data).map_err(|error| exit::io("the audit record", &error))?;
        let files = open_files(&config, &chat, store.clone(), audit.clone())?;
        let handed = Handed::new(Parcels::new(chat.clone(), store.clone()), files.clone(), identity.id());
        let desk = Desk { files: files.clone(), chat: chat.clone(), accounts: accounts.clone(), store };

        let handle = Handle::default();
        let service = Service::new(accounts.clone(), identity.id(), &config.name).on_revoked(handle.closer());
        let (sweeping, known, data) = (files.clone(), accounts.clone(), config.data.clone());
        let retaining = chat.clone();
        let at_the_door = desk.clone();
        let every = config.sweep_every.unwrap_or(SWEEP_EVERY).max(SWEEP_AT_MOST);
        let router = service
            .mount(Router::new())
            .route(hikyaku_wire::chat::PROTOCOL, chat)
            .route(hikyaku_wire::files::PROTOCOL, move |exchange| {
                answer_files(files.clone(), handed.clone(), desk.clone(), exchange)
            })
            .route(backup::PROTOCOL, move |exchange| {
                admin::answer(data.clone(), at_the_door.clone(), exchange)
            })
            .route(echo::PROTOCOL, echo::echo);
        let mut builder = Server::builder(identity)
            .authorize(move |peer| Context::admit(known.clone(), peer))
            .router(router);
        if let Some(keys) = &config.seeing.key_log {
            builder = builder.key_log(keys);
        }
        if let Some(recording) = &config.seeing.recording {
            builder = builder.record(recording);
        }
        for address in addresses::to_listen_on(&config.listen) {
            builder = builder.listen(address);
        }
        let server = Arc::new(builder.start().await.map_err(cannot_listen)?);
        handle.set(&server);
        let addresses = addresses::advertised(&config.advertise, server.addresses())?;
        service.announce(addresses.clone());
        let admin = admin::Door::open(&config.data, server.clone(), accounts.clone())?;
        let sweeper = tokio::spawn(async move { tokio::join!(sweep(sweeping, every), retain(retaining)) });
        Ok(Self { server, accounts, addresses, sweeper, admin, audit })
    }

    /// The first address, with the real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Every address.
    pub(crate) fn listening(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// The host key's id.
    pub(crate) fn id(&self) -> KeyId {
        self.server.id()
    }

    /// The link that makes the first owner; `None` when there is one.
    pub(crate) async fn first_invite(&self) -> Result<Option<InviteLink>> {
        let issued = self.accounts.first_invite(system_time()).await;
        let issued = issued.map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
        Ok(issued.map(|invite| InviteLink {
            addresses: self.addresses.clone(),
            host: self.id(),
            invite: invite.id,
            secret: invite.secret,
        }))
    }

    /// Stops without losing anything: what is open may finish within `time`.
    pub(crate) async fn drain(self, time: Duration) {
        self.admin.close();
        self.sweeper.abort();
        self.server.drain(time).await;
        self.audit.finish().await;
    }
}

/// The server, for those who are made before it and outlive nothing of it.
#[derive(Clone, Default)]
struct Handle(Arc<Mutex<Weak<Server<Context>>>>);

impl Handle {
    fn set(&self, server: &Arc<Server<Context>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(server);
    }

    /// Closes the live connections of devices that were just revoked.
    fn closer(&self) -> impl Fn(&[KeyId]) + Send + Sync + 'static {
        let handle = self.clone();
        move |devices| {
            let server = handle.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
            let Some(server) = server else { return };
            for device in devices {
                let closed = server.close_peer(*device, ErrorCode::REVOKED, "this device was revoked");
                tracing::info!(%device, closed, "a device was revoked");
            }
        }
    }
}

async fn open_store(data: &Path) -> Result<SqliteStore> {
    let directory = data.to_owned();
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(directory)).await;
    let opened = opened.map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
    opened.map_err(|error| {
        let trouble = Trouble::from(error).during("opening the data directory");
        match trouble.exit {
            Exit::Denied => trouble.hint("name a directory that this user may write with --data DIR"),
            Exit::Full => {
                trouble.hint("make room there, or name a directory on another disk with --data DIR")
            }
            _ => trouble,
        }
    })
}

fn open_files(
    config: &Config,
    chat: &ChatServer,
    store: Arc<dyn Store>,
    audit: Audit,
) -> Result<FilesServer<Context, Parcels>> {
    let path = config.data.join("vault");
    let vault = FsVault::open(&path, KEEP_FREE).map_err(|error| exit::io(path.display(), &error))?;
    let drop_dir = match &config.into {
        None => None,
        Some(path) => {
            let (distinct, quotas, prints) = (config.distinct, config.quotas, config.prints);
            let options = DropOptions { distinct, quotas, prints, ..DropOptions::default() };
            let opened = DropDir::open(path, options);
            Some(opened.map_err(|error| {
                let trouble = match &error {
                    VaultError::Io(error) => exit::io(path.display(), error),
                    error => Trouble::new(Exit::Failed, format!("{}: {error}", path.display())),
                };
                trouble
                    .during("--into")
                    .hint("it must be a directory that exists and that this user may write")
            })?)
        }
    };
    let rooms = Parcels::new(chat.clone(), store).audited(audit);
    let RoomQuotas { user: room_user_quota, room: room_quota, vault: vault_quota } = config.room_quotas;
    let usual = FilesLimits::default();
    let pause_timeout = config.pause_timeout.unwrap_or(usual.pause_timeout);
    let limits = FilesLimits { pause_timeout, room_user_quota, room_quota, vault_quota, ..usual };
    Ok(FilesServer::new(rooms, Arc::new(vault), drop_dir, limits))
}

/// Files, the receipts of those who have them, and how much there may be.
async fn answer_files(
    files: FilesServer<Context, Parcels>,
    handed: Handed,
    desk: Desk,
    exchange: Exchange<Context>,
) -> hikyaku::Result<()> {
    if exchange.method() == QUOTA {
        return Box::pin(desk.tell(exchange)).await;
    }
    if receipts::is_method(exchange.method()) {
        return Box::pin(receipts::handle(handed, exchange)).await;
    }
    Box::pin(files.handle(exchange)).await
}

/// Ends what was left unfinished and lets go of what is over: at the start, and then again and again.
async fn sweep(files: FilesServer<Context, Parcels>, every: Duration) {
    loop {
        match files.sweep().await {
            Ok(swept) => tracing::debug!(?swept, "swept"),
            Err(error) => tracing::warn!(%error, "could not sweep abandoned transfers"),
        }
        tokio::time::sleep(every).await;
    }
}

/// Forgets what rooms need no longer keep: at the start, and then every ten minutes.
async fn retain(chat: ChatServer) {
    loop {
        if let Err(error) = chat.retain().await {
            tracing::warn!(%error, "could not apply the retention of rooms");
        }
        tokio::time::sleep(RETAIN_EVERY).await;
    }
}

fn cannot_listen(error: hikyaku::Error) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, error.to_string());
    match &error {
        hikyaku::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            trouble.hint("another program uses that port: stop it, or choose another with --listen ADDR:PORT")
        }
        hikyaku::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            trouble.hint("ports below 1024 need privileges: choose another with --listen ADDR:PORT")
        }
        hikyaku::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
            trouble.hint("this computer has no such address: 'ip address' shows those it has")
        }
        _ => trouble,
    }
}
