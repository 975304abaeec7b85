//! Trees: what is carried, what is refused, and how they take their place.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hikyaku_files::{
    Destination, FilesClient, FilesError, Item, Missing, OutgoingTree, Progress, WalkOptions,
};
use hikyaku_wire::bundle::Reason;
use hikyaku_wire::files::{Overwrite, PutOptions, Receipt, Target};

use crate::world::{World, bytes, event, here, names, room, until};

/// What can be seen of an entry: kind, mode, time, content or target, and how many names it has.
pub(crate) type Seen = (char, u32, (i64, i64), Vec<u8>, u64);

pub(crate) fn look(at: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![at.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let time = (meta.mtime(), meta.mtime_nsec());
        let entry: Seen = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ('d', meta.mode() & 0o7777, time, Vec::new(), 0)
        } else if meta.is_symlink() {
            ('l', 0, time, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(), 0)
        } else {
            (
                'f',
                meta.mode() & 0o7777,
                time,
                blake3::hash(&fs::read(&path).unwrap()).as_bytes().to_vec(),
                meta.nlink(),
            )
        };
        seen.insert(path.strip_prefix(at).unwrap().to_owned(), entry);
    }
    seen
}

pub(crate) fn outgoing(paths: &[PathBuf], target: Target, put: PutOptions) -> OutgoingTree {
    OutgoingTree::new(paths, None, target, put, WalkOptions::default()).unwrap()
}

pub(crate) async fn send(world: &World, outgoing: &OutgoingTree) -> Result<Receipt, FilesError> {
    FilesClient::new(world.connect().await).send_tree(outgoing, &Progress::none()).await
}

/// A tree with one of everything.
pub(crate) fn garden(world: &World) -> PathBuf {
    let at = world.path("home/garden");
    for directory in ["", "empty", "deep/er/est", "closed"] {
        fs::create_dir_all(at.join(directory)).unwrap();
    }
    fs::write(at.join("empty file"), b"").unwrap();
    fs::write(at.join("small"), b"three words here").unwrap();
    fs::write(at.join("deep/er/big"), bytes(1_300_000)).unwrap();
    fs::write(at.join(OsStr::from_bytes(b"\xff\n\x1b[2J")), b"a name").unwrap();
    fs::write(at.join(".hikyaku-like"), b"inside a tree, any name").unwrap();
    fs::write(at.join("program"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("deep/er", at.join("inner link")).unwrap();
    symlink("../../small", at.join("deep/er/upward link")).unwrap();
    fs::hard_link(at.join("small"), at.join("small too")).unwrap();
    let sparse = fs::File::create(at.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"an island", 20_000_000).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(981_173_106, 123_456_789);
    for file in ["small", "deep/er/big"] {
        fs::File::options().write(true).open(at.join(file)).unwrap().set_modified(long_ago).unwrap();
    }
    fs::write(at.join("closed/inside"), b"x").unwrap();
    fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::File::open(at.join("deep")).unwrap().set_modified(long_ago).unwrap();
    at
}

/// What arrives of the garden: everything but the bit that nobody keeps.
pub(crate) fn expected(at: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = look(at);
    seen.get_mut(Path::new("program")).unwrap().1 = 0o755;
    seen
}

#[tokio::test]
async fn a_tree_arrives_in_the_directory_as_it_was() {
    let world = World::new();
    let at = garden(&world);
    let outgoing = outgoing(std::slice::from_ref(&at), here(), PutOptions::default());
    let connection = world.connect().await;
    let sent = FilesClient::new(connection.clone()).send_tree(&outgoing, &Progress::none()).await;
    let receipt = sent.unwrap();
    connection.drain().await;
    assert_eq!(look(&world.path("drop/garden")), expected(&at));
    let tree = receipt.tree.unwrap();
    assert_eq!((tree.missing, tree.first), (0, vec![]));
    assert_eq!(tree.entries, look(&at).len() as u64);
    until("nothing is left behind", || names(&world.path("drop/.hikyaku")).is_empty()).await;
}

#[tokio::test]
async fn holes_stay_holes() {
    let world = World::new();
    let at = garden(&world);
    send(&world, &outgoing(&[at], here(), PutOptions::default())).await.unwrap();
    let used = fs::metadata(world.path("drop/garden/sparse")).unwrap().blocks() * 512;
    assert!(used < 1 << 20, "{used} bytes on the disk for 9 bytes of content");
}

#[tokio::test]
async fn a_tree_goes_through_a_room_and_is_fetched_as_it_was() {
    let world = World::new();
    let at = garden(&world);
    let sent =
        send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    let fetched = world.get(&event(1)).await.unwrap();
    assert_eq!(fetched.receipt.root, sent.root);
    assert_eq!(look(&world.path("into/garden")), expected(&at));
    assert_eq!(fetched.report.unwrap().missing_count, 0);
    assert_eq!(names(&world.path("into")), ["garden"]);
}

#[tokio::test]
async fn several_paths_are_one_transfer() {
    let world = World::new();
    let at = garden(&world);
    let (file, data) = world.file("a file", 100_000);
    send(&world, &outgoing(&[at.clone(), file], here(), PutOptions::default())).await.unwrap();
    assert_eq!(look(&world.path("drop/garden")), expected(&at));
    assert_eq!(fs::read(world.path("drop/a file")).unwrap(), data);
}

#[tokio::test]
async fn the_same_tree_has_the_same_root() {
    let world = World::new();
    let at = garden(&world);
    let first =
        send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    world.get(&event(1)).await.unwrap();
    // What was fetched is sent again: its bundle differs in nothing but the bit that nobody keeps, which it has not.
    fs::set_permissions(at.join("program"), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = world.path("into/garden");
    let again = send(&world, &outgoing(&[copy], room(), PutOptions::default())).await.unwrap();
    assert_eq!(again.root, first.root);
}

//= S5.50 (test)
//= S5.51 (test)
#[tokio::test]
async fn what_exists_is_kept_and_reported_and_the_rest_arrives() {
    let world = World::new();
    let at = garden(&world);
    fs::create_dir_all(world.path("drop/garden/deep")).unwrap();
    fs::write(world.path("drop/garden/small"), b"mine").unwrap();
    let receipt = send(&world, &outgoing(&[at], here(), PutOptions::default())).await.unwrap();
    let tree = receipt.tree.unwrap();
    let missing: Vec<_> = tree.first.iter().map(|entry| String::from_utf8_lossy(&entry.path)).collect();
    assert_eq!(missing, ["garden/small"]);
    assert_eq!(fs::read(world.path("drop/garden/small")).unwrap(), b"mine");
    assert_eq!(fs::read(world.path("drop/garden/deep/er/big")).unwrap(), bytes(1_300_000));
}

#[tokio::test]
async fn a_tree_that_is_there_already_is_not_missing() {
    let world = World::new();
    let at = garden(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), here(), PutOptions::default())).await.unwrap();
    let again =
        send(&world, &outgoing(std::slice::from_ref(&at), here(), PutOptions::default())).await.unwrap();
    assert_eq!(again.tree.unwrap().first, []);
    assert_eq!(look(&world.path("drop/garden")), expected(&at));
}

#[tokio::test]
async fn overwriting_is_asked_for() {
    for (overwrite, content, names_there) in [
        (Overwrite::Never, "theirs", vec!["one"]),
        (Overwrite::Always, "ours", vec!["one"]),
        (Overwrite::Newer, "theirs", vec!["one"]),
        (Overwrite::Rename, "theirs", vec!["one", "one~1"]),
    ] {
        let world = World::new();
        fs::create_dir_all(world.path("home/t")).unwrap();
        fs::create_dir_all(world.path("drop/t")).unwrap();
        fs::write(world.path("home/t/one"), "ours").unwrap();
        fs::File::options()
            .write(true)
            .open(world.path("home/t/one"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        fs::write(world.path("drop/t/one"), "theirs").unwrap();
        let put = PutOptions { overwrite: Some(overwrite), ..PutOptions::default() };
        send(&world, &outgoing(&[world.path("home/t")], here(), put)).await.unwrap();
        assert_eq!(fs::read_to_string(world.path("drop/t/one")).unwrap(), content, "{overwrite:?}");
        assert_eq!(names(&world.path("drop/t")), names_there, "{overwrite:?}");
    }
}

//= S5.49 (test)
#[tokio::test]
async fn links_out_of_the_tree_are_made_only_when_asked_for() {
    for all_links in [false, true] {
        let world = World::new();
        fs::create_dir_all(world.path("home/t/sub")).unwrap();
        for (index, target) in ["/etc/passwd", "../../up", "sub/../../x", "ok", "sub"].iter().enumerate() {
            symlink(target, world.path(&format!("home/t/l{index}"))).unwrap();
        }
        let put = PutOptions { all_links: Some(all_links), ..PutOptions::default() };
        let receipt = send(&world, &outgoing(&[world.path("home/t")], here(), put)).await.unwrap();
        let expected =
            if all_links { vec!["l0", "l1", "l2", "l3", "l4", "sub"] } else { vec!["l3", "l4", "sub"] };
        assert_eq!(names(&world.path("drop/t")), expected);
        assert_eq!(receipt.tree.unwrap().missing, if all_links { 0 } else { 3 });
    }
}

#[tokio::test]
async fn a_preview_of_what_would_be_fetched_tells_links_out_of_the_tree() {
    let world = World::new();
    fs::create_dir_all(world.path("home/t/sub")).unwrap();
    for (at, target) in [("a", "/etc/passwd"), ("sub/b", "../../../up"), ("sub/ok", "../file"), ("z", "..")] {
        symlink(target, world.path(&format!("home/t/{at}"))).unwrap();
    }
    for name in ["file", "sub/c", "sub/d", "zz"] {
        fs::write(world.path(&format!("home/t/{name}")), name).unwrap();
    }
    send(&world, &outgoing(&[world.path("home/t")], room(), PutOptions::default())).await.unwrap();
    let client = FilesClient::new(world.connect().await);
    for all_links in [None, Some(true)] {
        let mut into = Destination::new(world.path("into"));
        into.options.all_links = all_links;
        let mut items = Vec::new();
        let tell = |item: Item| items.push(item.path);
        let (arrival, missing) = client.preview_parcel_whole(&event(1), &into, tell).await.unwrap();
        assert_eq!((arrival, items.len(), names(&world.path("into"))), (None, 4, vec![]));
        let out = |path: &[u8]| (path.to_vec(), Missing::LinkOut);
        let expected = if all_links.is_some() { vec![] } else { vec![out(b"t/a"), out(b"t/sub/b")] };
        assert_eq!(missing.missing, expected);
    }
    // As when it is fetched.
    let report = world.get(&event(1)).await.unwrap().report.unwrap();
    let told: Vec<_> = report.missing.iter().map(|(path, _)| path.as_slice()).collect();
    assert_eq!(told, [&b"t/a"[..], b"t/sub/b"]);
}

#[tokio::test]
async fn what_is_not_carried_is_told_to_both_ends() {
    let world = World::new();
    fs::create_dir_all(world.path("home/t")).unwrap();
    fs::write(world.path("home/t/plain"), b"x").unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, world.path("home/t/pipe"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    let outgoing = outgoing(&[world.path("home/t")], room(), PutOptions::default());
    send(&world, &outgoing).await.unwrap();
    let (troubles, counts) = outgoing.troubles();
    assert_eq!(counts.left_out, 1);
    assert_eq!((troubles[0].path.as_slice(), troubles[0].reason), (&b"t/pipe"[..], Reason::SPECIAL));
    let report = world.get(&event(1)).await.unwrap().report.unwrap();
    assert_eq!(report.missing, [(b"t/pipe".to_vec(), Missing::Source(Reason::SPECIAL))]);
    assert_eq!(names(&world.path("into/t")), ["plain"]);
}

#[tokio::test]
async fn a_hidden_top_needs_permission() {
    let world = World::new();
    fs::create_dir_all(world.path("home/.secret")).unwrap();
    let outgoing = outgoing(&[world.path("home/.secret")], here(), PutOptions::default());
    assert_eq!(send(&world, &outgoing).await.unwrap_err().code(), hikyaku::ErrorCode::NAME_REFUSED);
    assert_eq!(world.dropped(), Vec::<String>::new());
}

/// A tree of many small files and a few larger ones, 25 MiB altogether: more than a window.
pub(crate) fn orchard(world: &World) -> PathBuf {
    let at = world.path("home/orchard");
    for row in 0..20 {
        let row_at = at.join(format!("row {row:02}"));
        fs::create_dir_all(&row_at).unwrap();
        for tree in 0..30 {
            fs::write(row_at.join(format!("tree {tree}")), bytes(row * 100 + tree * 37)).unwrap();
        }
        fs::write(row_at.join("log"), bytes(1_200_000 + row)).unwrap();
    }
    at
}

#[tokio::test]
async fn a_cut_upload_of_a_tree_goes_on_where_it_stopped() {
    for target in [here(), room()] {
        let mut world = World::new();
        let at = orchard(&world);
        let outgoing = outgoing(std::slice::from_ref(&at), target.clone(), PutOptions::default());
        let connection = world.connect().await;
        let (progress, view) = Progress::new();
        let cutting = tokio::spawn(crate::resuming::cut_at(connection.clone(), view, 20 << 20));
        let error = FilesClient::new(connection).send_tree(&outgoing, &progress).await.unwrap_err();
        cutting.await.unwrap();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(world.dropped(), Vec::<String>::new(), "no final name before the end");
        let outgoing = OutgoingTree::decode(&outgoing.encode(), WalkOptions::default()).unwrap();
        world.restart();
        let (progress, view) = Progress::new();
        let client = FilesClient::new(world.connect().await);
        while let Err(error) = client.send_tree(&outgoing, &progress).await {
            assert_eq!(error.code(), hikyaku::ErrorCode::BUSY, "{error}");
        }
        assert!(view.borrow().from > 0, "went on from {}", view.borrow().from);
        if target == here() {
            assert_eq!(look(&world.path("drop/orchard")), look(&at));
        } else {
            world.get(&event(1)).await.unwrap();
            assert_eq!(look(&world.path("into/orchard")), look(&at));
        }
    }
}

#[tokio::test]
async fn a_cut_download_of_a_tree_goes_on_where_it_stopped() {
    let world = World::new();
    let at = orchard(&world);
    send(&world, &outgoing(std::slice::from_ref(&at), room(), PutOptions::default())).await.unwrap();
    let destination = Destination::new(world.path("into"));
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cutting = tokio::spawn(crate::resuming::cut_at(connection.clone(), view, 5 << 20));
    let fetched = FilesClient::new(connection).get_file(&event(1), &destination, &progress).await;
    cutting.await.unwrap();
    assert!(fetched.unwrap_err().is_retryable());
    assert!(names(&world.path("into")).iter().all(|name| name.starts_with(".hikyaku-")));
    let (progress, view) = Progress::new();
    let client = FilesClient::new(world.connect().await);
    while let Err(error) = client.get_file(&event(1), &destination, &progress).await {
        assert_eq!(error.code(), hikyaku::ErrorCode::BUSY, "{error}");
    }
    assert!(view.borrow().from > 0, "went on from {}", view.borrow().from);
    assert_eq!(look(&world.path("into/orchard")), look(&at));
    assert_eq!(names(&world.path("into")), ["orchard"]);
}

//= S5.52 (test)
#[tokio::test]
async fn of_names_that_are_one_elsewhere_only_the_first_is_made_when_that_is_asked_for() {
    for distinct in [false, true] {
        let world = World::new();
        for directory in ["t/Sub", "t/sub/deep"] {
            fs::create_dir_all(world.path("home").join(directory)).unwrap();
        }
        let files =
            ["A", "a", "e\u{301}", "\u{e9}", "STRASSE", "stra\u{df}e", "Sub/x", "sub/x", "sub/deep/y", "z"];
        for file in files {
            fs::write(world.path("home/t").join(file), file).unwrap();
        }
        symlink("z", world.path("home/t/Z")).unwrap();
        fs::hard_link(world.path("home/t/A"), world.path("home/t/\u{ff21}")).unwrap();
        let put = PutOptions { distinct: distinct.then_some(true), ..PutOptions::default() };
        let receipt = send(&world, &outgoing(&[world.path("home/t")], here(), put)).await.unwrap();
        let tree = receipt.tree.unwrap();
        if !distinct {
            assert_eq!((tree.missing, names(&world.path("drop/t")).len()), (0, 11));
            continue;
        }
        let expected = ["A", "STRASSE", "Sub", "Z", "e\u{301}", "\u{ff21}"];
        assert_eq!(names(&world.path("drop/t")), expected);
        // "a", "\u{e9}", "straße", "z", and "sub" with everything in it.
        assert_eq!(tree.missing, 8, "{:?}", tree.first);
        for name in ["A", "Sub/x", "STRASSE"] {
            assert_eq!(fs::read_to_string(world.path("drop/t").join(name)).unwrap(), name);
        }
        assert!(tree.first.iter().any(|entry| entry.path == b"t/sub/deep/y"), "{:?}", tree.first);
    }
}

//= S5.52 (test)
#[tokio::test]
async fn what_was_not_made_is_still_known_after_a_break() {
    let mut world = World::new();
    let at = orchard(&world);
    for name in ["ROW 00", "Row 19"] {
        fs::create_dir(at.join(name)).unwrap();
        fs::write(at.join(name).join("only here"), name).unwrap();
    }
    let put = PutOptions { distinct: Some(true), ..PutOptions::default() };
    let outgoing = outgoing(std::slice::from_ref(&at), here(), put);
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cutting = tokio::spawn(crate::resuming::cut_at(connection.clone(), view, 20 << 20));
    FilesClient::new(connection).send_tree(&outgoing, &progress).await.unwrap_err();
    cutting.await.unwrap();
    world.restart();
    let client = FilesClient::new(world.connect().await);
    let receipt = loop {
        match client.send_tree(&outgoing, &Progress::none()).await {
            Ok(receipt) => break receipt.tree.unwrap(),
            Err(error) => assert_eq!(error.code(), hikyaku::ErrorCode::BUSY, "{error}"),
        }
    };
    // "row 00" and "row 19" come after their capital forms: 31 files and the directory of each.
    assert_eq!(receipt.missing, 2 * 32);
    assert_eq!(names(&world.path("drop/orchard/ROW 00")), ["only here"]);
    assert_eq!(names(&world.path("drop/orchard/Row 19")), ["only here"]);
    assert_eq!(names(&world.path("drop/orchard")).len(), 20);
}
