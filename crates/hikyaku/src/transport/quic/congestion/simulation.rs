//! quinn's own connections over a link that is simulated: no socket, no clock, and the same losses in every run.
//!
//! ```text
//!   client ──▶ queue (rate, limit, losses) ─ delay ─▶ server        and the same back
//! ```
//!
//! Processors take no time here, and timers ring with a resolution of a millisecond, as tokio's do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::BytesMut;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection as Core, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event, ServerConfig,
    StreamId, VarInt,
};

use super::super::{Side, client_endpoint_config, endpoint_config, transport};
use super::*;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::tls;

/// What a link is like, the same in both directions.
#[derive(Debug, Clone, Copy)]
struct Path {
    /// Bits a second.
    rate: u64,
    /// Of both directions together.
    round_trip: Duration,
    /// Bytes that wait for the rate; more are dropped at the tail.
    queue: u64,
    /// Packets of a million that are lost on the way.
    lost: u64,
    seed: u64,
    /// The server does not come to read for so long, from so long after the beginning on.
    away: (Duration, Duration),
}

/// What became of a transfer.
#[derive(Debug)]
struct Outcome {
    /// The share of the link's rate that was content, from the first packet to the last byte read.
    share: f64,
    /// Packets that the queue had no room for, of all.
    dropped: f64,
    /// The median wait in the queue in the second half, in milliseconds, and the longest.
    usual: f64,
    longest: f64,
}

/// One direction.
struct Wire {
    path: Path,
    begin: Instant,
    random: u64,
    free_at: Instant,
    waits: Vec<Duration>,
    dropped: usize,
}

impl Wire {
    fn new(path: Path, direction: u64, now: Instant) -> Self {
        let random = path.seed * 2 + direction;
        Self { path, begin: now, random, free_at: now, waits: Vec::new(), dropped: 0 }
    }

    /// When a packet arrives, if it does.
    fn take(&mut self, length: usize, now: Instant) -> Option<Instant> {
        let random = self.next_random();
        let begins = self.free_at.max(now);
        let wait = begins - now;
        let waiting = wait.as_secs_f64() * self.path.rate as f64 / 8.0;
        if waiting + length as f64 > self.path.queue as f64 {
            self.dropped += 1;
            return None;
        }
        self.waits.push(wait);
        self.free_at = begins + Duration::from_secs_f64(length as f64 * 8.0 / self.path.rate as f64);
        let arrives = self.free_at + self.path.round_trip / 2;
        let (from, time) = self.path.away;
        let late = self.begin + from <= arrives && arrives < self.begin + from + time;
        let arrives = if late { self.begin + from + time } else { arrives };
        (random % 1_000_000 >= self.path.lost).then_some(arrives)
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// One end, with its connection once there is one.
struct End {
    endpoint: Endpoint,
    address: SocketAddr,
    peer: SocketAddr,
    connection: Option<(ConnectionHandle, Core)>,
    wire: Wire,
}

/// The largest payload of a packet on Ethernet, over IPv4.
const LARGEST: usize = 1472;
/// What IP and UDP add.
const HEADERS: usize = 28;

impl End {
    /// Takes a packet off the link.
    fn arrive(&mut self, packet: &[u8], now: Instant) {
        let mut response = Vec::new();
        match self.endpoint.handle(now, self.peer, None, None, BytesMut::from(packet), &mut response) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut response, None);
                let (handle, mut connection) =
                    accepted.map_err(|error| error.cause).expect("the handshake is good");
                // As for a member.
                connection.set_receive_window(VarInt::from_u32(24 << 20));
                self.connection = Some((handle, connection));
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            _ => {}
        }
    }

    /// Puts what is to be sent onto the link.
    fn send(&mut self, now: Instant, mut arrives: impl FnMut(Instant, &[u8])) {
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 10, &mut buffer) {
            let packets = buffer[..transmit.size].chunks(transmit.segment_size.unwrap_or(transmit.size));
            // What is too large for the path vanishes.
            for packet in packets.filter(|packet| packet.len() <= LARGEST) {
                if let Some(at) = self.wire.take(packet.len() + HEADERS, now) {
                    arrives(at, packet);
                }
            }
            buffer.clear();
        }
    }

    /// When its next timer rings.
    fn rings(&mut self, epoch: Instant) -> Option<Instant> {
        let at = self.connection.as_mut()?.1.poll_timeout()?;
        let milliseconds = at.saturating_duration_since(epoch).as_nanos().div_ceil(1_000_000);
        Some(epoch + Duration::from_millis(u64::try_from(milliseconds).unwrap()))
    }
}

/// A packet on its way: when it arrives, the order of those that arrive at once, to whom, and what.
type Flying = (Instant, usize, usize, Vec<u8>);

/// Two ends and what is on its way between them.
struct World {
    epoch: Instant,
    now: Instant,
    /// The client's and the server's.
    ends: [End; 2],
    flying: BinaryHeap<Reverse<Flying>>,
    sent: usize,
    left: usize,
    stream: Option<StreamId>,
    read: usize,
}

/// Bytes that a client sends on one stream, with this congestion control; why an end gave the connection up.
fn transfer(
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    path: Path,
    bytes: usize,
) -> Result<Outcome, String> {
    let mut world = World::new(factory, path, bytes);
    while world.read < bytes {
        world.step()?;
    }
    let took = world.now - world.epoch;
    let wire = &mut world.ends[0].wire;
    let all = wire.waits.len() + wire.dropped;
    let mut waits = wire.waits.split_off(wire.waits.len() / 2);
    waits.sort_unstable();
    let milliseconds = |at: usize| waits[at].as_secs_f64() * 1e3;
    Ok(Outcome {
        share: bytes as f64 * 8.0 / path.rate as f64 / took.as_secs_f64(),
        dropped: wire.dropped as f64 / all as f64,
        usual: milliseconds(waits.len() / 2),
        longest: milliseconds(waits.len() - 1),
    })
}

impl World {
    fn new(factory: Arc<dyn ControllerFactory + Send + Sync>, path: Path, bytes: usize) -> Self {
        let (host, device) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let limits = Limits::default();
        let found = Arc::new(OnceLock::new());
        let server = tls::server_config(&host, tls::ALPN_QUIC, None).unwrap();
        let client = tls::client_config(&device, host.id(), found, tls::ALPN_QUIC, None).unwrap();
        let with = |side| {
            let mut config = transport(&limits, side);
            config.congestion_controller_factory(factory.clone());
            Arc::new(config)
        };
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        server.transport_config(with(Side::Server));
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        client.transport_config(with(Side::Client));
        let now = Instant::now();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let end = |side: usize, config, server: Option<ServerConfig>| End {
            endpoint: Endpoint::new(Arc::new(config), server.map(Arc::new), true, Some([7; 32])),
            address: address(1 + side as u16),
            peer: address(2 - side as u16),
            connection: None,
            wire: Wire::new(path, side as u64, now),
        };
        let mut ends = [end(0, client_endpoint_config(), None), end(1, endpoint_config(&host), Some(server))];
        let to = ends[1].address;
        ends[0].connection = Some(ends[0].endpoint.connect(now, client, to, tls::SERVER_NAME).unwrap());
        let flying = BinaryHeap::new();
        Self { epoch: now, now, ends, flying, sent: 0, left: bytes, stream: None, read: 0 }
    }

    /// Everything that happens now; then the time moves on to what happens next.
    fn step(&mut self) -> Result<(), String> {
        for end in &mut self.ends {
            while let Some(event) = end.connection.as_mut().and_then(|(_, connection)| connection.poll()) {
                if let Event::ConnectionLost { reason } = event {
                    return Err(reason.to_string());
                }
            }
        }
        self.write();
        self.receive();
        for side in 0..2 {
            let Self { ends, flying, sent, now, .. } = self;
            ends[side].send(*now, |at, packet| {
                *sent += 1;
                flying.push(Reverse((at, *sent, 1 - side, packet.to_vec())));
            });
        }
        let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
        let epoch = self.epoch;
        let rings = self.ends.each_mut().map(|end| end.rings(epoch));
        let next = [arrival, rings[0], rings[1]].into_iter().flatten().min().expect("something happens");
        self.now = self.now.max(next);
        while let Some(Reverse((_, _, to, packet))) = self
            .flying
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= self.now)
            .then(|| self.flying.pop())
            .flatten()
        {
            self.ends[to].arrive(&packet, self.now);
        }
        for (end, rings) in self.ends.iter_mut().zip(rings) {
            if let (Some((_, connection)), true) =
                (&mut end.connection, rings.is_some_and(|at| at <= self.now))
            {
                connection.handle_timeout(self.now);
            }
        }
        Ok(())
    }

    /// The client hands over what is taken.
    fn write(&mut self) {
        let Some((_, connection)) = &mut self.ends[0].connection else { return };
        if connection.is_handshaking() {
            return;
        }
        self.stream = self.stream.or_else(|| connection.streams().open(Dir::Uni));
        let Some(stream) = self.stream else { return };
        static ZEROES: [u8; 65_536] = [0; 65_536];
        while self.left > 0
            && let Ok(written) = connection.send_stream(stream).write(&ZEROES[..self.left.min(ZEROES.len())])
        {
            self.left -= written;
        }
    }

    /// The server reads what is there.
    fn receive(&mut self) {
        let Some((_, connection)) = &mut self.ends[1].connection else { return };
        // The client's first unidirectional stream, once it is known.
        let _ = connection.streams().accept(Dir::Uni);
        let Some(stream) = self.stream else { return };
        let mut stream = connection.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.read += chunk.bytes.len();
        }
        let _ = chunks.finalize();
    }
}

const MILLION: u64 = 1_000_000;

fn path(megabits: u64, milliseconds: u64, lost: u64) -> Path {
    let round_trip = Duration::from_micros((milliseconds * 1000).max(200));
    let queue = (megabits * MILLION / 8 * milliseconds / 1000).max(256 * 1024);
    Path { rate: megabits * MILLION, round_trip, queue, lost, seed: 1, away: Default::default() }
}

/// Prints what each congestion control makes of the links of `bench/README.md`: `-- --ignored --nocapture links`, best optimised.
#[test]
#[ignore = "a table for people"]
fn links() {
    let seconds: f64 = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6.0);
    println!("Mbit/s  ms  lost   control  share  dropped  queue ms  longest");
    for (megabits, milliseconds, lost) in [100, 1000]
        .into_iter()
        .flat_map(|rate| [0, 20, 100].map(|rtt| (rate, rtt)))
        .flat_map(|(rate, rtt)| [0, 5_000].map(|lost| (rate, rtt, lost)))
    {
        let controls: [(&str, Arc<dyn ControllerFactory + Send + Sync>); 3] = [
            ("ours", Arc::new(Factory::default())),
            ("cubic", Arc::new(CubicConfig::default())),
            ("bbr", Arc::new(quinn::congestion::BbrConfig::default())),
        ];
        for (name, factory) in controls {
            let bytes = (megabits as f64 * MILLION as f64 / 8.0 * seconds) as usize;
            print!("{megabits:6} {milliseconds:3} {lost:5} {name:>9} ");
            match transfer(factory, path(megabits, milliseconds, lost), bytes) {
                Ok(Outcome { share, dropped, usual, longest }) => {
                    println!("{share:6.2} {dropped:8.4} {usual:9.2} {longest:8.2}");
                }
                Err(reason) => println!("{reason}"),
            }
        }
    }
}

fn ours(path: Path, bytes: usize) -> Outcome {
    let outcome = transfer(Arc::new(Factory::default()), path, bytes).expect("it arrives");
    println!("{path:?}: {outcome:?}");
    outcome
}

/// Cubic alone has a tenth of this link.
#[test]
fn a_path_that_loses_one_packet_in_200_is_used() {
    let outcome = ours(path(100, 20, 5_000), 20_000_000);
    assert!(outcome.share > 0.8, "{outcome:?}");
}

/// What loses too much is treated as by Cubic: forgiving losses does not flood a path with a short queue.
#[test]
fn a_queue_that_is_too_short_to_be_seen_is_still_taken_for_full() {
    let short = Path { queue: 32 * 1024, ..path(100, 20, 0) };
    let outcome = ours(short, 20_000_000);
    assert!(outcome.dropped < 0.03, "{outcome:?}");
}

/// Cubic alone loses a tenth of this; on longer paths so much that the receiver gives the connection up.
#[test]
fn slow_start_on_a_long_path_does_not_lose_every_second_packet() {
    let outcome = ours(path(100, 100, 0), 20_000_000);
    assert!(outcome.dropped < 0.03, "{outcome:?}");
}

/// Slow start that ended there would leave a tenth of the link unused for seconds.
#[test]
fn a_receiver_that_is_late_once_is_not_taken_for_a_queue() {
    let milliseconds = Duration::from_millis;
    let busy = Path { away: (milliseconds(120), milliseconds(15)), ..path(500, 20, 0) };
    let (late, usual) = (ours(busy, 40_000_000).share, ours(path(500, 20, 0), 40_000_000).share);
    assert!(late > usual * 0.9, "{late} and {usual}");
}
