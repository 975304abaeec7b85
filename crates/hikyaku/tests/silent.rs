//! What a connection costs that says nothing, counted in allocations. A process of its own, because what others allocate
//! would be counted as well.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::echo;
use hikyaku::{Identity, Router, Server, Transport};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const CONNECTIONS: usize = 64;
/// Both ends of one connection together, not optimised. The keys of its ciphers are not counted: they are allocated in C.
const MOST: usize = 20 * 1024;

/// Every connection has asked something and been answered, so whatever is kept for the next question is there.
#[tokio::test]
async fn a_connection_that_is_silent_costs_both_its_ends_less_than_20_kib() {
    let router = Router::new().route("echo/1", echo);
    let server = Server::builder(Identity::generate().unwrap()).router(router).start().await.unwrap();
    let identity = Identity::generate().unwrap();
    let mut connections = Vec::new();
    let mut before = 0;
    for number in 0..=CONNECTIONS {
        let connecting = hikyaku::connect(server.address(), server.id());
        let connection = connecting.identity(&identity).transport(Transport::Tcp).await.unwrap();
        let answer: String = connection.call("echo/1", "", &"anybody there?".to_owned()).await.unwrap();
        assert_eq!(answer, "anybody there?");
        connections.push(connection);
        if number == 0 {
            // What the first one allocates once for all of them is not counted.
            before = PeakAlloc.current_usage();
        }
    }
    let each = || PeakAlloc.current_usage().saturating_sub(before) / CONNECTIONS;
    // What a handshake needed is given back when its task gets its turn.
    let settled = async {
        while each() >= MOST {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
    println!("{} bytes each", each());
    assert!(settled.is_ok(), "{} bytes each", each());
}
