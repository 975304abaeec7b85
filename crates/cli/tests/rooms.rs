//! What people do in rooms besides talking, typed as they type it.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Home, Place, Program, Server, json, server_with_room};

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

#[test]
fn a_private_room_is_for_those_who_were_invited_and_nobody_else_knows_of_it() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    assert_eq!(ana.run(["room", "create", "den", "--private", "--topic", "cake"]).ok(), "#den");
    assert!(!ben.run(["room", "list"]).ok().contains("den"));
    ben.run(["say", "den", "hello"]).fails(6, &["no such room"]);
    ben.run(["tail", "den"]).fails(6, &["no such room"]);
    ben.run(["room", "join", "den"]).fails(6, &["no such room"]);
    ana.run(["room", "invite", "den", "@nobody"]).fails(6, &["no user 'nobody'"]);
    assert_eq!(ana.run(["room", "invite", "den", "@ben"]).ok(), "#den:2");
    assert!(ben.run(["room", "list"]).ok().contains("private, you are invited"));
    ben.run(["tail", "den"]).fails(5, &["before you have joined it"]);
    ben.run(["room", "join", "den"]).ok();
    ben.run(["say", "den", "hello"]).ok();
    assert_eq!(lines(&ben, "den"), ["ana: [topic] cake", "ana invites ben", "ben joins", "ben: hello"]);
    let members = ana.run(["room", "members", "den"]);
    assert!(members.ok().contains("ana  owner") && members.out.contains("ben  member"), "{members:?}");
    ben.run(["room", "topic", "den", "pie"]).fails(5, &["its moderators may"]);
    ana.run(["room", "role", "den", "@ben", "moderator"]).ok();
    ben.run(["room", "topic", "den", "pie"]).ok();
    assert_eq!(ana.run(["room", "topic", "den"]).ok(), "pie");
    ana.run(["room", "leave", "den"]).fails(1, &["needs an owner"]);

    // Sent away while reading: it is over, and nothing that follows is seen.
    let reader = ben.start(["tail", "den", "-f", "--after", "6", "--json"]);
    ana.run(["say", "den", "last words"]).ok();
    assert_eq!(json(&reader.out.next().unwrap())["text"], "last words");
    ana.run(["room", "remove", "den", "@ben"]).ok();
    ana.run(["say", "den", "about ben"]).ok();
    let done = reader.finish();
    assert_eq!(done.code(), 6, "{done:?}");
    assert!(!done.out.contains("about ben"), "{done:?}");
    ben.run(["tail", "den"]).fails(6, &["no such room"]);
}

#[test]
fn unread_events_and_mentions_are_counted_on_every_device() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let phone = place.home("phone").over("tcp");
    phone.run_with(["join", "-", "--device", "phone"], ben.run(["device", "add"]).ok()).ok();
    ana.run(["say", "ops", "hello"]).ok();
    ana.run(["say", "ops", "deploy, @ben?"]).ok();
    ana.run(["say", "ops", "@bernard is somebody else"]).ok();
    let counts = |home: &Home| {
        let status = home.run(["status", "--json"]).json();
        (status["unread"].as_u64().unwrap(), status["mentions"].as_u64().unwrap())
    };
    assert_eq!((counts(&ben), counts(&phone)), ((3, 1), (3, 1)));
    assert!(ben.run(["room", "list"]).ok().contains("3 unread (1 for you)"));
    assert_eq!(ben.run(["room", "read", "ops", "1"]).ok(), "#ops: 2 unread");
    assert_eq!(counts(&phone), (2, 1));
    // Whoever looks at the room has read it.
    assert_eq!(phone.run_with(["chat", "ops"], "on it\n").code(), 0);
    assert_eq!(counts(&ben).1, 0);
    assert!(counts(&ben).0 <= 1, "at most one's own line");
    assert_eq!(ben.run(["room", "read", "ops"]).ok(), "#ops: 0 unread");
    assert_eq!((counts(&ben), counts(&phone)), ((0, 0), (0, 0)));
}

#[test]
fn what_is_pinned_is_found_and_what_is_old_goes() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    for number in 1..=10 {
        ana.run(["say", "ops", &format!("message {number}")]).ok();
    }
    let chain = ana.events("ops")[5]["chain"].clone();
    ben.run(["room", "pin", "ops", "9"]).fails(5, &["its moderators may"]);
    ana.run(["room", "pin", "ops", "9"]).ok();
    ana.run(["room", "pin", "ops", "2"]).ok();
    let pins = ben.run(["room", "pins", "ops"]);
    assert_eq!(pins.ok().lines().count(), 2, "{pins:?}");
    ben.run(["room", "trim", "ops", "--through", "5"]).fails(5, &["its owners may"]);
    assert_eq!(ana.run(["room", "trim", "ops", "--through", "5"]).ok(), "#ops begins with event 6");
    assert!(ben.run(["room", "pins", "ops"]).ok().ends_with("ana: message 9"));
    let tail = ben.run(["tail", "ops", "--after", "0", "--json"]);
    assert_eq!(tail.code(), 0);
    assert!(tail.err.contains("events 1 to 5 are gone"), "{tail:?}");
    let first = json(tail.out.lines().next().unwrap());
    assert_eq!((&first["seq"], &first["chain"]), (&6.into(), &chain), "the chain goes on");
    ana.run(["say", "ops", "late", "--reply-to", "3"]).fails(1, &["removed by retention"]);
    assert_eq!(ana.run(["room", "retention", "ops"]).ok(), "#ops keeps everything");
    let kept = ana.run(["room", "retention", "ops", "--events", "3", "--age", "90d"]);
    assert_eq!(kept.ok(), "#ops keeps the newest 3 events, none older than 90 days");
    assert_eq!(ben.run(["tail", "ops", "-n", "9", "--json"]).ok().lines().count(), 3);
    assert_eq!(ana.run(["room", "retention", "ops", "--forever"]).ok(), "#ops keeps everything");
}

#[test]
fn copies_of_what_was_said_go_with_what_is_deleted_trimmed_or_replaced() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    for number in 1..=6 {
        ana.run(["say", "ops", &format!("xyzzy {number}")]).ok();
    }
    ana.run(["say", "ops", "xyzzy again", "--edit", "3"]).ok();
    assert_eq!(ben.events("ops").len(), 7, "copies of everything are here now");
    let copies = |home: &Home| {
        let server = std::fs::read_dir(home.path.join("servers")).unwrap().next().unwrap().unwrap();
        let store = hikyaku_sqlite::client::ClientStore::open(server.path()).unwrap();
        let room = store.room("ops").unwrap();
        let ranges = room.map_or(Vec::new(), |room| store.ranges(room.room, 1).unwrap());
        ranges.iter().map(|range| range.end() - range.start() + 1).sum::<u64>()
    };
    assert_eq!(copies(&ben), 7);
    ana.run(["say", "ops", "--delete", "3"]).ok();
    // Only the newest are asked for; the copies of what was deleted go all the same.
    ben.run(["tail", "ops", "-n", "1"]).ok();
    assert_eq!(copies(&ben), 2 + 1);
    let events = ben.events("ops");
    assert_eq!(events.len(), 8);
    assert_eq!((&events[2]["deleted"], &events[6]["deleted"]), (&true.into(), &true.into()));
    assert_eq!(events[3]["text"], "xyzzy 4");
    assert_eq!(ben.events("ops"), ana.events("ops"), "and so are the chains");
    ana.run(["room", "trim", "ops", "--through", "4"]).ok();
    ben.run(["tail", "ops", "-n", "1"]).ok();
    assert_eq!(copies(&ben), 4);
}

#[test]
fn who_talks_in_a_room_is_seen_there_over_either_transport_until_they_leave() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let nobody = ana.run(["who", "ops"]);
    assert_eq!((nobody.code(), nobody.out.as_str()), (0, ""), "{nobody:?}");
    assert!(nobody.err.contains("nobody looks at #ops now"), "{nobody:?}");
    let here = |names: &[&str]| loop {
        let who = ana.run(["who", "ops", "--json"]).json();
        let seen: Vec<_> = who["here"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(who["count"], seen.len(), "{who}");
        if seen.iter().all(|name| names.iter().any(|wanted| name == wanted)) && seen.len() == names.len() {
            return;
        }
    };
    for transport in ["tcp", "quic"] {
        let ben = ben.clone().over(transport);
        let (talking, typed) = Program::talk(ben.command(["chat", "ops"]));
        talking.out.until(|line| line.contains("Ctrl-D leaves"));
        here(&["ben"]);
        assert_eq!(ana.run(["who", "ops"]).ok(), "ben");
        drop(typed);
        assert_eq!(talking.finish().code(), 0);
        here(&[]);
    }
    let (unseen, typed) = Program::talk(ben.command(["chat", "ops", "--unseen"]));
    unseen.out.until(|line| line.contains("Ctrl-D leaves"));
    ana.run(["say", "ops", "hello"]).ok();
    unseen.out.until(|line| line.contains("ana: hello"));
    here(&[]);
    drop(typed);
    ana.run(["who", "nowhere"]).fails(6, &["no such room"]);
}

#[test]
fn two_people_talk_and_send_to_each_other_and_nobody_else_knows() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let eve = place.home("eve").over("tcp");
    eve.join(ana.run(["invite", "create"]).ok(), "eve");
    assert_eq!(ana.run(["say", "@ben", "lunch?"]).ok(), "@ben:1");
    assert_eq!(ben.run(["say", "@ana", "in ten minutes"]).ok(), "@ana:2");
    assert_eq!(lines(&ben, "@ana"), ["ana: lunch?", "ben: in ten minutes"]);
    assert!(ben.run(["room", "list"]).ok().contains("@ana  2 events"));
    let file = place.file("menu.txt", b"soup");
    let sent = ana.run(["send", file.to_str().unwrap(), "--to", "@ben"]);
    assert!(sent.ok().starts_with("@ben:3"), "as it was asked for: {sent:?}");
    let into = place.directory("into");
    ben.run(["get", "@ana:3", "--into", into.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read(into.join("menu.txt")).unwrap(), b"soup");
    ben.run(["get", "@ana+ben:3", "--into", place.directory("again").to_str().unwrap()]).ok();
    for what in [vec!["tail", "@ana+ben"], vec!["say", "@ana+ben", "x"], vec!["get", "@ana+ben:3"]] {
        eve.run(what).fails(6, &["no such room"]);
    }
    assert!(!eve.run(["room", "list"]).ok().contains('@'));
    ana.run(["say", "@nobody", "x"]).fails(6, &["no such user"]);
    ana.run(["say", "@ana", "x"]).fails(1, &["a direct room is for two"]);
    ana.run(["say", "@ben/laptop", "x"]).fails(2, &["one device of a person"]);
    ben.run(["room", "invite", "@ana", "@eve"]).fails(5, &["it is the two of you"]);
}

#[test]
fn whoever_receives_gets_what_comes_once_however_often_they_begin_again() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let eve = place.home("eve").over("tcp");
    eve.join(ana.run(["invite", "create"]).ok(), "eve");
    let into = place.directory("into");
    let receive = |options: &[&str]| {
        let fixed = ["receive", "--json", "--into", into.to_str().unwrap()];
        ben.start(fixed.iter().chain(options).map(ToString::to_string).collect::<Vec<_>>())
    };
    let send = |from: &Home, name: &str| {
        let file = place.file(name, name.as_bytes());
        from.run(["send", file.to_str().unwrap(), "--to", "@ben"]).ok();
    };
    let next = |receiver: &Program| json(&receiver.out.next().unwrap());

    send(&ana, "before");
    let mut receiver = receive(&["--accept", "all", "--from", "@ana"]);
    receiver.err.until(|line| line.contains("receiving into"));
    // Only what comes from then on, and only from her: the first thing that is said of the room shows that it is looked at.
    send(&eve, "unwanted");
    send(&ana, "one");
    let one = next(&receiver);
    assert_eq!((&one["from"], &one["bytes"]), (&"ana".into(), &3.into()), "{one}");
    receiver.kill();
    send(&ana, "two");
    let receiver = receive(&["--accept", "known"]);
    let mut after = next(&receiver);
    if after["reference"] == one["reference"] {
        // It ended between saying so and remembering it: then it says so again, of the same file.
        after = next(&receiver);
    }
    assert_eq!(after["path"], into.join("two").to_str().unwrap(), "it goes on where it was");
    let left = |line: &str| {
        line.contains("left: unwanted (8 B), here from eve") && line.contains("hikyaku get @eve:1")
    };
    receiver.err.until(left);
    drop(receiver);
    let mut names: Vec<_> = std::fs::read_dir(&into)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    ben.run(["receive", "--into", into.to_str().unwrap()]).fails(2, &["nobody to ask"]);
    ben.run(["receive", "--into", "nowhere", "--accept", "all"]).fails(6, &["--into names a directory"]);
}

//= S5.75 (test)
//= S5.76 (test)
#[test]
fn what_is_sent_to_one_device_is_received_there_and_nowhere_else() {
    let place = Place::new();
    let (_server, ana, ben) = two_people(&place);
    let phone = place.home("phone").over("tcp");
    phone.run_with(["join", "-", "--device", "phone"], ben.run(["device", "add"]).ok()).ok();
    let file = |name: &str| place.file(name, name.as_bytes()).to_str().unwrap().to_owned();
    // A room that is there is followed; new ones are looked for now and then.
    ana.run(["say", "@ben", "there is something for you"]).ok();
    let receivers = [("laptop", &ben), ("phone", &phone)].map(|(name, home)| {
        let into = place.directory(&format!("on-{name}"));
        let receiver = home.start([
            "receive",
            "--json",
            "--accept",
            "all",
            "--earlier",
            "--into",
            into.to_str().unwrap(),
        ]);
        receiver.err.until(|line| line.contains("receiving into"));
        (into, receiver)
    });
    let sent = ana.run(["send", &file("plan"), "--to", "@ben/phone"]);
    assert!(sent.ok().starts_with("@ben:2"), "{sent:#?}");
    ana.run(["send", &file("notes"), "--to", "@ben/laptop"]).ok();
    ana.run(["send", &file("last"), "--to", "@ben"]).ok();
    for ((into, receiver), has) in receivers.iter().zip([["last", "notes"], ["last", "plan"]]) {
        for _ in has {
            json(&receiver.out.next().unwrap());
        }
        // What came last came to both: nothing else comes.
        assert_eq!(common::names(into), has);
    }
    // Said of it, and an address only: whoever reads the room may have it.
    let told = ben.run(["tail", "@ana"]);
    assert!(told.ok().contains("ana sends plan (4 B) for phone, here"), "{told:#?}");
    let event = &ben.events("@ana")[1];
    assert_eq!(event["parcel"]["device_name"], "phone", "{event}");
    ben.run(["get", "@ana:2", "--into", place.directory("asked").to_str().unwrap()]).ok();
    let before = ana.events("@ben").len();
    for (to, says) in [
        ("@ben/tablet", "@ben has no device 'tablet'"),
        ("@ben/", "one device of a person"),
        ("@nobody/phone", "no such user"),
        ("@ana/laptop", "a direct room is for two"),
    ] {
        let refused = ana.run(["send", &file("plan"), "--to", to]);
        assert!(refused.code() != 0 && refused.err.contains(says), "{refused:#?}");
    }
    assert_eq!(ana.events("@ben").len(), before, "nobody was told of what was refused");
}
