//! Peers that say what a test wants: keys and TLS of `hikyaku-peers`, QMux by the state machine of `hikyaku-mux`, and above it any
//! bytes.

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use hikyaku::{ErrorCode, Exchange, Identity, KeyId, Limits, Result, Router, Server};
use hikyaku_mux::{CloseReason, Config, Connection, Dir, Event, Side, StreamId};
use hikyaku_wire::exchange::Failure;
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::Hello;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

pub use hikyaku_peers::*;

/// What the library calls a key.
pub trait Known {
    /// Its id.
    fn id(&self) -> KeyId;
    /// The same key, for the library to use.
    fn identity(&self) -> Identity;
}

impl Known for Key {
    fn id(&self) -> KeyId {
        KeyId::from_bytes(self.digest())
    }

    fn identity(&self) -> Identity {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        std::fs::write(&path, self.pem()).unwrap();
        Identity::load(&path).unwrap()
    }
}

/// How a connection ended, as the peer in the test saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: ErrorCode,
    pub reason: String,
}

/// A peer that keeps the rules of QMux and may break all others.
pub struct Raw<S> {
    io: S,
    pub mux: Connection,
    /// The peer's control stream, and this side's, once they are open.
    pub control: Option<StreamId>,
    pub own_control: Option<StreamId>,
}

impl Raw<ClientStream> {
    /// A client of `server` that has said nothing yet.
    pub async fn client(address: SocketAddr, key: &Key) -> Self {
        let stream = tls_to(address, client_tls(Some(key), &[ALPN])).await.unwrap();
        Self::over(stream, Side::Client).await
    }

    /// A client with a key of its own that has said HELLO and heard the server's.
    pub async fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::client(address, &Key::new()).await;
        raw.greet().await;
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn over(io: S, side: Side) -> Self {
        Self::with(io, side, Config::default()).await
    }

    /// The same, with other limits of its own.
    pub async fn with(io: S, side: Side, config: Config) -> Self {
        let mux = Connection::new(side, config, Instant::now());
        let mut raw = Self { io, mux, control: None, own_control: None };
        raw.until(|mux| (mux.max_datagram_size().is_some() || mux.close_reason().is_some()).then_some(()))
            .await;
        raw
    }

    /// Moves bytes until `done` gives something.
    pub async fn until<T>(&mut self, mut done: impl FnMut(&mut Connection) -> Option<T>) -> T {
        soon(async {
            loop {
                self.flush().await;
                if let Some(found) = done(&mut self.mux) {
                    self.flush().await;
                    return found;
                }
                if !self.hear_once().await {
                    let Some(found) = done(&mut self.mux) else {
                        panic!("nothing more comes: {:?}", self.mux.close_reason())
                    };
                    return found;
                }
            }
        })
        .await
    }

    /// Takes in what the next read gives. Whether more may come.
    pub async fn hear_once(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.io.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                self.mux.handle_end(Instant::now());
                false
            }
            Ok(count) => {
                self.mux.handle_input(Instant::now(), Bytes::from(buffer).slice(..count));
                true
            }
        }
    }

    /// Sends what there is to be sent. A peer that has hung up already is met when reading.
    pub async fn flush(&mut self) {
        let mut out = Vec::new();
        while self.mux.poll_transmit(Instant::now(), &mut out, 1 << 16) {}
        if self.io.write_all(&out).await.is_ok() {
            let _ = self.io.flush().await;
        }
    }

    /// Bytes below QMux: whatever the test wants in the middle of the records.
    pub async fn write_below(&mut self, bytes: &[u8]) {
        self.flush().await;
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Opens a stream and says `bytes` on it.
    pub async fn say(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        let id = self.until(|mux| mux.open(dir)).await;
        self.say_on(id, bytes).await;
        id
    }

    pub async fn say_on(&mut self, id: StreamId, bytes: &[u8]) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            // Blocked means: first the peer has to take some. An ended connection is the test's to notice.
            match self.mux.write(id, &mut bytes) {
                Ok(_) => self.flush().await,
                Err(_) if self.mux.close_reason().is_some() => return,
                Err(_) => {
                    self.hear_once().await;
                }
            }
        }
        self.flush().await;
    }

    /// Says bytes on a new bidirectional stream and ends it.
    pub async fn ask(&mut self, bytes: &[u8]) -> StreamId {
        let id = self.say(Dir::Bi, bytes).await;
        let _ = self.mux.finish(id);
        self.flush().await;
        id
    }

    /// A control stream with a decent HELLO; then waits for the peer's.
    pub async fn greet(&mut self) -> StreamId {
        let control = self.say(Dir::Uni, &control(&[(FrameType::HELLO, &hello().encode())])).await;
        self.own_control = Some(control);
        self.hear_hello().await;
        control
    }

    /// The peer's HELLO.
    pub async fn hear_hello(&mut self) -> Hello {
        let control = self.until(|mux| mux.accept(Dir::Uni)).await;
        self.control = Some(control);
        let mut heard = Vec::new();
        self.until(|mux| {
            while let Ok(Some(bytes)) = mux.read(control, 1024) {
                heard.extend_from_slice(&bytes);
            }
            let mut decoder = Decoder::new(FrameLimits::default());
            decoder.push(Bytes::copy_from_slice(heard.get(1..)?));
            match decoder.next() {
                Ok(Some(Piece::Frame { ty: FrameType::HELLO, payload })) => {
                    Some(Hello::decode(&payload).unwrap())
                }
                _ => None,
            }
        })
        .await
    }

    /// Everything until the stream's end, or the code it was reset with.
    pub async fn hear(&mut self, id: StreamId) -> Result<Vec<u8>, u64> {
        let mut heard = Vec::new();
        self.until(|mux| {
            loop {
                match mux.read(id, 1 << 16) {
                    Ok(Some(bytes)) => heard.extend_from_slice(&bytes),
                    Ok(None) => return Some(Ok(std::mem::take(&mut heard))),
                    Err(hikyaku_mux::ReadError::Reset(code)) => return Some(Err(code)),
                    Err(hikyaku_mux::ReadError::Blocked) => return None,
                    Err(error) => panic!("the stream is gone: {error} {:?}", mux.close_reason()),
                }
            }
        })
        .await
    }

    /// The ERROR that ends the stream.
    pub async fn hear_failure(&mut self, id: StreamId) -> Failure {
        let heard = self.hear(id).await.expect("the stream ends");
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(heard.into());
        loop {
            match decoder.next() {
                Ok(Some(Piece::Frame { ty: FrameType::ERROR, payload })) => {
                    return Failure::decode(&payload).unwrap();
                }
                Ok(Some(_)) => {}
                other => panic!("no ERROR: {other:?}"),
            }
        }
    }

    /// The code with which the peer stopped reading a stream.
    pub async fn hear_stop(&mut self, id: StreamId) -> u64 {
        self.event(|event| match event {
            Event::Stopped { id: stopped, code } if stopped == id => Some(code),
            _ => None,
        })
        .await
    }

    /// The first event that `wanted` takes; those before it are gone.
    pub async fn event<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        self.until(|mux| std::iter::from_fn(|| mux.poll_event()).find_map(&mut wanted)).await
    }

    /// There and back once: whatever the peer was about to send has arrived.
    pub async fn ping(&mut self) {
        self.mux.ping(Instant::now());
        self.event(|event| matches!(event, Event::Pong { .. }).then_some(())).await;
    }

    /// How the peer closed the connection: by the session's own codes.
    pub async fn ended(&mut self) -> Ended {
        match self.until(|mux| mux.close_reason().cloned()).await {
            CloseReason::Application { code, reason } => Ended {
                code: ErrorCode::from_wire(code),
                reason: String::from_utf8(reason.to_vec()).unwrap(),
            },
            other => panic!("the peer did not close the connection: {other:?}"),
        }
    }

    /// How the connection ended, whoever ended it and by whatever rule.
    pub async fn close_reason(&mut self) -> CloseReason {
        self.until(|mux| mux.close_reason().cloned()).await
    }

    /// That the connection lives: one more echo goes through.
    pub async fn lives(&mut self) {
        let id = self.ask(&exchange("echo/1", &[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])).await;
        assert_eq!(
            self.hear(id).await.unwrap(),
            frames(&[(FrameType::MESSAGE, &[0x07]), (FrameType::END, &[])])
        );
    }
}

/// The library as a client, and the server it talks to: over a pipe, greeted.
pub async fn client_of_raw(router: Router, limits: Limits) -> (hikyaku::Connection, Raw<DuplexStream>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connecting = tokio::spawn(hikyaku::local::connect(near, router, limits));
    let mut raw = Raw::over(far, Side::Server).await;
    raw.greet().await;
    (soon(connecting).await.unwrap().unwrap(), raw)
}

/// OPEN without a method, and what follows it.
pub fn exchange(protocol: &str, list: &[(FrameType, &[u8])]) -> Vec<u8> {
    hikyaku_peers::exchange(protocol, "", list)
}

/// A server that knows everybody and echoes.
pub async fn echo_server(limits: Limits) -> Server {
    Server::builder(Identity::generate().unwrap()).limits(limits).router(echo_router()).start().await.unwrap()
}

pub fn echo_router() -> Router {
    Router::new().route("echo/1", crate::common::echo).route("deaf/1", deaf)
}

/// Waits for ever, reading nothing.
async fn deaf(exchange: Exchange) -> Result<()> {
    std::future::pending::<()>().await;
    drop(exchange);
    Ok(())
}
