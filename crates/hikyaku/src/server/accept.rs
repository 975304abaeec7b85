//! From an accepted socket to a session: handshake, authorisation, credit. Spec: chapter 1, "Accepting".

use std::sync::Arc;
use std::time::Duration;

use hikyaku_wire::codes::ErrorCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::register::{Register, Slot};
use super::{Admission, Peer, Shared};
use crate::connection::Connection;
use crate::identity::KeyId;
use crate::session;
use crate::tls;
use crate::transport::mux::{MuxLink, Side};
use crate::transport::quic::QuicLink;
use crate::transport::{Link, Transport, socket};

/// How long accepting pauses when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts TCP connections until told to stop.
pub(super) async fn tcp<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    listener: TcpListener,
    tls: TlsAcceptor,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Also when the server is gone.
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(tcp_handshake(shared.clone(), stream, tls.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in a moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
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
        tokio::spawn(quic_handshake(shared.clone(), incoming));
    }
}

/// A short-lived task, so that the handshake's buffers go with it.
async fn tcp_handshake<C: Send + Sync + 'static>(
    shared: Arc<Shared<C>>,
    stream: TcpStream,
    tls: TlsAcceptor,
) {
    // Beyond the limit the newest caller is dropped at once: it may try again, those inside must get through.
    let Ok(_slot) = shared.handshakes.try_acquire() else { return };
    let Ok(address) = stream.peer_addr() else { return };
    if let Err(error) = socket::tune_tcp(&stream) {
        tracing::debug!(%error, "socket options");
    }
    let accepted = tokio::time::timeout(shared.limits.handshake_timeout, tls.accept(stream)).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
    };
    let session = stream.get_ref().1;
    let id = session.peer_certificates().and_then(tls::peer_key);
    // Both are there, or the handshake would have failed.
    let (Some(id), Some(tls::ALPN_TCP)) = (id, session.alpn_protocol()) else { return };
    let link = Link::Mux(MuxLink::spawn(Box::new(stream), Side::Server, &shared.limits, Some(address)));
    admit(shared.clone(), link, Peer { id, address: Some(address), transport: Transport::Tcp }).await;
}

async fn quic_handshake<C: Send + Sync + 'static>(shared: Arc<Shared<C>>, incoming: quinn::Incoming) {
    let Ok(_slot) = shared.handshakes.try_acquire() else { return incoming.refuse() };
    let address = incoming.remote_address();
    // When handshakes pile up, an address has to prove itself before anything is computed for it.
    let crowded = shared.handshakes.available_permits() < shared.limits.max_handshakes / 2;
    if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
        // The only error is that retrying is not possible, which was just asked.
        return drop(incoming.retry());
    }
    let connected = async { incoming.await };
    let connection = match tokio::time::timeout(shared.limits.handshake_timeout, connected).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let error = error.to_string();
            return tracing::debug!(%address, error = %crate::printable(&error), "QUIC handshake failed");
        }
        Err(_) => return tracing::debug!(%address, "QUIC handshake took too long"),
    };
    let link = QuicLink::new(connection, None);
    let Some(id) = link.peer_key() else { return };
    admit(shared.clone(), Link::Quic(link), Peer { id, address: Some(address), transport: Transport::Quic })
        .await;
}

/// Asks who the peer is, gives it the credit it deserves, and starts its session.
//= S6.6
async fn admit<C: Send + Sync + 'static>(shared: Arc<Shared<C>>, link: Link, peer: Peer) {
    let slot = match Register::enter(&shared, peer.id, &link, shared.limits.max_connections) {
        Ok(slot) => slot,
        Err(refusal) => return link.close(refusal.code.0, &refusal.message),
    };
    let limit = shared.limits.handshake_timeout;
    match tokio::time::timeout(limit, (shared.authorise)(peer)).await {
        Ok(Ok(Admission::Member(context))) => {
            let limits = &shared.limits;
            link.raise(limits.connection_window, limits.max_exchanges, limits.max_unidirectional);
            begin(&shared, link, peer, context, false, slot);
        }
        Ok(Ok(Admission::Stranger(context))) => {
            let connection = begin(&shared, link, peer, context, true, slot);
            tokio::spawn(end_stranger(connection, peer.id, shared.limits.stranger_timeout));
        }
        Ok(Err(failure)) => link.close(failure.code.0, &failure.message),
        Err(_) => {
            let reason =
                format!("who you are could not be found out within our handshake_timeout of {limit:?}");
            link.close(ErrorCode::HANDSHAKE_TIMEOUT.0, &reason);
        }
    }
}

fn begin<C: Send + Sync + 'static>(
    shared: &Arc<Shared<C>>,
    link: Link,
    peer: Peer,
    context: C,
    stranger: bool,
    slot: Slot<C>,
) -> Connection {
    let connection = Connection::new(link, peer.id, peer.transport, shared.limits.clone(), stranger, false);
    slot.set(&connection);
    session::start(&connection, shared.router.clone(), Arc::new(context), slot);
    connection
}

/// A stranger has a few seconds to enrol.
//= S6.21
async fn end_stranger(connection: Connection, id: KeyId, time: Duration) {
    if tokio::time::timeout(time, connection.closed()).await.is_err() {
        tracing::debug!(peer = %id, "a stranger did not enrol in time");
        let reason = format!("no enrolment within our stranger_timeout of {time:?}");
        connection.abort(ErrorCode::STRANGER_LIMIT, &reason);
    }
}
