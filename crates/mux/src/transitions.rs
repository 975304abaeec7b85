//! The transition tables of chapter 2, made by the real machines.

use crate::frame::{ConnectionClose, Frame, Ping, ResetStream, StopSending, StreamHeader};
use crate::record::{Piece, Reader, Writer};
use crate::{CloseReason, Config, Connection, Dir, ReadError, Side, StreamId, TransportCode, WriteError};
use bytes::Bytes;
use std::time::{Duration, Instant};

#[path = "../../../tests/spec_table.rs"]
mod spec_table;

use spec_table::{Event, State, Table};

const CHAPTER: &str = "2-streams-and-datagrams.md";
const CODE: u64 = 7;

/// A connection that is looked at, and the stream of it.
struct Machine {
    connection: Connection,
    id: StreamId,
    now: Instant,
}

/// A connection with a peer that has introduced itself.
fn met(side: Side) -> Machine {
    let now = Instant::now();
    let mut connection = Connection::new(side, Config::default(), now);
    let mut peer = Connection::new(side.peer(), Config::default(), now);
    let mut out = Vec::new();
    peer.poll_transmit(now, &mut out, 1 << 16);
    connection.handle_input(now, out.into());
    connection.poll_transmit(now, &mut Vec::new(), 1 << 16);
    Machine { connection, id: StreamId::new(Side::Client, Dir::Uni, 0), now }
}

impl Machine {
    fn hear(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        let mut record = Writer::new(&mut out, 1000);
        encode(record.out());
        record.finish();
        self.connection.handle_input(self.now, out.into());
    }

    fn hear_stream(&mut self, offset: u64, bytes: &[u8], fin: bool) {
        let id = self.id;
        self.hear(|out| {
            StreamHeader { id, offset, length: bytes.len(), fin }.encode(true, out);
            out.extend_from_slice(bytes);
        });
    }

    fn hear_reset(&mut self, final_size: u64) {
        let id = self.id;
        self.hear(|out| ResetStream { id, code: CODE, final_size }.encode(out));
    }

    /// The names of the frames that go out now.
    fn say(&mut self) -> String {
        let mut out = Vec::new();
        self.connection.poll_transmit(self.now, &mut out, 1 << 16);
        let (input, mut at, mut reader) = (Bytes::from(out), 0, Reader::default());
        let mut names = Vec::new();
        loop {
            names.push(match reader.next(&input, &mut at).expect("our own records are whole") {
                Piece::NeedMore => break,
                Piece::Stream { header, .. } if header.fin => "STREAM with FIN",
                Piece::Stream { .. } | Piece::Frame(Frame::Stream(_)) => "STREAM",
                Piece::Payload { .. } => continue,
                Piece::Frame(Frame::TransportParameters(_)) => "QX_TRANSPORT_PARAMETERS",
                Piece::Frame(Frame::ConnectionClose(_)) => "CONNECTION_CLOSE",
                Piece::Frame(Frame::ResetStream(_)) => "RESET_STREAM",
                Piece::Frame(Frame::StopSending(_)) => "STOP_SENDING",
                Piece::Frame(Frame::Ping(ping)) if ping.response => "the answer",
                Piece::Frame(_) => "other frames",
            });
        }
        names.join(", ")
    }

    /// How the connection ended, if the event ended it.
    fn ended(&self) -> Option<String> {
        let reason = self.connection.close_reason()?;
        Some(match reason {
            CloseReason::Transport { code, local: true, .. } => name(*code),
            CloseReason::Transport { local: false, .. } | CloseReason::Application { .. } => {
                "by the peer".into()
            }
            CloseReason::Local { .. } => "by us".into(),
            CloseReason::Idle => "idle".into(),
            CloseReason::TransportEnded => "lost".into(),
        })
    }

    fn sending(&self) -> String {
        let stream = self.connection.stream(self.id);
        let state = stream.and_then(|stream| stream.send.as_ref()).map_or("over", |send| send.name());
        state.to_owned()
    }

    fn receiving(&self) -> String {
        let stream = self.connection.stream(self.id);
        let state = stream.and_then(|stream| stream.recv.as_ref()).map_or("over", |recv| recv.name());
        match self.ended() {
            Some(code) if state == "over" => format!("closes: {code}"),
            _ => state.to_owned(),
        }
    }
}

fn name(code: TransportCode) -> String {
    code.name().unwrap_or("?").to_owned()
}

// ---- the sending part of a stream

fn opened() -> Machine {
    let mut machine = met(Side::Client);
    machine.id = machine.connection.open(Dir::Uni).expect("a healthy connection takes it");
    machine
        .connection
        .write(machine.id, &mut Bytes::from_static(b"a"))
        .expect("a healthy connection takes it");
    machine.say();
    machine
}

fn finishing() -> Machine {
    let mut machine = opened();
    machine
        .connection
        .write(machine.id, &mut Bytes::from_static(b"b"))
        .expect("a healthy connection takes it");
    machine.connection.finish(machine.id).expect("a healthy connection takes it");
    machine
}

fn resetting() -> Machine {
    let mut machine = opened();
    machine.connection.reset(machine.id, CODE);
    machine
}

fn stopped() -> Machine {
    let mut machine = opened();
    let id = machine.id;
    machine.hear(|out| StopSending { id, code: CODE }.encode(out));
    machine
}

fn told() -> Machine {
    let mut machine = stopped();
    machine.say();
    machine
}

fn sent() -> Machine {
    let mut machine = finishing();
    machine.say();
    machine
}

fn outcome(machine: &Machine, result: Result<(), WriteError>) -> String {
    match result {
        Ok(()) => machine.sending(),
        Err(WriteError::Stopped(_)) => format!("{} (refused: stopped)", machine.sending()),
        Err(WriteError::Closed) => format!("{} (refused)", machine.sending()),
        Err(WriteError::Blocked) => format!("{} (waits)", machine.sending()),
    }
}

//= S2.28 (test)
#[test]
fn the_sending_part_of_a_stream_goes_through_the_states_of_its_table() {
    let states: &[State<Machine>] = &[
        ("open", opened),
        ("finishing", finishing),
        ("resetting", resetting),
        ("stopped", stopped),
        ("told to stop", told),
        ("over", sent),
    ];
    for (name, state) in states {
        assert_eq!(state().sending(), *name);
    }
    let events: &[Event<Machine>] = &[
        ("write", |mut machine| {
            let written = machine.connection.write(machine.id, &mut Bytes::from_static(b"b"));
            outcome(&machine, written.map(drop))
        }),
        ("finish", |mut machine| {
            let finished = machine.connection.finish(machine.id);
            outcome(&machine, finished)
        }),
        ("reset", |mut machine| {
            machine.connection.reset(machine.id, CODE);
            machine.sending()
        }),
        ("the transport takes all", |mut machine| {
            let frames = machine.say();
            if frames.is_empty() { machine.sending() } else { format!("{}: {frames}", machine.sending()) }
        }),
        ("STOP_SENDING", |mut machine| {
            let id = machine.id;
            machine.hear(|out| StopSending { id, code: CODE }.encode(out));
            assert_eq!(machine.ended(), None);
            machine.sending()
        }),
        ("the connection ends", |mut machine| {
            machine.connection.handle_end(machine.now);
            machine.sending()
        }),
    ];
    Table::drive("state", states, events).is_in(CHAPTER, "the sending part of a stream");
}

// ---- the receiving part

fn receiving() -> Machine {
    let mut machine = met(Side::Server);
    machine.hear_stream(0, b"a", false);
    assert_eq!(machine.connection.accept(Dir::Uni), Some(machine.id));
    machine
}

fn received() -> Machine {
    let mut machine = receiving();
    machine.hear_stream(1, b"b", true);
    machine
}

fn reset_received() -> Machine {
    let mut machine = receiving();
    machine.hear_reset(1);
    machine
}

fn deaf() -> Machine {
    let mut machine = receiving();
    machine.connection.stop(machine.id, CODE);
    machine.say();
    machine
}

fn read_to_the_end() -> Machine {
    let mut machine = received();
    while let Ok(Some(_)) = machine.connection.read(machine.id, 10) {}
    machine
}

/// One more byte than was received, two at the end.
fn goes_on(machine: &mut Machine, fin: bool) -> String {
    let at = match machine.receiving().as_str() {
        "all received" | "over" => 2,
        _ => 1,
    };
    machine.hear_stream(at, b"c", fin);
    machine.receiving()
}

//= S2.28 (test)
#[test]
fn the_receiving_part_of_a_stream_goes_through_the_states_of_its_table() {
    let states: &[State<Machine>] = &[
        ("receiving", receiving),
        ("all received", received),
        ("reset", reset_received),
        ("stopped", deaf),
        ("over", read_to_the_end),
    ];
    for (name, state) in states {
        assert_eq!(state().receiving(), *name);
    }
    let events: &[Event<Machine>] = &[
        ("STREAM", |mut machine| goes_on(&mut machine, false)),
        ("STREAM with FIN", |mut machine| goes_on(&mut machine, true)),
        ("STREAM, not the next byte", |mut machine| {
            machine.hear_stream(5, b"c", false);
            machine.receiving()
        }),
        ("RESET_STREAM", |mut machine| {
            let final_size = if machine.receiving() == "all received" { 2 } else { 1 };
            machine.hear_reset(final_size);
            machine.receiving()
        }),
        ("RESET_STREAM, less than arrived", |mut machine| {
            machine.hear_reset(0);
            machine.receiving()
        }),
        ("read until nothing is there", |mut machine| {
            let end = loop {
                match machine.connection.read(machine.id, 10) {
                    Ok(Some(_)) => {}
                    Ok(None) => break "the end",
                    Err(ReadError::Reset(_)) => break "the code",
                    Err(ReadError::Blocked) => break "waits",
                    Err(ReadError::Closed) => break "refused",
                }
            };
            format!("{} ({end})", machine.receiving())
        }),
        ("stop", |mut machine| {
            machine.connection.stop(machine.id, CODE);
            let state = machine.receiving();
            let said = machine.say();
            if said.is_empty() { state } else { format!("{state}: {said}") }
        }),
    ];
    Table::drive("state", states, events).is_in(CHAPTER, "the receiving part of a stream");
}

// ---- the connection

fn young() -> Machine {
    let now = Instant::now();
    let mut connection = Connection::new(Side::Server, Config::default(), now);
    connection.poll_transmit(now, &mut Vec::new(), 1 << 16);
    Machine { connection, id: StreamId::new(Side::Client, Dir::Uni, 0), now }
}

fn open_connection() -> Machine {
    met(Side::Server)
}

fn closing() -> Machine {
    let mut machine = met(Side::Server);
    machine.connection.close(machine.now, CODE, Bytes::new());
    machine
}

fn closed() -> Machine {
    let mut machine = closing();
    machine.say();
    machine
}

impl Machine {
    fn lifetime(&self) -> &'static str {
        self.connection.name()
    }

    /// Where an event led, and why, if it ended the connection.
    fn led(self, before: &str) -> String {
        match self.ended() {
            Some(why) if !before.starts_with("clos") => format!("{} ({why})", self.lifetime()),
            _ => self.lifetime().to_owned(),
        }
    }
}

/// The transport parameters of some peer.
fn introduction() -> Bytes {
    let now = Instant::now();
    let mut out = Vec::new();
    Connection::new(Side::Client, Config::default(), now).poll_transmit(now, &mut out, 1 << 16);
    out.into()
}

//= S2.28 (test)
#[test]
fn the_connection_goes_through_the_states_of_its_table() {
    let states: &[State<Machine>] = &[
        ("waiting for the peer's parameters", young),
        ("open", open_connection),
        ("closing", closing),
        ("closed", closed),
    ];
    for (name, state) in states {
        assert_eq!(state().lifetime(), *name);
    }
    let events: &[Event<Machine>] = &[
        ("QX_TRANSPORT_PARAMETERS", |mut machine| {
            let before = machine.lifetime();
            machine.connection.handle_input(machine.now, introduction());
            machine.led(before)
        }),
        ("another known frame", |mut machine| {
            let before = machine.lifetime();
            machine.hear(|out| Ping { response: false, sequence: 1 }.encode(out));
            machine.led(before)
        }),
        ("a frame that breaks a rule", |mut machine| {
            let before = machine.lifetime();
            // PING, which the draft prohibits.
            machine.hear(|out| out.push(0x01));
            machine.led(before)
        }),
        ("CONNECTION_CLOSE", |mut machine| {
            let before = machine.lifetime();
            machine.hear(|out| ConnectionClose { code: CODE, frame_type: None, reason: b"" }.encode(out));
            machine.led(before)
        }),
        ("close", |mut machine| {
            let before = machine.lifetime();
            machine.connection.close(machine.now, CODE, Bytes::new());
            machine.led(before)
        }),
        ("the transport takes all", |mut machine| {
            let before = machine.lifetime();
            let said = machine.say();
            let led = machine.led(before);
            if said.is_empty() { led } else { format!("{led}: {said}") }
        }),
        ("the transport ends", |mut machine| {
            let before = machine.lifetime();
            machine.connection.handle_end(machine.now);
            machine.led(before)
        }),
        ("nothing for the idle time", |mut machine| {
            let before = machine.lifetime();
            machine.connection.handle_timeout(machine.now + Duration::from_secs(3600));
            machine.led(before)
        }),
    ];
    Table::drive("state", states, events).is_in(CHAPTER, "a QMux connection");
}
