//! What a peer that takes nothing, or gives only half, makes the server hold is in its budget.

use hikyaku::{
    Admission, Connection, Error, ErrorCode, Exchange, Identity, Limits, Router, Server, Transport,
};
use hikyaku_wire::files::{Accept, Answer, Head, MAX_BLOCK_LEN, Offer, Request};
use hikyaku_wire::parcel::{EntryKind, TransferId};

use crate::world::*;

const MIB: u64 = 1024 * 1024;

/// The world's server behind a socket, where peers share a budget, of which a quarter may be held.
async fn serve(world: &World, held: u64) -> Server<[u8; 16]> {
    let server = world.server.clone();
    let router = Router::new().route("files/1", move |exchange: Exchange<_>| server.clone().handle(exchange));
    let limits = Limits { max_memory: 4 * held, max_connections: 64, ..Limits::default() };
    let builder = Server::builder(Identity::generate().unwrap())
        .limits(limits)
        .authorize(|_| async { Ok(Admission::Member(ADA)) });
    builder.router(router).start().await.unwrap()
}

async fn connect(server: &Server<[u8; 16]>) -> Connection {
    hikyaku::connect(server.address(), server.id()).transport(Transport::Tcp).await.unwrap()
}

/// Asks for the first parcel and takes nothing but the head of the answer.
async fn fetch(connection: &Connection) -> hikyaku::Result<Exchange> {
    let mut exchange = connection.open("files/1", "get").await?;
    exchange.send(&Request::new(event(1))).await?;
    let head: Head = exchange.receive().await?;
    let accept = Accept {
        transfer: head.transfer,
        from: 0,
        prefix: None,
        max_block: None,
        list: None,
        roots: None,
        known: Vec::new(),
        older: None,
        packed: None,
    };
    exchange.send(&Answer::Accept(accept)).await?;
    Ok(exchange)
}

/// Offers a file of which nothing follows.
async fn offer(connection: &Connection, number: u8) -> hikyaku::Result<Exchange> {
    let mut exchange = connection.open("files/1", "put").await?;
    let offer = Offer {
        transfer: TransferId([number; 16]),
        target: room(),
        name: vec![b'a' + number],
        kind: EntryKind::File,
        size: None,
        meta: None,
        options: None,
        tops: None,
    };
    exchange.send(&offer).await?;
    exchange.receive::<Answer>().await?;
    Ok(exchange)
}

fn is_told_to_come_again(refused: hikyaku::Result<Exchange>) -> bool {
    matches!(refused, Err(Error::Failure(failure)) if failure.code == ErrorCode::BUSY && failure.message.contains("max_memory"))
}

/// Five blocks of 64 KiB each, when there is no room for larger ones; nobody gets more than an eighth of what is left.
#[tokio::test]
async fn files_that_nobody_reads_are_in_the_budget_and_one_too_many_is_told_to_come_again() {
    let world = World::new();
    let (path, data) = world.file("f", 4 << 20);
    world.send(&path, room()).await.unwrap();
    let server = serve(&world, 4 * MIB).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        let connection = connect(&server).await;
        let exchange = fetch(&connection).await.unwrap();
        assert!(is_told_to_come_again(fetch(&connection).await), "it has its part");
        unread.push((connection, exchange));
    }
    let late = connect(&server).await;
    assert!(is_told_to_come_again(fetch(&late).await), "there is no room for a fifth");
    // One of them gives up; its room is there as soon as its handler has heard of it.
    unread.pop();
    let destination = hikyaku_files::Destination::new(world.path("into"));
    let client = hikyaku_files::FilesClient::new(late);
    let wanted = event(1);
    let fetched = async {
        loop {
            match client.get_file(&wanted, &destination, &hikyaku_files::Progress::none()).await {
                Err(error) if error.code() == ErrorCode::BUSY => tokio::task::yield_now().await,
                fetched => break fetched,
            }
        }
    };
    let fetched = tokio::time::timeout(std::time::Duration::from_secs(60), fetched).await.unwrap().unwrap();
    assert_eq!(fetched.receipt.size, data.len() as u64);
    assert_eq!(std::fs::read(world.path("into/f")).unwrap(), data, "in small blocks it is the same");
}

#[tokio::test]
async fn blocks_that_are_never_whole_are_in_the_budget_and_one_too_many_is_told_to_come_again() {
    let world = World::new();
    let server = serve(&world, 12 * MAX_BLOCK_LEN).await;
    let mut begun = Vec::new();
    for number in 0..4 {
        let connection = connect(&server).await;
        begun.push((offer(&connection, number).await.unwrap(), connection));
    }
    let late = connect(&server).await;
    assert!(is_told_to_come_again(offer(&late, 4).await), "there is no room for a fifth");
    begun.pop();
    let come_in = async { while is_told_to_come_again(offer(&late, 4).await) {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), come_in).await.unwrap();
}
