//! Bare QUIC: one connection, a bidirectional stream per call.

use std::sync::Arc;

use bench_common::{Ready, Result, Trust, announce, identity};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use crate::load::{BYTES, Caller, MESSAGE};

pub async fn serve() -> Result<()> {
    let (pem, key) = identity()?;
    let crypto = QuicServerConfig::try_from(Trust::server(&pem, &key, b"echo")?)?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    announce(endpoint.local_addr()?, &Trust::of(&pem));
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((send, receive)) = connection.accept_bi().await {
                tokio::spawn(answer(send, receive));
            }
            Ok::<_, quinn::ConnectionError>(())
        });
    }
    Ok(())
}

async fn answer(mut send: quinn::SendStream, mut receive: quinn::RecvStream) -> Result<()> {
    let message = receive.read_to_end(BYTES).await?;
    send.write_all(&message).await?;
    Ok(send.finish()?)
}

pub struct QuicCaller {
    connection: quinn::Connection,
    /// Keeps the socket open.
    _endpoint: quinn::Endpoint,
}

pub async fn callers(ready: &Ready, count: usize) -> Result<Vec<QuicCaller>> {
    let crypto = QuicClientConfig::try_from(Trust::read(&ready.trust)?.client(b"echo")?)?;
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = endpoint.connect_with(config, ready.address, "localhost")?.await?;
    let caller = || QuicCaller { connection: connection.clone(), _endpoint: endpoint.clone() };
    Ok((0..count).map(|_| caller()).collect())
}

impl Caller for QuicCaller {
    async fn call(&mut self) -> Result<()> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&MESSAGE).await?;
        send.finish()?;
        let answer = receive.read_to_end(BYTES).await?;
        if answer == MESSAGE { Ok(()) } else { Err("another answer".into()) }
    }
}
