//! A parcel that is fetched while it is sent, as a person does it: processes that come, die and come back.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::Write as _;

use common::{Home, Place, Program, Proxy, Server, json, names, noise, server_behind, server_with_room};

const SIZE: u64 = 24 << 20;

/// A server, and somebody who sends to it through a cable that can be held, as nobody else does.
fn world(place: &Place) -> (Server, Home, Proxy) {
    let proxy = Proxy::start();
    let (server, ana) = server_behind(place, &proxy, &[]);
    (server, ana, proxy)
}

/// Somebody who has joined, and fetches.
fn member(place: &Place, (server, ana, proxy): (&Server, &Home, &Proxy), name: &str) -> Home {
    let home = place.home(name).over("tcp");
    let link = ana.run(["invite", "create"]);
    let direct = link.ok().replace(&proxy.address(), &server.address.to_string());
    assert_ne!(direct, link.ok());
    home.join(&direct, name);
    place.directory(&format!("{name}-has"));
    home
}

fn get(home: &Home, name: &str) -> Program {
    home.start(["get", "#ops:1", "--into", &format!("{name}-has"), "--json"])
}

/// Waits until it has so many bytes; says what it was told of the sender.
fn until_it_has(program: &Program, bytes: u64) -> serde_json::Value {
    loop {
        let line = program.out.next().expect("it is not over yet");
        let object = json(&line);
        if object["type"] == "progress" && object["bytes"].as_u64() >= Some(bytes) {
            return object;
        }
    }
}

fn published(place: &Place, name: &str) -> Vec<String> {
    let all = names(&place.join(format!("{name}-has")));
    all.into_iter().filter(|name| !name.starts_with(".hikyaku")).collect()
}

#[test]
fn members_receive_while_the_sender_sends_dies_and_comes_back_and_the_server_too() {
    let place = Place::new();
    let (mut server, ana, proxy) = world(&place);
    let homes = ["bob", "eva"].map(|name| (name, member(&place, (&server, &ana, &proxy), name)));
    let content = noise(SIZE, usize::try_from(SIZE).unwrap());
    place.file("big.iso", &content);
    proxy.hold_after(8 << 20);
    let mut sending = ana.start(["send", "big.iso", "--to", "#ops"]);
    proxy.until_held();
    let getting = homes.each_ref().map(|(name, home)| get(home, name));
    for program in &getting {
        let told = until_it_has(program, 1 << 20);
        assert_eq!(told["sending"], true, "{told}");
    }
    sending.kill();
    server.kill();
    proxy.mend();
    server.restart();
    for (name, _) in &homes {
        assert_eq!(published(&place, name), [""; 0], "no final name before the end");
    }
    let sent = ana.run(["send", "big.iso", "--to", "#ops", "--json"]).json();
    for (program, (name, _)) in getting.into_iter().zip(&homes) {
        let got = program.finish().json();
        assert_eq!((&got["root"], &got["bytes"]), (&sent["root"], &SIZE.into()));
        assert_eq!(names(&place.join(format!("{name}-has"))), ["big.iso"]);
        assert!(std::fs::read(place.join(format!("{name}-has/big.iso"))).unwrap() == content);
    }
}

#[test]
fn a_log_is_followed_by_members_while_it_is_written_and_replayed_by_those_who_come_late() {
    let place = Place::new();
    let (server, ana, proxy) = world(&place);
    let bob = member(&place, (&server, &ana, &proxy), "bob");
    let (sending, mut log) = Program::talk(ana.command(["send", "-", "--to", "#ops", "--name", "x.log"]));
    log.write_all(b"begun\n").unwrap();
    // Announced with its first byte, or before it: whoever follows the room sees the card.
    let card = bob.start(["tail", "ops", "-f", "--json", "--after", "0"]);
    card.out.until(|line| json(line)["kind"] == "parcel");
    let following = bob.start(["get", "#ops:1", "--stdout", "--follow"]);
    following.out.until(|line| line == "begun");
    for line in ["one", "two", "three"] {
        writeln!(log, "{line}").unwrap();
        assert_eq!(following.out.next().as_deref(), Some(line));
    }
    let late = bob.run(["get", "#ops:1", "--stdout"]);
    assert_eq!((late.code(), late.out.as_str()), (10, "begun\none\ntwo\nthree\n"));
    assert!(late.err.contains("still being sent") && late.err.contains("--follow"), "{}", late.err);
    let later = bob.run(["get", "#ops:1", "--stdout", "--from", "6"]);
    assert_eq!((later.code(), later.out.as_str()), (10, "one\ntwo\nthree\n"));
    writeln!(log, "ended").unwrap();
    drop(log);
    sending.finish().ok();
    let followed = following.finish();
    assert_eq!((followed.code(), followed.out.as_str()), (0, "begun\none\ntwo\nthree\nended\n"));
    assert!(followed.err.contains("provisional"), "{}", followed.err);
    assert_eq!(bob.run(["get", "#ops:1", "--stdout", "--from", "10"]).ok(), "two\nthree\nended");
}

#[test]
fn a_tree_in_a_room_is_listed_and_fetched_in_part() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    for (path, content) in
        [("set/a/one", "1"), ("set/a/two", "22"), ("set/b/three", "333"), ("set/four", "4444")]
    {
        let path = place.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    ana.run(["send", "set", "--to", "#ops"]).ok();
    let listed = ana.run(["get", "#ops:1", "--list"]);
    let paths: Vec<_> = listed.ok().lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["set/a/one", "set/a/two", "set/b/three", "set/four"]);
    let listed = ana.run(["get", "#ops:1", "--list", "--json", "--only", "set/a"]);
    let sizes: Vec<_> = listed.objects(&["entry"]).iter().map(|entry| entry["bytes"].as_u64()).collect();
    assert_eq!(sizes, [Some(1), Some(2)]);
    place.directory("part");
    let part = ana.run(["get", "#ops:1", "--into", "part", "--only", "set/a/two", "set/b"]);
    assert_eq!(part.code(), 0, "{part:#?}");
    assert_eq!(std::fs::read(place.join("part/set/a/two")).unwrap(), b"22");
    assert_eq!(std::fs::read(place.join("part/set/b/three")).unwrap(), b"333");
    assert!(!place.join("part/set/a/one").exists() && !place.join("part/set/four").exists());
    let none = ana.run(["get", "#ops:1", "--into", "part", "--only", "set/c"]);
    assert_eq!(none.code(), 6, "{none:#?}");
    assert!(none.err.contains("set/c is not in") && none.err.contains("--list"), "{}", none.err);
}

//= S5.88 (test)
#[test]
fn what_is_known_so_far_of_a_tree_that_is_still_being_sent_is_listed_and_said_to_be_so() {
    let place = Place::new();
    let (server, ana, proxy) = world(&place);
    let bob = member(&place, (&server, &ana, &proxy), "bob");
    place.directory("set");
    std::fs::create_dir(place.join("set/a")).unwrap();
    for (path, length) in [("set/a/one", 1), ("set/a/two", 70_000), ("set/big", 6 << 20), ("set/last", 3)] {
        place.file(path, &noise(length as u64, length));
    }
    proxy.hold_after(3 << 20);
    let mut sending = ana.start(["send", "set", "--to", "#ops"]);
    proxy.until_held();
    // The server writes what it has taken a moment later.
    let listed = loop {
        let listed = bob.run(["get", "#ops:1", "--list"]);
        assert_eq!(listed.code(), 10, "{listed:#?}");
        assert!(
            listed.err.contains("#ops:1 is still being sent: this is what is known so far"),
            "{listed:#?}"
        );
        if listed.out.contains("set/big") {
            break listed;
        }
    };
    assert_eq!(listed.out, "set/a/one  1 B\nset/a/two  68.36 KiB\nset/big  6.00 MiB\n", "{listed:#?}");
    let part = bob.run(["get", "#ops:1", "--into", "bob-has", "--only", "set/a"]);
    part.fails(10, &["of what --only names, 2 files (68.36 KiB) are known so far", "when it is whole"]);
    // Its sender is gone, and what was there is there still.
    sending.kill();
    proxy.mend();
    let listed = bob.run(["get", "#ops:1", "--list", "--json", "--only", "set/a"]);
    assert_eq!((listed.code(), listed.objects(&["entry"]).len()), (10, 2), "{listed:#?}");
    ana.run(["send", "set", "--to", "#ops"]).ok();
    assert_eq!(bob.run(["get", "#ops:1", "--list"]).ok().lines().count(), 4);
    bob.run(["get", "#ops:1", "--into", "bob-has", "--only", "set/a"]).ok();
    assert_eq!(names(&place.join("bob-has/set")), ["a"]);
}
