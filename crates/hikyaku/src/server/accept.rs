//! From an accepted socket to a session: handshake, authorisation, credit. Spec: chapter 1, "Accepting".

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::milliseconds;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::gate::Origin;
use super::register::{NoPlace, Register, Slot};
use super::ticket::{Said, Ticket};
use super::{Admission, Peer, Shared};
use crate::budget::{Share, Waiting};
use crate::connection::{Connection, Setup};
use crate::error::Failure;
use crate::events::{By, Recorder, Refusal, event};
use crate::identity::KeyId;
use crate::recording::{Recording, Tap};
use crate::session;
use crate::tls::{self, Negotiated};
use crate::transport::mux::{MuxLink, Side};
use crate::transport::quic::{self, QuicLink};
use crate::transport::tls_stream::TlsStream;
use crate::transport::{Link, Transport, socket};

/// How long accepting pauses when the system refuses, such as for want of descriptors: at first, and at most. Each
/// refusal doubles it. Those who wait meanwhile wait in the system's queue, and those inside are not disturbed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts TCP connections until told to stop.
pub(super) async fn tcp<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = PAUSE.0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Also when the server is gone.
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = PAUSE.0;
                // Before TLS there is nobody to tell why: who is turned away finds the socket closed.
                let origin = Origin::Proved(address.ip());
                if let Said::Enter(ticket) = let_in(&shared, Transport::Tcp, address, origin) {
                    tokio::spawn(tcp_handshake(shared.clone(), stream, address, tls.clone(), ticket));
                }
            }
            Err(error) => {
                event!(shared.events, AcceptFailed { error: error.to_string().into() });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopped.changed() => return,
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Accepts QUIC connections until told to stop.
pub(super) async fn quic<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    endpoint: quinn::Endpoint,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stopped.changed() => return,
        };
        let Some(incoming) = incoming else { return };
        let address = incoming.remote_address();
        let proved = incoming.remote_address_validated();
        let origin = if proved { Origin::Proved(address.ip()) } else { Origin::Claimed };
        match let_in(&shared, Transport::Quic, address, origin) {
            Said::Enter(ticket) => drop(tokio::spawn(quic_handshake(shared.clone(), incoming, ticket))),
            // Costs nothing here and less than was received; the only error is that it was asked for already.
            Said::Prove => drop(incoming.retry()),
            Said::Refused(..) => incoming.refuse(),
        }
    }
}

/// A short-lived task, so that the handshake's buffers go with it.
async fn tcp_handshake<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    stream: TcpStream,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    ticket: Ticket,
) {
    let caller = Caller::new(&shared, Transport::Tcp, address);
    if let Err(error) = socket::tune_accepted(&stream) {
        event!(caller.events, SocketOptionsFailed { error: error.to_string().into() });
    }
    let accepted =
        tokio::time::timeout(shared.limits.handshake_timeout, TlsStream::accept(stream, tls)).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return caller.refused(tls::refusal(&error), &error.to_string()),
        Err(_) => return caller.refused(Refusal::HandshakeTimeout, ""),
    };
    let session = stream.session();
    let id = session.peer_certificates().and_then(tls::peer_key);
    // Both are there, or the handshake would have failed.
    let (Some(id), Some(tls::ALPN_TCP)) = (id, session.alpn_protocol()) else { return };
    let guest = caller.proved(&shared, id, Negotiated::of_tls(session));
    let limits = &shared.limits;
    let link = MuxLink::spawn_tapped(stream, Side::Server, limits, Some(address), guest.tap.clone());
    let link = Link::Mux(link);
    admit(shared.clone(), link, guest, ticket).await;
}

/// Who is at the door, and has proved nothing yet.
struct Caller {
    events: Arc<Recorder>,
    transport: Transport,
    address: SocketAddr,
}

impl Caller {
    fn new<C>(shared: &Shared<C>, transport: Transport, address: SocketAddr) -> Self {
        let events = shared.events.connection();
        event!(events, ConnectionStarted { transport, remote: Some(address) });
        Self { events, transport, address }
    }

    fn proved<C>(self, shared: &Shared<C>, id: KeyId, negotiated: Negotiated) -> Guest {
        let Self { events, transport, address } = &self;
        negotiated.record(events, *transport, *address, id);
        let begin = |recording: &Recording| {
            recording.begin(events.number(), format!("server over {transport} to {address}, key {id}"))
        };
        let tap = shared.recording.as_ref().map(begin);
        Guest { id, caller: self, negotiated, tap }
    }

    fn refused(&self, reason: Refusal, detail: &str) {
        self.refuse(reason, None, detail);
    }

    fn refuse(&self, reason: Refusal, peer: Option<KeyId>, detail: &str) {
        let (transport, remote) = (self.transport, Some(self.address));
        event!(self.events, ConnectionRefused { reason, transport, remote, peer, detail: detail.into() });
    }
}

/// Lets somebody in whom nobody knows yet, or records why not. Nothing was allocated for who is turned away here.
fn let_in<C>(shared: &Shared<C>, transport: Transport, address: SocketAddr, origin: Origin) -> Said {
    let said = shared.door.knock(origin);
    match &said {
        Said::Enter(_) => {}
        Said::Prove => event!(shared.events, RetrySent { remote: address }),
        Said::Refused(refusal, to_tell) => {
            let (reason, remote, detail) = (Refusal::from(*refusal), Some(address), refusal.to_string());
            event!(
                shared.events,
                ConnectionRefused { reason, transport, remote, peer: None, detail: (&detail).into() }
            );
            if let Some(count) = *to_tell {
                event!(shared.events, ConnectionsTurnedAway { count, detail: detail.into() });
            }
        }
    }
    said
}

async fn quic_handshake<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    incoming: quinn::Incoming,
    mut ticket: Ticket,
) {
    let address = incoming.remote_address();
    let caller = Caller::new(&shared, Transport::Quic, address);
    let connected = async { incoming.await };
    let connection = match tokio::time::timeout(shared.limits.handshake_timeout, connected).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return caller.refused(quic::refusal(&error), &error.to_string()),
        Err(_) => return caller.refused(Refusal::HandshakeTimeout, ""),
    };
    let link = QuicLink::new(connection, None);
    let Some(id) = link.peer_key() else { return };
    // Only now is it certain that the address is the peer's own.
    if let Err(refusal) = ticket.proved(address.ip()) {
        let message = refusal.to_string();
        caller.refuse(refusal.into(), Some(id), &message);
        return Link::Quic(link).close(ErrorCode::LIMIT_EXCEEDED.0, &message);
    }
    let guest = caller.proved(&shared, id, link.negotiated());
    let link = Link::Quic(link.tapped(guest.tap.clone()));
    admit(shared.clone(), link, guest, ticket).await;
}

/// A caller that has proved its key.
struct Guest {
    id: KeyId,
    caller: Caller,
    negotiated: Negotiated,
    tap: Option<Tap>,
}

/// Asks who the peer is, gives it the credit it deserves, and starts its session.
//= S6.6
async fn admit<C: Send + Sync + 'static>(shared: Arc<Shared<C>>, link: Link, guest: Guest, ticket: Ticket) {
    let Guest { id, caller, .. } = &guest;
    let (id, peer) = (*id, Peer { id: *id, address: Some(caller.address), transport: caller.transport });
    let refuse = |reason: Refusal, code: ErrorCode, message: &str| {
        caller.refuse(reason, Some(id), message);
        link.close(code.0, message);
    };
    let slot = match Register::enter(&shared, id, &link, Some(&shared.limits)) {
        Ok(slot) => slot,
        Err(refusal) => {
            let (reason, limit) = not_taken(&refusal);
            if let Some((limit, value)) = limit {
                event!(caller.events, LimitReached { limit, value: value as u64, owner: By::Us });
            }
            let Failure { code, message, .. } = refusal.failure();
            return refuse(reason, code, &message);
        }
    };
    let waiting = match link {
        Link::Quic(_) => Waiting::Unacknowledged,
        Link::Mux(_) => Waiting::Unsent,
    };
    let share = Share::open(&shared.budget, &shared.limits, waiting, Instant::now());
    let limit = shared.limits.handshake_timeout;
    match tokio::time::timeout(limit, (shared.authorise)(peer)).await {
        Ok(Ok(Admission::Member(context))) => {
            let limits = &shared.limits;
            link.raise(share.raise(), share.places(), limits.max_unidirectional);
            begin(&shared, link, guest, (context, share), false, (slot, None));
            // Known now: the place is free for the next one.
            drop(ticket);
        }
        Ok(Ok(Admission::Stranger(context))) => {
            // Anybody can make a key: a stranger keeps its place among the unknown.
            let connection = begin(&shared, link, guest, (context, share), true, (slot, Some(ticket)));
            tokio::spawn(end_stranger(connection, shared.limits.stranger_timeout));
        }
        Ok(Err(failure)) if failure.code == ErrorCode::REVOKED => {
            refuse(Refusal::Revoked, failure.code, &failure.message);
        }
        Ok(Err(failure)) => refuse(Refusal::Denied, failure.code, &failure.message),
        Err(_) => {
            let reason =
                format!("who you are could not be found out within our handshake_timeout of {limit:?}");
            refuse(Refusal::AuthorisationTimeout, ErrorCode::HANDSHAKE_TIMEOUT, &reason);
        }
    }
}

/// Why somebody who proved a key is not taken in, and the limit with its value.
fn not_taken(refusal: &NoPlace) -> (Refusal, Option<(&'static str, usize)>) {
    match refusal {
        NoPlace::Shut => (Refusal::Draining, None),
        NoPlace::All(limit) => (Refusal::Connections, Some(("max_connections", *limit))),
        NoPlace::OfKey(limit) => (Refusal::ConnectionsOfKey, Some(("max_connections_per_key", *limit))),
    }
}

fn begin<C: Send + Sync + 'static>(
    shared: &Arc<Shared<C>>,
    link: Link,
    guest: Guest,
    (context, share): (C, Share),
    stranger: bool,
    kept: (Slot<C>, Option<Ticket>),
) -> Connection {
    let Guest { id: peer, caller, negotiated, tap } = guest;
    event!(caller.events, ConnectionAccepted { peer, stranger });
    let setup = Setup {
        transport: caller.transport,
        limits: shared.limits.clone(),
        share,
        stranger,
        close_on_drop: false,
        events: caller.events,
        negotiated: Some(negotiated),
        tap,
    };
    let connection = Connection::new(link, peer, setup);
    kept.0.set(&connection);
    session::start(&connection, shared.router.clone(), Arc::new(context), kept);
    connection
}

/// A stranger has a few seconds to enrol.
//= S6.21
async fn end_stranger(connection: Connection, time: Duration) {
    if tokio::time::timeout(time, connection.closed()).await.is_err() {
        let value = milliseconds(time);
        event!(connection.inner().events, LimitReached { limit: "stranger_timeout", value, owner: By::Us });
        let reason = format!("no enrolment within our stranger_timeout of {time:?}");
        connection.abort(ErrorCode::STRANGER_LIMIT, &reason);
    }
}
