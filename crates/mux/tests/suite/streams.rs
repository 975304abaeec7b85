//! Streams between two well-behaved sides.

use crate::pair::{Pair, Pieces, events, open, read, small, write};
use bytes::Bytes;
use hikyaku_mux::{Config, Dir, Event, ReadError, SendStatus, Side, StreamId, WriteError};
use proptest::prelude::*;

#[test]
fn what_is_written_on_a_stream_is_read_from_it_and_then_its_end() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Bi);
    write(&mut pair.client, id, b"a question");
    pair.client.finish(id).unwrap();
    pair.drive();

    assert_eq!(events(&mut pair.server), [Event::Opened(Dir::Bi)]);
    assert_eq!(pair.server.accept(Dir::Bi), Some(id));
    assert_eq!(pair.server.accept(Dir::Bi), None);
    assert_eq!(read(&mut pair.server, id), (b"a question".to_vec(), Ok(())));
    write(&mut pair.server, id, b"an answer");
    pair.server.finish(id).unwrap();
    pair.drive();

    assert_eq!(read(&mut pair.client, id), (b"an answer".to_vec(), Ok(())));
    assert_eq!(pair.client.read(id, 1), Err(ReadError::Closed), "the end is said once");
    assert_eq!((pair.client.stream_count(), pair.server.stream_count()), (0, 0), "nothing is left behind");
}

#[test]
fn both_sides_open_streams_of_both_directions_in_order() {
    let mut pair = Pair::new(Config::default(), Config::default());
    for side in [Side::Client, Side::Server] {
        for dir in [Dir::Bi, Dir::Uni] {
            for index in 0..3 {
                let id = open(pair.at(side), dir);
                assert_eq!(id, StreamId::new(side, dir, index));
                write(pair.at(side), id, &[index as u8]);
            }
            pair.drive();
            let peer = pair.at(side.peer());
            let accepted: Vec<_> = std::iter::from_fn(|| peer.accept(dir)).collect();
            assert_eq!(accepted, [0, 1, 2].map(|index| StreamId::new(side, dir, index)));
        }
    }
}

#[test]
fn a_later_stream_opens_all_before_it() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let ids = [(); 3].map(|()| open(&mut pair.client, Dir::Uni));
    write(&mut pair.client, ids[2], b"third");
    pair.drive();
    let server = &mut pair.server;
    assert_eq!(std::iter::from_fn(|| server.accept(Dir::Uni)).collect::<Vec<_>>(), ids);
    assert_eq!(pair.server.read(ids[0], 9), Err(ReadError::Blocked));
}

#[test]
fn a_reset_throws_away_what_was_not_read_and_tells_the_code() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, b"never mind");
    pair.drive();
    pair.client.reset(id, 0x41);
    assert_eq!(pair.client.write(id, &mut Bytes::from_static(b"more")), Err(WriteError::Closed));
    pair.drive();
    assert_eq!(pair.server.read(id, 100), Err(ReadError::Reset(0x41)));
    assert_eq!(pair.server.read(id, 100), Err(ReadError::Closed));
    assert_eq!((pair.client.stream_count(), pair.server.stream_count()), (0, 0));
}

#[test]
fn a_stream_reset_before_its_first_byte_is_known_to_the_peer() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    pair.client.reset(id, 7);
    pair.drive();
    assert_eq!(pair.server.accept(Dir::Uni), Some(id));
    assert_eq!(pair.server.read(id, 1), Err(ReadError::Reset(7)));
}

//= S2.27 (test)
#[test]
fn a_stopped_stream_is_reset_with_the_same_code_and_its_writer_learns_why() {
    let mut pair = Pair::new(Config::default(), small());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &[1; 4000]);
    pair.drive();
    pair.server.accept(Dir::Uni).unwrap();
    pair.server.stop(id, 0x45);
    assert_eq!(pair.server.read(id, 1), Err(ReadError::Closed));
    pair.drive();

    assert_eq!(events(&mut pair.client), [Event::Stopped { id, code: 0x45 }]);
    for _ in 0..2 {
        assert_eq!(pair.client.write(id, &mut Bytes::from_static(b"x")), Err(WriteError::Stopped(0x45)));
    }
    assert_eq!(pair.server.stream_count(), 0, "the reset ended it there");
    assert_eq!(pair.client.send_status(id), SendStatus::Stopped(0x45));
    assert_eq!(pair.client.finish(id), Err(WriteError::Stopped(0x45)));
    assert_eq!(pair.client.send_status(id), SendStatus::Over);
    assert_eq!(pair.client.stream_count(), 0, "and here, once the application knows");
}

#[test]
fn a_stop_that_crosses_the_end_changes_nothing() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, b"all");
    pair.carry(Side::Client);
    pair.server.stop(id, 1);
    pair.client.finish(id).unwrap();
    pair.carry(Side::Client);
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::Finished(id)]);
    assert_eq!((pair.client.stream_count(), pair.server.stream_count()), (0, 0));
    assert_eq!(pair.client.close_reason(), None);
}

#[test]
fn each_event_comes_once_after_the_call_that_was_blocked() {
    let mut pair = Pair::new(small(), small());
    let id = open(&mut pair.client, Dir::Bi);
    write(&mut pair.client, id, b"a");
    pair.drive();
    pair.server.accept(Dir::Bi).unwrap();
    events(&mut pair.server);
    assert_eq!(read(&mut pair.server, id).1, Err(ReadError::Blocked));
    for byte in [b"b", b"c"] {
        write(&mut pair.client, id, byte);
        pair.drive();
    }
    assert_eq!(events(&mut pair.server), [Event::Readable(id)]);
    assert_eq!(read(&mut pair.server, id).0, b"bc");

    let mut data = Bytes::from(vec![0; 600]);
    while pair.client.write(id, &mut data).is_ok() {}
    assert!(!data.is_empty(), "the send buffer is smaller than that");
    assert_eq!(events(&mut pair.client), []);
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::Writable(id)]);
}

#[test]
fn a_stream_is_finished_when_its_end_was_taken_not_when_it_was_said() {
    let mut pair = Pair::new(Config::default(), small());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &[0; 1500]);
    pair.client.finish(id).unwrap();
    pair.drive();
    assert_eq!(pair.client.send_status(id), SendStatus::Open, "the credit was for 1,000 bytes");
    assert_eq!(events(&mut pair.client), []);
    read(&mut pair.server, id).1.unwrap_err();
    assert!(pair.server.has_control_to_send());
    pair.drive();
    assert!(!pair.server.has_control_to_send());
    assert_eq!(pair.client.send_status(id), SendStatus::Over);
    assert_eq!(events(&mut pair.client), [Event::Finished(id)]);
}

#[test]
fn a_higher_priority_overtakes_what_is_not_yet_on_the_wire() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let bulk = open(&mut pair.client, Dir::Uni);
    let chat = open(&mut pair.client, Dir::Uni);
    pair.client.set_priority(chat, 1);
    write(&mut pair.client, bulk, &vec![0; 200_000]);
    pair.budget = 16_384; // one record, which bulk would fill
    pair.carry(Side::Client);
    write(&mut pair.client, chat, b"hello");
    pair.carry(Side::Client);
    assert_eq!(read(&mut pair.server, chat).0, b"hello");
    assert!(read(&mut pair.server, bulk).0.len() < 70_000, "the rest of the bulk still waits");

    let urgent = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, urgent, b"now");
    pair.client.set_priority(urgent, 9);
    pair.client.set_priority(bulk, -1);
    pair.carry(Side::Client);
    assert_eq!(read(&mut pair.server, urgent).0, b"now", "a priority may change while the stream waits");
}

#[test]
fn streams_of_one_priority_take_turns() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let ids = [(); 4].map(|()| open(&mut pair.client, Dir::Uni));
    for id in ids {
        write(&mut pair.client, id, &vec![0; 100_000]);
    }
    pair.budget = 8 * 16_384;
    pair.carry(Side::Client);
    for id in ids {
        let got = read(&mut pair.server, id).0.len();
        assert!((32_000..33_000).contains(&got), "{id} got {got} of eight records");
    }
}

#[test]
fn a_read_takes_no_more_than_it_asks_for() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, b"abcdef");
    pair.client.finish(id).unwrap();
    pair.drive();
    for expected in [&b"abcd"[..], b"ef"] {
        assert_eq!(pair.server.read(id, 4).unwrap().unwrap(), expected);
    }
    assert_eq!(pair.server.read(id, 4), Ok(None));
}

#[test]
fn calls_on_streams_that_never_were_do_nothing() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = StreamId::new(Side::Client, Dir::Bi, 5);
    assert_eq!(pair.client.write(id, &mut Bytes::from_static(b"x")), Err(WriteError::Closed));
    assert_eq!(pair.client.finish(id), Err(WriteError::Closed));
    assert_eq!(pair.client.read(id, 1), Err(ReadError::Closed));
    pair.client.reset(id, 0);
    pair.client.stop(id, 0);
    pair.client.set_priority(id, 3);
    pair.drive();
    assert_eq!(pair.server.accept(Dir::Bi), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn however_the_transport_cuts_the_bytes_the_streams_are_the_same(seed: u64, length in 0usize..60_000) {
        let mut pair = Pair::new(small(), small()).in_pieces(Pieces::Random(seed));
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
        let id = open(&mut pair.client, Dir::Uni);
        let mut rest = Bytes::from(bytes.clone());
        let mut received = Vec::new();
        loop {
            while pair.client.write(id, &mut rest).is_ok_and(|taken| taken > 0) {}
            if rest.is_empty() {
                let _ = pair.client.finish(id);
            }
            pair.drive();
            let (some, end) = read(&mut pair.server, id);
            received.extend(some);
            if end == Ok(()) {
                break;
            }
        }
        prop_assert!(received == bytes);
    }
}
