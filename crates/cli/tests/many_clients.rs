//! One home, many processes at once.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{Place, Server, names, noise, server_with_room};

const AT_ONCE: usize = 20;

#[test]
fn twenty_who_say_something_at_once_are_all_heard_once() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ana = ana.over("auto");
    let saying: Vec<_> = (0..AT_ONCE).map(|n| ana.start(["say", "ops", &format!("message {n}")])).collect();
    let places: BTreeSet<_> =
        saying.into_iter().map(|saying| saying.finish().out_of_success().to_owned()).collect();
    assert_eq!(places.len(), AT_ONCE, "each has a place of its own");
    let said: BTreeSet<_> = ana.texts("ops").into_iter().collect();
    assert_eq!(said, (0..AT_ONCE).map(|n| format!("message {n}")).collect());
    assert_eq!(ana.events("ops").len(), AT_ONCE);
    assert_eq!(ana.run(["status", "--json"]).json()["waiting"], 0);
}

#[test]
fn twenty_who_say_the_same_with_one_key_say_it_once() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let saying: Vec<_> =
        (0..AT_ONCE).map(|_| ana.start(["say", "ops", "deploy", "--key", "deploy-1"])).collect();
    for saying in saying {
        assert_eq!(saying.finish().out_of_success(), "#ops:1");
    }
    assert_eq!(ana.texts("ops"), ["deploy"]);
}

#[test]
fn files_and_words_and_readers_share_a_home() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let following = ana.start(["tail", "ops", "--after", "0", "-f"]);
    let mut running = Vec::new();
    for number in 0..6 {
        let name = format!("file-{number}");
        place.file(&name, &noise(number, 2 << 20));
        running.push(ana.start(["send", &name, "--to", "#ops"]));
        running.push(ana.start(["say", "ops", &format!("about {name}")]));
    }
    for done in running.into_iter().map(common::Program::finish) {
        assert!(done.out_of_success().starts_with("#ops:"));
    }
    // Six times a parcel, its end and a word about it.
    for number in 1..=18 {
        assert!(following.out.next().unwrap().starts_with(&format!("#ops:{number}  ")));
    }
    // The same files at once into one directory: each appears once, whole.
    let into = place.directory("into");
    let parcels: Vec<_> = ana.events("ops").into_iter().filter(|event| event["kind"] == "parcel").collect();
    let getting: Vec<_> = parcels
        .iter()
        .map(|event| ana.start(["get", &format!("#ops:{}", event["seq"]), "--into", "into"]))
        .collect();
    getting.into_iter().for_each(|getting| drop(getting.finish().ok().to_owned()));
    assert_eq!(names(&into), (0..6).map(|number| format!("file-{number}")).collect::<Vec<_>>());
    for number in 0..6 {
        assert_eq!(std::fs::read(into.join(format!("file-{number}"))).unwrap(), noise(number, 2 << 20));
    }
}

#[test]
fn who_join_at_once_with_one_invite_get_in_as_often_as_it_says() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let ana = place.home("ana");
    ana.join(server.invite(), "ana");
    let link = ana.run(["invite", "create", "--uses", "3"]);
    let joining: Vec<_> = (0..8)
        .map(|n| {
            let name = format!("guest-{n}");
            place.home(&name).over("tcp").start(["join", link.ok(), "--name", &name])
        })
        .collect();
    let done: Vec<_> = joining.into_iter().map(common::Program::finish).collect();
    assert_eq!(done.iter().filter(|done| done.code() == 0).count(), 3, "{done:#?}");
    for refused in done.iter().filter(|done| done.code() != 0) {
        refused.fails(4, &["invite", "ask for a new invite"]);
    }
    assert_eq!(ana.run(["user", "list"]).ok().lines().count(), 4);
}
