//! What a run does, and the randomness it does it with.

use std::path::PathBuf;
use std::time::Duration;

/// How often each fault happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// `kill -9` of the server.
    pub server_kills: u64,
    /// `kill -9` of a client.
    pub client_kills: u64,
    /// The power fails under the server's disk; only root can do that.
    pub power_cuts: u64,
    /// SIGSTOP of a client, for [`Plan::stop_for`].
    pub client_stops: u64,
    /// SIGSTOP of the server, for [`Plan::stop_for`].
    pub server_stops: u64,
    /// The server's clock jumps by up to a day, either way.
    pub clock_jumps: u64,
    /// Everybody stops sending, and is to be told all there is without anything else happening.
    pub lulls: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program `hikyaku`.
    pub server: PathBuf,
    /// The program `chat-client`.
    pub client: PathBuf,
    /// Where to keep everything; the run makes a directory of its own in it.
    pub directory: PathBuf,
    /// Where randomness begins.
    pub seed: u64,
    /// Clients, half of which begin over TCP, half over QUIC. One more is revoked on the way.
    pub clients: u64,
    /// Rooms; every client is in all of them.
    pub rooms: u64,
    /// Faults.
    pub faults: Faults,
    /// How long what is stopped stays stopped.
    pub stop_for: Duration,
    /// Acknowledgements between one fault and the next.
    pub gap: u64,
    /// Connections that must have been broken on purpose in all: the run goes on until then.
    pub disconnects: u64,
    /// One of so many sends breaks its connection.
    pub breaks: u64,
    /// The longest pause of a client between two sends.
    pub pause: Duration,
    /// How long nothing may move, and how long the last events may take.
    pub patience: Duration,
    /// Clients that note late what they have shown: a mistake to be found.
    pub late_cursor: bool,
    /// Whether the directory stays.
    pub keep: bool,
}

impl Plan {
    /// A small run: everything once or twice.
    pub fn small(server: PathBuf, client: PathBuf, directory: PathBuf, seed: u64) -> Self {
        let faults = Faults {
            server_kills: 4,
            client_kills: 6,
            client_stops: 1,
            clock_jumps: 2,
            lulls: 1,
            ..Faults::default()
        };
        Self {
            server,
            client,
            directory,
            seed,
            clients: 8,
            rooms: 2,
            faults,
            stop_for: Duration::from_secs(1),
            gap: 25,
            disconnects: 30,
            breaks: 12,
            pause: Duration::from_millis(60),
            patience: Duration::from_secs(90),
            late_cursor: false,
            keep: false,
        }
    }
}

/// SplitMix64: small, and the same everywhere for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Randomness that begins here.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Another order, any of them.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let with = self.below(last as u64 + 1);
            all.swap(last, usize::try_from(with).unwrap_or(0));
        }
    }
}
