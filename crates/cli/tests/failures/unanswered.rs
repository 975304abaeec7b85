//! Messages whose answer is lost: their outcome is open, is said to be, and the key settles it.

use rustix::process::Signal;

use crate::common::{self, Home, Place, Program, Proxy, server_behind};

/// A text so long that the cable can be stopped in the middle of it, whatever else passes.
fn long_text() -> String {
    "what was said\n".repeat(4_000)
}
const MIDDLE: u64 = 30_000;

/// What `say` printed after it did not learn what became of its message: the key to ask with again.
fn key_of(done: &common::Done) -> String {
    done.fails(9, &["may or may not be in #ops", "--key ", "once, whatever happened"]);
    let (_, key) = done.err.split_once("--key ").unwrap();
    key.split_whitespace().next().unwrap().to_owned()
}

/// How long `say` waits, in seconds, one after the other until the whole message has left in time: on a slow machine it may
/// say that it was not sent.
const PATIENT: [&str; 4] = ["3s", "15s", "60s", "80s"];

/// Says it until it has left and nobody knows what became of it; `stop` makes the cable so that no answer comes.
fn said_without_an_answer(ana: &Home, proxy: &Proxy, text: &str, stop: impl Fn(&Proxy)) -> common::Done {
    let says = |timeout| {
        stop(proxy);
        ana.run_with(["say", "ops", "--timeout", timeout], text)
    };
    let mut left = PATIENT.into_iter().map(says).inspect(|_| proxy.mend());
    left.find(|done| done.code() != 3).expect("it can be sent at all")
}

#[test]
fn a_server_that_stops_in_the_middle_leaves_the_outcome_open_and_the_key_settles_it() {
    let place = Place::new();
    let proxy = Proxy::start();
    let (server, ana) = server_behind(&place, &proxy, &[]);
    ana.run(["say", "ops", "first"]).ok();
    let done = PATIENT.into_iter().find_map(|timeout| {
        proxy.hold_after(MIDDLE);
        let says = ana.command(["say", "ops", "--timeout", timeout]);
        let mut saying = Program::start(says, Some(long_text().as_bytes()));
        while !proxy.is_held() && saying.is_running() {
            std::thread::yield_now();
        }
        server.program.stop();
        proxy.mend();
        let done = saying.finish();
        server.program.signal(Signal::CONT);
        (done.code() != 3).then_some(done)
    });
    let done = done.expect("it can be sent at all");
    let key = key_of(&done);
    assert_eq!(ana.run(["status", "--json"]).json()["waiting"], 1, "it is remembered here");
    let text = long_text();
    assert_eq!(ana.run_with(["say", "ops", "--key", &key], &text).ok(), "#ops:2");
    assert_eq!(ana.texts("ops"), ["first", text.strip_suffix('\n').unwrap()]);
    assert_eq!(ana.run(["status", "--json"]).json()["waiting"], 0);
}

#[test]
fn what_was_left_without_an_answer_goes_before_what_is_said_later() {
    let place = Place::new();
    let proxy = Proxy::start();
    let (_server, ana) = server_behind(&place, &proxy, &[]);
    let text = long_text();
    for (later, seq) in [("say", 2), ("chat", 4)] {
        // The whole message leaves; not all of it arrives.
        let text = format!("{text}{seq}");
        key_of(&said_without_an_answer(&ana, &proxy, &text, |proxy| proxy.hold_after(MIDDLE)));
        let done = match later {
            "say" => ana.run(["say", "ops", "later"]),
            _ => ana.run_with(["chat", "ops"], "later\n"),
        };
        assert_eq!(done.code(), 0, "{done:#?}");
        assert!(later == "chat" || done.out == format!("#ops:{seq}\n"), "{done:#?}");
        assert_eq!(ana.run(["status", "--json"]).json()["waiting"], 0, "nothing is left");
    }
    assert_eq!(ana.texts("ops"), [format!("{text}2"), "later".into(), format!("{text}4"), "later".into()]);
}

#[test]
fn a_lost_acknowledgement_does_not_double_a_message() {
    let place = Place::new();
    let proxy = Proxy::start();
    let (_server, ana) = server_behind(&place, &proxy, &[]);
    let text = long_text();
    // The whole message arrives; what the server answers does not.
    let key = key_of(&said_without_an_answer(&ana, &proxy, &text, |proxy| proxy.mute_after(MIDDLE)));
    let again = ana.run_with(["say", "ops", "--key", &key, "--json"], &text).json();
    assert_eq!((&again["seq"], &again["duplicate"]), (&1.into(), &true.into()));
    // And within one command: the connection breaks, the next one asks again.
    proxy.cut_after(MIDDLE);
    let saying = Program::start(ana.command(["say", "ops", "--timeout", "60s"]), Some(text.as_bytes()));
    proxy.until_cut();
    proxy.mend();
    assert_eq!(saying.finish().ok(), "#ops:2");
    assert_eq!(ana.texts("ops").len(), 2);
}
