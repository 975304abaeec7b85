//! Content that the server has is referenced and not sent, for those who may read it, and for nobody else.

use hikyaku::{Connection, ErrorCode};
use hikyaku_files::{FilesClient, FilesError, Outgoing, Progress};
use hikyaku_wire::files::{Accept, Answer, Close, PROTOCOL, PUT, Receipt, Step};
use hikyaku_wire::parcel::{EndStatus, Root};

use crate::world::{ADA, BOB, World, event, names, room};

const LEN: usize = 300_000;

fn root(data: &[u8]) -> Root {
    Root(*blake3::hash(data).as_bytes())
}

/// Offers a file of `LEN` bytes, and sends the close at once, whatever the server has said.
async fn close_at_once(
    world: &World,
    connection: &Connection,
    root: Root,
) -> (Accept, Result<Receipt, (ErrorCode, String)>) {
    let (path, _) = world.file("bait", LEN);
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(accept) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    exchange.send(&Step::Close(Close { entry: None, size: LEN as u64, root })).await.unwrap();
    let receipt = match exchange.receive().await {
        Ok(Answer::Receipt(receipt)) => Ok(receipt),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err((error.code(), error.to_string())),
    };
    (Accept { transfer: hikyaku_wire::parcel::TransferId([0; 16]), ..accept }, receipt)
}

//= S5.72 (test)
//= S5.73 (test)
#[tokio::test]
async fn what_the_server_has_is_not_sent_again() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let (accept, receipt) = close_at_once(&world, &world.connect().await, root(&data)).await;
    assert_eq!(accept.known, [root(&data)]);
    let receipt = receipt.unwrap();
    assert_eq!((receipt.root, receipt.size), (root(&data), LEN as u64));
    assert_eq!(world.rooms.end(2).unwrap().status, EndStatus::Settled);
    let references = world.path("vault/refs").join(root(&data).to_string());
    assert_eq!(names(&references).len(), 2);
    // The client does so by itself, and one of the same size with other bytes sends them.
    world.send(&path, room()).await.unwrap();
    assert_eq!(names(&references).len(), 3);
    let other: Vec<u8> = data.iter().map(|byte| !byte).collect();
    std::fs::write(world.path("home/g"), &other).unwrap();
    let receipt = world.send(&world.path("home/g"), room()).await.unwrap();
    assert_eq!(receipt.root, root(&other));
    world.get(&event(4)).await.unwrap();
    assert!(names(&world.path("vault/partials")).is_empty());
}

//= S5.72 (test)
//= S5.73 (test)
#[tokio::test]
async fn a_thief_who_knows_a_root_gets_and_learns_nothing() {
    let world = World::new();
    let (path, data) = world.file("secret", LEN);
    world.send(&path, room()).await.unwrap();
    world.rooms.log().outside.push(BOB);
    let thief = world.connect_as(BOB).await;
    let there = close_at_once(&world, &thief, root(&data)).await;
    let nowhere = close_at_once(&world, &thief, Root([7; 32])).await;
    assert_eq!(there.0, nowhere.0, "the acceptance tells nothing");
    assert!(there.0.known.is_empty());
    let (known, unknown) = (there.1.unwrap_err(), nowhere.1.unwrap_err());
    assert_eq!(known.0, ErrorCode::RANGE_INVALID, "the bytes are missing");
    let text = known.1.replace(&root(&data).to_string(), &Root([7; 32]).to_string());
    assert_eq!(text, unknown.1, "neither does the refusal");
    for seq in [2, 3] {
        assert_eq!(world.rooms.end(seq), None, "it still waits for its bytes");
    }
    let references = world.path("vault/refs").join(root(&data).to_string());
    assert_eq!(names(&references).len(), 1, "nothing of it is the thief's");
    // Who has every byte may send every byte.
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let sent = FilesClient::new(thief).send_file(&outgoing, &Progress::none()).await.unwrap();
    assert_eq!(sent.root, root(&data));
}

//= S5.73 (test)
#[tokio::test]
async fn who_may_no_longer_read_takes_nothing() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let connection = world.connect_as(ADA).await;
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(accept) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    assert_eq!(accept.known, [root(&data)]);
    world.rooms.log().outside.push(ADA);
    exchange.send(&Step::Close(Close { entry: None, size: LEN as u64, root: root(&data) })).await.unwrap();
    let refused = loop {
        match exchange.receive::<Answer>().await {
            // It is an older version of itself, too.
            Ok(answer) => assert!(matches!(answer, Answer::Pieces(_)), "{answer:?}"),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code(), refused.is_retryable()), (ErrorCode::UNAVAILABLE, true));
}

//= S5.73 (test)
#[tokio::test]
async fn what_has_decayed_is_sent_after_all_and_mended() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let object = world.path("vault/objects").join(root(&data).to_string());
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[100_000] ^= 1;
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, bytes).unwrap();
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let client = FilesClient::new(world.connect().await);
    let refused: FilesError = client.send_file(&outgoing, &Progress::none()).await.unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), (ErrorCode::UNAVAILABLE, true));
    client.send_file(&outgoing, &Progress::none()).await.unwrap();
    assert_eq!(std::fs::read(&object).unwrap(), data);
    world.get(&event(1)).await.unwrap();
    let (accept, receipt) = close_at_once(&world, &world.connect().await, root(&data)).await;
    assert!(receipt.is_ok() && accept.known == [root(&data), root(&data)], "it is known again");
}
