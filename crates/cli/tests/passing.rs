//! A parcel that is fetched while it is sent, as a person does it: processes that come, die and come back.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Home, Place, Program, json, names, noise, server_with_room};

const SIZE: u64 = 24 << 20;

/// Somebody who has joined, and fetches.
fn member(place: &Place, ana: &Home, name: &str) -> Home {
    let home = place.home(name).over("tcp");
    home.join(ana.run(["invite", "create"]).ok().trim(), name);
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
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    let homes = ["bob", "eva"].map(|name| (name, member(&place, &ana, name)));
    let content = noise(SIZE, usize::try_from(SIZE).unwrap());
    place.file("big.iso", &content);
    let mut sending = ana.start(["send", "big.iso", "--to", "#ops", "--limit-rate", "1M", "--json"]);
    sending.out.until(|line| json(line)["type"] == "progress" && json(line)["bytes"].as_u64() > Some(0));
    let getting = homes.each_ref().map(|(name, home)| get(home, name));
    for program in &getting {
        let told = until_it_has(program, 1 << 20);
        assert_eq!(told["sending"], true, "{told}");
    }
    sending.kill();
    server.kill();
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
