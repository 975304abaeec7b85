//! What is found in a file, below the store: each file here has one thing wrong with it.

use bytes::Bytes;
use hikyaku_storage::{Append, Batch, Guard, Key, NewEvent, Store};

use super::*;
use crate::SqliteStore;
use crate::schema::FORMAT;

const ROOM: RoomId = RoomId([1; 16]);

/// A file with three events and a key, after these statements.
async fn found_after(sql: &str) -> Result<Inspection, OpenError> {
    let home = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(home.path()).unwrap();
    let events = (1..=3).map(|ts_ms| NewEvent { ts_ms, record: "x".into() }).collect();
    let append = Append { room: ROOM, guard: Guard::UNKNOWN_ROOM, events, state: Bytes::new() };
    store.commit(Batch::new().append(append).put(Key::from("k"), "v")).await.unwrap();
    drop(store);
    Connection::open(home.path().join(FILE_NAME)).unwrap().execute_batch(sql).unwrap();
    inspect(home.path())
}

#[tokio::test]
async fn a_whole_file_is_whole() {
    let found = found_after("").await.unwrap();
    let (format, newest) = (FORMAT.newest(), FORMAT.newest());
    assert_eq!(found, Inspection { format, newest, keys: 1, rooms: vec![ROOM], ..Inspection::default() });
}

#[tokio::test]
async fn rows_that_do_not_fit_are_damage() {
    for (sql, words) in [
        ("DELETE FROM events WHERE seq = 2", "should hold the events 1 to 3 and holds 2"),
        ("DELETE FROM events WHERE seq = 3", "and holds 2 of 1 to 2"),
        ("UPDATE rooms SET last = 4", "should hold the events 1 to 4"),
        ("UPDATE rooms SET first = 2", "should hold the events 2 to 3"),
        ("UPDATE keys SET version = 99000", "a key has version 99000"),
    ] {
        let damage = found_after(sql).await.unwrap().damage;
        assert!(damage.len() == 1 && damage[0].contains(words), "{sql}: {damage:?}");
    }
}

#[tokio::test]
async fn events_of_no_room_are_orphans() {
    let found = found_after("INSERT INTO events VALUES (99, 1, 1, x'00')").await.unwrap();
    assert_eq!((found.orphans, found.damage), (vec!["1 events belong to no room".to_owned()], vec![]));
}

#[tokio::test]
async fn a_newer_format_and_another_programs_file_are_refused() {
    let newer = found_after("PRAGMA user_version = 99").await;
    assert!(matches!(newer, Err(OpenError::Newer { found: 99, .. })), "{newer:?}");
    let foreign = found_after("PRAGMA application_id = 7").await;
    assert!(matches!(foreign, Err(OpenError::Foreign { .. })), "{foreign:?}");
}
