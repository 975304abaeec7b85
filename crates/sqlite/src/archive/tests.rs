//! What a backup promises: one moment, everything in it, and a history that readers can tell from the old one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hikyaku_storage::{Append, Batch, Guard, Key, NewEvent, Store};

use super::*;
use crate::SqliteStore;

const ROOM: RoomId = RoomId([1; 16]);

async fn say(store: &SqliteStore, text: &'static str) {
    let head = store.head(ROOM).await.unwrap();
    let guard = Guard::of(head.as_ref());
    let events = vec![NewEvent { ts_ms: 1, record: text.into() }];
    let append = Append { room: ROOM, guard, events, state: text.into() };
    store.commit(Batch::new().append(append).put(Key::from("newest"), text)).await.unwrap();
}

async fn said(store: &SqliteStore) -> Vec<String> {
    let page = store.events(ROOM, 1, 100, 10_000).await.unwrap();
    page.events.iter().map(|event| String::from_utf8_lossy(&event.record).into_owned()).collect()
}

fn write(data: &Path, to: &Path) -> Contents {
    let mut writer = ArchiveWriter::create(data, to, 1_000).unwrap();
    assert_eq!(writer.add("empty", &b""[..]).unwrap(), 0);
    assert_eq!(writer.add("exact", &vec![7; PART][..]).unwrap(), PART as u64);
    assert_eq!(writer.add("large", &vec![9; 2 * PART + 5][..]).unwrap(), 2 * PART as u64 + 5);
    writer.finish().unwrap()
}

#[tokio::test]
async fn a_restored_store_is_the_one_of_that_moment_in_a_new_epoch() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("backup"));
    let store = SqliteStore::open(&data).unwrap();
    say(&store, "before").await;
    let contents = write(&data, &file);
    assert_eq!(contents, Contents { created_ms: 1_000, rooms: 1, events: 1, keys: 1, files: 3 });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    say(&store, "after").await;

    let archive = Archive::open(&file).unwrap();
    assert_eq!(archive.contents, contents);
    assert_eq!(archive.files().unwrap(), ["empty", "exact", "large"]);
    for (name, expected) in [("empty", vec![]), ("exact", vec![7; PART]), ("large", vec![9; 2 * PART + 5])] {
        let mut content = Vec::new();
        archive.read(name, &mut content).unwrap();
        assert!(content == expected, "{name}");
    }
    let to = home.path().join("restored");
    assert_eq!(archive.restore(&to, &epochs(&data).unwrap(), 100).unwrap(), Restored { epoch: 2 });
    let restored = SqliteStore::open(&to).unwrap();
    assert_eq!(said(&restored).await, ["before"]);
    assert_eq!(restored.get(&Key::from("newest")).await.unwrap().unwrap().value, "before");
    let head = restored.head(ROOM).await.unwrap().unwrap();
    assert_eq!((head.epoch, head.last, &head.epochs[..]), (2, 1, &[(2, 2)][..]));
    assert_eq!((head.rewound_since(1), &head.state[..]), (Some(2), &b"before"[..]));
    say(&restored, "another history").await;
    assert_eq!(said(&restored).await, ["before", "another history"]);
}

#[tokio::test]
async fn an_epoch_is_above_everything_that_readers_may_have_seen() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("backup"));
    say(&SqliteStore::open(&data).unwrap(), "before").await;
    write(&data, &file);
    let archive = Archive::open(&file).unwrap();
    // Once beside the store it replaces, then beside the restored one, then with nothing to compare.
    let mut seen = epochs(&data).unwrap();
    for (name, expected) in [("first", 2), ("second", 3)] {
        let to = home.path().join(name);
        assert_eq!(archive.restore(&to, &seen, 100).unwrap().epoch, expected);
        seen = epochs(&to).unwrap();
    }
    let restored = archive.restore(&home.path().join("third"), &HashMap::new(), 100).unwrap();
    assert_eq!(restored.epoch, 102);
}

#[tokio::test]
async fn a_store_is_no_backup_and_a_backup_no_store() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("backup"));
    say(&SqliteStore::open(&data).unwrap(), "before").await;
    write(&data, &file);
    assert!(matches!(Archive::open(&data.join(FILE_NAME)), Err(OpenError::Foreign { .. })));
    let other = home.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::copy(&file, other.join(FILE_NAME)).unwrap();
    assert!(matches!(SqliteStore::open(&other), Err(OpenError::Foreign { .. })));
    let archive = Archive::open(&file).unwrap();
    assert!(
        archive.restore(&data, &HashMap::new(), 0).is_err(),
        "a store that is there is never written over"
    );
    let again = ArchiveWriter::create(&data, &file, 0);
    assert!(matches!(again, Err(OpenError::Io { .. })), "nor a backup");
}

#[tokio::test]
async fn a_damaged_backup_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (data, file) = (home.path().join("data"), home.path().join("backup"));
    say(&SqliteStore::open(&data).unwrap(), "before").await;
    write(&data, &file);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 5 * 4096]).unwrap();
    assert!(matches!(Archive::open(&file), Err(OpenError::Damaged { .. })), "cut off");
    let mut changed = whole.clone();
    changed[5 * 4096..6 * 4096].fill(0xff);
    fs::write(&file, &changed).unwrap();
    assert!(matches!(Archive::open(&file), Err(OpenError::Damaged { .. })), "overwritten");
    fs::write(&file, b"not a database at all, but long enough to look").unwrap();
    assert!(matches!(Archive::open(&file), Err(OpenError::Foreign { .. })));
}
