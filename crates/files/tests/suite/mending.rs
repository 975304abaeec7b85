//! What decays in a vault is given back by whoever still has it, and by nobody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hikyaku::{ErrorCode, Incoming};
use hikyaku_files::{Destination, DropOptions, FilesClient, FilesLimits, Progress, WalkOptions};
use hikyaku_wire::files::mending::{Lacking, MEND, MendRequest, Mended, Span};
use hikyaku_wire::files::{Block, Close, GROUP_LEN, PROTOCOL, PutOptions, Step, Wanted};
use hikyaku_wire::parcel::{EntryKind, Root};

use crate::trees::{garden, outgoing, send};
use crate::world::{ADA, BOB, World, event, names, room};

const LEN: usize = 8 << 20;

/// A file in the vault.
fn object(world: &World, root: Root, suffix: &str) -> PathBuf {
    world.path("vault/objects").join(format!("{root}{suffix}"))
}

/// Changes a file of the vault as a disk would: in its place, whatever its mode.
fn decay(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn root(data: &[u8]) -> Root {
    Root(*blake3::hash(data).as_bytes())
}

/// Mends, once nobody else does: whoever has just ended may not have left yet.
async fn repair(
    client: &FilesClient,
    wanted: &Wanted,
    from: &Path,
) -> hikyaku_files::Result<hikyaku_files::client::Repaired> {
    let begun = Instant::now();
    loop {
        match client.repair(wanted, from, &WalkOptions::default()).await {
            Err(error) if error.code() == ErrorCode::BUSY && begun.elapsed() < Duration::from_secs(120) => {
                tokio::task::yield_now().await;
            }
            ended => return ended,
        }
    }
}

//= S5.122 (test)
#[tokio::test]
async fn what_decayed_is_given_back_by_who_sent_it_or_fetched_it() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let fetched = world.get(&event(1)).await.unwrap();
    let root = root(&data);
    let (content, values) = (object(&world, root, ""), object(&world, root, ".tree"));
    let good = (fs::read(&content).unwrap(), fs::read(&values).unwrap());
    let client = FilesClient::new(world.connect_as(BOB).await);
    let copy = world.path("into").join(fetched.name.as_os_str());
    fs::create_dir(world.path("elsewhere")).unwrap();
    for (from, bytes, hashes) in
        [(&path, 65_536, false), (&copy, 65_536, false), (&path, 0, true), (&path, 0, false)]
    {
        match (bytes, hashes) {
            (0, false) => {}
            (0, true) => decay(&values, |values| values[100] ^= 1),
            _ => decay(&content, |bytes| bytes[5_000_000] ^= 0x10),
        }
        if bytes > 0 {
            let elsewhere = Destination::new(world.path("elsewhere"));
            let told = client.get_file(&event(1), &elsewhere, &Progress::none()).await.unwrap_err();
            assert!(!elsewhere.directory.join("f").exists());
            assert!(told.to_string().contains("bytes 4980736 to 5046271 are damaged"), "{told}");
        }
        let repaired = repair(&client, &event(1), from).await.unwrap();
        assert_eq!((repaired.bytes, repaired.values, repaired.size), (bytes, hashes, LEN as u64));
        assert!(repaired.bytes * 100 < LEN as u64);
        assert_eq!((fs::read(&content).unwrap(), fs::read(&values).unwrap()), good);
    }
    // What is cut is longer than that, and comes back too; so does what lost its values as a file.
    decay(&content, |bytes| bytes.truncate(7 << 20));
    assert_eq!(repair(&client, &event(1), &path).await.unwrap().bytes, 1 << 20);
    fs::remove_file(&values).unwrap();
    assert!(repair(&client, &event(1), &path).await.unwrap().values);
    assert_eq!((fs::read(&content).unwrap(), fs::read(&values).unwrap()), good);
    assert_eq!(world.rooms.log().parcels.len(), 1, "nobody is told of it");
    assert_eq!(names(&world.path("vault/refs").join(root.to_string())).len(), 1);
}

//= S5.122 (test)
#[tokio::test]
async fn other_bytes_mend_nothing() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let content = object(&world, root(&data), "");
    decay(&content, |bytes| bytes[200_000] ^= 1);
    let decayed = fs::read(&content).unwrap();
    let client = FilesClient::new(world.connect().await);
    let other = world.path("home/other");
    let mut wrong = data.clone();
    wrong[196_608] ^= 1;
    fs::write(&other, &wrong).unwrap();
    let refused = repair(&client, &event(1), &other).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::GROUP_MISMATCH);
    assert!(refused.to_string().contains("196608"), "{refused}");
    fs::write(&other, &data[1..]).unwrap();
    let refused = repair(&client, &event(1), &other).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::SOURCE_CHANGED);
    assert!(fs::read(&content).unwrap() == decayed, "nothing of it was written");
    repair(&client, &event(1), &path).await.unwrap();
    assert!(fs::read(&content).unwrap() == data);
    // Both have decayed: it is said to be lost, and sending it again helps.
    decay(&content, |bytes| bytes[0] ^= 1);
    decay(&object(&world, root(&data), ".tree"), |values| values[0] ^= 1);
    let lost = repair(&client, &event(1), &path).await.unwrap_err();
    assert_eq!(lost.code(), ErrorCode::ROOT_MISMATCH);
    assert!(lost.to_string().contains("send all of it again"), "{lost}");
}

//= S5.120 (test)
//= S5.122 (test)
#[tokio::test]
async fn who_breaks_off_leaves_what_was_proved_and_another_goes_on() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let content = object(&world, root(&data), "");
    decay(&content, |bytes| [0, 1_000_000].into_iter().for_each(|at| bytes[at] ^= 1));
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, MEND).await.unwrap();
    exchange.send(&MendRequest { wanted: event(1) }).await.unwrap();
    let lacking: Lacking = exchange.receive().await.unwrap();
    let spans = vec![Span { offset: 0, len: GROUP_LEN }, Span { offset: 15 * GROUP_LEN, len: GROUP_LEN }];
    let (size, kind) = (LEN as u64, EntryKind::File);
    assert_eq!(lacking, Lacking { root: root(&data), size, kind, spans, more: None });
    // Meanwhile nobody else mends it.
    let second = FilesClient::new(world.connect_as(BOB).await);
    let busy = second.repair(&event(1), &path, &WalkOptions::default()).await.unwrap_err();
    assert_eq!(busy.code(), ErrorCode::BUSY);
    let block = Block { entry: None, offset: 0, len: GROUP_LEN, cvs: vec![0; 32] };
    exchange.send(&Step::Block(block)).await.unwrap();
    exchange.send_data(data[..65_536].to_vec().into()).await.unwrap();
    // A close before everything came is none.
    exchange.send(&Step::Close(Close { entry: None, size, root: root(&data) })).await.unwrap();
    let refused = exchange.receive::<Mended>().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::RANGE_INVALID);
    drop(exchange);
    let repaired = repair(&second, &event(1), &path).await.unwrap();
    assert_eq!((repaired.bytes, repaired.places), (65_536, 1), "the first group is mended");
    assert!(fs::read(&content).unwrap() == data);
    // Everything of it is recorded: by whom, and how much.
    let mends = world.rooms.log().mends.clone();
    let told: Vec<_> = mends
        .iter()
        .map(|(who, _, lacking, mended, said)| {
            let said = said.split(':').next().unwrap_or_default();
            (*who, lacking.unwrap_or(0) / GROUP_LEN, mended / GROUP_LEN, said)
        })
        .collect();
    let (accepted, finished) = ("accepted", "finished");
    let bob = [(BOB, 0, 0, "refused"), (BOB, 1, 0, accepted), (BOB, 1, 1, finished)];
    let told_of = |who| {
        let mut of: Vec<_> = told.iter().copied().filter(|told| told.0 == who).collect();
        // Refused as often as it was tried meanwhile.
        of.dedup();
        of
    };
    assert_eq!(told_of(BOB), bob);
    assert_eq!(told_of(ADA), [(ADA, 2, 0, accepted), (ADA, 2, 1, "failed")]);
}

//= S5.124 (test)
#[tokio::test]
async fn who_says_nothing_more_keeps_neither_the_object_nor_a_place() {
    let mend_timeout = std::time::Duration::from_millis(200);
    let limits = FilesLimits { max_gets: 1, mend_timeout, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions { keep_free: 0, ..DropOptions::default() });
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    decay(&object(&world, root(&data), ""), |bytes| bytes[0] ^= 1);
    // Both times the object and the only place are free, when it is said that the wait is over.
    for begins in [true, false] {
        let mut exchange = world.connect().await.open(PROTOCOL, MEND).await.unwrap();
        exchange.send(&MendRequest { wanted: event(1) }).await.unwrap();
        let told = match exchange.receive::<Lacking>().await {
            Ok(_) => {
                if begins {
                    let block = Block { entry: None, offset: 0, len: GROUP_LEN, cvs: vec![0; 32] };
                    exchange.send(&Step::Block(block)).await.unwrap();
                    exchange.send_data(data[..1000].to_vec().into()).await.unwrap();
                }
                exchange.receive::<Mended>().await.unwrap_err()
            }
            Err(error) => error,
        };
        assert_eq!(told.code(), ErrorCode::LIMIT);
        assert!(told.to_string().contains("mend_timeout"), "{told}");
    }
    let mends = std::mem::take(&mut world.rooms.log().mends);
    assert!(mends.iter().all(|(who, found, ..)| (*who, *found) == (ADA, true)), "{mends:?}");
    let (begun, ended): (Vec<_>, Vec<_>) = mends.into_iter().partition(|(.., said)| said == "accepted");
    assert_eq!((begun.len(), ended.len()), (2, 2));
    assert!(ended.iter().all(|(.., said)| said.contains("failed: the receiver's limit mend_timeout")));
    assert!(ended.iter().all(|(_, _, lacking, mended, _)| (*lacking, *mended) == (Some(GROUP_LEN), 0)));
}

//= S5.124 (test)
#[tokio::test]
async fn who_asks_what_a_whole_parcel_lacks_keeps_nobody_from_anything() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, MEND).await.unwrap();
    exchange.send(&MendRequest { wanted: event(1) }).await.unwrap();
    let lacking: Lacking = exchange.receive().await.unwrap();
    assert_eq!(lacking.spans, []);
    let second = FilesClient::new(world.connect_as(BOB).await);
    let repaired = second.repair(&event(1), &path, &WalkOptions::default()).await.unwrap();
    assert_eq!(repaired.bytes, 0);
    let close = Close { entry: None, size: LEN as u64, root: root(&data) };
    exchange.send(&Step::Close(close)).await.unwrap();
    assert_eq!(exchange.receive::<Mended>().await.unwrap(), Mended { bytes: 0, values: None });
}

//= S5.121 (test)
#[tokio::test]
async fn a_tree_is_mended_from_its_directory() {
    let world = World::new();
    let at = garden(&world);
    fs::write(at.join("big"), crate::world::bytes(3 << 20)).unwrap();
    let sent =
        send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    let content = object(&world, sent.root, "");
    let good = fs::read(&content).unwrap();
    let fetched = world.get(&event(1)).await.unwrap();
    let copy = world.path("into").join(fetched.name.as_os_str());
    let client = FilesClient::new(world.connect().await);
    for from in [&at, &copy] {
        let last = good.len() - 1;
        decay(&content, |bytes| [0, 2_000_000, last].into_iter().for_each(|at| bytes[at] ^= 1));
        let repaired = repair(&client, &event(1), from).await.unwrap();
        assert_eq!(repaired.places, 3, "{}", from.display());
        assert!(fs::read(&content).unwrap() == good);
    }
    fs::write(copy.join("small"), b"other words now!").unwrap();
    decay(&content, |bytes| bytes[2_000_000] ^= 1);
    let refused = repair(&client, &event(1), &copy).await;
    assert!(refused.is_ok() || refused.is_err_and(|error| error.code() == ErrorCode::GROUP_MISMATCH));
}

//= S5.123 (test)
#[tokio::test]
async fn what_is_not_there_or_not_whole_is_not_mended() {
    let world = World::new();
    let client = FilesClient::new(world.connect().await);
    let (path, _) = world.file("f", 1000);
    let wanted: Wanted = event(9);
    let refused = repair(&client, &wanted, &path).await.unwrap_err();
    assert_eq!(refused.code(), world.get(&wanted).await.unwrap_err().code());
    // Begun, and not ended.
    let outgoing = hikyaku_files::Outgoing::new(&path, None, room()).unwrap();
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, hikyaku_wire::files::PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    assert!(matches!(exchange.next().await.unwrap(), Some(Incoming::Message(_))));
    let refused = repair(&client, &event(1), &path).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UNAVAILABLE);
}
