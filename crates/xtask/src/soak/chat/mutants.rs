//! Mistakes made on purpose, each in a copy of the project: the checker must find every one of them, and nothing in the
//! copy without any. No switch for them exists in the program itself.
//!
//! Mutants are built in a place of their own: cargo takes the same crate in two directories for one, and a mutant would become
//! the program. A mutant is a few replacements of text. Text that is not there exactly once fails the run, so that no mutant
//! silently becomes the program as it is.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::Outcome;
use crate::workspace::{Workspace, must, output};

/// A file, what stands there, and what is to stand there.
type Replacement = (&'static str, &'static str, &'static str);

struct Mutant {
    name: &'static str,
    replacements: &'static [Replacement],
    /// How `chat-soak` is run for it.
    arguments: &'static [&'static str],
}

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

const MUTANTS: &[Mutant] = &[
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

/// Builds and runs every mutant, or those whose names hold one of the arguments.
pub(super) fn run(workspace: &Workspace, only: &[String]) -> Outcome {
    let copy = workspace.target.join("mutants");
    let mut missed = Vec::new();
    let mut table = Vec::new();
    for mutant in MUTANTS {
        if !only.is_empty() && !only.iter().any(|word| mutant.name.contains(word.as_str())) {
            continue;
        }
        println!("\n== mutant: {}", mutant.name);
        let built = apply(workspace, &copy.join("tree"), mutant).and_then(|()| build(workspace, &copy));
        let (found, seed) = match built.and_then(|()| soak(workspace, &copy, mutant)) {
            Ok(outcome) => outcome,
            Err(why) => {
                table.push(format!("{:<42} {why}   WRONG", mutant.name));
                missed.push(mutant.name);
                continue;
            }
        };
        let is_right = found.is_empty() == mutant.name.starts_with("none");
        let found = if found.is_empty() { "no violation".to_owned() } else { found };
        let wrong = if is_right { "" } else { "   WRONG" };
        table.push(format!("{:<42} {found}   (seed {seed}){wrong}", mutant.name));
        if !is_right {
            missed.push(mutant.name);
        }
    }
    println!();
    table.iter().for_each(|line| println!("{line}"));
    if missed.is_empty() { Ok(()) } else { Err(format!("the checker is wrong about: {}", missed.join("; "))) }
}

/// Copies the project, with the replacements; files that are right already keep their times.
fn apply(workspace: &Workspace, tree: &Path, mutant: &Mutant) -> Outcome {
    let list =
        output(workspace.command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let wanted = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rustfmt.toml"];
    let is_wanted =
        |path: &&str| wanted.contains(path) || path.starts_with("crates/") || path.starts_with("spec/");
    for path in list.lines().filter(is_wanted) {
        let Ok(mut content) = fs::read(workspace.root.join(path)) else { continue };
        for (_, from, to) in mutant.replacements.iter().filter(|(file, ..)| *file == path) {
            let text = String::from_utf8(content).map_err(|_| format!("{path} is no text"))?;
            if text.matches(from).count() != 1 {
                return Err(format!("mutant '{}': {path} does not hold this once: {from}", mutant.name));
            }
            content = text.replace(from, to).into_bytes();
        }
        let to = tree.join(path);
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let parent = to.parent().unwrap_or(tree);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&to, content));
        written.map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

fn build(workspace: &Workspace, copy: &Path) -> Outcome {
    let manifest = copy.join("tree/Cargo.toml");
    let mut command =
        workspace.cargo(&["build", "--quiet", "--locked", "--package", "hikyaku-cli", "--bin", "hikyaku"]);
    must(command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(copy.join("target")))
}

/// Which invariants a run finds broken, as words, an empty text if none; and its seed.
fn soak(workspace: &Workspace, copy: &Path, mutant: &Mutant) -> Outcome<(String, String)> {
    let place = copy.join("runs");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let mut command = workspace.command(workspace.target.join("debug/chat-soak"));
    command
        .args(mutant.arguments)
        .arg("--server")
        .arg(copy.join("target/debug/hikyaku"))
        .arg("--directory")
        .arg(&place);
    let done = command.stderr(Stdio::null()).output();
    let done = done.map_err(|error| format!("chat-soak could not be started: {error}"))?;
    // What a run with violations keeps is of no use here: they were wanted.
    let _ = fs::remove_dir_all(&place);
    let text = String::from_utf8_lossy(&done.stdout);
    print!("{text}");
    let mut broken: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" is broken: "))
        .map(|(invariant, _)| invariant)
        .collect();
    broken.sort_unstable();
    broken.dedup();
    let seed =
        text.lines().find_map(|line| line.split_once("seed ")).map_or("?", |(_, seed)| seed).to_owned();
    match done.status.code() {
        Some(0) if broken.is_empty() => Ok((String::new(), seed)),
        Some(1) if !broken.is_empty() => Ok((broken.join(" "), seed)),
        // A server that does not come back with what it has on its disk is found out, too.
        Some(2) if !mutant.replacements.is_empty() => Ok(("the run could not go on".to_owned(), seed)),
        code => Err(format!("no verdict: chat-soak ended with {code:?}")),
    }
}
