//! The tables of a client's store, as forward migrations.

use crate::file::Format;

pub(crate) const FORMAT: Format =
    Format { application_id: i32::from_be_bytes(*b"HKYC"), migrations: &[FORMAT_1, FORMAT_2] };

const FORMAT_1: &str = "
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Messages written before they are sent, in the order in which they were said.
CREATE TABLE outbox (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE,
    room       TEXT    NOT NULL,
    kind       INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    created_ms INTEGER NOT NULL,
    state      INTEGER NOT NULL DEFAULT 0,
    attempts   INTEGER NOT NULL DEFAULT 0,
    reason     TEXT
) STRICT;

-- The message a person's own key stands for, for ever.
CREATE TABLE keys (
    room       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (room, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE rooms (
    room  BLOB    NOT NULL PRIMARY KEY,
    name  TEXT    NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    title TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    room     BLOB    NOT NULL PRIMARY KEY,
    epoch    INTEGER NOT NULL,
    next_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events fetched, and which stretches of each room they are; no two ranges touch.
CREATE TABLE events (
    room   BLOB    NOT NULL,
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    record BLOB    NOT NULL,
    PRIMARY KEY (room, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE ranges (
    room  BLOB    NOT NULL,
    epoch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (room, epoch, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE transfers (
    id         BLOB    NOT NULL PRIMARY KEY,
    direction  INTEGER NOT NULL,
    path       BLOB    NOT NULL,
    target     TEXT    NOT NULL,
    state      BLOB    NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What a message is about and whom it mentions, as the application encodes it.
const FORMAT_2: &str = "
ALTER TABLE outbox ADD COLUMN details BLOB NOT NULL DEFAULT x'';
";

#[cfg(test)]
mod tests;
