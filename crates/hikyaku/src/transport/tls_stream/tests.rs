//! Beside the other interface of rustls: every byte arrives, in whatever pieces, and an end is an end.

use std::sync::OnceLock;
use std::time::Duration;

use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;
use crate::identity::Identity;
use crate::tls;

type Peer = tokio_rustls::client::TlsStream<TcpStream>;

/// Ours as the server, and a client that uses rustls' buffered interface.
async fn pair() -> (TlsStream, Peer) {
    let (host, device) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server = tls::server_config(&host, tls::ALPN_TCP, None).unwrap();
    let client =
        tls::client_config(&device, host.id(), Arc::new(OnceLock::new()), tls::ALPN_TCP, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsStream::accept(tcp, Arc::new(server)).await.unwrap()
    };
    let connecting = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(tls::SERVER_NAME).unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap()
    };
    tokio::join!(accepting, connecting)
}

/// Bytes that are at their place and nowhere else.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Writes in pieces of these sizes, in turn, and new keys after each of the first few.
async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: &[u8], sizes: &[usize]) {
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        io.write_all(now).await.unwrap();
        rest = later;
    }
    io.flush().await.unwrap();
}

async fn read(io: &mut (impl AsyncRead + Unpin), length: usize, sizes: &[usize]) -> Vec<u8> {
    let (mut all, mut sizes) = (Vec::new(), sizes.iter().cycle());
    while all.len() < length {
        let mut buffer = vec![0; *sizes.next().unwrap()];
        let count = io.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "an end after {} of {length} bytes", all.len());
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it hangs") });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_byte_arrives_both_ways_at_once_whatever_the_pieces(
        there in 1usize..400_000, back in 1usize..400_000,
        writes in prop::collection::vec(1usize..60_000, 1..4), reads in prop::collection::vec(1usize..60_000, 1..4),
    ) {
        run(async {
            let (server, client) = pair().await;
            let ((mut sr, mut sw), (mut cr, mut cw)) = (tokio::io::split(server), tokio::io::split(client));
            let (to_server, to_client) = (pattern(there), pattern(back));
            let (at_server, at_client, (), ()) = tokio::join!(
                read(&mut sr, there, &reads),
                read(&mut cr, back, &reads),
                write(&mut cw, &to_server, &writes),
                write(&mut sw, &to_client, &writes),
            );
            assert!(at_server == to_server && at_client == to_client);
        });
    }
}

#[test]
fn a_peer_may_change_its_keys_as_often_as_it_likes_and_ask_for_ours() {
    run(async {
        let (mut server, mut client) = pair().await;
        for round in 0..20_u8 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.write_all(&[round; 100]).await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(read(&mut server, 100, &[64]).await, [round; 100]);
            server.write_all(&[round; 50_000]).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(read(&mut client, 50_000, &[9_000]).await, [round; 50_000]);
        }
    });
}

#[test]
fn a_good_end_is_an_end_and_a_cut_is_an_error() {
    run(async {
        let (mut server, mut client) = pair().await;
        client.write_all(b"the last words").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"the last words");
        // This direction goes on by itself.
        server.write_all(b"and an answer").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(read(&mut client, 13, &[100]).await, b"and an answer");
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);

        let (mut server, client) = pair().await;
        drop(client.into_inner().0);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn who_sends_something_else_than_records_is_told_so_and_nobody_panics() {
    run(async {
        let (mut server, client) = pair().await;
        let (mut tcp, _) = client.into_inner();
        // An alert record that no key of this connection has sealed.
        tcp.write_all(&[23, 3, 3, 0, 40]).await.unwrap();
        tcp.write_all(&[0; 40]).await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut answer = Vec::new();
        drop(server);
        let _ = tcp.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&23), "an alert, sealed");
    });
}

#[test]
fn a_connection_that_says_nothing_holds_no_buffer() {
    run(async {
        let (mut server, mut client) = pair().await;
        client.write_all(&pattern(100_000)).await.unwrap();
        client.flush().await.unwrap();
        read(&mut server, 100_000, &[100_000]).await;
        server.write_all(&pattern(100_000)).await.unwrap();
        let (_, flushed) = tokio::join!(read(&mut client, 100_000, &[100_000]), server.flush());
        flushed.unwrap();
        let held = [&server.incoming, &server.unread, &server.outgoing].map(Vec::capacity);
        assert_eq!(held, [0, 0, 0]);
    });
}
