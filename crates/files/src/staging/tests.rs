use std::os::unix::fs::{MetadataExt, PermissionsExt};

use hikyaku_storage::vault::Mark;
use hikyaku_wire::parcel::Metadata;

use super::staged::COMPACT_AT;
use super::*;
use crate::names::Dots;
use hikyaku_wire::files::Synced;

const ID: TransferId = TransferId([5; 16]);

struct Place {
    temp: tempfile::TempDir,
    staging: Staging,
    into: Dir,
}

fn place() -> Place {
    let temp = tempfile::tempdir().unwrap();
    let into = Dir::open(temp.path()).unwrap();
    Place { staging: Staging::new(into.ensure_own("staging").unwrap(), "", 0), into, temp }
}

fn open(place: &Place) -> Staged {
    match place.staging.open(ID, b"header", Layout::File, |_, _, _| Ok(false)).unwrap() {
        Opened::Staged(staged) => *staged,
        Opened::Settled(..) => panic!("settled"),
    }
}

fn name(name: &str) -> SafeName {
    SafeName::parse(name.as_bytes(), Dots::Refused).unwrap()
}

fn publish(place: &Place, staged: &mut Staged, size: u64, to: &str) -> Result<(), VaultError> {
    let meta = Metadata { mode: Some(0o7654), mtime: Some(1_000_000_000), mtime_ns: Some(7) };
    let (name, policy, synced) = (name(to), crate::policy::Policy::default(), Synced::Each);
    let (root, to) = (Root([1; 32]), super::Place { into: &place.into, name: &name, policy, synced });
    staged.publish(root, size, &meta, &to)?;
    staged.settle(root, size, None)
}

//= S5.25 (test)
#[test]
fn a_published_file_has_its_mode_without_setuid_and_its_time_to_the_nanosecond() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"hello", 0, &[]).unwrap();
    publish(&place, &mut staged, 5, "f").unwrap();
    let meta = std::fs::metadata(place.temp.path().join("f")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o654);
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 7));
}

//= S5.33 (test)
#[test]
fn a_name_that_exists_is_never_replaced() {
    let place = place();
    std::fs::write(place.temp.path().join("f"), "old").unwrap();
    let mut staged = open(&place);
    staged.write(0, b"new", 0, &[]).unwrap();
    let error = publish(&place, &mut staged, 3, "f").unwrap_err();
    assert!(matches!(error, VaultError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists));
    assert_eq!(std::fs::read(place.temp.path().join("f")).unwrap(), b"old");
}

//= S5.30 (test)
#[test]
fn a_mark_beyond_the_data_is_refused() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    assert!(staged.sync(Mark { verified: 5, state: vec![] }).is_err());
    staged.sync(Mark { verified: 4, state: vec![] }).unwrap();
}

#[test]
fn a_temporary_file_shorter_than_its_mark_is_not_believed() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    staged.sync(Mark { verified: 4, state: vec![] }).unwrap();
    drop(staged);
    let part = place.temp.path().join(format!("staging/{ID}.part"));
    File::options().write(true).open(part).unwrap().set_len(3).unwrap();
    assert_eq!(*open(&place).mark(), Mark::default());
}

#[test]
fn a_lost_temporary_file_begins_anew() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    staged.sync(Mark { verified: 4, state: vec![] }).unwrap();
    drop(staged);
    std::fs::remove_file(place.temp.path().join(format!("staging/{ID}.part"))).unwrap();
    assert_eq!(*open(&place).mark(), Mark::default());
}

#[test]
fn a_settled_transfer_says_so_for_ever_and_with_its_header() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    publish(&place, &mut staged, 4, "f").unwrap();
    drop(staged);
    let opened = place.staging.open(ID, b"other", Layout::File, |_, _, _| Ok(false)).unwrap();
    assert!(
        matches!(opened, Opened::Settled(known) if known.header == b"header" && known.root == Root([1; 32]) && known.size == 4)
    );
}

#[test]
fn a_crash_after_the_rename_is_found_by_the_inode() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    publish(&place, &mut staged, 4, "f").unwrap();
    drop(staged);
    let journal = place.temp.path().join(format!("staging/{ID}.journal"));
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
    let inode = place.into.identify(&name("f")).unwrap().unwrap().inode;
    let ours = |_: Root, size: u64, found: u64| Ok(size == 4 && found == inode);
    let found = place.staging.open(ID, b"", Layout::File, ours).unwrap();
    assert!(matches!(found, Opened::Settled(Settled { size: 4, .. })));
    let lost = place.staging.open(ID, b"", Layout::File, |_, _, _| Ok(false)).unwrap();
    assert!(matches!(lost, Opened::Staged(staged) if *staged.mark() == Mark::default()));
}

#[test]
fn a_long_journal_is_started_afresh_and_says_the_same() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, &[7; 4096], 0, &[]).unwrap();
    for verified in 0..1000 {
        staged.sync(Mark { verified, state: vec![3; 1500] }).unwrap();
        assert!(staged.contents.end <= COMPACT_AT + 2000);
    }
    drop(staged);
    assert_eq!(*open(&place).mark(), Mark { verified: 999, state: vec![3; 1500] });
}

#[test]
fn the_list_names_what_is_left_and_discarding_removes_it() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"1234", 0, &[]).unwrap();
    assert!(matches!(place.staging.discard(ID), Err(VaultError::Busy)));
    staged.sync(Mark { verified: 4, state: vec![] }).unwrap();
    drop(staged);
    let left = place.staging.list().unwrap();
    assert_eq!(
        left.iter().map(|left| (left.transfer, left.contents.mark.verified)).collect::<Vec<_>>(),
        [(ID, 4)]
    );
    place.staging.discard(ID).unwrap();
    assert!(place.staging.list().unwrap().is_empty());
    assert!(place.staging.dir().names().unwrap().is_empty());
}

#[test]
fn a_small_file_leaves_one_journal_and_no_temporary_file() {
    let place = place();
    let mut staged = open(&place);
    staged.write(0, b"x", 0, &[]).unwrap();
    publish(&place, &mut staged, 1, "f").unwrap();
    assert_eq!(place.staging.dir().names().unwrap().len(), 1);
    drop(staged);
    place.staging.discard(ID).unwrap();
    assert!(place.staging.dir().names().unwrap().is_empty());
}
