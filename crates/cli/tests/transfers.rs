//! Files, when the cable breaks, a process dies or a disk is full: they go on where they stopped, and nothing half
//! written ever has a final name.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Home, Place, Program, Proxy, dropped, json, names, noise, server_behind, server_with_room};
use rustix::process::Signal;

/// Larger than what may be lost, so that beginning again would show.
const SIZE: u64 = 160 << 20;
/// Where the break is.
const BREAK: u64 = 120 << 20;
/// What may be sent again after a break: what was verified since the last mark, and what was on its way: a stream's
/// credit and what the kernel holds for three sockets.
const AGAIN: u64 = (64 << 20) + (16 << 20) + (16 << 20);
/// What TLS, QMux and the session add to the bytes of a file: less than three in a hundred.
const WRAPPED: u64 = SIZE + SIZE / 33;

/// The places where a file may go.
const TARGETS: [&str; 2] = [":", "#ops"];

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    for target in TARGETS {
        let upload = Upload::begin();
        let mut server = upload.server;
        let sending = upload.ana.start(["send", "big.iso", "--to", target, "--json"]);
        upload.proxy.until_held();
        server.kill();
        assert_eq!(final_names(&upload.drop), [""; 0], "nothing has its final name yet");
        upload.proxy.cut_after(0);
        server.restart();
        upload.proxy.mend();
        upload.proxy.lead_to(server.address);
        check(sending.finish().json(), target, &upload.root, upload.proxy.sent() - upload.before);
        arrived(&upload.place, &upload.ana, target, &upload.root);
    }
}

#[test]
fn an_upload_goes_on_in_a_new_process() {
    for target in TARGETS {
        let upload = Upload::begin();
        let mut sending = upload.ana.start(["send", "big.iso", "--to", target]);
        upload.proxy.until_held();
        sending.kill();
        assert_eq!(final_names(&upload.drop), [""; 0], "nothing has its final name yet");
        upload.proxy.mend();
        let done = upload.ana.run(["send", "big.iso", "--to", target, "--json"]);
        check(done.json(), target, &upload.root, upload.proxy.sent() - upload.before);
        arrived(&upload.place, &upload.ana, target, &upload.root);
    }
}

#[test]
fn an_upload_goes_on_after_both_were_killed() {
    let upload = Upload::begin();
    let mut server = upload.server;
    let mut sending = upload.ana.start(["send", "big.iso", "--to", "#ops"]);
    upload.proxy.until_held();
    server.kill();
    sending.kill();
    upload.proxy.mend();
    server.restart();
    let done = upload.ana.run(["send", "big.iso", "--to", "#ops", "--json"]);
    check(done.json(), "#ops", &upload.root, upload.proxy.sent() - upload.before);
    arrived(&upload.place, &upload.ana, "#ops", &upload.root);
    let kinds: Vec<_> = upload.ana.events("ops").iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["parcel", "parcel-end"], "one parcel with one end");
}

#[test]
fn a_download_goes_on_in_a_new_process_and_after_the_server_was_killed() {
    let upload = Upload::begin();
    upload.proxy.mend();
    let (place, ana, proxy, mut server) = (upload.place, upload.ana, upload.proxy, upload.server);
    ana.run(["send", "big.iso", "--to", "#ops"]).ok();
    let into = place.directory("into");
    let before = proxy.received();
    // Once the client dies, once the server. A server that hears nothing any more gives no more than it has credit for: so
    // nothing is whole before.
    proxy.deafen_after(SIZE / 3);
    let mut getting = ana.start(["get", "#ops:1", "--into", "into"]);
    proxy.until_received(before + SIZE / 3);
    getting.kill();
    proxy.mend();
    assert!(names(&into).iter().all(|name| name.starts_with(".hikyaku-")), "{:?}", names(&into));
    let getting = ana.start(["get", "#ops:1", "--into", "into", "--json"]);
    let reached = proxy.received();
    proxy.until_received(reached + SIZE / 3);
    server.kill();
    server.restart();
    let got = getting.finish().json();
    assert_eq!((&got["root"], &got["bytes"]), (&upload.root.clone().into(), &SIZE.into()));
    let received = proxy.received() - before;
    println!("{} of {} MiB came again after two breaks", received.saturating_sub(SIZE) >> 20, SIZE >> 20);
    assert!(received <= WRAPPED + 2 * AGAIN);
    assert_eq!(names(&into), ["big.iso"], "and nothing else");
    assert_eq!(hash(&into.join("big.iso")), upload.root);
}

#[test]
fn a_file_that_changed_meanwhile_is_sent_anew() {
    let upload = Upload::begin();
    let mut sending = upload.ana.start(["send", "big.iso", "--to", ":"]);
    upload.proxy.until_held();
    sending.kill();
    upload.proxy.mend();
    let content = noise(99, 1 << 20);
    upload.place.file("big.iso", &content);
    let sent = upload.ana.run(["send", "big.iso", "--to", ":", "--json"]).json();
    assert_eq!(
        (&sent["bytes"], &sent["root"]),
        (&(1 << 20).into(), &blake3::hash(&content).to_string().into())
    );
    assert_eq!(final_names(&upload.drop), ["big.iso"]);
}

#[test]
fn ctrl_c_leaves_an_upload_that_can_go_on() {
    let upload = Upload::begin();
    let sending = upload.ana.start(["send", "big.iso", "--to", ":"]);
    upload.proxy.until_held();
    sending.signal(Signal::INT);
    assert_eq!(sending.finish().code(), 130);
    upload.proxy.mend();
    let done = upload.ana.run(["send", "big.iso", "--to", ":", "--json"]);
    check(done.json(), ":", &upload.root, upload.proxy.sent() - upload.before);
    arrived(&upload.place, &upload.ana, ":", &upload.root);
}

#[test]
fn a_small_disk_refuses_at_once_and_keeps_the_rooms_alive() {
    let place = Place::new();
    let disk = place.directory("disk");
    let Some(_mounted) = SmallDisk::mount(&disk) else { return };
    // The vault leaves room for the log: such a disk has none for files at all.
    let (server, ana) = on_the_disk(&place, "disk/data", &[]);
    place.file("f", &noise(1, 1 << 20));
    let says = ["f: ", "full", "make room on the server"];
    ana.run(["send", "f", "--to", "#ops"]).fails(8, &says);
    assert_eq!(ana.run(["say", "ops", "there is room for words"]).ok().split(':').next(), Some("#ops"));
    // Not even for those, once it is full to the brim.
    let filler = fill(&disk);
    let done = say_until_refused(&ana);
    done.fails(8, &["full", "make room on the server"]);
    let told = ana.texts("ops");
    std::fs::remove_file(filler).unwrap();
    ana.run(["say", "ops", "and again"]).ok();
    let texts = ana.texts("ops");
    assert_eq!((&texts[..told.len()], texts.last().unwrap().as_str()), (&told[..], "and again"));
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.finish().code(), 0);
}

#[test]
fn a_small_drop_directory_and_a_small_download_directory_refuse_at_once() {
    let place = Place::new();
    let disk = place.directory("disk");
    let Some(_mounted) = SmallDisk::mount(&disk) else { return };
    let (_server, ana) = on_the_disk(&place, "data", &["--into", "disk"]);
    let content = noise(1, 32 << 20);
    place.file("f", &content);
    ana.run(["send", "f", "--to", ":"]).fails(8, &["f: ", "full", "make room on the server"]);
    assert_eq!(dropped(&disk), [""; 0]);
    ana.run(["send", "f", "--to", "#ops"]).ok();
    ana.run(["get", "#ops:1", "--into", "disk"]).fails(8, &["#ops:1", "full", "--into"]);
    assert_eq!(dropped(&disk), [""; 0]);
    place.directory("elsewhere");
    ana.run(["get", "#ops:1", "--into", "elsewhere"]).ok();
    assert_eq!(std::fs::read(place.join("elsewhere/f")).unwrap(), content);
}

/// A server behind a cable that stops in the middle of `big.iso`.
struct Upload {
    place: Place,
    proxy: Proxy,
    server: common::Server,
    ana: Home,
    drop: PathBuf,
    root: String,
    /// Bytes that had gone to the server before.
    before: u64,
}

impl Upload {
    fn begin() -> Self {
        let (place, proxy) = (Place::new(), Proxy::start());
        let drop = place.directory("drop");
        let (server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
        let content = noise(SIZE, usize::try_from(SIZE).unwrap());
        let root = blake3::hash(&content).to_string();
        place.file("big.iso", &content);
        let before = proxy.sent();
        proxy.hold_after(BREAK);
        Self { place, proxy, server, ana, drop, root, before }
    }
}

/// The receipt is right, and what went to the server is the file and little more.
#[track_caller]
fn check(sent: serde_json::Value, target: &str, root: &str, passed: u64) {
    assert_eq!(
        (&sent["root"], &sent["bytes"], &sent["synced"]),
        (&root.into(), &SIZE.into(), &"each".into())
    );
    let reference = if target == ":" { ":big.iso" } else { "#ops:1" };
    assert_eq!(sent["reference"], reference);
    println!(
        "to {target}: {} of {} MiB went again after the break",
        passed.saturating_sub(SIZE) >> 20,
        SIZE >> 20
    );
    assert!(passed <= WRAPPED + AGAIN, "{passed} bytes went to the server");
}

/// The file is there, and nothing else is.
#[track_caller]
fn arrived(place: &Place, ana: &Home, target: &str, root: &str) {
    if target == ":" {
        assert_eq!(dropped(&place.join("drop")), ["big.iso"]);
        assert_eq!(hash(&place.join("drop/big.iso")), root);
    } else {
        place.directory("got");
        ana.run(["get", "#ops:1", "--into", "got"]).ok();
        assert_eq!(names(&place.join("got")), ["big.iso"]);
        assert_eq!(hash(&place.join("got/big.iso")), root);
    }
}

/// What a drop directory has beside what is unfinished.
fn final_names(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name != ".hikyaku").collect()
}

fn hash(path: &Path) -> String {
    blake3::hash(&std::fs::read(path).unwrap()).to_string()
}

fn on_the_disk(place: &Place, data: &str, options: &[&str]) -> (common::Server, Home) {
    let server = common::Server::start_on(place, data, options);
    let ana = place.home("ana").over("tcp");
    ana.join(server.invite(), "ana");
    ana.run(["room", "create", "ops"]).ok();
    (server, ana)
}

/// Writes until the disk has no byte left.
fn fill(disk: &Path) -> PathBuf {
    use std::io::Write as _;
    let path = disk.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}

/// The log has pages of its own to fill first.
fn say_until_refused(ana: &Home) -> common::Done {
    for number in 0..400 {
        let done = Program::start(ana.command(["say", "ops"]), Some(&vec![b'a' + number as u8 % 26; 60_000]))
            .finish();
        if done.code() != 0 {
            return done;
        }
    }
    unreachable!("a full disk took 400 messages of 60,000 bytes");
}

/// 16 MiB of memory as a file system, until this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with the reason printed, where this user or computer may not mount anything.
    fn mount(at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(at).output();
        match done {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            Ok(done) => {
                println!("skipped: no small disk here: {}", String::from_utf8_lossy(&done.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: no small disk here: mount: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server may still be about to let go of it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn every_line_of_json_about_files_has_its_version() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    place.file("f", b"f");
    for words in [&["send", "f", "--to", "#ops", "--json"][..], &["get", "#ops:1", "--json", "--into", "ana"]]
    {
        ana.run(words).ok().lines().for_each(|line| drop(json(line)));
    }
}
