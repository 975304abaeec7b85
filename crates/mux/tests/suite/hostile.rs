//! What a peer can do within the rules to be a burden, and what bounds it.

use crate::pair::{Pair, events, open, read, small, write};
use crate::raw::{QX_PING, QX_PONG, record, refusal, said, server_hearing, stream, varints};
use bytes::Bytes;
use hikyaku_mux::{Config, Dir, Event, TransportCode};
use std::time::{Duration, Instant};

//= S2.19 (test)
#[test]
fn many_pings_get_one_answer_with_the_largest_number() {
    let pings: Vec<Vec<u8>> = (1..=1000).map(|number| varints(&[QX_PING, number])).collect();
    let mut server = server_hearing(small(), &pings);
    assert_eq!(said(&mut server), varints(&[QX_PONG, 1000]));
}

#[test]
fn frames_that_carry_nothing_are_tolerated_at_a_bounded_rate() {
    for frame in [vec![0x00], varints(&[0x10, 1]), varints(&[0x14, 1]), stream(0, 0, b"", false)] {
        let mut server = server_hearing(small(), &[]);
        let now = Instant::now();
        let thousand = Bytes::from(record(&frame).repeat(1000));
        for second in 0..10 {
            for _ in 0..4 {
                server.handle_input(now + Duration::from_secs(second), thousand.clone());
            }
        }
        assert_eq!(server.close_reason(), None, "4,000 a second are strange but bearable");
        server.handle_input(now + Duration::from_secs(10), thousand.clone());
        for _ in 0..9 {
            server.handle_input(now + Duration::from_secs(10), thousand.clone());
        }
        assert_eq!(refusal(&server), TransportCode::PROTOCOL_VIOLATION);
        assert!(server.close_reason().unwrap().to_string().contains("4096 frames"));
    }
}

#[test]
fn credit_frames_that_follow_data_are_never_a_flood() {
    let tiny = Config { receive_window: 8, stream_receive_window: 4, ..Config::default() };
    let mut pair = Pair::new(Config::default(), tiny);
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &vec![0; 60_000]);
    let mut received = 0;
    while received < 60_000 {
        pair.drive();
        received += read(&mut pair.server, id).0.len();
    }
    assert_eq!(pair.client.close_reason(), None);
}

#[test]
fn answers_are_bounded_by_state_not_by_what_was_heard() {
    let mut frames = Vec::new();
    for _ in 0..300 {
        frames.extend([
            varints(&[0x15, 0, 1]),
            varints(&[0x14, 1]),
            varints(&[0x16, 1]),
            varints(&[0x05, 0, 7]),
        ]);
    }
    let mut server = server_hearing(small(), &frames);
    assert_eq!(said(&mut server), varints(&[0x04, 0, 7, 0]), "one reset for one stream");
    assert_eq!(events(&mut server).len(), 3, "connected, opened, stopped: each once");
}

#[test]
fn streams_that_are_reset_at_once_still_count_until_the_application_has_seen_them() {
    let frames: Vec<Vec<u8>> = (0..3).map(|index| varints(&[0x04, index * 4 + 2, 7, 0])).collect();
    let mut server = server_hearing(Config { max_concurrent_uni_streams: 3, ..small() }, &frames);
    assert_eq!(server.stream_count(), 3);
    assert_eq!(said(&mut server), b"", "no new credit");
    server.handle_input(Instant::now(), Bytes::from(record(&varints(&[0x04, 14, 7, 0]))));
    assert_eq!(refusal(&server), TransportCode::STREAM_LIMIT_ERROR);
}

#[test]
fn a_stopped_stream_swallows_what_still_comes_and_gives_the_credit_back() {
    let mut server =
        server_hearing(Config { receive_window: 1000, ..small() }, &[stream(2, 0, &[1; 400], false)]);
    let id = server.accept(Dir::Uni).unwrap();
    server.stop(id, 5);
    assert_eq!(said(&mut server), [varints(&[0x10, 1400]), varints(&[0x05, 2, 5])].concat());
    let now = Instant::now();
    server.handle_input(now, Bytes::from(record(&stream(2, 400, &[1; 600], false))));
    assert_eq!(said(&mut server), varints(&[0x10, 2000]));
    assert_eq!(server.stream_count(), 1, "its final size is not known");
    server.handle_input(now, Bytes::from(record(&stream(2, 1000, b"", true))));
    assert_eq!(server.stream_count(), 0);
    assert_eq!(server.close_reason(), None);
}

#[test]
fn one_byte_at_a_time_is_slow_but_the_same() {
    let mut server = server_hearing(small(), &[]);
    let now = Instant::now();
    let bytes = [record(&stream(2, 0, b"slow", true)), record(&varints(&[QX_PING, 1]))].concat();
    for byte in bytes {
        server.handle_input(now, Bytes::copy_from_slice(&[byte]));
    }
    let id = server.accept(Dir::Uni).unwrap();
    assert_eq!(read(&mut server, id), (b"slow".to_vec(), Ok(())));
    assert_eq!(said(&mut server)[..8], varints(&[QX_PONG])[..]);
}

//= S2.13 (test)
#[test]
fn a_payload_is_passed_on_before_its_record_is_complete() {
    let mut server = server_hearing(small(), &[]);
    let whole = record(&stream(2, 0, &[9; 800], true));
    let now = Instant::now();
    server.handle_input(now, Bytes::copy_from_slice(&whole[..500]));
    let id = server.accept(Dir::Uni).unwrap();
    assert!(read(&mut server, id).0.len() > 480);
    server.handle_input(now, Bytes::copy_from_slice(&whole[500..]));
    assert_eq!(events(&mut server).last(), Some(&Event::Readable(id)));
    assert_eq!(read(&mut server, id).1, Ok(()));
}
