//! Trees of which something is there already: only the rest is sent.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hikyaku_files::{Destination, FilesClient, Item, OutgoingTree, Progress, WalkOptions};
use hikyaku_wire::files::{Overwrite, PutOptions, Receipt, TreeReceipt, Verdict};

use crate::trees::{expected, garden, look, orchard, outgoing, send};
use crate::world::{World, bytes, code, event, here, names, room};

async fn put(world: &World, at: &Path, options: PutOptions) -> Receipt {
    send(world, &outgoing(&[at.to_owned()], here(), options)).await.unwrap()
}

fn always() -> PutOptions {
    PutOptions { overwrite: Some(Overwrite::Always), ..PutOptions::default() }
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

//= S5.60 (test)
//= S5.62 (test)
#[tokio::test]
async fn an_unchanged_tree_is_not_sent_again() {
    let world = World::new();
    let at = orchard(&world);
    let first = put(&world, &at, PutOptions::default()).await;
    let again = put(&world, &at, PutOptions::default()).await;
    let (first_tree, again_tree) = (first.tree.unwrap(), again.tree.unwrap());
    assert_eq!(first_tree.kept, None);
    assert_eq!((again_tree.kept, again_tree.kept_bytes), (Some(20 * 31), Some(first_tree.bytes)));
    let counts = |tree: &TreeReceipt| (tree.entries, tree.bytes, tree.missing);
    assert_eq!(counts(&again_tree), counts(&first_tree));
    assert!(again.size < first.size / 1000, "{} bytes of {}", again.size, first.size);
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

#[tokio::test]
async fn one_of_everything_is_not_sent_again_and_nothing_is_missing() {
    let world = World::new();
    let at = garden(&world);
    put(&world, &at, PutOptions::default()).await;
    let again = put(&world, &at, PutOptions::default()).await;
    let tree = again.tree.unwrap();
    assert_eq!((tree.missing, tree.first), (0, vec![]));
    assert_eq!(tree.entries, look(&at).len() as u64);
    assert_eq!(look(&world.path("drop/garden")), expected(&at));
}

#[tokio::test]
async fn what_changed_is_sent_and_the_rest_is_not() {
    let world = World::new();
    let at = orchard(&world);
    put(&world, &at, PutOptions::default()).await;
    fs::write(at.join("row 07/tree 3"), b"another text").unwrap();
    fs::write(at.join("row 11/a new one"), bytes(70_000)).unwrap();
    fs::set_permissions(at.join("row 03/tree 9"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(at.join("row 00/log")).unwrap();
    let again = put(&world, &at, always()).await;
    let tree = again.tree.unwrap();
    assert_eq!(tree.kept, Some(20 * 31 - 3));
    assert!(again.size < 100_000, "{}", again.size);
    // What the sender has no more stays at the receiver.
    let mut there = look(&world.path("drop/orchard"));
    assert!(there.remove(Path::new("row 00/log")).is_some());
    assert_eq!(there, look(&at));
}

#[tokio::test]
async fn several_paths_are_compared_with_what_is_there() {
    let world = World::new();
    let at = garden(&world);
    let (file, data) = world.file("z file", 100_000);
    put(&world, &file, PutOptions::default()).await;
    let sent = send(&world, &outgoing(&[at.clone(), file], here(), PutOptions::default())).await.unwrap();
    assert_eq!(sent.tree.unwrap().kept, Some(1));
    assert_eq!(look(&world.path("drop/garden")), expected(&at));
    assert_eq!(fs::read(world.path("drop/z file")).unwrap(), data);
}

/// What became of two files of which one is older and one is newer than what is there.
#[tokio::test]
async fn the_policy_decides_before_anything_is_sent() {
    for (overwrite, older, newer, kept, missing) in [
        (Overwrite::Never, "theirs", "theirs", 2, 2),
        (Overwrite::Newer, "theirs", "ours", 1, 0),
        (Overwrite::Always, "ours", "ours", 0, 0),
        (Overwrite::Rename, "theirs", "theirs", 0, 0),
    ] {
        let world = World::new();
        for (place, content) in [("home/t", "ours"), ("drop/t", "theirs")] {
            fs::create_dir_all(world.path(place)).unwrap();
            for name in ["newer", "older"] {
                let file = world.path(place).join(name);
                fs::write(&file, content).unwrap();
                let is_late = (name == "newer") == (content == "ours");
                set_time(&file, if is_late { 2_000 } else { 1_000 });
            }
        }
        let put_options = PutOptions { overwrite: Some(overwrite), ..PutOptions::default() };
        let tree = put(&world, &world.path("home/t"), put_options).await.tree.unwrap();
        let read = |name| fs::read_to_string(world.path("drop/t").join(name)).unwrap();
        assert_eq!((read("older"), read("newer")), (older.into(), newer.into()), "{overwrite:?}");
        assert_eq!((tree.kept.unwrap_or(0), tree.missing), (kept, missing), "{overwrite:?}");
        let is_renamed = overwrite == Overwrite::Rename;
        assert_eq!(names(&world.path("drop/t")).len(), if is_renamed { 4 } else { 2 }, "{overwrite:?}");
    }
}

#[tokio::test]
async fn with_checksums_content_decides_and_time_does_not() {
    let world = World::new();
    fs::create_dir_all(world.path("home/t")).unwrap();
    for name in ["a", "b"] {
        fs::write(world.path("home/t").join(name), bytes(100_000)).unwrap();
    }
    put(&world, &world.path("home/t"), PutOptions::default()).await;
    // One has another time and the same content, the other the same time and another content.
    set_time(&world.path("home/t/a"), 1_000);
    let time = fs::metadata(world.path("home/t/b")).unwrap().modified().unwrap();
    fs::write(world.path("home/t/b"), [7; 100_000]).unwrap();
    fs::File::options().write(true).open(world.path("home/t/b")).unwrap().set_modified(time).unwrap();
    let unseen = put(&world, &world.path("home/t"), always()).await.tree.unwrap();
    assert_eq!(unseen.kept, Some(1), "by time, a is new and b is not");
    assert_eq!(fs::read(world.path("drop/t/b")).unwrap(), bytes(100_000));
    set_time(&world.path("home/t/a"), 2_000);
    let checksum = PutOptions { checksum: Some(true), ..always() };
    let seen = put(&world, &world.path("home/t"), checksum).await.tree.unwrap();
    assert_eq!(seen.kept, Some(1), "by content, b is new and a is not");
    assert_eq!(fs::read(world.path("drop/t/b")).unwrap(), [7; 100_000]);
}

#[tokio::test]
async fn hard_links_to_what_is_there_are_made() {
    let world = World::new();
    let at = world.path("home/t");
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("a"), bytes(100_000)).unwrap();
    put(&world, &at, PutOptions::default()).await;
    fs::hard_link(at.join("a"), at.join("b")).unwrap();
    let sent = put(&world, &at, PutOptions::default()).await;
    assert_eq!(sent.tree.unwrap().missing, 0);
    let inode = |name| fs::metadata(world.path("drop/t").join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert!(sent.size < 1_000);
}

/// An upload of an orchard that was cut when 20 MiB were past.
async fn cut(world: &World, outgoing: &OutgoingTree) {
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cutting = tokio::spawn(crate::resuming::cut_at(connection.clone(), view, 20 << 20));
    FilesClient::new(connection).send_tree(outgoing, &progress).await.unwrap_err();
    cutting.await.unwrap();
}

/// Goes on until the old writing thread has left its mark: a real restart would have ended it.
async fn go_on(world: &World, outgoing: &OutgoingTree) -> (Receipt, u64) {
    let (progress, view) = Progress::new();
    let client = FilesClient::new(world.connect().await);
    loop {
        match client.send_tree(outgoing, &progress).await {
            Ok(receipt) => return (receipt, view.borrow().from),
            Err(error) => assert_eq!(error.code(), hikyaku::ErrorCode::BUSY, "{error}"),
        }
    }
}

//= S5.65 (test)
#[tokio::test]
async fn a_source_that_changed_during_a_break_is_sent_as_it_is_now() {
    let mut world = World::new();
    let at = orchard(&world);
    let outgoing = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    cut(&world, &outgoing).await;
    // In what was sent before, everything that may happen to it.
    let row = at.join("row 00");
    fs::write(row.join("log"), b"shorter").unwrap();
    fs::remove_file(row.join("tree 1")).unwrap();
    fs::remove_file(row.join("tree 2")).unwrap();
    fs::create_dir_all(row.join("tree 2/inside")).unwrap();
    fs::remove_file(row.join("tree 3")).unwrap();
    symlink("tree 4", row.join("tree 3")).unwrap();
    fs::write(row.join("a new one"), b"new").unwrap();
    fs::remove_dir_all(at.join("row 01")).unwrap();
    fs::write(at.join("row 01"), b"a file where a directory was").unwrap();
    let outgoing = OutgoingTree::decode(&outgoing.encode(), WalkOptions::default()).unwrap();
    world.restart();
    let (receipt, from) = go_on(&world, &outgoing).await;
    assert!(from > 0, "went on from {from}");
    assert_eq!(receipt.tree.unwrap().missing, 0);
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

#[tokio::test]
async fn a_second_break_loses_nothing_of_what_the_first_attempt_had() {
    let world = World::new();
    let at = orchard(&world);
    let outgoing = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    cut(&world, &outgoing).await;
    // The next attempt breaks before it has said anything new.
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cutting = tokio::spawn(crate::resuming::cut_at(connection.clone(), view, 1));
    let _ = FilesClient::new(connection).send_tree(&outgoing, &progress).await;
    drop(progress);
    cutting.await.unwrap();
    let (_, from) = go_on(&world, &outgoing).await;
    assert!(from > 0, "went on from {from}");
    assert_eq!(look(&world.path("drop/orchard")), look(&at));
}

#[tokio::test]
async fn what_is_here_already_is_not_fetched_again() {
    let world = World::new();
    let at = garden(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    let first = world.get(&event(1)).await.unwrap();
    let again = world.get(&event(1)).await.unwrap();
    assert_eq!(again.report.as_ref().unwrap().missing, []);
    let counts = |report: Option<hikyaku_files::Report>| {
        report.map(|report| (report.counts.entries, report.counts.bytes))
    };
    assert_eq!(counts(again.report.clone()), counts(first.report));
    assert!(again.receipt.size < first.receipt.size / 100, "{}", again.receipt.size);
    assert_eq!(look(&world.path("into/garden")), expected(&at));
    // What is gone comes again, and what is another one now stays.
    fs::remove_file(world.path("into/garden/deep/er/big")).unwrap();
    fs::remove_file(world.path("into/garden/sparse")).unwrap();
    fs::write(world.path("into/garden/program"), b"mine").unwrap();
    let mended = world.get(&event(1)).await.unwrap().report.unwrap();
    assert_eq!(mended.missing.len(), 1);
    assert_eq!(fs::read(world.path("into/garden/program")).unwrap(), b"mine");
    fs::remove_file(world.path("into/garden/program")).unwrap();
    world.get(&event(1)).await.unwrap();
    assert_eq!(look(&world.path("into/garden")), expected(&at));
}

#[tokio::test]
async fn a_bit_that_was_flipped_in_the_vault_is_found_when_a_part_is_fetched() {
    let world = World::new();
    let at = orchard(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    world.get(&event(1)).await.unwrap();
    fs::remove_file(world.path("into/orchard/row 13/log")).unwrap();
    let mut objects = fs::read_dir(world.path("vault/objects")).unwrap().map(|entry| entry.unwrap().path());
    let object = objects.find(|path| path.extension().is_none()).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    let mut content = fs::read(&object).unwrap();
    let middle = content.len() * 13 / 20 + 600_000;
    content[middle] ^= 1;
    fs::write(&object, content).unwrap();
    assert_eq!(code(world.get(&event(1)).await), hikyaku::ErrorCode::GROUP_MISMATCH);
    assert!(!world.path("into/orchard/row 13/log").exists());
}

//= S5.66 (test)
#[tokio::test]
async fn a_preview_tells_what_would_become_of_each_file_and_changes_nothing() {
    let world = World::new();
    let at = orchard(&world);
    put(&world, &at, PutOptions::default()).await;
    fs::write(at.join("row 04/log"), b"another").unwrap();
    fs::write(at.join("row 19/zz"), b"new").unwrap();
    // What the server keeps of the transfer goes when it has heard of its receipt's arrival, at some time.
    let seen = || {
        let mut seen = look(&world.path("drop"));
        seen.retain(|path, _| !path.starts_with(".hikyaku"));
        seen
    };
    let before = seen();
    let outgoing = outgoing(&[at], here(), always());
    let mut items: Vec<Item> = Vec::new();
    let client = FilesClient::new(world.connect().await);
    client.preview_tree(&outgoing, |item| items.push(item)).await.unwrap();
    assert_eq!(items.len(), 20 * 31 + 1);
    items.retain(|item| item.verdict != Verdict::SAME);
    let told: Vec<_> = items.iter().map(|item| (item.path.as_slice(), item.size, item.verdict)).collect();
    let (changed, new) = (&b"orchard/row 04/log"[..], &b"orchard/row 19/zz"[..]);
    assert_eq!(told, [(changed, 7, Verdict::REPLACES), (new, 3, Verdict::NEW)]);
    assert_eq!(seen(), before);
}

#[tokio::test]
async fn a_preview_of_what_would_be_fetched_changes_nothing() {
    let world = World::new();
    let at = orchard(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    let into = Destination::new(world.path("into"));
    let client = FilesClient::new(world.connect().await);
    let (mut new, mut same) = (0, 0);
    client
        .preview_parcel(&event(1), &into, |item| new += usize::from(item.verdict == Verdict::NEW))
        .await
        .unwrap();
    assert_eq!((new, names(&world.path("into"))), (20 * 31, vec![]));
    world.get(&event(1)).await.unwrap();
    let before = look(&world.path("into"));
    client
        .preview_parcel(&event(1), &into, |item| same += usize::from(item.verdict == Verdict::SAME))
        .await
        .unwrap();
    assert_eq!(same, 20 * 31);
    assert_eq!(look(&world.path("into")), before);
}
