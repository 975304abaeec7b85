//! One connection of an attacker over either transport, with what both can do.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use hikyaku_mux::{Config, Dir, ReadError, StreamId};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::attacker::{Attacker, Talk, control};

/// A connection and the streams that it keeps.
pub(crate) struct Line {
    over: Over,
    /// Dropping one would end it.
    kept: Vec<Stream>,
}

enum Over {
    Tcp(Box<Talk<TlsStream<TcpStream>>>),
    Quic(quinn::Connection),
}

/// A stream of one line.
pub(crate) enum Stream {
    Tcp(StreamId),
    Quic(quinn::SendStream, Option<quinn::RecvStream>),
}

/// Streams are asked only on the line that opened them.
const OTHERS: &str = "a stream belongs to its line, and an answer to a bidirectional stream";

impl Line {
    /// Comes as far as the streams, over QUIC or TCP, and gives each of the server's so much credit.
    pub(crate) async fn reach(who: &Attacker, from: Ipv4Addr, quic: bool, window: u64) -> io::Result<Self> {
        let over = if quic {
            Over::Quic(who.connect_quic(from, window).await?)
        } else {
            let stream = who.handshake(who.dial(from, true).await?).await?;
            let config = Config { stream_receive_window: window, ..Config::default() };
            Over::Tcp(Box::new(Talk::with(stream, config)))
        };
        Ok(Self { over, kept: Vec::new() })
    }

    /// What is below the streams, over TCP.
    pub(crate) fn tcp(&mut self) -> Option<&mut Talk<TlsStream<TcpStream>>> {
        match &mut self.over {
            Over::Tcp(talk) => Some(talk),
            Over::Quic(_) => None,
        }
    }

    /// Says HELLO, and keeps the control stream.
    pub(crate) async fn greet(&mut self) -> io::Result<()> {
        let mut stream = self.open(Dir::Uni).await?;
        self.write(&mut stream, &control()).await?;
        self.keep(stream);
        Ok(())
    }

    /// A stream that nothing more is done with and that stays.
    pub(crate) fn keep(&mut self, stream: Stream) {
        self.kept.push(stream);
    }

    pub(crate) async fn open(&mut self, dir: Dir) -> io::Result<Stream> {
        Ok(match (&mut self.over, dir) {
            (Over::Tcp(talk), dir) => Stream::Tcp(talk.open(dir).await?),
            (Over::Quic(connection), Dir::Bi) => {
                let (send, receive) = connection.open_bi().await?;
                Stream::Quic(send, Some(receive))
            }
            (Over::Quic(connection), Dir::Uni) => Stream::Quic(connection.open_uni().await?, None),
        })
    }

    pub(crate) async fn write(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        self.write_shared(stream, Bytes::copy_from_slice(bytes)).await
    }

    /// The same, of bytes that many have in common.
    pub(crate) async fn write_shared(&mut self, stream: &mut Stream, bytes: Bytes) -> io::Result<()> {
        match (&mut self.over, stream) {
            (Over::Tcp(talk), Stream::Tcp(id)) => talk.write_shared(*id, bytes).await,
            (Over::Quic(_), Stream::Quic(send, _)) => Ok(send.write_chunk(bytes).await?),
            _ => unreachable!("{OTHERS}"),
        }
    }

    /// The next bytes of an answer, so many at most; none at its end.
    pub(crate) async fn read(&mut self, stream: &mut Stream, most: usize) -> io::Result<Option<Bytes>> {
        match (&mut self.over, stream) {
            (Over::Tcp(talk), Stream::Tcp(id)) => loop {
                match talk.mux.read(*id, most) {
                    Ok(some) => return Ok(some),
                    Err(ReadError::Blocked) => {
                        talk.send().await?;
                        talk.receive().await?;
                    }
                    Err(_) => return Ok(None),
                }
            },
            (Over::Quic(_), Stream::Quic(_, Some(receive))) => match receive.read_chunk(most, true).await {
                Ok(some) => Ok(some.map(|chunk| chunk.bytes)),
                Err(quinn::ReadError::ConnectionLost(lost)) => Err(lost.into()),
                Err(_) => Ok(None),
            },
            _ => unreachable!("{OTHERS}"),
        }
    }

    /// Lets a time go by, and takes in what comes.
    pub(crate) async fn wait(&mut self, time: Duration) -> io::Result<()> {
        let time = tokio::time::sleep(time);
        match &mut self.over {
            Over::Tcp(talk) => {
                tokio::pin!(time);
                loop {
                    tokio::select! {
                        () = &mut time => return talk.send().await,
                        received = talk.receive() => received?,
                    }
                }
            }
            Over::Quic(connection) => {
                tokio::select! {
                    () = time => Ok(()),
                    closed = connection.closed() => Err(closed.into()),
                }
            }
        }
    }
}
