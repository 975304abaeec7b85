//! Against the crate `qmux`, an implementation of the same draft by other people, in both roles.

use bytes::Bytes;
use hikyaku_mux::{CloseReason, Config, Connection, Dir, Event, ReadError, Side, StreamId, WriteError};
use qmux::transport::Stream;
use qmux::{Session, Version};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;
use web_transport_trait::{Error as _, RecvStream as _, SendStream as _, Session as _};

/// The smallest shell that works: one task reads, one writes, everybody waits for the same bell.
#[derive(Clone)]
struct Shell {
    connection: Arc<Mutex<Connection>>,
    bell: Arc<Notify>,
    work: Arc<Notify>,
    pongs: Arc<AtomicUsize>,
}

impl Shell {
    fn new(side: Side, config: Config, io: DuplexStream) -> Self {
        let connection = Arc::new(Mutex::new(Connection::new(side, config, Instant::now())));
        let shell = Self { connection, bell: Arc::default(), work: Arc::default(), pongs: Arc::default() };
        let (mut read, mut write) = tokio::io::split(io);
        let reader = shell.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 10_000];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                reader.with(|connection| {
                    connection.handle_input(Instant::now(), Bytes::copy_from_slice(&buffer[..length]));
                });
            }
            reader.with(|connection| connection.handle_end(Instant::now()));
        });
        let writer = shell.clone();
        tokio::spawn(async move {
            let mut out = Vec::new();
            loop {
                out.clear();
                let drained = {
                    let mut connection = writer.connection.lock().unwrap();
                    connection.poll_transmit(Instant::now(), &mut out, 32_768);
                    connection.is_drained()
                };
                writer.bell.notify_waiters();
                if write.write_all(&out).await.is_err() || drained {
                    let _ = write.shutdown().await;
                    return;
                }
                if out.is_empty() {
                    writer.work.notified().await;
                }
            }
        });
        shell
    }

    fn with<T>(&self, call: impl FnOnce(&mut Connection) -> T) -> T {
        let mut connection = self.connection.lock().unwrap();
        let result = call(&mut connection);
        while let Some(event) = connection.poll_event() {
            self.pongs.fetch_add(usize::from(matches!(event, Event::Pong { .. })), Ordering::Relaxed);
        }
        self.bell.notify_waiters();
        self.work.notify_one();
        result
    }

    /// Tries again whenever something happened.
    async fn until<T>(&self, mut call: impl FnMut(&mut Connection) -> Option<T>) -> T {
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let result = call(&mut self.connection.lock().unwrap());
            self.work.notify_one();
            match result {
                Some(result) => return result,
                None => rung.await,
            }
        }
    }

    async fn open(&self, dir: Dir) -> StreamId {
        self.until(|connection| connection.open(dir)).await
    }

    async fn accept(&self, dir: Dir) -> StreamId {
        self.until(|connection| connection.accept(dir)).await
    }

    async fn send(&self, id: StreamId, mut data: Bytes) -> Result<(), WriteError> {
        self.until(|connection| {
            loop {
                match connection.write(id, &mut data) {
                    Ok(_) if data.is_empty() => return Some(connection.finish(id)),
                    Ok(_) => {}
                    Err(WriteError::Blocked) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
        })
        .await
    }

    async fn receive(&self, id: StreamId) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.until(|connection| {
            loop {
                match connection.read(id, usize::MAX) {
                    Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                    Ok(None) => return Some(Ok(())),
                    Err(ReadError::Blocked) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
        })
        .await?;
        Ok(bytes)
    }
}

/// Runs a scene twice: we are the client, we are the server.
fn in_both_roles<F: Future<Output = ()>>(
    ours: Config,
    theirs: qmux::Config,
    scene: impl Fn(Shell, Session) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for side in [Side::Client, Side::Server] {
        let theirs = theirs.clone();
        runtime.block_on(async {
            let (here, there) = tokio::io::duplex(50_000);
            let shell = Shell::new(side, ours, here);
            let transport = Stream::new(there, Version::QMux02, theirs.max_record_size);
            let session = match side {
                Side::Client => Session::accept(transport, theirs).await,
                Side::Server => Session::connect(transport, theirs).await,
            };
            let session = session.expect("the other implementation accepts our transport parameters");
            let limit = std::time::Duration::from_secs(60);
            tokio::time::timeout(limit, scene(shell, session)).await.expect("the scene ends");
        });
    }
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into()
}

#[test]
fn streams_of_both_directions_carry_bytes_both_ways() {
    in_both_roles(Config::default(), qmux::Config::default(), |ours, theirs| async move {
        // We ask, they answer.
        let id = ours.open(Dir::Bi).await;
        ours.send(id, Bytes::from_static(b"our question")).await.unwrap();
        let (mut send, mut recv) = theirs.accept_bi().await.unwrap();
        assert_eq!(recv.read_all().await.unwrap(), "our question");
        send.write_all(b"their answer").await.unwrap();
        send.finish().unwrap();
        assert_eq!(ours.receive(id).await.unwrap(), b"their answer");

        // They ask, we answer.
        let (mut send, mut recv) = theirs.open_bi().await.unwrap();
        send.write_all(b"their question").await.unwrap();
        send.finish().unwrap();
        let id = ours.accept(Dir::Bi).await;
        assert_eq!(ours.receive(id).await.unwrap(), b"their question");
        ours.send(id, Bytes::from_static(b"our answer")).await.unwrap();
        assert_eq!(recv.read_all().await.unwrap(), "our answer");

        // One way each, many times: stream credit is renewed by both.
        for round in 0..300u32 {
            let id = ours.open(Dir::Uni).await;
            ours.send(id, Bytes::copy_from_slice(&round.to_be_bytes())).await.unwrap();
            let mut recv = theirs.accept_uni().await.unwrap();
            assert_eq!(recv.read_all().await.unwrap(), round.to_be_bytes()[..]);
            let mut send = theirs.open_uni().await.unwrap();
            send.write_all(&round.to_le_bytes()).await.unwrap();
            send.finish().unwrap();
            let id = ours.accept(Dir::Uni).await;
            assert_eq!(ours.receive(id).await.unwrap(), round.to_le_bytes());
        }
    });
}

#[test]
fn a_large_transfer_passes_through_small_windows() {
    let ours = Config { receive_window: 20_000, stream_receive_window: 7_000, ..Config::default() };
    let mut theirs = qmux::Config::default();
    theirs.max_data = 30_000;
    theirs.max_stream_data_bidi_local = 9_000;
    theirs.max_stream_data_bidi_remote = 9_000;
    theirs.max_stream_data_uni = 9_000;
    in_both_roles(ours, theirs, |ours, theirs| async move {
        const LENGTH: usize = 3_000_000;
        let id = ours.open(Dir::Uni).await;
        let (sent, received) = tokio::join!(ours.send(id, pattern(LENGTH)), async {
            theirs.accept_uni().await.unwrap().read_all().await.unwrap()
        });
        sent.unwrap();
        assert!(received == pattern(LENGTH));

        let ((), received) = tokio::join!(
            async {
                let mut send = theirs.open_uni().await.unwrap();
                send.write_all(&pattern(LENGTH)).await.unwrap();
                send.finish().unwrap();
            },
            async {
                let id = ours.accept(Dir::Uni).await;
                ours.receive(id).await.unwrap()
            }
        );
        assert!(received == pattern(LENGTH));
    });
}

#[test]
fn a_large_transfer_fills_whole_records() {
    let mut theirs = qmux::Config::default();
    theirs.max_data = 10 << 20;
    theirs.max_stream_data_uni = 10 << 20;
    in_both_roles(Config::default(), theirs, |ours, theirs| async move {
        let id = ours.open(Dir::Uni).await;
        let (sent, received) = tokio::join!(ours.send(id, pattern(5_000_000)), async {
            theirs.accept_uni().await.unwrap().read_all().await.unwrap()
        });
        sent.unwrap();
        assert!(received == pattern(5_000_000), "STREAM frames without a length are understood");
    });
}

#[test]
fn resets_and_stops_carry_their_codes_both_ways() {
    in_both_roles(Config::default(), qmux::Config::default(), |ours, theirs| async move {
        // We reset.
        let id = ours.open(Dir::Uni).await;
        ours.with(|connection| connection.write(id, &mut Bytes::from_static(b"x")).unwrap());
        let mut recv = theirs.accept_uni().await.unwrap();
        ours.with(|connection| connection.reset(id, 0x41));
        let error = recv.read_all().await.unwrap_err();
        assert_eq!(error.stream_error(), Some(0x41));

        // They reset.
        let mut send = theirs.open_uni().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let id = ours.accept(Dir::Uni).await;
        send.reset(0x42);
        assert_eq!(ours.receive(id).await, Err(ReadError::Reset(0x42)));

        // We stop.
        let mut send = theirs.open_uni().await.unwrap();
        send.write_all(b"x").await.unwrap();
        let id = ours.accept(Dir::Uni).await;
        ours.with(|connection| connection.stop(id, 0x43));
        let error = send.closed().await.unwrap_err();
        assert_eq!(error.stream_error(), Some(0x43));

        // They stop.
        let id = ours.open(Dir::Uni).await;
        ours.with(|connection| connection.write(id, &mut Bytes::from_static(b"x")).unwrap());
        let mut recv = theirs.accept_uni().await.unwrap();
        recv.stop(0x44);
        let code = ours
            .until(|connection| match connection.write(id, &mut Bytes::from_static(b"y")) {
                Err(WriteError::Stopped(code)) => Some(code),
                other => other.map(|_| None).unwrap(),
            })
            .await;
        assert_eq!(code, 0x44);
    });
}

#[test]
fn datagrams_and_pings_pass() {
    let mut theirs = qmux::Config::default();
    theirs.rtt_interval = std::time::Duration::from_millis(1);
    in_both_roles(Config::default(), theirs, |ours, theirs| async move {
        for size in [0, 1, 1000] {
            ours.until(|connection| connection.send_datagram(pattern(size)).ok()).await;
            assert_eq!(theirs.recv_datagram().await.unwrap(), pattern(size));
            theirs.send_datagram(pattern(size)).unwrap();
            assert_eq!(ours.until(Connection::recv_datagram).await, pattern(size));
        }
        let largest = ours.connection.lock().unwrap().max_datagram_size().unwrap();
        ours.with(|connection| connection.send_datagram(pattern(largest)).unwrap());
        assert_eq!(theirs.recv_datagram().await.unwrap().len(), largest);
        ours.with(|connection| connection.ping(Instant::now()));
        ours.until(|_| (ours.pongs.load(Ordering::Relaxed) > 0).then_some(())).await;
        assert_eq!(ours.with(|connection| connection.close_reason().cloned()), None);
    });
}

#[test]
fn a_close_carries_its_code_and_words_both_ways() {
    in_both_roles(Config::default(), qmux::Config::default(), |ours, theirs| async move {
        ours.until(|connection| connection.max_datagram_size()).await;
        ours.with(|connection| connection.close(Instant::now(), 0x0b, Bytes::from_static(b"going away")));
        let error = theirs.closed().await;
        assert_eq!(error.session_error(), Some((0x0b, "going away".to_owned())));
    });
    in_both_roles(Config::default(), qmux::Config::default(), |ours, theirs| async move {
        theirs.close(0x0c, "see you");
        let reason = ours.until(|connection| connection.close_reason().cloned()).await;
        assert_eq!(reason, CloseReason::Application { code: 0x0c, reason: Bytes::from_static(b"see you") });
        assert!(ours.with(|connection| connection.is_drained()));
    });
}
