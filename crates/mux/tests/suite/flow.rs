//! Credit, both ways: what bounds a peer and what keeps both sides moving.

use crate::pair::{Pair, events, open, read, small, write};
use bytes::Bytes;
use hikyaku_mux::{Config, Dir, Event, ReadError, Side, WriteError};

//= S2.22 (test)
#[test]
fn a_sender_stops_at_the_streams_limit_and_goes_on_when_it_is_read() {
    let mut pair = Pair::new(Config::default(), small());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &[5; 2500]);
    pair.client.finish(id).unwrap();
    pair.drive();
    let mut total = 0;
    for expected in [1000, 1000, 500] {
        let (bytes, _) = read(&mut pair.server, id);
        assert_eq!(bytes.len(), expected);
        total += bytes.len();
        pair.drive();
    }
    assert_eq!(total, 2500);
}

//= S2.22 (test)
#[test]
fn a_sender_stops_at_the_connections_limit_and_goes_on_when_any_stream_is_read() {
    let server = Config { receive_window: 1500, ..small() };
    let mut pair = Pair::new(Config::default(), server);
    let one = open(&mut pair.client, Dir::Uni);
    let other = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, one, &[1; 1000]);
    write(&mut pair.client, other, &[2; 1000]);
    pair.drive();
    assert_eq!(read(&mut pair.server, other).0.len(), 500, "1,500 for both");
    pair.drive();
    assert_eq!(read(&mut pair.server, other).0.len(), 500);
    assert_eq!(read(&mut pair.server, one).0.len(), 1000);
}

//= S2.23 (test)
#[test]
fn a_stream_that_nobody_reads_does_not_hold_up_the_others() {
    let mut pair = Pair::new(Config::default(), small());
    let unread = open(&mut pair.client, Dir::Bi);
    write(&mut pair.client, unread, &[0; 5000]);
    pair.drive();
    for round in 0..50u8 {
        let id = open(&mut pair.client, Dir::Uni);
        write(&mut pair.client, id, &[round; 700]);
        pair.client.finish(id).unwrap();
        pair.drive();
        assert_eq!(read(&mut pair.server, id), (vec![round; 700], Ok(())));
        pair.drive();
    }
}

//= S2.24 (test)
#[test]
fn stopping_and_resetting_give_the_connections_credit_back() {
    let server = Config { receive_window: 1000, ..small() };
    let mut pair = Pair::new(Config::default(), server);
    for round in 0..20 {
        let id = open(&mut pair.client, Dir::Uni);
        write(&mut pair.client, id, &[0; 900]);
        pair.drive();
        pair.server.accept(Dir::Uni).expect("a new stream each round");
        match round % 3 {
            // The reader gives up what lies unread.
            0 => pair.server.stop(id, 1),
            // The writer does.
            1 => pair.client.reset(id, 1),
            // Both do at once.
            _ => {
                pair.server.stop(id, 1);
                pair.client.reset(id, 1);
            }
        }
        pair.drive();
        let _ = pair.server.read(id, 1);
        pair.client.reset(id, 1);
        pair.drive();
        assert_eq!((pair.client.stream_count(), pair.server.stream_count()), (0, 0), "round {round}");
    }
}

#[test]
fn a_finish_needs_no_credit() {
    let mut pair = Pair::new(Config::default(), small());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &[0; 1000]);
    let other = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, other, &[0; 1000]);
    let third = open(&mut pair.client, Dir::Bi);
    write(&mut pair.client, third, &[0; 1000]);
    pair.drive();
    pair.client.finish(id).unwrap();
    pair.drive();
    assert_eq!(read(&mut pair.server, id), (vec![0; 1000], Ok(())));
}

#[test]
fn the_peer_opens_no_more_streams_than_allowed_until_one_is_over() {
    let mut pair = Pair::new(Config::default(), small());
    let ids = [(); 3].map(|()| open(&mut pair.client, Dir::Bi));
    assert_eq!(pair.client.open(Dir::Bi), None);
    for id in ids {
        write(&mut pair.client, id, b"x");
        pair.client.finish(id).unwrap();
    }
    pair.drive();
    assert_eq!(events(&mut pair.client), ids.map(Event::Finished), "and three are still open");
    read(&mut pair.server, ids[1]).1.unwrap();
    pair.drive();
    assert_eq!(pair.client.open(Dir::Bi), None, "half of a stream is not enough");
    pair.server.finish(ids[1]).unwrap();
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::Available(Dir::Bi)]);
    assert!(pair.client.open(Dir::Bi).is_some());
    assert_eq!(pair.client.open(Dir::Bi), None);
}

#[test]
fn one_slot_is_given_back_at_a_time_when_the_others_stay_in_use() {
    let config = Config { max_concurrent_uni_streams: 100, ..Config::default() };
    let mut pair = Pair::new(Config::default(), config);
    for _ in 0..99 {
        let id = open(&mut pair.client, Dir::Uni);
        write(&mut pair.client, id, b"stays open");
    }
    for _ in 0..300 {
        let id = pair.client.open(Dir::Uni).expect("the hundredth slot is free again");
        write(&mut pair.client, id, b"short");
        pair.client.finish(id).unwrap();
        pair.drive();
        read(&mut pair.server, id).1.unwrap();
        pair.drive();
    }
}

#[test]
fn limits_can_be_raised_in_the_middle_of_a_connection() {
    let tiny = Config {
        receive_window: 16_384,
        max_concurrent_bidi_streams: 1,
        max_concurrent_uni_streams: 1,
        ..Config::default()
    };
    let mut pair = Pair::new(Config::default(), tiny);
    let id = open(&mut pair.client, Dir::Bi);
    assert_eq!(pair.client.open(Dir::Bi), None);
    write(&mut pair.client, id, &vec![0; 100_000]);
    pair.drive();
    pair.server.set_max_concurrent_streams(Dir::Bi, 50);
    pair.server.set_receive_window(24 * 1024 * 1024);
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::Available(Dir::Bi)]);
    assert!((1..50).all(|_| pair.client.open(Dir::Bi).is_some()));
    assert_eq!(pair.client.open(Dir::Bi), None, "fifty, the first one included");
    let (bytes, _) = read(&mut pair.server, id);
    assert_eq!(bytes.len(), 100_000, "all of it arrived before anything was read");
}

#[test]
fn lower_limits_take_nothing_back_but_give_nothing_more() {
    let mut pair = Pair::new(Config::default(), small());
    pair.server.set_receive_window(0);
    pair.server.set_max_concurrent_streams(Dir::Uni, 0);
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &[0; 1000]);
    pair.client.finish(id).unwrap();
    pair.drive();
    assert_eq!(read(&mut pair.server, id), (vec![0; 1000], Ok(())));
    pair.drive();
    assert!(pair.client.open(Dir::Uni).is_some(), "the second of the two promised");
    assert_eq!(pair.client.open(Dir::Uni), None);
}

#[test]
fn no_stream_buffers_more_than_its_send_buffer() {
    let client = Config { send_buffer: 10_000, ..Config::default() };
    let mut pair = Pair::new(client, Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    let mut data = Bytes::from(vec![0; 50_000]);
    assert_eq!(pair.client.write(id, &mut data), Ok(10_000));
    assert_eq!(data.len(), 40_000, "what was taken is gone from the front");
    assert_eq!(pair.client.write(id, &mut data), Err(WriteError::Blocked));

    let tiny = open(&mut pair.client, Dir::Uni);
    let pieces =
        (0..10_000).take_while(|_| pair.client.write(tiny, &mut Bytes::from_static(b"x")).is_ok()).count();
    assert!(pieces < 400, "{pieces} pieces of one byte cost more than their bytes");
}

#[test]
fn streams_that_nobody_reads_hold_little_together_and_the_others_go_on() {
    let client = Config { send_buffer_total: 4 * 1024 * 1024, ..Config::default() };
    let server = Config { stream_receive_window: 1000, max_concurrent_uni_streams: 200, ..Config::default() };
    let mut pair = Pair::new(client, server);
    // A hundred streams whose peer reads nothing take all they can get.
    let stuck: Vec<_> = (0..100).map(|_| open(&mut pair.client, Dir::Uni)).collect();
    let mut taken = 0;
    for id in &stuck {
        let mut data = Bytes::from(vec![0; 1 << 20]);
        while pair.client.write(*id, &mut data).is_ok_and(|taken| taken > 0) {}
        taken += (1 << 20) - data.len();
    }
    assert!(taken <= 4 * (1 << 20) + 97 * 4 * 1024, "{taken} bytes are held");
    // Each that has nothing yet may still say something, and is heard.
    pair.drive();
    pair.client.reset(stuck[99], 7);
    pair.drive();
    let accepted = std::iter::from_fn(|| pair.server.accept(Dir::Uni)).count();
    assert_eq!(accepted, 100);
    let late = open(&mut pair.client, Dir::Uni);
    assert_eq!(pair.client.write(late, &mut Bytes::from_static(b"hello")), Ok(5));
    pair.drive();
    let found = pair.server.accept(Dir::Uni).unwrap();
    assert_eq!(pair.server.read(found, 10).unwrap().unwrap(), &b"hello"[..]);
    // What was given up makes room again.
    for id in &stuck {
        pair.client.reset(*id, 7);
    }
    let again = open(&mut pair.client, Dir::Uni);
    assert_eq!(pair.client.write(again, &mut Bytes::from(vec![0; 1 << 20])), Ok(1 << 20));
}

#[test]
fn what_may_wait_to_be_sent_can_be_raised_while_a_stream_waits() {
    let client = Config { send_buffer_total: 10_000, ..Config::default() };
    let server = Config { stream_receive_window: 0, ..Config::default() };
    let mut pair = Pair::new(client, server);
    let id = open(&mut pair.client, Dir::Uni);
    let mut data = Bytes::from(vec![0; 50_000]);
    let taken = pair.client.write(id, &mut data).unwrap();
    assert!((9_900..=10_000).contains(&taken), "one stream alone takes no more than all: {taken}");
    assert_eq!(pair.client.write(id, &mut data), Err(WriteError::Blocked));
    pair.client.set_send_buffer_total(30_000);
    let more = pair.client.write(id, &mut data).unwrap();
    assert!((19_900..=20_000).contains(&more), "{more}");
}

#[test]
fn the_windows_hold_for_the_bytes_in_flight_not_for_the_stream() {
    let mut pair = Pair::new(small(), small());
    let id = open(&mut pair.server, Dir::Uni);
    let mut sent = 0usize;
    let mut received = 0;
    while received < 300_000 {
        let mut data = Bytes::from(vec![0; 400]);
        while pair.server.write(id, &mut data).is_ok_and(|taken| taken > 0) {}
        sent += 400 - data.len();
        pair.carry(Side::Server);
        if sent.is_multiple_of(3) {
            pair.carry(Side::Client);
        }
        loop {
            match pair.client.read(id, 333) {
                Ok(Some(bytes)) => received += bytes.len(),
                Err(ReadError::Blocked) => break,
                other => panic!("{other:?}"),
            }
        }
        pair.carry(Side::Client);
    }
    assert_eq!(pair.client.close_reason(), None);
}
