//! The server's directory in the hands of several people: who may, how much, and what is written down of it; and disks
//! that get full under a transfer.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{Place, dropped, noise, server_with_room};
use rustix::process::Signal;

/// A file system in memory, where this process may make one.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "small"]).arg(&at).output();
        let is_mounted = mounted.is_ok_and(|done| done.status.success());
        if !is_mounted {
            println!("SKIPPED: only root can mount a small file system");
        }
        is_mounted.then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

//= S6.37 (test)
#[test]
fn who_may_put_files_into_the_directory_is_decided_by_its_owner_and_holds_at_once() {
    let place = Place::new();
    let drop = place.join("drop");
    fs::create_dir(&drop).unwrap();
    let (_server, ana) = server_with_room(&place, &["--into", drop.to_str().unwrap()], "ops");
    let bob = place.home("bob").over("tcp");
    let invite = ana.run(["invite", "create"]).ok().to_owned();
    bob.join(invite.lines().next().unwrap(), "bob");
    fs::write(place.join("a"), "one").unwrap();
    let (a, refused) = (place.join("a"), "ask an owner of the server for 'hikyaku user allow bob");
    let send = |more: &[&str]| {
        let fixed = ["send", a.to_str().unwrap(), "--to", ":"];
        bob.run(fixed.into_iter().chain(more.iter().copied()))
    };
    let asked = |done: common::Done, what: &str| {
        assert_eq!(done.code(), 5, "{done:#?}");
        assert!(done.err.contains(&format!("{refused} {what}'")), "{done:#?}");
    };
    asked(send(&[]), "drop");
    assert_eq!(bob.run(["user", "allow", "bob", "drop"]).code(), 5, "nobody allows himself");
    assert_eq!(ana.run(["user", "allow", "@bob", "drop"]).ok(), "bob may: drop");
    send(&[]).ok();
    // He puts files there, replaces none, and is not told what is in them: be it so or not.
    //= S5.68 (test)
    for content in ["one", "two"] {
        fs::write(&a, content).unwrap();
        for more in [&["--checksum"][..], &["--checksum", "--dry-run"]] {
            asked(send(more), "replace");
        }
    }
    fs::write(&a, "another").unwrap();
    asked(send(&["--overwrite", "always"]), "replace");
    assert_eq!(fs::read_to_string(drop.join("a")).unwrap(), "one");
    ana.run(["user", "allow", "bob", "replace"]).ok();
    assert!(send(&["--checksum", "--dry-run"]).ok().starts_with("leave"));
    send(&["--overwrite", "always"]).ok();
    assert!(send(&["--checksum", "--dry-run"]).ok().starts_with("keep"));
    assert_eq!(fs::read_to_string(drop.join("a")).unwrap(), "another");
    assert!(ana.run(["user", "list"]).ok().contains("bob  member, drop, replace"));
    ana.run(["user", "forbid", "bob", "drop"]).ok();
    fs::write(&a, "a third").unwrap();
    asked(send(&[]), "drop");
}

#[test]
fn refusals_that_were_only_counted_are_in_the_record_of_a_server_that_was_stopped() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let refused = 23;
    for _ in 0..refused {
        assert_eq!(ana.run(["get", "#ops:99", "--into", "."]).code(), 6);
    }
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.finish().code(), 0);
    let record = fs::read_to_string(server.data.join("transfers.jsonl")).unwrap();
    let lines: Vec<_> = record.lines().map(common::json).collect();
    let counted = lines.iter().filter(|line| line["type"] == "refused");
    let counted: u64 = counted.map(|line| line["more"].as_u64().unwrap()).sum();
    let own = lines.iter().filter(|line| line["outcome"] == "refused").count() as u64;
    assert_eq!(own + counted, refused, "{record}");
}

//= S5.26 (test)
#[test]
fn both_ends_say_that_a_disk_is_full_and_go_on_by_themselves() {
    let place = Place::new();
    let Some(small) = Small::mount(place.join("drop"), "100m") else { return };
    // Beside the filler and the 64 MiB that a server leaves free there are 12 MiB.
    let filler = small.0.join("filler");
    fs::write(&filler, vec![1; 24 << 20]).unwrap();
    let (_server, ana) = server_with_room(&place, &["--into", small.0.to_str().unwrap()], "ops");
    let tree = place.join("tree");
    fs::create_dir(&tree).unwrap();
    (0..20).for_each(|leaf| fs::write(tree.join(leaf.to_string()), noise(leaf, 1 << 20)).unwrap());
    let sending = ana.start(["send", tree.to_str().unwrap(), "--to", ":", "--json"]);
    let mut said = Vec::new();
    while let Some(line) = sending.out.next() {
        let event = common::json(&line);
        let ty = event["type"].as_str().unwrap().to_owned();
        if ty == "paused" {
            assert_eq!(event["disk"], "receiver");
            assert!(event["needed"].as_u64().unwrap() > 0 && event["left"].as_u64().unwrap() > 0, "{event}");
            assert!(!small.0.join("tree").exists(), "nothing half written has a name");
            fs::remove_file(&filler).unwrap();
        }
        said.push(ty);
    }
    assert_eq!(sending.finish().code(), 0, "{said:?}");
    let of = |what: &str| said.iter().filter(|ty| *ty == what).count();
    assert_eq!((of("paused"), of("resumed"), of("done")), (1, 1, 1), "{said:?}");
    assert_eq!(dropped(&small.0), ["tree"]);
}

//= S5.26 (test)
#[test]
fn without_room_in_time_a_transfer_ends_with_exit_code_8_and_goes_on_later() {
    let place = Place::new();
    let Some(small) = Small::mount(place.join("drop"), "100m") else { return };
    let filler = small.0.join("filler");
    fs::write(&filler, vec![1; 24 << 20]).unwrap();
    let options = ["--into", small.0.to_str().unwrap(), "--pause-timeout", "1s"];
    let (_server, ana) = server_with_room(&place, &options, "ops");
    let tree = place.join("tree");
    fs::create_dir(&tree).unwrap();
    (0..20).for_each(|leaf| fs::write(tree.join(leaf.to_string()), noise(leaf, 1 << 20)).unwrap());
    let send = || ana.run(["send", tree.to_str().unwrap(), "--to", ":"]);
    let done = send();
    assert_eq!(done.code(), 8, "{done:#?}");
    assert!(done.err.contains("paused: the receiver's disk is full,"), "{done:#?}");
    assert!(!small.0.join("tree").exists());
    fs::remove_file(&filler).unwrap();
    send().ok();
    assert_eq!(dropped(&small.0), ["tree"]);
}

#[test]
fn what_becomes_of_every_offer_and_every_request_is_written_down() {
    let place = Place::new();
    let drop = place.join("drop");
    fs::create_dir(&drop).unwrap();
    let (server, ana) = server_with_room(&place, &["--into", drop.to_str().unwrap()], "ops");
    let bob = place.home("bob").over("tcp");
    bob.join(ana.run(["invite", "create"]).ok(), "bob");
    fs::write(place.join("a"), "one").unwrap();
    let a = place.join("a");
    let a = a.to_str().unwrap();
    let sent = ana.run(["send", a, "--to", ":sub", "--json"]).json();
    ana.run(["send", a, "--to", "#ops"]).ok();
    assert_eq!(bob.run(["send", a, "--to", ":"]).code(), 5);
    bob.run(["get", "#ops:1", "--into", &place.directory("got").to_string_lossy()]).ok();
    bob.run(["get", "#ops:7"]).fails(6, &[]);
    let record = fs::read_to_string(server.data.join("transfers.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = record.lines().map(common::json).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            ["outcome", "user", "to", "from", "name"].map(|key| line[key].as_str().unwrap_or("")).join(" ")
        })
        .collect();
    let expected = [
        "accepted ana :sub  a",
        "finished ana :sub  a",
        "accepted ana #ops  a",
        "finished ana #ops  a",
        "refused bob :  a",
        "accepted bob  #ops:1 a",
        "finished bob  #ops:1 a",
        "refused bob  #ops:7 ",
    ];
    assert_eq!(told, expected);
    assert_eq!((&lines[1]["root"], &lines[1]["bytes"]), (&sent["root"], &3.into()));
    assert_eq!(lines[1]["transfer"], lines[0]["transfer"], "the two lines of one transfer");
    assert!(lines.iter().all(|line| line["address"].as_str().unwrap().starts_with("127.")), "{record}");
    assert_eq!((&lines[6]["root"], &lines[6]["sent"]), (&sent["root"], &3.into()));
    assert_eq!(
        ["transfer", "fetch"].map(|kind| lines.iter().filter(|line| line["type"] == kind).count()),
        [5, 3]
    );
    assert!(lines[4]["error"].as_str().unwrap().contains("user allow bob drop"), "{record}");
}

//= S5.77 (test)
#[test]
fn what_one_user_may_have_is_set_by_the_operator_and_told_to_nobody_else() {
    let place = Place::new();
    let drop = place.join("drop");
    fs::create_dir(&drop).unwrap();
    let into = ["--into", drop.to_str().unwrap(), "--user-quota", "1M", "--room-user-quota", "1M"];
    let (server, ana) = server_with_room(&place, &into, "ops");
    let bob = place.home("bob").over("tcp");
    bob.join(ana.run(["invite", "create"]).ok(), "bob");
    ana.run(["room", "create", "own", "--private"]).ok();
    fs::write(place.join("a"), noise(7, 700_000)).unwrap();
    let a = place.join("a");
    let send = |to: &str| ana.run(["send", a.to_str().unwrap(), "--to", to]);
    let data = server.data.to_str().unwrap().to_owned();
    let operator = |more: &[&str]| {
        let fixed = ["quota", "--data", data.as_str()];
        ana.run(fixed.into_iter().chain(more.iter().copied()))
    };
    send("#ops").ok();
    send("#ops").fails(8, &["room_user_quota", "1048576"]);
    let said = operator(&["@ana", "--rooms", "2M"]);
    assert!(said.ok().starts_with("@ana in rooms: 683.59 KiB of 2.00 MiB, set for this user"), "{said:#?}");
    send("#ops").ok();
    send("#ops").fails(8, &["2097152"]);
    send(":1").ok();
    send(":2").fails(8, &["1048576"]);
    operator(&["@ana", "--directory", "none"]).ok();
    send(":2").ok();
    // Hers, as everybody's again.
    operator(&["@ana", "--directory", "default"]).ok();
    send(":3").fails(8, &["1048576"]);
    let own = |home: &common::Home, more: &[&str]| {
        home.run(["quota", "--json"].into_iter().chain(more.iter().copied()))
    };
    let told: Vec<_> = own(&ana, &[]).ok().lines().map(common::json).collect();
    let say =
        |line: &serde_json::Value| ["of", "bytes", "limit", "own"].map(|key| line[key].to_string()).join(" ");
    let expected = ["\"user-in-rooms\" 1400000 2097152 true", "\"user-in-directory\" 1400000 1048576 null"];
    assert_eq!(told.iter().map(say).collect::<Vec<_>>(), expected);
    let room = own(&bob, &["#ops"]);
    assert_eq!(say(&common::json(room.ok())), "\"room\" 1400000 null null");
    // Of others, and of rooms that are not his, he is told nothing.
    assert_eq!(own(&bob, &["@ana"]).code(), 5);
    assert_eq!(own(&bob, &["#own"]).code(), 6);
    bob.run(["quota", "@bob", "--rooms", "2M"]).fails(2, &["--data"]);
    operator(&["#ops", "--rooms", "2M"]).fails(2, &["'@name'"]);
    // Himself he may name, however he writes it, and with the server in front.
    let servers = common::json(bob.run(["server", "list", "--json"]).ok());
    let with_server = format!("{}/@BOB", servers["name"].as_str().unwrap());
    for name in ["@bob", "@BOB", with_server.as_str()] {
        let told = bob.run(["quota", name]);
        assert!(told.ok().starts_with("@bob in rooms: 0 B of 1.00 MiB"), "{told:#?}");
    }
    let all = operator(&["--json"]);
    let all: Vec<_> = all.ok().lines().map(|line| say(&common::json(line))).collect();
    assert!(all.contains(&"\"store\" 700352 null null".to_owned()), "{all:?}");
    assert!(all.contains(&expected[0].to_owned()) && all.contains(&expected[1].to_owned()), "{all:?}");
    operator(&["@nobody", "--rooms", "1M"]).fails(6, &["no user"]);
}
