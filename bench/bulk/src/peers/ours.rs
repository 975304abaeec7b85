//! Ours: one exchange, DATA frames of one block each.

use bench_common::{Ready, Result, signal_ready};
use bytes::Bytes;
use hikyaku::{Connection, Exchange, Identity, Incoming, Limits, Router, Server, Transport};

use crate::load::Sink;

const PROTOCOL: &str = "bulk/1";

/// The limits of both ends, after which the windows of the others are set.
pub fn limits() -> Limits {
    Limits::default()
}

async fn receive(mut exchange: Exchange) -> hikyaku::Result<()> {
    let mut arrived = 0_u64;
    while let Some(Incoming::Data(chunk)) = exchange.next().await? {
        arrived += chunk.len() as u64;
    }
    exchange.reply(&arrived).await
}

pub async fn serve() -> Result<()> {
    let router = Router::new().route(PROTOCOL, receive);
    let server = Server::builder(Identity::generate()?).limits(limits()).router(router).start().await?;
    signal_ready(server.address(), &server.id().to_string()).await
}

pub struct OurSink {
    exchange: Exchange,
    /// Held so that it is not closed.
    _connection: Connection,
}

pub async fn connect(ready: &Ready, transport: Transport) -> Result<OurSink> {
    let connection =
        hikyaku::connect(ready.address, ready.trust.parse()?).limits(limits()).transport(transport).await?;
    Ok(OurSink { exchange: connection.open(PROTOCOL, "").await?, _connection: connection })
}

impl Sink for OurSink {
    async fn send(&mut self, block: Bytes) -> Result<()> {
        Ok(self.exchange.send_data(block).await?)
    }

    async fn end(mut self) -> Result<u64> {
        self.exchange.finish().await?;
        let arrived = self.exchange.receive().await?;
        self.exchange.ended().await?;
        Ok(arrived)
    }
}
