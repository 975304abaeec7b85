//! What an inspector shows of bytes that are known, as snapshots; and that neither their cutting nor their breaking matters.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use hikyaku_inspect::{Input, Inspector, limits};
use hikyaku_wire::bundle::{Done, Enter, FileEnd, FileHead, Leave};
use hikyaku_wire::cbor;
use hikyaku_wire::codes::{ErrorCode, StreamType};
use hikyaku_wire::exchange::{Failure, Goaway, Open, encode_datagram};
use hikyaku_wire::frame::{self, FrameType};
use hikyaku_wire::hello::{Hello, HelloLimits};
use hikyaku_wire::recording::{Entry, Kind, MAGIC};
use hikyaku_wire::varint;

/// Everything shown of `bytes` that come in pieces of this size.
fn shown(input: Input, bytes: &[u8], piece: usize) -> String {
    let mut inspector = Inspector::new(input);
    let mut out = String::new();
    for chunk in bytes.chunks(piece) {
        inspector.push(chunk, &mut |line| out += &format!("{line}\n"));
    }
    let errors = inspector.finish(&mut |line| out += &format!("{line}\n"));
    out + &format!("errors: {errors}\n")
}

fn frames(list: &[(FrameType, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    list.iter().for_each(|(ty, payload)| frame::encode(*ty, payload, &mut out));
    out
}

fn control() -> Vec<u8> {
    let limits = HelloLimits { max_message: 1_048_576, max_metadata: 4096, max_datagram: 1000 };
    let hello = Hello { limits, extensions: vec![250], agent: "hikyaku/0.1.0".to_owned() };
    let goaway = Goaway { code: ErrorCode::GOING_AWAY, grace_ms: 10_000, message: "good night".to_owned() };
    let mut out = Vec::new();
    varint::encode(StreamType::CONTROL.0, &mut out);
    out.extend(frames(&[
        (FrameType::HELLO, &hello.encode()),
        (FrameType(0x1f * 5 + 0x21), b"grease"),
        (FrameType::GOAWAY, &goaway.encode()),
    ]));
    out
}

/// `send` of chapter 4, by hand: room, id, kind, body.
fn question() -> Vec<u8> {
    let send =
        [&[0xa4, 0x00, 0x63][..], b"ops", &[0x01, 0x50], &[0x11; 16], &[0x02, 0x01, 0x03, 0x42, 0x68, 0x69]];
    frames(&[
        (FrameType::OPEN, &Open::new("chat/1", "send").encode()),
        (FrameType::MESSAGE, &send.concat()),
        (FrameType::END, &[]),
    ])
}

/// `sent`, and then everything that should not be: a message with a float in it, and one that is cut.
fn answer() -> Vec<u8> {
    let sent = [
        &[0xa5, 0x00, 0x50][..],
        &[0x22; 16],
        &[0x01, 0x01, 0x02, 0x18, 0x2a, 0x03, 0x19, 0x03, 0xe8, 0x04, 0xf4],
    ];
    let mut out = frames(&[
        (FrameType::MESSAGE, &sent.concat()),
        (FrameType::DATA, &[7; 300]),
        (FrameType::MESSAGE, &[0x82, 0x01, 0xf9, 0x3c, 0x00]),
    ]);
    out.extend(frames(&[(FrameType::MESSAGE, &[0x83, 1, 2, 3])]).iter().take(4));
    out
}

fn failure() -> Vec<u8> {
    let evil = "no\u{1b}[2J\u{202e}way\n飛脚 \"quoted\"";
    frames(&[(FrameType::ERROR, &Failure::new(ErrorCode::DENIED, evil).encode())])
}

fn write(out: &mut Vec<u8>, at: u64, kind: Kind, received: bool, fill: impl FnOnce(&mut Entry)) {
    let mut entry = Entry::new(at, 7, kind, received);
    fill(&mut entry);
    entry.encode(out);
}

/// A connection over QUIC.
fn recording() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let of = |stream: u64, bytes: Vec<u8>| {
        move |entry: &mut Entry| {
            entry.stream = Some(stream);
            entry.bytes = Some(bytes.into());
        }
    };
    let over = |stream: u64, code: Option<u64>| {
        move |entry: &mut Entry| {
            entry.stream = Some(stream);
            entry.code = code;
        }
    };
    let text = |text: &'static str| move |entry: &mut Entry| entry.text = Some(text.to_owned());
    write(&mut out, 0, Kind::Begin, false, text("client over quic to 127.0.0.1:4747"));
    write(&mut out, 10, Kind::Stream, false, of(2, control()));
    write(&mut out, 20, Kind::Stream, true, of(3, control()));
    write(&mut out, 1_000_030, Kind::Stream, false, of(0, question()));
    write(&mut out, 1_000_031, Kind::Fin, false, over(0, None));
    write(&mut out, 1_000_040, Kind::Stream, true, of(0, answer()));
    write(&mut out, 1_000_041, Kind::Fin, true, over(0, None));
    write(&mut out, 1_000_050, Kind::Stream, true, of(4, failure()));
    write(&mut out, 1_000_060, Kind::Reset, true, over(4, Some(ErrorCode::CANCELLED.0.into())));
    write(&mut out, 1_000_061, Kind::Stop, false, over(4, Some(ErrorCode::STREAM_DEADLINE.0.into())));
    let mut datagram = Vec::new();
    encode_datagram(2, b"quick", &mut datagram);
    write(&mut out, 1_000_070, Kind::Datagram, true, |entry| entry.bytes = Some(datagram.into()));
    write(&mut out, 1_000_080, Kind::End, false, |entry| {
        entry.code = Some(0);
        entry.text = Some("this side closed it".to_owned());
    });
    out
}

/// One direction of a byte stream over TCP: HELLO and a question, in records; then a frame that QMux has not.
fn records() -> Vec<u8> {
    let mut out = Vec::new();
    let mut record = |frames: &[u8]| {
        varint::encode(frames.len() as u64, &mut out);
        out.extend_from_slice(frames);
    };
    let stream = |id: u8, bytes: &[u8]| {
        let mut frame = vec![0x0a, id];
        varint::encode(bytes.len() as u64, &mut frame);
        [&frame, bytes].concat()
    };
    let (control, question) = (control(), question());
    record(&[stream(2, &control[..20]), stream(0, &question[..5])].concat());
    record(&[stream_at(2, 20, &control[20..]), stream_at(0, 5, &question[5..])].concat());
    record(&[vec![0x10, 0x44, 0x00], vec![0x05, 0x00, 0x40, 0x41]].concat());
    record(&[0x1d, 0x0b, 4, b'b', b'y', 0x1b, b'e']);
    record(&[0x06, 0, 0]);
    out
}

fn stream_at(id: u8, offset: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x0e, id, offset];
    varint::encode(bytes.len() as u64, &mut frame);
    [&frame, bytes].concat()
}

#[test]
fn a_recording_shows_frames_messages_and_what_breaks_a_rule_with_its_place() {
    insta::assert_snapshot!("recording", shown(Input::Recording, &recording(), usize::MAX));
}

#[test]
fn a_byte_stream_shows_its_records_frames_and_what_each_stream_says() {
    insta::assert_snapshot!("records", shown(Input::Records, &records(), usize::MAX));
}

#[test]
fn a_stream_alone_is_known_by_its_first_byte() {
    insta::assert_snapshot!("control_stream", shown(Input::Stream, &control(), usize::MAX));
    insta::assert_snapshot!("exchange", shown(Input::Stream, &question(), usize::MAX));
}

#[test]
fn a_message_shows_its_fields_by_name_as_far_as_it_can_be_read() {
    let failure = Failure::new(ErrorCode::DENIED, "no").encode();
    let named = Input::Message(Some("failure".to_owned()));
    insta::assert_snapshot!("message", shown(named.clone(), &failure, usize::MAX));
    insta::assert_snapshot!("cut_message", shown(named, &failure[..5], usize::MAX));
}

#[test]
fn how_the_bytes_are_cut_changes_nothing() {
    let all = [
        (Input::Recording, recording()),
        (Input::Records, records()),
        (Input::Stream, question()),
        (Input::Stream, control()),
        (Input::Message(None), Failure::new(ErrorCode::DENIED, "no").encode()),
    ];
    for (input, bytes) in all {
        let whole = shown(input.clone(), &bytes, usize::MAX);
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(shown(input.clone(), &bytes, piece), whole, "{input:?} in pieces of {piece}");
        }
    }
}

#[test]
fn what_breaks_a_rule_is_named_with_its_place_however_the_bytes_are_cut() {
    let open = frames(&[(FrameType::OPEN, &Open::new("chat/1", "send").encode())]);
    let float = frames(&[(FrameType::MESSAGE, &[0x82, 0x01, 0xf9, 0x3c, 0x00])]);
    let cases: [(&[u8], usize, &str); 3] = [
        (&float, 4, "error: the message uses a float at byte 2"),
        (&[0x40, 0x11, 0x01, 0x07], 0, "error: a frame's type or length is not in its shortest form"),
        (&[0x11, 0x40, 0x01, 0x07], 0, "error: a frame's type or length is not in its shortest form"),
    ];
    for (wrong, at, says) in cases {
        let bytes = [&open, wrong].concat();
        let expected = format!("@{} {says}", open.len() + at);
        for piece in 1..=bytes.len() {
            let text = shown(Input::Stream, &bytes, piece);
            assert!(text.contains(&expected), "in pieces of {piece}: {expected}\n{text}");
        }
    }
}

#[test]
fn no_line_has_a_character_that_a_terminal_obeys() {
    for piece in [1, usize::MAX] {
        let text = shown(Input::Recording, &recording(), piece);
        let hostile = |c: char| c != '\n' && hikyaku_wire::text::is_hostile(c);
        assert!(!text.contains(hostile), "{text:?}");
        assert!(text.contains("飛脚"), "what is harmless is shown as it is");
    }
}

#[test]
fn what_is_too_long_is_passed_over_and_the_rest_still_shown() {
    let mut bytes = frames(&[(FrameType::OPEN, &Open::new("x/1", "").encode())]);
    frame::encode_header(FrameType::MESSAGE, limits::FRAME as u64 + 1, &mut bytes);
    bytes.extend(std::iter::repeat_n(0, limits::FRAME + 1));
    bytes.extend(frames(&[(FrameType::END, &[])]));
    let text = shown(Input::Stream, &bytes, 1 << 16);
    assert!(text.contains("MESSAGE, 1048577 bytes: too long to be shown"), "{text}");
    assert!(text.contains("END\n"), "{text}");

    // A text of a megabyte is one line of bounded length.
    let mut message = vec![0x9a, 0, 1, 0, 0];
    message.extend(std::iter::repeat_n(0x00, 65_536));
    let text = shown(Input::Message(None), &message, usize::MAX);
    assert!(text.len() < limits::TEXT + 1000, "{}", text.len());
}

#[test]
fn more_streams_than_are_followed_are_told_once() {
    let mut bytes = MAGIC.to_vec();
    for stream in 0..limits::STREAMS as u64 + 10 {
        let entry = Entry {
            stream: Some(stream * 4),
            bytes: Some(Bytes::from_static(&[FrameType::OPEN.0 as u8])),
            ..Entry::new(0, 1, Kind::Stream, true)
        };
        entry.encode(&mut bytes);
    }
    let text = shown(Input::Recording, &bytes, usize::MAX);
    assert!(text.ends_with("errors: 1\n"), "{text}");
    assert!(text.contains("more than 4096 streams at once"), "{text}");
}

#[test]
fn a_bundle_is_shown_record_by_record_with_the_names_of_its_fields() {
    let record = |ty: u64, payload: &[u8]| {
        let mut out = Vec::new();
        varint::encode(ty, &mut out);
        varint::encode(payload.len() as u64, &mut out);
        [out, payload.to_vec()].concat()
    };
    let head = FileHead { name: b"a".to_vec(), size: 65_539, meta: None, attributes: None, from: None };
    let mut bytes = record(1, &cbor::encode(&Enter { name: b"photos".to_vec() }));
    bytes.extend(record(3, &cbor::encode(&head)));
    bytes.extend(record(5, &[0x80, 0x01, 0x00, 0x00]));
    bytes.extend(record(4, b"abc"));
    bytes.extend(record(6, &cbor::encode(&FileEnd::default())));
    bytes.extend(record(0x21, b"new"));
    bytes.extend(record(2, &cbor::encode(&Leave::default())));
    let whole = bytes.len();
    bytes.extend(record(
        0x0a,
        &cbor::encode(&Done { entries: 2, bytes: 65_539, left_out: 1, ..Done::default() }),
    ));
    for piece in [1, 7, usize::MAX] {
        let text = shown(Input::Bundle, &bytes, piece);
        for expected in [
            "@0 ENTER, 9 bytes\n    {0 /file-name/: h'70686f746f73'}",
            "FILE, 10 bytes",
            "HOLE, 4 bytes zeros=65536",
            "BYTES, 3 bytes",
            "record of type 0x21, 3 bytes: passed over",
            "DONE, ",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(text.ends_with("errors: 0\n"), "{text}");
    }
    // What is cut off, too long or out of shape is an error with its place.
    let cut = shown(Input::Bundle, &bytes[..whole + 4], usize::MAX);
    assert!(cut.contains(&format!("@{whole} error: the bundle ends inside DONE")), "{cut}");
    let long = shown(Input::Bundle, &[0x01, 0x80, 0x02, 0x00, 0x01], usize::MAX);
    assert!(long.contains("ENTER, 131073 bytes: longer than 131072 bytes"), "{long}");
    let shape = shown(Input::Bundle, &[0x40, 0x01, 0x00], usize::MAX);
    assert!(shape.contains("not in its shortest form"), "{shape}");
}
