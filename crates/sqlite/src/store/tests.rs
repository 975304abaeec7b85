//! What the embedded store promises beyond the suite: one owner, its format, group commit, failure, backups.

use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use hikyaku_storage::{Append, Conflict, Guard, NewEvent, Raise, Replace, Trim};
use tempfile::TempDir;

use super::*;

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn put(name: &str, value: impl Into<Bytes>) -> Batch {
    Batch::new().put(Key::from(name), value)
}

fn say(number: u8, last: u64, record: &str) -> Batch {
    Batch::new().append(event(number, last, record))
}

fn event(number: u8, last: u64, record: &str) -> Append {
    let guard = Guard { epoch: 1, expect_last: last };
    let events = vec![NewEvent { ts_ms: 1, record: Bytes::copy_from_slice(record.as_bytes()) }];
    Append { room: RoomId([number; 16]), guard, events, state: Bytes::new() }
}

async fn value(store: &SqliteStore, name: &str) -> Option<Bytes> {
    store.get(&Key::from(name)).await.unwrap().map(|found| found.value)
}

/// Another process's hand on the file.
fn intruder(directory: &Path) -> Connection {
    Connection::open(directory.join(FILE_NAME)).unwrap()
}

#[test]
fn two_owners_never_share_a_directory() {
    let home = home();
    let first = SqliteStore::open(home.path()).unwrap();
    let error = SqliteStore::open(home.path()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { path } if *path == home.path().join("lock")), "{error}");
    assert!(error.to_string().contains(&home.path().display().to_string()));
    drop(first);
    SqliteStore::open(home.path()).unwrap();
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_alone() {
    let home = home();
    drop(SqliteStore::open(home.path()).unwrap());
    intruder(home.path()).pragma_update(None, "user_version", FORMAT.newest() + 1).unwrap();
    let before = fs::read(home.path().join(FILE_NAME)).unwrap();

    let error = SqliteStore::open(home.path()).unwrap_err();
    let known = FORMAT.newest();
    assert!(matches!(error, OpenError::Newer { found, .. } if found == known + 1), "{error}");
    let sentence = format!(
        "this store was written by a newer hikyaku (format {}, this one knows {known}): \
         upgrade the program or restore a backup",
        known + 1
    );
    assert!(error.to_string().ends_with(&sentence), "{error}");
    assert!(fs::read(home.path().join(FILE_NAME)).unwrap() == before);
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let text = home();
    fs::write(text.path().join(FILE_NAME), "Dear diary, ".repeat(500)).unwrap();
    let database = home();
    intruder(database.path()).execute_batch("CREATE TABLE diary (day TEXT)").unwrap();
    for home in [text, database] {
        let before = fs::read(home.path().join(FILE_NAME)).unwrap();
        let error = SqliteStore::open(home.path()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(fs::read(home.path().join(FILE_NAME)).unwrap() == before);
    }
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let home = home();
    let directory = home.path().join("made/here");
    let store = SqliteStore::open(&directory).unwrap();
    store.commit(put("k", "v")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "the store, its log, its index and the lock: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn every_commit_is_synced_and_what_is_deleted_is_overwritten() {
    let home = home();
    let store = SqliteStore::open_with(home.path(), |connection| {
        let setting = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(setting("PRAGMA synchronous")?, 2, "FULL");
        assert_eq!(setting("PRAGMA secure_delete")?, 1);
        Ok(())
    });
    let store = store.unwrap();
    let secret = "burn after reading ".repeat(200);
    store.commit(put("letter", secret.clone())).await.unwrap();
    store.commit(Batch::new().delete(Key::from("letter"))).await.unwrap();
    drop(store);
    let bytes = fs::read(home.path().join(FILE_NAME)).unwrap();
    assert!(!bytes.windows(18).any(|window| window == b"burn after reading"));
    assert!(!home.path().join("store.sqlite-wal").exists(), "an orderly end leaves no log behind");
}

#[tokio::test]
async fn batches_that_wait_together_share_a_commit() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    let gate = intruder(home.path());
    gate.execute_batch("BEGIN IMMEDIATE").unwrap();

    // The first request meets the closed gate, alone or with some others; all the rest gather behind it.
    let mut waiting: Vec<_> = (0..100).map(|n| store.commit(say(1, n, "event"))).collect();
    let together = poll_fn(|cx| {
        waiting.retain_mut(|commit| match commit.as_mut().poll(cx) {
            Poll::Ready(outcome) => outcome.map(|_| false).unwrap(),
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    let open = async { gate.execute_batch("COMMIT").unwrap() };
    tokio::join!(biased; together, open);

    let Stats { commits, batches } = store.stats();
    assert_eq!(batches, 100);
    assert!(commits <= 2, "{commits} commits");
    assert_eq!(
        store.head(RoomId([1; 16])).await.unwrap().unwrap().last,
        100,
        "and each saw the one before it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_need_fewer_commits_than_batches_and_lose_nothing() {
    const TASKS: u8 = 64;
    const EACH: u64 = 50;
    let home = home();
    let store = Arc::new(SqliteStore::open(home.path()).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0..EACH {
                store.commit(say(task, n, "event").put(Key::from(&[task][..]), n.to_string())).await.unwrap();
                let read = store.get(&Key::from(&[task][..])).await.unwrap().unwrap();
                assert_eq!(read.value, n.to_string(), "a read sees what was committed before it");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let Stats { commits, batches } = store.stats();
    assert_eq!(batches, u64::from(TASKS) * EACH);
    assert!(commits < batches, "{commits} commits for {batches} batches");
    let heads = store.heads((0..TASKS).map(|task| RoomId([task; 16])).collect()).await.unwrap();
    assert!(heads.iter().all(|head| head.as_ref().is_some_and(|head| head.last == EACH)));
}

#[tokio::test]
async fn a_conflict_spoils_nobody_elses_batch_in_the_group() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    let gate = intruder(home.path());
    gate.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (before, refused, after, ()) = tokio::join!(
        biased;
        store.commit(put("a", "1").append(event(1, 0, "first"))),
        store.commit(put("b", "2").check(Key::from("a"), 0).append(event(2, 0, "lost"))),
        store.commit(say(1, 1, "second")),
        async { gate.execute_batch("COMMIT").unwrap() }
    );
    assert!(refused.is_err_and(|error| error.is_conflict()));
    assert!(before.is_ok() && after.is_ok());
    assert_eq!(value(&store, "b").await, None);
    assert_eq!(store.head(RoomId([2; 16])).await.unwrap(), None);
    assert_eq!(store.head(RoomId([1; 16])).await.unwrap().unwrap().last, 2);
}

#[tokio::test]
async fn a_reader_does_not_wait_for_a_writer() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    store.commit(put("k", "before")).await.unwrap();
    let gate = intruder(home.path());
    gate.execute_batch("BEGIN IMMEDIATE; UPDATE keys SET value = x'00';").unwrap();
    let mut blocked = store.commit(put("k", "after"));
    let started = poll_fn(|cx| Poll::Ready(blocked.as_mut().poll(cx).is_pending())).await;
    assert!(started);

    assert_eq!(value(&store, "k").await.unwrap(), "before");
    gate.execute_batch("ROLLBACK").unwrap();
    blocked.await.unwrap();
    assert_eq!(value(&store, "k").await.unwrap(), "after");
}

#[tokio::test]
async fn a_writer_does_not_wait_for_a_reader() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    store.commit(put("k", "before").append(event(1, 0, "x"))).await.unwrap();
    let reader = intruder(home.path());
    let count = || reader.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 1);
    // So much that the log is copied into the file, and something erased, after which it is to be emptied.
    for n in 0..8 {
        store.commit(put(&n.to_string(), vec![7; 1 << 20])).await.unwrap();
    }
    let trim = Trim { room: RoomId([1; 16]), epoch: 1, expect_first: 1, first: 2 };
    store.commit(put("k", "after").trim(trim)).await.unwrap();
    assert_eq!(value(&store, "k").await.unwrap(), "after", "and others see what was written");
    assert_eq!(count(), 1, "the reader has the moment at which it began");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 9);
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_nothing_else() {
    let home = home();
    let limited =
        |connection: &mut Connection| connection.query_row("PRAGMA max_page_count = 100", [], |_| Ok(()));
    let store = SqliteStore::open_with(home.path(), limited).unwrap();
    store.commit(put("small", "kept")).await.unwrap();
    store.commit(put("ballast", vec![1; 200_000])).await.unwrap();
    let before = store.get(&Key::from("small")).await.unwrap();

    // One batch too large between two that fit, all in one group.
    let gate = intruder(home.path());
    gate.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (first, large, last, ()) = tokio::join!(
        biased;
        store.commit(put("first", "fits")),
        store.commit(put("large", vec![2; 400_000]).append(event(1, 0, "lost"))),
        store.commit(put("last", "fits")),
        async { gate.execute_batch("COMMIT").unwrap() }
    );
    assert_eq!(large, Err(StoreError::Full));
    let (first, last) = (first.unwrap().version, last.unwrap().version);
    assert!(first < last, "and in their order");

    assert_eq!(store.get(&Key::from("small")).await.unwrap(), before, "reads go on");
    assert_eq!(value(&store, "large").await, None);
    assert_eq!(store.head(RoomId([1; 16])).await.unwrap(), None);
    assert_eq!(
        (value(&store, "first").await.unwrap(), value(&store, "last").await.unwrap()),
        ("fits".into(), "fits".into())
    );

    store.commit(Batch::new().delete(Key::from("ballast"))).await.unwrap();
    store.commit(put("large", vec![2; 200_000])).await.expect("there is room again");
    drop(store);
    let store = SqliteStore::open(home.path()).unwrap();
    assert_eq!(value(&store, "large").await.unwrap().len(), 200_000);
}

#[tokio::test]
async fn a_failed_commit_is_never_acknowledged_and_puts_the_store_out_of_service() {
    let home = home();
    let failing = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&failing);
    let prepare =
        move |connection: &mut Connection| connection.commit_hook(Some(move || hook.load(Ordering::Relaxed)));
    let store = SqliteStore::open_with(home.path(), prepare).unwrap();
    store.commit(put("k", "acknowledged")).await.unwrap();

    failing.store(true, Ordering::Relaxed);
    let (first, second) = tokio::join!(store.commit(put("k", "lost")), store.commit(put("other", "lost")));
    failing.store(false, Ordering::Relaxed);
    // The disk would work again; the store must not trust it.
    let later = store.commit(put("k", "too late")).await;
    let read = store.get(&Key::from("k")).await;
    let scan = store.scan(Key::default(), None, 1).await;
    for outcome in [first.map(drop), second.map(drop), later.map(drop), read.map(drop), scan.map(drop)] {
        assert!(matches!(outcome, Err(StoreError::Fatal(_))), "{outcome:?}");
    }
    assert_eq!(store.stats(), Stats { commits: 1, batches: 1 });

    drop(store);
    let store = SqliteStore::open(home.path()).unwrap();
    assert_eq!(value(&store, "k").await.unwrap(), "acknowledged");
    store.commit(put("k", "in service again")).await.unwrap();
}

#[tokio::test]
async fn damage_found_by_a_reader_puts_the_store_out_of_service() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    store.commit(put("k", "v")).await.unwrap();
    intruder(home.path()).execute_batch("UPDATE keys SET version = -1").unwrap();
    assert!(matches!(store.get(&Key::from("k")).await, Err(StoreError::Fatal(_))));
    assert!(matches!(store.commit(put("new", "v")).await, Err(StoreError::Fatal(_))));
}

#[tokio::test]
async fn the_log_is_copied_into_the_file_while_the_store_runs() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    for n in 0..100 {
        store.commit(put(&n.to_string(), vec![7; 1 << 20])).await.unwrap();
    }
    // 100 MiB were written 1 MiB at a time, faster than they can be copied; the log is never longer than 8,000 pages.
    let log = fs::metadata(home.path().join("store.sqlite-wal")).unwrap().len();
    assert!(log < 40 << 20, "the log has {log} bytes");
}

#[tokio::test]
async fn a_key_that_must_be_absent_is_written_once_and_a_batch_that_finds_one_leaves_nothing() {
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    let new = |batch: Batch, name: &str| batch.check(Key::from(name), 0).put(Key::from(name), "new");
    let version = store.commit(new(put("other", "x"), "taken")).await.unwrap().version;
    let batch = ["first", "second", "taken", "last"].into_iter().fold(say(1, 0, "lost"), new);
    let refused = store.commit(batch.put(Key::from("other"), "lost")).await.unwrap_err();
    let (key, expected) = (Key::from("taken"), 0);
    assert_eq!(refused, StoreError::Conflict(Conflict::Key { key, expected, found: version }));
    for absent in ["first", "second", "last"] {
        assert_eq!(value(&store, absent).await, None, "{absent}");
    }
    assert_eq!(
        (value(&store, "taken").await, value(&store, "other").await),
        (Some("new".into()), Some("x".into()))
    );
    assert_eq!(store.head(RoomId([1; 16])).await.unwrap(), None);
    // Where several conditions do not hold, the first of them is told.
    let batch = new(new(say(1, 9, "lost"), "taken"), "fine").check(Key::from("other"), 77);
    let refused = store.commit(batch).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(Conflict::Key { key, .. }) if key == Key::from("taken")));
}

#[tokio::test]
async fn versions_rise_over_more_than_are_put_aside_at_once_and_over_restarts() {
    let home = home();
    let mut last = 0;
    for _ in 0..3 {
        let store = Arc::new(SqliteStore::open(home.path()).unwrap());
        let mut commits: Vec<_> = (0..1_500).map(|_| store.commit(put("k", "v"))).collect();
        for commit in &mut commits {
            let version = commit.await.unwrap().version;
            assert!(version > last, "{version} after {last}");
            last = version;
        }
        drop(commits);
        let counted = "SELECT value FROM counters WHERE name = 'version'";
        let counted = intruder(home.path()).query_row(counted, [], |row| queries::unsigned(row, 0)).unwrap();
        assert!(counted >= last, "{last} was given, and {counted} stands in the file");
    }
}

#[tokio::test]
async fn a_backup_is_one_moment_of_a_running_store() {
    let home = home();
    let store = SqliteStore::open(home.path().join("data")).unwrap();
    store.commit(put("k", "v").append(event(1, 0, "event"))).await.unwrap();
    let to = home.path().join("copy");
    fs::create_dir(&to).unwrap();
    store.backup(to.join(FILE_NAME)).await.unwrap();
    store.commit(put("k", "after the backup")).await.unwrap();

    let copy = SqliteStore::open(&to).unwrap();
    assert_eq!(value(&copy, "k").await.unwrap(), "v");
    assert_eq!(copy.events(RoomId([1; 16]), 1, 10, 1_000).await.unwrap().events.len(), 1);
    assert_eq!(fs::metadata(to.join(FILE_NAME)).unwrap().permissions().mode() & 0o777, 0o600);

    // The same from outside, as another process does it.
    let second = home.path().join("second.sqlite");
    backup::backup(home.path().join("data"), &second).unwrap();
    assert!(second.exists());
    let error = backup::backup(home.path().join("data"), &second).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "an existing file is never replaced: {error}");
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing half-made stays behind: {left:?}");

    // And of a store nobody has open.
    drop(store);
    let third = home.path().join("third");
    fs::create_dir(&third).unwrap();
    backup::backup(home.path().join("data"), third.join(FILE_NAME)).unwrap();
    let copy = SqliteStore::open(&third).unwrap();
    assert_eq!(value(&copy, "k").await.unwrap(), "after the backup");
}

#[tokio::test]
async fn what_is_erased_or_trimmed_is_in_no_file_any_more() {
    const SECRET: &str = "the words that must not be found again";
    let home = home();
    let store = SqliteStore::open(home.path()).unwrap();
    let found = || {
        let files = fs::read_dir(home.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        let holds = |file: Vec<u8>| file.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        files.filter(|file| holds(file.clone())).count()
    };
    let events = [SECRET, SECRET, "kept"];
    for (last, record) in (0..).zip(events) {
        store.commit(say(1, last, record)).await.unwrap();
    }
    store.commit(put("secret", SECRET)).await.unwrap();
    assert!(found() > 0, "it stands in the log or in the file");

    let room = RoomId([1; 16]);
    let erase = Replace { room, epoch: 1, seq: 2, expect: SECRET.into(), record: "gone".into() };
    let trim = Trim { room, epoch: 1, expect_first: 1, first: 2 };
    store.commit(Batch::new().replace(erase).trim(trim).delete(Key::from("secret"))).await.unwrap();
    // Cleaned after the answer and before the next batch.
    store.commit(put("later", "v")).await.unwrap();
    assert_eq!(found(), 0);
    let page = store.events(room, 1, 10, 1_000).await.unwrap();
    let left: Vec<_> = page.events.iter().map(|event| &event.record[..]).collect();
    assert_eq!(left, [&b"gone"[..], b"kept"]);
}

/// The store of an earlier release, made from what `sqlite3 .dump` said about it.
fn released(directory: &Path, dump: &str) {
    fs::create_dir_all(directory).unwrap();
    Connection::open(directory.join(FILE_NAME)).unwrap().execute_batch(dump).unwrap();
}

/// The parts of the keys of messages' ids, each of 16 bytes.
fn ids(directory: &Path) -> Vec<[Vec<u8>; 3]> {
    let connection = intruder(directory);
    let sql = "SELECT key FROM keys WHERE key >= x'6d2f' AND key < x'6d30'";
    let mut statement = connection.prepare(sql).unwrap();
    let keys = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    keys.map(|key| {
        <[Vec<u8>; 3]>::try_from(key.unwrap()[2..].chunks(16).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .unwrap()
    })
    .collect()
}

#[tokio::test]
async fn the_ids_of_an_earlier_releases_messages_are_found_where_they_are_looked_for_now() {
    for format in [1, 2] {
        let home = home();
        released(home.path(), include_str!("../../tests/stores/format-1.sql"));
        let path = home.path().join(FILE_NAME);
        file::migrate_to(&mut intruder(home.path()), &path, FORMAT, format).unwrap();
        let before = ids(home.path());
        assert!(before.len() > 5, "{} messages", before.len());
        drop(SqliteStore::open(home.path()).unwrap());
        let mut expected: Vec<_> = before.into_iter().map(|[room, author, id]| [id, author, room]).collect();
        expected.sort();
        assert_eq!(ids(home.path()), expected);
        drop(SqliteStore::open(home.path()).unwrap());
        assert_eq!(ids(home.path()), expected, "and it happens once");
    }
}

#[tokio::test]
async fn the_store_of_an_earlier_release_is_migrated_with_everything_in_it() {
    let home = home();
    released(home.path(), include_str!("../../tests/stores/format-1.sql"));
    let keys: u32 =
        intruder(home.path()).query_row("SELECT count(*) FROM keys", [], |row| row.get(0)).unwrap();
    let ops: [u8; 16] = intruder(home.path())
        .query_row("SELECT id FROM rooms ORDER BY last DESC LIMIT 1", [], |row| row.get(0))
        .unwrap();

    let store = SqliteStore::open(home.path()).unwrap();
    assert_eq!(store.scan(Key::default(), None, 4_096).await.unwrap().len(), keys as usize);
    let page = store.events(RoomId(ops), 1, 100, 1 << 20).await.unwrap();
    assert_eq!((page.epoch, page.first, page.last, page.events.len()), (1, 1, 9, 9));
    let head = store.head(RoomId(ops)).await.unwrap().unwrap();
    assert_eq!(head.epochs, []);
    store
        .commit(Batch::new().raise(Raise { room: RoomId(ops), guard: Guard::of(Some(&head)), epoch: 2 }))
        .await
        .unwrap();
    drop(store);
    let version: i64 = intruder(home.path()).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, FORMAT.newest());
    let store = SqliteStore::open(home.path()).unwrap();
    assert_eq!(store.head(RoomId(ops)).await.unwrap().unwrap().epochs, [(2, 10)]);
}
