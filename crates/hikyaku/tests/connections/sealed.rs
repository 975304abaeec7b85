//! What somebody on the way sees: everything that two computers say to each other goes through a relay that writes it
//! down.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hikyaku::{Identity, Limits, Router, Server, Transport};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::raw::*;

/// What was seen of both directions.
type Seen = Arc<Mutex<Vec<u8>>>;

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seen: Seen) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// A way to the server, over either transport.
async fn watched(server: SocketAddr, transport: Transport) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let found = seen.clone();
    if transport == Transport::Tcp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(server).await.unwrap();
            let (near, far) = (near.into_split(), far.into_split());
            tokio::spawn(copy(near.0, far.1, found.clone()));
            copy(far.0, near.1, found).await;
        });
        return (address, seen);
    }
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = near.local_addr().unwrap();
    far.connect(server).await.unwrap();
    tokio::spawn(async move {
        let (mut there, mut back, mut client) = (vec![0; 1 << 16], vec![0; 1 << 16], None);
        loop {
            tokio::select! {
                Ok((count, from)) = near.recv_from(&mut there) => {
                    client = Some(from);
                    found.lock().unwrap().extend_from_slice(&there[..count]);
                    let _ = far.send(&there[..count]).await;
                }
                Ok(count) = far.recv(&mut back) => {
                    found.lock().unwrap().extend_from_slice(&back[..count]);
                    let _ = near.send_to(&back[..count], client.unwrap()).await;
                }
            }
        }
    });
    (address, seen)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

//= S1.3 (test)
#[tokio::test]
async fn nobody_on_the_way_sees_a_word_or_a_method_or_who_the_two_are() {
    const WORD: &str = "a word that nobody else may see";
    for transport in [Transport::Tcp, Transport::Quic] {
        let router = Router::new().route("echo-of-words/1", crate::common::echo);
        let host = Identity::generate().unwrap();
        let server =
            Server::builder(host.clone()).limits(Limits::default()).router(router).start().await.unwrap();
        let (address, seen) = watched(server.address(), transport).await;
        let (key, own) = (Key::new(), host.id());
        let connect = hikyaku::connect(address, own).identity(&key.identity()).transport(transport);
        let connection = soon(connect.into_future()).await.unwrap();
        let words = WORD.repeat(100);
        let answer: String = soon(connection.call("echo-of-words/1", "speak", &words)).await.unwrap();
        assert_eq!(answer, words);
        let seen = seen.lock().unwrap().clone();
        assert!(seen.len() > 2 * words.len(), "{transport}: the relay has seen {} bytes", seen.len());
        let key_info = rcgen::PublicKeyData::subject_public_key_info(&key.pair);
        for secret in
            [WORD.as_bytes(), b"echo-of-words", b"speak", own.as_bytes(), key.id().as_bytes(), &key_info]
        {
            assert!(!contains(&seen, secret), "{transport}: {}", secret.escape_ascii());
        }
    }
}
