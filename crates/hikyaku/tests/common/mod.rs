//! A server and a client over each transport, for tests that promise the same of all of them.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use hikyaku::{Admission, Connection, Exchange, Identity, Limits, Result, Router, Server, Transport, local};

pub const ALL: [Transport; 3] = [Transport::Tcp, Transport::Quic, Transport::Local];

/// Keeps the server running while the connection is used.
pub struct Pair {
    pub server: Server,
    pub client: Connection,
}

pub async fn pair(transport: Transport, router: Router) -> Pair {
    pair_with(transport, router, Router::new(), Limits::default()).await
}

pub async fn pair_with(transport: Transport, router: Router, of_client: Router, limits: Limits) -> Pair {
    let server =
        Server::builder(Identity::generate().unwrap()).limits(limits).router(router).start().await.unwrap();
    let client = match transport {
        Transport::Local => {
            let (client, io) = tokio::io::duplex(4096);
            server.serve_io(io, Identity::generate().unwrap().id(), ());
            local::connect(client, of_client, Limits::default()).await.unwrap()
        }
        transport => hikyaku::connect(server.address(), server.id())
            .transport(transport)
            .router(of_client)
            .await
            .unwrap(),
    };
    Pair { server, client }
}

/// Answers every message with itself.
pub async fn echo(mut exchange: Exchange) -> Result<()> {
    while let Some(incoming) = exchange.next().await? {
        match incoming {
            hikyaku::Incoming::Message(item) => exchange.send_encoded(&item).await?,
            hikyaku::Incoming::Data(data) => exchange.send_data(data).await?,
        }
    }
    exchange.finish().await
}

/// A server that takes everybody for a stranger.
pub async fn strangers_only(router: Router) -> Server {
    Server::builder(Identity::generate().unwrap())
        .authorize(|_| async { Ok(Admission::Stranger(())) })
        .router(router)
        .start()
        .await
        .unwrap()
}
