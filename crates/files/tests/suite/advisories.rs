//! What went wrong elsewhere, one test for each: the number of the advisory, and what it teaches.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use hikyaku::ErrorCode;
use hikyaku_files::{Destination, DropOptions, FilesLimits, Progress};
use hikyaku_wire::bundle::{FileEnd, FileHead};
use hikyaku_wire::files::{Answer, Block, Head, Offer, PROTOCOL, PUT, PutOptions, Step};
use hikyaku_wire::parcel::{EntryKind, Metadata};

use crate::evil::*;
use crate::trees::look;
use crate::world::*;

/// scp, CVE-2019-6111 and CVE-2018-20685; libssh, CVE-2026-0964; Wish, CVE-2026-41589: the server names the files. Here
/// it may propose names, and never touches anything that is there, not even the mode of the directory itself.
#[tokio::test]
async fn scp_a_server_that_names_other_files_than_were_asked_for_touches_nothing_that_is_there() {
    let world = World::new();
    let into = world.path("into");
    fs::write(into.join("notes"), "mine").unwrap();
    fs::create_dir(into.join("src")).unwrap();
    fs::write(into.join("src/main.rs"), "mine").unwrap();
    fs::set_permissions(&into, fs::Permissions::from_mode(0o751)).unwrap();
    let before = look(&into);
    let evil =
        Bundle::default().file(b"notes", b"evil").enter(b"src").file(b"main.rs", b"evil").leave().done();
    let fetched = fetch(&world, 1, &evil).await.unwrap();
    assert_eq!(fetched.report.unwrap().missing_count, 2);
    let after = look(&into);
    for path in ["notes", "src/main.rs"] {
        assert_eq!(after[std::path::Path::new(path)], before[std::path::Path::new(path)]);
    }
    assert_eq!(fs::metadata(&into).unwrap().mode() & 0o7777, 0o751);
    // A name that means the directory itself is none.
    for name in [&b"."[..], b""] {
        let evil = Bundle::default().enter(name).leave().done();
        assert_eq!(code(fetch(&world, 2, &evil).await), ErrorCode::NAME_REFUSED);
    }
}

/// magic-wormhole, CVE-2026-32116 and CVE-2026-42448: one way in was checked, the other was not. A file and a tree, with
/// a name of the sender's and with one of the user's, are refused alike.
#[tokio::test]
async fn wormhole_every_way_to_name_a_destination_is_checked() {
    let world = World::new();
    for name in [&b"../x"[..], b"/tmp/x", b"a/../../x", b".."] {
        for (kind, own) in
            [EntryKind::File, EntryKind::Tree].iter().flat_map(|kind| [(kind, false), (kind, true)])
        {
            let good = Bundle::default().file(b"f", b"1").done();
            let head = Head { name: name.to_vec(), kind: *kind, ..tree_head(1, &good) };
            let head = if own { Head { name: b"fine".to_vec(), ..head } } else { head };
            let to = Destination { name: own.then(|| name.to_vec()), ..Destination::new(world.path("into")) };
            let got = giving(head, good).await.get_file(&event(1), &to, &Progress::none()).await;
            assert_eq!(code(got), ErrorCode::NAME_REFUSED, "{kind:?}, own: {own}");
        }
    }
    assert!(names(&world.path("into")).is_empty() && names(&world.path("home")).is_empty());
}

/// wormhole.rs and sendme: names were checked where they are sent. A peer that checks nothing is refused.
#[tokio::test]
async fn wormhole_rs_what_the_sender_did_not_check_the_receiver_does() {
    let world = World::new();
    let connection = world.connect().await;
    for evil in [
        Bundle::default().enter(b"..").file(b"home", b"1").leave(),
        Bundle::default().file(b"../home/x", b"1"),
    ] {
        let refused = put(&connection, &tree_offer(1, PutOptions::default()), &evil.done()).await;
        assert_eq!(refused.unwrap_err(), ErrorCode::NAME_REFUSED);
    }
    assert!(names(&world.path("home")).is_empty() && world.dropped().is_empty());
}

/// croc, CVE-2023-43616, -43619 and -43620: files overwritten, files that act by being there, escape codes.
#[tokio::test]
async fn croc_nothing_is_overwritten_nothing_acts_and_nothing_is_printed_raw() {
    let world = World::new();
    let connection = world.connect().await;
    // Of another length: a file of one size and one time is taken for the same.
    fs::write(world.path("drop/kept"), "mine alone").unwrap();
    let over = Bundle::default().file(b"kept", b"evil").done();
    let receipt = put(&connection, &tree_offer(1, PutOptions::default()), &over).await.unwrap();
    assert_eq!(
        (receipt.tree.unwrap().missing, fs::read(world.path("drop/kept")).unwrap()),
        (1, b"mine alone".to_vec())
    );
    for name in [&b".ssh"[..], b".bashrc", b".profile", b".config", b".git"] {
        let acts = Bundle::default().enter(name).file(b"authorized_keys", b"evil").leave().done();
        let refused = put(&connection, &tree_offer(2, PutOptions::default()), &acts).await;
        assert_eq!(refused.unwrap_err(), ErrorCode::NAME_REFUSED);
    }
    let painted = Offer { name: b"\x1b[2J../x".to_vec(), ..tree_offer(3, PutOptions::default()) };
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(&painted).await.unwrap();
    let said = exchange.receive::<Answer>().await.unwrap_err().to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
}

/// croc, 2026: a zip that slips, lengths without bound, bombs. A tree is no archive; what it claims costs nothing.
#[tokio::test]
async fn croc_a_claimed_size_costs_nothing_and_a_bomb_is_a_hole() {
    let world = World::new();
    let connection = world.connect().await;
    let mut bomb = Bundle::default();
    let size = 1 << 42;
    bomb.writer.file(&FileHead { name: b"bomb".to_vec(), size, meta: None, attributes: None, from: None });
    bomb.writer.hole(size);
    bomb.writer.end(&FileEnd::default());
    bomb.writer.done(&hikyaku_wire::bundle::Done { entries: 1, bytes: size, ..Default::default() });
    let bomb = bomb.writer.written().to_vec();
    // A file system that has no room for such a number says so; one that has gives no block to it, but perhaps one to what
    // is kept with it.
    match put(&connection, &tree_offer(1, PutOptions::default()), &bomb).await {
        Ok(_) => assert!(fs::metadata(world.path("drop/bomb")).unwrap().blocks() <= 4096 / 512),
        Err(code) => assert_eq!(code, ErrorCode::FULL),
    }
    let claimed = Offer { size: Some(1 << 52), ..tree_offer(2, PutOptions::default()) };
    let refused = put(&connection, &claimed, b"").await.unwrap_err();
    assert!(
        [ErrorCode::FULL, ErrorCode::LIMIT, ErrorCode::INVALID_MESSAGE, ErrorCode::RANGE_INVALID]
            .contains(&refused)
    );
}

/// croc #1191, qrcp #223, GSConnect #2163, goshs CVE-2026-35393: a link that was there before, in a parent.
#[tokio::test]
async fn qrcp_a_link_of_the_owner_s_in_a_parent_is_not_a_way_out() {
    let world = World::new();
    let connection = world.connect().await;
    fs::create_dir(world.path("outside")).unwrap();
    symlink(world.path("outside"), world.path("drop/mine")).unwrap();
    symlink("../outside", world.path("into/mine")).unwrap();
    let through = Bundle::default().enter(b"mine").file(b"x", b"evil").leave().done();
    put(&connection, &tree_offer(1, PutOptions::default()), &through).await.unwrap();
    fetch(&world, 1, &through).await.unwrap();
    let target = Offer { target: below(&[b"mine"]), ..tree_offer(2, PutOptions::default()) };
    put(&connection, &target, &through).await.unwrap_err();
    assert_eq!(names(&world.path("outside")), Vec::<String>::new());
    assert!(fs::symlink_metadata(world.path("drop/mine")).unwrap().is_symlink(), "and it is still there");
}

/// LocalSend, CVE-2025-27142: a name with directories in it.
#[tokio::test]
async fn localsend_a_name_with_directories_is_no_name() {
    let world = World::new();
    let connection = world.connect().await;
    for name in [&b"a/b"[..], b"a\\..\\b/c", b"/a", b"a/"] {
        let offer = Offer { name: name.to_vec(), ..tree_offer(1, PutOptions::default()) };
        let refused = put(&connection, &offer, &Bundle::default().done()).await;
        assert_eq!(refused.unwrap_err(), ErrorCode::NAME_REFUSED);
    }
    assert!(world.dropped().is_empty());
}

/// rsync, CVE-2024-12084 and -12085: a length of checksums that is not theirs, memory that was never written.
#[tokio::test]
async fn rsync_chaining_values_have_one_length() {
    let world = World::new();
    let connection = world.connect().await;
    for (number, len) in (0..).zip([0, 1, 31, 33, 63, 64, 1 << 16]) {
        let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
        exchange.send(&tree_offer(number, PutOptions::default())).await.unwrap();
        let _: Answer = exchange.receive().await.unwrap();
        let block = Block { entry: None, offset: 0, len: 100, cvs: vec![0; len] };
        let _ = exchange.send(&Step::Block(block)).await;
        let _ = exchange.send_data(vec![0; 100].into()).await;
        let refused = exchange.receive::<Answer>().await.unwrap_err().code();
        assert_eq!(refused, ErrorCode::RANGE_INVALID, "{len}");
    }
}

/// rsync, CVE-2024-12086 and -12087: the server makes the client read, or write, where it wants. Nothing that a receiver
/// is sent makes it open a file of its own: a second name is made only of what came.
#[tokio::test]
async fn rsync_a_second_name_is_made_only_of_what_came() {
    let world = World::new();
    fs::write(world.path("into/secret"), "mine").unwrap();
    fs::create_dir(world.path("into/dir")).unwrap();
    fs::write(world.path("into/dir/secret"), "mine").unwrap();
    for to in [&[&b"secret"[..]][..], &[b"dir", b"secret"]] {
        let evil = Bundle::default().hard_link(b"z", to).done();
        let fetched = fetch(&world, 1, &evil).await.unwrap();
        assert_eq!(fetched.report.unwrap().missing_count, 1);
        assert!(!world.path("into/z").exists());
    }
    assert_eq!(fs::metadata(world.path("into/secret")).unwrap().nlink(), 1);
}

/// rsync, CVE-2024-12088: --safe-links was passed by a link to a link.
#[tokio::test]
async fn rsync_a_link_through_a_link_is_not_made() {
    let world = World::new();
    let connection = world.connect().await;
    let evil = Bundle::default()
        .enter(b"t")
        .symlink(b"a", b".")
        .symlink(b"b", b"a/../../outside")
        .symlink(b"c", b"../../x");
    let receipt =
        put(&connection, &tree_offer(1, PutOptions::default()), &evil.leave().done()).await.unwrap();
    assert_eq!((names(&world.path("drop/t")), receipt.tree.unwrap().missing), (vec!["a".to_owned()], 2));
}

/// rsync, CVE-2024-12747, CVE-2026-29518, CVE-2026-43617 and after: races of open, chmod, rename, unlink, mkdir with links.
/// The races themselves are in `attacker`; this is what each would reach: the temporary files, replaced before.
#[tokio::test]
async fn rsync_temporary_files_that_were_replaced_by_links_are_not_written_through() {
    for name in ["part", "journal", "journal.new", "dir"] {
        let world = World::new();
        let connection = world.connect().await;
        let outside = world.path("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        let before = look(&outside);
        let offer = tree_offer(1, PutOptions::default());
        let at = world.path("drop/.hikyaku").join(format!("{}.{name}", offer.transfer));
        let to = if name == "dir" { outside.clone() } else { outside.join("file") };
        symlink(to, at).unwrap();
        // Refused, or made anew where the link was: but never through it.
        let done = put(&connection, &offer, &Bundle::default().file(b"file", b"evil").done()).await;
        assert_eq!(look(&outside), before, "{name}: {done:?}");
    }
}

/// rsync 3.5.0, CVE-2026-537xx and after: permissions, attributes and numbers that the peer chooses.
#[tokio::test]
async fn rsync_a_peer_chooses_neither_special_bits_nor_system_attributes_nor_how_much_is_held() {
    let world = World::with(
        FilesLimits { max_puts: 2, ..FilesLimits::default() },
        DropOptions { keep_free: 0, ..DropOptions::default() },
    );
    let connection = world.connect().await;
    let mut evil = Bundle::default();
    let attribute =
        |name: &str| hikyaku_wire::bundle::Attribute { name: name.into(), value: b"evil".to_vec() };
    let meta = Some(Metadata {
        mode: Some(0o7777),
        mtime: Some(hikyaku_wire::cbor::MAX_INTEGER as i64),
        mtime_ns: Some(999_999_999),
    });
    let attributes = Some(vec![
        attribute("security.capability"),
        attribute("trusted.x"),
        attribute("system.posix_acl_access"),
    ]);
    evil.writer.file(&FileHead { name: b"f".to_vec(), size: 0, meta, attributes, from: None });
    evil.writer.end(&FileEnd::default());
    evil.writer.done(&hikyaku_wire::bundle::Done { entries: 1, ..Default::default() });
    let evil = evil.writer.written().to_vec();
    match put(&connection, &tree_offer(1, PutOptions::default()), &evil).await {
        Ok(receipt) => {
            assert_eq!(receipt.tree.unwrap().missing, 1, "the attributes");
            assert_eq!(fs::metadata(world.path("drop/f")).unwrap().mode() & 0o7000, 0);
        }
        // A time that the file system cannot hold is refused with everything else.
        Err(_) => assert!(world.dropped().is_empty()),
    }
    // Those that are open at once are counted.
    let mut held = Vec::new();
    for number in 10..12 {
        let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
        exchange.send(&tree_offer(number, PutOptions::default())).await.unwrap();
        let _: Answer = exchange.receive().await.unwrap();
        held.push(exchange);
    }
    let refused = put(&connection, &tree_offer(20, PutOptions::default()), b"").await;
    assert_eq!(refused.unwrap_err(), ErrorCode::LIMIT);
}

/// Stapelberg on Go's rsync, 2026: memory safety does not help against paths. What receives has no call that takes a
/// path: all of them go through handles, and are in one place.
#[test]
fn no_code_that_receives_calls_the_system_with_a_path() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let receiving = [
        "bundle",
        "drop_dir.rs",
        "journal.rs",
        "receive.rs",
        "server",
        "staging.rs",
        "tree_sink.rs",
        "unpack",
        "unpack.rs",
        "writer.rs",
    ];
    let mut todo: Vec<_> = receiving.iter().map(|name| source.join(name)).collect();
    let mut looked = 0;
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.as_os_str().as_bytes().ends_with(b"tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in [
            "fs::write",
            "fs::read",
            "File::open",
            "File::create",
            "OpenOptions",
            "fs::rename",
            "fs::remove",
            "create_dir",
            "fs::metadata",
            "set_permissions",
            "canonicalize",
            "PathBuf",
            "rustix::fs::open",
            "hard_link(",
        ] {
            let found = text.lines().find(|line| line.contains(call) && !line.trim_start().starts_with("//"));
            let is_ours =
                found.is_some_and(|line| line.contains("fn hard_link") || line.contains("self.hard_link"));
            assert!(found.is_none() || is_ours, "{}: {}", path.display(), found.unwrap_or_default());
        }
        looked += 1;
    }
    assert!(looked >= 12, "{looked}");
}
