//! Connections killed at every point of a conversation, many thousand times: what they held comes back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use hikyaku_mux::Dir;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{self, List};
use hikyaku_wire::enroll;
use tokio::sync::Semaphore;

use crate::attacker::{Cut, Talk, address, exchange};
use crate::common::{PATIENCE, Random};
use crate::held::Held;
use crate::{Besieged, Keys, SLACK, ask, follow, number, runtime, wrong_invite};

/// Kills in the ordinary test.
const KILLS: usize = 1_000;
/// Connections that are being killed at one time.
const AT_ONCE: usize = 16;
/// Bytes of a handshake, about, and of the longest conversation that is cut.
const HANDSHAKE: u64 = 3_800;
const LONGEST: u64 = 6_000;

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
