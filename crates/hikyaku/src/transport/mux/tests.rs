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
    let waiting = || client.shared.lock().finishers.len();
    {
        let (mut one, mut other) = (pin!(send.done()), pin!(send.done()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut cx).is_pending() && other.as_mut().poll(&mut cx).is_pending());
        assert_eq!(waiting(), 1, "both wait for one thing");
    }
    assert_eq!(waiting(), 0);
}
