//! Connecting: every address and both transports are tried, and the first host that proves its pinned key and says
//! HELLO wins. Spec: chapter 1, "Connecting".

mod attempt;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hikyaku_wire::exchange::milliseconds;
use tokio::task::JoinSet;

use crate::connect::attempt::Attempt;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::events::{Observer, Record, Recorder, event};
use crate::identity::{Identity, KeyId};
use crate::key_log::KeyLog;
use crate::limits::Limits;
use crate::recording::Recording;
use crate::router::Router;
use crate::transport::Transport;

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
        key_log: None,
        recording: None,
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
    key_log: Option<KeyLog>,
    recording: Option<Recording>,
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

    /// Writes the connection's secrets to `keys`: whoever reads them reads everything.
    pub fn key_log(mut self, keys: &KeyLog) -> Self {
        self.key_log = Some(keys.clone());
        self
    }

    /// Records everything that the connection carries.
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
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
        let attempt = Attempt {
            identity,
            pin: self.pin,
            limits,
            router,
            events,
            key_log: self.key_log,
            recording: self.recording,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn interactive_asks_quic_first_and_bulk_asks_tcp_first_at_every_address() {
        let order = |transport, prefer| -> Vec<_> {
            let (identity, pin) = (Identity::generate().unwrap(), KeyId::from_bytes([0; 32]));
            let events = Recorder::endpoint(None);
            let attempt = Attempt {
                identity,
                pin,
                limits: Arc::default(),
                router: Arc::default(),
                events,
                key_log: None,
                recording: None,
            };
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
