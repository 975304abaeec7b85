//! Peers that lie.

use hikyaku::{Connection, ErrorCode, Exchange, Router};
use hikyaku_files::tree;
use hikyaku_files::{Destination, FilesClient, Progress};
use hikyaku_wire::files::{Answer, Block, Close, GET, Head, Offer, PROTOCOL, PUT, Request, Step, Target};
use hikyaku_wire::parcel::{EntryKind, Root, TransferId};

use crate::world::*;

pub(crate) fn block(offset: usize, data: &[u8]) -> Step {
    let groups = data.chunks(tree::GROUP).enumerate();
    let at = |index: usize| (offset + index * tree::GROUP) as u64;
    let cvs = groups.flat_map(|(index, piece)| tree::group(at(index), piece).cv).collect();
    Step::Block(Block { entry: None, offset: offset as u64, len: data.len() as u64, cvs })
}

pub(crate) fn close_of(data: &[u8]) -> Step {
    Step::Close(Close { entry: None, size: data.len() as u64, root: Root(*blake3::hash(data).as_bytes()) })
}

pub(crate) async fn send_blocks(exchange: &mut Exchange, data: &[u8], len: usize) {
    for (index, piece) in data.chunks(len).enumerate() {
        exchange.send(&block(index * len, piece)).await.unwrap();
        exchange.send_data(piece.to_vec().into()).await.unwrap();
    }
}

fn offer(name: &[u8], target: Target, size: Option<u64>) -> Offer {
    let transfer = TransferId(blake3::hash(name).as_bytes()[..16].try_into().unwrap());
    let (name, kind) = (name.to_vec(), EntryKind::File);
    Offer { transfer, target, name, kind, size, meta: None, options: None, tops: None }
}

async fn offered(connection: &Connection, offer: &Offer) -> (Exchange, hikyaku::Result<Answer>) {
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(offer).await.unwrap();
    let answer = exchange.receive().await;
    (exchange, answer)
}

pub(crate) async fn refused(exchange: &mut Exchange) -> ErrorCode {
    exchange.receive::<Answer>().await.unwrap_err().code()
}

//= S5.20 (test)
#[tokio::test]
async fn evil_names_are_refused_at_the_door_and_nothing_outside_changes() {
    let world = World::new();
    let connection = world.connect().await;
    for name in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"../x",
        b"a/b",
        b"/etc/x",
        b"x\0",
        b".bashrc",
        b".ssh",
        b".hikyaku",
        b".hikyaku-1",
        &[b'x'; 256],
    ] {
        for offer in [offer(name, here(), Some(1)), offer(b"fine", below(&[name]), Some(1))] {
            let (_, answer) = offered(&connection, &offer).await;
            assert_eq!(
                answer.unwrap_err().code(),
                ErrorCode::NAME_REFUSED,
                "{}",
                hikyaku_files::escape(name)
            );
        }
    }
    for name in [&b""[..], b"..", b"a/b", b"x\0", b".hikyaku-1"] {
        let (_, answer) = offered(&connection, &offer(name, room(), Some(1))).await;
        assert_eq!(answer.unwrap_err().code(), ErrorCode::NAME_REFUSED);
    }
    assert!(world.dropped().is_empty());
    assert_eq!(names(world.temp.path()), ["drop", "home", "into", "vault"]);
}

//= S5.13 (test)
#[tokio::test]
async fn a_bit_flipped_on_the_way_is_reported_with_its_range() {
    let world = World::new();
    let data = bytes(8 * tree::GROUP);
    let (mut exchange, answer) =
        offered(&world.connect().await, &offer(b"f", here(), Some(data.len() as u64))).await;
    assert!(matches!(answer, Ok(Answer::Accept(_))));
    let mut bad = data.clone();
    bad[5 * tree::GROUP + 9] ^= 4;
    exchange.send(&block(0, &data)).await.unwrap();
    exchange.send_data(bad.into()).await.unwrap();
    let error = exchange.receive::<Answer>().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::GROUP_MISMATCH);
    assert!(
        error.to_string().contains(&format!("{} to {}", 5 * tree::GROUP, 6 * tree::GROUP - 1)),
        "{error}"
    );
    assert!(world.dropped().is_empty());
}

//= S5.15 (test)
#[tokio::test]
async fn a_wrong_root_publishes_nothing_and_ends_the_parcel() {
    let world = World::new();
    let data = bytes(200_000);
    for target in [here(), room()] {
        let (mut exchange, _) = offered(&world.connect().await, &offer(b"f", target, Some(200_000))).await;
        send_blocks(&mut exchange, &data, 1 << 20).await;
        let Step::Close(close) = close_of(&data) else { unreachable!() };
        exchange.send(&Step::Close(Close { root: Root([9; 32]), ..close })).await.unwrap();
        assert_eq!(refused(&mut exchange).await, ErrorCode::ROOT_MISMATCH);
    }
    assert!(world.dropped().is_empty());
    assert!(names(&world.path("drop/.hikyaku")).is_empty());
    assert!(
        names(&world.path("vault/objects")).is_empty() && names(&world.path("vault/partials")).is_empty()
    );
    assert_eq!(world.rooms.end(1).unwrap().status, hikyaku_wire::parcel::EndStatus::Aborted);
}

//= S5.12 (test)
#[tokio::test]
async fn ranges_that_lie_are_refused() {
    let world = World::new();
    let data = bytes(2 * tree::GROUP);
    let size = Some(data.len() as u64);
    let Step::Block(good) = block(0, &data) else { unreachable!() };
    for (index, bad) in [
        Block { offset: 65_536, ..good.clone() },
        Block { offset: 1, ..good.clone() },
        Block { entry: Some(3), ..good.clone() },
        Block { cvs: vec![0; 32], ..good.clone() },
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("f{index}");
        let (mut exchange, _) = offered(&world.connect().await, &offer(name.as_bytes(), here(), size)).await;
        exchange.send(&Step::Block(bad)).await.unwrap();
        exchange.send_data(data.clone().into()).await.unwrap();
        assert_eq!(refused(&mut exchange).await, ErrorCode::RANGE_INVALID);
    }
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"long", here(), None)).await;
    exchange.send(&Step::Block(Block { len: (1 << 20) + 1, ..good })).await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::RANGE_INVALID);
    assert!(world.dropped().is_empty());
}

//= S5.14 (test)
#[tokio::test]
async fn more_or_fewer_bytes_than_announced_and_messages_out_of_order_are_refused() {
    let world = World::new();
    let data = bytes(1000);
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"a", here(), None)).await;
    exchange.send(&block(0, &data)).await.unwrap();
    exchange.send_data(bytes(1001).into()).await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::INVALID_MESSAGE);
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"b", here(), None)).await;
    exchange.send(&block(0, &data)).await.unwrap();
    exchange.send(&close_of(&data)).await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::INVALID_MESSAGE);
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"c", here(), None)).await;
    exchange.send_data(data.into()).await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::INVALID_MESSAGE);
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"d", here(), None)).await;
    exchange.finish().await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::INVALID_MESSAGE);
    assert!(world.dropped().is_empty());
}

#[tokio::test]
async fn bytes_cut_into_crumbs_are_still_a_file() {
    let world = World::new();
    let data = bytes(20_000);
    let (mut exchange, _) = offered(&world.connect().await, &offer(b"f", here(), None)).await;
    exchange.send(&block(0, &data)).await.unwrap();
    for crumb in data.chunks(3) {
        exchange.send_data(crumb.to_vec().into()).await.unwrap();
    }
    exchange.send(&close_of(&data)).await.unwrap();
    assert!(matches!(exchange.receive().await, Ok(Answer::Receipt(_))));
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), data);
}

//= S5.3 (test)
#[tokio::test]
async fn a_kind_that_is_not_carried_is_refused() {
    let world = World::new();
    let link = Offer { kind: EntryKind::Symlink, ..offer(b"t", here(), None) };
    let (_, answer) = offered(&world.connect().await, &link).await;
    assert_eq!(answer.unwrap_err().code(), ErrorCode::FAILED);
}

/// The root is right, but the bundle has no end: nothing is published, not when it is offered again either.
#[tokio::test]
async fn a_bundle_without_its_end_is_never_published() {
    let world = World::new();
    let mut writer = hikyaku_files::bundle::Writer::default();
    writer.enter(&hikyaku_wire::bundle::Enter { name: b"t".to_vec() });
    writer.leave(&hikyaku_wire::bundle::Leave::default());
    let data = writer.written().to_vec();
    let tree = Offer { kind: EntryKind::Tree, ..offer(b"t", here(), None) };
    for _ in 0..2 {
        let (mut exchange, answer) = offered(&world.connect().await, &tree).await;
        assert!(matches!(answer.unwrap(), Answer::Accept(_)), "not a receipt");
        send_blocks(&mut exchange, &data, 1 << 19).await;
        exchange.send(&close_of(&data)).await.unwrap();
        let error = exchange.receive::<Answer>().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_MESSAGE);
        assert_eq!(world.dropped(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_unknown_method_is_refused() {
    let world = World::new();
    let mut exchange = world.connect().await.open(PROTOCOL, "delete").await.unwrap();
    assert_eq!(refused(&mut exchange).await, ErrorCode::UNKNOWN_METHOD);
}

/// A server that answers `get` as a test wishes.
async fn lying_server(head: Head, steps: Vec<(Step, Option<Vec<u8>>)>) -> FilesClient {
    let router = Router::new().route(PROTOCOL, move |mut exchange: Exchange| {
        let (head, steps) = (head.clone(), steps.clone());
        async move {
            assert_eq!(exchange.method(), GET);
            let _: Request = exchange.receive().await?;
            exchange.send(&head).await?;
            let _: Answer = exchange.receive().await?;
            for (step, data) in steps {
                exchange.send(&step).await?;
                if let Some(data) = data {
                    exchange.send_data(data.into()).await?;
                }
            }
            let _: Answer = exchange.receive().await?;
            Ok(())
        }
    });
    FilesClient::new(hikyaku::local::pair(router, ()).await.unwrap())
}

fn head(name: &[u8], data: &[u8]) -> Head {
    Head {
        transfer: TransferId([6; 16]),
        name: name.to_vec(),
        kind: EntryKind::File,
        size: Some(data.len() as u64),
        root: Some(Root(*blake3::hash(data).as_bytes())),
        meta: None,
        arrival: None,
        before: None,
    }
}

//= S5.22 (test)
#[tokio::test]
async fn a_server_cannot_choose_a_path_at_the_client() {
    let world = World::new();
    let data = bytes(10);
    let steps = vec![(block(0, &data), Some(data.clone())), (close_of(&data), None)];
    let into = Destination::new(world.path("into"));
    for name in [&b"../home/x"[..], b"/tmp/x", b"..", b"", b".bashrc", b"a/b", b"x\0y", b".hikyaku-evil"] {
        let client = lying_server(head(name, &data), steps.clone()).await;
        let result = client.get_file(&event(1), &into, &Progress::none()).await;
        assert_eq!(code(result), ErrorCode::NAME_REFUSED, "{}", hikyaku_files::escape(name));
    }
    assert!(names(&world.path("into")).is_empty() && names(&world.path("home")).is_empty());
    let renamed = Destination { name: Some(b"mine".to_vec()), ..into };
    let client = lying_server(head(b"../x", &data), steps).await;
    client.get_file(&event(1), &renamed, &Progress::none()).await.unwrap();
    assert_eq!(names(&world.path("into")), ["mine"]);
}

#[tokio::test]
async fn a_server_that_sends_something_else_than_it_announced_publishes_nothing() {
    let world = World::new();
    let (data, other) = (bytes(70_000), bytes(70_001)[..70_000].to_vec());
    let into = Destination::new(world.path("into"));
    let lies = [
        (vec![(block(0, &other), Some(other.clone())), (close_of(&other), None)], ErrorCode::ROOT_MISMATCH),
        (vec![(block(0, &data), Some(other.clone()))], ErrorCode::GROUP_MISMATCH),
        (vec![(block(0, &data), Some(data.clone())), (close_of(&other), None)], ErrorCode::ROOT_MISMATCH),
        (vec![(close_of(&data), None)], ErrorCode::RANGE_INVALID),
        (vec![(block(65_536, &data), Some(data.clone()))], ErrorCode::RANGE_INVALID),
    ];
    for (steps, expected) in lies {
        let client = lying_server(head(b"f", &data), steps).await;
        assert_eq!(code(client.get_file(&event(1), &into, &Progress::none()).await), expected);
        assert!(!world.path("into/f").exists());
        for left in names(&world.path("into")) {
            std::fs::remove_file(world.path("into").join(left)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_claims_more_than_the_disk_holds_is_refused_without_a_byte() {
    let world = World::new();
    let huge = Head { size: Some(1 << 52), ..head(b"f", b"") };
    let client = lying_server(huge, vec![]).await;
    let into = Destination::new(world.path("into"));
    assert_eq!(code(client.get_file(&event(1), &into, &Progress::none()).await), ErrorCode::FULL);
    let bounded = Destination { max_size: 9, ..into };
    let client = lying_server(head(b"f", &bytes(10)), vec![]).await;
    assert_eq!(code(client.get_file(&event(1), &bounded, &Progress::none()).await), ErrorCode::LIMIT);
}
