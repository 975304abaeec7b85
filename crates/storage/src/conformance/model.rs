//! A backend against the in-memory model: the same script on both, the same outcome after every step.

use bytes::Bytes;

use super::{Backend, key, ok, room};
use crate::error::StoreError;
use crate::memory::MemoryStore;
use crate::store::Store;
use crate::types::{Append, Batch, Guard, Key, NewEvent, Raise, Replace, Trim};

const KEYS: u8 = 5;
const ROOMS: u8 = 3;

/// Runs a script on a fresh store and on the model and demands equal outcomes, keys, heads and events after each step.
///
/// Any bytes are a script: they choose keys, rooms, right and wrong versions and guards, deletions and reopenings.
/// Versions are compared by order, not by value, since a store may number as it likes.
pub async fn follows_the_model<B: Backend>(backend: &B, script: &[u8]) {
    let model = MemoryStore::new();
    let mut store = backend.create().await;
    let mut script = Script(script);
    while let Some(step) = script.next() {
        if step % 16 == 0 {
            store = backend.reopen(store).await;
            continue;
        }
        let plan = Plan::from(&mut script, step);
        let expected = model.commit(plan.batch(&model).await).await;
        let found = store.commit(plan.batch(&store).await).await;
        assert_eq!(
            kind(&found),
            kind(&expected),
            "outcome of {plan:?}: {found:?}, the model says {expected:?}"
        );
        compare(&store, &model).await;
    }
}

/// The bytes still to be used; 0 for ever once they have run out.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn choose(&mut self, below: u8) -> u8 {
        self.next().unwrap_or(0) % below
    }
}

/// A batch as the script means it, before versions and guards are read from a store.
#[derive(Debug)]
struct Plan {
    /// Key, and whether the version is to be right.
    checks: Vec<(Key, bool)>,
    puts: Vec<(Key, Option<Bytes>)>,
    appends: Vec<PlannedAppend>,
    later: Vec<Later>,
}

/// What happens to history: the room, a choice of event or epoch, and whether the condition is to be right.
#[derive(Debug)]
enum Later {
    Trim(u8, u8, bool),
    Replace(u8, u8, bool),
    Raise(u8, u8, bool),
}

#[derive(Debug)]
struct PlannedAppend {
    room: u8,
    spoil: Spoil,
    /// The step in time from the event before, and the record.
    events: Vec<(u8, Bytes)>,
}

/// What is wrong about a guard.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    Nothing,
    Epoch,
    Last,
}

impl Plan {
    fn from(script: &mut Script<'_>, step: u8) -> Self {
        let mut plan = Self { checks: Vec::new(), puts: Vec::new(), appends: Vec::new(), later: Vec::new() };
        for _ in 0..script.choose(3) {
            plan.checks.push((some_key(script), script.choose(6) != 0));
        }
        for n in 0..script.choose(4) {
            let value = (script.choose(4) != 0).then(|| Bytes::from(format!("value {step} {n}")));
            plan.puts.push((some_key(script), value));
        }
        for _ in 0..script.choose(3) {
            let room = script.choose(ROOMS);
            let spoil = match script.choose(8) {
                6 => Spoil::Epoch,
                7 => Spoil::Last,
                _ => Spoil::Nothing,
            };
            let events =
                (0..script.choose(4)).map(|n| (script.choose(3), Bytes::from(format!("event {step} {n}"))));
            plan.appends.push(PlannedAppend { room, spoil, events: events.collect() });
        }
        for _ in 0..script.choose(3) {
            let kind = script.choose(3);
            let (room, choice, right) = (script.choose(ROOMS), script.choose(6), script.choose(6) != 0);
            plan.later.push(match kind {
                0 => Later::Trim(room, choice, right),
                1 => Later::Replace(room, choice, right),
                _ => Later::Raise(room, choice, right),
            });
        }
        plan
    }

    async fn batch(&self, store: &impl Store) -> Batch {
        let mut batch = Batch::new();
        for (key, right) in &self.checks {
            let version = ok(store.get(key).await).map_or(0, |found| found.version);
            batch = batch.check(key.clone(), if *right { version } else { version + 1 });
        }
        batch.puts.clone_from(&self.puts);
        for planned in &self.appends {
            let head = ok(store.head(room(planned.room)).await);
            let mut guard = Guard::of(head.as_ref());
            match planned.spoil {
                Spoil::Nothing => {}
                Spoil::Epoch => guard.epoch += 1,
                Spoil::Last => guard.expect_last += 1,
            }
            let mut ts_ms = head.map_or(0, |head| head.last_ts);
            let events = planned.events.iter().map(|(step, record)| {
                ts_ms += u64::from(*step);
                NewEvent { ts_ms, record: record.clone() }
            });
            let events: Vec<_> = events.collect();
            let state = Bytes::from(format!("{} events at {ts_ms}", events.len()));
            batch = batch.append(Append { room: room(planned.room), guard, events, state });
        }
        for later in &self.later {
            batch = later.add_to(batch, store).await;
        }
        batch
    }
}

impl Later {
    async fn add_to(&self, batch: Batch, store: &impl Store) -> Batch {
        let (&Self::Trim(number, choice, right)
        | &Self::Replace(number, choice, right)
        | &Self::Raise(number, choice, right)) = self;
        let room = room(number);
        let head = ok(store.head(room).await);
        let guard = Guard::of(head.as_ref());
        let first = head.as_ref().map_or(1, |head| head.first);
        match self {
            Self::Trim(..) => {
                let expect_first = if right { first } else { first + 1 };
                batch.trim(Trim {
                    room,
                    epoch: guard.epoch,
                    expect_first,
                    first: first + u64::from(choice) / 2,
                })
            }
            Self::Replace(..) => {
                let seq = (first + u64::from(choice)).saturating_sub(1);
                let found = ok(store.events(room, seq, 1, 0).await).events;
                let expect = found.into_iter().next().map_or_else(Bytes::new, |event| event.record);
                let epoch = head.as_ref().map_or(1, |head| head.epoch_of(seq)) + u32::from(!right);
                let record = Bytes::from(format!("erased at {choice}"));
                batch.replace(Replace { room, epoch, seq, expect, record })
            }
            Self::Raise(..) => {
                let epoch = guard.epoch + u32::from(choice);
                let expect_last = guard.expect_last + u64::from(!right);
                batch.raise(Raise { room, guard: Guard { expect_last, ..guard }, epoch })
            }
        }
    }
}

fn some_key(script: &mut Script<'_>) -> Key {
    key(&format!("k/{}", script.choose(KEYS)))
}

fn kind<T>(outcome: &Result<T, StoreError>) -> &'static str {
    match outcome {
        Ok(_) => "applied",
        Err(StoreError::Conflict(_)) => "conflict",
        Err(StoreError::Duplicate { .. }) => "duplicate",
        Err(StoreError::EpochFell { .. }) => "an epoch that falls",
        Err(StoreError::TrimOutside { .. }) => "a trim outside",
        Err(_) => "another error",
    }
}

async fn compare(store: &impl Store, model: &MemoryStore) {
    let everything = |found: Vec<(Key, crate::Versioned)>| {
        let mut by_version: Vec<_> = found.iter().map(|(key, found)| (found.version, key.clone())).collect();
        by_version.sort();
        let values: Vec<_> = found.into_iter().map(|(key, found)| (key, found.value)).collect();
        (values, by_version.into_iter().map(|(_, key)| key).collect::<Vec<_>>())
    };
    let [found, expected] = [
        everything(ok(store.scan(Key::default(), None, usize::MAX).await)),
        everything(ok(model.scan(Key::default(), None, usize::MAX).await)),
    ];
    assert_eq!(found, expected, "keys, values, and the order of their versions");

    for room in (0..ROOMS).map(room) {
        let head = ok(model.head(room).await);
        assert_eq!(ok(store.head(room).await), head);
        let [found, expected] = [
            ok(store.events(room, 0, 4_096, usize::MAX).await),
            ok(model.events(room, 0, 4_096, usize::MAX).await),
        ];
        assert_eq!(found, expected);
        for ts_ms in 0..head.map_or(1, |head| head.last_ts + 2) {
            assert_eq!(
                ok(store.seq_at(room, ts_ms).await),
                ok(model.seq_at(room, ts_ms).await),
                "at {ts_ms}"
            );
        }
    }
}
