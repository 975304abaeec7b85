//! Every command, typed as the README types it.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Done, Home, Place, Server, dropped, json, names, noise, server_with_room};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_first_start_prints_an_invite_and_then_that_it_is_ready_a_later_one_only_that() {
    let place = Place::new();
    let mut server = Server::start(&place, &[]);
    let printed = server.program.out.seen();
    assert!(printed[0].starts_with("invite: hikyaku://127."), "{printed:?}");
    assert_eq!(printed[1], format!("ready: {}", server.address));
    place.home("ana").join(server.invite(), "ana");
    server.kill();
    server.restart();
    assert_eq!(server.program.out.seen(), [format!("ready: {}", server.address)]);
}

#[test]
fn an_invite_in_a_file_is_nobody_elses_and_nowhere_else() {
    let place = Place::new();
    // By its bare name, as people type it.
    let server = Server::start_with_log(&place, "trace", &["--invite-file", "invite.txt"]);
    let file = place.join("invite.txt");
    let link = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.program.out.seen(), [format!("ready: {}", server.address)]);
    let secret = link.trim().rsplit('.').next().unwrap();
    place.home("ana").join(&link, "ana");
    server.program.signal(Signal::TERM);
    let done = server.program.finish();
    assert_eq!(done.code(), 0);
    assert!(secret.len() > 20 && !done.out.contains(secret) && !done.err.contains(secret), "{done:#?}");
    assert_eq!(names(place.path()), ["ana", "data", "invite.txt"], "nothing else is left behind");
}

#[test]
fn the_data_of_a_server_and_the_home_of_a_client_are_closed_to_others() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let ana = place.home("ana");
    ana.join(server.invite(), "ana");
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(server.data.clone()), 0o700);
    assert_eq!(mode(server.data.join("host.pem")), 0o600);
    assert_eq!(mode(server.data.join("admin.sock")), 0o600);
    assert_eq!(mode(ana.path.clone()), 0o700);
}

#[test]
fn a_link_is_taken_as_an_argument_from_a_dash_and_from_a_pipe() {
    let place = Place::new();
    let server = Server::start(&place, &["--name", "home"]);
    let (ana, ben, cleo) = (place.home("ana"), place.home("ben"), place.home("cleo"));
    let done = ana.run(["join", server.invite(), "--name", "ana", "--device", "laptop"]);
    assert_eq!(done.ok(), "joined: home as ana (device laptop)");
    let link = ana.run(["invite", "create", "--uses", "2"]);
    assert!(link.ok().starts_with("hikyaku://") && link.out.lines().count() == 1);
    let done = ben.run_with(["join", "-", "--name", "ben", "--device", "pc"], link.ok());
    assert_eq!(done.ok(), "joined: home as ben (device pc)");
    let done = cleo.run_with(["join", "--name", "cleo", "--device", "pc"], &link.out);
    assert_eq!(done.ok(), "joined: home as cleo (device pc)");
}

#[test]
fn status_says_which_server_and_who_one_is_there() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &["--name", "home"], "ops");
    let status = ana.run(["status", "--json"]).json();
    assert_eq!(
        (&status["server"], &status["user"], &status["device"]),
        (&"home".into(), &"ana".into(), &"laptop".into())
    );
    assert_eq!(
        (&status["transport"], &status["rooms"], &status["waiting"]),
        (&"tcp".into(), &1.into(), &0.into())
    );
    assert_eq!(status["roles"], serde_json::json!(["owner"]));
    assert_eq!(status["address"], server.address.to_string());
    let words = ana.run(["status"]);
    assert!(words.ok().contains("you:      ana (owner), device laptop"), "{words:?}");
}

#[test]
fn several_servers_are_listed_chosen_and_forgotten() {
    let place = Place::new();
    let one = Server::start_on(&place, "one", &["--name", "one"]);
    let two = Server::start_on(&place, "two", &["--name", "two"]);
    let ana = place.home("ana").over("tcp");
    ana.join(one.invite(), "ana").join(two.invite(), "anna");
    let list = |home: &Home| {
        let done = home.run(["server", "list", "--json"]);
        let servers: Vec<_> = done.ok().lines().map(json).collect();
        servers
            .iter()
            .map(|server| (server["name"].as_str().unwrap().to_owned(), server["default"] == true))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&ana), [("one".to_owned(), true), ("two".to_owned(), false)]);
    assert_eq!(ana.run(["status", "--json"]).json()["user"], "ana");
    assert_eq!(ana.run(["--server", "two", "status", "--json"]).json()["user"], "anna");
    ana.run(["server", "use", "two"]).ok();
    assert_eq!(list(&ana), [("one".to_owned(), false), ("two".to_owned(), true)]);
    assert_eq!(ana.run(["status", "--json"]).json()["user"], "anna");
    ana.run(["server", "forget", "two"]).ok();
    assert_eq!(list(&ana), [("one".to_owned(), true)]);
    // A name in a reference means that server too.
    ana.run(["room", "create", "one/#ops"]).ok();
    assert_eq!(ana.run(["say", "one/#ops", "here"]).ok(), "#ops:1");
}

#[test]
fn a_user_has_several_devices_and_loses_one_by_name() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let phone = place.home("phone");
    let link = ana.run(["device", "add"]);
    phone.run_with(["join", "-", "--device", "phone"], link.ok()).ok();
    assert_eq!(phone.run(["status", "--json"]).json()["user"], "ana");
    let devices = |home: &Home| {
        let done = home.run(["device", "list", "--json"]);
        let mut names: Vec<_> =
            done.ok().lines().map(|line| json(line)["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(devices(&ana), ["laptop", "phone"]);
    assert!(ana.run(["device", "list"]).ok().lines().any(|line| line.starts_with("* laptop")));
    ana.run(["device", "revoke", "phone"]).ok();
    assert_eq!(devices(&ana), ["laptop"]);
    phone.run(["status"]).fails(4, &["not enrolled", "ask for an invite"]);
}

#[test]
fn the_operator_lists_and_removes_users_and_members_may_not() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let ben = place.home("ben").over("tcp");
    ben.join(ana.run(["invite", "create"]).ok(), "ben");
    let operator = place.home("operator");
    let users = operator.run(["user", "list", "--data", server.data()]);
    assert!(users.ok().contains("ana  owner") && users.out.contains("ben  member"), "{users:?}");
    assert_eq!(ana.run(["user", "list", "--json"]).ok().lines().map(json).count(), 2);
    ben.run(["user", "revoke", "ana"]).fails(5, &["role does not permit", "--data DIR"]);
    assert!(
        operator
            .run(["user", "revoke", "@ben", "--data", server.data()])
            .ok()
            .starts_with("revoked: 1 devices")
    );
    ben.run(["say", "ops", "still here?"]).fails(4, &["not enrolled", "hikyaku join"]);
    operator
        .run(["user", "revoke", "zoe", "--data", server.data()])
        .fails(6, &["no user 'zoe'", "user list"]);
}

#[test]
fn invites_are_made_listed_and_cancelled_over_the_network_and_through_the_door() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let operator = place.home("operator");
    for door in [&[][..], &["--data", server.data()]] {
        let who = if door.is_empty() { &ana } else { &operator };
        let typed = |words: &[&str]| who.run([words, door].concat());
        let link = typed(&["invite", "create", "--uses", "3", "--ttl", "2h"]);
        assert!(link.ok().contains(&server.address.to_string()), "{link:?}");
        let list = typed(&["invite", "list", "--json"]);
        let open: Vec<_> = list.ok().lines().map(json).filter(|invite| invite["uses"] == 3).collect();
        assert_eq!(
            (open.len(), &open[0]["uses_left"], &open[0]["role"]),
            (1, &3.into(), &"member".into()),
            "{list:?}"
        );
        let id = open[0]["id"].as_str().unwrap();
        typed(&["invite", "cancel", id]).ok();
        assert!(!typed(&["invite", "list"]).ok().contains(id));
        place.home("late").run_with(["join", "-"], link.ok()).fails(4, &["invite", "ask for a new invite"]);
    }
    let ben = place.home("ben").over("tcp");
    ben.join(operator.run(["invite", "create", "--data", server.data()]).ok(), "ben");
    ben.run(["invite", "create"]).fails(5, &["role does not permit", "ask an owner"]);
}

#[test]
fn rooms_are_made_once_and_listed() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    assert_eq!(ana.run(["room", "create", "#Lab", "--topic", "mice"]).ok(), "#lab");
    // The topic is the room's first event.
    assert_eq!(ana.run(["say", "lab", "hello"]).ok(), "#lab:2");
    ana.run(["room", "create", "ops"]).fails(1, &["ops", "exists"]);
    let rooms = ana.run(["room", "list"]);
    assert!(rooms.ok().contains("#lab  2 events") && rooms.out.contains("#ops  empty"), "{rooms:?}");
    let rooms = ana.run(["room", "list", "--json"]);
    let names: Vec<_> = rooms.ok().lines().map(|line| json(line)["name"].clone()).collect();
    assert_eq!(names, ["lab", "ops"]);
}

#[test]
fn what_is_said_has_a_permalink_and_a_key_makes_it_once() {
    for transport in ["tcp", "quic", "auto"] {
        let place = Place::new();
        let (_server, ana) = server_with_room(&place, &[], "ops");
        let ana = ana.over(transport);
        assert_eq!(ana.run(["say", "ops", "one"]).ok(), "#ops:1");
        assert_eq!(ana.run_with(["say", "#ops"], "two\nlines\n").ok(), "#ops:2");
        for _ in 0..3 {
            assert_eq!(ana.run(["say", "ops", "deploy 42", "--key", "deploy-42"]).ok(), "#ops:3");
        }
        let again = ana.run(["say", "ops", "deploy 42", "--key", "deploy-42", "--json"]).json();
        assert_eq!(
            (&again["seq"], &again["duplicate"], &again["key"]),
            (&3.into(), &true.into(), &"deploy-42".into())
        );
        let other = ana.run(["say", "ops", "deploy 43", "--key", "deploy-42"]);
        other.fails(1, &["the key 'deploy-42' stands for another message", "event 3", "choose a new key"]);
        assert_eq!(ana.texts("ops"), ["one", "two\nlines", "deploy 42"]);
        assert_eq!(ana.run(["status", "--json"]).json()["waiting"], 0);
    }
}

#[test]
fn a_message_that_is_too_long_or_empty_is_not_sent() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    ana.run_with(["say", "ops"], &"x".repeat(64 * 1024 + 1))
        .fails(11, &["at most 65536 bytes", "send it as a file"]);
    ana.run_with(["say", "ops"], "").fails(2, &["nothing to say"]);
    assert_eq!(ana.run_with(["say", "ops"], &"x".repeat(64 * 1024)).ok(), "#ops:1");
}

#[test]
fn tail_shows_exactly_what_is_asked_for() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    for number in 1..=12 {
        ana.run(["say", "ops", &format!("message {number}")]).ok();
    }
    let seqs = |done: Done| -> Vec<u64> {
        done.ok().lines().map(|line| json(line)["seq"].as_u64().unwrap()).collect()
    };
    let tail = |options: &[&str]| seqs(ana.run([&["tail", "ops", "--json"], options].concat()));
    assert_eq!(tail(&[]), (3..=12).collect::<Vec<_>>());
    assert_eq!(tail(&["-n", "2"]), [11, 12]);
    assert_eq!(tail(&["-n", "0"]), [0; 0]);
    assert_eq!(tail(&["-n", "99"]), (1..=12).collect::<Vec<_>>());
    assert_eq!(tail(&["--after", "10"]), [11, 12]);
    assert_eq!(tail(&["--after", "12"]), [0; 0]);
    assert_eq!(tail(&["--since", "1h"]), (1..=12).collect::<Vec<_>>());
    assert_eq!(tail(&["--since", "2100-01-01"]), [0; 0]);
    let lines = ana.run(["tail", "ops", "-n", "1"]);
    assert!(lines.ok().starts_with("#ops:12  20") && lines.ok().ends_with("  ana: message 12"), "{lines:?}");
    let event = ana.run(["tail", "ops", "-n", "1", "--json"]).json();
    assert_eq!(
        (&event["type"], &event["kind"], &event["author"]),
        (&"event".into(), &"message".into(), &"ana".into())
    );
}

#[test]
fn following_after_an_event_that_is_yet_to_come_begins_behind_it() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let follower = ana.start(["tail", "ops", "--after", "8", "-f", "--json"]);
    for number in 1..=9 {
        ana.run(["say", "ops", &format!("message {number}")]).ok();
    }
    let event = json(&follower.out.next().unwrap());
    assert_eq!((&event["seq"], &event["text"]), (&9.into(), &"message 9".into()));
}

#[test]
fn who_follows_a_room_sees_what_comes_over_either_transport() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "before"]).ok();
    let followers = ["tcp", "quic"].map(|over| ana.clone().over(over).start(["tail", "ops", "-f", "--json"]));
    for follower in &followers {
        assert_eq!(json(&follower.out.next().unwrap())["text"], "before");
    }
    for number in 2..=20 {
        ana.run(["say", "ops", &format!("message {number}")]).ok();
    }
    for follower in &followers {
        for number in 2..=20 {
            let event = json(&follower.out.next().unwrap());
            assert_eq!(
                (&event["seq"], &event["text"]),
                (&number.into(), &format!("message {number}").into())
            );
        }
    }
}

#[test]
fn two_people_talk_line_by_line() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = place.home("ben").over("quic");
    ben.join(ana.run(["invite", "create"]).ok(), "ben");
    let listening = ben.start(["tail", "ops", "-f"]);
    ana.run(["say", "ops", "earlier"]).ok();
    listening.out.until(|line| line.ends_with("ana: earlier"));
    let done = ana.run_with(["chat", "#ops"], "hello Ben\n\nhow are you?\n");
    assert_eq!(done.code(), 0, "{done:#?}");
    assert!(done.out.contains("#ops on") && done.out.contains("ana: earlier"), "{done:#?}");
    listening.out.until(|line| line.ends_with("ana: hello Ben"));
    listening.out.until(|line| line.ends_with("ana: how are you?"));
    assert_eq!(ana.texts("ops"), ["earlier", "hello Ben", "how are you?"]);
}

#[test]
fn files_go_into_a_room_and_come_out_again() {
    for transport in ["tcp", "quic"] {
        let place = Place::new();
        let (_server, ana) = server_with_room(&place, &[], "ops");
        let (ana, into) = (ana.over(transport), place.directory("into"));
        let (one, two) = (noise(1, 300_000), noise(2, 70_000));
        place.file("report.pdf", &one);
        place.file("data.bin", &two);
        place.file("empty", b"");
        let done = ana.run(["send", "report.pdf", "--to", "#ops"]);
        let root = blake3(&one);
        assert!(done.ok().starts_with("#ops:1  ") && done.ok().ends_with(&root), "{done:?}");
        let done = ana.run(["send", "data.bin", "empty", "--to", "#ops", "--json"]);
        let sent = done.objects(&["done"]);
        assert_eq!(
            (&sent[0]["reference"], &sent[0]["bytes"], &sent[0]["root"]),
            (&"#ops:3".into(), &70_000.into(), &blake3(&two).into())
        );
        assert_eq!((&sent[1]["reference"], &sent[1]["bytes"]), (&"#ops:5".into(), &0.into()));
        let done = ana.run(["get", "#ops:1", "--into", "into"]);
        assert!(done.ok().starts_with("into/report.pdf  ") && done.ok().ends_with(&root), "{done:?}");
        let fetched = ana.run(["get", "ops:3", "--into", "into", "--json"]).json();
        assert_eq!(
            (&fetched["type"], &fetched["bytes"], &fetched["path"]),
            (&"done".into(), &70_000.into(), &"into/data.bin".into())
        );
        ana.run(["get", "#ops:5", "--into", "into"]).ok();
        assert_eq!(names(&into), ["data.bin", "empty", "report.pdf"]);
        assert_eq!(std::fs::read(into.join("report.pdf")).unwrap(), one);
        assert_eq!(std::fs::read(into.join("data.bin")).unwrap(), two);
        let lines = ana.run(["tail", "ops", "-n", "2"]);
        assert!(lines.ok().ends_with("ana sends empty (0 B), here"), "{lines:?}");
    }
}

#[test]
fn files_go_into_the_servers_directory_and_below_it() {
    for transport in ["tcp", "quic"] {
        let place = Place::new();
        let drop = place.directory("drop");
        std::fs::create_dir_all(drop.join("sub/dir")).unwrap();
        let (_server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
        let ana = ana.over(transport);
        let content = noise(3, 200_000);
        place.file("big.iso", &content);
        let done = ana.run(["send", "big.iso", "--to", ":"]);
        assert!(done.ok().starts_with(":big.iso  ") && done.ok().ends_with(&blake3(&content)), "{done:?}");
        let sent = ana.run(["send", "big.iso", "--to", ":sub/dir", "--json"]).json();
        assert_eq!(
            (&sent["reference"], &sent["name"], &sent["synced"]),
            (&":sub/dir/big.iso".into(), &"big.iso".into(), &"each".into())
        );
        assert_eq!(std::fs::read(drop.join("big.iso")).unwrap(), content);
        assert_eq!(std::fs::read(drop.join("sub/dir/big.iso")).unwrap(), content);
        assert_eq!(dropped(&drop), ["big.iso", "sub"], "nothing else is left there");
    }
}

#[test]
fn help_and_version_are_successes_on_standard_output() {
    let place = Place::new();
    let nobody = place.home("nobody");
    let help = nobody.run(["--help"]);
    for command in [
        "serve", "join", "say", "tail", "chat", "send", "get", "room", "invite", "device", "user", "server",
        "tour",
    ] {
        assert!(help.ok().contains(&format!("  {command} ")), "{command}");
    }
    assert!(nobody.run(["--version"]).ok().starts_with("hikyaku "));
    assert!(nobody.run(["say", "--help"]).ok().contains("--key"));
}

fn blake3(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_string()
}
