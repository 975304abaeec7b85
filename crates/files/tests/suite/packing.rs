//! Blocks that come packed: unpacked to what they are, or to nothing.

use hikyaku::{Connection, ErrorCode, Exchange};
use hikyaku_files::tree::{self, GROUP};
use hikyaku_files::{FilesClient, Outgoing, OutgoingTree, Pace, Progress, WalkOptions, packing};
use hikyaku_wire::files::{
    Accept, Answer, Block, Close, PROTOCOL, PUT, Packed, Part, PutOptions, Receipt, Step,
};
use hikyaku_wire::parcel::Root;

use crate::world::*;

/// So many lines of a log.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|line| format!("{line}: nothing happened at {}\n", line * 7_919).into_bytes())
        .collect()
}

async fn offered(connection: &Connection, outgoing: &Outgoing) -> (Exchange, Accept) {
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(accept) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    (exchange, accept)
}

/// A block, packed.
fn packed(offset: usize, bytes: &[u8]) -> (Packed, Vec<u8>) {
    let groups = bytes.chunks(GROUP).enumerate();
    let cvs = groups.flat_map(|(index, group)| tree::group((offset + index * GROUP) as u64, group).cv);
    let block = Block { entry: None, offset: offset as u64, len: bytes.len() as u64, cvs: cvs.collect() };
    let mut into = Vec::new();
    let len = packing::pack(bytes, &mut into);
    into.truncate(len);
    (Packed { block, parts: Vec::new(), len: len as u64 }, into)
}

async fn receipt(exchange: &mut Exchange, data: &[u8]) -> hikyaku::Result<Receipt> {
    let root = Root(*blake3::hash(data).as_bytes());
    exchange.send(&Step::Close(Close { entry: None, size: data.len() as u64, root })).await?;
    loop {
        match exchange.receive::<Answer>().await? {
            Answer::Receipt(receipt) => return Ok(receipt),
            Answer::Pieces(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

//= S5.110 (test)
//= S5.111 (test)
#[tokio::test]
async fn what_comes_packed_is_the_same_file() {
    for target in [here(), room()] {
        let (world, data) = (World::new(), lines(20_000));
        std::fs::write(world.path("home/f"), &data).unwrap();
        let outgoing = Outgoing::new(&world.path("home/f"), None, target).unwrap();
        let connection = world.connect().await;
        let (mut exchange, accept) = offered(&connection, &outgoing).await;
        assert_eq!(accept.packed, Some(true));
        for (number, bytes) in data.chunks(8 * GROUP).enumerate() {
            let (packed, bytes) = packed(number * 8 * GROUP, bytes);
            assert!(bytes.len() < 4 * GROUP);
            exchange.send(&Step::Packed(packed)).await.unwrap();
            exchange.send_data(bytes.into()).await.unwrap();
        }
        assert_eq!(receipt(&mut exchange, &data).await.unwrap().size, data.len() as u64);
    }
}

/// What becomes of one packed block, sent with these bytes.
async fn refused(world: &World, packed: Packed, bytes: Vec<u8>) -> hikyaku::Error {
    let outgoing = Outgoing::new(&world.path("home/f"), None, here()).unwrap();
    let connection = world.connect().await;
    let (mut exchange, _) = offered(&connection, &outgoing).await;
    exchange.send(&Step::Packed(packed)).await.unwrap();
    exchange.send_data(bytes.into()).await.unwrap();
    exchange.receive::<Answer>().await.unwrap_err()
}

//= S5.112 (test)
#[tokio::test]
async fn a_bomb_and_what_is_not_what_it_says_is_refused_with_the_bound() {
    let (world, data) = (World::new(), lines(20_000));
    std::fs::write(world.path("home/f"), &data).unwrap();
    let (good, _) = packed(0, &data[..GROUP]);
    let (_, bomb) = packed(0, &vec![0; 8 << 20]);
    let as_bomb = Packed { len: bomb.len() as u64, ..good.clone() };
    let error = refused(&world, as_bomb, bomb).await;
    assert_eq!(error.code(), ErrorCode::LIMIT);
    assert!(error.to_string().contains("bytes of an unpacked block (65536)"), "{error}");
    // Fewer than it says.
    let (_, fewer) = packed(0, &data[..GROUP - 1]);
    let short = Packed { len: fewer.len() as u64, ..good.clone() };
    assert_eq!(refused(&world, short, fewer).await.code(), ErrorCode::RANGE_INVALID);
    // No shorter for it.
    let long = Packed { len: GROUP as u64, ..good.clone() };
    assert_eq!(refused(&world, long, vec![0; GROUP]).await.code(), ErrorCode::RANGE_INVALID);
    // Nothing that is LZ4.
    let noise = Packed { len: 1_000, ..good.clone() };
    let error = refused(&world, noise, vec![0xf0; 1_000]).await;
    assert_eq!(error.code(), ErrorCode::INVALID_MESSAGE);
    assert!(error.to_string().contains("the block of bytes 0 to 65535 is not packed"), "{error}");
    // Other bytes than those of its chaining value.
    let (_, other) = packed(0, &data[GROUP..2 * GROUP]);
    let wrong = Packed { len: other.len() as u64, ..good.clone() };
    assert_eq!(refused(&world, wrong, other).await.code(), ErrorCode::GROUP_MISMATCH);
    // Parts where no older version was named.
    let (_, rest) = packed(0, &data[9..GROUP]);
    let composed = Packed { parts: vec![Part { at: 0, len: 9, from: 0 }], len: rest.len() as u64, ..good };
    assert_eq!(refused(&world, composed, rest).await.code(), ErrorCode::RANGE_INVALID);
    assert!(world.dropped().is_empty());
}

//= S5.110 (test)
#[tokio::test]
async fn the_client_packs_for_a_slow_line_and_everything_arrives() {
    let world = World::new();
    let (text, noise) = (lines(40_000), bytes(700_000));
    std::fs::create_dir(world.path("home/t")).unwrap();
    for (name, data) in [("text", text.clone()), ("noise", noise.clone()), ("both", [text, noise].concat())] {
        std::fs::write(world.path("home/t").join(name), data).unwrap();
    }
    let slowly = || Progress::new().0.paced(Some(Pace::new(32 << 20)));
    let client = FilesClient::new(world.connect().await);
    for target in [here(), room()] {
        let file = Outgoing::new(&world.path("home/t/both"), None, target.clone()).unwrap();
        client.send_file(&file, &slowly()).await.unwrap();
        let (paths, options) = ([world.path("home/t")], WalkOptions::default());
        let tree = OutgoingTree::new(&paths, None, target, PutOptions::default(), options).unwrap();
        client.send_tree(&tree, &slowly()).await.unwrap();
    }
    world.get(&event(1)).await.unwrap();
    world.get(&event(2)).await.unwrap();
    for name in ["text", "noise", "both"] {
        let sent = std::fs::read(world.path("home/t").join(name)).unwrap();
        for place in ["drop/t", "into/t"] {
            assert!(std::fs::read(world.path(place).join(name)).unwrap() == sent, "{place}/{name}");
        }
    }
    assert_eq!(world.dropped(), ["both", "t"]);
}
