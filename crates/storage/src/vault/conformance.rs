//! What every vault promises, as plain functions that panic where a promise is broken.
//!
//! [`run`] takes a maker of fresh vaults; [`a_mark_survives_a_crash`] also needs a way to open one again.

use super::{Mark, ObjectId, Partial, Reference, Reserved, Sealed, Transfer, Vault, VaultError};

const ROOT: ObjectId = ObjectId([0xaa; 32]);
const OTHER: ObjectId = ObjectId([0xbb; 32]);
const REF: Reference = Reference([1; 16]);
const REF_2: Reference = Reference([2; 16]);

/// One promise, as a function that panics where it is broken.
type Promise = fn(&dyn Vault);

/// Runs the whole suite, each promise on a vault of its own; `make` is told the promise's name.
pub fn run(make: &mut dyn FnMut(&str) -> Box<dyn Vault>) {
    let promises: [(&str, Promise); 16] = [
        ("a sealed object reads back", a_sealed_object_reads_back),
        ("nothing unsealed can be opened", nothing_unsealed_can_be_opened),
        ("a transfer goes on after its mark", a_transfer_goes_on_after_its_mark),
        ("a transfer is read while it is written", a_transfer_is_read_while_it_is_written),
        ("a transfer is open once", a_transfer_is_open_once),
        ("a sealed transfer is remembered until discarded", a_sealed_transfer_is_remembered_until_discarded),
        ("the same content twice is one object", the_same_content_twice_is_one_object),
        ("only unreferenced objects are collected", only_unreferenced_objects_are_collected),
        ("what is there can be taken instead of being written", what_is_there_can_be_taken),
        ("references are told", references_are_told),
        ("each object counts once", each_object_counts_once),
        ("a collection takes nothing from a reader", a_collection_takes_nothing_from_a_reader),
        ("a discarded transfer begins anew", a_discarded_transfer_begins_anew),
        ("an empty object is an object", an_empty_object_is_an_object),
        ("what has decayed is written in its place", what_has_decayed_is_written_in_its_place),
        ("what goes while it is mended counts no more", what_goes_while_it_is_mended_counts_no_more),
    ];
    for (name, promise) in promises {
        promise(&*make(name));
    }
}

fn open(vault: &dyn Vault, transfer: u8) -> Box<dyn Partial> {
    match vault.reserve(Transfer([transfer; 16]), None) {
        Ok(Reserved::Open(partial)) => partial,
        Ok(Reserved::Sealed(sealed)) => panic!("already sealed: {sealed:?}"),
        Err(error) => panic!("cannot reserve: {error}"),
    }
}

fn put(vault: &dyn Vault, transfer: u8, root: ObjectId, data: &[u8], reference: Reference) -> Sealed {
    let mut partial = open(vault, transfer);
    partial.write(0, data, 0, &[transfer; 32]).expect("a write");
    partial.seal(root, data.len() as u64, reference).expect("a seal")
}

fn contents(vault: &dyn Vault, root: ObjectId) -> Vec<u8> {
    let object = vault.open(root).expect("an object");
    let mut bytes = vec![0; object.size() as usize + 10];
    let count = object.read(0, &mut bytes).expect("a read");
    assert_eq!(count as u64, object.size(), "a read ends where the object does");
    bytes.truncate(count);
    bytes
}

/// What was written is what is read, data and outboard, at any offset.
pub fn a_sealed_object_reads_back(vault: &dyn Vault) {
    let data: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let mut partial = open(vault, 1);
    partial.write(0, &data[..65_536], 0, &[1; 32]).expect("a write");
    partial.write(65_536, &data[65_536..], 32, &[2; 32]).expect("a write");
    let sealed = partial.seal(ROOT, 100_000, REF).expect("a seal");
    assert_eq!(sealed, Sealed { root: ROOT, size: 100_000 });
    assert_eq!(contents(vault, ROOT), data);
    let object = vault.open(ROOT).expect("an object");
    let mut part = [0; 100];
    assert_eq!(object.read(70_000, &mut part).expect("a read"), 100);
    assert_eq!(part, data[70_000..70_100]);
    assert_eq!(object.read(99_990, &mut part).expect("a read"), 10);
    assert_eq!(object.read(200_000, &mut part).expect("a read"), 0);
    let mut outboard = [0; 65];
    assert_eq!(object.read_outboard(0, &mut outboard).expect("a read"), 64);
    assert_eq!((outboard[31], outboard[32]), (1, 2));
}

/// Whoever peeks sees what was written, knows what of it is durable, and reads on when it is sealed.
pub fn a_transfer_is_read_while_it_is_written(vault: &dyn Vault) {
    let transfer = Transfer([1; 16]);
    assert!(matches!(vault.peek(transfer), Err(VaultError::NotFound)));
    let mut partial = open(vault, 1);
    let early = vault.peek(transfer).expect("a look");
    assert_eq!(early.verified, 0);
    partial.write(0, b"half", 0, &[7; 32]).expect("a write");
    let mut bytes = [0; 4];
    assert_eq!(early.object.read(0, &mut bytes).expect("a read"), 4);
    assert_eq!(&bytes, b"half");
    partial.sync(Mark { verified: 4, state: vec![] }).expect("a sync");
    assert_eq!(vault.peek(transfer).expect("a look").verified, 4);
    partial.write(4, b"more", 32, &[8; 32]).expect("a write");
    partial.seal(ROOT, 8, REF).expect("a seal");
    assert_eq!(early.object.read(4, &mut bytes).expect("a read"), 4);
    assert_eq!(&bytes, b"more");
    let late = vault.peek(transfer).expect("a look");
    assert_eq!((late.verified, late.object.size()), (8, 8));
    let mut outboard = [0; 64];
    assert_eq!(late.object.read_outboard(0, &mut outboard).expect("a read"), 64);
    assert_eq!((outboard[0], outboard[32]), (7, 8));
    vault.discard(transfer).expect("a discard");
    assert!(matches!(vault.peek(transfer), Err(VaultError::NotFound)));
}

/// A partial has no name among the objects.
pub fn nothing_unsealed_can_be_opened(vault: &dyn Vault) {
    let mut partial = open(vault, 1);
    partial.write(0, b"half", 0, &[]).expect("a write");
    partial.sync(Mark { verified: 4, state: vec![] }).expect("a sync");
    assert!(matches!(vault.open(ROOT), Err(VaultError::NotFound)));
    assert!(matches!(vault.reference(ROOT, REF), Err(VaultError::NotFound)));
    let wrong = partial.seal(ROOT, 5, REF);
    assert!(wrong.is_err(), "a size that is not the data's");
    assert!(matches!(vault.open(ROOT), Err(VaultError::NotFound)));
}

/// Closing and reserving again finds the mark and the data before it.
pub fn a_transfer_goes_on_after_its_mark(vault: &dyn Vault) {
    let mut partial = open(vault, 1);
    assert_eq!(*partial.mark(), Mark::default());
    partial.write(0, b"first ", 0, &[]).expect("a write");
    partial.sync(Mark { verified: 6, state: vec![9; 300] }).expect("a sync");
    partial.write(6, b"lost?", 0, &[]).expect("a write");
    drop(partial);
    let mut partial = open(vault, 1);
    assert_eq!(*partial.mark(), Mark { verified: 6, state: vec![9; 300] });
    partial.write(6, b"last.", 0, &[]).expect("a write");
    partial.seal(ROOT, 11, REF).expect("a seal");
    assert_eq!(contents(vault, ROOT), b"first last.");
}

/// Two writers of one transfer are one too many.
pub fn a_transfer_is_open_once(vault: &dyn Vault) {
    let first = open(vault, 1);
    assert!(matches!(vault.reserve(Transfer([1; 16]), None), Err(VaultError::Busy)));
    assert!(matches!(vault.discard(Transfer([1; 16])), Err(VaultError::Busy)));
    let _other = open(vault, 2);
    drop(first);
    open(vault, 1);
}

/// Whoever asks again about a sealed transfer is told so.
pub fn a_sealed_transfer_is_remembered_until_discarded(vault: &dyn Vault) {
    let sealed = put(vault, 1, ROOT, b"data", REF);
    assert!(matches!(vault.reserve(Transfer([1; 16]), None), Ok(Reserved::Sealed(found)) if found == sealed));
    let known = vault.transfers().expect("a list");
    assert_eq!(
        known.iter().map(|known| (known.transfer, known.sealed)).collect::<Vec<_>>(),
        [(Transfer([1; 16]), Some(sealed))]
    );
    vault.discard(Transfer([1; 16])).expect("a discard");
    assert!(vault.transfers().expect("a list").is_empty());
    assert_eq!(contents(vault, ROOT), b"data");
}

/// Sealing content that is there adds a reference and nothing else.
pub fn the_same_content_twice_is_one_object(vault: &dyn Vault) {
    put(vault, 1, ROOT, b"data", REF);
    put(vault, 2, ROOT, b"data", REF_2);
    vault.release(ROOT, REF).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 0);
    assert_eq!(contents(vault, ROOT), b"data");
    vault.release(ROOT, REF_2).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 1);
}

/// An object that is there is a transfer's as if its bytes had come; one that is not there, or not of that size, is not.
pub fn what_is_there_can_be_taken(vault: &dyn Vault) {
    put(vault, 1, ROOT, b"data", REF);
    for (root, size) in [(OTHER, 4), (ROOT, 5), (ROOT, 3)] {
        assert!(matches!(open(vault, 2).adopt(root, size, REF_2), Err(VaultError::NotFound)));
        assert!(vault.references(root).expect("a list").iter().all(|reference| *reference == REF));
    }
    let sealed = open(vault, 2).adopt(ROOT, 4, REF_2).expect("it is there");
    assert_eq!(sealed, Sealed { root: ROOT, size: 4 });
    assert!(matches!(vault.reserve(Transfer([2; 16]), None), Ok(Reserved::Sealed(found)) if found == sealed));
    let known = vault.transfer(Transfer([2; 16])).expect("a look").expect("it is remembered");
    assert_eq!(known.sealed, Some(sealed));
    vault.release(ROOT, REF).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 0);
    vault.discard(Transfer([2; 16])).expect("a discard");
    assert!(vault.transfer(Transfer([2; 16])).expect("a look").is_none());
    vault.release(ROOT, REF_2).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 1);
    assert!(matches!(open(vault, 3).adopt(ROOT, 4, REF), Err(VaultError::NotFound)));
}

/// What is stored is the sum of what the objects have, however often it was sent.
pub fn each_object_counts_once(vault: &dyn Vault) {
    assert_eq!(vault.stored().expect("a count"), 0);
    put(vault, 1, ROOT, b"data", REF);
    assert_eq!(vault.stored().expect("a count"), 4 + 32);
    put(vault, 2, ROOT, b"data", REF_2);
    assert_eq!(vault.stored().expect("a count"), 4 + 32);
    put(vault, 3, OTHER, b"other", REF);
    open(vault, 4).adopt(OTHER, 5, REF_2).expect("it is there");
    assert_eq!(vault.stored().expect("a count"), 4 + 32 + 5 + 32);
    for reference in [REF, REF_2] {
        vault.release(ROOT, reference).expect("a release");
    }
    assert_eq!(vault.stored().expect("a count"), 4 + 32 + 5 + 32, "it goes with the collection");
    vault.collect().expect("a collection");
    assert_eq!(vault.stored().expect("a count"), 5 + 32);
}

/// Which objects there are and who keeps them.
pub fn references_are_told(vault: &dyn Vault) {
    assert!(vault.roots().expect("a list").is_empty());
    put(vault, 1, ROOT, b"data", REF);
    put(vault, 2, OTHER, b"other", REF);
    vault.reference(ROOT, REF_2).expect("a reference");
    let sorted = |mut list: Vec<Reference>| {
        list.sort();
        list
    };
    assert_eq!(vault.roots().expect("a list").len(), 2);
    assert_eq!(sorted(vault.references(ROOT).expect("a list")), [REF, REF_2]);
    vault.release(OTHER, REF).expect("a release");
    assert!(vault.references(OTHER).expect("a list").is_empty());
    assert_eq!(vault.roots().expect("a list").len(), 2, "it is still there");
    vault.collect().expect("a collection");
    assert_eq!(vault.roots().expect("a list"), [ROOT]);
}

/// Whoever has an object open reads it to its end.
pub fn a_collection_takes_nothing_from_a_reader(vault: &dyn Vault) {
    put(vault, 1, ROOT, b"data", REF);
    let object = vault.open(ROOT).expect("an object");
    vault.release(ROOT, REF).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 1);
    let mut bytes = [0; 4];
    assert_eq!(object.read(0, &mut bytes).expect("a read"), 4);
    assert_eq!(&bytes, b"data");
    assert!(matches!(vault.open(ROOT), Err(VaultError::NotFound)));
}

/// A referenced object stays, an unreferenced one goes, a partial is left alone.
pub fn only_unreferenced_objects_are_collected(vault: &dyn Vault) {
    put(vault, 1, ROOT, b"data", REF);
    put(vault, 2, OTHER, b"other", REF);
    let mut partial = open(vault, 3);
    partial.write(0, b"half", 0, &[]).expect("a write");
    vault.reference(ROOT, REF_2).expect("a reference");
    vault.reference(ROOT, REF_2).expect("the same again");
    vault.release(ROOT, REF).expect("a release");
    vault.release(ROOT, REF).expect("the same again");
    vault.release(OTHER, REF).expect("a release");
    let collected = vault.collect().expect("a collection");
    assert_eq!((collected.objects, collected.bytes), (1, 5));
    assert!(matches!(vault.open(OTHER), Err(VaultError::NotFound)));
    assert_eq!(contents(vault, ROOT), b"data");
    partial.seal(OTHER, 4, REF).expect("a seal after a collection");
    assert_eq!(contents(vault, OTHER), b"half");
}

/// Discarding forgets the data and the mark.
pub fn a_discarded_transfer_begins_anew(vault: &dyn Vault) {
    let mut partial = open(vault, 1);
    partial.write(0, b"old data", 0, &[]).expect("a write");
    partial.sync(Mark { verified: 8, state: vec![1] }).expect("a sync");
    drop(partial);
    vault.discard(Transfer([1; 16])).expect("a discard");
    vault.discard(Transfer([9; 16])).expect("an unknown one is no error");
    let mut partial = open(vault, 1);
    assert_eq!(*partial.mark(), Mark::default());
    partial.write(0, b"new", 0, &[]).expect("a write");
    partial.seal(ROOT, 3, REF).expect("a seal");
    assert_eq!(contents(vault, ROOT), b"new");
}

/// Nothing is something.
pub fn an_empty_object_is_an_object(vault: &dyn Vault) {
    open(vault, 1).seal(ROOT, 0, REF).expect("a seal");
    assert_eq!(contents(vault, ROOT), b"");
}

/// An object gets other bytes where it lies, and the sizes that it had; one mends it at a time.
pub fn what_has_decayed_is_written_in_its_place(vault: &dyn Vault) {
    assert!(matches!(vault.mend(ROOT), Err(VaultError::NotFound)));
    put(vault, 1, ROOT, b"abcdef", REF);
    let mut mending = vault.mend(ROOT).expect("an object");
    assert!(matches!(vault.mend(ROOT), Err(VaultError::Busy)));
    mending.write(2, b"XY", 0, &[9; 40]).expect("a write");
    let other = open(vault, 2);
    assert!(matches!(other.adopt(ROOT, 6, REF_2), Err(VaultError::NotFound)), "it is not durable yet");
    mending.sync(5, 32).expect("a sync");
    assert_eq!(mending.size(), 5);
    assert_eq!(vault.stored().expect("a count"), 5 + 32);
    drop(mending);
    assert_eq!(contents(vault, ROOT), b"abXYe");
    let mut outboard = [0; 40];
    let object = vault.open(ROOT).expect("an object");
    assert_eq!(object.read_outboard(0, &mut outboard).expect("a read"), 32);
    assert_eq!(outboard[..32], [9; 32]);
    vault.mend(ROOT).map(drop).expect("nobody mends it any more");
    open(vault, 2).adopt(ROOT, 5, REF_2).expect("it is durable");
}

/// An object that is longer than it was, and is collected while somebody mends it, takes with it what it counted.
pub fn what_goes_while_it_is_mended_counts_no_more(vault: &dyn Vault) {
    put(vault, 1, ROOT, b"abcdef", REF);
    put(vault, 2, OTHER, b"stays", REF);
    let stays = 5 + 32;
    let mut mending = vault.mend(ROOT).expect("an object");
    mending.write(4, b"EFGHIJ", 0, &[9; 40]).expect("a write");
    vault.release(ROOT, REF).expect("a release");
    assert_eq!(vault.collect().expect("a collection").objects, 1);
    assert_eq!(vault.stored().expect("a count"), stays);
    mending.write(0, b"ABCD", 0, &[9; 32]).expect("a write");
    assert!(matches!(mending.sync(6, 32), Err(VaultError::NotFound)), "nobody has it any more");
    assert_eq!(vault.stored().expect("a count"), stays);
    drop(mending);
    assert_eq!(vault.stored().expect("a count"), stays);
    assert!(matches!(vault.open(ROOT), Err(VaultError::NotFound)));
    // One that broke off is counted as long as it is.
    let mut mending = vault.mend(OTHER).expect("an object");
    mending.write(0, b"stays, longer", 0, &[9; 32]).expect("a write");
    drop(mending);
    let long = vault.open(OTHER).expect("an object").size();
    assert_eq!(vault.stored().expect("a count"), long + 32);
    vault.release(OTHER, REF).expect("a release");
    vault.collect().expect("a collection");
    assert_eq!(vault.stored().expect("a count"), 0);
}

/// What is marked, sealed and referenced is there after a crash. `reopen` crashes and opens again.
pub fn a_mark_survives_a_crash(vault: &dyn Vault, reopen: &mut dyn FnMut() -> Box<dyn Vault>) {
    put(vault, 7, OTHER, b"whole", REF);
    let mut partial = open(vault, 1);
    partial.write(0, b"marked, ", 0, &[]).expect("a write");
    partial.sync(Mark { verified: 8, state: vec![5] }).expect("a sync");
    partial.write(8, b"not marked", 0, &[]).expect("a write");
    drop(partial);
    let vault = &*reopen();
    assert_eq!(contents(vault, OTHER), b"whole");
    assert_eq!(vault.collect().expect("a collection").objects, 0);
    let mut partial = open(vault, 1);
    assert_eq!(*partial.mark(), Mark { verified: 8, state: vec![5] });
    partial.write(8, b"and more", 0, &[]).expect("a write");
    partial.seal(ROOT, 16, REF).expect("a seal");
    assert_eq!(contents(vault, ROOT), b"marked, and more");
}
