//! Transfers whose exchange is given up, or whose connection ends: what became of them is recorded.

use std::fs;

use hikyaku::{Connection, Exchange};
use hikyaku_files::Outgoing;
use hikyaku_wire::files::mending::{Lacking, MEND, MendRequest};
use hikyaku_wire::files::{Accept, Answer, GET, GROUP_LEN, Head, PROTOCOL, PUT, Request};

use crate::world::{World, event, here, room, until};

/// How an exchange ends before its time.
#[derive(Clone, Copy, Debug)]
enum Break {
    GivenUp,
    ConnectionClosed,
}

impl Break {
    fn break_off(self, connection: Connection, exchange: Exchange) {
        match self {
            Self::GivenUp => drop(exchange),
            Self::ConnectionClosed => drop((connection, exchange)),
        }
    }
}

/// An exchange that the server has accepted, and records as such.
async fn begun(world: &World, connection: &Connection, method: &str) -> Exchange {
    let mut exchange = connection.open(PROTOCOL, method).await.unwrap();
    match method {
        PUT => {
            let (path, _) = world.file("sent", 3_000_000);
            let source = Outgoing::new(&path, None, here()).unwrap();
            exchange.send(source.offer()).await.unwrap();
            assert!(matches!(exchange.receive().await.unwrap(), Answer::Accept(_)));
        }
        GET => {
            exchange.send(&Request::new(event(1))).await.unwrap();
            let transfer = exchange.receive::<Head>().await.unwrap().transfer;
            exchange.send(&Answer::Accept(Accept::new(transfer, 0))).await.unwrap();
        }
        _ => {
            exchange.send(&MendRequest { wanted: event(1) }).await.unwrap();
            let lacking: Lacking = exchange.receive().await.unwrap();
            assert_eq!(lacking.spans.len(), 1);
        }
    }
    exchange
}

#[tokio::test]
async fn what_breaks_off_is_recorded_as_failed_once() {
    for method in [PUT, GET, MEND] {
        for how in [Break::GivenUp, Break::ConnectionClosed] {
            let world = World::new();
            // Whoever fetches it does not read: more than all buffers between both ends hold.
            let (path, data) = world.file("there", if method == GET { 48 << 20 } else { 1 << 20 });
            world.send(&path, room()).await.unwrap();
            if method == MEND {
                let object = world.path("vault/objects").join(blake3::hash(&data).to_string());
                let mut decayed = data.clone();
                decayed[usize::try_from(GROUP_LEN).unwrap()] ^= 1;
                fs::remove_file(&object).unwrap();
                fs::write(&object, decayed).unwrap();
            }
            world.rooms.log().said.clear();
            let connection = world.connect().await;
            let exchange = begun(&world, &connection, method).await;
            until("it is accepted", || world.rooms.log().said == ["accepted"]).await;
            how.break_off(connection, exchange);
            until("its end is recorded", || world.rooms.log().said.len() == 2).await;
            let said = world.rooms.log().said.clone();
            assert!(said[1].starts_with("failed: "), "{method}, {how:?}: {said:?}");
            // Whoever had it holds nothing of it any more: the next one is taken.
            let connection = world.connect().await;
            let exchange = begun(&world, &connection, method).await;
            until("it is accepted too", || world.rooms.log().said.len() == 3).await;
            how.break_off(connection, exchange);
            until("its end is recorded too", || world.rooms.log().said.len() == 4).await;
            assert!(world.rooms.log().said[3].starts_with("failed: "), "{method}, {how:?}");
        }
    }
}
