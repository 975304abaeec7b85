//! The scene of README, "drop a folder in a room", played by the real program on terminals, and written down as text and as
//! an asciicast. `cargo xtask scene` writes both anew; without it, they are compared with what the program shows today.
//!
//! What varies is made the same: times of day, how far a transfer is at a moment, what the server is called. Nothing waits
//! for a time: each picture is taken when what it is about is to be seen.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Home, Place, Proxy, Terminal, at_one_time, noise, server_with_room};

const COLUMNS: u16 = 80;
const ROWS: u16 = 9;
const BEGIN: &str = "<!-- the scene: written by `cargo xtask scene` -->\n";
const END: &str = "<!-- the end of the scene -->\n";

/// The pictures of one terminal, one after the other.
#[derive(Default)]
struct Pictures(Vec<String>);

impl Pictures {
    /// Waits until something is to be seen, and takes a picture.
    #[track_caller]
    fn take(&mut self, terminal: &Terminal, is: impl Fn(&str) -> bool) -> String {
        let picture = the_same(&terminal.until(is));
        if self.0.last() != Some(&picture) {
            self.0.push(picture.clone());
        }
        picture
    }

    /// As an asciicast, version 2: every picture drawn whole, two seconds after the one before.
    fn cast(&self) -> String {
        let title = "Ben's terminal: Ana drops a folder in the room, Eva takes it while it is being sent";
        let head = serde_json::json!({ "version": 2, "width": COLUMNS, "height": ROWS, "title": title });
        let frames = self.0.iter().enumerate().map(|(number, picture)| {
            let rows = picture.trim_end_matches('\n').replace('\n', "\r\n");
            // What is typed next stands behind the prompt.
            let drawn = format!("\u{1b}[H\u{1b}[2J{rows} ");
            serde_json::json!([number as f64 * 2.0, "o", drawn])
        });
        let lines = std::iter::once(head).chain(frames);
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// With everything that varies as it was when somebody looked.
fn the_same(picture: &str) -> String {
    let mut out = String::new();
    for line in at_one_time(picture).lines() {
        let line = match (line.split_once('('), line.split_once(" so far)")) {
            (Some((before, _)), Some((_, after))) => format!("{before}(1.25 MiB so far){after}"),
            _ => line.to_owned(),
        };
        let line = match (line.split_once(" on "), line.split_once("; Ctrl-D")) {
            (Some((before, _)), Some((_, after))) => format!("{before} on home; Ctrl-D{after}"),
            _ => line,
        };
        out += &line;
        out.push('\n');
    }
    out
}

/// A folder that is the same wherever it is made.
fn dataset(place: &Place) -> PathBuf {
    let top = place.directory("dataset");
    let march = top.join("march");
    std::fs::create_dir(&march).unwrap();
    for (number, path) in
        ["notes.txt", "march/01.csv", "march/02.csv", "march/03.csv"].into_iter().enumerate()
    {
        let length = if number == 0 { 900 } else { 1_000_000 };
        std::fs::write(top.join(path), noise(number as u64, length)).unwrap();
        settle(&top.join(path), 0o644);
    }
    settle(&march, 0o755);
    settle(&top, 0o755);
    top
}

fn settle(path: &Path, mode: u32) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_377_792);
    std::fs::File::open(path).unwrap().set_modified(then).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn member(place: &Place, ana: &Home, name: &str) -> Home {
    let home = place.home(name).over("tcp");
    home.join(ana.run(["invite", "create"]).ok().trim(), name);
    home.run(["room", "join", "lab"]).ok();
    home.within(&place.directory(&format!("{name}-is-here")))
}

fn play() -> (String, String) {
    let place = Place::new();
    let (server, ana) = server_with_room(&place, &[], "lab");
    let (ben, eva) = (member(&place, &ana, "ben"), member(&place, &ana, "eva"));
    dataset(&place);
    let reference = format!("#lab:{}", ana.events("lab").len() + 1);
    let mut seen = Pictures::default();
    let mut talk = Terminal::start(ben.command(["chat", "#lab"]), COLUMNS, ROWS);
    seen.take(&talk, |picture| picture.contains("Ctrl-D leaves") && picture.ends_with("#lab\n"));
    // Not before people have read: over a cable that is held.
    let cable = Proxy::start();
    cable.lead_to(server.address);
    let desk = place.home("desk").over("tcp");
    let link = ana.run(["device", "add"]).ok().replace(&server.address.to_string(), &cable.address());
    desk.run_with(["join", "-", "--device", "desk"], &link).ok();
    cable.hold_after(1_300_000);
    let sending = desk.start(["send", "dataset", "--to", "#lab"]);
    cable.until_held();
    let early =
        seen.take(&talk, |picture| picture.contains("ana sends dataset/ (") && picture.contains("so far)"));
    let taking = eva.start(["get", &reference]);
    talk.type_in("is that all of March?");
    seen.take(&talk, |picture| picture.ends_with("March?\n") && picture.contains("so far)"));
    talk.type_in("\r");
    seen.take(&talk, |picture| picture.contains("March?\n#lab\n"));
    ana.run(["say", "lab", "yes, and my notes"]).ok();
    seen.take(&talk, |picture| picture.contains("my notes"));
    cable.mend();
    let (sent, taken) = (sending.finish(), taking.finish());
    let last = seen.take(&talk, |picture| picture.contains("in 1 of 2 hands"));
    let text = format!(
        "Ana drops a folder in the room:\n\n```\n$ hikyaku send dataset --to '#lab'\n{}\n```\n\n\
         Ben, who talks there, sees how far it is:\n\n```\n{early}```\n\n\
         Eva does not wait until it is whole (`get` gives it its name when it is):\n\n```\n$ hikyaku get '{reference}'\n{}\n```\n\n\
         And the line that Ben saw first has changed in its place:\n\n```\n{last}```\n\n\
         ([the recording](docs/scenes/folder.cast) of Ben's terminal; `asciinema play` shows it)\n",
        sent.ok(),
        taken.ok()
    );
    (text, seen.cast())
}

#[test]
fn the_scene_in_readme_is_what_the_program_shows_today() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (readme, cast) = (top.join("README.md"), top.join("docs/scenes/folder.cast"));
    let page = std::fs::read_to_string(&readme).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    let (text, recording) = play();
    if std::env::var_os("HIKYAKU_WRITE_SCENE").is_some() {
        std::fs::create_dir_all(cast.parent().unwrap()).unwrap();
        std::fs::write(&readme, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
        std::fs::write(&cast, recording).unwrap();
        return;
    }
    let anew = "`cargo xtask scene` writes it anew";
    assert_eq!(told, text, "the scene in README.md is not what the program shows; {anew}");
    let recorded = std::fs::read_to_string(&cast).unwrap_or_default();
    assert_eq!(recorded, recording, "docs/scenes/folder.cast is not what the program shows; {anew}");
}
