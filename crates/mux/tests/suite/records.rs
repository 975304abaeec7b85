//! What this side puts on the wire, looked at as bytes.

use crate::pair::{Pair, open, small, write};
use crate::raw::{QX_PING, QX_TRANSPORT_PARAMETERS, generous, record, said, server_hearing, varints};
use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Side};
use hikyaku_wire::varint;
use std::time::Instant;

/// The sizes of the records in `bytes`.
fn sizes(mut bytes: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    while !bytes.is_empty() {
        let (size, length) = varint::decode(bytes).unwrap();
        sizes.push(size as usize);
        bytes = &bytes[length + size as usize..];
    }
    sizes
}

//= S2.10 (test)
#[test]
fn bulk_fills_records_of_one_tls_record_each_and_never_more() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let introduction = pair.sent[0].len();
    let id = open(&mut pair.client, Dir::Uni);
    write(&mut pair.client, id, &vec![1; 1_000_000]);
    pair.client.send_datagram(Bytes::from(vec![2; 1000])).unwrap();
    pair.carry(Side::Client);
    let bytes = &pair.sent[0][introduction..];
    assert_eq!(bytes.len(), 65_536, "the budget is used exactly");
    assert_eq!(sizes(bytes), [16_382; 4]);
    pair.drive();
    let all = sizes(&pair.sent[0]);
    assert!(all.iter().all(|size| *size <= 16_382));
    assert!(all.len() < 66, "{} records for a million bytes", all.len());
}

#[test]
fn small_messages_share_a_record() {
    let config = Config { max_concurrent_uni_streams: 1000, ..Config::default() };
    let mut pair = Pair::new(config, config);
    let before = pair.sent[0].len();
    for _ in 0..100 {
        let id = open(&mut pair.client, Dir::Uni);
        write(&mut pair.client, id, &[3; 64]);
        pair.client.finish(id).unwrap();
    }
    pair.carry(Side::Client);
    assert_eq!(sizes(&pair.sent[0][before..]).len(), 1);
}

#[test]
fn sizes_and_lengths_are_in_their_shortest_form() {
    let mut server = server_hearing(small(), &[]);
    let id = open(&mut server, Dir::Uni);
    write(&mut server, id, b"hi");
    let mut out = Vec::new();
    server.poll_transmit(Instant::now(), &mut out, 1000);
    assert_eq!(out, [5, 0x0a, 3, 2, b'h', b'i'], "size, STREAM with length, stream 3, two bytes");
    out.clear();
    write(&mut server, id, &[7; 100]);
    server.poll_transmit(Instant::now(), &mut out, 1000);
    assert_eq!(out[..6], [0x40, 105, 0x0e, 3, 2, 0x40]);
}

//= S2.15 (test)
//= S2.17 (test)
#[test]
fn the_transport_parameters_go_first_and_nothing_else_before_the_peers() {
    for side in [Side::Client, Side::Server] {
        let now = Instant::now();
        let mut connection = Connection::new(side, small(), now);
        connection.ping(now);
        connection.set_receive_window(1 << 20);
        connection.set_max_concurrent_streams(Dir::Bi, 50);
        assert_eq!(connection.open(Dir::Bi), None, "the peer has allowed nothing yet");
        let first = said(&mut connection);
        let (ty, at) = varint::decode(&first).unwrap();
        assert_eq!(ty, QX_TRANSPORT_PARAMETERS);
        let (length, more) = varint::decode(&first[at..]).unwrap();
        assert_eq!(first.len(), at + more + length as usize, "and no frame after it");

        connection.handle_input(now, Bytes::from(record(&generous())));
        let ping = varints(&[QX_PING]);
        assert_eq!(said(&mut connection)[..8], ping[..], "the rest follows");
    }
}

//= S2.15 (test)
#[test]
fn what_is_declared_is_what_is_configured_and_one_reserved_parameter() {
    let now = Instant::now();
    let mut server = Connection::new(Side::Server, small(), now);
    let frame = said(&mut server);
    let mut rest = &frame[9..];
    let mut declared = Vec::new();
    while !rest.is_empty() {
        let (id, one) = varint::decode(rest).unwrap();
        let (length, two) = varint::decode(&rest[one..]).unwrap();
        let value = &rest[one + two..][..length as usize];
        rest = &rest[one + two + length as usize..];
        declared.push((id, varint::decode(value).map(|(number, _)| number)));
    }
    let (reserved, known): (Vec<_>, Vec<_>) =
        declared.into_iter().partition(|(id, _)| *id >= 27 && *id != 0x20 && (id - 27).is_multiple_of(31));
    assert_eq!(
        known,
        [(1, 60_000), (4, 3000), (5, 1000), (6, 1000), (7, 1000), (8, 3), (9, 2), (0x20, 16_382)]
            .map(|(id, value)| (id, Some(value)))
    );
    assert_eq!(reserved.len(), 1, "a peer must stay able to ignore what it does not know");
}

//= S2.18 (test)
#[test]
fn every_stream_goes_out_in_order_without_a_gap() {
    let mut pair = Pair::new(Config::default(), small());
    let ids = [(); 2].map(|()| open(&mut pair.client, Dir::Uni));
    for id in ids {
        write(&mut pair.client, id, &[1; 3000]);
    }
    let mut next = [0u64; 2];
    for _ in 0..20 {
        let before = pair.sent[0].len();
        pair.carry(Side::Client);
        let mut bytes = &pair.sent[0][before..];
        while !bytes.is_empty() {
            let (size, at) = varint::decode(bytes).unwrap();
            for (id, offset, length) in stream_frames(&bytes[at..at + size as usize]) {
                let slot = usize::from(id != u64::from(ids[0]));
                assert_eq!(offset, next[slot]);
                next[slot] += length;
            }
            bytes = &bytes[at + size as usize..];
        }
        for id in ids {
            crate::pair::read(&mut pair.server, id).1.unwrap_err();
        }
        pair.carry(Side::Server);
    }
    assert_eq!(next, [3000, 3000]);
}

/// Stream, offset and length of the STREAM frames in a record that otherwise holds credit frames only.
fn stream_frames(mut rest: &[u8]) -> Vec<(u64, u64, u64)> {
    let mut frames = Vec::new();
    let take = |rest: &mut &[u8]| {
        let (value, length) = varint::decode(rest).unwrap();
        *rest = &rest[length..];
        value
    };
    while !rest.is_empty() {
        match take(&mut rest) {
            ty @ 0x08..=0x0f => {
                let id = take(&mut rest);
                let offset = if ty & 4 != 0 { take(&mut rest) } else { 0 };
                let length = if ty & 2 != 0 { take(&mut rest) } else { rest.len() as u64 };
                rest = &rest[length as usize..];
                frames.push((id, offset, length));
            }
            0x14 => drop(take(&mut rest)),
            0x15 => drop((take(&mut rest), take(&mut rest))),
            other => panic!("frame {other:#x}"),
        }
    }
    frames
}
