//! Any bytes at all: the body of the fuzz target `mux_input`, over mutilated conversations and made-up frames. Its corpus
//! is replayed in `crates/fuzz-bodies`.

#[path = "../../../fuzz-bodies/src/mux.rs"]
#[allow(unreachable_pub, reason = "it is a module of another crate")]
mod mux;

use crate::pair::{Pair, next_random, open, small, write};
use crate::raw::{generous, record};
use bytes::Bytes;
use hikyaku_mux::{Config, Dir};
use mux::mux_input;

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
        mux_input(&whole[..cut]);
    }
}

#[test]
fn a_conversation_with_any_byte_changed_ends_well() {
    let whole = conversation();
    let mut random = 7;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= (next_random(&mut random) as u8).max(1);
        mux_input(&changed);
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
        mux_input(&bytes);
    }
}
