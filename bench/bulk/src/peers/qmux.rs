//! The crate `qmux`, on the same TLS stream as the bare one and with our windows.

use bench_common::{Ready, Result};
use bytes::Bytes;
use qmux::transport::Stream;
use qmux::{Config, RecvStream, SendStream, Session, Version};
use web_transport_trait::{RecvStream as _, SendStream as _, Session as _};

use super::{ours, tls};
use crate::load::{BLOCK, Sink};

fn config() -> Config {
    let limits = ours::limits();
    let mut config = Config::new(Version::QMux02);
    config.max_data = limits.connection_window;
    config.max_stream_data_bidi_local = limits.stream_window;
    config.max_stream_data_bidi_remote = limits.stream_window;
    config
}

pub async fn serve() -> Result<()> {
    let (listener, acceptor) = tls::listen().await?;
    loop {
        let stream = tls::accept(&listener, &acceptor).await?;
        let config = config();
        let session =
            Session::accept(Stream::new(stream, config.version, config.max_record_size), config).await?;
        let (mut send, mut receive) = session.accept_bi().await?;
        let mut arrived = 0_u64;
        while let Some(chunk) = receive.read_chunk(BLOCK).await? {
            arrived += chunk.len() as u64;
        }
        send.write_all(&arrived.to_be_bytes()).await?;
        send.finish()?;
        session.closed().await;
    }
}

pub struct QmuxSink {
    session: Session,
    send: SendStream,
    receive: RecvStream,
}

pub async fn connect(ready: &Ready) -> Result<QmuxSink> {
    let config = config();
    let stream = Stream::new(tls::dial(ready).await?, config.version, config.max_record_size);
    let session = Session::connect(stream, config).await?;
    let (send, receive) = session.open_bi().await?;
    Ok(QmuxSink { session, send, receive })
}

impl Sink for QmuxSink {
    async fn send(&mut self, block: Bytes) -> Result<()> {
        Ok(self.send.write_chunk(block).await?)
    }

    async fn end(mut self) -> Result<u64> {
        self.send.finish()?;
        let answer = self.receive.read_all().await?;
        self.session.close(0, "done");
        Ok(u64::from_be_bytes(answer.as_ref().try_into()?))
    }
}
