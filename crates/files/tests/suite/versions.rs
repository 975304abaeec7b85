//! A newer version of what the receiver has an older one of: what did not change is not sent, and nobody learns or gets
//! more by it than they had.

use bytes::Bytes;
use hikyaku::{Connection, ErrorCode, Exchange};
use hikyaku_files::rooms::Owner;
use hikyaku_files::tree::{self, GROUP};
use hikyaku_files::versions::{Index, Spared, Sparing};
use hikyaku_files::{DropOptions, FilesClient, FilesError, FilesLimits, Outgoing, OutgoingTree, Progress};
use hikyaku_wire::files::{
    Accept, Answer, Block, Close, Composed, Overwrite, PROTOCOL, PUT, Part, PutOptions, Receipt, Step, Target,
};
use hikyaku_wire::parcel::Root;

use crate::world::*;

const LEN: usize = 2_000_000;
const BLOCK: usize = 8 * GROUP;

/// A version with something put in, and with something changed.
fn newer(data: &[u8]) -> Vec<u8> {
    let mut newer = data.to_vec();
    newer.splice(700_001..700_001, bytes(333));
    newer[1_500_000] ^= 1;
    newer
}

fn replacing() -> PutOptions {
    PutOptions { overwrite: Some(Overwrite::Always), ..PutOptions::default() }
}

fn root(data: &[u8]) -> Root {
    Root(*blake3::hash(data).as_bytes())
}

/// Where the older version lies and the newer one goes: a room, and the directory with the right to replace.
fn places() -> [(Target, Option<PutOptions>); 2] {
    [(room(), None), (here(), Some(replacing()))]
}

fn outgoing(world: &World, data: &[u8], target: Target, options: Option<PutOptions>) -> Outgoing {
    let path = world.path("home/f");
    std::fs::write(&path, data).unwrap();
    let outgoing = Outgoing::new(&path, None, target).unwrap();
    options.into_iter().fold(outgoing, Outgoing::with_options)
}

async fn send(world: &World, outgoing: &Outgoing) -> Result<Receipt, FilesError> {
    FilesClient::new(world.connect().await).send_file(outgoing, &Progress::none()).await
}

async fn offered(connection: &Connection, outgoing: &Outgoing) -> (Exchange, Accept) {
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(accept) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    (exchange, accept)
}

async fn told(exchange: &mut Exchange, accept: &Accept) -> Index {
    let mut index = Index::new(accept.older.expect("an older version")).unwrap();
    while !index.is_whole() {
        let Answer::Pieces(pieces) = exchange.receive().await.unwrap() else { panic!("pieces") };
        index.hear(&pieces).unwrap();
    }
    index
}

fn blocks(data: &[u8], from: usize) -> impl Iterator<Item = (Block, Bytes)> {
    data[from..].chunks(BLOCK).enumerate().map(move |(number, bytes)| {
        let offset = (from + number * BLOCK) as u64;
        let groups = bytes.chunks(GROUP).enumerate();
        let cvs = groups.flat_map(|(index, group)| tree::group(offset + (index * GROUP) as u64, group).cv);
        let block = Block { entry: None, offset, len: bytes.len() as u64, cvs: cvs.collect() };
        (block, Bytes::copy_from_slice(bytes))
    })
}

/// What a sender says of the newer version, who was told of the older one.
fn spared(index: Index, data: &[u8], from: usize) -> Vec<Spared> {
    let mut sparing = Sparing::new(index, from as u64).unwrap();
    blocks(data, from).for_each(|(block, bytes)| sparing.take(block, bytes));
    sparing.end();
    std::iter::from_fn(|| sparing.next_block()).collect()
}

/// Says it; how many bytes were sent.
async fn say(exchange: &mut Exchange, spared: Vec<Spared>) -> usize {
    let mut sent = 0;
    for Spared { block, parts, rest } in spared {
        sent += rest.len();
        match parts.is_empty() {
            true => exchange.send(&Step::Block(block)).await.unwrap(),
            false => exchange.send(&Step::Composed(Composed { block, parts })).await.unwrap(),
        }
        if !rest.is_empty() {
            exchange.send_data(rest).await.unwrap();
        }
    }
    sent
}

async fn close(exchange: &mut Exchange, data: &[u8]) -> Result<Receipt, hikyaku::Error> {
    let close = Close { entry: None, size: data.len() as u64, root: root(data) };
    exchange.send(&Step::Close(close)).await.unwrap();
    loop {
        match exchange.receive::<Answer>().await? {
            Answer::Receipt(receipt) => return Ok(receipt),
            Answer::Pieces(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn there(world: &World, target: &Target, root: Root) -> Vec<u8> {
    let path = match target {
        Target::Room(_) | Target::Device(..) => world.path("vault/objects").join(root.to_string()),
        Target::Drop(_) => world.path("drop/f"),
    };
    std::fs::read(path).unwrap()
}

//= S5.100 (test)
//= S5.104 (test)
#[tokio::test]
async fn of_a_newer_version_only_what_changed_is_sent() {
    for (target, options) in places() {
        let (world, old) = (World::new(), bytes(LEN));
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let new = newer(&old);
        let newer = outgoing(&world, &new, target.clone(), options);
        let connection = world.connect().await;
        let (mut exchange, accept) = offered(&connection, &newer).await;
        assert_eq!(accept.older.map(|older| older.size), Some(LEN as u64));
        let index = told(&mut exchange, &accept).await;
        let sent = say(&mut exchange, spared(index, &new, 0)).await;
        assert!(sent < 6 * GROUP, "{sent} of {} bytes were sent", new.len());
        let receipt = close(&mut exchange, &new).await.unwrap();
        assert_eq!((receipt.root, receipt.size), (root(&new), new.len() as u64));
        assert!(there(&world, &target, receipt.root) == new);
    }
}

//= S5.100 (test)
//= S5.104 (test)
#[tokio::test]
async fn the_client_does_so_by_itself_for_files_and_for_trees() {
    for (target, options) in places() {
        let (world, old) = (World::new(), bytes(LEN));
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        for new in [newer(&old), old[..1_000_000].to_vec(), [&old[..], &old[..]].concat(), old.clone()] {
            let receipt = send(&world, &outgoing(&world, &new, target.clone(), options)).await.unwrap();
            assert_eq!(receipt.root, root(&new));
            assert!(there(&world, &target, receipt.root) == new);
        }
    }
    let world = World::new();
    std::fs::create_dir(world.path("home/t")).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(world.path("home/t").join(name), bytes(LEN)).unwrap();
        let paths = [world.path("home/t")];
        let tree =
            OutgoingTree::new(&paths, None, room(), PutOptions::default(), Default::default()).unwrap();
        let client = FilesClient::new(world.connect().await);
        client.send_tree(&tree, &Progress::none()).await.unwrap();
    }
    let got = world.get(&event(3)).await.unwrap();
    assert_eq!(got.report.unwrap().missing.len(), 0);
    assert!(std::fs::read(world.path("into/t/c")).unwrap() == bytes(LEN));
}

//= S5.100 (test)
//= S5.103 (test)
#[tokio::test]
async fn a_thief_who_knows_a_name_gets_and_learns_nothing() {
    let (world, secret) = (World::new(), bytes(LEN));
    send(&world, &outgoing(&world, &secret, room(), None)).await.unwrap();
    world.rooms.log().outside.push(BOB);
    let thief = world.connect_as(BOB).await;
    let mut told = Vec::new();
    // Where there is such a name, and where there is none.
    for name in [&b"f"[..], b"nothing of this name"] {
        let outgoing = Outgoing::new(&world.path("home/f"), Some(name), room()).unwrap();
        let (mut exchange, accept) = offered(&thief, &outgoing).await;
        let (block, _) = blocks(&secret, 0).next().unwrap();
        let parts = vec![Part { at: 0, len: block.len, from: 0 }];
        exchange.send(&Step::Composed(Composed { block, parts })).await.unwrap();
        let refused = exchange.receive::<Answer>().await.unwrap_err();
        let unnamed = Accept { transfer: hikyaku_wire::parcel::TransferId([0; 16]), ..accept };
        told.push((unnamed, refused.code(), refused.to_string()));
    }
    assert_eq!(told[0], told[1], "neither acceptance nor refusal tells anything");
    assert!(told[0].0.older.is_none());
    assert_eq!(told[0].1, ErrorCode::RANGE_INVALID);
    assert_eq!(world.rooms.end(2), None, "it still waits for its bytes");
}

//= S5.100 (test)
#[tokio::test]
async fn who_does_not_ask_and_what_is_not_replaced_is_told_nothing() {
    let (world, old) = (World::new(), bytes(LEN));
    for (target, options) in places() {
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let quiet = PutOptions { parts: Some(false), ..options.unwrap_or_default() };
        let connection = world.connect().await;
        let (_, accept) = offered(&connection, &outgoing(&world, &newer(&old), target, Some(quiet))).await;
        assert!(accept.older.is_none());
    }
    // One that gets another name replaces nothing, whatever its sender asks for.
    let aside = PutOptions { overwrite: Some(Overwrite::Rename), parts: Some(true), ..PutOptions::default() };
    let connection = world.connect().await;
    let (_, accept) = offered(&connection, &outgoing(&world, &newer(&old), here(), Some(aside))).await;
    assert!(accept.older.is_none());
    // A link is followed nowhere.
    std::fs::write(world.path("outside"), &old).unwrap();
    std::fs::remove_file(world.path("drop/f")).unwrap();
    std::os::unix::fs::symlink("../outside", world.path("drop/f")).unwrap();
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing(&world, &newer(&old), here(), Some(replacing())).offer()).await.unwrap();
    if let Ok(Answer::Accept(accept)) = exchange.receive().await {
        assert!(accept.older.is_none());
    }
}

//= S5.104 (test)
#[tokio::test]
async fn what_was_put_together_counts_after_a_break() {
    for (target, options) in places() {
        let (mut world, old) = (World::new(), bytes(LEN));
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let new = newer(&old);
        let newer = outgoing(&world, &new, target.clone(), options);
        let connection = world.connect().await;
        let (mut exchange, accept) = offered(&connection, &newer).await;
        let index = told(&mut exchange, &accept).await;
        let mut all = spared(index, &new, 0);
        all.truncate(3);
        say(&mut exchange, all).await;
        let staging = world.path(if target == here() { "drop/.hikyaku" } else { "vault/partials" });
        let part = staging.join(format!("{}.part", newer.transfer()));
        until("three blocks are written", || part.metadata().unwrap().len() == 3 * BLOCK as u64).await;
        drop(exchange);
        connection.close().await;
        let (server, transfer) = (world.server.clone(), newer.transfer());
        until("the transfer stands", || !server.is_receiving(transfer)).await;
        drop(server);
        world.restart();
        let connection = world.connect().await;
        let (mut exchange, accept) = offered(&connection, &newer).await;
        assert_eq!(accept.from, 3 * BLOCK as u64);
        assert_eq!(accept.prefix, Some(root(&new[..3 * BLOCK])));
        let index = told(&mut exchange, &accept).await;
        let sent = say(&mut exchange, spared(index, &new, 3 * BLOCK)).await;
        assert!(sent < 4 * GROUP, "{sent} bytes");
        close(&mut exchange, &new).await.unwrap();
        assert!(there(&world, &target, root(&new)) == new);
        // And by the client itself, from a break on.
        assert_eq!(send(&world, &newer).await.unwrap().root, root(&new));
    }
}

//= S5.105 (test)
#[tokio::test]
async fn an_older_version_that_changed_meanwhile_costs_an_attempt_and_no_byte() {
    let (world, old) = (World::new(), bytes(LEN));
    send(&world, &outgoing(&world, &old, here(), Some(replacing()))).await.unwrap();
    let new = newer(&old);
    let newer = outgoing(&world, &new, here(), Some(replacing()));
    for damage in [&b"somebody else's bytes"[..], b""] {
        std::fs::write(world.path("drop/f"), &old).unwrap();
        let connection = world.connect().await;
        let (mut exchange, accept) = offered(&connection, &newer).await;
        let index = told(&mut exchange, &accept).await;
        // The same file, written to or cut short.
        std::fs::write(world.path("drop/f"), damage).unwrap();
        let all = spared(index, &new, usize::try_from(accept.from).unwrap());
        say(&mut exchange, all).await;
        let refused = close(&mut exchange, &new).await.unwrap_err();
        assert_eq!((refused.code(), refused.is_retryable()), (ErrorCode::UNAVAILABLE, true));
        assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), damage, "nothing was published");
    }
    // What it is now is too small to be of use: all of it is sent.
    assert_eq!(send(&world, &newer).await.unwrap().root, root(&new));
    assert!(there(&world, &here(), root(&new)) == new);
}

//= S5.105 (test)
#[tokio::test]
async fn a_sender_who_names_other_parts_publishes_nothing() {
    for (target, options) in places() {
        let (world, old) = (World::new(), bytes(LEN));
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let new = newer(&old);
        let connection = world.connect().await;
        let (mut exchange, accept) =
            offered(&connection, &outgoing(&world, &new, target.clone(), options)).await;
        told(&mut exchange, &accept).await;
        let (block, _) = blocks(&new, 0).next().unwrap();
        let parts = vec![Part { at: 0, len: block.len, from: 1 }];
        exchange.send(&Step::Composed(Composed { block, parts })).await.unwrap();
        let refused = exchange.receive::<Answer>().await.unwrap_err();
        assert_eq!((refused.code(), refused.is_retryable()), (ErrorCode::UNAVAILABLE, true));
        assert!(there(&world, &target, root(&old)) == old, "the older version stays");
    }
}

#[tokio::test]
async fn who_finds_no_place_to_be_told_sends_all_of_it() {
    let limits = FilesLimits { max_indexed: 0, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions { keep_free: 0, ..DropOptions::default() });
    let old = bytes(LEN);
    for (target, options) in places() {
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let new = newer(&old);
        let newer = outgoing(&world, &new, target.clone(), options);
        let connection = world.connect().await;
        let (exchange, accept) = offered(&connection, &newer).await;
        assert!(accept.older.is_none());
        drop(exchange);
        assert_eq!(send(&world, &newer).await.unwrap().root, root(&new));
    }
}

#[tokio::test]
async fn what_is_too_small_to_be_a_newer_version_has_no_older_one() {
    for (target, options) in places() {
        let (world, old) = (World::new(), bytes(LEN));
        send(&world, &outgoing(&world, &old, target.clone(), options)).await.unwrap();
        let connection = world.connect().await;
        for (len, is_told) in [(256 * 1024 - 1, false), (256 * 1024, true)] {
            let newer = outgoing(&world, &old[..len], target.clone(), options);
            let asking = PutOptions { parts: Some(true), ..newer.offer().options.unwrap_or_default() };
            let (_, accept) = offered(&connection, &newer.with_options(asking)).await;
            assert_eq!(accept.older.is_some(), is_told, "{len} bytes");
        }
    }
}

/// One byte of a file that a user may replace and not read, as he thinks it is: the end of a part that he knows.
async fn guess(world: &World, who: Owner, known: &[u8], byte: u8) -> Result<(), hikyaku::Error> {
    let data = [known, &[byte]].concat();
    let connection = world.connect_as(who).await;
    let newer = outgoing(world, &bytes(300_001), here(), Some(replacing()));
    let (mut exchange, accept) = offered(&connection, &newer).await;
    if accept.older.is_some() {
        told(&mut exchange, &accept).await;
    }
    let (block, _) = blocks(&data, 0).next().unwrap();
    let parts = vec![Part { at: 0, len: block.len, from: 0 }];
    exchange.send(&Step::Composed(Composed { block, parts })).await?;
    // What comes behind it is of no kind at all: that is refused where the guess was right.
    let _ = exchange.send_data(Bytes::from_static(b"?")).await;
    exchange.receive::<Answer>().await.map(drop)
}

//= S5.106 (test)
#[tokio::test]
async fn who_may_replace_a_file_and_not_read_it_does_not_find_it_out_byte_by_byte() {
    let (world, secret) = (World::new(), bytes(300_000));
    std::fs::write(world.path("drop/f"), &secret).unwrap();
    let known = &secret[..2_047];
    for (wrong, byte) in (0..=255).filter(|byte| *byte != secret[2_047]).take(9).enumerate() {
        let refused = guess(&world, ADA, known, byte).await.unwrap_err();
        let expected = if wrong < 8 { ErrorCode::UNAVAILABLE } else { ErrorCode::RANGE_INVALID };
        assert_eq!(refused.code(), expected, "guess {wrong}: {refused}");
    }
    let right = guess(&world, ADA, known, secret[2_047]).await.unwrap_err();
    assert_eq!(right.code(), ErrorCode::RANGE_INVALID, "also a right one is no longer compared");
    // Whoever knows less than that cannot even ask, and whoever never guessed is told as before.
    let short = guess(&world, BOB, &secret[..2_046], secret[2_046]).await.unwrap_err();
    assert_eq!(short.code(), ErrorCode::RANGE_INVALID);
    let right = guess(&world, BOB, known, secret[2_047]).await.unwrap_err();
    assert_eq!(right.code(), ErrorCode::INVALID_MESSAGE);
}
