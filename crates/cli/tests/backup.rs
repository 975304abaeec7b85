//! Backups of running and stopped servers, and what clients make of a server whose history was rewound.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Home, Place, Server, json, server_with_room};

#[test]
fn a_running_server_is_backed_up_and_restored_and_clients_follow_the_new_history() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    let data = server.data().to_owned();
    let content = common::noise(7, 3_000_000);
    let file = place.file("plan.bin", &content);
    ana.run(["say", "ops", "one"]).ok();
    ana.run(["send", file.to_str().unwrap(), "--to", "#ops"]).ok();
    let follower = ana.start(["tail", "ops", "--after", "0", "--json", "-f"]);
    for seq in 1..=3 {
        assert_eq!(json(&follower.out.next().unwrap())["seq"], seq);
    }

    let backup = place.join("backup");
    let done = ana.run(["backup", backup.to_str().unwrap(), "--data", &data, "--json"]).json();
    assert_eq!((&done["rooms"], &done["events"], &done["objects"]), (&1.into(), &3.into(), &1.into()));
    assert_eq!((&done["type"], &done["bytes"]), (&"backup".into(), &content.len().into()));
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    ana.run(["backup", backup.to_str().unwrap(), "--data", &data]).fails(1, &["File exists"]);

    // What is said now is lost by the restoration; the follower has seen it.
    ana.run(["say", "ops", "lost"]).ok();
    assert_eq!(json(&follower.out.next().unwrap())["text"], "lost");
    ana.run(["restore", backup.to_str().unwrap(), "--data", &data, "--replace"]).fails(1, &["is using"]);
    server.kill();
    ana.run(["restore", backup.to_str().unwrap(), "--data", &data]).fails(1, &["not empty", "--replace"]);
    let done = ana.run(["restore", backup.to_str().unwrap(), "--data", &data, "--replace", "--json"]).json();
    assert_eq!((&done["epoch"], &done["events"]), (&2.into(), &3.into()));
    let aside = std::path::Path::new(done["replaced"].as_str().unwrap()).join("store.sqlite");
    assert!(aside.exists(), "nothing is thrown away");

    server.restart();
    let said = ana.run(["say", "ops", "of the new history", "--json"]).json();
    assert_eq!((&said["epoch"], &said["seq"]), (&2.into(), &4.into()));
    let texts = ana.texts("ops");
    assert_eq!((&texts[0][..], &texts[texts.len() - 1][..]), ("one", "of the new history"));
    assert!(!texts.contains(&"lost".to_owned()));
    let seen = json(&follower.out.until(|line| line.contains("of the new history")));
    assert_eq!(
        (&seen["epoch"], &seen["seq"]),
        (&2.into(), &4.into()),
        "who followed all the time notices too"
    );
    let to = place.directory("fetched");
    ana.run(["get", "#ops:2", "--into", to.to_str().unwrap()]).ok();
    assert!(std::fs::read(to.join("plan.bin")).unwrap() == content, "stored files are in a backup");
}

#[test]
fn a_stopped_server_is_backed_up_and_restored_on_another_computer() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "one"]).ok();
    let data = server.data().to_owned();
    server.kill();
    let backup = place.join("backup");
    let words = ana.run(["backup", backup.to_str().unwrap(), "--data", &data]);
    assert!(words.out.contains("1 rooms, 1 events, 0 files") && words.err.contains("host key"), "{words:#?}");

    let elsewhere = place.join("elsewhere");
    let words = ana.run(["restore", backup.to_str().unwrap(), "--data", elsewhere.to_str().unwrap()]);
    assert!(words.out.contains("1 rooms, 1 events") && words.err.contains("revoke again"), "{words:#?}");
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        ["", "host.pem", "store.sqlite"].map(|name| mode(elsewhere.join(name))),
        [0o700, 0o600, 0o600]
    );
    // The same key at the same address: clients need nothing new.
    let restored = Server::serve(place.path(), &elsewhere, server.address, &[], None);
    assert_eq!(restored.invite, None, "its owner is in the backup");
    assert_eq!(ana.texts("ops"), ["one"]);
    assert_eq!(ana.run(["say", "ops", "two", "--json"]).json()["seq"], 2);
}

#[test]
fn what_is_no_backup_is_refused_in_a_sentence() {
    let place = Place::new();
    let home = place.home("ana");
    let to = place.join("new");
    let restore = |file: &std::path::Path| {
        home.run(["restore", file.to_str().unwrap(), "--data", to.to_str().unwrap()])
    };
    restore(&place.join("nothing")).fails(6, &["nothing"]);
    restore(&place.file("text", b"this is not a backup")).fails(1, &["not a hikyaku"]);
    home.run(["backup", "b", "--data", place.join("nowhere").to_str().unwrap()]).fails(6, &["--data DIR"]);
    assert!(!to.exists() && !place.join("nowhere").exists() && !place.join("b").exists());
}

/// A connection over the network with the key and the knowledge of this home.
async fn connect(home: &Home) -> hikyaku::Connection {
    let known = std::fs::read_dir(home.path.join("servers")).unwrap().next().unwrap().unwrap().path();
    let server: serde_json::Value =
        serde_json::from_slice(&std::fs::read(known.join("server.json")).unwrap()).unwrap();
    let identity = hikyaku::Identity::load(known.join("identity.pem")).unwrap();
    let host = server["host"].as_str().unwrap().parse().unwrap();
    hikyaku::connect(server["addresses"].as_str().unwrap(), host).identity(&identity).await.unwrap()
}

#[tokio::test]
async fn nobody_administers_a_server_over_the_network_not_even_its_owner() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let ben = place.home("ben");
    ben.join(ana.run(["invite", "create"]).ok().trim(), "ben");
    let to = place.join("stolen");
    for home in [&ana, &ben] {
        let connection = connect(home).await;
        for method in ["backup", "anything"] {
            let ask: std::collections::BTreeMap<u8, minicbor::bytes::ByteVec> =
                [(0, to.to_str().unwrap().as_bytes().to_vec().into())].into();
            let done: hikyaku::Result<hikyaku_wire::chat::Records> =
                connection.call("admin/1", method, &ask).await;
            assert_eq!(done.unwrap_err().code(), hikyaku::ErrorCode::DENIED, "{method}");
        }
    }
    assert!(!to.exists(), "nothing was written");
    // Through the socket in the data directory the same question is answered.
    assert_eq!(ana.run(["backup", to.to_str().unwrap(), "--data", server.data()]).code(), 0);
}

#[test]
fn what_a_restoration_undoes_is_undone_in_copies_too() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    let data = server.data().to_owned();
    ana.run(["say", "ops", "one"]).ok();
    ana.run(["say", "ops", "two"]).ok();
    let backup = place.join("backup");
    assert_eq!(ana.run(["backup", backup.to_str().unwrap(), "--data", &data]).code(), 0);
    ana.run(["say", "ops", "--delete", "1"]).ok();
    assert_eq!(ana.events("ops")[0]["deleted"], true, "a copy of it as it is now is here");
    server.kill();
    let restored = ana.run(["restore", backup.to_str().unwrap(), "--data", &data, "--replace"]);
    assert_eq!(restored.code(), 0, "{restored:#?}");
    server.restart();
    // Event 1 lies before the new epoch, and yet the copy of it is not what the server has.
    assert_eq!(ana.texts("ops"), ["one", "two"]);
}
