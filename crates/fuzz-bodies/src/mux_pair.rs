//! Two well-behaved ends of one mux connection, made to do whatever the input says, with a pipe between them that cuts
//! anywhere.
//!
//! The model knows only what the two applications asked for: what is read from a stream is a prefix of what was
//! written, its end comes when all of it was read, nobody ever breaks the protocol, and when everybody finishes and
//! reads, everything ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, ReadError, Side, StreamId, WriteError};

use crate::input::Input;

/// More operations than these find nothing that fewer do not, slower.
const MOST_OPERATIONS: usize = 400;

/// The codes that the applications of this target give.
const RESET: u64 = 3;
const STOP: u64 = 4;

/// Runs the operations that `data` spells, then lets everything end.
pub fn mux_pair(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.run(&mut input);
        world.nobody_complains();
    }
    world.settle();
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
    now: Instant,
    ends: [Connection; 2],
    /// Bytes on their way from each side to the other.
    pipes: [Vec<u8>; 2],
    /// Streams that each side knows: its own and accepted ones.
    known: [Vec<StreamId>; 2],
    /// By stream and writer.
    halves: BTreeMap<(u64, usize), Half>,
    datagrams: [(u64, u64); 2],
}

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Limits between one and a few kilobytes and streams.
fn config(input: &mut Input<'_>) -> Config {
    Config {
        receive_window: 1 + input.short() % 4000,
        stream_receive_window: 1 + input.short() % 2000,
        max_concurrent_bidi_streams: 1 + input.below(3),
        max_concurrent_uni_streams: 1 + input.below(3),
        send_buffer: 1 + usize::from(input.byte()) * 6,
        send_buffer_total: 16 * 1024 * 1024,
        datagram_receive_buffer: (input.below(4) != 0).then_some(1000),
        datagram_send_buffer: 1000,
        // Longer than all operations together take: silence is not what is tried here.
        max_idle_timeout: Some(Duration::from_secs(600)),
    }
}

/// The byte at `offset` of a stream's direction: any mistake shows.
fn byte(id: StreamId, writer: Side, offset: u64) -> u8 {
    let number = u64::from(id).wrapping_mul(77) ^ (writer as u64) << 6;
    (offset.wrapping_mul(31) ^ offset >> 8 ^ number).to_le_bytes()[0]
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Instant::now();
        let ends = SIDES.map(|side| Connection::new(side, config(input), now));
        let (pipes, known) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        Self { now, ends, pipes, known, halves: BTreeMap::new(), datagrams: [(0, 0); 2] }
    }

    fn run(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let side = SIDES[usize::from(choice & 1)];
        let dir = if choice & 2 == 0 { Dir::Bi } else { Dir::Uni };
        match choice >> 2 & 15 {
            0 => self.open(side, dir),
            1..=3 => self.with_stream(side, input, |world, id, input| {
                world.write(side, id, input.short() % 700);
            }),
            4 => self.with_stream(side, input, |world, id, _| world.finish(side, id)),
            5 => self.with_stream(side, input, |world, id, _| {
                world.end(side).reset(id, RESET);
                world.half(id, side).given_up = true;
            }),
            6 => self.with_stream(side, input, |world, id, _| {
                world.end(side).stop(id, STOP);
                world.half(id, side.peer()).read_over = true;
            }),
            7 | 8 => self.with_stream(side, input, |world, id, input| {
                world.read(side, id, 1 + usize::from(input.byte()) * 4);
            }),
            9 => self.with_stream(side, input, |world, id, input| {
                world.end(side).set_priority(id, i32::from(input.byte() % 5) - 2);
            }),
            10 => self.datagram(side, usize::from(input.byte())),
            11 => self.adjust(side, dir, input),
            12 => self.advance(Duration::from_millis(input.below(256))),
            _ => self.carry(side, input.short() as usize % 4000, input),
        }
    }

    fn with_stream(
        &mut self,
        side: Side,
        input: &mut Input<'_>,
        act: impl FnOnce(&mut Self, StreamId, &mut Input<'_>),
    ) {
        let known = &self.known[side as usize];
        let at = usize::from(input.byte());
        if let Some(id) = known.get(at % known.len().max(1)).copied() {
            act(self, id, input);
        }
    }

    fn end(&mut self, side: Side) -> &mut Connection {
        &mut self.ends[side as usize]
    }

    fn half(&mut self, id: StreamId, writer: Side) -> &mut Half {
        self.halves.entry((id.into(), writer as usize)).or_default()
    }

    fn open(&mut self, side: Side, dir: Dir) {
        if let Some(id) = self.end(side).open(dir) {
            self.known[side as usize].push(id);
        }
    }

    fn adjust(&mut self, side: Side, dir: Dir, input: &mut Input<'_>) {
        let now = self.now;
        match input.below(3) {
            0 => self.end(side).set_receive_window(input.short() % 5000),
            1 => self.end(side).set_max_concurrent_streams(dir, input.below(6)),
            _ => self.end(side).ping(now),
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|deadline| deadline <= now) {
                end.handle_timeout(now);
            }
        }
        self.drive();
    }

    fn datagram(&mut self, side: Side, length: usize) {
        if self.end(side).send_datagram(Bytes::from(vec![1; length])).is_ok() {
            self.datagrams[side as usize].0 += 1;
        }
    }

    /// Takes up to `budget` bytes or so from one side, and brings some of what is on its way to the other.
    fn carry(&mut self, from: Side, budget: usize, input: &mut Input<'_>) {
        let (now, index) = (self.now, from as usize);
        // A side whose bytes are not taken away is not asked for more: a socket would be full.
        if self.pipes[index].len() < 8_000 {
            self.ends[index].poll_transmit(now, &mut self.pipes[index], budget);
        }
        let arrives = match input.byte() {
            255 => self.pipes[index].len(),
            few => usize::from(few).min(self.pipes[index].len()),
        };
        let piece: Vec<u8> = self.pipes[index].drain(..arrives).collect();
        self.arrive(from.peer(), piece);
    }

    fn arrive(&mut self, at: Side, piece: Vec<u8>) {
        let now = self.now;
        self.end(at).handle_input(now, piece.into());
        for dir in [Dir::Bi, Dir::Uni] {
            while let Some(id) = self.end(at).accept(dir) {
                self.known[at as usize].push(id);
            }
        }
        while self.end(at).recv_datagram().is_some() {
            self.datagrams[at.peer() as usize].1 += 1;
        }
        while self.end(at).poll_event().is_some() {}
    }

    /// Carries everything both ways until both are silent.
    fn drive(&mut self) {
        for _ in 0..100_000 {
            let mut said = false;
            for from in SIDES {
                let (now, index) = (self.now, from as usize);
                let mut piece = std::mem::take(&mut self.pipes[index]);
                self.ends[index].poll_transmit(now, &mut piece, 16_384);
                said |= !piece.is_empty();
                self.arrive(from.peer(), piece);
            }
            if !said {
                return;
            }
        }
        panic!("the two sides never stop talking");
    }

    fn nobody_complains(&self) {
        for end in &self.ends {
            assert_eq!(end.close_reason(), None, "both keep the protocol");
        }
        for (sent, received) in self.datagrams {
            assert!(received <= sent);
        }
    }

    fn write(&mut self, side: Side, id: StreamId, length: u64) {
        let start = self.half(id, side).written;
        let mut data: Bytes = (start..start + length).map(|offset| byte(id, side, offset)).collect();
        match self.end(side).write(id, &mut data) {
            Ok(taken) => {
                let taken = taken as u64;
                assert_eq!(taken, length - data.len() as u64);
                assert!(taken > 0 || length == 0);
                let half = self.half(id, side);
                assert!(!half.finished && !half.given_up, "{id}: a write after the end");
                half.written += taken;
            }
            Err(WriteError::Stopped(code)) => {
                assert_eq!(code, STOP);
                self.half(id, side).given_up = true;
            }
            Err(WriteError::Blocked | WriteError::Closed) => {}
        }
    }

    fn finish(&mut self, side: Side, id: StreamId) {
        match self.end(side).finish(id) {
            Ok(()) => self.half(id, side).finished = true,
            Err(WriteError::Stopped(_)) => self.half(id, side).given_up = true,
            Err(WriteError::Blocked | WriteError::Closed) => {}
        }
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, side: Side, id: StreamId, max: usize) -> bool {
        let outcome = self.end(side).read(id, max);
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
            Err(ReadError::Reset(code)) => {
                // Whoever is told to stop resets with the code it was told.
                assert!(half.given_up && code == RESET || code == STOP, "{id}: a reset nobody said");
                half.read_over = true;
            }
            Err(ReadError::Blocked) => {}
            Err(ReadError::Closed) => {
                assert!(half.read_over || id.dir() == Dir::Uni, "{id} closed by itself");
            }
        }
        false
    }

    /// Everybody finishes, reads and talks until nothing is left.
    fn settle(&mut self) {
        for end in &mut self.ends {
            end.set_receive_window(500);
        }
        for _ in 0..10_000 {
            self.drive();
            self.nobody_complains();
            for side in SIDES {
                for id in self.known[side as usize].clone() {
                    self.finish(side, id);
                    while self.read(side, id, 1000) {}
                }
            }
            self.drive();
            if self.ends.iter().all(|end| end.stream_count() == 0) {
                return;
            }
        }
        panic!("streams that never end: {:?}", self.ends.each_ref().map(Connection::stream_count));
    }
}
