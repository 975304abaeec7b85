//! Signed receipts: given when everything is in its place, kept as they were signed, believed only as far as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hikyaku::{Connection, ErrorCode, Exchange, Failure, Identity, KeyId, Router};
use hikyaku_files::receipts::server::{self, News, Receipts};
use hikyaku_files::receipts::{Holder, Invalid, Known, accept, signed, verify};
use hikyaku_files::rooms::Owner;
use hikyaku_files::{Destination, FilesClient, FilesError, OutgoingTree, Progress, Rooms as _, WalkOptions};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{DeviceId, RoomId, UserId};
use hikyaku_wire::files::receipts::{
    Hands, KeptReceipt, ListReceipts, Receipts as Page, SignedReceipt, Statement,
};
use hikyaku_wire::files::{Arrival, PutOptions, Wanted};
use hikyaku_wire::parcel::{EventRef, Root, TransferId};
use tokio::sync::broadcast;

use crate::passing::{ByHand, GROUP, offer};
use crate::world::*;

/// As the model of rooms has it.
const ROOM: RoomId = RoomId(*b"lab\0\0\0\0\0\0\0\0\0\0\0\0\0");
const HOST: KeyId = KeyId::from_bytes([2; 32]);
const BEN: UserId = UserId([3; 16]);

/// Receipts in memory, and what was in a directory of the receiver's when each came.
#[derive(Clone)]
struct Kept {
    rooms: RoomsModel,
    server: Server,
    device: DeviceId,
    into: PathBuf,
    kept: Arc<Mutex<BTreeMap<u64, KeptReceipt>>>,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
    news: broadcast::Sender<News>,
}

impl Kept {
    fn new(world: &World, device: &Identity) -> Self {
        Self {
            rooms: world.rooms.clone(),
            server: world.server.clone(),
            device: DeviceId(*device.id().as_bytes()),
            into: world.path("into"),
            kept: Arc::default(),
            seen: Arc::default(),
            news: broadcast::channel(4).0,
        }
    }

    fn count(&self) -> usize {
        self.kept.lock().unwrap().len()
    }

    /// A connection to a server with these receipts.
    async fn connect(&self, world: &World) -> Connection {
        let (files, kept) = (world.server.clone(), self.clone());
        let router = Router::new().route("files/1", move |exchange: Exchange<Owner>| {
            let (files, kept) = (files.clone(), kept.clone());
            async move {
                if server::is_method(exchange.method()) {
                    return server::handle(kept, exchange).await;
                }
                files.handle(exchange).await
            }
        });
        hikyaku::local::pair(router, BOB).await.unwrap()
    }
}

impl Receipts<Owner> for Kept {
    async fn room(&self, _: &Owner, name: &str) -> Result<RoomId, Failure> {
        match name {
            "lab" if !self.rooms.log().denied => Ok(ROOM),
            _ => Err(Failure::new(ErrorCode::DENIED, "you may not")),
        }
    }

    async fn known(&self, context: &Owner, _: RoomId, seq: u64) -> Result<Known, Failure> {
        let wanted = Wanted::Event(EventRef { room: "lab".into(), epoch: None, seq });
        let found = self.rooms.resolve(context, &wanted).await?;
        let unsettled = || Failure::new(ErrorCode::UNAVAILABLE, "not settled yet");
        let (transfer, root, device) = (found.transfer, found.root.ok_or_else(unsettled)?, self.device);
        let size = self.rooms.end(seq).and_then(|end| end.bytes);
        Ok(Known { host: HOST, user: BEN, device, epoch: 1, transfer, root, size })
    }

    async fn keep(&self, _: &Owner, said: &Statement, receipt: &SignedReceipt) -> Result<(), Failure> {
        self.seen.lock().unwrap().push(names(&self.into));
        let kept = KeptReceipt { receipt: receipt.clone(), name: "ben".into(), got_ms: 7 };
        self.kept.lock().unwrap().insert(said.seq, kept);
        let _ = self.news.send((said.room, said.seq));
        Ok(())
    }

    async fn list(&self, _: &Owner, ask: &ListReceipts) -> Result<Page, Failure> {
        let kept = self.kept.lock().unwrap().get(&ask.parcel.seq).cloned();
        Ok(Page { receipts: kept.into_iter().collect(), more: None })
    }

    async fn hands(&self, _: RoomId, seq: u64) -> Result<Option<Hands>, Failure> {
        let hands = u64::from(self.kept.lock().unwrap().contains_key(&seq));
        let open = {
            let log = self.rooms.log();
            let index = usize::try_from(seq - 1).unwrap();
            let parcel = log.parcels.get(index).filter(|_| !log.ends.contains_key(&seq));
            parcel.map(|(_, parcel)| parcel.transfer)
        };
        let arrival = match open {
            Some(transfer) => Some(self.server.arrival(transfer).await?),
            None => None,
        };
        Ok((seq < 90).then_some(Hands { seq, hands, of: Some(4), arrival }))
    }

    fn underway(&self, room: RoomId) -> Vec<(u64, Arrival)> {
        self.server.underway().in_room(room.0)
    }

    fn changes(&self) -> broadcast::Receiver<([u8; 16], u64)> {
        self.server.underway().changes()
    }

    fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

fn holder(identity: &Identity, seq: u64) -> Holder {
    Holder { identity: identity.clone(), host: HOST, user: BEN, room: ROOM, epoch: 1, seq }
}

fn reference(seq: u64) -> EventRef {
    EventRef { room: "lab".into(), epoch: None, seq }
}

//= S5.90 (test)
#[tokio::test]
async fn a_receipt_is_given_only_when_the_file_or_the_tree_is_under_its_final_name() {
    let world = World::new();
    let device = Identity::generate().unwrap();
    let kept = Kept::new(&world, &device);
    let (path, _) = world.file("f", 300_000);
    let sent = world.send(&path, room()).await.unwrap();
    std::fs::create_dir(world.path("home/tree")).unwrap();
    world.file("tree/inside", 100_000);
    let outgoing = OutgoingTree::new(
        &[world.path("home/tree")],
        None,
        room(),
        PutOptions::default(),
        WalkOptions::default(),
    )
    .unwrap();
    FilesClient::new(world.connect().await).send_tree(&outgoing, &Progress::none()).await.unwrap();

    let files = FilesClient::new(kept.connect(&world).await);
    for (seq, there) in [(1, vec!["f"]), (2, vec!["f", "tree"])] {
        let destination = Destination::new(world.path("into"));
        let holder = std::future::ready(Some(holder(&device, seq)));
        let (wanted, progress) = (event(seq), Progress::none());
        let got = files.get_receipted(&wanted, &destination, &progress, holder, || 77, |_| {}).await;
        let (receipt, given) = got.unwrap().receipt.unwrap();
        given.unwrap();
        assert_eq!(kept.seen.lock().unwrap().last().unwrap(), &there, "when the receipt came");
        let said = verify(&receipt).unwrap();
        assert_eq!((said.seq, said.user, said.at_ms), (seq, BEN, 77));
    }
    let listed = files.receipts(&reference(1)).await.unwrap();
    assert_eq!(verify(&listed[0].receipt).unwrap().root, sent.root);
    //= S5.93 (test)
    assert_eq!(listed, kept.kept.lock().unwrap().get(&1).cloned().into_iter().collect::<Vec<_>>());
}

//= S5.90 (test)
#[tokio::test]
async fn what_did_not_get_its_name_is_not_receipted() {
    let world = World::new();
    let device = Identity::generate().unwrap();
    let kept = Kept::new(&world, &device);
    let (path, _) = world.file("f", 1_000_000);
    world.send(&path, room()).await.unwrap();
    let files = FilesClient::new(kept.connect(&world).await);
    let destination = Destination::new(world.path("into"));
    // The name is taken while the bytes come.
    let (progress, moments) = Progress::new();
    let taken = world.path("into/f");
    let taking = std::thread::spawn(move || {
        while moments.borrow().bytes == 0 {
            std::thread::yield_now();
        }
        std::fs::write(taken, "mine").unwrap();
    });
    let holder = std::future::ready(Some(holder(&device, 1)));
    let got = files.get_receipted(&event(1), &destination, &progress, holder, || 77, |_| {}).await;
    taking.join().unwrap();
    // It may have been faster than the other: then it has its name, and says so.
    assert_eq!(got.is_ok(), kept.count() == 1);
    assert_eq!(got.is_ok(), std::fs::read(world.path("into/f")).unwrap() != b"mine" || kept.count() == 1);
}

fn statement(device: &Identity) -> Statement {
    Statement {
        host: *HOST.as_bytes(),
        room: ROOM,
        epoch: 1,
        seq: 1,
        transfer: TransferId([4; 16]),
        root: Root([5; 32]),
        size: 6,
        user: BEN,
        device: DeviceId(*device.id().as_bytes()),
        at_ms: 7,
        kept: None,
        missing: None,
    }
}

//= S5.91 (test)
#[test]
fn a_receipt_of_anything_else_or_from_anybody_else_is_refused_with_what_differs() {
    let (device, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let right = statement(&device);
    let known = Known {
        host: HOST,
        user: BEN,
        device: right.device,
        epoch: 1,
        transfer: right.transfer,
        root: right.root,
        size: Some(6),
    };
    assert_eq!(accept(&signed(&device, &right), &known), Ok(right.clone()));
    let wrong: [(&str, Statement); 6] = [
        ("the server", Statement { host: [9; 32], ..right.clone() }),
        ("the user", Statement { user: UserId([9; 16]), ..right.clone() }),
        ("the epoch", Statement { epoch: 0, ..right.clone() }),
        ("the transfer", Statement { transfer: TransferId([9; 16]), ..right.clone() }),
        ("the root", Statement { root: Root([9; 32]), ..right.clone() }),
        ("the size", Statement { size: 9, ..right.clone() }),
    ];
    for (what, statement) in wrong {
        let refused = accept(&signed(&device, &statement), &known).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RECEIPT_INVALID);
        assert!(refused.message.contains(what), "{what}: {}", refused.message);
    }
    // A device of the same user's, over this one's connection.
    let theirs = signed(&other, &Statement { device: DeviceId(*other.id().as_bytes()), ..right.clone() });
    assert!(accept(&theirs, &known).unwrap_err().message.contains("the device"));
    assert!(accept(&signed(&other, &right), &known).is_err());
}

//= S5.94 (test)
#[test]
fn nothing_of_a_receipt_is_believed_that_was_not_signed_by_its_device() {
    let (device, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let receipt = signed(&device, &statement(&device));
    assert_eq!(verify(&receipt), Ok(statement(&device)));
    for at in 0..receipt.statement.len() {
        let mut changed = receipt.clone();
        changed.statement[at] ^= 1;
        assert_eq!(verify(&changed), Err(Invalid::Signature), "byte {at}");
    }
    // The same words in other bytes, and the words of one device signed by another.
    let mut longer = receipt.clone();
    longer.statement.push(0);
    assert_eq!(verify(&longer), Err(Invalid::Signature));
    assert_eq!(verify(&signed(&other, &statement(&device))), Err(Invalid::Device));
    let swapped = SignedReceipt { key: other.public_key(), ..receipt.clone() };
    assert_eq!(verify(&swapped), Err(Invalid::Signature));
    // Signed for another purpose.
    let bytes = cbor::encode(&statement(&device));
    let signature = device.sign(b"hikyaku/1 other\0", &bytes);
    assert_eq!(verify(&SignedReceipt { signature, ..receipt.clone() }), Err(Invalid::Signature));
    let nonsense = device.sign(b"hikyaku/1 receipt\0", b"\xff");
    let nonsense = SignedReceipt { statement: b"\xff".to_vec(), signature: nonsense, ..receipt };
    assert!(matches!(verify(&nonsense), Err(Invalid::Statement(_))));
}

/// The vector of the specification is a receipt that can be checked.
//= S5.94 (test)
#[test]
fn the_receipt_of_the_specification_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/files.json");
    let vectors = std::fs::read_to_string(path).unwrap();
    let vector = vectors.lines().find(|line| line.contains("\"type\":\"signed-receipt\"")).unwrap();
    let hex = vector.split_once("\"hex\":\"").unwrap().1.split('"').next().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let receipt: SignedReceipt = cbor::decode(&bytes, &cbor::Limits::default()).unwrap();
    assert_eq!(verify(&receipt).unwrap().seq, 97);
}

//= S5.95 (test)
#[tokio::test]
async fn hands_are_told_once_or_as_they_come_and_to_nobody_who_may_not_read() {
    let world = World::new();
    let device = Identity::generate().unwrap();
    let kept = Kept::new(&world, &device);
    let (path, _) = world.file("f", 1_000);
    world.send(&path, room()).await.unwrap();
    let files = FilesClient::new(kept.connect(&world).await);
    let none = Hands { seq: 1, hands: 0, of: Some(4), arrival: None };
    assert_eq!(files.hands("lab", vec![1, 99]).await.unwrap(), [none]);
    let mut following = files.follow_hands("lab", vec![1]).await.unwrap();
    assert_eq!(following.next().await.unwrap(), Some(none));
    let destination = Destination::new(world.path("into"));
    let holder = std::future::ready(Some(holder(&device, 1)));
    files.get_receipted(&event(1), &destination, &Progress::none(), holder, || 77, |_| {}).await.unwrap();
    let one = Hands { hands: 1, ..none };
    assert_eq!(following.next().await.unwrap(), Some(one));
    // Whoever may no longer read hears nothing more.
    world.rooms.log().denied = true;
    kept.news.send((ROOM, 1)).unwrap();
    let error = following.next().await.unwrap_err();
    assert!(matches!(&error, FilesError::Exchange(_)) && error.code() == ErrorCode::DENIED, "{error}");
    assert_eq!(files.hands("lab", vec![1]).await.unwrap_err().code(), ErrorCode::DENIED);
}

//= S5.96 (test)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_a_room_is_told_how_far_its_parcels_are_until_their_end() {
    let world = World::new();
    let kept = Kept::new(&world, &Identity::generate().unwrap());
    let files = FilesClient::new(kept.connect(&world).await);
    let mut following = files.follow_hands("lab", Vec::new()).await.unwrap();
    let arrival = |hands: Option<Hands>| hands.map(|hands| (hands.seq, hands.arrival)).unwrap();
    let data = bytes(8 * GROUP);
    let mut sender = ByHand::begin(&world, &offer(1, Some(data.len())), &data).await;
    let told = arrival(following.next().await.unwrap());
    assert_eq!(told, (1, Some(Arrival { bytes: 0, sending: true })));
    sender.send_to(4 * GROUP).await;
    let half = Arrival { bytes: 4 * GROUP as u64, sending: true };
    while arrival(following.next().await.unwrap()) != (1, Some(half)) {}
    let asked = files.hands("lab", vec![1]).await.unwrap();
    assert_eq!(asked[0].arrival, Some(half), "who asks once is told too");
    sender.killed(&world, TransferId([1; 16])).await;
    let (_, left) = arrival(following.next().await.unwrap());
    assert!(left.is_some_and(|left| !left.sending), "{left:?}");
    let sender = ByHand::begin(&world, &offer(1, Some(data.len())), &data).await;
    sender.close().await.unwrap();
    // At its end there is nothing to be told of but hands.
    while arrival(following.next().await.unwrap()) != (1, None) {}
    // Whoever may no longer read hears nothing more.
    let other = ByHand::begin(&world, &offer(2, None), &data).await;
    while arrival(following.next().await.unwrap()).0 != 2 {}
    world.rooms.log().denied = true;
    drop(other);
    let error = following.next().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DENIED);
}
