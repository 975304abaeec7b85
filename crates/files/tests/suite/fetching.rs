//! Out of a room.

use std::os::unix::fs::MetadataExt;

use hikyaku::ErrorCode;
use hikyaku_files::{Destination, FilesClient, Progress};
use hikyaku_wire::files::{GET, Head, PROTOCOL, Request, Wanted};
use hikyaku_wire::parcel::TransferId;

use crate::passing::{ByHand, offer};
use crate::world::*;

#[tokio::test]
async fn a_file_of_any_size_is_fetched_whole_with_its_mode_and_time() {
    let world = World::new();
    for (index, len) in [0, 1, 65_535, 65_536, 65_537, 524_288, 2_000_000].into_iter().enumerate() {
        let name = format!("file {len}");
        let (path, data) = world.file(&name, len);
        let receipt = world.send(&path, room()).await.unwrap();
        let fetched = world.get(&event(index as u64 + 1)).await.unwrap();
        assert_eq!(fetched.receipt.root, receipt.root);
        assert_eq!(fetched.name.as_bytes(), name.as_bytes());
        let arrived = world.path("into").join(&name);
        assert_eq!(std::fs::read(&arrived).unwrap(), data);
        let (was, is) = (std::fs::metadata(&path).unwrap(), std::fs::metadata(&arrived).unwrap());
        assert_eq!((was.mode(), was.mtime(), was.mtime_nsec()), (is.mode(), is.mtime(), is.mtime_nsec()));
    }
}

#[tokio::test]
async fn a_file_is_fetched_by_its_transfer_too_and_an_unknown_one_is_not_found() {
    let world = World::new();
    let (path, data) = world.file("f", 1000);
    let receipt = world.send(&path, room()).await.unwrap();
    world.get(&Wanted::Transfer(receipt.transfer)).await.unwrap();
    assert_eq!(std::fs::read(world.path("into/f")).unwrap(), data);
    assert_eq!(code(world.get(&Wanted::Transfer(TransferId([0; 16]))).await), ErrorCode::NOT_FOUND);
    assert_eq!(code(world.get(&event(77)).await), ErrorCode::NOT_FOUND);
}

#[tokio::test]
async fn a_file_that_exists_at_the_client_is_not_replaced() {
    let world = World::new();
    let (path, _) = world.file("f", 1000);
    world.send(&path, room()).await.unwrap();
    std::fs::write(world.path("into/f"), "mine").unwrap();
    assert_eq!(code(world.get(&event(1)).await), ErrorCode::ALREADY_EXISTS);
    assert_eq!(std::fs::read(world.path("into/f")).unwrap(), b"mine");
    assert_eq!(names(&world.path("into")), ["f"]);
}

#[tokio::test]
async fn a_bit_that_rotted_in_the_vault_is_reported_with_its_range() {
    let world = World::new();
    let (path, mut data) = world.file("f", 700_000);
    let receipt = world.send(&path, room()).await.unwrap();
    data[300_000] ^= 1;
    let object = world.path("vault/objects").join(receipt.root.to_string());
    std::fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&object, &data).unwrap();
    let error = world.get(&event(1)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::GROUP_MISMATCH);
    assert!(error.to_string().contains("262144 to 327679"), "{error}");
    assert!(!world.path("into/f").exists());
}

#[tokio::test]
async fn the_same_file_fetched_again_after_it_was_moved_away_comes_again() {
    let world = World::new();
    let (path, data) = world.file("f", 100_000);
    world.send(&path, room()).await.unwrap();
    for _ in 0..2 {
        world.get(&event(1)).await.unwrap();
        assert_eq!(std::fs::read(world.path("into/f")).unwrap(), data);
        std::fs::remove_file(world.path("into/f")).unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_said_so() {
    let world = World::new();
    let (path, _) = world.file("f", 1);
    world.send(&path, room()).await.unwrap();
    let nowhere = Destination::new(world.path("nowhere"));
    let client = FilesClient::new(world.connect().await);
    assert_eq!(code(client.get_file(&event(1), &nowhere, &Progress::none()).await), ErrorCode::NOT_FOUND);
}

#[tokio::test]
async fn what_became_of_a_request_is_recorded_with_what_was_found() {
    let world = World::new();
    let (path, _) = world.file("f", 1000);
    let receipt = world.send(&path, room()).await.unwrap();
    let recorded = || std::mem::take(&mut world.rooms.log().fetches);
    let found = |outcome: &str| (Some(receipt.transfer), outcome.to_owned());
    world.get(&event(1)).await.unwrap();
    until("it is recorded", || world.rooms.log().fetches.len() == 2).await;
    assert_eq!(recorded(), [found("accepted"), found("finished")]);
    // It is there already: nothing of it is asked for, and it was found.
    world.get(&event(1)).await.unwrap();
    until("it is recorded", || !world.rooms.log().fetches.is_empty()).await;
    assert_eq!(recorded(), [found("failed")]);
    world.get(&event(77)).await.unwrap_err();
    until("it is recorded", || !world.rooms.log().fetches.is_empty()).await;
    assert_eq!(recorded(), [(None, "refused".to_owned())]);
}

//= S5.88 (test)
#[tokio::test]
async fn nothing_but_a_tree_on_its_way_is_listed() {
    let world = World::new();
    let data = bytes(200_000);
    let _sender = ByHand::begin(&world, &offer(1, Some(data.len())), &data).await;
    let mut exchange = world.connect().await.open(PROTOCOL, GET).await.unwrap();
    exchange.send(&Request { list: Some(true), ..Request::live(event(1)) }).await.unwrap();
    let refused = exchange.receive::<Head>().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::INVALID_MESSAGE);
    assert!(refused.to_string().contains("only a tree can be listed"), "{refused}");
}
