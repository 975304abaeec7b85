//! The n-th write, sync or truncation of the store's files fails, for n = 1, 2, 3 … until none fails any more.
//!
//! The failures are the system's: `strace` injects them into a child process, which is this test's own program. The
//! child commits and says what was acknowledged; afterwards everything acknowledged must be in the store. Without
//! `strace` there is nothing to inject with, and the test says so.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use hikyaku_sqlite::{FILE_NAME, SqliteStore};
use hikyaku_storage::{Append, Batch, Guard, Key, NewEvent, Replace, RoomId, Store, StoreError};

/// Tells the child where its store is.
const CHILD: &str = "HIKYAKU_TEST_FAILING_STORE";
/// Commits of the child.
const COMMITS: u64 = 4;
const ROOM: RoomId = RoomId([1; 16]);

fn batch(last: u64) -> Batch {
    // Longer than a page.
    let record = Bytes::from(vec![u8::try_from(last + 1).unwrap(); 6_000]);
    let events = vec![NewEvent { ts_ms: last, record }];
    let append =
        Append { room: ROOM, guard: Guard { epoch: 1, expect_last: last }, events, state: Bytes::new() };
    let batch = Batch::new().append(append).put(Key::from("last"), (last + 1).to_string());
    // What is replaced is cleaned from the log, so every commit after the first copies the log into the file.
    match last {
        0 => batch,
        _ => {
            let same = Bytes::from(vec![1; 6_000]);
            batch.replace(Replace { room: ROOM, epoch: 1, seq: 1, expect: same.clone(), record: same })
        }
    }
}

/// Not a test by itself: the child. It commits until it has all of them or the store is out of service.
#[tokio::test]
async fn child() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let mut said = fs::File::options().append(true).create(true).open(directory.join("said")).unwrap();
    let mut say = |line: String| writeln!(said, "{line}").unwrap();
    let store = match SqliteStore::open(&directory) {
        Ok(store) => store,
        Err(error) => return say(format!("closed {error}")),
    };
    let mut last = store.head(ROOM).await.map(|head| head.map_or(0, |head| head.last)).unwrap_or(0);
    let mut fatal = false;
    for _ in 0..2 * COMMITS {
        if last == COMMITS {
            break;
        }
        match store.commit(batch(last)).await {
            Ok(_) => {
                assert!(!fatal, "a store out of service acknowledges nothing");
                last += 1;
                say(format!("acked {last}"));
            }
            Err(StoreError::Full) => say("full".to_owned()),
            Err(error) => {
                assert!(matches!(error, StoreError::Fatal(_)), "{error}");
                fatal = true;
                say(format!("fatal {error}"));
            }
        }
    }
}

/// Runs the child with the n-th of these calls failing; whether one did, and what the child said.
fn run(directory: &Path, calls: &str, error: &str, number: u32) -> (bool, Vec<String>) {
    let trace = directory.join("trace");
    let files = [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")].map(|name| directory.join(name));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    strace.arg(format!("--inject={calls}:error={error}:when={number}"));
    for file in &files {
        strace.arg("-P").arg(file);
    }
    strace.arg(std::env::current_exe().unwrap()).args(["child", "--exact", "--test-threads=1"]);
    let done = strace.env(CHILD, directory).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "{calls} {number}: {}", String::from_utf8_lossy(&done.stderr));
    let said = fs::read_to_string(directory.join("said")).unwrap_or_default();
    let injected = fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)");
    (injected, said.lines().map(str::to_owned).collect())
}

/// Everything acknowledged is there, and the store works again.
async fn verify(directory: &Path, said: &[String], what: &str) {
    let acked = said.iter().filter_map(|line| line.strip_prefix("acked ")).next_back();
    let acked: u64 = acked.map_or(0, |seq| seq.parse().unwrap());
    let store = SqliteStore::open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = store.head(ROOM).await.unwrap().map_or(0, |head| head.last);
    assert!(last >= acked, "{what}: {acked} were acknowledged and {last} are there: {said:?}");
    let told = store
        .get(&Key::from("last"))
        .await
        .unwrap()
        .map_or(0, |found| String::from_utf8_lossy(&found.value).parse::<u64>().unwrap());
    assert_eq!(told, last, "{what}: a batch is there whole or not at all");
    for seq in 1..=last {
        let event = store.events(ROOM, seq, 1, 0).await.unwrap().events.remove(0);
        assert!(
            event.seq == seq && event.record.iter().all(|byte| u64::from(*byte) == seq),
            "{what}: event {seq}"
        );
    }
    store.commit(batch(last)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
}

async fn fail_each(calls: &str, error: &str) {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("strace is not installed: nothing was made to fail");
        return;
    }
    let mut fatal = 0;
    for number in 1.. {
        let home = tempfile::tempdir().unwrap();
        let what = format!("{calls} number {number} fails with {error}");
        let (injected, said) = run(home.path(), calls, error, number);
        verify(home.path(), &said, &what).await;
        fatal += u32::from(said.iter().any(|line| line.starts_with("fatal")));
        if !injected {
            assert!(number > 3 && said.len() == usize::try_from(COMMITS).unwrap(), "{what}: {said:?}");
            println!(
                "{calls}, {error}: {} failures, {fatal} of them put the store out of service",
                number - 1
            );
            break;
        }
        assert!(number < 2_000, "it never ends");
    }
    assert!(error == "ENOSPC" || fatal > 0, "no failure was ever noticed");
}

#[tokio::test]
async fn a_failed_sync_is_fatal_and_nothing_acknowledged_is_lost() {
    fail_each("fsync,fdatasync", "EIO").await;
}

#[tokio::test]
async fn a_failed_write_is_fatal_and_nothing_acknowledged_is_lost() {
    fail_each("pwrite64,write", "EIO").await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_nothing_acknowledged_is_lost() {
    fail_each("pwrite64,write", "ENOSPC").await;
}

#[tokio::test]
async fn a_failed_truncation_loses_nothing_acknowledged() {
    fail_each("ftruncate", "EIO").await;
}
