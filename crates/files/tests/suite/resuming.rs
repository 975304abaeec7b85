//! After a break.

use hikyaku::{Connection, ErrorCode};
use hikyaku_files::{Destination, FilesClient, FilesError, Moment, Outgoing, Progress};
use hikyaku_wire::files::{Answer, MAX_BLOCK_LEN, PROTOCOL, PUT};
use tokio::sync::watch;

use crate::world::*;

const LEN: usize = 24 * 1024 * 1024 + 12_345;

/// Cuts the connection once `bytes` are past.
pub(crate) async fn cut_at(connection: Connection, view: watch::Receiver<Moment>, bytes: u64) {
    // Nobody is woken by bytes.
    while view.borrow().bytes < bytes {
        if view.has_changed().is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    connection.abort(ErrorCode::NO_ERROR, "the cable is cut");
}

async fn send_and_cut(world: &World, outgoing: &Outgoing, bytes: u64) -> Result<(), FilesError> {
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cut = tokio::spawn(cut_at(connection.clone(), view, bytes));
    let sent = FilesClient::new(connection).send_file(outgoing, &progress).await;
    drop(progress);
    cut.await.unwrap();
    sent.map(drop)
}

//= S5.16 (test)
#[tokio::test]
async fn a_cut_upload_goes_on_where_it_stopped() {
    let world = World::new();
    for (name, target) in [("dropped", here()), ("parcel", room())] {
        let (path, data) = world.file(name, LEN);
        let outgoing = Outgoing::new(&path, None, target).unwrap();
        let error = send_and_cut(&world, &outgoing, 20 << 20).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(world.dropped().iter().all(|dropped| dropped != name), "no final name before the end");
        let (progress, view) = Progress::new();
        let receipt = FilesClient::new(world.connect().await).send_file(&outgoing, &progress).await.unwrap();
        assert_eq!(receipt.root.0, *blake3::hash(&data).as_bytes());
        // What was on its way when the cable was cut, a window of 16 MiB at most, is sent again, and no more.
        assert!(view.borrow().from >= 2 << 20, "went on from {}", view.borrow().from);
    }
    assert_eq!(std::fs::read(world.path("drop/dropped")).unwrap(), bytes(LEN));
}

#[tokio::test]
async fn a_cut_upload_goes_on_after_both_processes_were_started_again() {
    let mut world = World::new();
    let (path, _) = world.file("f", LEN);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    send_and_cut(&world, &outgoing, 20 << 20).await.unwrap_err();
    let outgoing = Outgoing::decode(&outgoing.encode()).unwrap();
    world.restart();
    let (progress, view) = Progress::new();
    // The old writing thread may still be leaving its mark: a real restart would have ended it.
    let client = FilesClient::new(world.connect().await);
    while let Err(error) = client.send_file(&outgoing, &progress).await {
        assert!(error.code() == ErrorCode::BUSY, "{error}");
    }
    assert!(view.borrow().from >= 2 << 20, "went on from {}", view.borrow().from);
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), bytes(LEN));
}

#[tokio::test]
async fn a_source_that_changed_during_the_break_is_not_mixed_with_the_old() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    send_and_cut(&world, &outgoing, 20 << 20).await.unwrap_err();
    // Same size, same times as far as a program can set them: only the change time and the bytes tell.
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut other = data;
    other[0] ^= 1;
    std::fs::write(&path, &other).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let again = FilesClient::new(world.connect().await).send_file(&outgoing, &Progress::none()).await;
    assert_eq!(code(again), ErrorCode::SOURCE_CHANGED);
    assert!(world.dropped().is_empty());
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let world = World::new();
    let (path, data) = world.file("f", LEN);
    world.send(&path, room()).await.unwrap();
    let destination = Destination::new(world.path("into"));
    let connection = world.connect().await;
    let (progress, view) = Progress::new();
    let cut = tokio::spawn(cut_at(connection.clone(), view, 12 << 20));
    let error = FilesClient::new(connection).get_file(&event(1), &destination, &progress).await.unwrap_err();
    cut.await.unwrap();
    assert!(error.is_retryable(), "{error:?}");
    assert!(names(&world.path("into")).iter().all(|name| name.starts_with(".hikyaku-")));
    let (progress, view) = Progress::new();
    let fetched =
        FilesClient::new(world.connect().await).get_file(&event(1), &destination, &progress).await.unwrap();
    assert!(view.borrow().from >= 12 << 20, "went on from {}", view.borrow().from);
    assert_eq!(fetched.receipt.root.0, *blake3::hash(&data).as_bytes());
    assert_eq!(std::fs::read(world.path("into/f")).unwrap(), data);
    assert_eq!(names(&world.path("into")), ["f"]);
}

/// Sends everything but takes no notice of the receipt.
async fn send_without_listening(connection: &Connection, outgoing: &Outgoing, data: &[u8]) {
    let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(_) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    crate::hostile::send_blocks(&mut exchange, data, MAX_BLOCK_LEN as usize).await;
    exchange.send(&crate::hostile::close_of(data)).await.unwrap();
    let Answer::Receipt(_) = exchange.receive().await.unwrap() else { panic!("a receipt") };
}

//= S5.18 (test)
#[tokio::test]
async fn a_lost_receipt_is_repeated_and_the_file_is_not_sent_again() {
    for target in [here(), room()] {
        let mut world = World::new();
        let (path, data) = world.file("f", 300_000);
        let outgoing = Outgoing::new(&path, None, target).unwrap();
        let connection = world.connect().await;
        send_without_listening(&connection, &outgoing, &data).await;
        connection.abort(ErrorCode::NO_ERROR, "the receipt is lost");
        world.restart();
        let (progress, view) = Progress::new();
        let receipt = FilesClient::new(world.connect().await).send_file(&outgoing, &progress).await.unwrap();
        assert_eq!((receipt.size, receipt.root.0), (300_000, *blake3::hash(&data).as_bytes()));
        assert_eq!(view.borrow().transfer, None, "not a byte was sent");
    }
}

//= S5.37 (test)
#[tokio::test]
async fn a_transfer_belongs_to_whoever_began_it_and_is_what_it_was() {
    let world = World::new();
    let (path, data) = world.file("f", 300_000);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    let connection = world.connect().await;
    send_without_listening(&connection, &outgoing, &data).await;
    let thief = FilesClient::new(world.connect_as(BOB).await);
    assert_eq!(code(thief.send_file(&outgoing, &Progress::none()).await), ErrorCode::CONFLICT);
    let mut exchange = world.connect().await.open(PROTOCOL, PUT).await.unwrap();
    let mut offer = outgoing.offer().clone();
    offer.name = b"other".to_vec();
    exchange.send(&offer).await.unwrap();
    let error = exchange.receive::<Answer>().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::CONFLICT);
}

//= S5.17 (test)
#[tokio::test]
async fn a_returning_sender_does_not_wait_for_its_dead_connection() {
    let world = World::new();
    let (path, data) = world.file("f", 3_000_000);
    let outgoing = Outgoing::new(&path, None, here()).unwrap();
    let dead = world.connect().await;
    let mut exchange = dead.open(PROTOCOL, PUT).await.unwrap();
    exchange.send(outgoing.offer()).await.unwrap();
    let Answer::Accept(_) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
    crate::hostile::send_blocks(&mut exchange, &data[..1 << 20], 1 << 20).await;
    let receipt =
        FilesClient::new(world.connect().await).send_file(&outgoing, &Progress::none()).await.unwrap();
    assert_eq!(receipt.size, data.len() as u64);
    assert_eq!(std::fs::read(world.path("drop/f")).unwrap(), data);
    // The old one is told why: its command may have been started twice.
    assert_eq!(crate::hostile::refused(&mut exchange).await, ErrorCode::CONFLICT);
}
