//! Connections that come as far as a certain state and then say a byte a second: in every state, over both transports.
//!
//! Whoever is not known yet is held to a few places, and to seconds: of a thousand at once most are turned away at the door
//! and come again, and the test says how many were there at one time. Members stay as long as their deadlines allow.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hikyaku_mux::{Dir, StreamId};
use hikyaku_wire::cbor;
use hikyaku_wire::chat;
use hikyaku_wire::enroll;
use hikyaku_wire::files::{self, Block, Offer, Step, Target};
use hikyaku_wire::frame::{self, FrameType};
use hikyaku_wire::parcel::{EntryKind, TransferId};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::attacker::{Attacker, Talk, address, control, exchange};
use crate::common::PATIENCE;
use crate::held::{Held, allowed};
use crate::{Besieged, Keys, SLACK, follow, number, resolve, runtime, talk, wrong_invite};

/// Slow connections in each state in the ordinary test.
const SLOW: usize = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Bytes that each says slowly, if it is let.
const BYTES: usize = 40;

/// What a connection was about to say when it became slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first flight of TLS, or of QUIC.
    Handshake,
    /// QMux's transport parameters, behind TLS.
    Parameters,
    /// HELLO, of somebody whose key nobody knows.
    StrangersHello,
    /// The OPEN with which a stranger would enrol.
    StrangersOpen,
    /// A member's HELLO.
    Hello,
    /// A member's OPEN.
    Open,
    /// A member's message.
    Message,
    /// The bytes of a file that a member uploads.
    Data,
}

const STATES: &[State] = &[
    State::Handshake,
    State::Parameters,
    State::StrangersHello,
    State::StrangersOpen,
    State::Hello,
    State::Open,
    State::Message,
    State::Data,
];

impl State {
    /// Whether a server that does its best keeps all of them: it knows who they are.
    fn is_members(self) -> bool {
        matches!(self, Self::Hello | Self::Open | Self::Message | Self::Data)
    }
}

/// One connection, over either transport.
enum Line {
    Tcp(Box<Talk<TlsStream<TcpStream>>>),
    Quic(quinn::Connection),
}

enum Stream {
    Tcp(StreamId),
    Quic(quinn::SendStream, Option<quinn::RecvStream>),
}

impl Line {
    async fn reach(who: &Attacker, from: Ipv4Addr, quic: bool) -> io::Result<Self> {
        if quic {
            return Ok(Self::Quic(who.connect_quic(from).await?));
        }
        Ok(Self::Tcp(Box::new(Talk::new(who.handshake(who.dial(from, true).await?).await?))))
    }

    async fn open(&mut self, dir: Dir) -> io::Result<Stream> {
        Ok(match (self, dir) {
            (Self::Tcp(talk), dir) => Stream::Tcp(talk.open(dir).await?),
            (Self::Quic(connection), Dir::Bi) => {
                let (send, receive) = connection.open_bi().await?;
                Stream::Quic(send, Some(receive))
            }
            (Self::Quic(connection), Dir::Uni) => Stream::Quic(connection.open_uni().await?, None),
        })
    }

    async fn write(&mut self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        match (self, stream) {
            (Self::Tcp(talk), Stream::Tcp(id)) => talk.write(*id, bytes).await,
            (_, Stream::Quic(send, _)) => Ok(send.write_all(bytes).await?),
            (Self::Quic(..), Stream::Tcp(_)) => unreachable!("a stream belongs to its line"),
        }
    }

    /// Waits for the first bytes of an answer; false when there is none.
    async fn is_answered(&mut self, stream: &mut Stream) -> io::Result<bool> {
        match (self, stream) {
            (Self::Tcp(talk), Stream::Tcp(id)) => loop {
                match talk.mux.read(*id, 1) {
                    Ok(some) => return Ok(some.is_some()),
                    Err(hikyaku_mux::ReadError::Blocked) => talk.receive().await?,
                    Err(_) => return Ok(false),
                }
            },
            (_, Stream::Quic(_, Some(receive))) => Ok(matches!(receive.read(&mut [0; 1]).await, Ok(Some(_)))),
            _ => unreachable!("an answer is asked for on a bidirectional stream"),
        }
    }

    /// Lets a second go by, and takes in what comes.
    async fn second(&mut self) -> io::Result<()> {
        let second = tokio::time::sleep(SECOND);
        match self {
            Self::Tcp(talk) => {
                tokio::pin!(second);
                loop {
                    tokio::select! {
                        () = &mut second => return talk.send().await,
                        received = talk.receive() => received?,
                    }
                }
            }
            Self::Quic(connection) => {
                tokio::select! {
                    () = second => Ok(()),
                    closed = connection.closed() => Err(closed.into()),
                }
            }
        }
    }
}

/// What is said slowly on an exchange, and what quickly before it.
fn sayings(keys: &Keys, state: State, nth: u64) -> (Vec<u8>, Vec<u8>) {
    let message = |bytes: &[u8]| {
        let mut out = Vec::new();
        frame::encode(FrameType::MESSAGE, bytes, &mut out);
        out
    };
    match state {
        State::StrangersOpen => {
            (Vec::new(), exchange(enroll::PROTOCOL, enroll::method::REDEEM, &[&wrong_invite()], false))
        }
        State::Open => (Vec::new(), exchange(chat::PROTOCOL, chat::method::SYNC, &[], false)),
        State::Message => {
            let open = exchange(chat::PROTOCOL, chat::method::SYNC, &[], false);
            (open, message(&follow(&keys.room)))
        }
        State::Data => {
            let transfer = TransferId([&nth.to_be_bytes()[..], &[7; 8]].concat().try_into().unwrap());
            let offer = Offer {
                transfer,
                target: Target::Room("ops".into()),
                name: b"slow.bin".to_vec(),
                kind: EntryKind::File,
                size: None,
                meta: None,
                options: None,
                tops: None,
            };
            let offer = exchange(files::PROTOCOL, files::PUT, &[&cbor::encode(&offer)], false);
            let block = Step::Block(Block { entry: None, offset: 0, len: 65_536, cvs: vec![0; 32] });
            let mut bytes = message(&cbor::encode(&block));
            frame::encode_header(FrameType::DATA, 65_536, &mut bytes);
            bytes.resize(bytes.len() + BYTES, 0);
            (offer, bytes)
        }
        _ => (Vec::new(), control()),
    }
}

/// Comes as far as `state` and says a byte a second from then on, until it is ended.
async fn slow(
    keys: &Keys,
    (quic, state): (bool, State),
    (from, nth): (Ipv4Addr, u64),
    seen: &Seen<'_>,
) -> io::Result<()> {
    let who = if state.is_members() { &keys.member } else { &keys.stranger };
    if state == State::Handshake {
        return if quic { slow_packets(who, from, seen).await } else { slow_hello(who, from, seen).await };
    }
    let mut line = Line::reach(who, from, quic).await?;
    if state == State::Parameters {
        let Line::Tcp(talk) = &mut line else { return Err(io::ErrorKind::Unsupported.into()) };
        seen.arrives();
        return drip(talk.raw(), &[0x43, 0xff].repeat(BYTES), || seen.says()).await;
    }
    let (quickly, slowly) = sayings(keys, state, nth);
    let mut stream = match state {
        State::StrangersHello | State::Hello => line.open(Dir::Uni).await?,
        _ => {
            let mut hello = line.open(Dir::Uni).await?;
            line.write(&mut hello, &control()).await?;
            let mut asked = line.open(Dir::Bi).await?;
            line.write(&mut asked, &quickly).await?;
            // The control stream stays for as long as the connection.
            std::mem::forget(hello);
            asked
        }
    };
    if state == State::Data && !line.is_answered(&mut stream).await? {
        return Ok(());
    }
    let begin = slowly.len().saturating_sub(BYTES);
    if state == State::Data {
        line.write(&mut stream, &slowly[..begin]).await?;
    }
    seen.arrives();
    for byte in slowly.iter().skip(if state == State::Data { begin } else { 0 }) {
        line.write(&mut stream, &[*byte]).await?;
        seen.says();
        line.second().await?;
    }
    loop {
        line.second().await?;
    }
}

async fn slow_hello(who: &Attacker, from: Ipv4Addr, seen: &Seen<'_>) -> io::Result<()> {
    let mut stream = who.dial(from, true).await?;
    seen.arrives();
    drip(&mut stream, &who.client_hello(), || seen.says()).await
}

/// Packets of one byte, which belong to nothing, behind the first ones of a handshake.
async fn slow_packets(who: &Attacker, from: Ipv4Addr, seen: &Seen<'_>) -> io::Result<()> {
    let socket = who.begin_quic(from).await?;
    seen.arrives();
    // Until the server has certainly given it up.
    for _ in 0..8 {
        tokio::time::sleep(SECOND).await;
        socket.send(&[0x40]).await?;
        seen.says();
    }
    Ok(())
}

/// Sends the bytes, one a second, and then nothing; ends when the server ends it.
pub(crate) async fn drip<S>(stream: &mut S, bytes: &[u8], said: impl Fn()) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use tokio::io::AsyncReadExt as _;
    let mut ignored = [0; 4096];
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        said();
        let second = tokio::time::sleep(SECOND);
        tokio::pin!(second);
        loop {
            tokio::select! {
                () = &mut second => break,
                read = stream.read(&mut ignored) => if read? == 0 { return Ok(()) },
            }
        }
    }
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// What the slow ones of one state have done.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    reached: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    turned_away: AtomicUsize,
    said: AtomicUsize,
}

/// One of them, counted.
struct Seen<'a> {
    counts: &'a Counts,
    has_arrived: AtomicBool,
}

impl Seen<'_> {
    /// It is where it becomes slow.
    fn arrives(&self) {
        self.has_arrived.store(true, Ordering::Relaxed);
        self.counts.reached.fetch_add(1, Ordering::Relaxed);
        let now = self.counts.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.most.fetch_max(now, Ordering::Relaxed);
    }

    /// It has said a byte.
    fn says(&self) {
        self.counts.said.fetch_add(1, Ordering::Relaxed);
    }

    /// It is over.
    fn goes(self) {
        if self.has_arrived.into_inner() {
            self.counts.now.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn again_and_again(keys: Arc<Keys>, what: (bool, State), number: usize, counts: Arc<Counts>) {
    let mut times = 0_u64;
    while !counts.over.load(Ordering::Relaxed) {
        times += 1;
        let from = address(((number as u64) << 8) + 0x10_0000 + times % 250);
        let seen = Seen { counts: &counts, has_arrived: AtomicBool::new(false) };
        // However it ends: the next one comes.
        let _ = slow(&keys, what, (from, (number as u64) << 32 | times), &seen).await;
        seen.goes();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Slow ones in one state, until all have come to the door and those who got in have been slow; what the server holds then.
fn siege(
    besieged: &Besieged,
    slow: usize,
    (quic, state): (bool, State),
    meanwhile: &mut dyn FnMut(),
) -> Held {
    let (runtime, counts, begun) = (runtime(), Arc::new(Counts::default()), Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..slow {
        let task = again_and_again(besieged.keys.clone(), (quic, state), number, counts.clone());
        tasks.spawn_on(task, runtime.handle());
    }
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let come = || count(&counts.reached) + count(&counts.turned_away);
    while come() < slow || count(&counts.said) < 2 * slow.min(100) {
        assert!(begun.elapsed() < 4 * PATIENCE, "{state:?}: {} of {slow} have come", come());
        meanwhile();
        std::thread::sleep(Duration::from_millis(50));
    }
    let under = Held::by(&besieged.server);
    // Where the slow ones are members the door is open to the next. Where nobody knows them it is full of them, and
    // who comes is turned away most of the time: those inside are served, and that is what is promised.
    if state.is_members() {
        besieged.ana.run(["say", "ops", "still here"]).ok();
    }
    counts.over.store(true, Ordering::Relaxed);
    runtime.block_on(tasks.shutdown());
    runtime.shutdown_background();
    println!(
        "{} {state:?}: reached {}, {} at once, turned away {}, {} bytes said, {:.1?}: {under:?}",
        if quic { "QUIC" } else { "TCP" },
        count(&counts.reached),
        count(&counts.most),
        count(&counts.turned_away),
        count(&counts.said),
        begun.elapsed()
    );
    under
}

#[test]
fn slow_connections_in_every_state_cost_little_and_keep_nobody_from_being_served() {
    let slow = number("HIKYAKU_SLOW", SLOW);
    let besieged = Besieged::new();
    let server = &besieged.server;
    let inside = runtime();
    let mut visitor = inside.block_on(talk(&besieged.keys.member)).unwrap();
    let mut meanwhile = || {
        let room: chat::Room = inside.block_on(resolve(&mut visitor)).unwrap();
        assert_eq!(room.head.room, besieged.keys.room.head.room);
    };
    let before = Held::by(server);
    let mut worst = before;
    for quic in [false, true] {
        for state in STATES.iter().filter(|state| !(quic && **state == State::Parameters)) {
            worst = siege(&besieged, slow, (quic, *state), &mut meanwhile);
            assert!(worst.peak <= allowed(slow), "{state:?}: {worst:?}, more than {}", allowed(slow));
            assert!(worst.descriptors <= before.descriptors + slow + 300, "{state:?}: {worst:?}");
        }
    }
    // Those who vanish over QUIC stay until their idle timeout, and what the allocator has it keeps for the next. So nothing is
    // said here of what is left: the same again finds it and needs no more.
    let again = siege(&besieged, slow, (true, State::Message), &mut meanwhile);
    assert!(again.peak <= worst.peak + SLACK, "{worst:?} became {again:?}");
    drop(visitor);
    let after = Held::after_all(server, before.descriptors);
    println!("before {before:?}\nafter  {after:?}");
}
