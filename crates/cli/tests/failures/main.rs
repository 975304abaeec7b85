//! What goes wrong is said in one sentence, with what to do, and has the exit code that scripts rely on.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod unanswered;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use common::{
    PATIENCE, Place, Program, Proxy, Server, assert_harmless, dropped, hikyaku, names, noise, server_behind,
    server_with_room,
};
use rustix::process::Signal;

#[test]
fn a_server_with_another_key_is_refused() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    server.kill();
    let other = Server::serve(place.path(), &place.join("other"), server.address, &[], None);
    for transport in ["tcp", "quic", "auto"] {
        let ana = ana.clone().over(transport);
        ana.run(["say", "ops", "secret"])
            .fails(4, &["another host answered", "nothing was sent", "new invite"]);
        ana.run(["status"]).fails(4, &["another host answered"]);
    }
    // Nor does an invite work with anybody but the host that it names.
    let ben = place.home("ben").over("tcp");
    ben.run_with(["join", "-"], server.invite()).fails(4, &["another host answered", "new invite"]);
    assert_eq!(other.program.err.seen(), [""; 0]);
}

#[test]
fn a_used_invite_an_expired_and_a_foreign_one_are_refused() {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "ops");
    let ben = place.home("ben").over("tcp");
    let new = ["ask for a new invite"];
    ben.run_with(["join", "-"], server.invite()).fails(4, &["used", new[0]]);
    let short = ana.run(["invite", "create", "--ttl", "1s"]);
    let begun = Instant::now();
    while ana.run(["invite", "list"]).ok().lines().count() > 0 {
        assert!(begun.elapsed() < PATIENCE);
    }
    ben.run_with(["join", "-"], short.ok()).fails(4, &["expired", new[0]]);
    let link = ana.run(["invite", "create"]);
    let (front, secret) = link.ok().rsplit_once('.').unwrap();
    let wrong = format!("{}{}", if secret.starts_with('a') { 'b' } else { 'a' }, &secret[1..]);
    ben.run_with(["join", "-"], &format!("{front}.{wrong}")).fails(4, &["invite", new[0]]);
    // After all that the right one still works, with the same key of this computer.
    ben.join(link.ok(), "ben");
}

#[test]
fn a_name_that_is_taken_or_none_is_refused_and_the_invite_stays_good() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = place.home("ben").over("tcp");
    let link = ana.run(["invite", "create"]);
    ben.run_with(["join", "-", "--name", "ana"], link.ok()).fails(1, &["taken by another user", "--name"]);
    for name in ["a\u{1b}[2Jb", "a b", "", "\u{202e}ana"] {
        ben.run_with(["join", "-", "--name", name], link.ok()).fails(1, &["name", "--name"]);
    }
    ben.join(link.ok(), "ben");
    let again = ben.run_with(["join", "-", "--name", "other"], link.ok());
    again.fails(2, &["knows that server already", "hikyaku server forget"]);
}

#[test]
fn a_revoked_device_is_cut_off_at_once() {
    for transport in ["tcp", "quic"] {
        let place = Place::new();
        let (_server, ana) = server_with_room(&place, &[], "ops");
        ana.run(["say", "ops", "hello"]).ok();
        let phone = place.home("phone").over(transport);
        phone.run_with(["join", "-", "--device", "phone"], ana.run(["device", "add"]).ok()).ok();
        let following = follow_live(&phone, &ana);
        let begun = Instant::now();
        ana.run(["device", "revoke", "phone"]).ok();
        let done = following.finish();
        println!("over {transport}: revoking took {:?}, and the device was cut off then", begun.elapsed());
        assert_eq!(done.code(), 4, "{done:#?}");
        assert!(done.err.contains("revoked") && done.err.contains("ask for an invite"), "{done:#?}");
        phone.run(["say", "ops", "me again"]).fails(4, &["not enrolled", "hikyaku join"]);
        assert_eq!(ana.texts("ops"), ["hello", "live"]);
    }
}

#[test]
fn a_server_takes_all_descriptors_it_may_have_and_refuses_too_few() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.program.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = line.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert_eq!(soft, hard);
    let program = hikyaku(place.path());
    let mut few = std::process::Command::new("sh");
    few.args(["-c", "ulimit -n 255 && exec \"$0\" serve --data few --listen 127.0.0.1:0"]);
    few.arg(program.get_program()).current_dir(place.path());
    Program::start(few, None).finish().fails(1, &["needs 256 descriptors", "may have 255", "ulimit"]);
}

#[test]
fn a_user_revoked_in_the_middle_of_an_upload_is_cut_off_and_nothing_of_it_gets_a_name() {
    for target in [":", "#ops"] {
        let (place, proxy) = (Place::new(), Proxy::start());
        let drop = place.directory("drop");
        let (server, ana) = server_behind(&place, &proxy, &["--into", "drop"]);
        let ben = place.home("ben").over("tcp");
        ben.join(ana.run(["invite", "create", "--role", "owner"]).ok(), "ben");
        place.file("big.iso", &noise(7, 24 << 20));
        proxy.hold_after(12 << 20);
        let sending = ben.start(["send", "big.iso", "--to", target]);
        proxy.until_held();
        let begun = Instant::now();
        ana.run(["user", "revoke", "@ben", "--data", server.data()]).ok();
        println!("to {target}: revoking took {:?}", begun.elapsed());
        proxy.mend();
        let done = sending.finish();
        assert_eq!(done.code(), 4, "{done:#?}");
        assert!(done.err.contains("revoked"), "{done:#?}");
        // What is unfinished waits in a directory of ours until it is swept.
        let finished: Vec<_> = names(&drop).into_iter().filter(|name| name != ".hikyaku").collect();
        assert_eq!(finished, [""; 0]);
        let settled = ana.events("ops").into_iter().filter(|event| event["status"] == "settled").count();
        assert_eq!(settled, 0);
        ben.run(["send", "big.iso", "--to", target]).fails(4, &["not enrolled"]);
    }
}

/// `reader` follows the room, and has seen that what is said now arrives: its connection stands.
fn follow_live(reader: &common::Home, writer: &common::Home) -> Program {
    let following = reader.start(["tail", "ops", "-f"]);
    following.out.until(|line| line.ends_with("hello"));
    writer.run(["say", "ops", "live"]).ok();
    following.out.until(|line| line.ends_with("live"));
    following
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "hello"]).ok();
    let rooms = "hikyaku room list";
    ana.run(["say", "nope", "hello"]).fails(6, &["#nope", "no such room", rooms]);
    ana.run(["tail", "nope"]).fails(6, &["#nope", "no such room", rooms]);
    ana.run(["tail", "nope", "-f"]).fails(6, &["#nope", "no such room", rooms]);
    ana.run(["chat", "nope"]).fails(6, &["#nope", "no such room", rooms]);
    ana.run(["get", "#nope:1"]).fails(6, &["#nope:1", "no such room", rooms]);
    ana.run(["get", "#ops:99"]).fails(6, &["#ops:99 is not a parcel", "hikyaku tail"]);
    ana.run(["get", "#ops:1"]).fails(6, &["#ops:1 is not a parcel", "hikyaku tail"]);
    ana.run(["get", "#ops:1", "--into", "nowhere"]).fails(6, &["nowhere", "--into names a directory"]);
    place.file("f", b"f");
    ana.run(["send", "f", "--to", "#nope"]).fails(6, &["f: ", "no such room", rooms]);
    ana.run(["send", "missing", "--to", "#ops"]).fails(6, &["missing", "No such file"]);
    ana.run(["device", "revoke", "toaster"]).fails(6, &["no device 'toaster'", "device list"]);
    ana.run(["server", "use", "mars"]).fails(6, &["no server is known here as 'mars'", "known: "]);
    ana.run(["--server", "mars", "status"]).fails(6, &["no server is known here as 'mars'"]);
    place.home("nobody").run(["say", "ops", "hello"]).fails(6, &["knows no server yet", "hikyaku join"]);
    let door = place.home("nobody").run(["user", "list", "--data", "nowhere"]);
    door.fails(3, &["no server is running on nowhere", "--data DIR"]);
}

#[test]
fn mistakes_in_typing_are_usage_errors() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    place.file("f", b"f");
    let link = "hikyaku://HOST:PORT/#";
    ana.run_with(["join", "-"], "hello").fails(2, &["no invite link", link]);
    ana.run_with(["join", "-"], "").fails(2, &["no invite link", link]);
    ana.run_with(["join", "-"], "hikyaku://h:1/#a.b.c").fails(2, &["no invite link", link]);
    ana.run_with(["join", "-"], "hikyaku://h:1/#\u{1b}[2J").fails(2, &["no invite link", link]);
    ana.run(["say"]).fails(2, &["<ROOM>"]);
    ana.run(["say", "a b", "hello"]).fails(2, &["room"]);
    ana.run(["say", "ops", "hello", "--timeout", "soon"]).fails(2, &["90s, 10m, 24h, 7d"]);
    ana.run(["tail", "ops", "--since", "yesterday"]).fails(2, &["2026-11-22"]);
    ana.run(["tail", "ops", "-n", "3", "--after", "1"]).fails(2, &["cannot be used with"]);
    ana.run(["get", "ops"]).fails(2, &["'#ops:17'"]);
    ana.run(["send", "f", "--to", "@ana/"]).fails(2, &["@ana/"]);
    ana.run(["send", "f", "--to", ":../f"]).fails(2, &["'.' or '..'"]);
    ana.run(["send", "--to", "#ops"]).fails(2, &["<PATH>"]);
    ana.run(["invite", "cancel", "x"]).fails(2, &["invite", "hikyaku invite list"]);
    ana.clone().over("pigeon").run(["status"]).fails(2, &["pigeon", "auto", "quic"]);
    ana.run(["frobnicate"]).fails(2, &["frobnicate"]);
    let mut serve = hikyaku(place.path());
    serve.args(["serve", "--data", "x", "--listen", "nonsense"]);
    Program::start(serve, None).finish().fails(2, &["--listen"]);
}

#[test]
fn a_server_that_does_not_answer_is_unreachable() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    server.kill();
    let says = ["no address could be reached", "is the server running"];
    ana.run(["status"]).fails(3, &says);
    ana.run(["tail", "ops"]).fails(3, &says);
    ana.run(["say", "ops", "hello", "--timeout", "1s"]).fails(3, &["was not sent to #ops", says[1]]);
    assert_eq!(ana.run(["server", "list"]).code(), 0, "what is known here needs no server");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let address = server.address.to_string();
    let serve = |arguments: &[&str]| {
        let mut command = hikyaku(place.path());
        command.arg("serve").args(arguments);
        Program::start(command, None).finish()
    };
    let free = "127.0.0.1:0";
    serve(&["--data", "other", "--listen", &address])
        .fails(1, &[&address, "Address already in use", "--listen"]);
    serve(&["--data", server.data(), "--listen", free])
        .fails(1, &["another hikyaku server is using", server.data(), "choose another data directory"]);
    serve(&["--data", "new", "--listen", free, "--into", "nowhere"])
        .fails(6, &["--into: nowhere", "must be a directory"]);
    serve(&["--data", "new2", "--listen", "192.0.2.1:0"]).fails(1, &["192.0.2.1", "ip address"]);
    serve(&["--data", "new3", "--listen", free, "--advertise", "a b"]).fails(2, &["--advertise a b"]);
    let file = place.file("file", b"");
    serve(&["--data", file.to_str().unwrap(), "--listen", free]).fails(1, &["file"]);
    place.directory("foreign");
    place.file("foreign/store.sqlite", &noise(1, 8192));
    let done = serve(&["--data", "foreign", "--listen", free]);
    assert!(matches!(done.code(), 1 | 7) && done.err.contains("foreign"), "{done:#?}");
    // The one that runs has noticed nothing of all that.
    place.home("ana").join(server.invite(), "ana");
}

#[test]
fn a_directory_without_permission_is_said_to_be_one() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(place.path(), 0o755);
    set(&place.directory("closed"), 0o500);
    let serve = |data: &str| {
        let mut command = hikyaku(place.path());
        command.args(["serve", "--data", data, "--listen", "127.0.0.1:0"]);
        if rustix::process::geteuid().is_root() {
            // Modes do not stop root: it is nobody who tries.
            command.uid(65_534).gid(65_534);
        }
        command
    };
    if let Err(error) = serve("closed/data").arg("--help").output() {
        println!("skipped: nobody may not run the program where it was built: {error}");
        return;
    }
    Program::start(serve("closed/data"), None)
        .finish()
        .fails(5, &["closed/data", "Permission denied", "--data DIR"]);
}

#[test]
fn the_servers_directory_takes_nothing_it_must_not() {
    let place = Place::new();
    let (_without, ana) = server_with_room(&place, &[], "ops");
    place.file("f", b"new");
    ana.run(["send", "f", "--to", ":"]).fails(5, &["no drop directory", "serve --into DIR"]);

    let place = Place::new();
    let drop = place.directory("drop");
    let (_with, ana) = server_with_room(&place, &["--into", "drop"], "ops");
    let ben = place.home("ben").over("tcp");
    ben.join(ana.run(["invite", "create"]).ok(), "ben");
    place.file("f", b"new");
    place.file(".hidden", b"dot");
    ben.run(["send", "f", "--to", ":"]).fails(5, &["you may not put files", "hikyaku user allow ben drop"]);
    std::fs::write(drop.join("f"), b"old").unwrap();
    std::os::unix::fs::symlink("/tmp", drop.join("link")).unwrap();
    let kept = ana.run(["send", "f", "--to", ":"]);
    assert!(kept.code() == 10 && kept.err.contains("f: something of that name exists"), "{kept:#?}");
    assert_eq!(std::fs::read(drop.join("f")).unwrap(), b"old");
    ana.run(["send", ".hidden", "--to", ":"]).fails(1, &[".hidden", "name"]);
    let outside = ana.run(["send", "f", "--to", ":link"]);
    assert!(outside.code() != 0 && outside.err.contains("f: "), "{outside:#?}");
    assert_eq!(dropped(&drop), ["f", "link"]);
}

#[test]
fn of_several_files_those_that_can_be_sent_are_sent() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    place.file("a", b"a");
    place.file("c", b"c");
    let done = ana.run(["send", "a", "b", "c", "--to", "#ops", "--json"]);
    assert_eq!(done.code(), 10, "{done:#?}");
    let objects = done.objects(&["done", "failed"]);
    let types: Vec<_> = objects.iter().map(|object| object["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["done", "failed", "done"]);
    assert_eq!((&objects[1]["path"], &objects[1]["exit"]), (&"b".into(), &6.into()));
    assert!(done.err.contains("1 of 3 files were not sent"), "{done:#?}");
}

#[test]
fn malformed_first_bytes_harm_nobody() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    let following = ana.start(["tail", "ops", "-f"]);
    let first: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 600],
        &[0x16, 0x03, 0x01, 0xff, 0xff],
        &[0x16, 0x03, 0x03, 0x00, 0x04, 0x01, 0xff, 0xff, 0xff],
        b"\x1b]0;owned\x07\x1b[2J",
    ];
    let random = noise(7, 4096);
    let mut open = Vec::new();
    for bytes in first.into_iter().chain([&random[..], b""]) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may have had enough before everything is written.
        let _ = stream.write_all(bytes);
        open.push(stream);
    }
    // While they are open, and while they are thrown out one by one, everybody else goes on.
    assert_eq!(ana.run(["say", "ops", "still here"]).ok(), "#ops:1");
    following.out.until(|line| line.ends_with("still here"));
    let mut rest = Vec::new();
    for mut stream in open {
        // An alert or nothing, and then the end: closed or reset.
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(ana.run(["say", "ops", "and still"]).ok(), "#ops:2");
    following.out.until(|line| line.ends_with("and still"));
    assert!(server.program.is_running());
    assert_harmless(&server.program.err.seen().join("\n"));
}

#[test]
fn a_port_where_something_else_answers_is_unreachable() {
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    server.kill();
    let stranger = TcpListener::bind(server.address).unwrap();
    std::thread::spawn(move || {
        for client in stranger.incoming() {
            let mut client = client.unwrap();
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\x1b[2J");
        }
    });
    let done = ana.run(["status"]);
    done.fails(3, &["no address could be reached", "is the server running"]);
}

#[test]
fn whoever_reads_the_output_may_go_away() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    for number in 0..5 {
        ana.run(["say", "ops", &format!("{number} {}", "x".repeat(60_000))]).ok();
    }
    let mut command = ana.command(["tail", "ops"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert_eq!(done.status.code(), Some(0));
    // Nor is it a reason to fall over when nobody reads the complaints.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = ana.command(["tail", "nope"]).stdin(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(6));
}

#[test]
fn ctrl_c_interrupts_a_client() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "hello"]).ok();
    let following = ana.start(["tail", "ops", "-f"]);
    following.out.until(|line| line.ends_with("hello"));
    following.signal(Signal::INT);
    let done = following.finish();
    assert_eq!((done.code(), done.err.as_str()), (130, "hikyaku: interrupted\n"));
}

#[test]
fn a_server_that_is_told_to_stop_drains_and_comes_back_to_its_readers() {
    for (transport, signal) in [("tcp", Signal::TERM), ("quic", Signal::TERM), ("tcp", Signal::INT)] {
        let place = Place::new();
        let (mut server, ana) = server_with_room(&place, &[], "ops");
        ana.run(["say", "ops", "hello"]).ok();
        let ana = ana.over(transport);
        let following = follow_live(&ana, &ana);
        server.program.signal(signal);
        server.program.err.until(|line| line.contains("stopping"));
        let done =
            std::mem::replace(&mut server.program, Program::start(hikyaku(place.path()), None)).finish();
        assert_eq!(done.code(), 0, "{done:#?}");
        println!("over {transport}: drained in {:?}", done.took);
        assert!(!server.data.join("admin.sock").exists());
        server.restart();
        ana.run(["say", "ops", "back"]).ok();
        following.out.until(|line| line.ends_with("back"));
    }
}

#[test]
fn nothing_that_a_peer_says_reaches_a_terminal_or_a_log_unescaped() {
    let place = Place::new();
    let server = Server::start_with_log(
        &place,
        "trace",
        &["--into", "drop-is-made-below"]
            .map(|_| "")
            .iter()
            .filter(|o| !o.is_empty())
            .copied()
            .collect::<Vec<_>>(),
    );
    let ana = place.home("ana").over("tcp");
    ana.join(server.invite(), "ana");
    ana.run(["room", "create", "ops", "--topic", "\u{1b}]0;topic\u{7}\u{9b}2J"]).ok();
    let hostile = "a\u{1b}[2J\u{7}\r\u{8}\u{9b}31m\u{202e}b\u{2028}c\u{7f}\n#ops:99  2026-11-22 20:03:12  root: all is well";
    ana.run(["say", "ops", hostile]).ok();
    let evil = "e\u{1b}[31m\u{202e}vil\u{9b}.txt";
    let into = place.directory("into");
    place.file(evil, b"evil");
    let sent = ana.run(["send", evil, "--to", "#ops"]);
    println!("{sent:?}");
    ana.run(["say", "ops", "x", "--key", "k\u{1b}[2J"]).ok();
    ana.run(["say", "ops", "y", "--key", "k\u{1b}[2J"]).fails(1, &["stands for another message"]);
    ana.run(["say", "\u{1b}[2J", "x"]).fails(2, &["room"]);
    ana.run(["--server", "\u{1b}[2J", "status"]).fails(6, &["no server is known"]);
    for words in [
        &["tail", "ops"][..],
        &["tail", "ops", "--json"],
        &["room", "list"],
        &["room", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["device", "list"],
        &["user", "list"],
    ] {
        let done = ana.run(words);
        assert_harmless(done.ok());
        if words == ["tail", "ops"] {
            let forged = done.out.lines().filter(|line| line.starts_with("#ops:99")).count();
            assert_eq!(forged, 0, "a second line must not look like an event: {done:#?}");
        }
    }
    // As JSON the text is nevertheless what was said.
    assert!(ana.texts("ops").contains(&hostile.to_owned()));
    let got = ana.run(["get", "#ops:3", "--into", into.to_str().unwrap()]);
    ana.run(["send", "no\u{1b}[2J\u{9b}", "--to", "#ops"]).fails(6, &["No such file"]);
    assert_harmless(&got.out);
    assert_harmless(&got.err);
    server.program.signal(Signal::TERM);
    let done = server.program.finish();
    assert_harmless(&done.err);
    assert!(done.err.len() > 1000, "the log was not asked for everything");
}
