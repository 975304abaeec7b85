//! What users, rooms and the store may have is checked before anything is announced, and counted as it is there.

use std::io::Cursor;

use hikyaku::ErrorCode;
use hikyaku_files::{DropOptions, FilesClient, FilesError, FilesLimits, OutgoingPipe, Progress};
use hikyaku_wire::files::Target;
use hikyaku_wire::parcel::EndStatus;

use crate::world::{ADA, BOB, World, bytes, code, names, room};

const LAB: [u8; 16] = *b"lab\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn world(limits: FilesLimits) -> World {
    World::with(limits, DropOptions { keep_free: 0, ..DropOptions::default() })
}

/// What is counted of Ada, and of the room: there and held.
async fn used(world: &World) -> [(u64, u64); 2] {
    let (user, room) = world.server.used(ADA, LAB).await.unwrap();
    [(user.there, user.held), (room.there, room.held)]
}

fn words<T>(result: Result<T, FilesError>) -> String {
    match result {
        Ok(_) => panic!("it went well"),
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::FULL);
            error.to_string()
        }
    }
}

//= S5.74 (test)
#[tokio::test]
async fn more_than_a_user_or_a_room_may_have_is_refused_before_it_is_announced() {
    let world = world(FilesLimits { room_user_quota: Some(100_000), ..FilesLimits::default() });
    let (first, _) = world.file("a", 60_000);
    let (second, _) = world.file("b", 40_001);
    world.send(&first, room()).await.unwrap();
    let says = words(world.send(&second, room()).await);
    for word in ["room_user_quota", "100000", "60000", "40001"] {
        assert!(says.contains(word), "{says}");
    }
    assert_eq!(world.rooms.log().parcels.len(), 1);
    assert_eq!(used(&world).await, [(60_000, 0), (60_000, 0)]);
    // To the last byte, and somebody else has a quota of their own.
    let (third, _) = world.file("c", 40_000);
    world.send(&third, room()).await.unwrap();
    let outgoing = hikyaku_files::Outgoing::new(&second, None, room()).unwrap();
    FilesClient::new(world.connect_as(BOB).await).send_file(&outgoing, &Progress::none()).await.unwrap();
    assert_eq!(used(&world).await, [(100_000, 0), (140_001, 0)]);
}

//= S5.74 (test)
#[tokio::test]
async fn a_room_has_a_quota_and_what_expires_is_free_again_also_after_a_restart() {
    let limits = FilesLimits { room_quota: Some(100_000), ..FilesLimits::default() };
    let mut world = world(limits);
    let (path, _) = world.file("a", 60_000);
    world.send(&path, room()).await.unwrap();
    // The same content again is one object, and counts twice.
    assert!(words(world.send(&path, room()).await).contains("room_quota"));
    world.send(&path, Target::Room("hall".into())).await.unwrap();
    world.restart_with(limits);
    assert_eq!(used(&world).await, [(120_000, 0), (60_000, 0)]);
    assert!(words(world.send(&path, room()).await).contains("60000 are used"));
    world.rooms.log().over = vec![1];
    world.server.sweep().await.unwrap();
    assert_eq!(used(&world).await, [(60_000, 0), (0, 0)]);
    world.send(&path, room()).await.unwrap();
}

//= S5.74 (test)
#[tokio::test]
async fn what_has_expired_counts_no_longer_also_where_the_vault_cannot_let_go_of_it_now() {
    let world = world(FilesLimits::default());
    for (name, len) in [("a", 60_000), ("b", 50_000)] {
        world.send(&world.file(name, len).0, room()).await.unwrap();
    }
    // What cannot be removed as a reference is removed.
    for root in names(&world.path("vault/refs")) {
        let references = world.path("vault/refs").join(root);
        let reference = references.join(&names(&references)[0]);
        std::fs::remove_file(&reference).unwrap();
        std::fs::create_dir(&reference).unwrap();
    }
    world.rooms.log().over = vec![1, 2];
    world.server.sweep().await.unwrap_err();
    assert_eq!(used(&world).await, [(0, 0), (0, 0)]);
}

//= S5.74 (test)
#[tokio::test]
async fn what_has_no_size_stops_at_the_quota_and_counts_what_came() {
    let world = world(FilesLimits { room_user_quota: Some(3_000_000), ..FilesLimits::default() });
    let pipe = |len: usize| OutgoingPipe::new(Cursor::new(bytes(len)), "pipe", b"p", room()).unwrap();
    let client = FilesClient::new(world.connect().await);
    client.send_pipe(&pipe(1_000_000), &Progress::none()).await.unwrap();
    assert_eq!(used(&world).await[0], (1_000_000, 0));
    let says = words(client.send_pipe(&pipe(2_500_000), &Progress::none()).await);
    assert!(says.contains("room_user_quota"), "{says}");
    let [(there, held), _] = used(&world).await;
    assert!(there == 1_000_000 && held <= 2_000_000, "{there} {held}");
    // It waits to go on, and holds what it has; given up, it holds nothing.
    assert_eq!(world.rooms.end(2), None);
}

//= S5.74 (test)
#[tokio::test]
async fn the_store_counts_each_content_once() {
    let world = world(FilesLimits { vault_quota: Some(150_000), ..FilesLimits::default() });
    let (path, data) = world.file("a", 100_000);
    world.send(&path, room()).await.unwrap();
    let other: Vec<u8> = data.iter().map(|byte| !byte).collect();
    std::fs::write(world.path("home/b"), &other[..60_000]).unwrap();
    let says = words(world.send(&world.path("home/b"), room()).await);
    assert!(says.contains("vault_quota") && says.contains("100064 are used"), "{says}");
    std::fs::write(world.path("home/c"), &other[..40_000]).unwrap();
    world.send(&world.path("home/c"), room()).await.unwrap();
    world.rooms.log().over = vec![1];
    world.server.sweep().await.unwrap();
    world.send(&world.path("home/b"), room()).await.unwrap();
}

#[tokio::test]
async fn a_parcel_that_is_given_up_holds_nothing_any_more() {
    let limits = FilesLimits {
        room_user_quota: Some(400_000),
        expiry: std::time::Duration::ZERO,
        ..FilesLimits::default()
    };
    let world = world(limits);
    crate::rooms::abandon(&world, "f").await;
    assert_eq!(used(&world).await[0], (0, 200_000));
    let (path, _) = world.file("g", 300_000);
    assert_eq!(code(world.send(&path, room()).await), ErrorCode::FULL);
    assert_eq!(world.server.sweep().await.unwrap().aborted, 1);
    assert_eq!(world.rooms.end(1).unwrap().status, EndStatus::Aborted);
    assert_eq!(used(&world).await[0], (0, 0));
    world.send(&path, room()).await.unwrap();
}
