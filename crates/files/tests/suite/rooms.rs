//! Parcels: every beginning gets one end, and the object is durable before it.

use std::sync::Arc;
use std::time::Duration;

use hikyaku::ErrorCode;
use hikyaku_files::{DropOptions, FilesClient, FilesLimits, Outgoing, Progress};
use hikyaku_storage::vault::memory::MemoryVault;
use hikyaku_wire::files::{Answer, PROTOCOL, PUT};
use hikyaku_wire::parcel::EndStatus;

use crate::world::*;

//= S5.36 (test)
#[tokio::test]
async fn a_parcel_is_announced_once_and_settled_with_its_root_and_size() {
    let world = World::new();
    let (path, data) = world.file("f", 100_000);
    let receipt = world.send(&path, room()).await.unwrap();
    assert_eq!(receipt.event.unwrap().seq, 1);
    assert_eq!(world.rooms.log().parcels.len(), 1);
    let (_, parcel) = world.rooms.log().parcels[0].clone();
    assert_eq!((parcel.name.as_slice(), parcel.bytes), (&b"f"[..], Some(100_000)));
    let end = world.rooms.end(1).unwrap();
    assert_eq!((end.status, end.bytes), (EndStatus::Settled, Some(100_000)));
    assert_eq!(end.root.unwrap().0, *blake3::hash(&data).as_bytes());
    assert!(names(&world.path("vault/partials")).is_empty(), "nothing is remembered twice");
}

#[tokio::test]
async fn a_room_log_that_fails_at_the_end_is_settled_by_the_next_try_or_the_sweep() {
    let world = World::new();
    for by_sweep in [false, true] {
        let (path, _) = world.file(if by_sweep { "a" } else { "b" }, 50_000);
        let outgoing = Outgoing::new(&path, None, room()).unwrap();
        let client = FilesClient::new(world.connect().await);
        world.rooms.log().conclude_fails = true;
        assert_eq!(code(client.send_file(&outgoing, &Progress::none()).await), ErrorCode::UNAVAILABLE);
        let seq = world.rooms.log().parcels.len() as u64;
        assert_eq!(world.rooms.end(seq), None);
        world.rooms.log().conclude_fails = false;
        if by_sweep {
            assert_eq!(world.server.sweep().await.unwrap().settled, 1);
        } else {
            client.send_file(&outgoing, &Progress::none()).await.unwrap();
        }
        assert_eq!(world.rooms.end(seq).unwrap().status, EndStatus::Settled);
        world.get(&event(seq)).await.unwrap();
    }
}

/// Begins a transfer into the room and goes away.
pub(crate) async fn abandon(world: &World, name: &str) {
    let (path, data) = world.file(name, 200_000);
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(_) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    crate::hostile::send_blocks(&mut exchange, &data[..131_072], 65_536).await;
    connection.abort(ErrorCode::NO_ERROR, "gone");
    until("the server lets go", || !world.server.is_receiving(outgoing.transfer())).await;
}

//= S5.38 (test)
#[tokio::test]
async fn an_abandoned_parcel_waits_for_its_sender_and_is_aborted_when_its_time_is_over() {
    let world = World::new();
    abandon(&world, "f").await;
    let swept = world.server.sweep().await.unwrap();
    assert_eq!((swept.aborted, world.rooms.end(1)), (0, None), "it may still go on");
    let limits = FilesLimits { expiry: Duration::ZERO, ..FilesLimits::default() };
    let mut late = World::with(limits, DropOptions::default());
    abandon(&late, "f").await;
    assert_eq!(late.server.sweep().await.unwrap().aborted, 1);
    assert_eq!(late.rooms.end(1).unwrap().status, EndStatus::Aborted);
    assert!(names(&late.path("vault/partials")).is_empty());
    assert_eq!(late.server.sweep().await.unwrap(), Default::default(), "nothing is left to do");
    late.restart();
    assert_eq!(late.server.sweep().await.unwrap(), Default::default());
}

#[tokio::test]
async fn an_aborted_parcel_does_not_come_back() {
    let limits = FilesLimits { expiry: Duration::ZERO, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions::default());
    let (path, _) = world.file("f", 200_000);
    let outgoing = Outgoing::new(&path, None, room()).unwrap();
    let connection = world.connect().await;
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(_) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    connection.abort(ErrorCode::NO_ERROR, "gone");
    until("the server lets go", || !world.server.is_receiving(outgoing.transfer())).await;
    world.server.sweep().await.unwrap();
    let again = FilesClient::new(world.connect().await).send_file(&outgoing, &Progress::none()).await;
    assert_eq!(code(again), ErrorCode::TRANSFER_UNKNOWN);
    assert!(names(&world.path("vault/partials")).is_empty());
}

#[tokio::test]
async fn a_parcel_without_any_bytes_in_the_vault_is_aborted_by_the_sweep() {
    let mut world = World::new();
    abandon(&world, "f").await;
    std::fs::remove_dir_all(world.path("vault")).unwrap();
    world.restart();
    assert_eq!(world.server.sweep().await.unwrap().aborted, 1);
}

#[tokio::test]
async fn a_full_vault_is_said_so_and_the_parcel_is_never_announced() {
    let world = World::with_vault(Arc::new(MemoryVault::with_capacity(1000)));
    let (path, _) = world.file("f", 1001);
    assert_eq!(code(world.send(&path, room()).await), ErrorCode::FULL);
    assert!(world.rooms.log().parcels.is_empty());
    let (path, _) = world.file("g", 1000);
    world.send(&path, room()).await.unwrap();
}

#[tokio::test]
async fn the_same_content_in_two_parcels_is_one_object_and_two_references() {
    let world = World::new();
    let (path, _) = world.file("f", 100_000);
    world.send(&path, room()).await.unwrap();
    world.send(&path, room()).await.unwrap();
    assert_eq!(names(&world.path("vault/objects")).len(), 2, "the bytes and their chaining values");
    let root = names(&world.path("vault/refs")).remove(0);
    assert_eq!(names(&world.path("vault/refs").join(root)).len(), 2);
    assert_eq!(world.server.sweep().await.unwrap(), Default::default());
}

#[tokio::test]
async fn unfinished_transfers_are_bounded() {
    let limits = FilesLimits { max_partials: 1, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions { max_partials: 1, keep_free: 0, ..DropOptions::default() });
    abandon(&world, "f").await;
    let (path, _) = world.file("g", 1000);
    let error = world.send(&path, room()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LIMIT);
    assert!(error.to_string().contains("max_partials (1)"), "{error}");
}

//= S5.71 (test)
#[tokio::test]
async fn what_has_expired_in_one_room_stays_for_the_other_and_goes_with_the_last() {
    let world = World::new();
    let (path, data) = world.file("f", 100_000);
    world.send(&path, room()).await.unwrap();
    world.send(&path, room()).await.unwrap();
    world.rooms.log().over = vec![1];
    let swept = world.server.sweep().await.unwrap();
    assert_eq!((swept.expired, swept.collected.objects), (1, 0));
    assert_eq!(code(world.get(&event(1)).await), ErrorCode::NOT_FOUND);
    let fetched = world.get(&event(2)).await.unwrap();
    assert_eq!(fetched.receipt.root.0, *blake3::hash(&data).as_bytes());
    world.rooms.log().over = vec![2];
    let swept = world.server.sweep().await.unwrap();
    assert_eq!((swept.expired, swept.collected.objects, swept.collected.bytes), (1, 1, 100_000));
    for directory in ["vault/objects", "vault/refs", "vault/partials"] {
        assert!(names(&world.path(directory)).is_empty(), "{directory}");
    }
}

//= S5.70 (test)
#[tokio::test]
async fn the_rooms_say_what_the_vault_keeps() {
    let world = World::new();
    let (path, _) = world.file("f", 100_000);
    world.send(&path, room()).await.unwrap();
    let root = names(&world.path("vault/refs")).remove(0);
    // Of nobody's parcel, as a crash before the room was told would leave it; and the true one is lost.
    std::fs::remove_dir_all(world.path("vault/refs").join(&root)).unwrap();
    std::fs::create_dir(world.path("vault/refs").join(&root)).unwrap();
    std::fs::write(world.path("vault/refs").join(&root).join("ee".repeat(16)), "").unwrap();
    let swept = world.server.sweep().await.unwrap();
    assert_eq!((swept.released, swept.restored, swept.collected.objects), (1, 1, 0));
    world.get(&event(1)).await.unwrap();
    std::fs::remove_file(world.path("vault/objects").join(&root)).unwrap();
    assert_eq!(world.server.sweep().await.unwrap().lost, 0, "its reference is there: doctor tells");
    std::fs::remove_dir_all(world.path("vault/refs").join(&root)).unwrap();
    assert_eq!(world.server.sweep().await.unwrap().lost, 1);
}

#[tokio::test]
async fn a_sender_whose_parcel_was_given_up_meanwhile_gets_no_receipt() {
    let world = World::new();
    world.rooms.log().aborts = true;
    let (path, _) = world.file("f", 100_000);
    assert_eq!(code(world.send(&path, room()).await), ErrorCode::TRANSFER_UNKNOWN);
    assert_eq!(world.rooms.end(1).unwrap().status, EndStatus::Aborted);
    let swept = world.server.sweep().await.unwrap();
    assert_eq!((swept.released, swept.collected.objects), (1, 1));
}
