//! Trees of which files changed in places: into a directory only what changed of them is sent, and nobody learns or gets more
//! by it than they had.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hikyaku::{Connection, ErrorCode, Exchange, Router};
use hikyaku_files::bundle::Writer;
use hikyaku_files::tree::{self, GROUP};
use hikyaku_files::versions::Index;
use hikyaku_files::{DropOptions, FilesClient, FilesLimits, OutgoingTree, Progress, WalkOptions};
use hikyaku_wire::bundle::{Enter, FileHead};
use hikyaku_wire::files::{
    Answer, Block, Composed, List, Listed, Offer, Older, OlderFile, Overwrite, PROTOCOL, PUT, Part,
    PutOptions, Step, Wants,
};
use hikyaku_wire::parcel::{EntryKind, Metadata, TransferId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::trees::{look, send};
use crate::world::*;

const LEN: usize = 2_000_000;

fn always() -> PutOptions {
    PutOptions { overwrite: Some(Overwrite::Always), ..PutOptions::default() }
}

fn tree(world: &World) -> OutgoingTree {
    OutgoingTree::new(&[world.path("home/t")], None, here(), always(), WalkOptions::default()).unwrap()
}

/// A tree of two big files, many small ones, and a directory in it.
fn plant(world: &World) -> PathBuf {
    let at = world.path("home/t");
    fs::create_dir_all(at.join("deep/er")).unwrap();
    for number in 0..40 {
        fs::write(at.join(format!("small {number}")), bytes(1_000 + number)).unwrap();
    }
    fs::write(at.join("deep/er/image"), bytes(4 * LEN)).unwrap();
    fs::write(at.join("log"), bytes(LEN)).unwrap();
    at
}

/// Over a pipe that counts what goes through it, both ways.
async fn counted(world: &World) -> (Connection, Arc<AtomicU64>) {
    counted_to(world, u64::MAX).await
}

/// The same, and it breaks when so much has gone through it.
async fn counted_to(world: &World, most: u64) -> (Connection, Arc<AtomicU64>) {
    let server = world.server.clone();
    let router = Router::new().route("files/1", move |exchange: Exchange<_>| server.clone().handle(exchange));
    let ((ours, left), (right, theirs)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
    let count = Arc::new(AtomicU64::new(0));
    let ((up_from, down_to), (down_from, up_to)) = (tokio::io::split(left), tokio::io::split(right));
    let (up, down) =
        (carry(up_from, up_to, count.clone(), most), carry(down_from, down_to, count.clone(), most));
    // With one direction the other one ends.
    tokio::spawn(async move {
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    });
    let (nobody, limits) = (hikyaku::KeyId::from_bytes([0; 32]), hikyaku::Limits::default);
    let serving = hikyaku::local::serve(theirs, nobody, ADA, Arc::new(router), limits());
    tokio::spawn(async move { serving.closed().await });
    (hikyaku::local::connect(ours, Router::new(), limits()).await.unwrap(), count)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: Arc<AtomicU64>,
    most: u64,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let passed = count.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        if passed > most || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Sends the tree; how many bytes went over the line.
async fn sent(world: &World) -> u64 {
    let (connection, count) = counted(world).await;
    FilesClient::new(connection).send_tree(&tree(world), &Progress::none()).await.unwrap();
    count.load(Ordering::Relaxed)
}

fn same(world: &World, at: &Path) {
    assert_eq!(look(&world.path("drop/t")), look(at));
}

//= S5.107 (test)
//= S5.109 (test)
#[tokio::test]
async fn of_changed_files_in_a_tree_only_what_changed_is_sent() {
    let world = World::new();
    let at = plant(&world);
    let whole = sent(&world).await;
    assert!(whole > 5 * LEN as u64);
    // One in a hundred bytes of one, in one place; a few are put into the other.
    let image = fs::File::options().write(true).open(at.join("deep/er/image")).unwrap();
    image.write_all_at(&vec![7; 4 * LEN / 100], 3_000_001).unwrap();
    let mut log = bytes(LEN);
    log.splice(700_001..700_001, bytes(333));
    fs::write(at.join("log"), &log).unwrap();
    fs::write(at.join("small 7"), b"another").unwrap();
    let changed = sent(&world).await;
    assert!(changed * 100 < 3 * whole, "{changed} bytes of {whole}");
    same(&world, &at);
    // And where everything is there, nothing of it.
    let nothing = sent(&world).await;
    assert!(nothing < 8_000, "{nothing}");
}

//= S5.107 (test)
//= S5.109 (test)
#[tokio::test]
async fn a_break_in_the_middle_of_a_renewed_file_goes_on_there_and_mixes_nothing() {
    let world = World::new();
    let at = plant(&world);
    sent(&world).await;
    // Every other piece of half a megabyte is another one.
    let image = fs::File::options().write(true).open(at.join("deep/er/image")).unwrap();
    for piece in (0..4 * LEN / 500_000).step_by(2) {
        image.write_all_at(&vec![piece as u8; 500_000], piece as u64 * 500_000).unwrap();
        image.write_all_at(&bytes(500_000 - piece), piece as u64 * 500_000).unwrap();
    }
    let (tree, walk) = (tree(&world), WalkOptions::default());
    let old = look(&world.path("drop/t"));
    let mut from = Vec::new();
    for most in [1_500_000, 1_000_000] {
        let (connection, _) = counted_to(&world, most).await;
        let (progress, view) = Progress::new();
        let error = FilesClient::new(connection).send_tree(&tree, &progress).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(look(&world.path("drop/t")), old, "what is there stays until all of its file came");
        from.push(view.borrow().from);
    }
    let outgoing = OutgoingTree::decode(&tree.encode(), walk).unwrap();
    let (progress, view) = Progress::new();
    let (connection, count) = counted(&world).await;
    let client = FilesClient::new(connection);
    // Until the thread of the attempt that broke has left its mark.
    while let Err(error) = client.send_tree(&outgoing, &progress).await {
        assert_eq!(error.code(), ErrorCode::BUSY, "{error}");
    }
    from.push(view.borrow().from);
    let count = count.load(Ordering::Relaxed);
    println!("went on from {from:?}; {count} bytes after the breaks");
    assert!(from[0] == 0 && from[2] > 600_000 && from[2] < 4 * LEN as u64, "{from:?}");
    same(&world, &at);
}

/// A generator of our own: what it makes is printed where it fails.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    /// Another version: with bytes changed, put in, taken out, moved, zeroed.
    fn edit(&mut self, old: &[u8]) -> Vec<u8> {
        let mut new = old.to_vec();
        for _ in 0..self.below(6) {
            let (at, len) = (self.below(new.len()), 1 + self.below(200_000));
            let end = (at + len).min(new.len());
            match self.below(6) {
                0 => new[at] ^= 1,
                1 => drop(new.splice(at..at, bytes(len))),
                2 => drop(new.drain(at..end)),
                3 => new[at..end].fill(0),
                4 => drop(new.splice(at..at, vec![0; 4 * len])),
                _ => new.rotate_left(at),
            }
            if new.is_empty() {
                new.push(1);
            }
        }
        new
    }
}

//= S5.109 (test)
#[tokio::test]
async fn whatever_was_changed_the_outcome_is_the_source() {
    for seed in 0..12 {
        println!("seed {seed}");
        let (world, mut dice) = (World::new(), Dice(seed));
        let at = world.path("home/t");
        fs::create_dir_all(at.join("d")).unwrap();
        let mut files = Vec::new();
        for name in ["a", "b", "d/c", "d/d", "e"] {
            let len = 100_000 + dice.below(900_000);
            files.push((at.join(name), bytes(len)));
        }
        for round in 0..3 {
            for (path, content) in &mut files {
                fs::write(&path, &*content).unwrap();
                *content = dice.edit(content);
            }
            send(&world, &tree(&world)).await.unwrap();
            assert_eq!(look(&world.path("drop/t")), look(&at), "seed {seed}, round {round}");
        }
    }
}

//= S5.108 (test)
#[tokio::test]
async fn many_older_versions_are_told_one_after_the_other() {
    let world = World::new();
    let at = world.path("home/t");
    fs::create_dir_all(&at).unwrap();
    for number in 0..60 {
        fs::write(at.join(format!("{number:02}")), bytes(300_000 + number)).unwrap();
    }
    let whole = sent(&world).await;
    for number in 0..60 {
        let file = fs::File::options().write(true).open(at.join(format!("{number:02}"))).unwrap();
        // All of some is zeros now, of which a bundle has no byte.
        match number % 3 {
            0 => file.set_len(0).and_then(|()| file.set_len(400_000)).unwrap(),
            _ => file.write_all_at(b"changed", 150_000).unwrap(),
        }
    }
    let changed = sent(&world).await;
    assert!(changed * 5 < whole, "{changed} bytes of {whole}");
    same(&world, &at);
}

#[tokio::test]
async fn who_finds_no_place_to_be_told_sends_files_of_a_tree_whole() {
    let limits = FilesLimits { max_indexed: 0, ..FilesLimits::default() };
    let world = World::with(limits, DropOptions { keep_free: 0, ..DropOptions::default() });
    let at = plant(&world);
    let whole = sent(&world).await;
    fs::File::options().write(true).open(at.join("log")).unwrap().write_all_at(b"changed", 9).unwrap();
    let changed = sent(&world).await;
    assert!((LEN as u64..whole).contains(&changed));
    same(&world, &at);
}

/// A sender by hand: of a tree of one file.
struct Hand {
    exchange: Exchange,
    _connection: Connection,
    wants: Wants,
}

impl Hand {
    async fn offer(world: &World, who: hikyaku_files::rooms::Owner, put: PutOptions) -> Self {
        let connection = world.connect_as(who).await;
        let mut exchange = connection.open(PROTOCOL, PUT).await.unwrap();
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let transfer = TransferId([NEXT.fetch_add(1, Ordering::Relaxed); 16]);
        let offer = Offer {
            transfer,
            target: here(),
            name: b"t".to_vec(),
            kind: EntryKind::Tree,
            size: None,
            meta: None,
            options: Some(put),
            tops: None,
        };
        exchange.send(&offer).await.unwrap();
        let Answer::Accept(accept) = exchange.receive().await.unwrap() else { panic!("an acceptance") };
        assert_eq!(accept.list, Some(true), "something is there");
        let file = Listed::File {
            name: b"image".to_vec(),
            size: LEN as u64,
            mtime: i64::MAX >> 20,
            mtime_ns: 0,
            mode: 0o644,
            links: false,
            root: None,
            attributes: None,
        };
        let entries = vec![Listed::Enter(b"t".to_vec()), file, Listed::Leave];
        exchange.send(&Step::List(List { first: 0, entries, last: Some(true) })).await.unwrap();
        let Answer::Wants(wants) = exchange.receive().await.unwrap() else { panic!("answers") };
        Self { exchange, _connection: connection, wants }
    }

    async fn told(&mut self) -> Index {
        let mut index = Index::new(self.wants.older[0].older).unwrap();
        while !index.is_whole() {
            let Answer::Pieces(pieces) = self.exchange.receive().await.unwrap() else { panic!("pieces") };
            index.hear(&pieces).unwrap();
        }
        index
    }

    /// Says the bundle up to the first piece of the file, which is named as a part from `from`.
    async fn name(&mut self, content: &[u8], from: u64) {
        let mut writer = Writer::default();
        writer.enter(&Enter { name: b"t".to_vec() });
        let meta = Some(Metadata { mode: Some(0o644), mtime: Some(i64::MAX >> 20), mtime_ns: Some(0) });
        let name = b"image".to_vec();
        writer.file(&FileHead { name, size: LEN as u64, meta, attributes: None, from: None });
        writer
            .bytes(GROUP, |to| {
                to.copy_from_slice(&content[..GROUP]);
                Ok::<_, ()>(true)
            })
            .unwrap();
        let (written, at) = (writer.written(), writer.written().len() - GROUP);
        let cvs = [&written[..GROUP], &written[GROUP..]];
        let cvs =
            cvs.iter().enumerate().flat_map(|(n, group)| tree::group((n * GROUP) as u64, group).cv).collect();
        let block = Block { entry: None, offset: 0, len: written.len() as u64, cvs };
        let parts = vec![Part { at: at as u64, len: GROUP as u64, from }];
        self.exchange.send(&Step::Composed(Composed { block, parts })).await.unwrap();
        self.exchange.send_data(written[..at].to_vec().into()).await.unwrap();
    }

    async fn refused(mut self) -> hikyaku::Error {
        loop {
            match self.exchange.receive::<Answer>().await {
                Ok(Answer::Pieces(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    }
}

fn there(world: &World, content: &[u8]) -> PathBuf {
    let at = world.path("drop/t");
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("image"), content).unwrap();
    at.join("image")
}

fn renewing() -> PutOptions {
    PutOptions { parts: Some(true), ..always() }
}

//= S5.105 (test)
//= S5.109 (test)
#[tokio::test]
async fn parts_of_a_tree_s_file_that_are_wrong_cost_an_attempt_and_no_byte() {
    let (world, old) = (World::new(), bytes(LEN));
    let image = there(&world, &old);
    let refused = async |from, damage: Option<&[u8]>| {
        fs::write(&image, &old).unwrap();
        let mut hand = Hand::offer(&world, ADA, renewing()).await;
        let older = Older { size: LEN as u64, ..hand.wants.older[0].older };
        assert_eq!(hand.wants.older, [OlderFile { file: 0, older }]);
        hand.told().await;
        damage.into_iter().for_each(|damage| fs::write(&image, damage).unwrap());
        hand.name(&old, from).await;
        hand.refused().await
    };
    // Bytes from elsewhere in it, and what was written to it or cut short meanwhile.
    for (from, damage) in [(1, None), (0, Some(&bytes(LEN - 1)[..])), (0, Some(b""))] {
        let error = refused(from, damage).await;
        assert_eq!((error.code(), error.is_retryable()), (ErrorCode::UNAVAILABLE, true), "{from}");
    }
    // Beyond it there is nothing of anybody's.
    for from in [LEN as u64 - GROUP as u64 + 1, 1 << 40] {
        assert_eq!(refused(from, None).await.code(), ErrorCode::RANGE_INVALID, "{from}");
    }
    assert!(fs::read(&image).unwrap() == old, "nothing was published");
}

//= S5.100 (test)
//= S5.107 (test)
#[tokio::test]
async fn a_thief_is_told_of_no_file_that_he_does_not_replace() {
    let (world, secret) = (World::new(), bytes(LEN));
    let image = there(&world, &secret);
    fs::write(world.path("secret"), &secret).unwrap();
    // He does not ask, the file stays, or he gives his own another name.
    for (overwrite, parts) in [
        (Some(Overwrite::Always), None),
        (Some(Overwrite::Never), Some(true)),
        (Some(Overwrite::Rename), Some(true)),
    ] {
        let mut hand =
            Hand::offer(&world, BOB, PutOptions { overwrite, parts, ..PutOptions::default() }).await;
        assert!(hand.wants.older.is_empty(), "{overwrite:?}");
        hand.name(&secret, 0).await;
        assert_eq!(hand.refused().await.code(), ErrorCode::RANGE_INVALID, "{overwrite:?}");
    }
    // A link leads nowhere, in the place of the file and of its directory, also when it is put there later.
    fs::remove_file(&image).unwrap();
    std::os::unix::fs::symlink(world.path("secret"), &image).unwrap();
    let hand = Hand::offer(&world, BOB, renewing()).await;
    assert!(hand.wants.older.is_empty());
    drop(hand);
    fs::remove_file(&image).unwrap();
    fs::write(&image, &secret).unwrap();
    let mut hand = Hand::offer(&world, [1; 16], renewing()).await;
    hand.told().await;
    fs::create_dir(world.path("elsewhere")).unwrap();
    fs::rename(&image, world.path("elsewhere/image")).unwrap();
    fs::remove_dir(world.path("drop/t")).unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere"), world.path("drop/t")).unwrap();
    hand.name(&secret, 0).await;
    assert_eq!(hand.refused().await.code(), ErrorCode::UNAVAILABLE);
}
