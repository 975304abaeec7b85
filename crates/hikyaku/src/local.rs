//! Connections over a byte stream of the program's own: a pipe in memory, a Unix socket. The program vouches for the
//! peer; everything above is the same as on the network. Spec: chapter 2, "QMux on a byte stream".

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::budget::{Share, Windows};
use crate::connection::{Connection, Setup};
use crate::error::Result;
use crate::events::Recorder;
use crate::identity::KeyId;
use crate::limits::Limits;
use crate::router::Router;
use crate::session;
use crate::transport::mux::{MuxLink, Side};
use crate::transport::{Link, Transport};

/// Bytes a pipe in memory holds in each direction.
const PIPE: usize = 64 * 1024;
/// The key of a peer that needs none.
const NOBODY: KeyId = KeyId::from_bytes([0; 32]);

/// Connects over `io` as the client.
pub async fn connect<S>(io: S, router: Router, limits: Limits) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = link(io, Side::Client, NOBODY, limits.within_bounds(), Recorder::endpoint(None));
    session::start(&connection, Arc::new(router), Arc::new(()), ());
    session::established(&connection).await?;
    Ok(connection)
}

/// Serves one connection over `io`: whoever is at the other end is `peer`, with this context.
pub fn serve<S, C>(io: S, peer: KeyId, context: C, router: Arc<Router<C>>, limits: Limits) -> Connection
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Send + Sync + 'static,
{
    let connection = accept(io, peer, limits, Recorder::endpoint(None));
    session::start(&connection, router, Arc::new(context), ());
    connection
}

/// A server's side of a connection whose session has not begun.
pub(crate) fn accept<S>(io: S, peer: KeyId, limits: Limits, events: Arc<Recorder>) -> Connection
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = limits.within_bounds();
    let (window, exchanges, unidirectional) =
        (limits.connection_window, limits.max_exchanges, limits.max_unidirectional);
    let connection = link(io, Side::Server, peer, limits, events);
    // The budget of its own has room for both.
    let windows = Windows { receive: window, send: window };
    connection.link().raise(windows, exchanges, unidirectional);
    connection
}

/// A client of `router` inside this process: the whole protocol without a network. For tests and for embedding.
///
/// ```
/// # use hikyaku::{Exchange, Result, Router, local};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let router = Router::new().route("hello/1", async |mut exchange: Exchange| {
///     let name: String = exchange.receive().await?;
///     exchange.reply(&format!("Hello, {name}")).await
/// });
/// let connection = local::pair(router, ()).await?;
/// let answer: String = connection.call("hello/1", "", &"World").await?;
/// assert_eq!(answer, "Hello, World");
/// # Ok::<(), hikyaku::Error>(()) }).unwrap();
/// ```
pub async fn pair<C: Send + Sync + 'static>(router: Router<C>, context: C) -> Result<Connection> {
    let (client, server) = tokio::io::duplex(PIPE);
    serve(server, NOBODY, context, Arc::new(router), Limits::default());
    connect(client, Router::new(), Limits::default()).await
}

fn link<S>(io: S, side: Side, peer: KeyId, limits: Limits, events: Arc<Recorder>) -> Connection
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = Link::Mux(MuxLink::spawn(io, side, &limits, None));
    let setup = Setup {
        transport: Transport::Local,
        // The program vouches for the peer: it shares a budget with nobody.
        share: Share::alone(&limits, Instant::now()),
        limits: Arc::new(limits),
        stranger: false,
        close_on_drop: side == Side::Client,
        events,
        negotiated: None,
        tap: None,
    };
    Connection::new(link, peer, setup)
}
