//! Servers: two sockets on one port number, one identity, and a register of who is connected.

mod accept;
mod gate;
mod register;
mod ticket;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hikyaku_wire::codes::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::budget::Budget;
use crate::connection::Connection;
use crate::error::{Error, Failure, Result};
use crate::events::{Counts, Observer, Record, Recorder, event};
use crate::identity::{Identity, KeyId};
use crate::key_log::KeyLog;
use crate::limits::Limits;
use crate::local;
use crate::recording::Recording;
use crate::router::Router;
use crate::server::register::Register;
use crate::server::ticket::Door;
use crate::session;
use crate::tls;
use crate::transport::{Transport, quic, socket};

/// Who wants to connect. The key is proved; everything else is hearsay.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The peer's key.
    pub id: KeyId,
    /// Its network address, where it has one.
    pub address: Option<SocketAddr>,
    /// What carries the connection.
    pub transport: Transport,
}

/// What authorisation decides, with the context that every exchange of the connection will see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<C> {
    /// The peer is known: it gets full credit and every route.
    Member(C),
    /// The peer is nobody in particular: one exchange on a stranger's route, a few small frames, a few seconds.
    Stranger(C),
}

/// How long a drained server stays to say goodbye over QUIC: what is closed here repeats its close when it is asked.
const FAREWELL: Duration = Duration::from_secs(1);

type Verdict<C> = Pin<Box<dyn Future<Output = Result<Admission<C>, Failure>> + Send>>;
type Authorise<C> = Arc<dyn Fn(Peer) -> Verdict<C> + Send + Sync>;

/// A server about to be started.
///
/// ```no_run
/// # async fn example() -> hikyaku::Result<()> {
/// # let router = hikyaku::Router::new();
/// let identity = hikyaku::Identity::load_or_generate("host.pem")?;
/// let server = hikyaku::Server::builder(identity).router(router).listen("[::]:4747".parse().unwrap()).start().await?;
/// println!("{} on {:?}", server.id(), server.addresses());
/// # Ok(()) }
/// ```
pub struct Builder<C = ()> {
    identity: Identity,
    listen: Vec<SocketAddr>,
    limits: Limits,
    router: Router<C>,
    authorise: Authorise<C>,
    observer: Option<Observer>,
    key_log: Option<KeyLog>,
    recording: Option<Recording>,
}

impl Builder<()> {
    fn new(identity: Identity) -> Self {
        // Whoever proves a key is welcome; what a key may do is for `authorise` to say.
        let authorise: Authorise<()> = Arc::new(|_| Box::pin(async { Ok(Admission::Member(())) }));
        Self {
            identity,
            listen: Vec::new(),
            limits: Limits::default(),
            router: Router::new(),
            authorise,
            observer: None,
            key_log: None,
            recording: None,
        }
    }
}

impl<C: Send + Sync + 'static> Builder<C> {
    /// Listens on this address, TCP and UDP alike; port 0 takes one free number for both. May be called again.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// The bounds of every connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Decides, once per connection, who may come in, and makes the context that its exchanges see.
    /// It also fixes the type of the context, so it comes before [`Builder::router`].
    pub fn authorize<D, F, A>(self, authorise: F) -> Builder<D>
    where
        D: Send + Sync + 'static,
        F: Fn(Peer) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Admission<D>, Failure>> + Send + 'static,
    {
        let authorise: Authorise<D> = Arc::new(move |peer| Box::pin(authorise(peer)));
        Builder {
            identity: self.identity,
            listen: self.listen,
            limits: self.limits,
            router: Router::new(),
            authorise,
            observer: self.observer,
            key_log: self.key_log,
            recording: self.recording,
        }
    }

    /// What is answered.
    pub fn router(mut self, router: Router<C>) -> Self {
        self.router = router;
        self
    }

    /// Tells `observer` every event of the server and its connections. It runs where the event happened, so it must be
    /// quick; [`Log`](crate::events::Log) has one for tests.
    pub fn observe(mut self, observer: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Writes the secrets of every connection to `keys`: whoever reads them reads everything.
    pub fn key_log(mut self, keys: &KeyLog) -> Self {
        self.key_log = Some(keys.clone());
        self
    }

    /// Records everything that every connection carries.
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// Binds the sockets and starts to accept. Without an address it listens on a free port of the loopback.
    ///
    /// # Errors
    /// [`Error::Io`] names the address that could not be listened on and why.
    pub async fn start(mut self) -> Result<Server<C>> {
        self.limits = self.limits.within_bounds();
        if self.listen.is_empty() {
            self.listen.push(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        let tls_error = |error: rustls::Error| Error::Tls(error.to_string());
        let tcp_tls =
            tls::server_config(&self.identity, tls::ALPN_TCP, self.key_log.as_ref()).map_err(tls_error)?;
        let quic_tls =
            tls::server_config(&self.identity, tls::ALPN_QUIC, self.key_log.as_ref()).map_err(tls_error)?;
        let quic = quic::server_config(quic_tls, &self.limits)?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            id: self.identity.id(),
            door: Door::new(&self.limits)?,
            budget: Budget::new(&self.limits),
            limits: Arc::new(self.limits),
            router: Arc::new(self.router),
            authorise: self.authorise,
            register: Register::default(),
            events: Recorder::endpoint(self.observer),
            recording: self.recording,
        });
        let endpoint = quic::endpoint_config(&self.identity);
        let mut server = Server { shared, addresses: Vec::new(), endpoints: Vec::new(), stop };
        let tls = Arc::new(tcp_tls);
        for address in self.listen {
            server.listen(address, &tls, &quic, &endpoint, &stopped)?;
        }
        Ok(server)
    }
}

/// A running server. Dropping it stops accepting; [`Server::drain`] ends it without losing anything.
pub struct Server<C = ()> {
    shared: Arc<Shared<C>>,
    addresses: Vec<SocketAddr>,
    endpoints: Vec<quinn::Endpoint>,
    stop: watch::Sender<bool>,
}

/// What the accepting tasks and the server's owner share.
pub(crate) struct Shared<C> {
    id: KeyId,
    limits: Arc<Limits>,
    router: Arc<Router<C>>,
    authorise: Authorise<C>,
    /// What all connections together may make this server hold.
    budget: Arc<Budget>,
    /// Where everybody has to pass whom nobody knows yet.
    door: Door,
    register: Register,
    pub(crate) events: Arc<Recorder>,
    recording: Option<Recording>,
}

impl Server<()> {
    /// A server with this identity.
    pub fn builder(identity: Identity) -> Builder<()> {
        Builder::new(identity)
    }
}

impl<C: Send + Sync + 'static> Server<C> {
    /// The first address it listens on, with the real port.
    pub fn address(&self) -> SocketAddr {
        // `start` refuses to run without one.
        self.addresses.first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Every address it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The host key's id, which clients pin.
    pub fn id(&self) -> KeyId {
        self.shared.id
    }

    /// The connections of this moment.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.register.connections()
    }

    /// How often each event has happened, on this server and all its connections.
    pub fn counts(&self) -> Counts {
        self.shared.events.counts()
    }

    /// Closes every live connection of a key at once, such as when its device was revoked; returns how many. Those
    /// that authorisation is still looking at are among them.
    //= S6.7
    pub fn close_peer(&self, id: KeyId, code: ErrorCode, reason: &str) -> usize {
        self.shared.register.close_peer(id, code, reason)
    }

    /// Serves one more connection over a byte stream of the program's own, whose peer the program vouches for.
    pub fn serve_io<S>(&self, io: S, peer: KeyId, context: C) -> Connection
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let events = self.shared.events.connection();
        let connection = local::accept(io, peer, Limits::clone(&self.shared.limits), events);
        // The program's own connections do not count against the limit for those from outside.
        match Register::enter(&self.shared, peer, connection.link(), None) {
            Ok(slot) => {
                slot.set(&connection);
                session::start(&connection, self.shared.router.clone(), Arc::new(context), slot);
            }
            Err(refusal) => {
                let Failure { code, message, .. } = refusal.failure();
                connection.abort(code, &message);
            }
        }
        connection
    }

    /// Stops accepting, lets open exchanges finish, and closes every connection within `time`.
    pub async fn drain(&self, time: Duration) {
        // The accepting tasks end with their receivers; nobody else listens.
        let _ = self.stop.send(true);
        self.endpoints.iter().for_each(|endpoint| endpoint.set_server_config(None));
        let mut drains = JoinSet::new();
        for connection in self.shared.register.shut() {
            drains.spawn(async move {
                connection.drain_within(time).await;
                connection.link().was_closed_here()
            });
        }
        // Those who are still in their handshake are turned away.
        let mut told = self.handshakes_run();
        while let Some(closed_here) = drains.join_next().await {
            told |= closed_here.unwrap_or(true);
        }
        told |= self.handshakes_run();
        for endpoint in &self.endpoints {
            endpoint.close(ErrorCode::GOING_AWAY.0.into(), b"drained");
            // What was said has to leave. When everybody else has closed nothing was, and QUIC's draining period, in
            // which nothing may be said, need not be waited for.
            if told {
                let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
            }
        }
    }

    fn handshakes_run(&self) -> bool {
        !self.shared.door.is_empty()
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        tls: &Arc<rustls::ServerConfig>,
        quic: &quinn::ServerConfig,
        endpoint: &quinn::EndpointConfig,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let io = |error| Error::io(format!("listening on {address}"), error);
        let listening = socket::listen(address).map_err(io)?;
        let listener = tokio::net::TcpListener::from_std(listening.tcp).map_err(io)?;
        let (config, runtime) = (endpoint.clone(), Arc::new(quic::Runtime));
        let endpoint =
            quinn::Endpoint::new(config, Some(quic.clone()), listening.udp, runtime).map_err(io)?;
        tokio::spawn(accept::tcp(self.shared.clone(), listener, tls.clone(), stopped.clone()));
        tokio::spawn(accept::quic(self.shared.clone(), endpoint.clone(), stopped.clone()));
        event!(self.shared.events, ServerListening { address: listening.address });
        self.addresses.push(listening.address);
        self.endpoints.push(endpoint);
        Ok(())
    }
}
