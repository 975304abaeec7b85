//! Datagrams: whole, bounded, and never dropped silently by the sender.

use crate::pair::{Pair, Pieces, events};
use bytes::Bytes;
use hikyaku_mux::{Config, Connection, DatagramError, Event, Side};
use std::time::Instant;

#[test]
fn datagrams_arrive_whole_and_in_order_however_the_bytes_are_cut() {
    for pieces in [Pieces::Whole, Pieces::Of(1), Pieces::Of(100), Pieces::Random(1)] {
        let mut pair = Pair::new(Config::default(), Config::default()).in_pieces(pieces);
        let sizes = [0, 1, 63, 64, 1000, pair.client.max_datagram_size().unwrap()];
        for size in sizes {
            pair.client.send_datagram(Bytes::from(vec![size as u8; size])).unwrap();
        }
        pair.drive();
        assert_eq!(events(&mut pair.server), [Event::Datagram]);
        for size in sizes {
            assert_eq!(pair.server.recv_datagram().unwrap(), vec![size as u8; size]);
        }
        assert_eq!(pair.server.recv_datagram(), None);
    }
}

#[test]
fn a_full_send_queue_says_so_and_says_when_there_is_room() {
    let client = Config { datagram_send_buffer: 5000, ..Config::default() };
    let mut pair = Pair::new(client, Config::default());
    let sent = (0..100).take_while(|_| pair.client.send_datagram(Bytes::from(vec![0; 1000])).is_ok()).count();
    assert_eq!(sent, 4);
    assert_eq!(pair.client.send_datagram(Bytes::from(vec![0; 1000])), Err(DatagramError::Blocked));
    assert_eq!(events(&mut pair.client), []);
    pair.drive();
    assert_eq!(events(&mut pair.client), [Event::DatagramsUnblocked]);
    assert_eq!(std::iter::from_fn(|| pair.server.recv_datagram()).count(), sent);
}

#[test]
fn datagrams_that_nobody_takes_are_dropped_oldest_first_and_counted() {
    let server = Config { datagram_receive_buffer: Some(3000), ..Config::default() };
    let mut pair = Pair::new(Config::default(), server);
    for number in 0..10u8 {
        pair.client.send_datagram(Bytes::from(vec![number; 900])).unwrap();
    }
    pair.drive();
    let kept: Vec<u8> =
        std::iter::from_fn(|| pair.server.recv_datagram()).map(|datagram| datagram[0]).collect();
    assert_eq!(kept, [7, 8, 9]);
    assert_eq!(pair.server.datagrams_dropped(), 7);
}

#[test]
fn the_largest_datagram_is_told_and_kept() {
    let server = Config { datagram_receive_buffer: Some(1003), ..Config::default() };
    let mut pair = Pair::new(Config::default(), server);
    assert_eq!(pair.client.max_datagram_size(), Some(1000));
    let too_large = pair.client.send_datagram(Bytes::from(vec![0; 1001]));
    assert_eq!(too_large, Err(DatagramError::TooLarge { max: 1000 }));
    pair.client.send_datagram(Bytes::from(vec![0; 1000])).unwrap();
    pair.drive();
    assert_eq!(pair.server.recv_datagram().unwrap().len(), 1000);
}

#[test]
fn a_peer_without_datagrams_gets_none() {
    let server = Config { datagram_receive_buffer: None, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server);
    assert_eq!(pair.client.max_datagram_size(), None);
    assert_eq!(pair.client.send_datagram(Bytes::new()), Err(DatagramError::Unsupported));
    assert!(pair.server.max_datagram_size().is_some(), "each direction is declared by its receiver");

    let mut stranger = Connection::new(Side::Client, Config::default(), Instant::now());
    assert_eq!(stranger.send_datagram(Bytes::new()), Err(DatagramError::Unsupported));
}

#[test]
fn datagrams_go_before_the_bytes_of_streams() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let id = crate::pair::open(&mut pair.client, hikyaku_mux::Dir::Uni);
    crate::pair::write(&mut pair.client, id, &vec![0; 500_000]);
    pair.client.send_datagram(Bytes::from_static(b"typing")).unwrap();
    pair.budget = 16_384;
    pair.carry(Side::Client);
    assert_eq!(pair.server.recv_datagram().unwrap(), "typing");
}
