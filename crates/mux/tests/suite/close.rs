//! How a connection ends, and what is left to read then.

use crate::pair::{Pair, events, open, read, write};
use crate::raw::{QX_TRANSPORT_PARAMETERS, close_frame, record, said, server_hearing, varints};
use bytes::Bytes;
use hikyaku_mux::{CloseReason, Config, Connection, DatagramError, Dir, Event, ReadError, Side, WriteError};
use std::time::{Duration, Instant};

//= S2.30 (test)
#[test]
fn a_close_reaches_the_peer_with_its_code_and_words_and_nothing_after_it() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Bi);
    write(&mut pair.client, id, b"never sent");
    pair.client.close(pair.now, 0x0b, Bytes::from_static(b"going away"));
    assert!(!pair.client.is_drained());
    assert_eq!(pair.client.write(id, &mut Bytes::from_static(b"x")), Err(WriteError::Closed));
    assert_eq!(pair.client.read(id, 1), Err(ReadError::Closed));
    assert_eq!(pair.client.send_datagram(Bytes::new()), Err(DatagramError::Closed));
    assert_eq!(pair.client.open(Dir::Uni), None);
    pair.drive();
    assert!(pair.client.is_drained());

    let reason = Bytes::from_static(b"going away");
    let heard = CloseReason::Application { code: 0x0b, reason: reason.clone() };
    assert_eq!(events(&mut pair.server), [Event::Closed(heard.clone())]);
    assert_eq!(pair.server.close_reason(), Some(&heard));
    assert_eq!(events(&mut pair.client), [Event::Closed(CloseReason::Local { code: 0x0b, reason })]);
    assert_eq!(pair.client.poll_timeout(), None);
}

//= S2.31 (test)
#[test]
fn the_side_that_hears_a_close_says_nothing_more_and_is_drained() {
    let mut server = server_hearing(Config::default(), &[varints(&[0x1c, 0x0a, 0x08, 0])]);
    assert!(server.is_drained());
    server.ping(Instant::now());
    assert_eq!(said(&mut server), b"");
    let reason = server.close_reason().unwrap().to_string();
    assert_eq!(reason, "the peer reports a transport error: PROTOCOL_VIOLATION (0x0a): ");
}

//= S2.31 (test)
#[test]
fn what_arrived_before_the_close_can_still_be_read() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let whole = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, whole, b"complete");
    pair.client.finish(whole).unwrap();
    let cut = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, cut, b"incompl");
    pair.carry(Side::Client);
    pair.client.close(pair.now, 0, Bytes::new());
    pair.drive();
    assert!(pair.server.close_reason().is_some());
    assert_eq!(pair.server.accept(Dir::Uni), Some(whole));
    assert_eq!(read(&mut pair.server, whole), (b"complete".to_vec(), Ok(())));
    assert_eq!(pair.server.accept(Dir::Uni), Some(cut));
    assert_eq!(read(&mut pair.server, cut), (b"incompl".to_vec(), Err(ReadError::Closed)));
    assert_eq!(pair.server.stream_count(), 0);
}

//= S2.33 (test)
#[test]
fn a_transport_that_ends_without_a_word_finishes_no_stream() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, b"half of");
    pair.drive();
    let now = pair.now;
    pair.server.handle_end(now);
    assert_eq!(pair.server.close_reason(), Some(&CloseReason::TransportEnded));
    assert!(pair.server.is_drained());
    assert_eq!(read(&mut pair.server, id), (b"half of".to_vec(), Err(ReadError::Closed)));
}

//= S2.32 (test)
#[test]
fn an_idle_connection_ends_without_a_frame_after_the_shorter_of_both_timeouts() {
    let patient = Config { max_idle_timeout: Some(Duration::from_secs(90)), ..Config::default() };
    let hasty = Config { max_idle_timeout: Some(Duration::from_secs(30)), ..Config::default() };
    let silent = Config { max_idle_timeout: None, ..Config::default() };
    for (client, server) in [(patient, hasty), (hasty, patient), (silent, hasty), (hasty, silent)] {
        let mut pair = Pair::new(client, server);
        pair.advance(Duration::from_millis(29_999));
        assert_eq!(pair.client.close_reason(), None);
        pair.client.ping(pair.now);
        pair.drive();
        pair.advance(Duration::from_millis(29_999));
        assert_eq!((pair.client.close_reason(), pair.server.close_reason()), (None, None), "a record counts");
        pair.advance(Duration::from_millis(1));
        for side in [Side::Client, Side::Server] {
            assert_eq!(pair.at(side).close_reason(), Some(&CloseReason::Idle));
            assert!(pair.at(side).is_drained());
            assert!(!pair.carry(side));
        }
    }
    let mut pair = Pair::new(silent, silent);
    assert_eq!(pair.client.poll_timeout(), None);
    pair.advance(Duration::from_secs(1 << 30));
    assert_eq!(pair.client.close_reason(), None);
}

#[test]
fn a_close_before_the_peer_is_known_follows_the_transport_parameters() {
    let now = Instant::now();
    let mut client = Connection::new(Side::Client, Config::default(), now);
    client.close(now, 5, Bytes::from_static(b"changed my mind"));
    let frames = said(&mut client);
    assert_eq!(frames[..8], varints(&[QX_TRANSPORT_PARAMETERS])[..]);
    let at = 9 + usize::from(frames[8] & 0x3f);
    assert!(frames[8] < 0x40, "the parameters are shorter than 64 bytes");
    assert_eq!(close_frame(&frames[at..]), (0x1d, 5, None));
    assert!(client.is_drained());
}

//= S2.34 (test)
#[test]
fn a_peers_words_are_cut_and_escaped() {
    let mut frame = varints(&[0x1d, 1, 5000]);
    frame.extend([0x1b].iter().cycle().take(5000));
    let server = server_hearing(Config::default(), &[frame]);
    let Some(reason @ CloseReason::Application { reason: kept, .. }) = server.close_reason() else {
        panic!("{:?}", server.close_reason())
    };
    assert_eq!(kept.len(), 1024);
    assert!(reason.to_string().ends_with(r"\x1b\x1b"));
    assert!(!reason.to_string().contains('\x1b'));
}

#[test]
fn our_own_words_are_cut_to_what_a_record_holds() {
    let mut pair = Pair::new(Config::default(), Config::default());
    pair.client.close(pair.now, 1, Bytes::from(vec![b'a'; 100_000]));
    pair.drive();
    let Some(CloseReason::Application { reason, .. }) = pair.server.close_reason() else { panic!() };
    assert_eq!(reason.len(), 1024);
}

#[test]
fn only_the_first_reason_counts() {
    let mut server = server_hearing(Config::default(), &[varints(&[0x1d, 1, 0])]);
    let now = Instant::now();
    server.close(now, 2, Bytes::new());
    server.handle_end(now);
    server.handle_input(now, Bytes::from(record(&[0x01])));
    assert_eq!(server.close_reason(), Some(&CloseReason::Application { code: 1, reason: Bytes::new() }));
    assert_eq!(events(&mut server).len(), 1);
}

#[test]
fn a_ping_measures_the_round_trip() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let now = pair.now;
    pair.client.ping(now);
    pair.client.ping(now);
    pair.carry(Side::Client);
    pair.advance(Duration::from_millis(40));
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::Pong { rtt: Duration::from_millis(40) }]);
}
