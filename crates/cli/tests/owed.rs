//! Receipts that are owed: whoever has a parcel says so in the end, whenever it was interrupted. And three people at one
//! computer, as somebody would try it first.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Home, PATIENCE, Place, Program, Proxy, json, names, noise, server_behind, server_with_room};

const SIZE: usize = 8 << 20;

/// How long a file may stand still before it is fetched anew.
const STILL: Duration = Duration::from_secs(20);

/// Waits until it is so in a directory; whether that came.
fn comes(directory: &Path, patience: Duration, is: impl Fn(&[String]) -> bool) -> bool {
    let begun = Instant::now();
    while !is(&names(directory)) {
        if begun.elapsed() > patience {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn is_left(names: &[String]) -> bool {
    names.iter().any(|name| name.starts_with(".hikyaku-"))
}

/// A server behind a cable, its owner beside it, and somebody at the other end with a directory.
struct World {
    place: Place,
    proxy: Proxy,
    ana: Home,
    ben: Home,
    _server: common::Server,
}

impl World {
    fn new() -> Self {
        let (place, proxy) = (Place::new(), Proxy::start());
        let (_server, ana) = server_behind(&place, &proxy, &[]);
        let ben = place.home("ben").over("tcp");
        ben.join(ana.run(["invite", "create"]).ok(), "ben");
        place.directory("into");
        place.file("big.iso", &noise(5, SIZE));
        Self { place, proxy, ana, ben, _server }
    }

    fn receive(&self) -> Program {
        self.ben.start(["receive", "--into", "into", "--accept", "all", "--earlier", "--json"])
    }

    fn hands(&self, reference: &str) -> usize {
        self.ana.run(["receipts", reference, "--json"]).ok().lines().count()
    }

    /// Whoever receives has given the file its name, and the server has heard nothing of it since so many bytes had passed.
    ///
    /// What comes behind those needs credit that was given before. Where everything is slow that may have been too little:
    /// then nothing moves, and it begins anew.
    fn unheard(&self, bytes: usize, begin: impl Fn() -> Program) -> Program {
        let into = self.place.join("into");
        for _ in 0..8 {
            self.proxy.deafen_after(bytes as u64);
            let mut receiving = begin();
            if comes(&into, STILL, |names| names.iter().any(|name| name == "big.iso")) {
                return receiving;
            }
            receiving.kill();
            self.proxy.mend();
            names(&into).iter().for_each(|name| std::fs::remove_file(into.join(name)).unwrap());
        }
        panic!("it never had credit for what was left");
    }

    fn nothing_is_left(&self) {
        assert_eq!(names(&self.place.join("into")), ["big.iso"]);
        assert!(
            std::fs::read(self.place.join("into/big.iso")).unwrap()
                == std::fs::read(self.place.join("big.iso")).unwrap()
        );
    }
}

//= S5.90 (test)
#[test]
fn who_is_killed_between_the_name_and_the_receipt_gives_it_when_the_same_is_fetched_again() {
    let world = World::new();
    world.ana.run(["send", "big.iso", "--to", "#ops"]).ok();
    let mut getting = world.unheard(SIZE / 2, || world.ben.start(["get", "#ops:1", "--into", "into"]));
    getting.kill();
    world.proxy.mend();
    assert_eq!(world.hands("#ops:1"), 0, "the server has not heard of it");
    let before = world.proxy.received();
    world.ben.run(["get", "#ops:1", "--into", "into"]).ok();
    assert!(world.proxy.received() - before < SIZE as u64 / 4, "it does not come again");
    assert_eq!(world.hands("#ops:1"), 1);
    world.nothing_is_left();
    // A file that is there, and that nobody has just fetched, is no reason for another one.
    let again = world.ben.run(["get", "#ops:1", "--into", "into"]);
    assert!(again.ok().contains("not fetched: it is there"), "{again:#?}");
}

//= S5.90 (test)
#[test]
fn a_receiver_that_is_killed_between_the_name_and_the_receipt_gives_it_at_its_next_start() {
    let world = World::new();
    let sent = world.ana.run(["send", "big.iso", "--to", "@ben", "--json"]).json();
    let reference = sent["reference"].as_str().unwrap();
    let mut receiver = world.unheard(SIZE / 2, || world.receive());
    receiver.kill();
    world.proxy.mend();
    assert_eq!(world.hands(reference), 0, "the server has not heard of it");
    let before = world.proxy.received();
    let receiver = world.receive();
    let received = json(&receiver.out.next().unwrap());
    assert!(
        received["path"].as_str().unwrap().ends_with("big.iso") && received["error"].is_null(),
        "{received}"
    );
    assert!(world.proxy.received() - before < SIZE as u64 / 4, "it does not come again");
    assert_eq!(world.hands(reference), 1);
    drop(receiver);
    world.nothing_is_left();
}

/// Signed, kept by the computer, and not given: the next start of anything that fetches gives it.
#[test]
fn a_receipt_that_was_signed_and_not_given_is_given_by_the_next_who_receives() {
    let world = World::new();
    // Long enough that the answer to who receives, which is asked for at the beginning, has come.
    world.place.file("big.iso", &noise(5, 4 * SIZE));
    world.ana.run(["send", "big.iso", "--to", "#ops"]).ok();
    let mut getting = world.unheard(SIZE / 8 * 31, || world.ben.start(["get", "#ops:1", "--into", "into"]));
    // What tells that it has its place goes when the receipt is kept.
    assert!(comes(&world.place.join("into"), PATIENCE, |names| !is_left(names)));
    getting.kill();
    world.proxy.mend();
    assert_eq!(world.hands("#ops:1"), 0, "the server has not heard of it");
    let receiver = world.receive();
    receiver.err.until(|line| line.contains("receiving into"));
    assert_eq!(world.hands("#ops:1"), 1);
    drop(receiver);
    world.nothing_is_left();
}

#[test]
fn three_people_at_one_computer_drop_a_folder_in_a_room_and_send_each_other_files() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "lab");
    let [ben, eva] = ["ben", "eva"].map(|name| {
        let home = place.home(name);
        home.join(ana.run(["invite", "create"]).ok(), name);
        home.run(["room", "join", "lab"]).ok();
        place.directory(&format!("{name}-has"));
        home
    });
    place.directory("dataset");
    for (name, size) in [("a", 10), ("b", 300_000), ("c", 0)] {
        place.file(&format!("dataset/{name}"), &noise(size as u64, size));
    }
    // One receives while it is sent, the other later.
    let sending = ana.start(["send", "dataset", "--to", "#lab", "--limit-rate", "200K", "--json"]);
    let card = ben.start(["tail", "lab", "-f", "--json", "--after", "0"]);
    let parcel = json(&card.out.until(|line| json(line)["kind"] == "parcel"));
    let reference = format!("#lab:{}", parcel["seq"]);
    let getting = ben.start(["get", &reference, "--into", "ben-has", "--json"]);
    let sent = sending.finish();
    let (sent, got) = (sent.json(), getting.finish().json());
    assert_eq!((&sent["root"], &sent["reference"]), (&got["root"], &reference.clone().into()));
    eva.run(["get", &reference, "--into", "eva-has"]).ok();
    for has in ["ben-has", "eva-has"] {
        for (name, size) in [("a", 10), ("b", 300_000), ("c", 0)] {
            let there = std::fs::read(place.join(has).join("dataset").join(name)).unwrap();
            assert!(there == noise(size as u64, size), "{has}: {name}");
        }
    }
    let told = ana.run(["receipts", &reference]);
    assert!(told.ok().contains("in 2 of 2 hands"), "{told:#?}");
    // To each other, and to nobody else.
    place.file("note", b"for eva");
    ben.run(["send", "note", "--to", "@eva"]).ok();
    let receiver = eva.start(["receive", "--into", "eva-has", "--accept", "all", "--earlier", "--json"]);
    let received = json(&receiver.out.next().unwrap());
    assert_eq!((&received["from"], &received["reference"]), (&"ben".into(), &"@ben:1".into()), "{received}");
    assert_eq!(std::fs::read(place.join("eva-has/note")).unwrap(), b"for eva");
    ana.run(["get", "@ben:1", "--into", "."]).fails(6, &[]);
}
