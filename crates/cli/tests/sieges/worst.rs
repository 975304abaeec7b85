//! Hundreds and thousands of connections that do their worst at once, each over and over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hikyaku_mux::{Dir, StreamId};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, History, Room, RoomRef};
use hikyaku_wire::enroll;
use hikyaku_wire::frame::{self, FrameType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::attacker::{Talk, address, exchange};
use crate::common::{PATIENCE, noise};
use crate::held::{Held, allowed};
use crate::slow::drip;
use crate::{Besieged, Keys, SLACK, follow, number, resolve, runtime, talk, wrong_invite};

/// Attackers in the ordinary siege.
const ATTACKERS: usize = 200;

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

/// One connection that does its worst until the server has had enough of it. `arrived` is called when it has done so.
async fn worst(
    keys: &Keys,
    worst: Worst,
    from: std::net::Ipv4Addr,
    arrived: impl FnOnce(),
) -> io::Result<()> {
    let who = if worst >= Worst::DripMessage { &keys.member } else { &keys.stranger };
    let mut stream = who.dial(from, true).await?;
    let hello = who.client_hello();
    let (quickly, slowly) = match worst {
        Worst::Silence => (&hello[..0], &hello[..0]),
        Worst::HalfHandshake => (&hello[..hello.len() / 2], &hello[..0]),
        Worst::DripHandshake => (&hello[..0], &hello[..]),
        _ => return worst_inside(keys, worst, who.handshake(stream).await?, arrived).await,
    };
    stream.write_all(quickly).await?;
    arrived();
    drip(&mut stream, slowly, || ()).await
}

/// The same, behind the handshake.
async fn worst_inside(
    keys: &Keys,
    worst: Worst,
    stream: TlsStream<TcpStream>,
    arrived: impl FnOnce(),
) -> io::Result<()> {
    let mut talk = Talk::new(stream);
    if worst == Worst::DripRecord {
        arrived();
        return drip(talk.raw(), &[0x43, 0xff].repeat(100), || ()).await;
    }
    talk.greet().await?;
    let id = talk.open(Dir::Bi).await?;
    let redeem = |messages: &[&[u8]]| exchange(enroll::PROTOCOL, enroll::method::REDEEM, messages, false);
    let mut follow = exchange(chat::PROTOCOL, chat::method::SYNC, &[&follow(&keys.room)], false);
    match worst {
        Worst::DripOpen => {
            arrived();
            drip_on(&mut talk, id, &redeem(&[&wrong_invite()])).await?;
        }
        Worst::StrangerCredit => {
            talk.write(id, &unfinished(redeem(&[]), 4_000)).await?;
            arrived();
        }
        Worst::DripMessage => {
            let begun = follow.len();
            frame::encode(FrameType::MESSAGE, &[0; 60], &mut follow);
            talk.write(id, &follow[..begun]).await?;
            arrived();
            drip_on(&mut talk, id, &follow[begun..follow.len() - 1]).await?;
        }
        Worst::MemberCredit => {
            let message = unfinished(follow, 1 << 20);
            // Whatever the server lets in; beyond it this waits, which is the point.
            let written = talk.write(id, &message);
            if tokio::time::timeout(Duration::from_secs(2), written).await.is_ok_and(|sent| sent.is_err()) {
                return Ok(());
            }
            arrived();
        }
        _ => {
            let room = RoomRef::Id(keys.room.head.room);
            let all = History { room, from: Some(1), since_ms: None, limit: None, chain: false };
            let all = exchange(chat::PROTOCOL, chat::method::HISTORY, &[&cbor::encode(&all)], true);
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

/// Behind what was said a message of `length` bytes, without its last one.
fn unfinished(mut said: Vec<u8>, length: usize) -> Vec<u8> {
    frame::encode_header(FrameType::MESSAGE, length as u64, &mut said);
    said.resize(said.len() + length - 1, 0);
    said
}

/// Says the bytes on a stream, one a second.
async fn drip_on(talk: &mut Talk<TlsStream<TcpStream>>, id: StreamId, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        talk.write(id, &[*byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
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
