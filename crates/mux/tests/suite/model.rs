//! Random operations on both sides, bytes cut anywhere, against a model that knows only what was asked.
//!
//! The model is the sentence "what is read from a stream is a prefix of what was written, and at its end all of it";
//! credits are checked by the receivers themselves, who close the connection when one is exceeded; and at the end
//! everything must finish, which proves that nobody waits for ever.

use crate::pair::{Pair, Pieces};
use bytes::Bytes;
use hikyaku_mux::{Config, Dir, ReadError, Side, StreamId, WriteError};
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Op {
    Open(Side, Dir),
    Write(Side, usize, usize),
    Finish(Side, usize),
    Reset(Side, usize),
    Stop(Side, usize),
    Read(Side, usize, usize),
    Priority(Side, usize, i32),
    Datagram(Side, usize),
    Ping(Side),
    Window(Side, u64),
    Streams(Side, Dir, u64),
    Carry(Side, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Server)];
    let dir = || prop_oneof![Just(Dir::Bi), Just(Dir::Uni)];
    let which = || 0usize..8;
    prop_oneof![
        3 => (side(), dir()).prop_map(|(side, dir)| Op::Open(side, dir)),
        8 => (side(), which(), 0usize..700).prop_map(|(side, at, length)| Op::Write(side, at, length)),
        2 => (side(), which()).prop_map(|(side, at)| Op::Finish(side, at)),
        1 => (side(), which()).prop_map(|(side, at)| Op::Reset(side, at)),
        1 => (side(), which()).prop_map(|(side, at)| Op::Stop(side, at)),
        6 => (side(), which(), 1usize..900).prop_map(|(side, at, max)| Op::Read(side, at, max)),
        1 => (side(), which(), -2i32..3).prop_map(|(side, at, priority)| Op::Priority(side, at, priority)),
        1 => (side(), 0usize..300).prop_map(|(side, length)| Op::Datagram(side, length)),
        1 => side().prop_map(Op::Ping),
        1 => (side(), 0u64..5000).prop_map(|(side, bytes)| Op::Window(side, bytes)),
        1 => (side(), dir(), 0u64..6).prop_map(|(side, dir, count)| Op::Streams(side, dir, count)),
        8 => (side(), 0usize..4000).prop_map(|(side, budget)| Op::Carry(side, budget)),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (1u64..4000, 1u64..2000, 1u64..4, 1u64..4, 1usize..1500).prop_map(
        |(receive_window, stream_receive_window, bidi, uni, send_buffer)| Config {
            receive_window,
            stream_receive_window,
            max_concurrent_bidi_streams: bidi,
            max_concurrent_uni_streams: uni,
            send_buffer,
            datagram_receive_buffer: Some(1000),
            ..Config::default()
        },
    )
}

/// What one direction of one stream carried, as its two applications see it.
#[derive(Default)]
struct Half {
    written: u64,
    read: u64,
    finished: bool,
    /// The writer gave up, or was told to.
    given_up: bool,
    /// The reader is done: end, reset or stop.
    read_over: bool,
}

struct World {
    pair: Pair,
    /// Streams each side knows, its own and accepted ones.
    known: [Vec<StreamId>; 2],
    /// By stream and writer.
    halves: HashMap<(StreamId, usize), Half>,
}

/// The byte at `offset` of a stream's direction: any mistake shows.
fn byte(id: StreamId, writer: Side, offset: u64) -> u8 {
    (offset.wrapping_mul(31) ^ (offset >> 8) ^ u64::from(id).wrapping_mul(77) ^ (writer as u64) << 6) as u8
}

impl World {
    fn half(&mut self, id: StreamId, writer: Side) -> &mut Half {
        self.halves.entry((id, writer as usize)).or_default()
    }

    fn pick(&self, side: Side, at: usize) -> Option<StreamId> {
        let known = &self.known[side as usize];
        (!known.is_empty()).then(|| known[at % known.len()])
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Open(side, dir) => {
                if let Some(id) = self.pair.at(side).open(dir) {
                    self.known[side as usize].push(id);
                }
            }
            Op::Write(side, at, length) => {
                if let Some(id) = self.pick(side, at) {
                    self.write(side, id, length);
                }
            }
            Op::Finish(side, at) => {
                if let Some(id) = self.pick(side, at) {
                    self.finish(side, id);
                }
            }
            Op::Reset(side, at) => {
                let Some(id) = self.pick(side, at) else { return };
                self.pair.at(side).reset(id, 3);
                self.half(id, side).given_up = true;
            }
            Op::Stop(side, at) => {
                let Some(id) = self.pick(side, at) else { return };
                self.pair.at(side).stop(id, 4);
                self.half(id, side.peer()).read_over = true;
            }
            Op::Read(side, at, max) => {
                if let Some(id) = self.pick(side, at) {
                    self.read(side, id, max);
                }
            }
            Op::Priority(side, at, priority) => {
                if let Some(id) = self.pick(side, at) {
                    self.pair.at(side).set_priority(id, priority);
                }
            }
            Op::Datagram(side, length) => {
                // Blocked or not: datagrams must not disturb streams.
                let _ = self.pair.at(side).send_datagram(Bytes::from(vec![1; length]));
            }
            Op::Ping(side) => {
                let now = self.pair.now;
                self.pair.at(side).ping(now);
            }
            Op::Window(side, bytes) => self.pair.at(side).set_receive_window(bytes),
            Op::Streams(side, dir, count) => self.pair.at(side).set_max_concurrent_streams(dir, count),
            Op::Carry(side, budget) => {
                self.pair.budget = budget;
                self.pair.carry(side);
                self.accept(side.peer());
            }
        }
    }

    fn accept(&mut self, side: Side) {
        for dir in [Dir::Bi, Dir::Uni] {
            while let Some(id) = self.pair.at(side).accept(dir) {
                self.known[side as usize].push(id);
            }
        }
    }

    fn write(&mut self, side: Side, id: StreamId, length: usize) {
        let start = self.half(id, side).written;
        let bytes: Vec<u8> = (start..start + length as u64).map(|offset| byte(id, side, offset)).collect();
        let mut data = Bytes::from(bytes);
        match self.pair.at(side).write(id, &mut data) {
            Ok(taken) => {
                assert_eq!(taken, length - data.len());
                assert!(taken > 0 || length == 0);
                let half = self.half(id, side);
                assert!(!half.finished && !half.given_up, "{id}: a write after the end");
                half.written += taken as u64;
            }
            Err(WriteError::Stopped(code)) => {
                assert_eq!(code, 4);
                self.half(id, side).given_up = true;
            }
            Err(WriteError::Blocked | WriteError::Closed) => {}
        }
    }

    fn finish(&mut self, side: Side, id: StreamId) {
        match self.pair.at(side).finish(id) {
            Ok(()) => self.half(id, side).finished = true,
            Err(WriteError::Stopped(_)) => self.half(id, side).given_up = true,
            Err(_) => {}
        }
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, side: Side, id: StreamId, max: usize) -> bool {
        let outcome = self.pair.at(side).read(id, max);
        let half = self.half(id, side.peer());
        match outcome {
            Ok(Some(piece)) => {
                assert!(!piece.is_empty() && piece.len() <= max);
                for (offset, got) in (half.read..).zip(&piece) {
                    assert_eq!(*got, byte(id, side.peer(), offset), "{id} at {offset}");
                }
                half.read += piece.len() as u64;
                assert!(half.read <= half.written, "{id}: more than was written");
                return true;
            }
            Ok(None) => {
                assert!(half.finished && !half.read_over, "{id}: an end nobody said");
                assert_eq!(half.read, half.written, "{id}: the end came early");
                half.read_over = true;
            }
            Err(ReadError::Reset(_)) => {
                assert!(half.given_up || half.finished, "{id}: a reset nobody said");
                half.read_over = true;
            }
            Err(ReadError::Blocked) => {}
            Err(ReadError::Closed) => {
                assert!(half.read_over || id.dir() == Dir::Uni, "{id} closed by itself")
            }
        }
        false
    }

    /// Everybody finishes, reads and talks until nothing is left.
    fn settle(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.pair.at(side).set_receive_window(500);
        }
        self.pair.budget = 65_536;
        for _ in 0..10_000 {
            self.pair.drive();
            assert_eq!((self.pair.client.close_reason(), self.pair.server.close_reason()), (None, None));
            for side in [Side::Client, Side::Server] {
                self.accept(side);
                while self.pair.at(side).recv_datagram().is_some() {}
                for id in self.known[side as usize].clone() {
                    self.finish(side, id);
                    while self.read(side, id, 1000) {}
                }
            }
            self.pair.drive();
            if self.pair.client.stream_count() + self.pair.server.stream_count() == 0 {
                return;
            }
        }
        panic!(
            "streams that never end: {} and {}",
            self.pair.client.stream_count(),
            self.pair.server.stream_count()
        );
    }
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written_and_everything_ends(
        client in config(),
        server in config(),
        seed: u64,
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut world = World {
            pair: Pair::new(client, server).in_pieces(Pieces::Random(seed)),
            known: [Vec::new(), Vec::new()],
            halves: HashMap::new(),
        };
        for op in ops {
            world.run(op);
            prop_assert_eq!(world.pair.client.close_reason(), None);
            prop_assert_eq!(world.pair.server.close_reason(), None);
        }
        world.settle();
    }
}
