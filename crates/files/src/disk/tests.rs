//! Every call to the disk fails once, in every way: nothing half written ever has a final name, nothing is promised
//! before it is durable, and the next attempt finishes.

mod fetched;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hikyaku_storage::vault::{ObjectId, Reference, Reserved, Transfer, Vault};
use hikyaku_wire::bundle::PIECE_LEN;
use hikyaku_wire::files::{Answer, Block, Close, Offer, PutOptions, Target};
use hikyaku_wire::parcel::{EntryKind, Metadata, Root, TransferId};
use tokio::sync::mpsc;

use super::Call;
use super::faults::{self, FAULTS, Fault, Seen, run};
use crate::drop_dir::{DropDir, DropOptions, Prepared};
use crate::error::{FilesError, Result};
use crate::pause::Waiting;
use crate::pause::tests::Fake;
use crate::progress::Progress;
use crate::reader::{Blocks, Said};
use crate::receive::Receiving;
use crate::server::put::acceptance;
use crate::sift::ANSWERS;
use crate::tree;
use crate::tree_source::OutgoingTree;
use crate::vault::FsVault;
use crate::walk::WalkOptions;
use crate::writer::{Work, write_all};

mod life;
mod mended;

thread_local! {
    /// How long a full disk is waited for.
    static PATIENCE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Waits without waiting: the disks of these tests are full once.
fn waiting() -> Waiting {
    faults::waits(true);
    Fake::new().waiting(PATIENCE.get())
}

const TRANSFER: TransferId = TransferId([7; 16]);

/// A directory in memory, where there is one: thousands of synchronisations are made here.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn content(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

/// All blocks of some bytes from an offset on, and their close.
fn work(data: &[u8], from: u64) -> mpsc::Receiver<Work> {
    let (to, work) = mpsc::channel(1_000);
    let step = 2 * tree::GROUP;
    let mut at = usize::try_from(from).unwrap();
    while at < data.len() {
        let piece = &data[at..data.len().min(at + step)];
        let groups = piece.chunks(tree::GROUP).enumerate();
        let cvs =
            groups.flat_map(|(number, group)| tree::group((at + number * tree::GROUP) as u64, group).cv);
        let (offset, len) = (at as u64, piece.len() as u64);
        let block = Block { entry: None, offset, len, cvs: cvs.collect() };
        to.try_send(Work::Block(block, vec![piece.to_vec().into()])).ok().unwrap();
        at += piece.len();
    }
    let root = Root(*blake3::hash(data).as_bytes());
    to.try_send(Work::Close(Close { entry: None, size: data.len() as u64, root })).ok().unwrap();
    work
}

fn offer(kind: EntryKind, size: Option<u64>) -> Offer {
    let (target, options) = (Target::Drop(Vec::new()), Some(PutOptions::default()));
    let meta = Some(Metadata { mode: Some(0o640), mtime: Some(1_000_000_000), mtime_ns: Some(5) });
    Offer { transfer: TRANSFER, target, name: b"big".to_vec(), kind, size, meta, options, tops: None }
}

/// One attempt to receive `data` into a drop directory, as the server makes it, from its start to the receipt.
fn attempt(at: &Path, offer: &Offer, data: &[u8]) -> Result<()> {
    let options = DropOptions { keep_free: 0, ..DropOptions::default() };
    let dir = DropDir::open(&at.join("drop"), options)?;
    let receipt = match dir.prepare(([1; 16], None), offer, &[])? {
        Prepared::Settled(receipt) => receipt,
        Prepared::Open(mut dropping) => {
            let receiving = Receiving::resume(dropping.staged.mark(), offer.size, u64::MAX);
            let work = work(data, receiving.offset());
            let (root, size) =
                write_all(&mut dropping.staged, receiving, work, &Progress::none(), &mut waiting())?;
            dropping.publish(root, size, &mut waiting())?
        }
        Prepared::Tree(..) => panic!("a file was offered"),
    };
    assert_eq!((receipt.root.0, receipt.size), (*blake3::hash(data).as_bytes(), data.len() as u64));
    Ok(())
}

/// What is where, without the program's own directory: mode and content, as far as it fits on a line.
type Sight = BTreeMap<PathBuf, (u32, String)>;

fn look(at: &Path) -> Sight {
    let (mut seen, mut todo) = (BTreeMap::new(), vec![at.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry == at.join(".hikyaku") {
                continue;
            }
            let meta = fs::symlink_metadata(&entry).unwrap();
            let content = if meta.is_dir() {
                todo.push(entry.clone());
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&entry).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&entry).unwrap()
            };
            seen.insert(entry.strip_prefix(at).unwrap().to_owned(), (meta.mode(), short(&content)));
        }
    }
    seen
}

fn short(content: &[u8]) -> String {
    format!("{} bytes, {:.8}", content.len(), blake3::hash(content).to_hex())
}

/// Fails every call once in every way. `begin` makes what is there before; `attempt` is one attempt; `check` is told
/// what a failed one left, and looks at the end.
fn every_call(
    begin: impl Fn(&Path),
    attempt: impl Fn(&Path) -> Result<()>,
    check: impl Fn(&Path, bool),
) -> BTreeMap<&'static str, u64> {
    let forgetful = |mut seen: Seen| {
        seen.lost.clear();
        seen
    };
    every_call_and_then(begin, attempt, check, forgetful)
}

/// The same; `then` says what of the first attempt the second one finds, beside what is in the directory.
fn every_call_and_then(
    begin: impl Fn(&Path),
    attempt: impl Fn(&Path) -> Result<()>,
    check: impl Fn(&Path, bool),
    then: impl Fn(Seen) -> Seen,
) -> BTreeMap<&'static str, u64> {
    let mut faults = BTreeMap::new();
    let (patient, hasty) = (Duration::from_secs(60), Duration::ZERO);
    let ways = FAULTS.map(|fault| (fault, hasty)).into_iter();
    for (fault, patience) in ways.chain([(Fault::Full, patient), (Fault::Short, patient)]) {
        PATIENCE.set(patience);
        for at in 0.. {
            let place = place();
            begin(place.path());
            let (done, seen): (_, Seen) = run(Some((at, fault)), &Seen::default(), || attempt(place.path()));
            assert_eq!(seen.early, [""; 0], "{fault:?} at call {at}");
            let fired = seen.fired;
            check(place.path(), done.is_ok());
            if let (Some((call, true)), true) = (seen.failed, patience > hasty)
                && matches!(call, Call::Make | Call::Write | Call::Replace | Call::Publish)
            {
                // Room was waited for, and the transfer went on by itself.
                done.as_ref().unwrap_or_else(|error| panic!("{fault:?} at call {at}, {call:?}: {error}"));
                *faults.entry("waited").or_default() += 1;
            }
            let (again, seen) = run(None, &then(seen), || attempt(place.path()));
            assert_eq!(seen.early, [""; 0], "after {fault:?} at call {at}");
            again.unwrap_or_else(|error| panic!("after {fault:?} at call {at}: {error}, before: {done:?}"));
            check(place.path(), true);
            if !fired {
                break;
            }
            *faults.entry(name(fault)).or_default() += 1;
        }
    }
    println!("{faults:?}");
    faults
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Broken => "broken",
        Fault::Full => "full",
        Fault::Short => "short",
        Fault::Dead => "dead",
    }
}

#[test]
fn a_file_is_whole_or_not_there_whichever_call_fails() {
    let data = content(1_300_000);
    let offer = offer(EntryKind::File, Some(data.len() as u64));
    let faults = every_call(
        |at| fs::create_dir(at.join("drop")).unwrap(),
        |at| attempt(at, &offer, &data),
        |at, done| match look(&at.join("drop")).first_key_value() {
            None => assert!(!done),
            Some((name, seen)) => {
                assert_eq!((name.to_str(), seen), (Some("big"), &(0o100_640, short(&data))));
            }
        },
    );
    assert!(faults["dead"] >= 20, "{faults:?}");
}

const OLD: &[u8] = b"what was there before";

/// Something of everything; "t/taken" is there already, with another content.
fn begin_tree(at: &Path) {
    fs::create_dir_all(at.join("drop/t")).unwrap();
    fs::write(at.join("drop/t/taken"), OLD).unwrap();
    fs::create_dir_all(at.join("home/t/b")).unwrap();
    for (name, content) in [
        ("t/a", &b"a small one"[..]),
        ("t/b/inside", b"another small one"),
        ("t/taken", b"stays out"),
        ("u", b"at the top"),
    ] {
        fs::write(at.join("home").join(name), content).unwrap();
    }
    let large = fs::File::create(at.join("home/t/b/large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, &content(600_000), 2 * PIECE_LEN).unwrap();
    fs::hard_link(at.join("home/t/a"), at.join("home/t/c")).unwrap();
    std::os::unix::fs::symlink("b/inside", at.join("home/t/d")).unwrap();
    let (paths, target) = ([at.join("home/t"), at.join("home/u")], Target::Drop(Vec::new()));
    let tree = OutgoingTree::new(&paths, None, target, PutOptions::default(), WalkOptions::default());
    fs::write(at.join("transfer"), tree.unwrap().encode()).unwrap();
}

/// One attempt to receive the tree as its sender sends it, who goes on with the same transfer.
fn attempt_tree(at: &Path) -> Result<()> {
    let outgoing = OutgoingTree::decode(&fs::read(at.join("transfer")).unwrap(), WalkOptions::default());
    let outgoing = outgoing.unwrap();
    let options = DropOptions { keep_free: 0, ..DropOptions::default() };
    let dir = DropDir::open(&at.join("drop"), options)?;
    let (mut tree, mark, mut told) = match dir.prepare(([1; 16], None), outgoing.offer(), &[])? {
        Prepared::Settled(_) => return Ok(()),
        Prepared::Open(_) => panic!("a tree was offered"),
        Prepared::Tree(tree, mark, told) => (tree, mark, told),
    };
    let receiving = Receiving::resume(&mark, None, u64::MAX);
    let accept = acceptance(outgoing.transfer(), &receiving, tree.sink.lists().then_some(false));
    let Answer::Accept(accept) = accept else { panic!("an acceptance") };
    let (answers, heard) = mpsc::channel(ANSWERS);
    let answering = std::thread::spawn(move || {
        while let Some(answer) = told.blocking_recv() {
            let Answer::Wants(wants) = answer else { panic!("nothing else is told by this wait") };
            let _ = answers.blocking_send(wants);
        }
    });
    let (to, work) = mpsc::channel(1);
    let sending = std::thread::spawn(move || {
        let mut reading = outgoing.read(&accept, heard.into())?;
        while let Some(said) = reading.next(&Progress::none())? {
            let work = match said {
                Said::Block(block, bytes) => Work::Block(block, vec![bytes]),
                Said::Composed(composed, rest) => Work::Composed(composed, vec![rest]),
                Said::Packed(packed, rest) => Work::Packed(packed, vec![rest]),
                Said::List(list) => Work::List(list),
            };
            if to.blocking_send(work).is_err() {
                return Ok(());
            }
        }
        let _ = to.blocking_send(Work::Close(reading.close()?));
        Ok::<_, FilesError>(())
    });
    let mut waiting = waiting();
    let taken = tree.sink.take_all(receiving, work, &Progress::none(), &mut waiting);
    let receipt = taken.and_then(|(root, size)| tree.publish(root, size, &mut waiting));
    let _ = (sending.join().unwrap(), answering.join().unwrap());
    let tree = receipt?.tree.unwrap();
    assert_eq!((tree.entries, tree.missing), (9, 1));
    Ok(())
}

/// What the tree is in the end, made without a fault.
fn whole_tree() -> Sight {
    let place = place();
    begin_tree(place.path());
    attempt_tree(place.path()).unwrap();
    let seen = look(&place.path().join("drop"));
    let names: Vec<_> = seen.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["t", "t/a", "t/b", "t/b/inside", "t/b/large", "t/c", "t/d", "t/taken", "u"]);
    assert_eq!(seen[Path::new("t/taken")].1, short(OLD));
    seen
}

#[test]
fn a_tree_is_file_by_file_whole_or_not_there_whichever_call_fails() {
    let whole = whole_tree();
    let faults = every_call(begin_tree, attempt_tree, |at, done| {
        let seen = look(&at.join("drop"));
        if done {
            assert_eq!(seen, whole);
        }
        for (path, (mode, content)) in seen {
            // The directory that was there gets its metadata last.
            if path != Path::new("t") {
                assert_eq!((&mode, &content), (&whole[&path].0, &whole[&path].1), "{path:?}");
            }
        }
    });
    assert!(faults["dead"] >= 60, "{faults:?}");
}

#[test]
fn an_object_is_whole_or_not_there_whichever_call_fails() {
    let data = content(700_000);
    let root = *blake3::hash(&data).as_bytes();
    let receive = |at: &Path| -> Result<()> {
        let vault = FsVault::open(&at.join("vault"), 0).map_err(hikyaku_storage::vault::VaultError::Io)?;
        if let Reserved::Open(mut partial) = vault.reserve(Transfer([1; 16]), Some(data.len() as u64))? {
            let receiving = Receiving::resume(partial.mark(), Some(data.len() as u64), u64::MAX);
            let work = work(&data, receiving.offset());
            let (root, size) = write_all(&mut partial, receiving, work, &Progress::none(), &mut waiting())?;
            // An object is sealed beside what is left free for it.
            faults::waits(false);
            partial.seal(ObjectId(root.0), size, Reference([2; 16]))?;
        }
        Ok(())
    };
    let check = |at: &Path, done: bool| {
        let vault = FsVault::open(&at.join("vault"), 0).unwrap();
        let Ok(object) = vault.open(ObjectId(root)) else { return assert!(!done) };
        let mut found = vec![0; data.len() + 1];
        let read = object.read(0, &mut found).unwrap();
        assert!(found[..read] == data);
        let values = fs::File::open(at.join(format!("vault/objects/{}.tree", ObjectId(root)))).unwrap();
        assert!(tree::proves(&values, data.len() as u64, Root(root)).unwrap(), "the values are whole, too");
        assert_eq!(vault.collect().unwrap().objects, 0, "what has its name has its reference");
    };
    let faults = every_call(|_| {}, receive, check);
    assert!(faults["dead"] >= 20, "{faults:?}");
}
