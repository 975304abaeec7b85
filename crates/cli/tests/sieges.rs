//! A server under siege: connections killed at every point, thousands that do their worst at once. Its memory and its
//! descriptors stay within bounds and come back, and whoever was there before notices nothing.
//!
//! The numbers are small here. `cargo xtask soak connections` runs the same with 100,000 kills and 2,000 attackers, by
//! the variables `HIKYAKU_KILLS` and `HIKYAKU_ATTACKERS`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacker;
mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use attacker::{Attacker, Cut, Talk, address, exchange};
use common::{Home, PATIENCE, Place, Random, Server, noise, server_with_room};
use hikyaku_mux::Dir;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, Cursor, Follow, History, List, Mode, Resolve, Room, RoomRef};
use hikyaku_wire::enroll::{self, InviteId, Redeem, SecretBytes};
use hikyaku_wire::frame::{self, FrameType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

/// Kills in the ordinary test, attackers in the ordinary siege.
const KILLS: usize = 1_000;
const ATTACKERS: usize = 200;
/// Connections that are being killed at one time.
const AT_ONCE: usize = 16;
/// What the memory of a process may grow without meaning anything: arenas of the allocator, caches of the store. A leak
/// of a kilobyte a connection is forty times that in the long run.
const SLACK: u64 = 24 << 20;
/// Bytes of a handshake, about, and of the longest conversation that is cut.
const HANDSHAKE: u64 = 3_800;
const LONGEST: u64 = 6_000;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Bytes of memory now and at most so far.
    memory: u64,
    peak: u64,
    descriptors: usize,
    threads: u64,
}

impl Held {
    fn by(server: &Server) -> Self {
        let process = format!("/proc/{}", server.program.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches(|symbol: char| !symbol.is_ascii_digit()).parse().unwrap()
        };
        Self {
            memory: field("VmRSS:") << 10,
            peak: field("VmHWM:") << 10,
            descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
            threads: field("Threads:"),
        }
    }

    /// Waits until the server needs no more memory than it did a second ago: it has taken in all that was sent.
    fn at_its_worst(server: &Server) -> Self {
        let begun = Instant::now();
        let (mut held, mut steady) = (Self::by(server), 0);
        while steady < 5 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
            let now = Self::by(server);
            steady = if now.peak == held.peak { steady + 1 } else { 0 };
            held = now;
        }
        held
    }

    /// Waits until the server has let go of every connection that is not there any more.
    fn after_all(server: &Server, descriptors: usize) -> Self {
        let begun = Instant::now();
        loop {
            let held = Self::by(server);
            if held.descriptors <= descriptors {
                return held;
            }
            assert!(begun.elapsed() < PATIENCE, "{held:?}: {descriptors} descriptors were open before");
            // The server needs the processor more than this loop does.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A server with a room in which something was said, and its owner.
struct Besieged {
    server: Server,
    ana: Home,
    keys: Arc<Keys>,
    _place: Place,
}

/// What attackers have: a key that nobody knows, a stolen one, and what it opens.
struct Keys {
    stranger: Attacker,
    member: Attacker,
    room: Room,
}

impl Besieged {
    fn new() -> Self {
        let place = Place::new();
        let (server, ana) = server_with_room(&place, &[], "ops");
        ana.run(["say", "ops", "before"]).ok();
        let (stranger, member) =
            (Attacker::stranger(server.address), Attacker::member(server.address, &ana.path));
        let room = runtime().block_on(async { resolve(&mut talk(&member).await?).await });
        let room = room.unwrap();
        Self { server, ana, keys: Arc::new(Keys { stranger, member, room }), _place: place }
    }
}

/// A connection that keeps to the rules so far.
async fn talk(who: &Attacker) -> io::Result<Talk<TlsStream<TcpStream>>> {
    let mut talk = Talk::new(who.handshake(who.dial(address(9), false).await?).await?);
    talk.greet().await?;
    Ok(talk)
}

/// Asks for the room, as anybody may who is inside.
async fn resolve(talk: &mut Talk<TlsStream<TcpStream>>) -> io::Result<Room> {
    let resolve = cbor::encode(&Resolve { room: RoomRef::Name("ops".into()) });
    Ok(first_message(&ask(talk, chat::method::RESOLVE, &[&resolve]).await?))
}

/// What the attackers run on.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn ask<S>(talk: &mut Talk<S>, method: &str, messages: &[&[u8]]) -> io::Result<Vec<u8>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let id = talk.open(Dir::Bi).await?;
    talk.write(id, &exchange(chat::PROTOCOL, method, messages, true)).await?;
    talk.answer(id).await
}

/// The first MESSAGE of an answer.
fn first_message<M: for<'b> minicbor::Decode<'b, ()>>(answer: &[u8]) -> M {
    let mut decoder = frame::Decoder::new(frame::FrameLimits::default());
    decoder.push(bytes::Bytes::copy_from_slice(answer));
    loop {
        match decoder.next().unwrap().expect("an answer has a message") {
            frame::Piece::Frame { ty: FrameType::MESSAGE, payload } => {
                return cbor::decode(&payload, &cbor::Limits::default()).unwrap();
            }
            _ => continue,
        }
    }
}

fn follow(room: &Room) -> Vec<u8> {
    let cursor = Cursor { room: room.head.room, epoch: 0, next: 1, mode: Mode::Live };
    cbor::encode(&Follow { subscribe: vec![cursor], unsubscribe: Vec::new() })
}

fn wrong_invite() -> Vec<u8> {
    let (invite, secret) = (InviteId([7; 8]), SecretBytes([7; 16]));
    cbor::encode(&Redeem { invite, secret, user: "mallory".into(), device: "laptop".into() })
}

/// How far a conversation got before it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Tcp,
    Handshake,
    Hello,
    Exchange,
    Answer,
}

/// Says a whole conversation over a connection that breaks after `bytes`; tells how far it came.
async fn killed(keys: &Keys, random: u64) -> Reached {
    let mut random = Random(random);
    // Half of them anywhere, half of them behind the handshake, which has most of the bytes.
    let bytes = if random.below(2) == 0 {
        random.below(LONGEST)
    } else {
        HANDSHAKE + random.below(LONGEST - HANDSHAKE)
    };
    let reset = random.below(2) == 0;
    let is_member = random.below(3) > 0;
    let mut reached = Reached::Tcp;
    let who = if is_member { &keys.member } else { &keys.stranger };
    let Ok(stream) = who.dial(address(random.next()), reset).await else { return reached };
    // What breaks it is what is tried here.
    let _ = async {
        let stream = who.handshake(Cut::new(stream, bytes as usize)).await?;
        reached = Reached::Handshake;
        let mut talk = Talk::new(stream);
        talk.greet().await?;
        reached = Reached::Hello;
        let id = talk.open(Dir::Bi).await?;
        let (message, leave) = (follow(&keys.room), random.below(2) == 0);
        let said = match is_member {
            true => exchange(chat::PROTOCOL, chat::method::SYNC, &[&message], false),
            false => exchange(enroll::PROTOCOL, enroll::method::REDEEM, &[&wrong_invite()], true),
        };
        talk.write(id, &said).await?;
        reached = Reached::Exchange;
        talk.receive().await?;
        reached = Reached::Answer;
        if !is_member {
            talk.answer(id).await?;
        }
        // Its exchange goes on for ever, and beside it there are others until the connection breaks.
        if is_member && !leave {
            loop {
                ask(&mut talk, chat::method::LIST, &[&cbor::encode(&List::default())]).await?;
            }
        }
        Ok::<_, io::Error>(())
    }
    .await;
    reached
}

async fn kill_many(keys: &Arc<Keys>, kills: usize, seed: u64) -> BTreeMap<Reached, usize> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    let mut reached = BTreeMap::new();
    for number in 0..kills as u64 {
        let place = places.clone().acquire_owned().await.unwrap();
        let keys = keys.clone();
        running.spawn(async move {
            let killed = tokio::time::timeout(PATIENCE, killed(&keys, seed ^ number << 20)).await;
            drop(place);
            killed.unwrap_or(Reached::Answer)
        });
        while let Some(done) = running.try_join_next() {
            *reached.entry(done.unwrap()).or_default() += 1;
        }
    }
    while let Some(done) = running.join_next().await {
        *reached.entry(done.unwrap()).or_default() += 1;
    }
    reached
}

#[test]
fn connections_killed_at_any_point_leave_nothing_behind() {
    let kills = number("HIKYAKU_KILLS", KILLS);
    let besieged = Besieged::new();
    let runtime = runtime();
    let before = Held::by(&besieged.server).descriptors;
    // What a server keeps once it has worked is no leak: it works a little before it is measured.
    runtime.block_on(kill_many(&besieged.keys, 300.max(kills / 100), 1));
    let baseline = Held::after_all(&besieged.server, before);
    let begun = Instant::now();
    let reached = runtime.block_on(kill_many(&besieged.keys, kills, 0x5eed << 32));
    let took = begun.elapsed();
    let after = Held::after_all(&besieged.server, before);
    println!("{kills} kills in {took:.1?}, by how far they came: {reached:?}");
    println!("before {baseline:?}\nafter  {after:?}");
    assert_eq!(reached.len(), 5, "some were killed at every point: {reached:?}");
    assert!(after.memory <= baseline.memory + SLACK, "{baseline:?} became {after:?}");
    assert!(after.threads <= baseline.threads, "{baseline:?} became {after:?}");
    let ana = &besieged.ana;
    assert_eq!(ana.run(["say", "ops", "after"]).ok(), "#ops:2");
    assert_eq!(ana.texts("ops"), ["before", "after"]);
}

/// What an attacker does with its connection until the server ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    /// Connects and says nothing.
    Silence,
    /// Half of a TLS handshake.
    HalfHandshake,
    /// A TLS handshake at a byte a second.
    DripHandshake,
    /// After it, QMux at a byte a second.
    DripRecord,
    /// A stranger's OPEN at a byte a second.
    DripOpen,
    /// A stranger uses all its credit: everything but the last byte of whatever it begins.
    StrangerCredit,
    /// A member's message at a byte a second.
    DripMessage,
    /// A member uses what credit it is given for messages that never end.
    MemberCredit,
    /// A member asks for everything there is, many times over, and reads nothing.
    Unread,
}

/// What anybody can do, with the one thing that a member can do as slowly.
const ANYBODY: &[Worst] = &[
    Worst::Silence,
    Worst::HalfHandshake,
    Worst::DripHandshake,
    Worst::DripRecord,
    Worst::DripOpen,
    Worst::StrangerCredit,
    Worst::DripMessage,
];
/// What only a member can do, who is granted much.
const MEMBERS: &[Worst] = &[Worst::MemberCredit, Worst::Unread];

/// Exchanges that a member without manners opens at once.
const UNREAD: usize = 64;

/// Sends the bytes, one a second, and then nothing; ends when the server ends it.
async fn drip<S>(stream: &mut S, bytes: &[u8]) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut ignored = [0; 4096];
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        let second = tokio::time::sleep(Duration::from_secs(1));
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

/// One connection that does its worst until the server has had enough of it. `arrived` is called when it has done so.
async fn worst(
    keys: &Keys,
    worst: Worst,
    from: std::net::Ipv4Addr,
    arrived: impl FnOnce(),
) -> io::Result<()> {
    let is_member = worst >= Worst::DripMessage;
    let who = if is_member { &keys.member } else { &keys.stranger };
    let mut stream = who.dial(from, true).await?;
    let hello = who.client_hello();
    let half = match worst {
        Worst::Silence => Some(&hello[..0]),
        Worst::HalfHandshake => Some(&hello[..hello.len() / 2]),
        _ => None,
    };
    if let Some(half) = half {
        stream.write_all(half).await?;
        arrived();
        return drip(&mut stream, &[]).await;
    }
    if worst == Worst::DripHandshake {
        arrived();
        return drip(&mut stream, &hello).await;
    }
    let mut talk = Talk::new(who.handshake(stream).await?);
    if worst == Worst::DripRecord {
        arrived();
        return drip(talk.raw(), &[0x43, 0xff].repeat(100)).await;
    }
    talk.greet().await?;
    let id = talk.open(Dir::Bi).await?;
    let follow = exchange(chat::PROTOCOL, chat::method::SYNC, &[&follow(&keys.room)], false);
    match worst {
        Worst::DripOpen => {
            arrived();
            for byte in exchange(enroll::PROTOCOL, enroll::method::REDEEM, &[&wrong_invite()], false) {
                talk.write(id, &[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Worst::StrangerCredit => {
            let mut message = exchange(enroll::PROTOCOL, enroll::method::REDEEM, &[], false);
            frame::encode_header(FrameType::MESSAGE, 4_000, &mut message);
            message.resize(message.len() + 3_999, 0);
            talk.write(id, &message).await?;
            arrived();
        }
        Worst::DripMessage => {
            talk.write(id, &follow).await?;
            let mut head = Vec::new();
            frame::encode_header(FrameType::MESSAGE, 60, &mut head);
            arrived();
            for byte in head.into_iter().chain([0; 59]) {
                talk.write(id, &[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Worst::MemberCredit => {
            let mut message = follow;
            frame::encode_header(FrameType::MESSAGE, 1 << 20, &mut message);
            message.resize(message.len() + (1 << 20) - 1, 0);
            // Whatever the server lets in; beyond it this waits, which is the point.
            let written = talk.write(id, &message);
            if tokio::time::timeout(Duration::from_secs(2), written).await.is_ok_and(|sent| sent.is_err()) {
                return Ok(());
            }
            arrived();
        }
        _ => {
            let room = RoomRef::Id(keys.room.head.room);
            let all =
                cbor::encode(&History { room, from: Some(1), since_ms: None, limit: None, chain: false });
            let all = exchange(chat::PROTOCOL, chat::method::HISTORY, &[&all], true);
            talk.write(id, &all).await?;
            for _ in 1..UNREAD {
                let id = talk.open(Dir::Bi).await?;
                talk.write(id, &all).await?;
            }
            arrived();
            // Not a byte is read, nor a window moved.
            std::future::pending::<()>().await;
        }
    }
    talk.linger().await
}

/// Attackers at work, each over and over until it is over.
struct Siege {
    runtime: tokio::runtime::Runtime,
    kinds: &'static [Worst],
    tasks: tokio::task::JoinSet<()>,
    counts: Arc<Counts>,
    begun: Instant,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    /// Connections that have done their worst and are still there, and the most that there ever were.
    inside: AtomicUsize,
    most: AtomicUsize,
    /// How often each kind did its worst.
    done: [AtomicUsize; 9],
}

impl Siege {
    /// Begins, and returns when every kind has done its worst as often as it has attackers.
    /// `meanwhile` is called again and again.
    fn lay(keys: &Arc<Keys>, kinds: &'static [Worst], attackers: usize, mut meanwhile: impl FnMut()) -> Self {
        let (runtime, counts) = (runtime(), Arc::new(Counts::default()));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..attackers {
            let attack = attack(keys.clone(), kinds[number % kinds.len()], number, counts.clone());
            tasks.spawn_on(attack, runtime.handle());
        }
        let siege = Self { runtime, kinds, tasks, counts, begun: Instant::now() };
        while kinds.iter().any(|kind| siege.done(*kind) < attackers / kinds.len()) {
            assert!(
                siege.begun.elapsed() < 4 * PATIENCE,
                "how often they did their worst: {:?}",
                siege.told()
            );
            meanwhile();
            std::thread::sleep(Duration::from_millis(50));
        }
        siege
    }

    fn done(&self, kind: Worst) -> usize {
        self.counts.done[kind as usize].load(Ordering::Relaxed)
    }

    fn told(&self) -> Vec<(Worst, usize)> {
        self.kinds.iter().map(|kind| (*kind, self.done(*kind))).collect()
    }

    /// Ends it, and tells what it was.
    fn lift(mut self) {
        self.counts.over.store(true, Ordering::Relaxed);
        let (most, took) = (self.counts.most.load(Ordering::Relaxed), self.begun.elapsed());
        println!(
            "{} attackers, {most} at once at the most, for {took:.1?}: {:?}",
            self.tasks.len(),
            self.told()
        );
        self.runtime.block_on(self.tasks.shutdown());
    }
}

async fn attack(keys: Arc<Keys>, kind: Worst, number: usize, counts: Arc<Counts>) {
    let mut times = 0u64;
    while !counts.over.load(Ordering::Relaxed) {
        times += 1;
        let mut has_arrived = false;
        let arrived = || {
            has_arrived = true;
            counts.done[kind as usize].fetch_add(1, Ordering::Relaxed);
            counts.most.fetch_max(counts.inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        };
        let from = address(((number as u64) << 8) + 0x10_0000 + times % 250);
        // However it ends: the next one comes.
        let _ = worst(&keys, kind, from, arrived).await;
        if has_arrived {
            counts.inside.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// 64 MiB for the server, and for 2,000 attackers no more than makes 256 MiB of it.
fn allowed(attackers: usize) -> u64 {
    (64 << 20) + attackers as u64 * (96 << 10)
}

#[test]
fn hostile_connections_that_do_their_worst_fit_into_256_mib_and_disturb_nobody() {
    let attackers = number("HIKYAKU_ATTACKERS", ATTACKERS);
    let besieged = Besieged::new();
    let (server, ana) = (&besieged.server, &besieged.ana);
    let mut reader = ana.start(["tail", "ops", "--after", "0", "-f"]);
    assert!(reader.out.next().unwrap().ends_with("before"), "it is connected before the siege begins");
    let inside = runtime();
    let mut visitor = inside.block_on(talk(&besieged.keys.member)).unwrap();
    let before = Held::by(server);
    // Who was there before is served all the time, on the connection it had.
    let mut visit = || {
        let room: Room = inside.block_on(resolve(&mut visitor)).unwrap();
        assert_eq!(room.head.last, 1);
    };
    let siege = Siege::lay(&besieged.keys, ANYBODY, attackers, &mut visit);
    visit();
    assert!(reader.is_running());
    let under = Held::at_its_worst(server);
    siege.lift();
    ana.run(["say", "ops", "after"]).ok();
    assert!(reader.out.next().unwrap().ends_with("after"));
    reader.kill();
    drop(visitor);
    let after = Held::after_all(server, before.descriptors);
    println!("before {before:?}\nunder  {under:?}\nafter  {after:?}");
    assert!(under.peak <= allowed(attackers), "{under:?}: more than {} bytes", allowed(attackers));
    assert!(after.memory <= allowed(0), "{after:?}");
    assert!(after.threads <= before.threads, "{before:?} became {after:?}");
}

#[test]
fn members_that_read_nothing_are_held_to_what_they_asked_for() {
    let members = number("HIKYAKU_ATTACKERS", ATTACKERS) / 8;
    let besieged = Besieged::new();
    let (server, ana) = (&besieged.server, &besieged.ana);
    // Something to ask for: a page has 64 KiB.
    for part in 0..4 {
        let text: String = noise(part, 30_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        ana.run_with(["say", "ops"], &text).ok();
    }
    let before = Held::by(server);
    let mut waves = Vec::new();
    for _ in 0..2 {
        let siege = Siege::lay(&besieged.keys, MEMBERS, members, || ());
        Held::at_its_worst(server);
        siege.lift();
        waves.push(Held::after_all(server, before.descriptors));
    }
    println!("before {before:?}\nafter each wave {waves:?}");
    // A page for each question, or the credit of one connection: no more.
    let most = allowed(0) + members as u64 / 2 * ((UNREAD as u64 * (80 << 10)) + (2 << 20));
    assert!(waves[1].peak <= most, "{waves:?}: more than {most} bytes for {members} members");
    assert!(
        waves[1].memory <= waves[0].peak + SLACK,
        "what the first wave took was there for the second: {waves:?}"
    );
    assert_eq!(ana.run(["say", "ops", "after"]).ok(), "#ops:6");
}
