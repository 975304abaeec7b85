//! Two connections, a byte pipe each way that may cut anywhere, and a clock that moves when it is told to.

use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Event, ReadError, Side, StreamId};
use std::time::{Duration, Instant};

/// How the pipe cuts what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pieces {
    /// As it was written.
    Whole,
    /// This many bytes at a time.
    Of(usize),
    /// 1 to 40 bytes, or now and then thousands, from this seed.
    Random(u64),
}

pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    pub(crate) now: Instant,
    pub(crate) budget: usize,
    /// Everything each side has sent: the client's, the server's.
    pub(crate) sent: [Vec<u8>; 2],
    pieces: Pieces,
}

/// Limits small enough to be reached.
pub(crate) fn small() -> Config {
    Config {
        receive_window: 3000,
        stream_receive_window: 1000,
        max_concurrent_bidi_streams: 3,
        max_concurrent_uni_streams: 2,
        send_buffer: 500,
        ..Config::default()
    }
}

impl Pair {
    /// Two connections that have met.
    pub(crate) fn new(client: Config, server: Config) -> Self {
        let mut pair = Self::strangers(client, server);
        pair.drive();
        assert_eq!(pair.client.poll_event(), Some(Event::Connected));
        assert_eq!(pair.server.poll_event(), Some(Event::Connected));
        pair
    }

    /// Two connections that have exchanged nothing.
    pub(crate) fn strangers(client: Config, server: Config) -> Self {
        let now = Instant::now();
        Self {
            client: Connection::new(Side::Client, client, now),
            server: Connection::new(Side::Server, server, now),
            now,
            budget: 65_536,
            sent: [Vec::new(), Vec::new()],
            pieces: Pieces::Whole,
        }
    }

    pub(crate) fn in_pieces(mut self, pieces: Pieces) -> Self {
        self.pieces = pieces;
        self
    }

    pub(crate) fn at(&mut self, side: Side) -> &mut Connection {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Carries what one side has to say now; false when that is nothing.
    pub(crate) fn carry(&mut self, from: Side) -> bool {
        let (now, budget) = (self.now, self.budget);
        let mut out = Vec::new();
        let said = self.at(from).poll_transmit(now, &mut out, budget);
        assert_eq!(said, !out.is_empty());
        self.sent[from as usize].extend_from_slice(&out);
        let mut bytes = Bytes::from(out);
        while !bytes.is_empty() {
            let length = self.piece().min(bytes.len());
            let piece = bytes.split_to(length);
            self.at(from.peer()).handle_input(now, piece);
        }
        said
    }

    /// Carries both ways until both are silent.
    pub(crate) fn drive(&mut self) {
        for _ in 0..100_000 {
            let client = self.carry(Side::Client);
            let server = self.carry(Side::Server);
            if !client && !server {
                return;
            }
        }
        panic!("the two sides never stop talking");
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for side in [Side::Client, Side::Server] {
            if self.at(side).poll_timeout().is_some_and(|deadline| deadline <= now) {
                self.at(side).handle_timeout(now);
            }
        }
    }

    fn piece(&mut self) -> usize {
        match &mut self.pieces {
            Pieces::Whole => usize::MAX,
            Pieces::Of(length) => *length,
            Pieces::Random(state) => {
                let random = next_random(state);
                if random.is_multiple_of(8) {
                    1 + (random >> 8) as usize % 20_000
                } else {
                    1 + (random >> 8) as usize % 40
                }
            }
        }
    }
}

/// SplitMix64.
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Opens a stream that the peer is known to allow.
pub(crate) fn open(connection: &mut Connection, dir: Dir) -> StreamId {
    connection.open(dir).expect("the peer allows another stream")
}

/// Writes everything, which must fit.
pub(crate) fn write(connection: &mut Connection, id: StreamId, bytes: &[u8]) {
    let mut data = Bytes::copy_from_slice(bytes);
    while !data.is_empty() {
        connection.write(id, &mut data).expect("the send buffer has room");
    }
}

/// Everything that can be read now, and how it ends.
pub(crate) fn read(connection: &mut Connection, id: StreamId) -> (Vec<u8>, Result<(), ReadError>) {
    let mut bytes = Vec::new();
    loop {
        match connection.read(id, usize::MAX) {
            Ok(Some(piece)) => {
                assert!(!piece.is_empty(), "a read never returns nothing");
                bytes.extend_from_slice(&piece);
            }
            Ok(None) => return (bytes, Ok(())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// All waiting events.
pub(crate) fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}
