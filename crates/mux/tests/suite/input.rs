//! Any bytes at all: the body of the fuzz target `mux_input`, run here over made-up input and mutilated real input.

use crate::pair::{Pair, next_random, open, small, write};
use crate::raw::{generous, record};
use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Event, Side};
use std::time::{Duration, Instant};

/// Hands `bytes` to a server in pieces that the bytes themselves choose, uses everything it offers, and checks that
/// it keeps its own bounds. Never panics.
pub fn any_bytes(bytes: &[u8]) {
    let start = Instant::now();
    let mut server = Connection::new(Side::Server, small(), start);
    let mut out = Vec::new();
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut random = bytes.iter().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut read = 0u64;
    for step in 0.. {
        let now = start + Duration::from_millis(step);
        let length = (next_random(&mut random) as usize % 70).min(rest.len());
        server.handle_input(now, rest.split_to(length));
        while let Some(event) = server.poll_event() {
            if let Event::Readable(id) = event {
                let _ = server.read(id, 7);
            }
        }
        for dir in [Dir::Bi, Dir::Uni] {
            if let Some(id) = server.accept(dir) {
                while let Ok(Some(piece)) = server.read(id, 100) {
                    read += piece.len() as u64;
                }
                match next_random(&mut random) % 4 {
                    0 => server.stop(id, 1),
                    1 => server.reset(id, 2),
                    2 => drop(server.write(id, &mut Bytes::from_static(b"reply"))),
                    _ => drop(server.finish(id)),
                }
            }
        }
        while server.recv_datagram().is_some() {}
        out.clear();
        while server.poll_transmit(now, &mut out, 2000) {}
        assert!(out.len() < 20_000, "the answer to 70 bytes is {} bytes", out.len());
        assert!(server.stream_count() <= 5);
        if rest.is_empty() {
            break;
        }
    }
    assert!(read <= bytes.len() as u64);
    server.handle_end(start);
    assert!(server.close_reason().is_some());
}

/// What two well-behaved sides say to each other: something of everything.
fn conversation() -> Vec<u8> {
    let mut pair = Pair::new(Config::default(), small());
    for index in 0..3u8 {
        let id = open(&mut pair.client, Dir::Bi);
        write(&mut pair.client, id, &vec![index; 700]);
        pair.client.set_priority(id, i32::from(index));
        match index {
            0 => pair.client.finish(id).unwrap(),
            1 => pair.client.reset(id, 9),
            _ => pair.client.stop(id, 8),
        }
    }
    pair.client.send_datagram(Bytes::from(vec![5; 500])).unwrap();
    pair.client.ping(pair.now);
    pair.drive();
    pair.client.close(pair.now, 1, Bytes::from_static(b"bye"));
    pair.drive();
    std::mem::take(&mut pair.sent[0])
}

#[test]
fn a_conversation_cut_at_any_byte_ends_well() {
    let whole = conversation();
    for cut in 0..=whole.len() {
        any_bytes(&whole[..cut]);
    }
}

#[test]
fn a_conversation_with_any_byte_changed_ends_well() {
    let whole = conversation();
    let mut random = 7;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= (next_random(&mut random) as u8).max(1);
        any_bytes(&changed);
    }
}

#[test]
fn made_up_frames_end_well() {
    let types = [0u8, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 28, 29, 48, 49];
    for seed in 0..3000u64 {
        let mut random = seed;
        let mut bytes = record(&generous());
        for _ in 0..next_random(&mut random) % 20 {
            let mut frame = vec![types[next_random(&mut random) as usize % types.len()]];
            for _ in 0..next_random(&mut random) % 12 {
                // Mostly small numbers: they are the ones that mean something.
                frame.push((next_random(&mut random) % 24) as u8);
            }
            bytes.extend(record(&frame));
        }
        any_bytes(&bytes);
    }
}
