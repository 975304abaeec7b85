//! Into the drop directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use hikyaku::ErrorCode;
use hikyaku_files::{DropOptions, FilesClient, FilesError, FilesLimits, FilesServer, Outgoing, Progress};
use hikyaku_wire::files::{Synced, Target};

use crate::world::*;

const GROUP: usize = 65_536;

#[tokio::test]
async fn a_file_of_any_size_arrives_whole_with_its_mode_and_time() {
    let world = World::new();
    for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 8 * GROUP, 8 * GROUP + 1, 3_000_000] {
        let name = format!("file {len}\n");
        let (path, data) = world.file(&name, len);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let outgoing = Outgoing::new(&path, None, here()).unwrap();
        let connection = world.connect().await;
        let receipt =
            FilesClient::new(connection.clone()).send_file(&outgoing, &Progress::none()).await.unwrap();
        connection.drain().await;
        assert_eq!((receipt.size, receipt.synced), (len as u64, Synced::Each));
        assert_eq!(receipt.root.0, *blake3::hash(&data).as_bytes());
        assert_eq!(receipt.name.as_deref(), Some(name.as_bytes()));
        let arrived = world.path("drop").join(&name);
        assert_eq!(std::fs::read(&arrived).unwrap(), data);
        let (was, is) = (std::fs::metadata(&path).unwrap(), std::fs::metadata(&arrived).unwrap());
        assert_eq!((was.mode(), was.mtime(), was.mtime_nsec()), (is.mode(), is.mtime(), is.mtime_nsec()));
    }
    until("nothing is left behind", || names(&world.path("drop/.hikyaku")).is_empty()).await;
}

#[tokio::test]
async fn a_subdirectory_is_made_and_a_link_in_its_place_is_refused() {
    let world = World::new();
    let (path, data) = world.file("f", 10);
    world.send(&path, below(&[b"a", b"b\xff"])).await.unwrap();
    let arrived = std::os::unix::ffi::OsStrExt::as_bytes(world.path("drop/a").as_os_str()).to_vec();
    let arrived = [&arrived[..], b"/b\xff/f"].concat();
    let arrived: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&arrived);
    assert_eq!(std::fs::read(arrived).unwrap(), data);
    std::os::unix::fs::symlink("../into", world.path("drop/link")).unwrap();
    assert_eq!(code(world.send(&path, below(&[b"link"])).await), ErrorCode::TRANSFER_UNKNOWN);
    assert_eq!(code(world.send(&path, below(&[b"link", b"x"])).await), ErrorCode::TRANSFER_UNKNOWN);
    assert!(names(&world.path("into")).is_empty());
}

//= S5.33 (test)
#[tokio::test]
async fn a_name_that_exists_is_refused_before_a_byte_is_sent_and_never_replaced() {
    let world = World::new();
    let (path, _) = world.file("f", 100_000);
    std::fs::write(world.path("drop/f"), "old").unwrap();
    let result = world.send(&path, here()).await;
    assert_eq!(code(result), ErrorCode::ALREADY_EXISTS);
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), b"old");
    assert!(names(&world.path("drop/.hikyaku")).is_empty());
}

#[tokio::test]
async fn two_senders_of_one_name_get_one_file_and_one_error() {
    let world = World::new();
    let (path, data) = world.file("f", 2_000_000);
    let (one, two) = tokio::join!(world.send(&path, here()), world.send(&path, here()));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(code(if one.is_err() { one } else { two }), ErrorCode::ALREADY_EXISTS);
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), data);
    assert_eq!(world.dropped(), ["f"]);
}

//= S5.24 (test)
#[tokio::test]
async fn more_than_the_disk_holds_is_refused_before_a_byte_is_sent() {
    let world =
        World::with(FilesLimits::default(), DropOptions { keep_free: u64::MAX, ..DropOptions::default() });
    let (path, _) = world.file("f", 1);
    let error = world.send(&path, here()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::FULL);
    assert!(error.to_string().contains("full"), "{error}");
    assert!(world.dropped().is_empty());
    let world = World::new();
    let huge = std::fs::File::create(world.path("home/huge")).unwrap();
    // What the file system itself allows differs; anything beyond the disk will do.
    huge.set_len(8 << 40).unwrap();
    assert_eq!(code(world.send(&world.path("home/huge"), here()).await), ErrorCode::FULL);
    assert!(names(&world.path("drop/.hikyaku")).is_empty());
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_publishes_nothing_and_goes_on_when_there_is_room() {
    let temp = tempfile::tempdir().unwrap();
    let small = temp.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&small)
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: mounting a small file system needs more rights than this user has");
        return;
    }
    let unmount = Unmount(small.clone());
    let world = World::new();
    let options = DropOptions { keep_free: 0, ..DropOptions::default() };
    let dir = hikyaku_files::DropDir::open(&small, options).unwrap();
    let vault = std::sync::Arc::new(hikyaku_files::FsVault::open(&world.path("vault"), 0).unwrap());
    let limits = FilesLimits { pause_timeout: std::time::Duration::ZERO, ..FilesLimits::default() };
    let server = FilesServer::new(world.rooms.clone(), vault, Some(dir), limits);
    let world = World { server, ..world };
    let (path, data) = world.file("f", 1_500_000);
    std::fs::write(small.join("ballast"), bytes(1 << 20)).unwrap();
    // The size is not promised, so that the disk fills up on the way.
    let outgoing = Outgoing::new(&path, None, here()).unwrap().without_size();
    let client = FilesClient::new(world.connect().await);
    assert_eq!(code(client.send_file(&outgoing, &Progress::none()).await), ErrorCode::FULL);
    assert!(!small.join("f").exists());
    std::fs::remove_file(small.join("ballast")).unwrap();
    let (progress, view) = Progress::new();
    client.send_file(&outgoing, &progress).await.unwrap();
    assert!(view.borrow().from > 0, "what was verified is not sent again");
    assert_eq!(std::fs::read(small.join("f")).unwrap(), data);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

//= S5.19 (test)
#[tokio::test]
async fn a_source_that_changes_fails_loudly_and_nothing_is_published() {
    let world = World::new();
    let (path, _) = world.file("f", 1_000_000);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    std::fs::write(&path, bytes(1_000_001)).unwrap();
    let client = FilesClient::new(world.connect().await);
    assert_eq!(code(client.send_file(&outgoing, &Progress::none()).await), ErrorCode::SOURCE_CHANGED);
    assert!(world.dropped().is_empty());
}

#[tokio::test]
async fn who_may_not_is_told_and_no_drop_directory_is_said_so() {
    let world = World::new();
    let (path, _) = world.file("f", 10);
    world.rooms.log().denied = true;
    assert_eq!(code(world.send(&path, here()).await), ErrorCode::DENIED);
    let world = World::with_vault(std::sync::Arc::new(hikyaku_storage::vault::memory::MemoryVault::new()));
    let (path, _) = world.file("f", 10);
    assert_eq!(code(world.send(&path, here()).await), ErrorCode::DROP_DISABLED);
    let nowhere = Target::Room("nowhere".into());
    assert_eq!(code(world.send(&path, nowhere).await), ErrorCode::ROOM_UNKNOWN);
}

#[tokio::test]
async fn a_file_larger_than_the_limit_is_refused_and_one_as_large_is_taken() {
    let limits = FilesLimits { max_size: 1000, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions { keep_free: 0, ..DropOptions::default() });
    let (path, _) = world.file("a", 1000);
    world.send(&path, here()).await.unwrap();
    let (path, _) = world.file("b", 1001);
    let error = world.send(&path, here()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LIMIT);
    assert!(error.to_string().contains("max_size"), "{error}");
    let unknown = Outgoing::new(&path, Some(b"c"), here()).unwrap().without_size();
    let client = FilesClient::new(world.connect().await);
    assert_eq!(code(client.send_file(&unknown, &Progress::none()).await), ErrorCode::LIMIT);
    assert_eq!(world.dropped(), ["a"]);
}

#[tokio::test]
async fn progress_begins_at_nothing_and_ends_at_the_size() {
    let world = World::new();
    let (path, data) = world.file("f", 1_200_000);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    let (progress, view) = Progress::new();
    FilesClient::new(world.connect().await).send_file(&outgoing, &progress).await.unwrap();
    let moment = *view.borrow();
    assert_eq!((moment.from, moment.bytes, moment.total), (0, data.len() as u64, Some(data.len() as u64)));
    assert_eq!(moment.transfer, Some(outgoing.transfer()));
}

#[tokio::test]
async fn many_files_at_once_over_one_connection_all_arrive() {
    let world = World::new();
    let client = FilesClient::new(world.connect().await);
    let mut sends = tokio::task::JoinSet::new();
    for index in 0..20 {
        let (path, _) = world.file(&format!("f{index:02}"), index * 40_000);
        let client = client.clone();
        sends.spawn(async move {
            let outgoing = Outgoing::new(&path, None, here()).unwrap();
            client.send_file(&outgoing, &Progress::none()).await
        });
    }
    while let Some(sent) = sends.join_next().await {
        let sent: Result<_, FilesError> = sent.unwrap();
        sent.unwrap();
    }
    assert_eq!(world.dropped().len(), 20);
    for index in 0..20 {
        assert_eq!(std::fs::read(world.path(&format!("drop/f{index:02}"))).unwrap(), bytes(index * 40_000));
    }
}
