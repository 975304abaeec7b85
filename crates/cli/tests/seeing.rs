//! Looking at connections: key logs, recordings, `inspect` and `ping`.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Place, Program, assert_harmless, json, server_with_room};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn secrets_are_written_only_when_told_to_to_a_private_file_and_with_one_warning() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    for transport in ["tcp", "quic"] {
        let ana = ana.clone().over(transport);
        let environment = place.join("environment");
        let mut quiet = ana.command(["say", "ops", "unseen"]);
        quiet.env("SSLKEYLOGFILE", &environment);
        Program::start(quiet, None).finish().ok();
        assert!(!environment.exists(), "the environment decides nothing");

        let file = place.join(format!("keys-{transport}"));
        let done = ana.run(["say", "ops", "seen", "--keylog", file.to_str().unwrap()]);
        assert_eq!(done.code(), 0, "{done:#?}");
        assert_eq!(done.err.matches("warning: secrets are written to").count(), 1, "{done:#?}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let keys = std::fs::read_to_string(&file).unwrap();
        for label in ["CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "] {
            assert_eq!(keys.lines().filter(|line| line.starts_with(label)).count(), 1, "{keys}");
        }
    }
    drop(server);
}

#[test]
fn a_server_writes_the_same_secrets_as_its_client() {
    let place = Place::new();
    let (of_server, of_client) = (place.join("of-server"), place.join("of-client"));
    let server = common::Server::start(&place, &["--keylog", of_server.to_str().unwrap()]);
    let ana = place.home("ana");
    let join = ["join", "-", "--name", "ana", "--keylog", of_client.to_str().unwrap()];
    let done = ana.over("quic").run_with(join, server.invite());
    assert_eq!(done.code(), 0, "{done:#?}");
    let lines = |path| -> BTreeSet<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    };
    let client = lines(&of_client);
    assert!(client.len() >= 4 && client.is_subset(&lines(&of_server)), "{client:?}");
}

#[test]
fn what_was_recorded_is_shown_from_the_records_to_the_fields_of_the_messages() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    for transport in ["tcp", "quic"] {
        let file = place.join(format!("{transport}.rec"));
        let file = file.to_str().unwrap();
        let said = ana.clone().over(transport).run(["say", "ops", "hello", "--record", file]);
        assert_eq!(said.code(), 0, "{said:#?}");
        assert!(said.err.starts_with("warning: everything these connections carry"), "{said:#?}");

        let shown = ana.run(["inspect", file]);
        let text = shown.ok();
        for part in [
            &format!("connection: client over {transport} to {}", server.address),
            "HELLO, ",
            "0 /max_message/: 1048576",
            "OPEN, ",
            "{0 /application protocol/: \"chat/1\", 1 /method/: \"send\"",
            "2 /kind/: 1, 3 /body/: h'",
            "2 /seq/: ",
            " END",
        ] {
            assert!(text.contains(part), "'{part}' is missing in {text}");
        }
        assert_eq!(text.contains("QX_TRANSPORT_PARAMETERS max_idle_timeout="), transport == "tcp", "{text}");
        assert_harmless(text);

        // The same for programs, and by standard input.
        let bytes = std::fs::read(file).unwrap();
        let command = ana.command(["inspect", "-", "--json"]);
        let lines: Vec<_> = Program::start(command, Some(&bytes)).finish().ok().lines().map(json).collect();
        let opened = lines.iter().find(|line| line["name"] == "OPEN").unwrap();
        assert_eq!((&opened["type"], &opened["layer"]), (&"inspected".into(), &"session".into()));
        assert_eq!((&opened["received"], opened["stream"].is_u64()), (&false.into(), true), "{opened}");
        assert!(opened["cbor"].as_str().unwrap().contains("chat/1"));

        // It is not written over.
        let again = ana.run(["say", "ops", "again", "--record", file]);
        again.fails(1, &[file, "exists"]);
    }
}

#[test]
fn bytes_that_break_a_rule_are_shown_as_far_as_they_go_and_the_exit_code_says_so() {
    let place = Place::new();
    let ana = place.home("ana");
    let frame = place.file("frame", &[0x11, 0x05, 0x82, 0x01, 0xf9, 0x3c, 0x00, 0x13, 0x00]);
    let done = ana.run(["inspect", "--as", "stream", frame.to_str().unwrap()]);
    assert_eq!(done.code(), 7, "{done:#?}");
    assert!(done.out.contains("@0 MESSAGE, 5 bytes\n"), "{done:#?}");
    assert!(done.out.contains("@4 error: the message uses a float"), "{done:#?}");
    assert!(done.out.contains("@7 END"), "what follows is shown");
    assert!(done.err.contains("1 places break a rule"), "{done:#?}");

    ana.run(["inspect", frame.to_str().unwrap()]).fails(2, &["is no recording", "--as records"]);
    ana.run(["inspect", place.join("missing").to_str().unwrap()]).fails(6, &["missing"]);
    let message = place.file("message", &[0xa1, 0x00, 0x18, 0x82]);
    let shown = ana.run(["inspect", "--as", "message", "--rule", "failure", message.to_str().unwrap()]);
    assert_eq!(shown.ok(), "@0 message, 4 bytes\n    {0 /code/: 130 /DENIED/}");
    let wrong = ["inspect", "--as", "message", "--rule", "nonsense", message.to_str().unwrap()];
    ana.run(wrong).fails(2, &["no such rule", "--rule list"]);
    assert!(ana.run(["inspect", "-", "--rule", "list"]).ok().lines().any(|rule| rule == "failure"));
}

#[test]
fn ping_measures_both_transports_and_says_what_was_agreed_on() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let ana = ana.over("auto");
    let done = ana.run(["ping", "--count", "3", "--json"]);
    let pings: Vec<_> = done.ok().lines().map(json).collect();
    let transports: Vec<_> = pings.iter().map(|ping| ping["transport"].as_str().unwrap()).collect();
    assert_eq!(transports, ["quic", "tcp"]);
    for ping in &pings {
        assert_eq!(ping["type"], "ping");
        assert_eq!(ping["address"], server.address.to_string());
        assert_eq!((&ping["measured"], &ping["received"]), (&"echo".into(), &3.into()), "{ping}");
        assert_eq!(ping["cipher_suite"], "TLS_AES_256_GCM_SHA384", "{ping}");
        assert_eq!((&ping["group"], &ping["post_quantum"]), (&"X25519MLKEM768".into(), &true.into()));
        assert_eq!(ping["max_message"], 1_048_576);
        assert_eq!((&ping["max_metadata"], &ping["max_datagram"]), (&4_096.into(), &1_000.into()), "{ping}");
        assert!(ping["agent"].as_str().unwrap().starts_with("hikyaku/"));
        let [min, median, p99] = ["min_ms", "median_ms", "p99_ms"].map(|key| ping[key].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= p99, "{ping}");
    }
    assert_eq!(pings[0]["alpn"], "hikyaku/1");
    assert_eq!(pings[1]["alpn"], "hikyaku/1-qx02");

    let shown = ana.run(["ping", "--count", "2"]);
    for part in
        ["quic: ", "tcp: ", "X25519MLKEM768 (post-quantum)", "(2 of 2, echo)", "limits:     message 1048576"]
    {
        assert!(shown.ok().contains(part), "{shown:#?}");
    }
}

#[test]
fn a_stranger_may_ping_with_the_key_alone_and_a_wrong_key_is_refused() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let host = ana.run(["status", "--json"]).json()["host"].as_str().unwrap().to_owned();
    let stranger = place.home("stranger").over("auto");
    let done = stranger.run(["ping", &format!("{}#{host}", server.address), "--count", "3", "--json"]);
    for ping in done.ok().lines().map(json) {
        assert_eq!((&ping["measured"], &ping["received"]), (&"transport".into(), &3.into()), "{ping}");
        assert_eq!(ping["host"], host);
    }
    let link = ana.run(["invite", "create"]).ok().to_owned();
    let link = link.lines().find_map(|line| line.find("hikyaku://").map(|at| line[at..].to_owned())).unwrap();
    let done = stranger.run(["ping", &link, "--count", "1"]);
    assert!(done.ok().contains("(1 of 1, transport)"), "{done:#?}");

    // Another server's key.
    let elsewhere = Place::new();
    let (_other, ben) = server_with_room(&elsewhere, &[], "ops");
    let other = ben.run(["status", "--json"]).json()["host"].as_str().unwrap().to_owned();
    let refused = stranger.run(["ping", &format!("{}#{other}", server.address)]);
    refused.fails(4, &["another host answered"]);
    stranger.run(["ping", &format!("{}#nonsense", server.address)]).fails(2, &["no host key"]);
    let nobody = stranger.over("tcp").run(["ping", &format!("127.0.0.1:9#{host}")]);
    nobody.fails(3, &["over tcp", "127.0.0.1:9"]);
}
