//! One attempt to connect: one address, one transport, from the socket to the server's HELLO.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustls::pki_types::ServerName;

use super::Target;
use crate::budget::Share;
use crate::connection::{Connection, Setup};
use crate::error::{Error, Result};
use crate::events::Recorder;
use crate::identity::{Identity, KeyId};
use crate::key_log::KeyLog;
use crate::limits::Limits;
use crate::recording::{Recording, Tap};
use crate::router::Router;
use crate::session;
use crate::tls::{self, Negotiated};
use crate::transport::mux::{MuxLink, Side};
use crate::transport::tls_stream::TlsStream;
use crate::transport::{Link, Transport, quic, socket};

/// What all attempts share.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) identity: Identity,
    pub(super) pin: KeyId,
    pub(super) limits: Arc<Limits>,
    pub(super) router: Arc<Router>,
    pub(super) events: Arc<Recorder>,
    pub(super) key_log: Option<KeyLog>,
    pub(super) recording: Option<Recording>,
}

/// A connection whose handshake is done.
struct Linked {
    link: Link,
    negotiated: Negotiated,
    tap: Option<Tap>,
}

impl Attempt {
    /// Connects until the server's HELLO is there.
    pub(super) async fn run(self, target: Target) -> Result<Connection> {
        let found = Arc::new(OnceLock::new());
        let events = self.events.connection();
        let Target { transport, address } = target;
        let linked = match target.transport {
            Transport::Quic => self.quic(address, found.clone(), &events).await,
            _ => self.tcp(address, found.clone(), &events).await,
        };
        let Linked { link, negotiated, tap } = linked.map_err(|error| match found.get() {
            Some(found) => Error::IdentityRefused { expected: self.pin, found: *found },
            None => error,
        })?;
        negotiated.record(&events, transport, address, self.pin);
        let setup = Setup {
            transport,
            share: Share::alone(&self.limits, Instant::now()),
            limits: self.limits,
            stranger: false,
            close_on_drop: true,
            events,
            negotiated: Some(negotiated),
            tap,
        };
        let connection = Connection::new(link, self.pin, setup);
        session::start(&connection, self.router, Arc::new(()), ());
        session::established(&connection).await?;
        Ok(connection)
    }

    fn tap(&self, events: &Recorder, transport: Transport, address: SocketAddr) -> Option<Tap> {
        let what = || format!("client over {transport} to {address}, key {}", self.pin);
        self.recording.as_ref().map(|recording| recording.begin(events.number(), what()))
    }

    async fn tcp(
        &self,
        address: SocketAddr,
        found: Arc<OnceLock<KeyId>>,
        events: &Recorder,
    ) -> Result<Linked> {
        let io = |error| Error::io(format!("connecting to {address}"), error);
        let config =
            tls::client_config(&self.identity, self.pin, found, tls::ALPN_TCP, self.key_log.as_ref())
                .map_err(|error| Error::Tls(error.to_string()))?;
        let stream = socket::connect(address).await.map_err(io)?;
        socket::tune_tcp(&stream).map_err(io)?;
        let connecting = TlsStream::connect(stream, server_name(), Arc::new(config));
        let stream = connecting.await.map_err(|error| Error::Tls(error.to_string()))?;
        // A server that does not know our protocol's name is not a Hikyaku server.
        if stream.session().alpn_protocol() != Some(tls::ALPN_TCP) {
            return Err(Error::Tls("the server chose no application protocol".to_owned()));
        }
        let negotiated = Negotiated::of_tls(stream.session());
        let tap = self.tap(events, Transport::Tcp, address);
        let link = MuxLink::spawn_tapped(stream, Side::Client, &self.limits, Some(address), tap.clone());
        Ok(Linked { link: Link::Mux(link), negotiated, tap })
    }

    async fn quic(
        &self,
        address: SocketAddr,
        found: Arc<OnceLock<KeyId>>,
        events: &Recorder,
    ) -> Result<Linked> {
        let io = |error| Error::io(format!("connecting to {address}"), error);
        let tls = tls::client_config(&self.identity, self.pin, found, tls::ALPN_QUIC, self.key_log.as_ref())
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
        let tap = self.tap(events, Transport::Quic, address);
        Ok(Linked { link: Link::Quic(link.tapped(tap.clone())), negotiated, tap })
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
