//! The native binding: QUIC's own streams and datagrams, by quinn. Spec: chapter 2, "QUIC".

mod congestion;
mod runtime;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hikyaku_wire::recording::Kind;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{
    ConnectionError, IdleTimeout, MtuDiscoveryConfig, ReadError, SendDatagramError, StoppedError, VarInt,
    WriteError,
};

use crate::budget::Windows;
use crate::error::{Closed, ClosedBy, Error};
use crate::events::Refusal;
use crate::identity::{Identity, KeyId};
use crate::limits::{Limits, unauthorised};
use crate::recording::Tap;
use crate::tls::{self, Negotiated};
use crate::transport::{Bidirectional, DatagramError, RecvStream, SendStream, StreamError};

pub(crate) use runtime::Runtime;

/// Datagrams waiting to be sent or read; beyond it quinn drops the oldest received ones.
const DATAGRAM_BUFFER: usize = 1024 * 1024;
/// The largest UDP payload that is looked for on the path, and taken. quinn hands ten packets to one system call, and
/// Linux takes 65,507 bytes in one; a path with Ethernet's 1,500 bytes costs a few lost probes.
const MAX_PACKET: u16 = 6500;
/// Bytes that a peer may send on one stream before they are read, whatever [`Limits::stream_window`] allows: some 1,800
/// of the largest packets, and a gigabit a second over 90 ms.
///
/// quinn keeps what is unread in the pieces it came in. When they are more than 2,048 it copies them into one buffer,
/// which stays until its last byte is read, and takes as much again meanwhile: behind a slow reader a stream would hold
/// twice its window. (A peer that sends small pieces on purpose can still have that, of this window.)
const STREAM_WINDOW: u64 = 11 * 1024 * 1024;
/// How often a side that has closed looks whether the peer has heard of it.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Clone)]
pub(crate) struct QuicLink {
    connection: quinn::Connection,
    /// Kept alive with the connection; a client's endpoint serves this one connection only.
    endpoint: Option<quinn::Endpoint>,
    /// How this side closed it, which quinn does not keep.
    ours: Arc<OnceLock<Closed>>,
    pub(super) tap: Option<Tap>,
}

impl QuicLink {
    pub(crate) fn new(connection: quinn::Connection, endpoint: Option<quinn::Endpoint>) -> Self {
        Self { connection, endpoint, ours: Arc::default(), tap: None }
    }

    /// With a copy of everything for a recording.
    pub(crate) fn tapped(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap;
        self
    }

    /// The peer's key, which the handshake has verified.
    pub(crate) fn peer_key(&self) -> Option<KeyId> {
        let identity = self.connection.peer_identity()?;
        let certificates = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        tls::peer_key(&certificates)
    }

    /// A stream's halves, which are recorded if the connection is.
    pub(super) fn with_tap(&self, (send, receive): (quinn::SendStream, quinn::RecvStream)) -> Bidirectional {
        (SendStream::Quic(send, self.tap.clone()), RecvStream::Quic(receive, self.tap.clone()))
    }

    /// What the handshake agreed on.
    pub(crate) fn negotiated(&self) -> Negotiated {
        let data = self.connection.handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        Negotiated::of_quic(data.map(|data| data.negotiated_key_exchange_group))
    }

    pub(super) async fn open_bi(&self) -> Result<(quinn::SendStream, quinn::RecvStream), Closed> {
        self.connection.open_bi().await.map_err(closed)
    }

    pub(super) async fn open_uni(&self) -> Result<quinn::SendStream, Closed> {
        self.connection.open_uni().await.map_err(closed)
    }

    pub(super) async fn accept_bi(&self) -> Result<(quinn::SendStream, quinn::RecvStream), Closed> {
        self.connection.accept_bi().await.map_err(closed)
    }

    pub(super) async fn accept_uni(&self) -> Result<quinn::RecvStream, Closed> {
        self.connection.accept_uni().await.map_err(closed)
    }

    pub(super) fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let size = datagram.len();
        // quinn would drop its oldest datagram to make room; nothing here is dropped without being told.
        if self.connection.datagram_send_buffer_space() < size {
            return Err(DatagramError::Blocked);
        }
        if let Some(tap) = &self.tap {
            tap.datagram(false, &datagram);
        }
        self.connection.send_datagram(datagram).map_err(|error| match error {
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => DatagramError::Unsupported,
            SendDatagramError::TooLarge => {
                DatagramError::TooLarge { size, limit: self.connection.max_datagram_size().unwrap_or(0) }
            }
            SendDatagramError::ConnectionLost(_) => DatagramError::Closed,
        })
    }

    pub(super) async fn receive_datagram(&self) -> Result<Bytes, Closed> {
        let datagram = self.connection.read_datagram().await.map_err(closed)?;
        if let Some(tap) = &self.tap {
            tap.datagram(true, &datagram);
        }
        Ok(datagram)
    }

    pub(super) fn close(&self, code: u32, reason: &str) {
        // quinn would forget how the connection ended if it was closed again.
        if self.connection.close_reason().is_none() {
            // Of two who close at once the first is remembered; either way it was this side.
            let _ = self.ours.set(Closed::new(code.into(), ClosedBy::Us, reason.to_owned()));
            congestion::lift_limit(&self.connection);
            self.connection.close(code.into(), reason.as_bytes());
        }
    }

    pub(super) async fn closed(&self) -> Closed {
        self.explain(self.connection.closed().await)
    }

    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.connection.close_reason().map(|error| self.explain(error))
    }

    fn explain(&self, error: ConnectionError) -> Closed {
        match (error, self.ours.get()) {
            (ConnectionError::LocallyClosed, Some(ours)) => ours.clone(),
            (error, _) => closed(error),
        }
    }

    /// A client's endpoint has nothing else to send; a server's goes on sending for this connection by itself.
    ///
    /// A close is answered with a close (RFC 9000, 10.2.2). Once the peer's has arrived, first or as that answer, it needs
    /// no other one of ours, and three probe timeouts need not be waited for.
    pub(super) async fn flushed(&self) {
        let Some(endpoint) = &self.endpoint else { return };
        let answered = async {
            while self.connection.stats().frame_rx.connection_close == 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = answered => {}
            () = endpoint.wait_idle() => {}
        }
    }

    pub(super) fn raise(&self, windows: Windows, bidirectional: u64, unidirectional: u64) {
        self.connection.set_max_concurrent_bi_streams(varint(bidirectional));
        self.connection.set_max_concurrent_uni_streams(varint(unidirectional));
        self.connection.set_receive_window(varint(windows.receive));
        self.connection.set_send_window(windows.send);
    }

    pub(super) fn widen(&self, window: u64) {
        self.connection.set_receive_window(varint(window));
    }

    pub(super) fn allow_exchanges(&self, exchanges: u64) {
        self.connection.set_max_concurrent_bi_streams(varint(exchanges));
    }

    pub(super) fn widen_send(&self, window: u64) {
        self.connection.set_send_window(window);
    }

    pub(super) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    pub(super) fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }
}

/// Records what a stream has taken of `before`; `rest` is what is left of it.
pub(super) fn record_written(
    stream: &quinn::SendStream,
    tap: &Option<Tap>,
    before: Option<Bytes>,
    rest: &Bytes,
    written: &Result<quinn::Written, WriteError>,
) {
    let (Some(tap), Some(before)) = (tap, before) else { return };
    let taken = before.len().saturating_sub(rest.len());
    let id = VarInt::from(stream.id()).into_inner();
    tap.bytes(false, Some(id), before.get(..taken).unwrap_or_default());
    if let Err(WriteError::Stopped(code)) = written {
        tap.stream_over(true, id, Kind::Stop, Some(code.into_inner()));
    }
}

/// Records what was read from a stream.
pub(super) fn record_read(
    stream: &quinn::RecvStream,
    tap: &Option<Tap>,
    read: &Result<Option<quinn::Chunk>, ReadError>,
) {
    let Some(tap) = tap else { return };
    let id = VarInt::from(stream.id()).into_inner();
    match read {
        Ok(Some(chunk)) => tap.bytes(true, Some(id), &chunk.bytes),
        Ok(None) => tap.stream_over(true, id, Kind::Fin, None),
        Err(ReadError::Reset(code)) => tap.stream_over(true, id, Kind::Reset, Some(code.into_inner())),
        Err(_) => {}
    }
}

/// Records how one half of a stream ended.
pub(super) fn record_over(
    id: quinn::StreamId,
    tap: &Option<Tap>,
    received: bool,
    kind: Kind,
    code: Option<u64>,
) {
    if let Some(tap) = tap {
        tap.stream_over(received, VarInt::from(id).into_inner(), kind, code);
    }
}

/// What a server's QUIC socket is configured with.
pub(crate) fn server_config(
    tls: rustls::ServerConfig,
    limits: &Limits,
) -> Result<quinn::ServerConfig, Error> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|e| Error::Tls(e.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits, Side::Server)));
    config.max_incoming(limits.max_unauthenticated);
    config.incoming_buffer_size_total(1024 * 1024);
    config.migration(true);
    Ok(config)
}

/// What a server's QUIC endpoint is configured with: it must be the same again after a restart. Packets of a connection
/// that a former process had are answered with a stateless reset (RFC 9000, 10.3), which the client believes only when
/// its token is made with the key of then; without it the client would wait for its idle timeout.
pub(crate) fn endpoint_config(identity: &Identity) -> quinn::EndpointConfig {
    let mut config = quinn::EndpointConfig::new(Arc::new(identity.derive("quic stateless reset")));
    // quinn's own ids are checked against a key of the process, and strangers' packets dropped without an answer.
    config.cid_generator(|| Box::new(ConnectionIds));
    with_large_packets(config)
}

/// Connection ids that are random bytes and nothing else.
struct ConnectionIds;

impl ConnectionIds {
    const LENGTH: usize = 8;
}

impl quinn::ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; Self::LENGTH];
        // quinn only asks for ids that differ from those in use. Without random numbers no handshake succeeds.
        let _ = aws_lc_rs::rand::fill(&mut id);
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        Self::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// What a client's QUIC socket is configured with.
pub(crate) fn client_config(
    tls: rustls::ClientConfig,
    limits: &Limits,
) -> Result<quinn::ClientConfig, Error> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|e| Error::Tls(e.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits, Side::Client)));
    Ok(config)
}

/// What a client's UDP socket is configured with.
pub(crate) fn client_endpoint_config() -> quinn::EndpointConfig {
    with_large_packets(quinn::EndpointConfig::default())
}

fn with_large_packets(mut config: quinn::EndpointConfig) -> quinn::EndpointConfig {
    config.max_udp_payload_size(MAX_PACKET).expect("the constant is larger than 1,200");
    config
}

#[derive(PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// A client has pinned its server, so the server is authorised from the first byte; a server's peer is a stranger
/// until it was looked up, and starts with next to nothing.
fn transport(limits: &Limits, side: Side) -> quinn::TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MAX_PACKET);
    let mut config = quinn::TransportConfig::default();
    config
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion::Factory::default()))
        .stream_receive_window(varint(limits.stream_window.min(STREAM_WINDOW)))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .max_idle_timeout(IdleTimeout::try_from(limits.idle_timeout).ok());
    let (window, exchanges, unidirectional) = match side {
        Side::Client => {
            config.keep_alive_interval(Some(limits.keep_alive));
            (limits.connection_window, limits.max_exchanges, limits.max_unidirectional)
        }
        Side::Server => (unauthorised::WINDOW, unauthorised::EXCHANGES, unauthorised::UNIDIRECTIONAL),
    };
    config
        .receive_window(varint(window))
        .send_window(window)
        .max_concurrent_bidi_streams(varint(exchanges))
        .max_concurrent_uni_streams(varint(unidirectional));
    config
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

/// Why a handshake failed: QUIC's CRYPTO_ERROR carries the TLS alert (RFC 9001, 4.8).
pub(crate) fn refusal(error: &ConnectionError) -> Refusal {
    /// bad_certificate up to unknown_ca, and certificate_required (RFC 8446, 6.2).
    const CERTIFICATE: [u64; 9] = [42, 43, 44, 45, 46, 48, 49, 51, 116];
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    let ConnectionError::TransportError(error) = error else { return Refusal::Handshake };
    match u64::from(error.code).checked_sub(0x100) {
        Some(NO_APPLICATION_PROTOCOL) => Refusal::Alpn,
        Some(alert) if CERTIFICATE.contains(&alert) => Refusal::Identity,
        _ => Refusal::Handshake,
    }
}

pub(crate) fn closed(error: ConnectionError) -> Closed {
    let (code, by, reason) = match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            (close.error_code.into_inner(), ClosedBy::Peer, reason)
        }
        ConnectionError::LocallyClosed => (0, ClosedBy::Us, String::new()),
        ConnectionError::TimedOut => (0, ClosedBy::Idle, String::new()),
        ConnectionError::Reset => (0, ClosedBy::Transport, "the peer has forgotten this connection".into()),
        other => (0, ClosedBy::Transport, other.to_string()),
    };
    Closed::new(code, by, reason)
}

pub(super) fn write_error(error: WriteError) -> StreamError {
    match error {
        WriteError::Stopped(code) => StreamError::Stopped(code.into_inner()),
        WriteError::ConnectionLost(error) => StreamError::Lost(closed(error)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => StreamError::Ended,
    }
}

pub(super) fn read_error(error: ReadError) -> StreamError {
    match error {
        ReadError::Reset(code) => StreamError::Reset(code.into_inner()),
        ReadError::ConnectionLost(error) => StreamError::Lost(closed(error)),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            StreamError::Ended
        }
    }
}

pub(super) fn done(result: Result<Option<VarInt>, StoppedError>) -> Result<(), StreamError> {
    match result {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(StreamError::Stopped(code.into_inner())),
        Err(StoppedError::ConnectionLost(error)) => Err(StreamError::Lost(closed(error))),
        Err(StoppedError::ZeroRttRejected) => Err(StreamError::Ended),
    }
}
