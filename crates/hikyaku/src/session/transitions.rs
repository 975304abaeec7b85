//! The transition tables of chapter 3, made by the real machines.

use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange::{Failure, Goaway, Open};
use hikyaku_wire::frame::{self, Decoder, FrameLimits, FrameType};
use hikyaku_wire::hello::{Hello, HelloLimits};

use super::control::{Control, Heard};
use super::inbound::{Inbound, Said};
use super::lifecycle::Lifecycle;
use crate::error::Error;
use crate::events::By;

#[path = "../../../../tests/spec_table.rs"]
mod spec_table;

use spec_table::{Event, State, Table};

const CHAPTER: &str = "3-session.md";
/// A type that nobody defines.
const UNKNOWN: FrameType = FrameType(0x21);

fn encoded(ty: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(ty, payload, &mut out);
    out
}

fn code(error: &Error) -> String {
    let code = error.code();
    code.name().map_or_else(|| code.to_string(), str::to_owned)
}

// ---- one half of an exchange

fn opening() -> Inbound {
    Inbound::answering(FrameLimits::default(), None)
}

fn speaking() -> Inbound {
    after(&encoded(FrameType::OPEN, &Open::new("a/1", "").encode()))
}

fn inside_data() -> Inbound {
    let mut inbound = speaking();
    // The header of DATA of two bytes, and one of them.
    inbound.push(encoded(FrameType::DATA, b"ab")[..3].to_vec().into());
    assert!(matches!(inbound.next(), Ok(Some(Said::Data { last: false, .. }))));
    inbound
}

fn ended() -> Inbound {
    let mut inbound = speaking();
    inbound.push(encoded(FrameType::END, &[]).into());
    assert!(matches!(inbound.next(), Ok(Some(Said::End))));
    inbound
}

fn after(bytes: &[u8]) -> Inbound {
    let mut inbound = opening();
    inbound.push(bytes.to_vec().into());
    assert!(matches!(inbound.next(), Ok(Some(_))));
    inbound
}

/// Where a frame leads; what belongs to an unfinished DATA frame comes first.
fn hear(mut inbound: Inbound, bytes: Vec<u8>) -> String {
    if inbound.name() == "inside DATA" {
        return "data goes on".to_owned();
    }
    inbound.push(bytes.into());
    match inbound.next() {
        Ok(_) => inbound.name().to_owned(),
        Err(Error::Message(_)) => "the exchange fails: INVALID_MESSAGE".to_owned(),
        Err(error) => format!("closes: {}", code(&error)),
    }
}

//= S3.59 (test)
#[test]
fn one_half_of_an_exchange_goes_through_the_states_of_its_table() {
    let states: &[State<Inbound>] =
        &[("opening", opening), ("speaking", speaking), ("inside DATA", inside_data), ("ended", ended)];
    for (name, state) in states {
        assert_eq!(state().name(), *name);
    }
    let events: &[Event<Inbound>] = &[
        ("OPEN", |half| hear(half, encoded(FrameType::OPEN, &Open::new("a/1", "").encode()))),
        ("MESSAGE", |half| hear(half, encoded(FrameType::MESSAGE, &[1]))),
        ("MESSAGE that is none", |half| hear(half, encoded(FrameType::MESSAGE, &[0xff]))),
        ("DATA", |half| hear(half, encoded(FrameType::DATA, b"x"))),
        ("the rest of DATA", |mut half| {
            if half.name() != "inside DATA" {
                return "–".to_owned();
            }
            half.push(b"b".to_vec().into());
            assert!(matches!(half.next(), Ok(Some(Said::Data { last: true, .. }))));
            half.name().to_owned()
        }),
        ("END", |half| hear(half, encoded(FrameType::END, &[]))),
        ("ERROR", |half| {
            hear(half, encoded(FrameType::ERROR, &Failure::new(ErrorCode::DENIED, "no").encode()))
        }),
        ("HELLO, GOAWAY", |half| hear(half, encoded(FrameType::HELLO, &[0xa0]))),
        ("unknown", |half| hear(half, encoded(UNKNOWN, b"?"))),
        ("FIN", |half| match half.end_of_stream() {
            Ok(()) => "the half is whole".to_owned(),
            Err(error) => code(&error),
        }),
    ];
    Table::drive("state", states, events).is_in(CHAPTER, "one half of an exchange");
}

// ---- the control stream

fn hello() -> Vec<u8> {
    let limits = HelloLimits { max_message: 1 << 16, max_metadata: 4096, max_datagram: 0 };
    encoded(FrameType::HELLO, &Hello { limits, extensions: vec![], agent: String::new() }.encode())
}

fn goaway() -> Vec<u8> {
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 1, message: String::new() };
    encoded(FrameType::GOAWAY, &goaway.encode())
}

fn greeted() -> Control {
    let mut control = Control::default();
    assert!(matches!(control_hears(&mut control, hello()), Some(Ok(Heard::Hello(_)))));
    control
}

fn control_hears(control: &mut Control, bytes: Vec<u8>) -> Option<Result<Heard, Error>> {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.push(bytes.into());
    decoder.next().unwrap().map(|piece| control.hear(piece))
}

fn control_after(mut control: Control, bytes: Vec<u8>) -> String {
    match control_hears(&mut control, bytes) {
        None => "(skipped)".to_owned(),
        Some(Ok(Heard::Hello(_))) => "greeted".to_owned(),
        Some(Ok(Heard::Goaway(_))) => "greeted: the peer goes away".to_owned(),
        Some(Err(error)) => format!("closes: {}", code(&error)),
    }
}

//= S3.59 (test)
#[test]
fn the_control_stream_goes_through_the_states_of_its_table() {
    let states: &[State<Control>] = &[("waiting for HELLO", Control::default), ("greeted", greeted)];
    let events: &[Event<Control>] = &[
        ("HELLO", |control| control_after(control, hello())),
        ("GOAWAY", |control| control_after(control, goaway())),
        ("OPEN, MESSAGE, END, ERROR", |control| {
            let all = [FrameType::OPEN, FrameType::MESSAGE, FrameType::ERROR].map(|ty| encoded(ty, &[1]));
            let all = all.into_iter().chain([encoded(FrameType::END, &[])]);
            let mut results: Vec<_> = all.map(|bytes| control_after(control.clone(), bytes)).collect();
            results.dedup();
            results.join(" or ")
        }),
        ("DATA", |control| control_after(control, encoded(FrameType::DATA, b"x"))),
        ("unknown", |control| control_after(control, encoded(UNKNOWN, b"?"))),
    ];
    Table::drive("state", states, events).is_in(CHAPTER, "the control stream");
}

// ---- the connection's end

fn life(said: bool, heard: bool, open: bool) -> Lifecycle {
    let mut lifecycle = Lifecycle::default();
    if open {
        lifecycle.enter(By::Peer);
    }
    if said {
        lifecycle.say_goaway();
    }
    if heard {
        lifecycle.hear_goaway();
    }
    lifecycle
}

fn described(lifecycle: Lifecycle) -> String {
    let known = LIVES.iter().find(|(_, make)| make() == lifecycle).map(|(name, _)| *name);
    let name = known.unwrap_or("more exchanges are open").to_owned();
    if lifecycle.may_close() { format!("{name}: closes with NO_ERROR") } else { name }
}

const LIVES: &[State<Lifecycle>] = &[
    ("quiet", || life(false, false, false)),
    ("busy", || life(false, false, true)),
    ("said GOAWAY, quiet", || life(true, false, false)),
    ("said GOAWAY, busy", || life(true, false, true)),
    ("heard GOAWAY, quiet", || life(false, true, false)),
    ("heard GOAWAY, busy", || life(false, true, true)),
    ("both, quiet", || life(true, true, false)),
    ("both, busy", || life(true, true, true)),
];

//= S3.59 (test)
#[test]
fn the_end_of_a_connection_goes_through_the_states_of_its_table() {
    let events: &[Event<Lifecycle>] = &[
        ("this side opens an exchange", |mut lifecycle| {
            if lifecycle.enter(By::Us) { "taken".to_owned() } else { "not opened".to_owned() }
        }),
        ("the peer opens one", |mut lifecycle| {
            if lifecycle.enter(By::Peer) { "taken".to_owned() } else { "REFUSED".to_owned() }
        }),
        ("the last exchange is over", |mut lifecycle| {
            let before = lifecycle;
            lifecycle.leave();
            if before == lifecycle { "–".to_owned() } else { described(lifecycle) }
        }),
        ("this side says GOAWAY", |mut lifecycle| {
            lifecycle.say_goaway();
            described(lifecycle)
        }),
        ("GOAWAY arrives", |mut lifecycle| {
            lifecycle.hear_goaway();
            described(lifecycle)
        }),
    ];
    Table::drive("state", LIVES, events).is_in(CHAPTER, "the end of a connection");
}
