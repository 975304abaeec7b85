//! Each MUST that a peer can break, and the exact code that closes the connection.

use crate::pair::{open, small};
use crate::raw::{
    MAX_RECORD_SIZE, QX_PING, QX_PONG, close_frame, generous, parameters, parameters_of, record, refusal,
    said, server_hearing, stream, varints,
};
use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Side, TransportCode};
use std::time::Instant;

/// A server that hears these frames after the introduction refuses the connection so, and says it to the peer.
#[track_caller]
fn refuses(code: TransportCode, frames: &[Vec<u8>]) {
    refuses_with(small(), code, frames);
}

#[track_caller]
fn refuses_with(config: Config, code: TransportCode, frames: &[Vec<u8>]) {
    let mut server = server_hearing(config, frames);
    assert_eq!(refusal(&server), code);
    assert!(!server.is_drained());
    let (ty, sent, _) = close_frame(&said(&mut server));
    assert_eq!((ty, sent), (0x1c, code.into()));
    assert!(server.is_drained());
}

/// A connection whose first bytes are these.
#[track_caller]
fn refuses_at_first(code: TransportCode, bytes: &[u8]) {
    for side in [Side::Client, Side::Server] {
        let now = Instant::now();
        let mut connection = Connection::new(side, Config::default(), now);
        connection.handle_input(now, Bytes::copy_from_slice(bytes));
        assert_eq!(refusal(&connection), code);
    }
}

#[track_caller]
fn accepts(frames: &[Vec<u8>]) -> Connection {
    let server = server_hearing(small(), frames);
    assert_eq!(server.close_reason(), None);
    server
}

//= S2.11 (test)
#[test]
fn a_record_larger_than_declared() {
    refuses_at_first(TransportCode::FRAME_ENCODING_ERROR, &varints(&[16_383]));
    refuses_at_first(TransportCode::FRAME_ENCODING_ERROR, &varints(&[hikyaku_wire::varint::MAX]));
    let mut largest = generous();
    largest.resize(16_382, 0);
    let now = Instant::now();
    let mut server = Connection::new(Side::Server, Config::default(), now);
    server.handle_input(now, Bytes::from(record(&largest)));
    assert_eq!(server.close_reason(), None, "exactly max_record_size is allowed");
}

#[test]
fn a_record_without_frames() {
    refuses(TransportCode::PROTOCOL_VIOLATION, &[vec![]]);
}

//= S2.2 (test)
//= S2.12 (test)
#[test]
fn a_record_that_ends_inside_a_frame() {
    let whole = [
        varints(&[0x04, 0, 1, 2]),
        varints(&[0x05, 0, 1]),
        stream(0, 0, b"payload", false),
        varints(&[0x10, 70]),
        varints(&[0x11, 0, 70]),
        varints(&[0x12, 1000]),
        varints(&[0x14, 70]),
        varints(&[0x15, 0, 70]),
        varints(&[0x17, 1000]),
        varints(&[0x1c, 1, 2, 0]),
        varints(&[0x1d, 1, 0]),
        varints(&[0x31, 1, 0]),
        varints(&[QX_PING, 70]),
    ];
    for frame in whole {
        for cut in 1..frame.len() {
            refuses(TransportCode::FRAME_ENCODING_ERROR, &[frame[..cut].to_vec()]);
        }
    }
    let introduction = generous();
    for cut in 1..introduction.len() {
        refuses_at_first(TransportCode::FRAME_ENCODING_ERROR, &record(&introduction[..cut]));
    }
}

//= S2.14 (test)
#[test]
fn a_prohibited_or_unknown_frame() {
    let prohibited = [0x01, 0x02, 0x03, 0x06, 0x07, 0x18, 0x19, 0x1a, 0x1b, 0x1e];
    for ty in prohibited.into_iter().chain([0x1f, 0x2f, 0x32, 0x24, 0x4321, QX_PONG + 1]) {
        refuses(TransportCode::FRAME_ENCODING_ERROR, &[varints(&[ty, 0, 0, 0, 0])]);
    }
}

//= S2.14 (test)
#[test]
fn a_frame_type_that_is_not_in_its_shortest_form() {
    refuses(TransportCode::PROTOCOL_VIOLATION, &[vec![0x40, 0x10, 1]]);
    accepts(&[vec![0x10, 0x40, 1]]); // a field may be longer than it needs
}

//= S2.16 (test)
#[test]
fn a_first_frame_that_is_not_the_transport_parameters() {
    for frame in [
        vec![0x00],
        stream(0, 0, b"early", false),
        varints(&[0x10, 1]),
        varints(&[QX_PING, 1]),
        varints(&[0x1d, 0, 0]),
        vec![0x01],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        refuses_at_first(TransportCode::PROTOCOL_VIOLATION, &record(&frame));
    }
}

//= S2.16 (test)
#[test]
fn transport_parameters_that_come_twice() {
    refuses(TransportCode::PROTOCOL_VIOLATION, &[generous()]);
    refuses_at_first(TransportCode::PROTOCOL_VIOLATION, &record(&[generous(), generous()].concat()));
}

//= S2.20 (test)
#[test]
fn a_transport_parameter_that_is_prohibited() {
    for id in [0x00, 0x02, 0x03, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10] {
        refuses_at_first(
            TransportCode::TRANSPORT_PARAMETER_ERROR,
            &record(&parameters(&[(0x04, 9), (id, 1)])),
        );
        refuses_at_first(
            TransportCode::TRANSPORT_PARAMETER_ERROR,
            &record(&parameters_of(&varints(&[id, 0]))),
        );
    }
}

//= S2.20 (test)
#[test]
fn a_transport_parameter_that_is_malformed_or_out_of_range() {
    let error = TransportCode::TRANSPORT_PARAMETER_ERROR;
    refuses_at_first(error, &record(&parameters(&[(0x04, 1), (0x04, 1)])));
    refuses_at_first(error, &record(&parameters(&[(0x1234, 1), (0x04, 1), (0x1234, 2)])));
    refuses_at_first(error, &record(&parameters(&[(MAX_RECORD_SIZE, 16_381)])));
    refuses_at_first(error, &record(&parameters(&[(0x08, (1 << 60) + 1)])));
    refuses_at_first(error, &record(&parameters(&[(0x09, (1 << 60) + 1)])));
    refuses_at_first(error, &record(&parameters_of(&[0x04, 2, 1, 1]))); // longer than its integer
    refuses_at_first(error, &record(&parameters_of(&[0x04, 0]))); // no integer
    refuses_at_first(error, &record(&parameters_of(&[0x04, 2, 1]))); // the frame ends before the value
    refuses_at_first(error, &record(&parameters_of(&[0x04]))); // the frame ends before the length
}

//= S2.21 (test)
#[test]
fn unknown_transport_parameters_are_ignored() {
    let mut payload = Vec::new();
    for id in [27, 31 * 7 + 27, 0x20 + 1, 0x1d, 0x3fff_ffff] {
        payload.extend(varints(&[id, 5]));
        payload.extend_from_slice(b"grease".get(..5).unwrap());
    }
    let now = Instant::now();
    let mut server = Connection::new(Side::Server, Config::default(), now);
    server.handle_input(now, Bytes::from(record(&parameters_of(&payload))));
    assert_eq!(server.close_reason(), None);
}

//= S2.18 (test)
#[test]
fn stream_bytes_out_of_order() {
    let error = TransportCode::PROTOCOL_VIOLATION;
    refuses(error, &[stream(0, 1, b"late", false)]);
    refuses(error, &[stream(0, 0, b"abc", false), stream(0, 4, b"e", false)]);
    refuses(error, &[stream(0, 0, b"abc", false), stream(0, 0, b"abc", false)]);
    accepts(&[stream(0, 0, b"abc", false), stream(0, 3, b"", false), stream(0, 3, b"de", true)]);
}

//= S2.22 (test)
#[test]
fn more_bytes_than_the_stream_allows() {
    let error = TransportCode::FLOW_CONTROL_ERROR;
    accepts(&[stream(0, 0, &[0; 1000], false)]);
    refuses(error, &[stream(0, 0, &[0; 1001], false)]);
    refuses(error, &[stream(0, 0, &[0; 1000], false), stream(0, 1000, &[0], true)]);
    refuses(error, &[varints(&[0x04, 0, 0, 1001])]); // a reset counts too
}

//= S2.22 (test)
#[test]
fn more_bytes_than_the_connection_allows() {
    let config = Config { receive_window: 1500, ..small() };
    let error = TransportCode::FLOW_CONTROL_ERROR;
    let first = stream(0, 0, &[0; 1000], false);
    refuses_with(config, error, &[first.clone(), stream(4, 0, &[0; 501], false)]);
    refuses_with(config, error, &[first.clone(), varints(&[0x04, 4, 0, 501])]);
    assert_eq!(server_hearing(config, &[first, stream(4, 0, &[0; 500], false)]).close_reason(), None);
}

#[test]
fn a_stream_longer_than_a_stream_can_be() {
    let frame = [varints(&[0x0e, 0, hikyaku_wire::varint::MAX, 1]), vec![0]].concat();
    refuses(TransportCode::FRAME_ENCODING_ERROR, &[frame]);
}

//= S2.22 (test)
#[test]
fn more_streams_than_allowed() {
    let error = TransportCode::STREAM_LIMIT_ERROR;
    accepts(&[stream(8, 0, b"", true)]);
    for id in [12, 10, (1 << 61) | 2] {
        for frame in [stream(id, 0, b"", true), varints(&[0x04, id, 0, 0]), varints(&[0x15, id, 0])] {
            refuses(error, &[frame]);
        }
    }
    refuses(error, &[varints(&[0x05, 12, 0])]);
    refuses(error, &[varints(&[0x11, 12, 0])]);
}

#[test]
fn a_stream_limit_that_no_stream_number_can_reach() {
    for ty in [0x12, 0x13, 0x16, 0x17] {
        accepts(&[varints(&[ty, 1 << 60])]);
        refuses(TransportCode::FRAME_ENCODING_ERROR, &[varints(&[ty, (1 << 60) + 1])]);
    }
}

//= S2.25 (test)
#[test]
fn frames_for_streams_that_cannot_be() {
    let error = TransportCode::STREAM_STATE_ERROR;
    // The server's own streams 1 and 3 were never opened.
    for id in [1, 3] {
        refuses(error, &[varints(&[0x05, id, 0])]);
        refuses(error, &[varints(&[0x11, id, 0])]);
    }
    for frame in [stream(1, 0, b"x", false), varints(&[0x04, 1, 0, 0]), varints(&[0x15, 1, 0])] {
        refuses(error, &[frame]);
    }
    // The client sends on its unidirectional stream 2: nobody stops or credits the server there.
    refuses(error, &[varints(&[0x05, 2, 0])]);
    refuses(error, &[varints(&[0x11, 2, 0])]);
}

//= S2.25 (test)
#[test]
fn bytes_on_a_stream_that_only_the_other_side_sends_on() {
    for frame in [stream(3, 0, b"x", false), varints(&[0x04, 3, 0, 0]), varints(&[0x15, 3, 0])] {
        let mut server = server_hearing(small(), &[]);
        assert_eq!(u64::from(open(&mut server, Dir::Uni)), 3);
        server.handle_input(Instant::now(), Bytes::from(record(&frame)));
        assert_eq!(refusal(&server), TransportCode::STREAM_STATE_ERROR);
    }
}

//= S2.26 (test)
#[test]
fn an_end_that_changes() {
    let error = TransportCode::FINAL_SIZE_ERROR;
    let ended = stream(0, 0, b"abc", true);
    refuses(error, &[ended.clone(), stream(0, 3, b"d", false)]);
    refuses(error, &[ended.clone(), stream(0, 3, b"d", true)]);
    refuses(error, &[ended.clone(), stream(0, 0, b"ab", true)]);
    refuses(error, &[ended.clone(), varints(&[0x04, 0, 0, 2])]);
    refuses(error, &[ended.clone(), varints(&[0x04, 0, 0, 4])]);
    refuses(error, &[stream(0, 0, b"abc", false), stream(0, 0, b"", true)]);
    refuses(error, &[stream(0, 0, b"abc", false), varints(&[0x04, 0, 0, 2])]);
    refuses(error, &[varints(&[0x04, 0, 0, 2]), varints(&[0x04, 0, 0, 3])]);
    accepts(&[ended.clone(), stream(0, 3, b"", true), varints(&[0x04, 0, 9, 3])]);
}

#[test]
fn bytes_on_a_stream_that_is_over_and_forgotten() {
    let mut server = server_hearing(small(), &[stream(2, 0, b"abc", true)]);
    let id = server.accept(Dir::Uni).unwrap();
    while server.read(id, 10).unwrap().is_some() {}
    assert_eq!(server.stream_count(), 0);
    let now = Instant::now();
    // A reset or a stop may have crossed the end on the way.
    server.handle_input(now, Bytes::from(record(&varints(&[0x04, 2, 0, 3]))));
    assert_eq!(server.close_reason(), None);
    server.handle_input(now, Bytes::from(record(&stream(2, 3, b"d", false))));
    assert_eq!(refusal(&server), TransportCode::STREAM_STATE_ERROR);
}

//= S2.19 (test)
#[test]
fn pings_that_do_not_rise_and_answers_nobody_asked_for() {
    let error = TransportCode::PROTOCOL_VIOLATION;
    accepts(&[varints(&[QX_PING, 0]), varints(&[QX_PING, 9])]);
    refuses(error, &[varints(&[QX_PING, 9]), varints(&[QX_PING, 9])]);
    refuses(error, &[varints(&[QX_PING, 9]), varints(&[QX_PING, 8])]);
    refuses(error, &[varints(&[QX_PONG, 0])]);
    refuses(error, &[varints(&[QX_PONG, 1])]);
}

#[test]
fn datagrams_that_were_not_invited_or_are_too_large() {
    let error = TransportCode::PROTOCOL_VIOLATION;
    let datagram = |length: usize| [varints(&[0x31, length as u64]), vec![7; length]].concat();
    let none = Config { datagram_receive_buffer: None, ..small() };
    refuses_with(none, error, &[datagram(1)]);
    refuses_with(none, error, &[vec![0x30]]);
    let some = Config { datagram_receive_buffer: Some(1003), ..small() };
    refuses_with(some, error, &[datagram(1001)]);
    assert_eq!(server_hearing(some, &[datagram(1000)]).close_reason(), None);
}

#[test]
fn the_close_names_the_frame_and_the_rule() {
    let mut server = server_hearing(small(), &[varints(&[0x12, (1 << 60) + 1])]);
    let frames = said(&mut server);
    assert_eq!(close_frame(&frames), (0x1c, 0x07, Some(0x12)));
    assert!(String::from_utf8_lossy(&frames).contains("2^60 streams"));
    let words = server.close_reason().unwrap().to_string();
    assert_eq!(
        words,
        "the peer broke a transport rule: FRAME_ENCODING_ERROR (0x07): more than 2^60 streams are allowed"
    );
}

#[test]
fn nothing_that_comes_after_a_refusal_is_looked_at() {
    let mut server = server_hearing(small(), &[vec![0x01], stream(0, 0, b"more", true), vec![0x02]]);
    assert_eq!(server.accept(Dir::Bi), None);
    assert_eq!(refusal(&server), TransportCode::FRAME_ENCODING_ERROR);
    said(&mut server);
    write_nothing(&mut server);
}

fn write_nothing(server: &mut Connection) {
    assert_eq!(server.open(Dir::Uni), None);
    assert_eq!(said(server), b"", "one CONNECTION_CLOSE and no more");
    let id = 0u64.into();
    assert!(server.write(id, &mut Bytes::from_static(b"x")).is_err());
}
