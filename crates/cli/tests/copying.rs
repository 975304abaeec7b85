//! Copying once more: what failed alone, what is there already, names that are taken or nearly so.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Done, Home, Place, Proxy, Server, dropped, names, noise, server_behind, server_with_room};
use rustix::fs::XattrFlags;

fn tree(place: &Place) {
    for file in ["t/deep/one", "t/deep/two", "t/three", "t/four"] {
        fs::create_dir_all(place.join(file).parent().unwrap()).unwrap();
        fs::write(place.join(file), noise(7, 3_000 + file.len())).unwrap();
    }
}

/// It ended with the code for a part of it, and said this.
#[track_caller]
fn partly(done: &Done, says: &[&str]) {
    assert_eq!(done.code(), 10, "{done:#?}");
    assert!(says.iter().all(|phrase| done.err.contains(phrase)), "{says:?} in {done:#?}");
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_failed_of_a_tree_is_sent_again_alone() {
    let place = Place::new();
    place.directory("drop");
    let (_server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    tree(&place);
    fs::create_dir_all(place.join("drop/t/deep")).unwrap();
    fs::write(place.join("drop/t/deep/two"), "theirs").unwrap();
    let send = ["send", "t", "--to", ":"];
    let again = [&send[..], &["--retry-failed"]].concat();
    ana.run(&again).fails(6, &["nothing is remembered that failed"]);
    partly(&ana.run(send), &["t/deep/two", "exists already", "--retry-failed"]);
    // It fails as long as it must, and stays remembered.
    partly(&ana.run(&again), &["t/deep/two"]);
    fs::write(place.join("t/new"), "not yet").unwrap();
    fs::remove_file(place.join("drop/t/three")).unwrap();
    fs::remove_file(place.join("drop/t/deep/two")).unwrap();
    ana.run(&again).ok();
    assert_eq!(fs::read(place.join("drop/t/deep/two")).unwrap(), fs::read(place.join("t/deep/two")).unwrap());
    assert_eq!(names(&place.join("drop/t")), ["deep", "four"], "nothing but what failed is sent");
    ana.run(&again).fails(6, &[]);
    ana.run(send).ok();
    assert_eq!(names(&place.join("drop/t")), ["deep", "four", "new", "three"]);
}

#[test]
fn what_failed_of_several_paths_or_of_a_list_is_sent_again_alone() {
    let place = Place::new();
    place.directory("drop");
    let (_server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    for name in ["a", "c"] {
        fs::write(place.join(name), name).unwrap();
    }
    let send = ["send", "a", "b", "c", "--to", "#ops"];
    let again = [&send[..], &["--retry-failed"]].concat();
    partly(&ana.run(send), &["b: "]);
    fs::write(place.join("b"), "b").unwrap();
    let told = ana.run(&again);
    assert_eq!(told.ok().lines().count(), 1, "one parcel: {}", told.ok());
    fs::write(place.join("list"), "a\nlater\nc\n").unwrap();
    let listed = ["send", "--files-from", "list", "--to", ":"];
    partly(&ana.run(listed), &["later: the list names it"]);
    fs::remove_file(place.join("drop/a")).unwrap();
    fs::write(place.join("later"), "later").unwrap();
    ana.run([&listed[..], &["--retry-failed"]].concat()).ok();
    assert_eq!(dropped(&place.join("drop")), ["c", "later"]);
}

#[test]
fn what_failed_of_a_parcel_is_fetched_again_alone() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    tree(&place);
    ana.run(["send", "t", "--to", "#ops"]).ok();
    fs::create_dir_all(place.directory("in").join("t/deep")).unwrap();
    fs::write(place.join("in/t/deep/one"), "mine").unwrap();
    let get = ["get", "#ops:1", "--into", "in"];
    let seq = ana.events("ops").iter().find(|event| event["kind"] == "parcel").unwrap()["seq"].to_string();
    let reference = format!("#ops:{seq}");
    let get = get.map(|word| if word == "#ops:1" { reference.clone() } else { word.to_owned() });
    let again = [&get[..], &["--retry-failed".to_owned()]].concat();
    partly(&ana.run(&get), &["t/deep/one", "--retry-failed"]);
    fs::remove_file(place.join("in/t/deep/one")).unwrap();
    fs::remove_file(place.join("in/t/three")).unwrap();
    fs::write(place.join("in/t/four"), "edited since").unwrap();
    ana.run(&again).ok();
    assert_eq!(fs::read(place.join("in/t/deep/one")).unwrap(), fs::read(place.join("t/deep/one")).unwrap());
    assert_eq!(names(&place.join("in/t")), ["deep", "four"]);
    assert_eq!(fs::read(place.join("in/t/four")).unwrap(), b"edited since");
    ana.run(&again).fails(6, &[]);
}

#[test]
fn a_file_is_fetched_again_by_time_by_root_or_under_another_name() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    fs::write(place.join("f"), noise(1, 100_000)).unwrap();
    let sent = ana.run(["send", "f", "--to", "#ops"]);
    let reference = sent.ok().split_whitespace().next().unwrap().to_owned();
    place.directory("in");
    let get = |options: &[&str]| ana.run([&["get", &reference, "--into", "in"], options].concat());
    get(&[]).ok();
    assert!(get(&[]).ok().contains("not fetched: it is there"));
    let told = get(&["--json"]);
    let done = told.objects(&["done"]);
    assert_eq!((done[0]["kept"].as_u64(), done[0]["kept_bytes"].as_u64()), (Some(1), Some(100_000)));
    let at = place.join("in/f");
    let time = fs::metadata(&at).unwrap().modified().unwrap();
    let mut bytes = fs::read(&at).unwrap();
    bytes[70_000] ^= 4;
    fs::write(&at, &bytes).unwrap();
    fs::File::options().write(true).open(&at).unwrap().set_modified(time).unwrap();
    get(&["--checksum"]).fails(1, &["exists already"]);
    get(&["--checksum", "--overwrite", "rename"]).ok();
    assert_eq!(names(&place.join("in")), ["f", "f~1"]);
    get(&["--checksum", "--overwrite", "always"]).ok();
    assert_eq!(fs::read(&at).unwrap(), noise(1, 100_000));
    set_time(&at, 4_000_000_000);
    assert!(get(&["--overwrite", "newer"]).ok().contains("newer, and stays"));
}

#[test]
fn a_server_refuses_or_renames_names_that_are_nearly_taken() {
    for (policy, there) in [("refuse", vec!["Notes"]), ("rename", vec!["Notes", "notes~1"])] {
        let place = Place::new();
        place.directory("drop");
        let option = format!("--distinct={policy}");
        let (_server, ana) = server_with_room(&place, &["--into", "drop", &option], "ops");
        for name in ["Notes", "notes"] {
            fs::write(place.join(name), name).unwrap();
        }
        ana.run(["send", "Notes", "--to", ":"]).ok();
        let second = ana.run(["send", "notes", "--to", ":"]);
        if policy == "refuse" {
            partly(&second, &["differ by case or by composition alone"]);
        } else {
            // A file that is sent alone is told its other name, and that is all there is to say.
            assert!(second.ok().contains("notes~1"), "{}", second.ok());
        }
        assert_eq!(dropped(&place.join("drop")), there);
        assert_eq!(fs::read(place.join("drop/Notes")).unwrap(), b"Notes");
    }
}

/// Much, and with something put in, something taken out and something changed.
fn versions() -> [Vec<u8>; 2] {
    let old = noise(3, 24 << 20);
    let mut new = old.clone();
    new.splice(5_000_001..5_000_001, noise(4, 777));
    new.drain(11_000_000..11_000_333);
    new[20_000_000] ^= 1;
    [old, new]
}

//= S5.100 (test)
//= S5.104 (test)
#[test]
fn a_newer_version_sends_what_changed_and_no_more() {
    let (place, proxy) = (Place::new(), Proxy::start());
    let drop = place.directory("drop");
    let (_server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
    let [old, new] = versions();
    // What goes both ways while something is sent: in a thousandth of the bytes.
    let passed = |arguments: &[&str]| {
        let before = proxy.sent() + proxy.received();
        ana.run([&["send"], arguments].concat()).ok();
        (proxy.sent() + proxy.received() - before) * 1_000 / new.len() as u64
    };
    for (to, options) in [("#ops", &[][..]), (":", &["--overwrite", "newer"][..])] {
        let send = [&["big.img", "--to", to], options].concat();
        set_version(&place, &old, 1_000_000_000);
        assert!(passed(&send) >= 1_000, "{to}: there is nothing yet");
        set_version(&place, &new, 1_000_000_001);
        let changed = passed(&send);
        assert!(changed < 30, "{to}: {changed} thousandths were sent of a newer version");
        let same = passed(&send);
        assert!(same < 10, "{to}: {same} thousandths were sent of the same");
        set_version(&place, &old, 1_000_000_002);
        let whole = passed(&[&send[..], &["--whole-file"]].concat());
        assert!(whole >= 1_000 || to == "#ops", "{to}: {whole} thousandths were sent of all of it");
        set_version(&place, &new, 1_000_000_003);
        passed(&send);
        assert_eq!(dropped(&drop).len(), usize::from(to == ":"));
    }
    assert!(fs::read(drop.join("big.img")).unwrap() == new);
    place.directory("in");
    ana.run(["get", "#ops:3", "--into", "in"]).ok();
    assert!(fs::read(place.join("in/big.img")).unwrap() == new);
}

fn set_version(place: &Place, content: &[u8], time: u64) {
    place.file("big.img", content);
    set_time(&place.join("big.img"), time);
}

//= S5.104 (test)
#[test]
fn a_newer_version_goes_on_in_a_new_process() {
    for (to, options) in [("#ops", &[][..]), (":", &["--overwrite", "always"][..])] {
        let (place, proxy) = (Place::new(), Proxy::start());
        let drop = place.directory("drop");
        let (_server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
        let send = [&["send", "big.img", "--to", to], options].concat();
        let old = noise(3, 24 << 20);
        place.file("big.img", &old);
        ana.run(&send).ok();
        // Its second half is another one: there is something to be cut off.
        let new = [&old[..12 << 20], &noise(5, 12 << 20)].concat();
        place.file("big.img", &new);
        let before = proxy.sent();
        proxy.hold_after(6 << 20);
        let mut sending = ana.start(&send);
        proxy.until_held();
        sending.kill();
        proxy.mend();
        ana.run(&send).ok();
        assert!(proxy.sent() - before < 30 << 20, "{to}: {} bytes", proxy.sent() - before);
        if to == ":" {
            assert_eq!(dropped(&drop), ["big.img"]);
            assert!(fs::read(drop.join("big.img")).unwrap() == new);
        } else {
            place.directory("in");
            ana.run(["get", "#ops:3", "--into", "in"]).ok();
            assert!(fs::read(place.join("in/big.img")).unwrap() == new);
        }
    }
}

/// On a disk that keeps attributes; others keep no prints, and say so.
#[test]
fn a_bit_that_flips_in_a_servers_directory_is_named_with_its_file_and_place() {
    let place = Place::new();
    place.directory("drop");
    let (_server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    tree(&place);
    fs::write(place.join("big"), noise(3, 1_000_000)).unwrap();
    ana.run(["send", "t", "--to", ":"]).ok();
    ana.run(["send", "big", "--to", ":"]).ok();
    if rustix::fs::getxattr(place.join("drop/big"), "user.hikyaku.print", &mut [0_u8; 4096]).is_err() {
        ana.run(["verify", "drop"]).fails(6, &["no receipt"]);
        return;
    }
    ana.run(["verify", "drop"]).ok();
    let flip = |file: &str, at: usize| {
        let time = fs::metadata(place.join(file)).unwrap().modified().unwrap();
        let mut bytes = fs::read(place.join(file)).unwrap();
        bytes[at] ^= 1;
        fs::write(place.join(file), bytes).unwrap();
        fs::File::options().write(true).open(place.join(file)).unwrap().set_modified(time).unwrap();
    };
    flip("drop/big", 200_000);
    flip("drop/t/deep/two", 5);
    let told = ana.run(["verify", "drop"]);
    told.fails(7, &["big: bytes 196608 to 262143", "t/deep/two: bytes 0 to", "2 of 5 entries"]);
    // Mended by whoever has what is right, and by nothing that looks at size and time alone.
    ana.run(["send", "big", "t", "--to", ":", "--checksum", "--overwrite", "always"]).ok();
    ana.run(["verify", "drop"]).ok();
    // Written to is not decayed, and what came otherwise is not known.
    fs::write(place.join("drop/big"), "another").unwrap();
    fs::write(place.join("drop/mine"), "mine").unwrap();
    ana.run(["verify", "drop"]).fails(1, &["big: another time", "1 files have no print"]);
}

#[test]
fn a_receipt_of_what_was_sent_of_a_tree_alone_is_none_of_the_whole() {
    let place = Place::new();
    place.directory("drop");
    let (server, ana) = server_with_room(&place, &["--into", "drop", "--no-prints"], "ops");
    tree(&place);
    let send = ["send", "t", "--to", ":"];
    let whole = ana.run(send).ok().split_whitespace().last().unwrap().to_owned();
    assert!(ana.run(["verify", "t"]).ok().contains(&whole));
    // All of it is there: what was sent were names, and what is known of the whole still holds.
    let names = ana.run(send);
    assert!(names.ok().contains("files not sent: 4") && names.ok().contains("  part "), "{names:#?}");
    assert!(ana.run(["verify", "t"]).ok().contains(&whole));
    fs::write(place.join("t/four"), "longer than it was before, and another").unwrap();
    let told = ana.run([&send[..], &["--overwrite", "always", "--json"]].concat());
    let part = told.json();
    assert_eq!((part["kept"].as_u64(), part["missing"].as_u64()), (Some(3), Some(0)));
    assert_ne!(part["root"], whole, "the root of what was sent");
    let says = ["only what had changed", "--checksum --dry-run"];
    ana.run(["verify", "t"]).fails(6, &says);
    // The server's record says it, too.
    let record = fs::read_to_string(server.data.join("transfers.jsonl")).unwrap();
    let last = common::json(record.lines().last().unwrap());
    assert_eq!((&last["root"], &last["kept"]), (&part["root"], &3.into()), "{record}");
    // Sent whole again, it has one.
    fs::remove_dir_all(place.join("drop/t")).unwrap();
    ana.run(send).ok();
    ana.run(["verify", "t"]).ok();
    // What was taken away is not missed by anybody who compares counts.
    fs::remove_file(place.join("t/deep/one")).unwrap();
    ana.run(send).ok();
    ana.run(["verify", "t"]).fails(6, &says);
}

/// Somebody with a directory `t` that has a file `f`, both with an extended attribute; `None` where the file system keeps none.
fn noted() -> Option<(Place, Server, Home, PathBuf)> {
    let place = Place::new();
    place.directory("drop");
    let (server, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    let at = place.directory("t");
    fs::write(at.join("f"), b"f").unwrap();
    if note(&at.join("f"), b"\x00\xff").is_err() {
        println!("skipped: no extended attributes on this file system");
        return None;
    }
    note(&at, b"\x00\xff").unwrap();
    Some((place, server, ana, at))
}

fn note(path: &Path, value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::setxattr(path, "user.note", value, XattrFlags::empty())
}

fn noted_of(path: &Path) -> Option<Vec<u8>> {
    let mut value = [0; 8];
    rustix::fs::getxattr(path, "user.note", &mut value).map(|len| value[..len].to_vec()).ok()
}

#[test]
fn extended_attributes_are_kept_where_they_are_asked_for() {
    let Some((place, _server, ana, _)) = noted() else { return };
    let get = |path: &str| noted_of(&place.join(path));
    ana.run(["send", "t", "--to", ":"]).ok();
    assert_eq!(get("drop/t/f"), None);
    fs::remove_dir_all(place.join("drop/t")).unwrap();
    ana.run(["send", "t", "--to", ":", "--xattrs"]).ok();
    assert_eq!((get("drop/t/f"), get("drop/t")), (Some(b"\x00\xff".to_vec()), Some(b"\x00\xff".to_vec())));
    // A file alone has them too, and the receipt knows.
    ana.run(["send", "t/f", "--to", ":", "--xattrs"]).ok();
    assert_eq!(get("drop/f"), Some(b"\x00\xff".to_vec()));
    ana.run(["verify", "t/f"]).ok();
}

#[test]
fn extended_attributes_that_changed_alone_are_a_reason_to_send_a_file_again_and_it_is_sent_once() {
    let Some((place, _server, ana, at)) = noted() else { return };
    let get = |path: &str| noted_of(&place.join(path));
    let never = ["send", "t", "--to", ":", "--xattrs"];
    let always = ["send", "t", "--to", ":", "--xattrs", "--overwrite", "always"];
    let stays = |command: &[&str]| ana.run(command).ok().contains("files not sent: 1");
    assert!(!stays(&never));
    assert!(stays(&always), "nothing has changed");
    note(&at.join("f"), b"other").unwrap();
    note(&at, b"third").unwrap();
    assert!(stays(&never), "what is there stays where nothing is to be replaced");
    assert_eq!(get("drop/t/f"), Some(b"\x00\xff".to_vec()));
    assert!(!stays(&always));
    assert_eq!((get("drop/t/f"), get("drop/t")), (Some(b"other".to_vec()), Some(b"third".to_vec())));
    assert!(stays(&always), "they are the same now");
    rustix::fs::removexattr(at.join("f"), "user.note").unwrap();
    assert!(!stays(&always));
    assert_eq!(get("drop/t/f"), None);
    assert!(stays(&always), "the server's own are none of them");

    // What is fetched over it is compared in the same way.
    note(&at.join("f"), b"room").unwrap();
    let sent = ana.run(["send", "t", "--to", "#ops", "--xattrs"]);
    let reference = sent.ok().split_whitespace().next().unwrap().to_owned();
    let into = place.directory("fetched");
    let fetch = ["get", &reference, "--into", into.to_str().unwrap(), "--overwrite", "always"];
    ana.run(fetch).ok();
    note(&into.join("t/f"), b"mine").unwrap();
    ana.run(fetch).ok();
    assert_eq!(noted_of(&into.join("t/f")), Some(b"room".to_vec()));
}
