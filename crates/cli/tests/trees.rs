//! Trees and pipes through the whole program: what arrives is what was there, and what is told of it is true.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Done, Home, Place, Program, Proxy, dropped, names, noise, server_behind, server_with_room};
use rustix::process::Signal;

/// What can be seen of an entry: kind, mode, time, content or target, how many names it has, and what it takes.
type Seen = (char, u32, (i64, i64), Vec<u8>, u64, bool);

fn look(at: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut seen, mut todo) = (BTreeMap::new(), vec![at.to_owned()]);
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let (mode, time) = (meta.mode() & 0o7777, (meta.mtime(), meta.mtime_nsec()));
        let entry: Seen = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ('d', mode, time, Vec::new(), 0, false)
        } else if meta.is_symlink() {
            ('l', 0, time, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(), 0, false)
        } else {
            let content = blake3::hash(&fs::read(&path).unwrap()).as_bytes().to_vec();
            ('f', mode, time, content, meta.nlink(), meta.blocks() * 512 < meta.len() / 2)
        };
        seen.insert(path.strip_prefix(at).unwrap().to_owned(), entry);
    }
    seen
}

/// A tree with one of everything that is kept.
fn garden(at: &Path) {
    for directory in ["empty", "deep/er/est", "closed"] {
        fs::create_dir_all(at.join(directory)).unwrap();
    }
    fs::write(at.join("empty file"), b"").unwrap();
    fs::write(at.join("small"), b"three words here").unwrap();
    fs::write(at.join("deep/er/big"), noise(1, 1_300_000)).unwrap();
    for name in [&b"\xff\n\x1b[2J"[..], b"-rf *", b" ", b"\xe2\x80\xaeback", b"a\\b", b".hidden"] {
        fs::write(at.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(at.join("program"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("program"), fs::Permissions::from_mode(0o751)).unwrap();
    symlink("deep/er", at.join("inner link")).unwrap();
    symlink("../../small", at.join("deep/er/upward link")).unwrap();
    symlink("nowhere", at.join("broken link")).unwrap();
    fs::hard_link(at.join("small"), at.join("deep/small too")).unwrap();
    let sparse = fs::File::create(at.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"an island", 20_000_000).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(981_173_106, 123_456_789);
    for file in ["small", "deep/er/big"] {
        fs::File::options().write(true).open(at.join(file)).unwrap().set_modified(long_ago).unwrap();
    }
    fs::write(at.join("closed/inside"), b"x").unwrap();
    fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::File::open(at.join("deep")).unwrap().set_modified(long_ago).unwrap();
}

/// A server with a directory, a room and a client that has a garden.
fn world() -> (Place, common::Server, Home) {
    let place = Place::new();
    place.directory("drop");
    let (server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    (place, server, ana)
}

#[test]
fn a_tree_is_the_same_in_the_directory_in_a_room_and_where_it_is_fetched() {
    for transport in ["tcp", "quic"] {
        let (place, _server, ana) = world();
        let (ana, at) = (ana.over(transport), place.directory("garden"));
        garden(&at);
        let sent = ana.run(["send", "garden", "--to", ":", "--json"]).json();
        assert_eq!(look(&place.join("drop/garden")), look(&at), "{transport}");
        assert_eq!((&sent["missing"], &sent["synced"]), (&0.into(), &"batch".into()));
        assert_eq!(sent["entries"], look(&at).len());
        ana.run(["send", "garden", "--to", "#ops"]).ok();
        place.directory("into");
        let got = ana.run(["get", "#ops:1", "--into", "into", "--json"]).json();
        assert_eq!(look(&place.join("into/garden")), look(&at), "{transport}");
        assert_eq!(got["root"], sent["root"], "the root is printed by both ends");
        assert_eq!(
            (dropped(&place.join("drop")), names(&place.join("into"))),
            (vec!["garden".into()], vec!["garden".into()])
        );
    }
}

#[test]
fn the_receipt_says_when_the_bytes_were_made_durable() {
    let (place, _server, ana) = world();
    place.directory("t");
    place.file("t/f", b"f");
    for (what, asked, said) in [
        ("t", None, "batch"),
        ("t", Some("none"), "none"),
        ("t", Some("batch"), "batch"),
        ("t", Some("each"), "each"),
        ("t/f", None, "each"),
        ("t/f", Some("none"), "none"),
    ] {
        let mut words = vec!["send", what, "--to", ":", "--json"];
        words.extend(asked.map(|asked| ["--fsync", asked]).into_iter().flatten());
        assert_eq!(ana.run(&words).json()["synced"], said, "{words:?}");
        let there = place.join("drop").join(Path::new(what).file_name().unwrap());
        if there.is_dir() { fs::remove_dir_all(there).unwrap() } else { fs::remove_file(there).unwrap() }
    }
}

#[test]
fn what_is_not_kept_is_told_at_the_end_with_its_name_escaped() {
    let (place, _server, ana) = world();
    let at = place.directory("t");
    fs::write(at.join("kept"), b"kept").unwrap();
    let pipe = at.join(OsStr::from_bytes(b"pipe\x1b[2J\xff"));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    symlink("/etc/passwd", at.join("out")).unwrap();
    let done = ana.run(["send", "t", "--to", ":"]);
    assert_eq!(done.code(), 10, "{done:#?}");
    for line in [r"t/pipe\u{1b}[2J\xff: not carried: it is a device", "t/out: a symbolic link that leads out"]
    {
        assert!(done.err.contains(line), "{done:#?}");
    }
    common::assert_harmless(&done.err);
    assert_eq!(names(&place.join("drop/t")), ["kept"]);
    fs::remove_dir_all(place.join("drop/t")).unwrap();
    let done = ana.run(["send", "t", "--to", ":", "--json"]);
    assert_eq!((done.code(), done.objects(&["missing"]).len()), (10, 2));
    check_events(&done);
}

#[test]
fn of_many_links_that_lead_out_a_dry_run_names_a_thousand_and_says_how_many_more_there_are() {
    let (place, _server, ana) = world();
    let at = place.directory("t");
    for number in 0..1_003 {
        symlink("/etc/passwd", at.join(format!("{number:04}"))).unwrap();
    }
    ana.run(["send", "t", "--to", "#ops"]);
    place.directory("into");
    for dry in [["send", "t", "--to", ":"], ["get", "#ops:1", "--into", "into"]] {
        let told = ana.run(dry.iter().chain(&["--dry-run"]));
        assert!(told.code() == 0 && told.err.contains("… and 3 more"), "{dry:?}: {}", told.err);
        let told = ana.run(dry.iter().chain(&["--dry-run", "--json"]));
        let summary = told.objects(&["summary"]).pop().unwrap();
        assert_eq!(told.objects(&["missing"]).len(), 1_000);
        assert_eq!((&summary["missing"], &summary["unnamed"]), (&1_003.into(), &3.into()));
        check_events(&told);
    }
}

#[test]
fn patterns_and_lists_choose_what_is_sent() {
    let (place, _server, ana) = world();
    let at = place.directory("p");
    for file in ["a.rs", "b.log", "keep.log", "target/x", "src/c.rs", "src/deep/d.rs", "docs/e.md"] {
        fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
        fs::write(at.join(file), file).unwrap();
    }
    let arrived = |words: &[&str], input: &str| {
        let done = ana.run_with([&["send"], words, &["--to", ":"]].concat(), input);
        let files = look(&place.join("drop")).into_iter().filter(|(_, seen)| seen.0 == 'f');
        let files = files.map(|(path, _)| path.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        for top in dropped(&place.join("drop")) {
            fs::remove_dir_all(place.join("drop").join(top)).unwrap();
        }
        (done.code(), files)
    };
    let words = ["p", "--exclude", "*.log", "--exclude", "/target/", "--include", "keep.log"];
    let chosen = ["p/a.rs", "p/docs/e.md", "p/keep.log", "p/src/c.rs", "p/src/deep/d.rs"];
    assert_eq!(arrived(&words, ""), (0, chosen.map(String::from).to_vec()));
    let words = ["p", "--include", "*.rs", "--exclude", "deep"];
    assert_eq!(arrived(&words, ""), (0, ["p/a.rs", "p/src/c.rs"].map(String::from).to_vec()));
    let list = "src/deep/d.rs\ndocs/\na.rs\n";
    let chosen = ["a.rs", "docs/e.md", "src/deep/d.rs"].map(String::from).to_vec();
    // Tops that are files are not directories to remove: into a subdirectory.
    fs::create_dir(place.join("drop/sub")).unwrap();
    fs::write(place.join("list"), list).unwrap();
    for (from, input) in [("list", String::new()), ("-", list.replace('\n', "\0"))] {
        let words = ["send", "p", "--files-from", from, "--to", ":sub", "--overwrite", "always"];
        assert_eq!(ana.run_with(words, &input).code(), 0);
        let files = look(&place.join("drop/sub")).into_iter().filter(|(_, seen)| seen.0 == 'f');
        assert_eq!(files.map(|(path, _)| path.to_str().unwrap().to_owned()).collect::<Vec<_>>(), chosen);
    }
    let gone = ana.run_with(["send", "p", "--files-from", "-", "--to", "#ops"], "a.rs\nlost\n");
    assert!(gone.code() == 10 && gone.err.contains("lost: the list names it"), "{gone:#?}");
    ana.run_with(["send", "p", "--files-from", "-", "--to", ":"], "../x").fails(2, &["not below"]);
    ana.run(["send", "p", "--exclude", "!x", "--to", ":"]).fails(2, &["--include"]);
}

#[test]
fn a_pipe_goes_in_and_comes_out_as_it_was() {
    for transport in ["tcp", "quic"] {
        let (place, _server, ana) = world();
        let ana = ana.over(transport);
        let content = noise(5, 3_000_001);
        let send = |to| {
            let command = ana.command(["send", "-", "--name", "db.sql", "--to", to, "--json"]);
            Program::start(command, Some(&content)).finish()
        };
        let sent = send(":").json();
        assert_eq!((&sent["bytes"], &sent["reference"]), (&3_000_001.into(), &":db.sql".into()));
        assert_eq!(sent["root"], blake3::hash(&content).to_string());
        assert!(fs::read(place.join("drop/db.sql")).unwrap() == content);
        send("#ops").ok();
        let out = ana.command(["get", "#ops:1", "--stdout"]).output().unwrap();
        assert!(out.status.success() && out.stdout == content, "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn a_pipe_that_is_no_file_is_a_mistake_of_usage() {
    let (place, _server, ana) = world();
    place.file("f", b"f");
    ana.run(["send", "-", "--to", ":"]).fails(2, &["--name"]);
    ana.run(["send", "-", "f", "--name", "x", "--to", ":"]).fails(2, &["alone"]);
    ana.run(["send", "f", "--name", "x", "--to", ":"]).fails(2, &["'-'"]);
    place.directory("t");
    ana.run(["send", "t", "--to", "#ops"]).ok();
    ana.run(["get", "#ops:1", "--stdout"]).fails(1, &["is a tree", "--into"]);
}

#[test]
fn whoever_reads_a_pipe_may_go_away() {
    let (place, _server, ana) = world();
    place.file("big", &noise(9, 8 << 20));
    ana.run(["send", "big", "--to", "#ops"]).ok();
    let mut child =
        ana.command(["get", "#ops:1", "--stdout"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_pipe_goes_on_after_the_cable_was_cut() {
    let (place, proxy) = (Place::new(), Proxy::start());
    place.directory("drop");
    let (_server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
    let content = noise(77, 60 << 20);
    proxy.hold_after(40 << 20);
    let command = ana.command(["send", "-", "--name", "stream", "--to", ":", "--json"]);
    let sending = Program::start(command, Some(&content));
    proxy.until_held();
    proxy.cut_after(0);
    proxy.mend();
    assert_eq!(sending.finish().json()["root"], blake3::hash(&content).to_string());
    assert!(fs::read(place.join("drop/stream")).unwrap() == content);
}

#[test]
fn a_flipped_bit_is_reported_with_its_file_and_its_place() {
    let (place, _server, ana) = world();
    let at = place.directory("garden");
    garden(&at);
    let root = ana.run(["send", "garden", "--to", "#ops", "--json"]).json()["root"].clone();
    let root = root.as_str().unwrap();
    place.directory("into");
    ana.run(["get", "#ops:1", "--into", "into"]).ok();
    for words in [
        &["verify", "#ops:1", "into"][..],
        &["verify", "into/garden"],
        &["verify", "garden"],
        &["verify", "garden", "--root", root],
    ] {
        assert!(ana.run(words).ok().starts_with("the same"), "{words:?}");
    }
    let big = place.join("into/garden/deep/er/big");
    let (modified, file) = (
        fs::metadata(&big).unwrap().modified().unwrap(),
        fs::File::options().write(true).open(&big).unwrap(),
    );
    let byte = noise(1, 1_300_000)[777_777];
    file.write_all_at(&[byte ^ 4], 777_777).unwrap();
    file.set_modified(modified).unwrap();
    let said = ["garden/deep/er/big: bytes 777777 to 777777 differ", "1 of "];
    ana.run(["verify", "#ops:1", "into"]).fails(7, &said);
    ana.run(["verify", "into/garden"]).fails(7, &["is not what it was", "hikyaku verify '#ops:1'"]);
    ana.run(["verify", "into/garden", "--root", root]).fails(7, &["is not what it was"]);
    let done = ana.run(["verify", "#ops:1", "into", "--json"]);
    assert_eq!((done.code(), done.objects(&["differs"]).len()), (7, 1));
    check_events(&done);
    file.write_all_at(&[byte], 777_777).unwrap();
    let done = ana.run(["verify", "#ops:1", "into"]);
    assert_eq!(done.code(), 1, "{done:#?}");
    assert!(done.err.contains("content is the same"), "{done:#?}");
    ana.run(["verify", "drop"]).fails(6, &["no receipt", "--root"]);
    // Sent again while most of it is there: an older receipt would say that it is not what it was.
    ana.run(["send", "garden", "--to", ":"]).ok();
    fs::write(at.join("small"), b"other words").unwrap();
    ana.run(["send", "garden", "--to", ":", "--overwrite", "always"]).ok();
    let done = ana.run(["verify", "garden"]);
    assert!(matches!(done.code(), 0 | 6), "{done:#?}");
}

#[test]
fn what_the_server_has_is_verified_too() {
    let (place, _server, ana) = world();
    let content = noise(4, 1 << 20);
    place.file("f", &content);
    ana.run(["send", "f", "--to", "#ops"]).ok();
    let objects = place.join("data/vault/objects");
    let object = objects.join(blake3::hash(&content).to_string());
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options().write(true).open(&object).unwrap();
    file.write_all_at(&[content[300_000] ^ 1], 300_000).unwrap();
    ana.run(["verify", "#ops:1"]).fails(7, &["the server", "damaged", "bytes 262144 to 327679"]);
    let out = ana.command(["get", "#ops:1", "--stdout"]).output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    assert!(out.stdout == content[..out.stdout.len()], "what comes out is verified");
}

#[test]
fn ctrl_c_says_how_to_go_on_and_that_works() {
    let (place, proxy) = (Place::new(), Proxy::start());
    let drop = place.directory("drop");
    let (_server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
    let at = place.directory("it's a tree");
    for file in 0..40 {
        fs::write(at.join(format!("{file}")), noise(file, 1 << 20)).unwrap();
    }
    proxy.hold_after(25 << 20);
    let sending = ana.start(["send", "it's a tree", "--to", ":"]);
    proxy.until_held();
    sending.signal(Signal::INT);
    let done = sending.finish();
    assert_eq!(done.code(), 130);
    let (_, typed) = done.err.split_once("go on with: ").expect("it says how to go on");
    proxy.mend();
    let before = proxy.sent();
    let mut shell = Command::new("bash");
    shell.current_dir(place.path()).env("HIKYAKU_HOME", &ana.path).args(["-c", typed.trim()]);
    let again = Program::start(shell, None).finish();
    again.ok();
    assert_eq!(look(&drop.join("it's a tree")), look(&at));
    let sent = proxy.sent() - before;
    assert!(sent < 40 << 20, "it went on, and did not begin again: {sent}");
}

#[test]
fn ctrl_c_during_a_get_says_how_to_go_on_and_that_works() {
    let (place, proxy) = (Place::new(), Proxy::start());
    let (_server, ana) = server_behind(&place, &proxy, &[]);
    let at = place.directory("t");
    for file in 0..40 {
        fs::write(at.join(format!("{file}")), noise(file, 1 << 20)).unwrap();
    }
    // It comes first, is not made, and that is said at the end, whatever lies between.
    symlink("/etc/hostname", at.join("-out")).unwrap();
    ana.run(["send", "t", "--to", "#ops"]).ok();
    place.directory("into");
    let missing = "t/-out: a symbolic link that leads out";
    let dry = ana.run(["get", "#ops:1", "--into", "into", "--dry-run"]);
    assert!(dry.code() == 0 && dry.err.contains(missing), "{dry:#?}");
    let before = proxy.received();
    // What comes behind that has no credit: it is not whole when the key is pressed, however late that is.
    proxy.deafen_after(18 << 20);
    let getting = ana.start(["get", "#ops:1", "--into", "into", "--limit-rate", "8M"]);
    proxy.until_received(before + (18 << 20));
    getting.signal(Signal::INT);
    let done = getting.finish();
    proxy.mend();
    assert_eq!(done.code(), 130, "{done:#?}");
    let (_, typed) = done.err.split_once("go on with: ").expect("it says how to go on");
    let (mut shell, before) = (Command::new("bash"), proxy.received());
    shell.current_dir(place.path()).env("HIKYAKU_HOME", &ana.path).args(["-c", typed.trim()]);
    let done = Program::start(shell, None).finish();
    assert_eq!(done.code(), 10, "{done:#?}");
    assert!(done.err.contains(missing), "{done:#?}");
    let mut made = look(&at);
    made.remove(Path::new("-out")).unwrap();
    assert_eq!(look(&place.join("into/t")), made);
    let received = proxy.received() - before;
    assert!(received < 38 << 20, "it went on, and did not begin again: {received}");
}

#[test]
fn every_event_is_as_the_schema_says() {
    let (place, _server, ana) = world();
    let at = place.directory("garden");
    garden(&at);
    let done = ana.run(["send", "garden", "--to", "#ops", "--json"]);
    check_events(&done);
    let files = done.objects(&["file"]);
    assert!(files.iter().any(|file| file["path"] == r"garden/\xff\n\u{1b}[2J"), "{files:#?}");
    assert_eq!(
        files.len(),
        look(&at).values().filter(|seen| seen.0 == 'f').count() - 1,
        "a second name is no file"
    );
    place.directory("into");
    let done = ana.run(["get", "#ops:1", "--into", "into", "--json"]);
    check_events(&done);
    assert_eq!(done.objects(&["file"]).len(), files.len());
    place.file("alone", b"alone");
    for words in [
        &["send", "alone", "missing", "--to", "#ops", "--json"][..],
        &["send", "alone", "--to", "#nowhere", "--json"],
        &["get", "#ops:99", "--into", "into", "--json"],
        &["verify", "#ops:1", "into", "--json"],
        &["verify", "garden", "--json"],
        &["verify", "nothing", "--json"],
        &["send", "alone", "--to", ":", "--json", "--limit-rate", "3"],
    ] {
        check_events(&ana.run(words));
    }
}

#[test]
fn what_is_there_already_is_told_beforehand_and_not_sent_again() {
    let place = Place::new();
    let drop = place.directory("drop");
    let (_server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    let at = place.directory("garden");
    garden(&at);
    place.file("alone", b"alone");
    let verdicts = |words: &[&str]| {
        let done = ana.run(words);
        check_events(&done);
        let mut actions: Vec<_> =
            done.objects(&["would"]).iter().map(|would| would["action"].to_string()).collect();
        actions.sort();
        actions.dedup();
        actions
    };
    let dry = ["send", "garden", "alone", "--to", ":", "--dry-run", "--json"];
    assert_eq!(verdicts(&dry), ["\"send\""]);
    assert_eq!(names(&drop), [".hikyaku"], "nothing was made");
    ana.run(["send", "garden", "alone", "--to", ":"]).ok();
    assert_eq!(verdicts(&dry), ["\"keep\""]);
    let again = ana.run(["send", "garden", "--to", ":", "--json"]);
    check_events(&again);
    assert!(again.json()["kept"].as_u64().unwrap() > 5, "{again:#?}");
    // A single file, too; and one that is another one now is replaced when that is asked for.
    assert_eq!(ana.run(["send", "alone", "--to", ":", "--json"]).json()["kept"], 1);
    place.file("alone", b"another");
    assert_eq!(ana.run(["send", "alone", "--to", ":"]).code(), 10, "it is not replaced");
    ana.run(["send", "alone", "--to", ":", "--overwrite", "always"]).ok();
    assert_eq!(fs::read(drop.join("alone")).unwrap(), b"another");
    ana.run(["send", "garden", "--to", "#ops"]).ok();
    place.directory("into");
    let dry = ["get", "#ops:1", "--into", "into", "--dry-run", "--json"];
    assert_eq!(verdicts(&dry), ["\"send\""]);
    ana.run(["get", "#ops:1", "--into", "into"]).ok();
    assert_eq!(verdicts(&dry), ["\"keep\""]);
    let again = ana.run(["get", "#ops:1", "--into", "into", "--json"]);
    check_events(&again);
    assert!(again.json()["kept"].as_u64().unwrap() > 5, "{again:#?}");
}

/// Holds every line to the schema in the documentation, and the summary to the rest.
#[track_caller]
fn check_events(done: &Done) {
    let docs = include_str!("../../../docs/json.md");
    let (_, schema) = docs.split_once("```cddl\n").unwrap();
    let (schema, _) = schema.split_once("```").unwrap();
    assert!(!done.out.is_empty(), "{done:#?}");
    for line in done.out.lines() {
        if let Err(error) = cddl_cat::validate_json_str("event", schema, line) {
            panic!("{line}\n{error:?}");
        }
    }
    let summaries = done.objects(&["summary"]);
    let [summary] = summaries.as_slice() else { panic!("{done:#?}") };
    assert_eq!(summary["exit"], done.code(), "{done:#?}");
    let count = |ty| done.objects(&[ty]).len();
    assert_eq!(summary["done"], count("done") + count("verified"), "{done:#?}");
    assert_eq!(summary["failed"], count("failed"), "{done:#?}");
    assert!(done.out.lines().last().unwrap().contains("\"summary\""), "it comes last");
}
