//! The tables of the server's store, as forward migrations.
//!
//! `rooms.number` stands for the room's identifier in `events`, whose rows lie together per room in order of `seq`:
//! a page of history is one stretch of the file. Times are searched by bisection over `seq`, so they need no index.

use crate::file::Format;

pub(crate) const FORMAT: Format =
    Format { application_id: i32::from_be_bytes(*b"HKYK"), migrations: &[FORMAT_1, FORMAT_2, FORMAT_3] };

const FORMAT_1: &str = "
CREATE TABLE keys (
    key     BLOB    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    value   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rooms (
    number  INTEGER PRIMARY KEY,
    id      BLOB    NOT NULL UNIQUE,
    epoch   INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    last_ts INTEGER NOT NULL,
    state   BLOB    NOT NULL
) STRICT;

CREATE TABLE events (
    room   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    ts_ms  INTEGER NOT NULL,
    record BLOB    NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;

-- The last version given; it outlives the keys that had it.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('version', 0);
";

/// The epochs after a room's first and where each began: 4 and 8 bytes, big endian, one after the other.
const FORMAT_2: &str = "ALTER TABLE rooms ADD COLUMN epochs BLOB NOT NULL DEFAULT x'';";

/// The ids of messages, which chat keeps under `m/`, begin with the id instead of the room: those of one time lie together.
/// And from here on `counters` has a version that none given is above; some below it were never given.
const FORMAT_3: &str = "
UPDATE keys SET key = CAST(x'6d2f' || substr(key, 35, 16) || substr(key, 19, 16) || substr(key, 3, 16) AS BLOB)
WHERE key >= x'6d2f' AND key < x'6d30' AND length(key) = 50;";
