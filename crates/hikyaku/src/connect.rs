//! Connecting: every address and both transports are tried, and the first host that proves its pinned key and says
//! HELLO wins. Spec: chapter 1, "Connecting".

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hikyaku_wire::exchange::milliseconds;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::budget::Share;
use crate::connection::{Connection, Setup};
use crate::error::{Error, Result};
use crate::events::{Observer, Record, Recorder, event};
use crate::identity::{Identity, KeyId};
use crate::limits::Limits;
use crate::router::Router;
use crate::session;
use crate::tls::{self, Negotiated};
use crate::transport::mux::{MuxLink, Side};
use crate::transport::{Link, Transport, quic, socket};

/// The head start of one attempt over the next (RFC 8305 says 250 ms, deployed QUIC clients 200).
const STAGGER: Duration = Duration::from_millis(200);
/// How long one `connect` takes at most unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which transport is asked first when both may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// QUIC first: streams do not wait for each other's losses, and a changed network does not end the connection.
    #[default]
    Interactive,
    /// TCP first: on a clean path it moves bulk at half of QUIC's processor time.
    Bulk,
}

/// Connects to the host whose key is `pin`, at any of `addresses` (`host:port`, several separated by commas).
///
/// ```no_run
/// # async fn example(pin: hikyaku::KeyId) -> hikyaku::Result<()> {
/// let connection = hikyaku::connect("chat.example:4747", pin).await?;
/// let answer: String = connection.call("hello/1", "", &"Hello").await?;
/// # Ok(()) }
/// ```
pub fn connect(addresses: impl ToString, pin: KeyId) -> Connect {
    Connect {
        addresses: addresses.to_string(),
        pin,
        identity: None,
        prefer: Prefer::default(),
        transport: Transport::Auto,
        router: Router::new(),
        limits: Limits::default(),
        timeout: TIMEOUT,
        observer: None,
    }
}

/// A connection about to be made; await it.
pub struct Connect {
    addresses: String,
    pin: KeyId,
    identity: Option<Identity>,
    prefer: Prefer,
    transport: Transport,
    router: Router,
    limits: Limits,
    timeout: Duration,
    observer: Option<Observer>,
}

impl Connect {
    /// Who this side is. Without it, a fresh identity is made for this connection alone.
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// Which transport is asked first.
    pub fn prefer(mut self, prefer: Prefer) -> Self {
        self.prefer = prefer;
        self
    }

    /// Uses one transport only.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// What the server may ask of this side.
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// The bounds of this side.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long all attempts together may take; 10 s at first.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Tells `observer` every event of the attempts and of the connection. It runs where the event happened, so it must
    /// be quick; [`Log`](crate::events::Log) has one for tests.
    pub fn observe(mut self, observer: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    async fn run(self) -> Result<Connection> {
        if self.transport == Transport::Local {
            let reason = "a local connection has no address: it is made by hikyaku::local::connect";
            return Err(Error::Unreachable(vec![reason.to_owned()]));
        }
        let identity = match self.identity {
            Some(identity) => identity,
            None => Identity::generate()?,
        };
        let (limits, router) = (Arc::new(self.limits.within_bounds()), Arc::new(self.router));
        let events = Recorder::endpoint(self.observer);
        let attempt = Attempt { identity, pin: self.pin, limits, router, events };
        let mut race = Race::new(attempt, transports(self.transport, self.prefer), &self.addresses);
        match tokio::time::timeout(self.timeout, race.run()).await {
            Ok(won) => won,
            Err(_) => Err(race.lost_after(self.timeout)),
        }
    }
}

impl IntoFuture for Connect {
    type Output = Result<Connection>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// One way to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    transport: Transport,
    address: SocketAddr,
}

/// Which transports are asked at each address, the preferred one first.
fn transports(transport: Transport, prefer: Prefer) -> &'static [Transport] {
    match (transport, prefer) {
        (Transport::Quic, _) => &[Transport::Quic],
        (Transport::Tcp, _) => &[Transport::Tcp],
        (Transport::Local, _) => &[],
        (Transport::Auto, Prefer::Interactive) => &[Transport::Quic, Transport::Tcp],
        (Transport::Auto, Prefer::Bulk) => &[Transport::Tcp, Transport::Quic],
    }
}

/// The attempts at every address, one after the other: each [`STAGGER`] after the last or as soon as one has failed.
/// The first success wins and the others are dropped, which closes them with NO_ERROR.
//= S1.2
//= S6.11
struct Race {
    attempt: Attempt,
    transports: &'static [Transport],
    /// Names that are being looked up; one that hangs keeps nobody from trying the others.
    resolving: JoinSet<Result<Vec<SocketAddr>, String>>,
    known: Vec<SocketAddr>,
    waiting: VecDeque<Target>,
    since: Instant,
    running: JoinSet<Result<Connection, (Target, Error)>>,
    started: Vec<Target>,
    failures: Vec<(Target, Error)>,
    unresolved: Vec<String>,
}

impl Race {
    fn new(attempt: Attempt, transports: &'static [Transport], addresses: &str) -> Self {
        let mut race = Self {
            attempt,
            transports,
            resolving: JoinSet::new(),
            known: Vec::new(),
            waiting: VecDeque::new(),
            since: Instant::now(),
            running: JoinSet::new(),
            started: Vec::new(),
            failures: Vec::new(),
            unresolved: Vec::new(),
        };
        for address in addresses.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match address.parse() {
                Ok(address) => race.add(address),
                Err(_) => drop(race.resolving.spawn(resolve(address.to_owned()))),
            }
        }
        race
    }

    /// Both transports of an address come before the next address.
    fn add(&mut self, address: SocketAddr) {
        if !self.known.contains(&address) {
            self.known.push(address);
            self.waiting
                .extend(self.transports.iter().map(|transport| Target { transport: *transport, address }));
        }
    }

    async fn run(&mut self) -> Result<Connection> {
        let mut next_start = Instant::now();
        loop {
            if next_start <= Instant::now()
                && let Some(target) = self.waiting.pop_front()
            {
                let attempt = self.attempt.clone();
                let Target { transport, address: remote } = target;
                event!(self.attempt.events, TransportStarted { transport, remote });
                self.started.push(target);
                self.running.spawn(async move { attempt.run(target).await.map_err(|error| (target, error)) });
                next_start = Instant::now() + STAGGER;
            }
            tokio::select! {
                Some(done) = self.running.join_next() => match done {
                    Ok(Ok(connection)) => return Ok(self.won(connection)),
                    Ok(Err(failure)) => {
                        self.record_lost(failure.0, Some(&failure.1));
                        self.failures.push(failure);
                        next_start = Instant::now();
                    }
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Some(done) = self.resolving.join_next() => match done {
                    Ok(Ok(found)) => found.into_iter().for_each(|address| self.add(address)),
                    Ok(Err(failure)) => self.unresolved.push(failure),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = tokio::time::sleep_until(next_start.into()), if !self.waiting.is_empty() => {}
                else => return Err(self.verdict(Vec::new())),
            }
        }
    }

    /// The others are dropped with the race.
    fn won(&self, connection: Connection) -> Connection {
        let winner = connection.remote_address().map(|address| (connection.transport(), address));
        for target in &self.started {
            let Target { transport, address: remote } = *target;
            if Some((transport, remote)) == winner {
                let after_ms = milliseconds(self.since.elapsed());
                event!(self.attempt.events, TransportWon { transport, remote, after_ms });
            } else if !self.failures.iter().any(|(failed, _)| failed == target) {
                self.record_lost(*target, None);
            }
        }
        connection
    }

    fn record_lost(&self, Target { transport, address: remote }: Target, error: Option<&Error>) {
        let error = error.map(|error| error.to_string().into());
        event!(self.attempt.events, TransportLost { transport, remote, error });
    }

    /// The time is over: those that have not failed yet have, too.
    fn lost_after(mut self, time: Duration) -> Error {
        let silent = |target: &&Target| !self.failures.iter().any(|(failed, _)| failed == *target);
        let silent: Vec<_> = self.started.iter().filter(silent).copied().collect();
        let timeout = Error::ConnectTimeout(time);
        silent.iter().for_each(|target| self.record_lost(*target, Some(&timeout)));
        self.failures.extend(silent.into_iter().map(|target| (target, Error::ConnectTimeout(time))));
        let untried = self.waiting.iter().map(|target| format!("{target}: there was no time left to try it"));
        let mut rest: Vec<_> = untried.collect();
        if !self.resolving.is_empty() {
            rest.push(format!("{} names could not be looked up in time", self.resolving.len()));
        }
        self.verdict(rest)
    }

    /// Of several failures, the one that says most: a host that answered and refused, before one that did not answer.
    fn verdict(&self, rest: Vec<String>) -> Error {
        let answered = |error: &Error| match error {
            Error::IdentityRefused { .. } | Error::Failure(_) => true,
            Error::Closed(closed) => closed.by == crate::ClosedBy::Peer,
            _ => false,
        };
        if let Some((_, error)) = self.failures.iter().find(|(_, error)| answered(error)) {
            return error.clone();
        }
        let tried = self.failures.iter().map(|(target, error)| format!("{target}: {error}"));
        let mut all: Vec<_> = tried.chain(self.unresolved.iter().cloned()).chain(rest).collect();
        if all.is_empty() {
            all.push("no address was given".to_owned());
        }
        Error::Unreachable(all)
    }
}

async fn resolve(name: String) -> Result<Vec<SocketAddr>, String> {
    match tokio::net::lookup_host(&name).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(format!("{}: {error}", crate::printable(&name))),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.address, self.transport)
    }
}

/// What all attempts share.
#[derive(Clone)]
struct Attempt {
    identity: Identity,
    pin: KeyId,
    limits: Arc<Limits>,
    router: Arc<Router>,
    events: Arc<Recorder>,
}

impl Attempt {
    async fn run(self, target: Target) -> Result<Connection> {
        let found = Arc::new(OnceLock::new());
        let linked = match target.transport {
            Transport::Quic => self.quic(target.address, found.clone()).await,
            _ => self.tcp(target.address, found.clone()).await,
        };
        let (link, negotiated) = linked.map_err(|error| match found.get() {
            Some(found) => Error::IdentityRefused { expected: self.pin, found: *found },
            None => error,
        })?;
        let events = self.events.connection();
        negotiated.record(&events, target.transport, target.address, self.pin);
        let setup = Setup {
            transport: target.transport,
            share: Share::alone(&self.limits, Instant::now()),
            limits: self.limits,
            stranger: false,
            close_on_drop: true,
            events,
            negotiated: Some(negotiated),
        };
        let connection = Connection::new(link, self.pin, setup);
        session::start(&connection, self.router, Arc::new(()), ());
        session::established(&connection).await?;
        Ok(connection)
    }

    async fn tcp(&self, address: SocketAddr, found: Arc<OnceLock<KeyId>>) -> Result<(Link, Negotiated)> {
        let io = |error| Error::io(format!("connecting to {address}"), error);
        let config = tls::client_config(&self.identity, self.pin, found, tls::ALPN_TCP)
            .map_err(|error| Error::Tls(error.to_string()))?;
        let stream = TcpStream::connect(address).await.map_err(io)?;
        socket::tune_tcp(&stream).map_err(io)?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(server_name(), stream).await.map_err(|e| Error::Tls(e.to_string()))?;
        // A server that does not know our protocol's name is not a Hikyaku server.
        if stream.get_ref().1.alpn_protocol() != Some(tls::ALPN_TCP) {
            return Err(Error::Tls("the server chose no application protocol".to_owned()));
        }
        let negotiated = Negotiated::of_tls(stream.get_ref().1);
        let link = MuxLink::spawn(Box::new(stream), Side::Client, &self.limits, Some(address));
        Ok((Link::Mux(link), negotiated))
    }

    async fn quic(&self, address: SocketAddr, found: Arc<OnceLock<KeyId>>) -> Result<(Link, Negotiated)> {
        let io = |error| Error::io(format!("connecting to {address}"), error);
        let tls = tls::client_config(&self.identity, self.pin, found, tls::ALPN_QUIC)
            .map_err(|error| Error::Tls(error.to_string()))?;
        let config = quic::client_config(tls, &self.limits)?;
        let socket = socket::bind_udp(socket::any_address_towards(address)).map_err(io)?;
        let runtime = Arc::new(quic::Runtime);
        let endpoint =
            quinn::Endpoint::new(quic::client_endpoint_config(), None, socket, runtime).map_err(io)?;
        let connecting = endpoint
            .connect_with(config, address, tls::SERVER_NAME)
            .map_err(|error| Error::io(format!("connecting to {address}"), io::Error::other(error)))?;
        let connection = tokio::select! {
            connected = connecting => connected.map_err(|error| Error::Closed(quic::closed(error)))?,
            error = refusal(address) => return Err(io(error)),
        };
        let link = quic::QuicLink::new(connection, Some(endpoint));
        let negotiated = link.negotiated();
        Ok((Link::Quic(link), negotiated))
    }
}

/// Resolves when the host says that nobody listens on its UDP port. QUIC itself does not hear that, because its socket is
/// not bound to one peer (which lets it survive a change of networks), and would go on trying in vain.
async fn refusal(address: SocketAddr) -> io::Error {
    let asked = async {
        let probe = tokio::net::UdpSocket::bind(socket::any_address_towards(address)).await?;
        probe.connect(address).await?;
        // Too short to be anything; a QUIC server drops it.
        probe.send(&[0]).await?;
        probe.recv(&mut [0; 1]).await
    };
    match asked.await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
        _ => std::future::pending().await,
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from(tls::SERVER_NAME).expect("the constant is a DNS name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn interactive_asks_quic_first_and_bulk_asks_tcp_first_at_every_address() {
        let order = |transport, prefer| -> Vec<_> {
            let (identity, pin) = (Identity::generate().unwrap(), KeyId::from_bytes([0; 32]));
            let events = Recorder::endpoint(None);
            let attempt = Attempt { identity, pin, limits: Arc::default(), router: Arc::default(), events };
            let race = Race::new(attempt, transports(transport, prefer), "[::1]:1, 127.0.0.1:1,[::1]:1");
            race.waiting.iter().map(|target| (target.transport, target.address.is_ipv6())).collect()
        };
        use Transport::{Auto, Quic, Tcp};
        let interactive = [(Quic, true), (Tcp, true), (Quic, false), (Tcp, false)];
        assert_eq!(order(Auto, Prefer::Interactive), interactive);
        assert_eq!(order(Auto, Prefer::Bulk), [(Tcp, true), (Quic, true), (Tcp, false), (Quic, false)]);
        assert_eq!(order(Quic, Prefer::Bulk), [(Quic, true), (Quic, false)]);
    }
}
