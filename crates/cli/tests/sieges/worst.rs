//! Hundreds and thousands of connections that do their worst at once, each over and over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hikyaku_mux::Dir;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, History, Room, RoomRef};
use hikyaku_wire::enroll;
use hikyaku_wire::frame::{self, FrameType};
use tokio::io::AsyncWriteExt as _;

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
        return drip(&mut stream, &[], || ()).await;
    }
    if worst == Worst::DripHandshake {
        arrived();
        return drip(&mut stream, &hello, || ()).await;
    }
    let mut talk = Talk::new(who.handshake(stream).await?);
    if worst == Worst::DripRecord {
        arrived();
        return drip(talk.raw(), &[0x43, 0xff].repeat(100), || ()).await;
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
