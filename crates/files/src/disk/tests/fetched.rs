//! A tree that is fetched: it goes on at an offset of its bundle, where nobody looks again at what was made before.

use super::*;
use crate::client::Destination;
use crate::client::incoming::{Found, Incoming};
use crate::jail::Dir;
use crate::names::Dots;
use crate::unpack::{UnpackOptions, Unpacker};
use hikyaku_wire::files::{Accept, Head, Synced};

/// The sender's tree and an empty directory; the whole bundle lies beside them.
fn begin(at: &Path) {
    begin_tree(at);
    fs::create_dir(at.join("into")).unwrap();
    let outgoing = OutgoingTree::decode(&fs::read(at.join("transfer")).unwrap(), WalkOptions::default());
    let accept = Accept {
        transfer: TRANSFER,
        from: 0,
        prefix: None,
        max_block: None,
        list: None,
        roots: None,
        known: Vec::new(),
        older: None,
        packed: None,
    };
    let mut reading = outgoing.unwrap().read(&accept, mpsc::channel(1).1.into()).unwrap();
    let mut bundle = Vec::new();
    while let Some(said) = reading.next(&Progress::none()).unwrap() {
        let Said::Block(_, bytes) = said else { panic!("nobody asked for a listing") };
        bundle.extend_from_slice(&bytes);
    }
    fs::write(at.join("bundle"), bundle).unwrap();
}

/// One attempt to fetch it, from where the one before it stopped.
fn fetch(at: &Path) -> Result<()> {
    let bundle = fs::read(at.join("bundle")).unwrap();
    let (root, size) = (Some(Root(*blake3::hash(&bundle).as_bytes())), Some(bundle.len() as u64));
    let (name, kind) = (b"t".to_vec(), EntryKind::Tree);
    let head = Head { transfer: TRANSFER, name, kind, size, root, meta: None, arrival: None, before: None };
    let Found::Incoming(incoming) = Incoming::open(head, &Destination::new(at.join("into")))? else {
        return Ok(());
    };
    // Asked for where it has its place already: everything of it is there, which is for others to check.
    if incoming.lists() {
        return Ok(());
    }
    let receiving = Receiving::resume(incoming.mark(), size, u64::MAX);
    let (work, mut waiting) = (work(&bundle, receiving.offset()), waiting());
    incoming.land(receiving, work, &Progress::none(), &mut waiting).map(drop)
}

/// What has a final name.
fn fetched(at: &Path) -> Sight {
    let mut seen = look(&at.join("into"));
    seen.retain(|path, _| !path.to_string_lossy().starts_with(".hikyaku-"));
    seen
}

#[test]
fn a_tree_that_is_fetched_is_whole_or_not_there_whichever_call_fails() {
    let place = place();
    begin(place.path());
    fetch(place.path()).unwrap();
    let whole = fetched(place.path());
    assert_eq!(whole.len(), 9, "{whole:?}");
    let faults = every_call(begin, fetch, |at, done| {
        let seen = fetched(at);
        assert!(!done || seen == whole, "{seen:?}");
        for (path, sight) in seen {
            assert_eq!(sight, whole[&path], "{path:?}");
        }
    });
    assert!(faults["dead"] >= 60, "{faults:?}");
}

//= S5.30 (test)
#[test]
fn where_a_call_failed_nobody_goes_on() {
    let source = place();
    begin(source.path());
    let bundle = fs::read(source.path().join("bundle")).unwrap();
    let options = UnpackOptions {
        dots: Dots::Refused,
        all_links: true,
        synced: Synced::Each,
        distinct: false,
        aside: false,
        prints: false,
    };
    for at in 0.. {
        let made = place();
        let ((unpacker, taken), seen) = run(Some((at, Fault::Broken)), &Seen::default(), || {
            let mut unpacker = Unpacker::new(Dir::open(made.path()).unwrap(), options);
            let taken = unpacker.take(&bundle, &Progress::none(), &mut Waiting::none());
            (unpacker, taken)
        });
        if !seen.fired {
            assert!(at >= 20 && taken.is_ok(), "{at} calls: {taken:?}");
            return;
        }
        // The last piece of a block is where its mark would stand.
        assert!(taken.is_err() && unpacker.state().is_none(), "call {at} failed: {taken:?}");
    }
}
