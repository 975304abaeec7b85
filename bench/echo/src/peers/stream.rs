//! Bare byte streams, with TLS and without: a connection per caller, the message as it is.

use std::sync::Arc;

use bench_common::{Ready, Result, Trust, announce, identity};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::load::{BYTES, Caller, MESSAGE};

pub async fn serve() -> Result<()> {
    let (pem, key) = identity()?;
    let acceptor = TlsAcceptor::from(Arc::new(Trust::server(&pem, &key, b"echo")?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?, &Trust::of(&pem));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move { answer(acceptor.accept(stream).await?).await });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..received]).await?;
        stream.flush().await?;
    }
}

/// One connection.
pub struct StreamCaller<S>(S);

pub async fn tls_callers(ready: &Ready, count: usize) -> Result<Vec<StreamCaller<TlsStream<TcpStream>>>> {
    let connector = TlsConnector::from(Arc::new(Trust::read(&ready.trust)?.client(b"echo")?));
    let mut callers = Vec::new();
    for _ in 0..count {
        let stream = connect(ready).await?;
        callers.push(StreamCaller(connector.connect("localhost".try_into()?, stream).await?));
    }
    Ok(callers)
}

pub async fn plain_callers(ready: &Ready, count: usize) -> Result<Vec<StreamCaller<TcpStream>>> {
    let mut callers = Vec::new();
    for _ in 0..count {
        callers.push(StreamCaller(connect(ready).await?));
    }
    Ok(callers)
}

async fn connect(ready: &Ready) -> Result<TcpStream> {
    let stream = TcpStream::connect(ready.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Caller for StreamCaller<S> {
    async fn call(&mut self) -> Result<()> {
        let mut answer = [0; BYTES];
        self.0.write_all(&MESSAGE).await?;
        self.0.flush().await?;
        self.0.read_exact(&mut answer).await?;
        if answer == MESSAGE { Ok(()) } else { Err("another answer".into()) }
    }
}
