//! Parcels that are fetched while they are sent: every reader has every byte, at its own speed, or learns that there is
//! no parcel.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hikyaku::{ErrorCode, Exchange};
use hikyaku_files::client::Poured;
use hikyaku_files::{
    Destination, DropOptions, Fetched, FilesClient, FilesError, FilesLimits, Moment, OutgoingPipe, Progress,
};
use hikyaku_wire::files::{
    Accept, Answer, Arrival, Close, GET, Head, Offer, Overwrite, PROTOCOL, PUT, Receipt, Request, Step,
};
use hikyaku_wire::parcel::{EndStatus, EntryKind, Root, TransferId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::hostile::{block, close_of};
use crate::trees::{expected, garden, look, outgoing};
use crate::world::*;

pub(crate) const GROUP: usize = 65_536;

/// A sender that sends as much as it is told to.
pub(crate) struct ByHand {
    exchange: Exchange,
    data: Vec<u8>,
    at: usize,
}

impl ByHand {
    pub(crate) async fn begin(world: &World, offer: &Offer, data: &[u8]) -> Self {
        let mut exchange = world.connect().await.open(PROTOCOL, PUT).await.unwrap();
        exchange.send(offer).await.unwrap();
        let Answer::Accept(Accept { from, .. }) = exchange.receive().await.unwrap() else {
            panic!("an acceptance")
        };
        Self { exchange, data: data.to_vec(), at: usize::try_from(from).unwrap() }
    }

    pub(crate) async fn send_to(&mut self, end: usize) {
        while self.at < end {
            let piece = &self.data[self.at..end.min(self.at + GROUP)];
            self.exchange.send(&block(self.at, piece)).await.unwrap();
            self.exchange.send_data(piece.to_vec().into()).await.unwrap();
            self.at += piece.len();
        }
    }

    pub(crate) async fn close(mut self) -> Result<Receipt, hikyaku::Error> {
        self.send_to(self.data.len()).await;
        self.exchange.send(&close_of(&self.data)).await?;
        let Answer::Receipt(receipt) = self.exchange.receive().await? else { panic!("a receipt") };
        self.exchange.finish().await?;
        Ok(receipt)
    }

    /// The process is killed: the connection is gone without a word.
    pub(crate) async fn killed(self, world: &World, transfer: TransferId) {
        self.exchange.connection().abort(ErrorCode::NO_ERROR, "killed");
        drop(self);
        until("the server lets go", || !world.server.is_receiving(transfer)).await;
    }
}

pub(crate) fn offer(number: u8, size: Option<usize>) -> Offer {
    Offer {
        transfer: TransferId([number; 16]),
        target: room(),
        name: b"big.iso".to_vec(),
        kind: EntryKind::File,
        size: size.map(|size| size as u64),
        meta: None,
        options: None,
        tops: None,
    }
}

/// Somebody who fetches, again and again, as the program does.
struct Reader {
    into: PathBuf,
    moments: watch::Receiver<Moment>,
    task: JoinHandle<Result<Fetched, FilesError>>,
    /// Why it had to come back.
    sent_back: Arc<Mutex<Vec<String>>>,
}

impl Reader {
    async fn begin(world: &World, name: &str) -> Self {
        let into = world.path("into").join(name);
        std::fs::create_dir_all(&into).unwrap();
        let (progress, moments) = Progress::new();
        let mut destination = Destination::new(&into);
        destination.options.overwrite = Some(Overwrite::Always);
        let connection = world.connect_as(BOB).await;
        let sent_back = Arc::<Mutex<Vec<String>>>::default();
        let told = sent_back.clone();
        let task = tokio::spawn(async move {
            loop {
                let client = FilesClient::new(connection.clone());
                match client.get_file(&event(1), &destination, &progress).await {
                    Err(error) if error.is_retryable() && !connection.is_closed() => {
                        told.lock().unwrap().push(error.to_string());
                        tokio::task::yield_now().await;
                    }
                    done => return done,
                }
            }
        });
        Self { into, moments, task, sent_back }
    }

    async fn has(&self, bytes: usize) {
        until("the bytes are there", || self.moments.borrow().bytes >= bytes as u64).await;
    }

    /// What is there under a final name.
    fn published(&self) -> Vec<String> {
        names(&self.into).into_iter().filter(|name| !name.starts_with(".hikyaku")).collect()
    }

    async fn whole(self, data: &[u8]) -> Fetched {
        let fetched = self.task.await.unwrap().unwrap();
        assert_eq!(std::fs::read(self.into.join("big.iso")).unwrap(), data);
        assert_eq!(names(&self.into), ["big.iso"], "nothing else is left");
        fetched
    }
}

//= S5.81 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_have_the_first_bytes_before_the_sender_has_sent_the_last() {
    let world = World::new();
    let data = bytes(40 * GROUP + 77);
    let mut sender = ByHand::begin(&world, &offer(1, Some(data.len())), &data).await;
    let early = [Reader::begin(&world, "a").await, Reader::begin(&world, "b").await];
    sender.send_to(20 * GROUP).await;
    for reader in &early {
        reader.has(20 * GROUP).await;
        let arrival = reader.moments.borrow().arrival.unwrap();
        assert!(arrival.sending, "both ends are seen");
        assert_eq!(reader.published(), [""; 0], "no final name before the end");
    }
    let late = Reader::begin(&world, "c").await;
    let receipt = sender.close().await.unwrap();
    for reader in early.into_iter().chain([late]) {
        assert_eq!(reader.whole(&data).await.receipt.root, receipt.root);
    }
    Reader::begin(&world, "d").await.whole(&data).await;
}

//= S5.81 (test)
//= S5.84 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_wait_for_a_sender_that_was_killed_and_goes_on_over_another_connection() {
    let world = World::new();
    let data = bytes(30 * GROUP + 5);
    let offer = offer(1, Some(data.len()));
    let mut sender = ByHand::begin(&world, &offer, &data).await;
    let readers = [Reader::begin(&world, "a").await, Reader::begin(&world, "b").await];
    for part in [7, 19] {
        sender.send_to(part * GROUP).await;
        for reader in &readers {
            reader.has(part * GROUP).await;
        }
        sender.killed(&world, offer.transfer).await;
        for reader in &readers {
            let sees = || reader.moments.borrow().arrival.is_some_and(|arrival| !arrival.sending);
            until("it is told that nobody sends", sees).await;
        }
        sender = ByHand::begin(&world, &offer, &data).await;
        assert_eq!(sender.at, part * GROUP, "nothing is sent twice");
    }
    let waiting = Reader::begin(&world, "c").await;
    sender.close().await.unwrap();
    for reader in readers.into_iter().chain([waiting]) {
        reader.whole(&data).await;
    }
}

//= S5.81 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_breaks_goes_on_where_it_was_while_nobody_sends() {
    let mut world = World::new();
    let data = bytes(30 * GROUP);
    let offer = offer(1, Some(data.len()));
    let mut sender = ByHand::begin(&world, &offer, &data).await;
    sender.send_to(12 * GROUP).await;
    let reader = Reader::begin(&world, "a").await;
    reader.has(12 * GROUP).await;
    sender.killed(&world, offer.transfer).await;
    // The server too: what it knows of the parcel is what its disk has.
    reader.task.abort();
    let _ = reader.task.await;
    world.restart();
    let reader = Reader::begin(&world, "a").await;
    reader.has(12 * GROUP).await;
    let moment = *reader.moments.borrow();
    assert_eq!(
        (moment.from, moment.arrival),
        (12 * GROUP as u64, Some(Arrival { bytes: 12 * GROUP as u64, sending: false }))
    );
    ByHand::begin(&world, &offer, &data).await.close().await.unwrap();
    reader.whole(&data).await;
}

//= S5.83 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_reader_learns_of_an_abort_and_nothing_of_it_is_left() {
    for by_sweep in [false, true] {
        let limits = FilesLimits { expiry: Duration::ZERO, ..FilesLimits::default() };
        let world = World::with(limits, DropOptions::default());
        let data = bytes(20 * GROUP);
        let offer = offer(1, Some(data.len()));
        let mut sender = ByHand::begin(&world, &offer, &data).await;
        let readers = [Reader::begin(&world, "a").await, Reader::begin(&world, "b").await];
        sender.send_to(9 * GROUP).await;
        for reader in &readers {
            reader.has(9 * GROUP).await;
        }
        if by_sweep {
            sender.killed(&world, offer.transfer).await;
            assert_eq!(world.server.sweep().await.unwrap().aborted, 1);
        } else {
            sender.send_to(data.len()).await;
            let lie = Close { entry: None, size: data.len() as u64, root: Root([1; 32]) };
            sender.exchange.send(&Step::Close(lie)).await.unwrap();
            let refused = sender.exchange.receive::<Answer>().await.unwrap_err();
            assert_eq!(refused.code(), ErrorCode::ROOT_MISMATCH);
        }
        assert_eq!(world.rooms.end(1).unwrap().status, EndStatus::Aborted);
        for reader in readers {
            assert_eq!(reader.task.await.unwrap().unwrap_err().code(), ErrorCode::NOT_FOUND);
            assert!(names(&reader.into).is_empty(), "by sweep: {by_sweep}");
        }
    }
}

//= S5.82 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_has_the_whole_before_the_room_says_that_it_is_settled() {
    let world = World::new();
    let data = bytes(9 * GROUP);
    let reader = Reader::begin_when_there(&world, &data).await;
    world.rooms.log().conclude_fails = true;
    reader.1.close().await.unwrap_err();
    reader.0.has(data.len()).await;
    until("it is told that nobody sends", || {
        reader.0.moments.borrow().arrival.is_some_and(|arrival| !arrival.sending)
    })
    .await;
    // Until the server has said once more how far it is: who was told of an end too early would have published by then.
    let heard = reader.0.moments.borrow().heard;
    until("it hears from the server again", || {
        reader.0.task.is_finished() || reader.0.moments.borrow().heard > heard
    })
    .await;
    assert!(!reader.0.task.is_finished() && reader.0.published().is_empty());
    world.rooms.log().conclude_fails = false;
    until("the server lets go", || !world.server.is_receiving(TransferId([1; 16]))).await;
    assert_eq!(world.server.sweep().await.unwrap().settled, 1);
    reader.0.whole(&data).await;
}

impl Reader {
    async fn begin_when_there(world: &World, data: &[u8]) -> (Self, ByHand) {
        let sender = ByHand::begin(world, &offer(1, Some(data.len())), data).await;
        (Self::begin(world, "a").await, sender)
    }
}

/// A reader that takes nothing, and one that takes a byte at a time, hold up neither the sender nor the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_behind_slows_nobody() {
    let world = World::new();
    let data = bytes(500 * GROUP);
    let (quick, sender) = Reader::begin_when_there(&world, &data).await;
    let mut stuck = world.connect_as(BOB).await.open(PROTOCOL, GET).await.unwrap();
    stuck.send(&Request::live(event(1))).await.unwrap();
    let head: Head = stuck.receive().await.unwrap();
    let accept = Accept {
        transfer: head.transfer,
        from: 0,
        prefix: None,
        max_block: None,
        list: None,
        roots: None,
        known: Vec::new(),
        older: None,
        packed: None,
    };
    stuck.send(&Answer::Accept(accept)).await.unwrap();
    // More than a stream's credit holds: it would be noticed.
    sender.close().await.unwrap();
    quick.whole(&data).await;
    drop(stuck);
}

//= S5.80 (test)
#[tokio::test]
async fn who_does_not_ask_for_a_parcel_on_its_way_is_told_to_come_later() {
    let world = World::new();
    let data = bytes(2 * GROUP);
    let _sender = ByHand::begin(&world, &offer(1, Some(data.len())), &data).await;
    let mut exchange = world.connect().await.open(PROTOCOL, GET).await.unwrap();
    exchange.send(&Request::new(event(1))).await.unwrap();
    assert_eq!(exchange.receive::<Head>().await.unwrap_err().code(), ErrorCode::UNAVAILABLE);
}

//= S5.85 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_whose_bytes_are_no_more_the_senders_begins_again() {
    let world = World::new();
    let (old, new) = (bytes(10 * GROUP), bytes(10 * GROUP + 1));
    let mut sender = ByHand::begin(&world, &offer(1, None), &old).await;
    let reader = Reader::begin(&world, "a").await;
    sender.send_to(6 * GROUP).await;
    reader.has(6 * GROUP).await;
    sender.killed(&world, TransferId([1; 16])).await;
    reader.task.abort();
    let _ = reader.task.await;
    // The power of the server fails, and nothing of it had become durable; the source is another one now.
    std::fs::remove_dir_all(world.path("vault")).unwrap();
    let mut world = world;
    world.restart();
    let mut sender = ByHand::begin(&world, &offer(1, None), &new).await;
    assert_eq!(sender.at, 0);
    let reader = Reader::begin(&world, "a").await;
    sender.send_to(3 * GROUP).await;
    assert!(!reader.task.is_finished());
    sender.close().await.unwrap();
    reader.whole(&new).await;
}

/// The server stays, and what it had of the parcel is gone: its sender begins again before what readers have.
//= S5.81 (test)
//= S5.85 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_is_ahead_of_a_sender_that_begins_again_comes_back_and_ends_with_what_is_sent() {
    for changes in [false, true] {
        let world = World::new();
        let old = bytes(10 * GROUP);
        let new = if changes { bytes(10 * GROUP + 1) } else { old.clone() };
        let mut sender = ByHand::begin(&world, &offer(1, None), &old).await;
        let (ahead, behind) = (Reader::begin(&world, "a").await, Reader::begin(&world, "b").await);
        sender.send_to(6 * GROUP).await;
        ahead.has(6 * GROUP).await;
        behind.has(6 * GROUP).await;
        sender.killed(&world, TransferId([1; 16])).await;
        for name in names(&world.path("vault/partials")) {
            std::fs::remove_file(world.path("vault/partials").join(name)).unwrap();
        }
        let mut sender = ByHand::begin(&world, &offer(1, None), &new).await;
        assert_eq!(sender.at, 0, "it begins again");
        let told = || ahead.sent_back.lock().unwrap().iter().any(|told| told.contains("began again"));
        until("whoever is ahead is sent back", told).await;
        sender.send_to(3 * GROUP).await;
        assert!(!ahead.task.is_finished() && ahead.published().is_empty(), "nothing of it is the whole");
        sender.close().await.unwrap();
        ahead.whole(&new).await;
        behind.whole(&new).await;
    }
}

/// Its place in the store is emptied before readers hear of it: they come back, and are not told that there is no parcel.
//= S5.81 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_finds_less_than_was_there_comes_back() {
    let world = World::new();
    let data = bytes(10 * GROUP);
    let mut sender = ByHand::begin(&world, &offer(1, None), &data).await;
    sender.send_to(6 * GROUP).await;
    let first = Reader::begin(&world, "first").await;
    first.has(6 * GROUP).await;
    first.task.abort();
    let partials: Vec<_> = names(&world.path("vault/partials"))
        .iter()
        .map(|name| world.path("vault/partials").join(name))
        .collect();
    for partial in &partials {
        std::fs::OpenOptions::new().write(true).open(partial).unwrap().set_len(0).unwrap();
    }
    let reader = Reader::begin(&world, "a").await;
    until("it is sent back", || {
        reader.sent_back.lock().unwrap().iter().any(|told| told.contains("began again"))
    })
    .await;
    assert!(!reader.task.is_finished());
    sender.killed(&world, TransferId([1; 16])).await;
    partials.iter().for_each(|partial| std::fs::remove_file(partial).unwrap());
    ByHand::begin(&world, &offer(1, None), &data).await.close().await.unwrap();
    reader.whole(&data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pipe_gets_what_is_verified_while_it_is_sent() {
    let world = World::new();
    let data = bytes(8 * GROUP + 9);
    let mut sender = ByHand::begin(&world, &offer(1, None), &data).await;
    let taken = Taken::default();
    let into = taken.clone();
    let poured = Poured::new(move |_, bytes| {
        into.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    });
    let connection = world.connect_as(BOB).await;
    let pouring = tokio::spawn(async move {
        FilesClient::new(connection).pour(&event(1), &poured, &Progress::none()).await
    });
    sender.send_to(5 * GROUP).await;
    until("it came through", || taken.lock().unwrap().len() == 5 * GROUP).await;
    sender.close().await.unwrap();
    let (head, receipt) = pouring.await.unwrap().unwrap();
    assert_eq!((head.root, receipt.size), (None, data.len() as u64));
    assert_eq!(*taken.lock().unwrap(), data);
}

/// What came.
type Taken = Arc<Mutex<Vec<u8>>>;

/// Somebody who takes what comes, from a byte on.
fn pour(
    world: &World,
    from: u64,
    impatient: bool,
) -> (Taken, impl Future<Output = Result<(Head, Receipt), FilesError>> + use<>) {
    let taken = Taken::default();
    let into = taken.clone();
    let poured = Poured::new(move |_, bytes| {
        into.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    });
    let poured = if impatient { poured.impatient() } else { poured }.from(from);
    let server = world.server.clone();
    let pouring = async move {
        let router = hikyaku::Router::new()
            .route("files/1", move |exchange: Exchange<hikyaku_files::rooms::Owner>| {
                server.clone().handle(exchange)
            });
        let connection = hikyaku::local::pair(router, BOB).await.unwrap();
        FilesClient::new(connection).pour(&event(1), &poured, &Progress::none()).await
    };
    (taken, pouring)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_line_in_a_pipe_comes_through_before_the_next_is_written() {
    let world = World::new();
    let (input, mut output) = std::io::pipe().unwrap();
    let pipe = OutgoingPipe::live(input.into(), "standard input", b"x.log", room()).unwrap();
    let client = FilesClient::new(world.connect().await);
    let sending = tokio::spawn(async move { client.send_pipe(&pipe, &Progress::none()).await });
    until("it is announced", || !world.rooms.log().parcels.is_empty()).await;
    let (taken, pouring) = pour(&world, 0, false);
    let pouring = tokio::spawn(pouring);
    let mut all = Vec::new();
    for round in 0..20 {
        let line = bytes(1 + round * 9_000);
        output.write_all(&line).unwrap();
        all.extend_from_slice(&line);
        until("the line is there", || taken.lock().unwrap().len() >= all.len()).await;
        assert!(*taken.lock().unwrap() == all);
    }
    // Somebody late, from any byte on, who goes on or has enough.
    for from in [0, 1, 65_536, 131_072, 200_001, all.len() as u64] {
        let (late, pouring) = pour(&world, from, true);
        let there = all.len() as u64;
        assert!(matches!(pouring.await, Err(FilesError::Provisional(bytes)) if bytes == there), "{from}");
        assert!(*late.lock().unwrap() == all[from as usize..], "{from}");
    }
    let late: Vec<_> = [70_000, 300_000].map(|from| (from, pour(&world, from, false))).into_iter().collect();
    let late: Vec<_> =
        late.into_iter().map(|(from, (taken, pouring))| (from, taken, tokio::spawn(pouring))).collect();
    output.write_all(b"the last line").unwrap();
    all.extend_from_slice(b"the last line");
    drop(output);
    let receipt = sending.await.unwrap().unwrap();
    assert_eq!(receipt.root.0, *blake3::hash(&all).as_bytes());
    assert_eq!(pouring.await.unwrap().unwrap().1.root, receipt.root);
    for (from, taken, pouring) in late {
        assert_eq!(pouring.await.unwrap().unwrap().1.root, receipt.root);
        assert!(*taken.lock().unwrap() == all[from as usize..]);
    }
    let (settled, pouring) = pour(&world, 150_000, true);
    assert_eq!(pouring.await.unwrap().1.root, receipt.root);
    assert!(*settled.lock().unwrap() == all[150_000..]);
    let (_, beyond) = pour(&world, 1 << 30, false);
    assert_eq!(beyond.await.unwrap_err().code(), ErrorCode::RANGE_INVALID);
}

//= S5.87 (test)
#[tokio::test]
async fn a_server_that_proves_something_else_before_the_first_byte_is_not_believed() {
    let world = World::new();
    let (path, data) = world.file("big.iso", 20 * GROUP);
    world.send(&path, room()).await.unwrap();
    let outboard = world.path("vault/objects").join(format!("{}.tree", blake3::hash(&data)));
    let mut values = std::fs::read(&outboard).unwrap();
    values[5] ^= 1;
    std::fs::set_permissions(&outboard, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&outboard, values).unwrap();
    let (_, pouring) = pour(&world, 10 * GROUP as u64, false);
    assert_eq!(pouring.await.unwrap_err().code(), ErrorCode::ROOT_MISMATCH);
}

//= S5.86 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_comes_through_while_it_is_sent_whole_and_after_breaks() {
    let world = World::new();
    let source = garden(&world);
    std::fs::write(source.join("large"), bytes(60 * GROUP)).unwrap();
    let sent = outgoing(std::slice::from_ref(&source), room(), Default::default());
    let (progress, moments) = Progress::new();
    // Slow enough that readers come in between, by the sender's own bound.
    let progress = progress.paced(Some(hikyaku_files::Pace::new(8 << 20)));
    let client = FilesClient::new(world.connect().await);
    let sending = tokio::spawn(async move { client.send_tree(&sent, &progress).await });
    until("it is announced", || !world.rooms.log().parcels.is_empty()).await;
    let first = Reader::begin(&world, "a").await;
    first.has(2 * GROUP).await;
    first.task.abort();
    let _ = first.task.await;
    // One that has something of that name asks for a listing.
    std::fs::create_dir_all(world.path("into/b").join(source.file_name().unwrap())).unwrap();
    let readers = [Reader::begin(&world, "a").await, Reader::begin(&world, "b").await];
    let receipt = sending.await.unwrap().unwrap();
    for reader in readers {
        let fetched = reader.task.await.unwrap().unwrap();
        assert_eq!(fetched.receipt.root, receipt.root);
        assert_eq!(look(&reader.into.join(fetched.name.as_os_str())), expected(&source));
        assert_eq!(names(&reader.into).len(), 1);
    }
    drop(moments);
}

#[tokio::test]
async fn a_parcel_whose_bytes_are_whole_and_whose_end_failed_is_read_to_the_end_by_nobody() {
    let world = World::new();
    let (path, _) = world.file("big.iso", 3 * GROUP);
    world.rooms.log().conclude_fails = true;
    world.send(&path, room()).await.unwrap_err();
    let reader = Reader::begin(&world, "a").await;
    reader.has(3 * GROUP).await;
    assert!(reader.published().is_empty());
    world.rooms.log().conclude_fails = false;
    world.server.sweep().await.unwrap();
    reader.whole(&bytes(3 * GROUP)).await;
}
