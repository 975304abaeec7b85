//! Ours: one connection, an exchange per call, a CBOR byte string each way.

use bench_common::{Ready, Result, signal_ready};
use hikyaku::{Connection, Exchange, Identity, Router, Server, Transport};
use minicbor::bytes::{ByteArray, ByteVec};

use crate::load::{BYTES, Caller, MESSAGE};

const PROTOCOL: &str = "echo/1";

async fn echo(mut exchange: Exchange) -> hikyaku::Result<()> {
    let message: ByteVec = exchange.receive().await?;
    exchange.reply(&message).await
}

pub async fn serve() -> Result<()> {
    let router = Router::new().route(PROTOCOL, echo);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;
    signal_ready(server.address(), &server.id().to_string()).await
}

pub struct OurCaller(Connection);

pub async fn callers(ready: &Ready, count: usize, transport: Transport) -> Result<Vec<OurCaller>> {
    let connection = hikyaku::connect(ready.address, ready.trust.parse()?).transport(transport).await?;
    Ok((0..count).map(|_| OurCaller(connection.clone())).collect())
}

impl Caller for OurCaller {
    async fn call(&mut self) -> Result<()> {
        let answer: ByteArray<BYTES> = self.0.call(PROTOCOL, "", &ByteArray::from(MESSAGE)).await?;
        if answer[..] == MESSAGE { Ok(()) } else { Err("another answer".into()) }
    }
}
