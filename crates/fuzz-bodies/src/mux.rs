//! What is done with hostile bytes in the crate `hikyaku-mux`, whose tests also call it with mutilated conversations and
//! with made-up frames (`crates/mux/tests/suite/input.rs`).

use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Event, Side};
use std::time::{Duration, Instant};

/// Hands `bytes` to a server in pieces that the bytes themselves choose, uses everything it offers, and checks that
/// it keeps its own bounds. Never panics.
pub fn mux_input(bytes: &[u8]) {
    let start = Instant::now();
    let mut server = Connection::new(Side::Server, limits(), start);
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

/// Limits small enough to be reached.
fn limits() -> Config {
    Config {
        receive_window: 3000,
        stream_receive_window: 1000,
        max_concurrent_bidi_streams: 3,
        max_concurrent_uni_streams: 2,
        send_buffer: 500,
        ..Config::default()
    }
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
