//! Who has a parcel: said by every device that does, shown in the room, and proved without the server.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{Home, Place, json, noise, server_with_room};

/// Somebody who has joined.
fn member(place: &Place, ana: &Home, name: &str) -> Home {
    let home = place.home(name);
    home.join(ana.run(["invite", "create"]).ok().trim(), name);
    place.directory(&format!("{name}-has"));
    home
}

fn get(home: &Home, reference: &str, name: &str) {
    home.run(["get", reference, "--into", &format!("{name}-has")]).ok();
}

//= S5.92 (test)
#[test]
fn whoever_has_a_parcel_is_shown_and_can_be_proved_to_have_it_without_the_server() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    let (ben, eva) = (member(&place, &ana, "ben"), member(&place, &ana, "eva"));
    ben.run(["room", "join", "ops"]).ok();
    eva.run(["room", "join", "ops"]).ok();
    place.file("plan.bin", &noise(1, 200_000));
    place.directory("tree");
    place.file("tree/a", b"a");
    place.file("tree/b", &noise(2, 70_000));
    let sent = ana.run(["send", "plan.bin", "--to", "#ops", "--json"]).objects(&["done"]);
    let (reference, root) = (sent[0]["reference"].as_str().unwrap(), sent[0]["root"].as_str().unwrap());
    ana.run(["send", "tree", "--to", "#ops"]).ok();
    assert!(ana.run(["receipts", reference]).ok().contains("in 0 of 2 hands"));

    get(&ben, reference, "ben");
    let card = ana.run(["tail", "ops"]);
    assert!(card.ok().contains("in 1 of 2 hands"), "{card:#?}");
    get(&eva, reference, "eva");
    // Again, elsewhere: a hand is a person, and the newest receipt of a device counts.
    place.directory("again");
    ben.run(["get", reference, "--into", "again"]).ok();
    let told = ana.run(["receipts", reference]);
    assert!(told.ok().contains("in 2 of 2 hands"), "{told:#?}");
    let listed = ana.run(["receipts", reference, "--json"]);
    let objects: Vec<_> = listed.ok().lines().map(json).collect();
    let mut names: Vec<_> = objects.iter().map(|object| object["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ben", "eva"]);
    for object in &objects {
        assert_eq!(
            (object["said"]["root"].as_str(), object["said"]["bytes"].as_u64()),
            (Some(root), Some(200_000))
        );
    }
    // Nobody is counted who has sent it.
    place.directory("ana-has");
    get(&ana, reference, "ana");
    assert!(ana.run(["receipts", reference]).ok().contains("in 2 of 2 hands"));

    // Durable: a server that was killed has them still.
    server.kill();
    server.restart();
    assert_eq!(ana.run(["receipts", reference, "--json"]).ok().lines().count(), 3);

    // Offline: no server is asked, and a home that knows none is enough.
    place.file("proof", listed.ok().as_bytes());
    server.kill();
    let stranger = place.home("stranger");
    let proved = stranger.run(["receipts", "verify", "proof", "--root", root]);
    assert_eq!(proved.ok().matches("valid ").count(), 2, "{proved:#?}");
    let other = stranger.run(["receipts", "verify", "proof", "--root", &"0".repeat(64)]);
    assert!(other.code() == 7 && other.err.contains("2 receipts are not valid"), "{other:#?}");
    for field in ["statement", "key", "signature"] {
        let mut changed = objects[0].clone();
        let text = changed[field].as_str().unwrap();
        let last = if text.ends_with('0') { "1" } else { "0" };
        changed[field] = format!("{}{last}", &text[..text.len() - 1]).into();
        place.file("forged", format!("{changed}\n{}\n", objects[1]).as_bytes());
        let refused = stranger.run(["receipts", "verify", "forged"]);
        assert!(refused.code() == 7 && refused.err.contains("1 receipt is not valid"), "{refused:#?}");
        assert!(refused.out.contains("INVALID") && refused.out.contains("valid "), "{refused:#?}");
    }
    place.file("nothing", b"\n");
    stranger.run(["receipts", "verify", "nothing"]).fails(1, &["no receipt in it", "--json"]);
    place.file("noise", b"hello\n");
    stranger.run(["receipts", "verify", "noise"]).fails(7, &["no receipt"]);
    stranger.run(["receipts", "verify", "absent"]).fails(6, &["absent"]);
}

#[test]
fn a_tree_is_receipted_too_and_whoever_talks_sees_the_hands_change() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = member(&place, &ana, "ben");
    ben.run(["room", "join", "ops"]).ok();
    place.directory("tree");
    place.file("tree/b", &noise(2, 70_000));
    let (talk, input) = common::Program::talk(ana.command(["chat", "ops"]));
    talk.out.until(|line| line.contains("Ctrl-D leaves"));
    let sent = ana.run(["send", "tree", "--to", "#ops", "--json"]).objects(&["done"]);
    let reference = sent[0]["reference"].as_str().unwrap();
    talk.out.until(|line| line.contains("is here"));
    get(&ben, reference, "ben");
    let in_hands = format!("{reference} is in 1 of 1 hand");
    talk.out.until(|line| line.contains(&in_hands));
    drop(input);
    assert_eq!(talk.finish().code(), 0);
    let listed = ana.run(["receipts", reference, "--json"]).ok().to_owned();
    assert_eq!(json(listed.trim())["said"]["missing"], serde_json::Value::Null);
}
