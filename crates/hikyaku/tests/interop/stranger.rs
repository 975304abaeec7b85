//! The other implementation: `qmux` over TLS, and above it as much of the session as a scene needs, by hand.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use hikyaku::{Connection, Limits, Router, Server, Transport};
use hikyaku_mux::Side;
use hikyaku_wire::frame::{Decoder, FrameLimits, FrameType, Piece};
use hikyaku_wire::hello::Hello;
use qmux::transport::Stream;
use qmux::{Session, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use web_transport_trait::{RecvStream as _, SendStream as _, Session as _};

use crate::raw::*;

/// A peer by other people that has said HELLO, and the library's connection to it.
pub(crate) struct Meeting {
    pub(crate) theirs: Session,
    pub(crate) ours: Connection,
    /// Our server, where we have that role.
    _server: Option<Server>,
    /// What the peer keeps open: its control stream, and ours.
    _control: (qmux::SendStream, qmux::RecvStream),
}

/// The two roles we can have.
pub(crate) const ROLES: [Side; 2] = [Side::Server, Side::Client];

impl Meeting {
    /// We have the role `side`; `router` is what we answer, with these limits on either side.
    pub(crate) async fn with(side: Side, router: Router, limits: Limits, theirs: qmux::Config) -> Self {
        match side {
            Side::Server => Self::at_our_server(router, limits, theirs).await,
            Side::Client => Self::at_their_server(router, limits, theirs).await,
        }
    }

    async fn at_our_server(router: Router, limits: Limits, theirs: qmux::Config) -> Self {
        let server = Server::builder(hikyaku::Identity::generate().unwrap())
            .limits(limits)
            .router(router)
            .start()
            .await
            .unwrap();
        let io = tls_to(server.address(), client_tls(Some(&Key::new()), &[ALPN])).await.unwrap();
        let session = soon(Session::connect(transport(io, &theirs), theirs)).await.unwrap();
        let control = greet(&session).await;
        let ours = server.connections().pop().expect("it has said HELLO");
        Self { theirs: session, ours, _server: Some(server), _control: control }
    }

    async fn at_their_server(router: Router, limits: Limits, theirs: qmux::Config) -> Self {
        let (listening, key) = (Listening::new().await, Key::new());
        let connect = hikyaku::connect(listening.address, key.id())
            .transport(Transport::Tcp)
            .router(router)
            .limits(limits);
        let connecting = tokio::spawn(connect.into_future());
        let io = listening.accept(server_tls(&key, &[ALPN])).await.unwrap();
        let session = soon(Session::accept(transport(io, &theirs), theirs)).await.unwrap();
        let control = greet(&session).await;
        let ours = soon(connecting).await.unwrap().unwrap();
        Self { theirs: session, ours, _server: None, _control: control }
    }

    /// An exchange of the peer: OPEN and `rest` were sent, nothing was ended.
    pub(crate) async fn ask(&self, protocol: &str, rest: &[(FrameType, &[u8])]) -> (qmux::SendStream, Heard) {
        let (mut send, receive) = self.theirs.open_bi().await.unwrap();
        send.write_all(&exchange(protocol, rest)).await.unwrap();
        (send, Heard::new(receive))
    }

    /// The next exchange that we open, and what is said on it.
    pub(crate) async fn accept(&self) -> (qmux::SendStream, Heard) {
        let (send, receive) = self.theirs.accept_bi().await.unwrap();
        (send, Heard::new(receive))
    }

    /// That the connection lives: one message goes to our handler and comes back.
    pub(crate) async fn echoes(&self, number: u8) {
        let (mut send, mut heard) =
            self.ask("echo/1", &[(FrameType::MESSAGE, &[number % 24]), (FrameType::END, &[])]).await;
        send.finish().unwrap();
        assert_eq!(heard.frame().await, Some((FrameType::MESSAGE, Bytes::copy_from_slice(&[number % 24]))));
        assert_eq!(heard.frame().await, Some((FrameType::END, Bytes::new())));
        assert_eq!(heard.frame().await, None);
    }
}

fn transport<S>(io: S, theirs: &qmux::Config) -> Stream<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Stream::new(io, Version::QMux02, theirs.max_record_size)
}

/// Both HELLOs.
async fn greet(session: &Session) -> (qmux::SendStream, qmux::RecvStream) {
    let mut own = soon(session.open_uni()).await.unwrap();
    own.write_all(&control(&[(FrameType::HELLO, &hello().encode())])).await.unwrap();
    let mut control = soon(session.accept_uni()).await.unwrap();
    let mut bytes = BytesMut::new();
    loop {
        let read = soon(control.read_buf(&mut bytes)).await.unwrap();
        assert!(read.is_some(), "the control stream stays open");
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.push(bytes.clone().freeze().split_off(1));
        if let Ok(Some(Piece::Frame { ty: FrameType::HELLO, payload })) = decoder.next() {
            Hello::decode(&payload).unwrap();
            return (own, control);
        }
    }
}

/// The frames that arrive on one half of a stream.
pub(crate) struct Heard {
    pub(crate) receive: qmux::RecvStream,
    decoder: Decoder,
}

impl Heard {
    pub(crate) fn new(receive: qmux::RecvStream) -> Self {
        Self { receive, decoder: Decoder::new(FrameLimits::default()) }
    }

    /// The next frame; DATA comes in pieces of any size. `None` at the stream's end.
    pub(crate) async fn frame(&mut self) -> Option<(FrameType, Bytes)> {
        self.try_frame().await.unwrap()
    }

    pub(crate) async fn try_frame(&mut self) -> Result<Option<(FrameType, Bytes)>, qmux::Error> {
        loop {
            match self.decoder.next().unwrap() {
                Some(Piece::Frame { ty, payload }) => return Ok(Some((ty, payload))),
                Some(Piece::Data { chunk, .. }) if chunk.is_empty() => {}
                Some(Piece::Data { chunk, .. }) => return Ok(Some((FrameType::DATA, chunk))),
                None => match soon(self.receive.read_chunk(1 << 20)).await? {
                    Some(chunk) => self.decoder.push(chunk),
                    None => return Ok(None),
                },
            }
        }
    }
}

/// Bytes that went a certain way so far.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until it is at least this, as long as it goes on rising.
    pub(crate) async fn reaches(&self, bytes: u64) {
        while self.now() < bytes {
            let before = self.now();
            soon(async {
                while self.now() == before {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}

/// The byte at each place of a long transfer: any loss, repetition or swap shows.
pub(crate) fn pattern(offset: u64, length: usize) -> Bytes {
    (offset..offset + length as u64).map(|at| (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31)) as u8).collect()
}

/// Whether `bytes` are the transfer's at `offset`.
pub(crate) fn is_pattern(offset: u64, bytes: &[u8]) -> bool {
    bytes == pattern(offset, bytes.len())
}
