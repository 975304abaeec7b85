//! `kill -9` of the server at any moment loses nothing acknowledged and doubles nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use common::{Home, Place, Random, json, server_with_room};
use hikyaku::KeyId;
use hikyaku_accounts::{Accounts, AccountsError, DeviceId, IssuedInvite, Redemption};
use hikyaku_sqlite::SqliteStore;

/// How often the server is killed, and how much is acknowledged meanwhile: where everything takes its time, it is killed more
/// often until that is so.
const CYCLES: usize = 60;
const ENOUGH: usize = CYCLES / 2;
/// How long it lives at most after it was ready: sometimes not long enough to be found, sometimes for several messages.
const LIVES: [Duration; 3] =
    [Duration::from_millis(30), Duration::from_millis(300), Duration::from_millis(900)];
/// How many say something at the same time.
const WRITERS: u64 = 3;

#[test]
fn what_was_acknowledged_survives_every_kill_once_and_in_order() {
    let seed = seed();
    let place = Place::new();
    let (mut server, ana) = server_with_room(&place, &[], "ops");
    ana.run(["say", "ops", "first"]).ok();
    // Two that are there all the time, one over each transport; the writers take whatever answers.
    let readers = ["tcp", "quic"]
        .map(|over| ana.clone().over(over).start(["tail", "ops", "--after", "0", "-f", "--json"]));
    for reader in &readers {
        assert_eq!(json(&reader.out.next().unwrap())["text"], "first");
    }
    let (over, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (ana, over, said) = (ana.clone().over("auto"), &over, &said);
                scope.spawn(move || write(writer, &ana, over, said))
            })
            .collect();
        let mut random = Random(seed);
        let mut cycles = 0;
        // On a slow machine it takes more until enough was said. A writer that has ended says why when it is joined.
        while (cycles < CYCLES || said.load(Ordering::Relaxed) < ENOUGH)
            && cycles < 100 * CYCLES
            && !writers.iter().any(|writer| writer.is_finished())
        {
            let life = LIVES[cycles % LIVES.len()].as_micros() as u64;
            // Not to wait for anything, but to be anywhere in what the server does.
            std::thread::sleep(Duration::from_micros(random.below(life)));
            server.kill();
            server.restart();
            cycles += 1;
        }
        println!("{} were acknowledged between {cycles} kills", said.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeMap::from([(1, "first".to_owned())]);
        for (seq, text) in writers.into_iter().flat_map(|writer| writer.join().unwrap()) {
            let other = acknowledged.insert(seq, text);
            assert_eq!(other, None, "two messages at {seq}");
        }
        acknowledged
    });

    let last = *acknowledged.keys().last().unwrap();
    let there = ana.events("ops");
    let seqs: Vec<_> = there.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "dense, from 1 to the last acknowledged");
    for event in &there {
        let seq = event["seq"].as_u64().unwrap();
        assert_eq!(event["text"].as_str(), acknowledged.get(&seq).map(String::as_str), "event {seq}");
    }
    for reader in readers {
        let mut seen = vec![there[0].clone()];
        while seen.len() < there.len() {
            match reader.out.next() {
                Some(line) => seen.push(json(&line)),
                None => panic!("the reader ended: {:#?}", reader.finish()),
            }
        }
        assert_eq!(seen, there, "each once and in order, across all restarts");
    }
    let status = ana.run(["status", "--json"]).json();
    assert_eq!(status["waiting"], 0);
    assert!(status["events"]["exchange_ended"].as_u64() >= Some(2), "who it is, and its rooms: {status}");
}

/// Says one thing after the other until it is over; what was said, by the place it was acknowledged at.
fn write(writer: u64, ana: &Home, over: &AtomicBool, said: &AtomicUsize) -> BTreeMap<u64, String> {
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        let (text, key) = (format!("message {number} of {writer}"), format!("key-{writer}-{number}"));
        let done = ana.run(["say", "ops", &text, "--key", &key, "--timeout", "1h"]);
        // What another writer of the same home has waited for may be sent first, which is told on the side.
        assert_eq!(done.code(), 0, "{done:#?}");
        let seq = done.out.trim().strip_prefix("#ops:").unwrap().parse().unwrap();
        let before = acknowledged.last_key_value().map_or(0, |(seq, _)| *seq);
        assert!(seq > before, "{text} is at {seq}, after {before}");
        acknowledged.insert(seq, text);
        said.fetch_add(1, Ordering::Relaxed);
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

/// From `HIKYAKU_TEST_SEED`, or a new one; printed, so that a failure can be had again.
fn seed() -> u64 {
    let given = std::env::var("HIKYAKU_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = given.unwrap_or_else(now);
    println!("HIKYAKU_TEST_SEED={seed}");
    seed
}

/// What a device with this number says to be let in.
fn redemption(invite: &IssuedInvite, number: u8) -> Redemption {
    Redemption {
        invite: invite.id,
        secret: invite.secret.clone(),
        device: DeviceId([number; 32]),
        user_name: format!("user{number}"),
        device_name: "d".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_is_redeemed_once_on_the_disk_too_however_many_race_for_it_and_ask_again() {
    const NOW: u64 = 1_800_000_000_000;
    let place = Place::new();
    let data = place.join("data");
    let open = || Accounts::new(std::sync::Arc::new(SqliteStore::open(&data).unwrap()));
    let accounts = open();
    let invite = accounts.first_invite(NOW).await.unwrap().unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for number in 1..=16 {
        let (accounts, redemption) = (accounts.clone(), redemption(&invite, number));
        racing.spawn(async move { (number, accounts.redeem(&redemption, NOW).await) });
    }
    let mut won: Vec<_> =
        racing.join_all().await.into_iter().filter_map(|(number, done)| Some((number, done.ok()?))).collect();
    assert_eq!(won.len(), 1, "{won:?}");
    let (number, enrolled) = won.remove(0);
    drop(accounts);
    // The answer was lost and the server started again: the same device is told the same, another one nothing.
    let accounts = open();
    assert_eq!(accounts.redeem(&redemption(&invite, number), NOW).await, Ok(enrolled));
    let late: Result<_, AccountsError> = accounts.redeem(&redemption(&invite, 17), NOW).await;
    assert!(late.is_err(), "{late:?}");
    assert!(accounts.session(KeyId::from_bytes([17; 32]), NOW).await.unwrap().is_stranger());
}
