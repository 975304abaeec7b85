//! Members that do their worst, half of them over TCP and half over QUIC: whoever has a key that the server knows is granted
//! much, and uses all of it.
//!
//! What they can make the server hold has one budget; what does not fit is refused by its name, and the others are served.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_mux::{Config, Dir};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, History, Room, RoomRef};
use hikyaku_wire::files::{self, Accept, Answer, Head, Request, Wanted};
use hikyaku_wire::frame::{self, FrameType};
use hikyaku_wire::parcel::EventRef;

use crate::attacker::{Attacker, address, exchange};
use crate::common::{PATIENCE, noise};
use crate::held::Held;
use crate::line::{Line, Stream};
use crate::{Besieged, first_message, follow, number, resolve, runtime, talk};

/// Hostile members in the ordinary siege.
const MEMBERS: usize = 100;
/// Connections that each of the stolen keys has at most, fewer than the server lets one key have.
const PER_KEY: usize = 800;
/// What the server may need for however many of them.
const ALLOWED: u64 = 256 << 20;
/// Exchanges that a member without manners opens at once.
const ASKED: usize = 64;
/// How long a member waits for credit that does not come before it has done its worst.
const NO_MORE: Duration = Duration::from_secs(2);

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    /// Messages that never end.
    HalfMessages,
    /// Everything there is to read, many times over; not a byte of it is read, over TCP not even from the socket.
    Unread,
    /// The same with no credit for a single answer.
    NoCredit,
    /// A question whose answer has no credit, and behind it all that the server lets in.
    Unheard,
    /// A file, of which nothing is read.
    File,
    /// A room is followed and nothing is read.
    Follower,
}

const WORST: [Worst; 6] =
    [Worst::HalfMessages, Worst::Unread, Worst::NoCredit, Worst::Unheard, Worst::File, Worst::Follower];

struct Loot {
    members: Vec<Attacker>,
    room: Room,
    /// Where the file is.
    file: EventRef,
    /// A message of 1 MiB without its last byte, and what goes behind a question.
    half: Bytes,
    flood: Bytes,
}

impl Loot {
    /// A question for all there is; whether it ends here, or more may follow.
    fn history(&self, ends: bool) -> Vec<u8> {
        let room = RoomRef::Id(self.room.head.room);
        let all = History { room, from: Some(1), since_ms: None, limit: None, chain: false };
        exchange(chat::PROTOCOL, chat::method::HISTORY, &[&cbor::encode(&all)], ends)
    }
}

/// Asks the same again and again.
async fn ask(line: &mut Line, question: &[u8]) -> io::Result<()> {
    for _ in 0..ASKED {
        let mut stream = line.open(Dir::Bi).await?;
        line.write(&mut stream, question).await?;
        line.keep(stream);
    }
    Ok(())
}

/// Writes as much as there is credit for. Refused or not: it has tried.
async fn pour(line: &mut Line, stream: &mut Stream, bytes: Bytes) {
    let _ = tokio::time::timeout(NO_MORE, line.write_shared(stream, bytes)).await;
}

/// One connection that does its worst; `arrived` is called when it has done so.
async fn worst(
    loot: &Loot,
    (quic, what): (bool, Worst),
    who: &Attacker,
    nth: u64,
    arrived: impl FnOnce(),
) -> io::Result<()> {
    let credit = match what {
        Worst::NoCredit | Worst::Unheard => 0,
        _ => Config::default().stream_receive_window,
    };
    let mut line = Line::reach(who, address(0x10_0000 + nth), quic, credit).await?;
    line.greet().await?;
    match what {
        Worst::Unread | Worst::NoCredit => {
            // As many as it may open: more when the first ones are let in.
            let asked = tokio::time::timeout(NO_MORE, ask(&mut line, &loot.history(true))).await;
            asked.unwrap_or(Ok(()))?;
        }
        Worst::File => fetch(&mut line, loot).await?,
        Worst::HalfMessages | Worst::Unheard | Worst::Follower => {
            let follow = exchange(chat::PROTOCOL, chat::method::SYNC, &[&follow(&loot.room)], false);
            let (asked, behind) = match what {
                Worst::HalfMessages => (follow, Some(&loot.half)),
                Worst::Unheard => (loot.history(false), Some(&loot.flood)),
                _ => (follow, None),
            };
            let mut stream = line.open(Dir::Bi).await?;
            line.write(&mut stream, &asked).await?;
            if let Some(behind) = behind {
                pour(&mut line, &mut stream, behind.clone()).await;
            }
            line.keep(stream);
        }
    }
    arrived();
    if what == Worst::HalfMessages {
        loop {
            line.wait(NO_MORE).await?;
        }
    }
    // Not a byte is read, nor a window moved, until the server ends it.
    std::future::pending().await
}

/// Asks for the file and takes nothing but the head of the answer.
async fn fetch(line: &mut Line, loot: &Loot) -> io::Result<()> {
    let request = cbor::encode(&Request::new(Wanted::Event(loot.file.clone())));
    let mut stream = line.open(Dir::Bi).await?;
    line.write(&mut stream, &exchange(files::PROTOCOL, files::GET, &[&request], false)).await?;
    let mut answer = Vec::new();
    while answer.len() < 40 {
        match line.read(&mut stream, usize::MAX).await? {
            Some(bytes) => answer.extend_from_slice(&bytes),
            None => break,
        }
    }
    if answer.first() == Some(&0x11) {
        let head: Head = first_message(&answer);
        let accept = Accept::new(head.transfer, 0);
        let accept = cbor::encode(&Answer::Accept(accept));
        line.write(&mut stream, &hikyaku_peers::frames(&[(FrameType::MESSAGE, &accept)])).await?;
    }
    line.keep(stream);
    Ok(())
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    /// How often, over either transport.
    done: [[AtomicUsize; WORST.len()]; 2],
    inside: AtomicUsize,
    most: AtomicUsize,
}

async fn attack(loot: Arc<Loot>, number: usize, counts: Arc<Counts>) {
    let (quic, what) = (number / WORST.len() % 2 == 1, WORST[number % WORST.len()]);
    let who = &loot.members[number / PER_KEY];
    while !counts.over.load(Ordering::Relaxed) {
        let mut has_arrived = false;
        let arrived = || {
            has_arrived = true;
            counts.done[usize::from(quic)][what as usize].fetch_add(1, Ordering::Relaxed);
            counts.most.fetch_max(counts.inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        };
        // However it ends: it comes again.
        let _ = worst(&loot, (quic, what), who, number as u64, arrived).await;
        if has_arrived {
            counts.inside.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn loot(besieged: &Besieged, members: usize) -> Arc<Loot> {
    let (place, ana) = (&besieged.place, &besieged.ana);
    // Something to ask for: pages of 64 KiB, and a file that does not fit into any buffer.
    for part in 0..4 {
        let text: String = noise(part, 30_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        ana.run_with(["say", "ops"], &text).ok();
    }
    let file = place.file("big.bin", &noise(1, 24 << 20));
    ana.run(["send", file.to_str().unwrap(), "--to", "#ops"]).ok();
    let rob = |number: usize| {
        let home = place.home(&format!("robbed{number}"));
        home.join(ana.run(["invite", "create"]).ok(), &format!("robbed{number}"));
        Attacker::member(besieged.server.address, &home.path)
    };
    let members = (0..members.div_ceil(PER_KEY)).map(rob).collect();
    let mut half = Vec::new();
    frame::encode_header(FrameType::MESSAGE, 1 << 20, &mut half);
    half.resize(half.len() + (1 << 20) - 1, 0);
    let mut flood = Vec::new();
    frame::encode_header(FrameType::DATA, 16 << 20, &mut flood);
    flood.resize(flood.len() + (16 << 20), 0);
    let file = EventRef { room: "ops".into(), epoch: None, seq: 6 };
    let room = besieged.keys.room.clone();
    Arc::new(Loot { members, room, file, half: half.into(), flood: flood.into() })
}

#[test]
fn hostile_members_fit_into_256_mib_and_the_others_are_served() {
    let members = number("HIKYAKU_MEMBERS", MEMBERS);
    let besieged = Besieged::new();
    let (server, ana) = (&besieged.server, &besieged.ana);
    let loot = loot(&besieged, members);
    let mut reader = ana.start(["tail", "ops", "--after", "0", "-f"]);
    assert!(reader.out.next().unwrap().ends_with("before"), "it is connected before the siege begins");
    let inside = runtime();
    let mut visitor = inside.block_on(talk(&besieged.keys.member)).unwrap();
    let before = Held::by(server);
    let (runtime, counts, begun) = (runtime(), Arc::new(Counts::default()), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..members {
        tasks.spawn_on(attack(loot.clone(), number, counts.clone()), runtime.handle());
    }
    let done = || {
        let times = |quic: usize, what| counts.done[quic][what as usize].load(Ordering::Relaxed);
        WORST.map(|what| (what, times(0, what), times(1, what)))
    };
    let least = members / WORST.len() / 2;
    while done().iter().any(|(_, tcp, quic)| tcp.min(quic) < &least) {
        assert!(begun.elapsed() < 4 * PATIENCE, "how often they did their worst: {:?}", done());
        let room: Room = inside.block_on(resolve(&mut visitor)).unwrap();
        assert_eq!(room.head.room, besieged.keys.room.head.room);
        std::thread::sleep(Duration::from_millis(50));
    }
    let under = Held::at_its_worst(server);
    println!(
        "{members} members, {} at once, {:.1?}, how often over TCP and over QUIC: {:?}",
        counts.most.load(Ordering::Relaxed),
        begun.elapsed(),
        done()
    );
    println!("before {before:?}\nunder  {under:?}");
    // Who was there is served, and so is who comes.
    ana.run(["say", "ops", "still here"]).ok();
    while !reader.out.next().unwrap().ends_with("still here") {}
    counts.over.store(true, Ordering::Relaxed);
    runtime.block_on(tasks.shutdown());
    runtime.shutdown_background();
    reader.kill();
    drop(visitor);
    let after = Held::after_all(server, before.descriptors);
    println!("after  {after:?}");
    assert!(under.peak <= ALLOWED, "{under:?}: more than {ALLOWED} bytes");
}
