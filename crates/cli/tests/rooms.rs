//! What people do in rooms besides talking, typed as they type it.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Home, Place, Server, json, server_with_room};

/// A server with the room `ops`, its owner ana, and ben.
fn two_people(place: &Place) -> (Server, Home, Home) {
    let (server, ana) = server_with_room(place, &[], "ops");
    let ben = place.home("ben").over("quic");
    ben.join(ana.run(["invite", "create"]).ok(), "ben");
    (server, ana, ben)
}

/// What is shown of a room, without places and times.
#[track_caller]
fn lines(home: &Home, room: &str) -> Vec<String> {
    let done = home.run(["tail", room, "--after", "0"]);
    done.ok().lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line)[10..].to_owned()).collect()
}

#[test]
fn what_was_said_is_edited_answered_reacted_to_and_deleted() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    ana.run(["say", "ops", "deploy at 9"]).ok();
    ana.run(["say", "ops", "a secret"]).ok();
    assert_eq!(ana.run(["say", "ops", "deploy at 10", "--edit", "1"]).ok(), "#ops:3");
    assert_eq!(ben.run(["say", "ops", "fine", "--reply-to", "1"]).ok(), "#ops:4");
    ben.run(["say", "ops", "\u{1f44d}", "--react", "1"]).ok();
    ana.run(["say", "ops", "\u{1f44d}", "--react", "1.1"]).ok();
    ben.run(["say", "ops", "meh", "--react", "4"]).ok();
    ben.run(["say", "ops", "meh", "--unreact", "4"]).ok();
    ben.run(["say", "ops", "mine now", "--edit", "1"]).fails(5, &["may not edit what others wrote"]);
    ben.run(["say", "ops", "--delete", "2"]).fails(5, &["may not delete what others wrote"]);
    // A retried deletion is one deletion.
    for _ in 0..2 {
        assert_eq!(ana.run(["say", "ops", "--delete", "2", "--key", "gone"]).ok(), "#ops:9");
    }
    ana.run(["say", "ops", "late", "--reply-to", "2"]).fails(6, &["event 2 was deleted"]);
    ana.run(["say", "ops", "late", "--reply-to", "99"]).fails(6, &["event 99 does not exist"]);
    ana.run(["say", "ops", "late", "--reply-to", "2.1"]).fails(1, &["rewound"]);

    assert_eq!(
        lines(&ben, "ops"),
        ["ana: deploy at 10 (edited) [\u{1f44d} ben, ana]", "ana: (deleted by ana)", "ben (to #ops:1): fine"]
    );
    // What only the last events say is said in words when the events they are about are not shown.
    let newest = ben.run(["tail", "ops", "-n", "2"]);
    assert!(newest.ok().contains("ben takes back from #ops:4: meh"), "{newest:?}");
    assert!(newest.out.contains("ana deletes #ops:2"), "{newest:?}");

    let events = ben.events("ops");
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let expected =
        ["message", "message", "edit", "reply", "reaction", "reaction", "reaction", "unreact", "delete"];
    assert_eq!(kinds, expected);
    assert_eq!(events[0]["text"], "deploy at 9", "raw: an edit is an event of its own");
    assert_eq!((&events[1]["deleted"], &events[1]["text"]), (&true.into(), &serde_json::Value::Null));
    let chains: Vec<_> = events.iter().map(|event| event["chain"].as_str().unwrap().to_owned()).collect();
    let again: Vec<_> = ana
        .run(["tail", "ops", "-n", "4", "--json"])
        .ok()
        .lines()
        .map(|line| json(line)["chain"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(again, chains[5..], "the chain is the same from wherever one reads");
}

#[test]
fn a_deleted_text_is_nowhere_in_the_servers_files() {
    let place = Place::new();
    let (mut server, ana, _) = two_people(&place);
    ana.run(["say", "ops", "xyzzy-first"]).ok();
    ana.run(["say", "ops", "xyzzy-second", "--edit", "1"]).ok();
    ana.run(["say", "ops", "--delete", "1"]).ok();
    server.kill();
    for entry in std::fs::read_dir(&server.data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(5).any(|window| window == b"xyzzy"), "{}", path.display());
        }
    }
}

#[test]
fn kinds_and_texts_of_a_hostile_peer_do_nothing_to_a_terminal() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let bad = "a\u{1b}[2J\u{202e}b\nana: forged";
    ben.run(["say", "ops", bad]).ok();
    ben.run(["say", "ops", bad, "--edit", "1"]).ok();
    ben.run(["say", "ops", "\u{202e}x", "--react", "1"]).ok();
    for done in
        [ana.run(["tail", "ops"]), ana.run(["tail", "ops", "-n", "2"]), ana.run(["tail", "ops", "--json"])]
    {
        assert!(!done.ok().contains(['\u{1b}', '\u{202e}']), "{done:?}");
        assert!(!done.out.lines().any(|line| line.starts_with("ana: forged")), "{done:?}");
    }
}
