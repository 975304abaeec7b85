//! `hikyaku doctor` names what is damaged, and finds nothing where nothing is.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{Done, Home, Place, json, noise, server_with_room};
use hikyaku_sqlite::SqliteStore;
use hikyaku_storage::{Append, Batch, Guard, Key, Replace, RoomId, Store as _};
use rustix::process::Signal;

/// A data directory with some of everything, of a server that has stopped.
fn data(place: &Place) -> Home {
    let (server, ana) = server_with_room(place, &[], "ops");
    for text in ["one", "two", "three"] {
        ana.run(["say", "ops", text]).ok();
    }
    let file = place.file("plan.bin", &noise(1, 100_000));
    ana.run(["send", file.to_str().unwrap(), "--to", "#ops"]).ok();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.finish().code(), 0);
    ana
}

fn doctor(home: &Home, data: &Path) -> Done {
    home.run(["doctor", "--data", data.to_str().unwrap(), "--scrub", "--json"])
}

/// What is not well: check and sentence.
fn complaints(done: &Done) -> Vec<(String, String)> {
    let findings = done.out.lines().map(json).filter(|finding| finding["state"] != "ok");
    findings
        .map(|finding| {
            assert!(finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "what to do: {finding}");
            (finding["check"].as_str().unwrap().to_owned(), finding["says"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn a_healthy_server_is_examined_while_it_runs() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "one"]).ok();
    let done = doctor(&ana, &server.data);
    assert_eq!((done.code(), complaints(&done)), (0, Vec::new()), "{done:#?}");
    let checks: Vec<_> =
        done.out.lines().map(|line| json(line)["check"].as_str().unwrap().to_owned()).collect();
    let all = ["modes", "key", "limits", "disk", "store", "rooms", "clock", "accounts", "files"];
    assert_eq!(checks, all);
    let words = ana.run(["doctor", "--data", server.data()]);
    assert!(words.ok().contains("every chain recomputed"), "{words:#?}");
    ana.run(["doctor", "--data", "nowhere"]).fails(6, &["nowhere", "--data DIR"]);
}

#[tokio::test]
async fn everything_that_is_damaged_is_named() {
    let place = Place::new();
    let ana = data(&place);
    let whole = place.join("data");
    assert_eq!(doctor(&ana, &whole).code(), 0);

    // What is broken, where it is to be seen, which words name it, and the exit code.
    let cases: [(&str, &str, &str, i32); 16] = [
        ("page", "store", "damaged", 7),
        ("cut", "store", "", 7),
        ("newer", "store", "format 99", 1),
        ("members", "rooms", "members and", 7),
        ("record", "rooms", "chain", 7),
        ("unreadable", "rooms", "event 2 cannot be read", 7),
        ("id", "rooms", "the id of event 1 does not lead to it", 7),
        ("head", "rooms", "the state in the head", 7),
        ("name", "rooms", "list of names", 7),
        ("room", "rooms", "belongs to no room", 1),
        ("user", "accounts", "does not lead to its user", 7),
        ("key", "key", "host key", 7),
        ("mode", "modes", "mode 644", 1),
        ("object", "files", "not in the vault", 7),
        ("content", "files", "'plan.bin' (#ops:4) was changed in the vault: bytes 0 to 65535 (", 7),
        ("orphan", "files", "belongs to nothing", 1),
    ];
    for (what, check, words, exit) in cases {
        let copy = place.join(what);
        copy_tree(&whole, &copy);
        // Everything into the one file, so that what is broken there is what is read.
        drop(SqliteStore::open(&copy).unwrap());
        damage(&copy, what).await;
        let done = doctor(&ana, &copy);
        assert_eq!(done.code(), exit, "{what}: {done:#?}");
        let found = complaints(&done);
        let named = found.iter().any(|(where_, says)| where_ == check && says.contains(words));
        assert!(named, "{what}: {found:#?}");
    }
}

#[test]
fn a_tree_that_decayed_names_its_file_and_is_mended_by_whoever_sends_it_again() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let tree = place.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), noise(1, 50_000)).unwrap();
    fs::write(tree.join("b"), noise(2, 400_000)).unwrap();
    let send = || assert_eq!(ana.run(["send", tree.to_str().unwrap(), "--to", "#ops"]).code(), 0);
    send();
    // The card says how many there are: a directory and two files.
    let told = ana.run(["tail", "ops", "--after", "0", "--json"]);
    assert!(told.ok().lines().map(json).any(|event| event["parcel"]["entries"] == 3), "{told:#?}");
    let card = ana.run(["tail", "ops", "--after", "0"]);
    assert!(card.ok().contains("in 3 entries"), "{card:#?}");
    let object = fs::read_dir(server.data.join("vault/objects")).unwrap().map(|entry| entry.unwrap().path());
    let object = object.into_iter().find(|path| path.extension().is_none()).unwrap();
    let mut bytes = fs::read(&object).unwrap();
    bytes[300_000] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, bytes).unwrap();
    let done = doctor(&ana, &server.data);
    assert_eq!(done.code(), 7);
    let found = complaints(&done);
    assert!(
        found[0].1.starts_with("'tree' (#ops:1) was changed in the vault: in tree/b, bytes 2"),
        "{found:?}"
    );
    let into = place.join("into");
    fs::create_dir(&into).unwrap();
    ana.run(["get", "#ops:1", "--into", into.to_str().unwrap()]).fails(7, &[]);
    send();
    assert_eq!(doctor(&ana, &server.data).code(), 0);
    ana.run(["get", "#ops:1", "--into", into.to_str().unwrap()]).ok();
    assert_eq!(fs::read(into.join("tree/b")).unwrap(), noise(2, 400_000));
}

/// Flips a bit of the object that is stored, or of its chaining values.
fn flip(server: &Path, values: bool, at: usize) {
    let stored = fs::read_dir(server.join("vault/objects")).unwrap().map(|entry| entry.unwrap().path());
    let path = stored.into_iter().find(|path| path.extension().is_some() == values).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}

#[test]
fn what_decayed_is_repaired_with_that_alone_by_whoever_has_it() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let (file, other) = (place.file("plan.bin", &noise(1, 8 << 20)), place.file("other", &noise(2, 8 << 20)));
    let into = place.join("into");
    fs::create_dir(&into).unwrap();
    ana.run(["send", file.to_str().unwrap(), "--to", "#ops"]).ok();
    ana.run(["get", "#ops:1", "--into", into.to_str().unwrap()]).ok();
    let repair = |path: &Path| ana.run(["repair", "#ops:1", path.to_str().unwrap(), "--json"]);
    let fetched = into.join("plan.bin");
    for (values, from, bytes) in [(false, &fetched, 65_536), (false, &file, 65_536), (true, &file, 0)] {
        flip(&server.data, values, 1000);
        let found = doctor(&ana, &server.data);
        assert_eq!(found.code(), 7);
        assert!(found.out.contains("hikyaku repair '#room:SEQ' PATH"), "{found:#?}");
        if !values {
            repair(&other).fails(7, &["#ops:1", "not what was sent"]);
            assert_eq!(doctor(&ana, &server.data).code(), 7);
        }
        let done = json(repair(from).ok().lines().next().unwrap());
        let told = (done["type"].as_str(), done["bytes"].as_u64(), done["hashes"].as_bool());
        assert_eq!(told, (Some("repaired"), Some(bytes), Some(values)));
        assert_eq!(doctor(&ana, &server.data).code(), 0);
    }
    // As a repair leaves it whose synchronisation failed: what is read may be in memory alone.
    let stored = fs::read_dir(server.data.join("vault/objects")).unwrap().map(|entry| entry.unwrap());
    let object = stored.map(|entry| entry.file_name()).find(|name| !name.to_str().unwrap().contains('.'));
    let mark = server.data.join("vault/mending").join(object.unwrap());
    fs::write(&mark, "").unwrap();
    let found = doctor(&ana, &server.data);
    assert_eq!(found.code(), 1);
    assert!(complaints(&found)[0].1.contains("plan.bin"), "{found:#?}");
    let words = ana.run(["repair", "#ops:1", file.to_str().unwrap()]);
    assert!(words.ok().contains("nothing to repair"), "{words:#?}");
    assert!(!mark.exists(), "all of it was written again");
    assert_eq!(doctor(&ana, &server.data).code(), 0);
    ana.run(["repair", "#ops:9", file.to_str().unwrap()]).fails(6, &["#ops:9"]);
    // The server's record says who has mended what, and how much.
    let record = fs::read_to_string(server.data.join("transfers.jsonl")).unwrap();
    let mends: Vec<_> = record.lines().map(json).filter(|line| line["type"] == "mend").collect();
    let finished: Vec<_> = mends.iter().filter(|line| line["outcome"] == "finished").collect();
    let bytes: Vec<_> = finished.iter().map(|line| line["mended"].as_u64().unwrap()).collect();
    assert_eq!(bytes, [65_536, 65_536, 0, 0], "{record}");
    assert!(finished.iter().all(|line| line["user"] == "ana" && line["from"] == "#ops:1"), "{record}");
    assert!(finished[2]["hashes"] == true && finished[0]["lacking"] == 65_536, "{record}");
    let failed: Vec<_> = mends.iter().filter(|line| line["outcome"] == "failed").collect();
    assert!(failed[0]["error"].as_str().unwrap().contains("hash is not the one"), "{record}");
    let refused = mends.iter().find(|line| line["outcome"] == "refused").unwrap();
    assert_eq!((&refused["from"], &refused["name"]), (&"#ops:9".into(), &serde_json::Value::Null));
}

async fn damage(data: &Path, what: &str) {
    let objects = data.join("vault/objects");
    let object = || {
        let mut names = fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path());
        names.find(|path| path.extension().is_none()).unwrap()
    };
    match what {
        "page" => {
            let path = data.join("store.sqlite");
            let mut bytes = fs::read(&path).unwrap();
            bytes[4096..8192].fill(0xee);
            fs::write(path, bytes).unwrap();
        }
        "newer" => {
            // The format stands at a fixed place of the header.
            let path = data.join("store.sqlite");
            let mut bytes = fs::read(&path).unwrap();
            bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
            fs::write(path, bytes).unwrap();
        }
        "cut" => {
            let file = fs::File::options().write(true).open(data.join("store.sqlite")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }
        "key" => fs::remove_file(data.join("host.pem")).unwrap(),
        "mode" => fs::set_permissions(data.join("host.pem"), fs::Permissions::from_mode(0o644)).unwrap(),
        "object" => fs::remove_file(object()).unwrap(),
        "content" => {
            let mut bytes = fs::read(object()).unwrap();
            bytes[777] ^= 1;
            fs::write(object(), bytes).unwrap();
        }
        "orphan" => fs::write(objects.join("ab".repeat(32)), "nobody's").unwrap(),
        what => in_the_store(data, what).await,
    }
}

/// Damage that no structure of the file shows.
async fn in_the_store(data: &Path, what: &str) {
    let store = SqliteStore::open(data).unwrap();
    let first = async |prefix: &str| store.scan(Key::from(prefix), None, 1).await.unwrap().remove(0);
    let room = RoomId(first("rn/").await.1.value.as_ref().try_into().unwrap());
    let record = async |seq| store.events(room, seq, 1, 0).await.unwrap().events.remove(0).record;
    let replace = async |seq, new| {
        let replace = Replace { room, epoch: 1, seq, expect: record(seq).await, record: new };
        store.commit(Batch::new().replace(replace)).await.unwrap();
    };
    match what {
        "record" => replace(2, record(1).await).await,
        "unreadable" => replace(2, "no event".into()).await,
        "id" => {
            let ids = store.scan(Key::from("m/"), None, 100).await.unwrap();
            let all = ids.into_iter().fold(Batch::new(), |batch, (key, _)| batch.delete(key));
            store.commit(all).await.unwrap();
        }
        "head" => {
            let guard = Guard::of(store.head(room).await.unwrap().as_ref());
            let append = Append { room, guard, events: Vec::new(), state: "no state".into() };
            store.commit(Batch::new().append(append)).await.unwrap();
        }
        other => {
            let prefix = [("name", "rn/"), ("room", "r/"), ("user", "n/"), ("members", "rm/")];
            let (_, prefix) = prefix.iter().find(|(what, _)| *what == other).unwrap();
            let batch = Batch::new().delete(first(prefix).await.0);
            store.commit(batch).await.unwrap();
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}
