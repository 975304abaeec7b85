//! Bare tokio-rustls.

use std::sync::Arc;

use bench_common::{Ready, Result, Trust, announce, identity};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::load::{BLOCK, Sink};

pub async fn serve() -> Result<()> {
    let (listener, acceptor) = listen().await?;
    loop {
        let mut stream = accept(&listener, &acceptor).await?;
        let mut buffer = vec![0; BLOCK];
        let mut arrived = 0_u64;
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => arrived += count as u64,
            }
        }
        stream.write_u64(arrived).await?;
        stream.shutdown().await?;
    }
}

pub async fn listen() -> Result<(TcpListener, TlsAcceptor)> {
    let (pem, key) = identity()?;
    let acceptor = TlsAcceptor::from(Arc::new(Trust::server(&pem, &key, b"bulk")?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?, &Trust::of(&pem));
    Ok((listener, acceptor))
}

pub async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> Result<TlsStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(acceptor.accept(stream).await?.into())
}

pub async fn dial(ready: &Ready) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(Trust::read(&ready.trust)?.client(b"bulk")?));
    let stream = TcpStream::connect(ready.address).await?;
    stream.set_nodelay(true)?;
    Ok(connector.connect("localhost".try_into()?, stream).await?.into())
}

pub struct TlsSink(TlsStream<TcpStream>);

pub async fn connect(ready: &Ready) -> Result<TlsSink> {
    Ok(TlsSink(dial(ready).await?))
}

impl Sink for TlsSink {
    async fn send(&mut self, block: Bytes) -> Result<()> {
        Ok(self.0.write_all(&block).await?)
    }

    async fn end(mut self) -> Result<u64> {
        // Half of the connection: the other one brings the answer.
        self.0.shutdown().await?;
        Ok(self.0.read_u64().await?)
    }
}
