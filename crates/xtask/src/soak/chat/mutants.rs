//! Mistakes of a server of rooms, and of a client, that the proof of delivery must find.

use crate::soak::mutants::Mutant;

const COMMIT: &str = "match self.store.commit(store_batch(&log, &record, checks, &decision)).await {";
const SEQUENCER: &str = "crates/chat/src/server/sequencer.rs";
const KILLS: &[&str] =
    &["--server-kills", "12", "--client-kills", "2", "--clock-jumps", "0", "--gap", "12", "--patience", "20"];
const CALM: &[&str] =
    &["--server-kills", "1", "--client-kills", "3", "--clock-jumps", "0", "--lulls", "6", "--patience", "20"];
const JUMPS: &[&str] =
    &["--server-kills", "1", "--client-kills", "1", "--clock-jumps", "6", "--patience", "20"];
const CUTS: &[&str] = &[
    "--server-kills",
    "0",
    "--client-kills",
    "1",
    "--clock-jumps",
    "0",
    "--power-cuts",
    "3",
    "--patience",
    "20",
];
const LATE: &[&str] =
    &["--server-kills", "1", "--client-kills", "6", "--clock-jumps", "0", "--late-cursor", "1"];

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant { name: "none, calm", replacements: &[], arguments: CALM },
    Mutant { name: "none, kills", replacements: &[], arguments: KILLS },
    Mutant { name: "none, power cuts", replacements: &[], arguments: CUTS },
    Mutant { name: "none, clock jumps", replacements: &[], arguments: JUMPS },
    Mutant { name: "cursor stored after display", replacements: &[], arguments: LATE },
    Mutant {
        name: "acknowledged before the commit",
        replacements: &[(
            SEQUENCER,
            COMMIT,
            "let (store, late) = (self.store.clone(), store_batch(&log, &record, checks, &decision));
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(40)).await;
                let _ = store.commit(late).await;
            });
            match Ok::<_, StoreError>(hikyaku_storage::Committed { version: record.version }) {",
        )],
        arguments: KILLS,
    },
    Mutant {
        name: "fan-out before the commit",
        replacements: &[(
            SEQUENCER,
            COMMIT,
            "if !fresh {
                let early = room.publish(news(&log, &decision, record.version), &self.limits);
                room.show(&early);
                tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            }
            match self.store.commit(store_batch(&log, &record, checks, &decision)).await {",
        )],
        arguments: KILLS,
    },
    Mutant {
        name: "no fsync",
        replacements: &[("crates/sqlite/src/file.rs", r#""synchronous", "FULL""#, r#""synchronous", "OFF""#)],
        arguments: CUTS,
    },
    Mutant {
        name: "duplicates known in memory only",
        replacements: &[
            (
                "crates/sqlite/src/queries.rs",
                "pub(crate) fn get(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Versioned>> {",
                "pub(crate) static SEEN: std::sync::Mutex<std::collections::BTreeMap<Key, Versioned>> =
                    std::sync::Mutex::new(std::collections::BTreeMap::new());

                pub(crate) fn get(connection: &Connection, key: &Key) -> rusqlite::Result<Option<Versioned>> {
                    if let Some(found) = SEEN.lock().unwrap().get(key) {
                        return Ok(Some(found.clone()));
                    }",
            ),
            (
                "crates/sqlite/src/apply.rs",
                "let found = rows.next()?.map_or(Ok(0), |row| queries::unsigned(row, 0))?;",
                "let found = rows.next()?.map_or(Ok(0), |row| queries::unsigned(row, 0))?;
                let found = queries::SEEN.lock().unwrap().get(key).map_or(found, |seen| seen.version);",
            ),
            (
                "crates/sqlite/src/apply.rs",
                "if insert.execute(params![key.as_bytes(), signed(version), value.as_deref()])? == 0 {",
                r#"let known = queries::SEEN.lock().unwrap().contains_key(key);
                if let (Some(value), false, true) = (value, known, key.as_bytes().starts_with(b"m/")) {
                    let seen = hikyaku_storage::Versioned { version, value: value.clone() };
                    queries::SEEN.lock().unwrap().insert(key.clone(), seen);
                    continue;
                }
                if known || insert.execute(params![key.as_bytes(), signed(version), value.as_deref()])? == 0 {"#,
            ),
            (
                "crates/sqlite/src/apply.rs",
                "            Some(value) => put.execute(",
                r#"            Some(value) if key.as_bytes().starts_with(b"m/") => {
                    let seen = hikyaku_storage::Versioned { version, value: value.clone() };
                    queries::SEEN.lock().unwrap().insert(key.clone(), seen);
                    0
                }
                Some(value) => put.execute("#,
            ),
        ],
        arguments: KILLS,
    },
    Mutant {
        name: "sequence numbers restarted from a count",
        replacements: &[
            (
                "crates/sqlite/src/writer.rs",
                r#"let manual = connection.pragma_update(None, "wal_autocheckpoint", 0);"#,
                r#"let count = "UPDATE rooms SET last = (SELECT count(*) FROM events WHERE room = number) - 1 WHERE last > 1";
                let _ = connection.execute_batch(count);
                let manual = connection.pragma_update(None, "wal_autocheckpoint", 0);"#,
            ),
            (
                "crates/sqlite/src/apply.rs",
                "\"INSERT INTO events VALUES",
                "\"INSERT OR REPLACE INTO events VALUES",
            ),
        ],
        arguments: KILLS,
    },
    Mutant {
        name: "wake-up lost, always",
        replacements: &[
            ("crates/chat/src/server/room.rs", "self.watcher.told.swap(false, Ordering::AcqRel);", ""),
            // Heads told now and then would catch it, later.
            ("crates/chat/src/limits.rs", "Duration::from_secs(30)", "Duration::from_secs(3_000)"),
        ],
        arguments: CALM,
    },
    Mutant {
        name: "wake-up lost on resubscribing",
        replacements: &[
            // Who comes again counts as told already, and is therefore never told.
            (
                "crates/chat/src/server/room.rs",
                "let told = AtomicBool::new(false);",
                "static SEEN: Mutex<BTreeSet<(UserId, RoomId)>> = Mutex::new(BTreeSet::new());
                let told = AtomicBool::new(!lock(&SEEN).insert((user, self.id)));",
            ),
            // Heads told now and then would catch it, later.
            ("crates/chat/src/limits.rs", "Duration::from_secs(30)", "Duration::from_secs(3_000)"),
        ],
        arguments: CALM,
    },
    Mutant {
        name: "time from the clock alone",
        replacements: &[
            (
                "crates/chat/src/rules.rs",
                "log.ts_ms = log.ts_ms.max(self.now_ms);",
                "log.ts_ms = self.now_ms;",
            ),
            // The store would refuse it.
            (
                "crates/storage/src/limits.rs",
                "Some(event) if event.ts_ms < previous => {",
                "Some(event) if event.ts_ms < previous && false => {",
            ),
            (
                "crates/storage/src/limits.rs",
                "        if event.ts_ms < previous {",
                "        if event.ts_ms < previous && false {",
            ),
        ],
        arguments: JUMPS,
    },
    Mutant {
        name: "ring overwritten under a reader",
        replacements: &[
            (
                "crates/chat/src/server/ring.rs",
                "self.chunks.get(at)?.first > from",
                "self.chunks.get(at).is_none()",
            ),
            ("crates/chat/src/limits.rs", "ring_events: 8_192", "ring_events: 4"),
        ],
        arguments: CALM,
    },
];
