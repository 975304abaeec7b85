//! The card of a parcel as people see it: on a terminal it changes in its place, and nothing else does; on a pipe nothing
//! is written twice.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::io::Write as _;

use common::{Home, Place, Program, Terminal, at_one_time, noise, server_with_room};

/// Somebody who has joined the server and the room.
fn member(place: &Place, ana: &Home, name: &str) -> Home {
    let home = place.home(name).over("tcp");
    home.join(ana.run(["invite", "create"]).ok().trim(), name);
    home.run(["room", "join", "ops"]).ok();
    place.directory(&format!("{name}-has"));
    home
}

/// The reference that the next parcel will have.
fn next(home: &Home) -> String {
    format!("#ops:{}", home.events("ops").len() + 1)
}

fn rows<'a>(picture: &'a str, with: &str) -> Vec<&'a str> {
    picture.lines().filter(|row| row.contains(with)).collect()
}

#[test]
fn a_card_in_a_talk_says_how_far_the_parcel_is_and_who_has_it_in_its_place() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = member(&place, &ana, "ben");
    let eva = member(&place, &ana, "eva");
    let reference = next(&ana);
    let mut talk = Terminal::start(ana.command(["chat", "ops"]), 72, 14);
    talk.until(|picture| picture.contains("Ctrl-D leaves") && picture.ends_with("#ops\n"));
    let (sending, mut pipe) = Program::talk(ben.command(["send", "-", "--to", "#ops", "--name", "x.log"]));
    pipe.write_all(&noise(1, 100_000)).unwrap();
    talk.until(|picture| picture.contains("ben sends x.log (97.66 KiB so far)"));
    talk.type_in("what is it?");
    talk.until(|picture| picture.ends_with("#ops what is it?\n"));
    pipe.write_all(&noise(2, 100_000)).unwrap();
    talk.until(|picture| picture.contains("195.31 KiB so far") && picture.ends_with("#ops what is it?\n"));
    talk.type_in("\r");
    // It is sent, and stands above what others say next.
    talk.until(|picture| picture.ends_with("#ops what is it?\n#ops\n"));
    ben.run(["say", "ops", "a log, of the night in which the machine stopped four times in a row"]).ok();
    talk.until(|picture| picture.contains("in a row"));
    talk.type_in("thank y");
    pipe.write_all(&noise(3, 100_000)).unwrap();
    let picture = talk.until(|picture| picture.contains("292.97 KiB so far") && picture.contains("thank y"));
    assert_eq!(rows(&picture, "x.log").len(), 1, "{picture}");
    drop(pipe);
    sending.finish().ok();
    talk.until(|picture| picture.contains("x.log (292.97 KiB), here"));
    eva.run(["get", &reference, "--into", "eva-has"]).ok();
    let picture = talk.until(|picture| picture.contains("in 1 of 2 hands"));
    talk.type_in("ou\r");
    talk.until(|picture| picture.ends_with("#ops thank you\n#ops\n"));
    ben.run(["say", "ops", "yes"]).ok();
    let last = talk.until(|picture| picture.ends_with("ben: yes\n#ops\n"));
    assert_eq!(rows(&picture, "x.log").len(), 1, "{picture}");
    assert_eq!(
        at_one_time(&last.replace(&server_name(&last), "home")),
        "#ops on home; Ctrl-D leaves\n\
         20:03 ben joins\n\
         20:03 eva joins\n\
         20:03 #ops:3 ben sends x.log (292.97 KiB), here, in 1 of 2 hands\n\
         #ops what is it?\n\
         20:03 ben: a log, of the night in which the machine stopped four times\n    in a row\n\
         #ops thank you\n\
         20:03 ben: yes\n\
         #ops\n"
    );
}

/// What this computer calls the server.
fn server_name(picture: &str) -> String {
    let first = picture.lines().next().unwrap();
    first.split_once(" on ").unwrap().1.split_once(';').unwrap().0.to_owned()
}

#[test]
fn a_card_that_scrolled_away_is_shown_again_and_what_stands_there_stays() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = member(&place, &ana, "ben");
    let reference = next(&ana);
    let talk = Terminal::start(ana.command(["chat", "ops"]), 72, 6);
    talk.until(|picture| picture.contains("Ctrl-D leaves"));
    let (sending, mut pipe) = Program::talk(ben.command(["send", "-", "--to", "#ops", "--name", "x.log"]));
    pipe.write_all(&noise(1, 100_000)).unwrap();
    talk.until(|picture| picture.contains("97.66 KiB so far"));
    for text in ["one", "two", "three", "four", "five"] {
        ben.run(["say", "ops", text]).ok();
    }
    talk.until(|picture| picture.contains("ben: five"));
    drop(pipe);
    sending.finish().ok();
    let picture = talk.until(|picture| picture.ends_with("(97.66 KiB), here, in 0 of 1 hand\n#ops\n"));
    assert_eq!(
        at_one_time(&picture),
        format!(
            "20:03 ben: two\n20:03 ben: three\n20:03 ben: four\n20:03 ben: five\n\
             20:03 {reference} ben sends x.log (97.66 KiB), here, in 0 of 1 hand\n#ops\n"
        )
    );
}

#[test]
fn tail_writes_cards_again_on_a_terminal_and_nothing_again_on_a_pipe() {
    let place = Place::new();
    let (_server, ana) = server_with_room(&place, &[], "ops");
    let ben = member(&place, &ana, "ben");
    let reference = next(&ana);
    let mut seen = Terminal::start(ana.command(["tail", "ops", "-f"]), 100, 10);
    let piped = ana.start(["tail", "ops", "-f"]);
    let mut sending = ben.start(["send", &big(&place), "--to", "#ops", "--limit-rate", "40K", "--json"]);
    piped.out.until(|line| line.contains("sends big.iso (4.00 MiB)"));
    seen.until(|picture| picture.contains("sends big.iso (4.00 MiB), ") && picture.contains(" %"));
    ben.run(["say", "ops", "it is big"]).ok();
    seen.until(|picture| picture.contains("it is big"));
    // Whoever presses Enter moves what stands there: the card is shown again, and nothing is written over.
    seen.type_in("\n");
    let picture = seen.until(|picture| rows(picture, "big.iso").len() == 2);
    assert!(rows(&picture, "it is big").len() == 1, "{picture}");
    sending.kill();
    let picture = seen.until(|picture| picture.contains("the sender is away"));
    assert_eq!(rows(&picture, "big.iso").len(), 2, "{picture}");
    let now = ana.run(["tail", "ops"]);
    assert!(now.ok().contains(" %, the sender is away") && !now.ok().contains('━'), "{now:#?}");
    ben.run(["send", &big(&place), "--to", "#ops"]).ok();
    let picture = seen.until(|picture| picture.contains("big.iso (4.00 MiB), here, in 0 of 1 hand"));
    assert_eq!(rows(&picture, "is here").len(), 0, "the card says it: {picture}");
    piped.out.until(|line| line.contains(&format!("{reference} is here")));
    let lines = piped.out.seen();
    assert!(lines.iter().all(|line| !line.contains(['\u{1b}', '━', '\r'])), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("big.iso")).count(), 1, "{lines:#?}");
}

fn big(place: &Place) -> String {
    let path = place.join("big.iso");
    if !path.exists() {
        place.file("big.iso", &noise(9, 4 << 20));
    }
    path.to_str().unwrap().to_owned()
}
