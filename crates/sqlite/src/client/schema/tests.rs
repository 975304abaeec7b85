//! A client's store of an earlier release: what was waiting to be sent in it is sent by this one.

use bytes::Bytes;
use hikyaku_storage::RoomId;
use rusqlite::Connection;

use super::*;
use crate::client::{ClientStore, FILE_NAME, NewMessage, OutboxState};

const ROOM: RoomId = RoomId([1; 16]);

/// Something in every table, as format 1 had them.
const ROWS: &str = "
INSERT INTO meta VALUES ('name', x'07');
INSERT INTO outbox VALUES (5, zeroblob(16), 'ops', 1, x'61', 9, 1, 3, NULL);
INSERT INTO keys VALUES ('ops', 'deploy-1', zeroblob(16), 9);
INSERT INTO rooms VALUES (x'01010101010101010101010101010101', 'ops', 2, 7, NULL);
INSERT INTO cursors VALUES (x'01010101010101010101010101010101', 2, 8);
INSERT INTO events VALUES (x'01010101010101010101010101010101', 2, 7, x'62');
INSERT INTO ranges VALUES (x'01010101010101010101010101010101', 2, 7, 7);
";

#[test]
fn a_clients_store_of_an_earlier_release_is_migrated_with_everything_in_it() {
    let home = tempfile::tempdir().unwrap();
    let old = Connection::open(home.path().join(FILE_NAME)).unwrap();
    old.execute_batch(FORMAT_1).and_then(|()| old.execute_batch(ROWS)).unwrap();
    old.pragma_update(None, "application_id", FORMAT.application_id).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);

    let mut store = ClientStore::open(home.path()).unwrap();
    let waiting = store.outbox(10).unwrap();
    assert_eq!(waiting.len(), 1);
    let (message, state, attempts) = (&waiting[0].message, waiting[0].state, waiting[0].attempts);
    assert_eq!((&message.room[..], &message.body[..], message.created_ms), ("ops", &b"a"[..], 9));
    assert_eq!((state, attempts, &message.details[..]), (OutboxState::Attempted, 3, &b""[..]));
    assert_eq!(store.meta("name").unwrap().as_deref(), Some(&[7][..]));
    assert_eq!(store.room("ops").unwrap().map(|room| (room.room, room.epoch, room.last)), Some((ROOM, 2, 7)));
    let cursor = store.cursor(ROOM).unwrap();
    assert_eq!(cursor.map(|cursor| (cursor.epoch, cursor.next_seq)), Some((2, 8)));
    assert_eq!(store.ranges(ROOM, 2).unwrap(), [7..=7]);
    assert_eq!(store.events(ROOM, 2, 7, 10, 1_000).unwrap(), [(7, Bytes::from("b"))]);
    // A key stands for its message for ever.
    let again = NewMessage { id: [9; 16], ..message.clone() };
    assert_eq!(store.change(|changes| changes.enqueue(&again, Some("deploy-1"))).unwrap(), [0; 16]);
}
