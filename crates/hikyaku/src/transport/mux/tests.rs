//! What the shell keeps, and that it does not keep it longer than somebody waits.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

#[tokio::test]
async fn nobody_who_waits_for_a_streams_end_is_remembered_after_giving_up() {
    let (near, far) = tokio::io::duplex(4096);
    let limits = Limits::default();
    let client = MuxLink::spawn(near, Side::Client, &limits, None);
    let _server = MuxLink::spawn(far, Side::Server, &limits, None);
    let (send, _receive) = client.open_bi().await.expect("the server grants one stream");
    let waiting = || client.shared.lock().wakers.count(Wait::End);
    {
        let (mut one, mut other) = (pin!(send.done()), pin!(send.done()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut cx).is_pending() && other.as_mut().poll(&mut cx).is_pending());
        assert_eq!(waiting(), 1, "both wait for one thing");
    }
    assert_eq!(waiting(), 0);
}

/// A driver that always has something to send and the task that feeds it keep each other ready. Whatever arrives on any
/// socket of the thread meanwhile must be seen after a few turns, however seldom the runtime itself would look.
#[test]
fn a_bulk_stream_that_never_waits_does_not_hide_what_arrives() {
    const BOUND: usize = 8 * 1024 * 1024;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().event_interval(u32::MAX).build().unwrap();
    let moved = runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        let limits = Limits::default();
        let client = MuxLink::spawn(near, Side::Client, &limits, None);
        let server = MuxLink::spawn(far, Side::Server, &limits, None);
        server.raise(Windows { receive: limits.connection_window, send: 4 << 20 }, 1, 1);
        let (mut send, mut receive) = client.open_bi().await.unwrap();
        send.write(&mut Bytes::from_static(b"pour")).await.unwrap();
        let (mut pour, _asked) = server.accept_bi().await.unwrap();
        tokio::spawn(async move {
            let block = Bytes::from(vec![7; 256 * 1024]);
            while pour.write(&mut block.clone()).await.is_ok() {}
        });
        // It is readable from the beginning, which only a look at the sockets tells.
        let (mut sender, arrived) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut sender, b"answer").unwrap();
        arrived.set_nonblocking(true).unwrap();
        let arrived = tokio::net::UnixStream::from_std(arrived).unwrap();
        let answer = tokio::spawn(async move { arrived.readable().await });
        let mut moved = 0;
        while moved <= BOUND && !answer.is_finished() {
            moved += receive.read(256 * 1024).await.unwrap().unwrap().len();
        }
        moved
    });
    assert!(moved <= BOUND, "more than {BOUND} bytes went by, and nobody looked");
}

/// The credit for the next stream is told at once, although nobody has anything else to say.
#[tokio::test]
async fn a_stream_that_was_read_to_its_end_makes_room_for_the_next_with_nothing_else_to_say() {
    let (near, far) = tokio::io::duplex(4096);
    let limits = Limits::default();
    let client = MuxLink::spawn(near, Side::Client, &limits, None);
    let server = MuxLink::spawn(far, Side::Server, &limits, None);
    let talk = async {
        for nth in 0..20_u8 {
            // A server grants one unidirectional stream at first: each has to end before the next one begins.
            let mut send = client.open_uni().await.expect("there is room");
            send.write(&mut Bytes::from(vec![nth])).await.expect("it is taken");
            send.finish();
            let mut receive = server.accept_uni().await.expect("it comes");
            assert_eq!(receive.read(10).await.expect("it is read"), Some(Bytes::from(vec![nth])));
            assert_eq!(receive.read(10).await.expect("it ends"), None);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), talk)
        .await
        .expect("nobody waits for a word that is not said");
}

/// The same for the bytes of a stream: what was read is credit again, and is told before anything else is.
#[tokio::test]
async fn bytes_that_were_read_are_credit_again_with_nothing_else_to_say() {
    const BYTES: usize = 1 << 20;
    let (near, far) = tokio::io::duplex(4096);
    let limits = Limits::default();
    let client = MuxLink::spawn(near, Side::Client, &limits, None);
    let server = MuxLink::spawn(far, Side::Server, &limits, None);
    let sends = async {
        let mut send = client.open_uni().await.expect("there is room");
        // Far more than the 16 KiB that a server grants at first.
        send.write(&mut Bytes::from(vec![7; BYTES])).await.expect("it is taken");
        send.finish();
        send
    };
    let reads = async {
        let mut receive = server.accept_uni().await.expect("it comes");
        let mut read = 0;
        while let Some(bytes) = receive.read(1000).await.expect("it is read") {
            read += bytes.len();
        }
        read
    };
    let both = async { tokio::join!(sends, reads) };
    let (_, read) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("credit comes back");
    assert_eq!(read, BYTES);
}
