//! Every order of events in a small vault: two transfers of one content, one sweep at a time, expiry at any moment, a
//! fetch, and crashes.
//!
//! Each step below is one durable change of the real thing (that a step is durable before the next, and whole or not at
//! all, is what `disk::tests::life` proves of it); between any two, anybody else may take theirs, or the process may die.
//! What is checked in every state that can be reached: what a room promises is in the vault and has its reference; nobody
//! is interrupted; and after a crash at any moment a sweep leaves exactly what rooms stand for. Of a fetch nothing is checked
//! here: that it can read on after a collection is a promise of every vault.
//! [`Mutant`] breaks one rule at a time, and each must be noticed.

use std::collections::{HashSet, VecDeque};

use crate::rooms::Holds;
use hikyaku_wire::parcel::Root;

const ROOT: Root = Root([1; 32]);

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// A collection looks at references without the lock that keeps others from adding one.
    CollectsWithoutLock,
    /// The object gets its name before its reference.
    NameBeforeReference,
    /// The room is told that a parcel is settled before the object is sealed.
    ConcludesBeforeSeal,
    /// The reference goes before the room says that the parcel has expired.
    ReleasesBeforeTheRoomKnows,
    /// A sweep does not hold the transfer that it puts in order.
    SweepsWithoutHold,
    /// References that no room stands behind stay.
    KeepsEveryReference,
    /// An object is taken for a transfer without a look at whether it is there, under the lock.
    AdoptsBlindly,
}

/// What the room log says of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    Nothing,
    Open,
    Settled,
    Expired,
    Aborted,
}

impl Record {
    fn holds(self) -> Option<Holds> {
        match self {
            Record::Nothing => None,
            Record::Open => Some(Holds::Open),
            Record::Settled => Some(Holds::Content(ROOT)),
            Record::Expired | Record::Aborted => Some(Holds::Nothing),
        }
    }
}

/// What a transfer has in the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Partial {
    Nothing,
    /// Bytes, verified or not.
    Bytes,
    /// A note that it is sealed.
    Sealed,
}

/// Where whoever receives a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Put {
    Away,
    Reserved,
    Announced,
    /// Holds the shared lock; the flag says that it found the object there.
    Locked {
        adopts: bool,
    },
    Referenced {
        adopts: bool,
    },
    Named,
    Noted,
    Concluded,
}

/// Where the sweep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sweep {
    Idle,
    /// What was expired, and is to be released.
    Releasing(usize),
    Parcel(usize),
    /// It has read what the vault has of this parcel.
    ParcelSeen(usize, Partial),
    Discarding(usize),
    Reference(usize),
    /// It has read what the room says.
    ReferenceSeen(usize, Record),
    Restore(usize),
    Collect,
    CollectLocked,
    /// Nobody refers to it: it goes.
    CollectSeen,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    // What outlives a crash.
    records: [Record; 2],
    partials: [Partial; 2],
    references: [bool; 2],
    object: bool,
    // What does not.
    puts: [Put; 2],
    sweep: Sweep,
    /// Which transfer the sweep holds.
    held: Option<usize>,
    /// A fetch that has asked the room, and one that has the object open.
    asked: bool,
    /// The sweep gave up what somebody was sending.
    interrupted: bool,
    crashes: u8,
}

impl State {
    fn new() -> Self {
        Self {
            records: [Record::Nothing; 2],
            partials: [Partial::Nothing; 2],
            references: [false; 2],
            object: false,
            puts: [Put::Away; 2],
            sweep: Sweep::Idle,
            held: None,
            asked: false,
            interrupted: false,
            crashes: 0,
        }
    }

    /// A transfer is here now.
    fn put(&self, at: usize, put: Put, change: impl FnOnce(&mut Self)) -> Self {
        self.with(|state| {
            change(state);
            state.puts[at] = put;
        })
    }

    /// The sweep is here now.
    fn sweep(&self, sweep: Sweep, change: impl FnOnce(&mut Self)) -> Self {
        self.with(|state| {
            change(state);
            state.sweep = sweep;
        })
    }

    fn shared(&self) -> bool {
        self.puts
            .iter()
            .any(|put| matches!(put, Put::Locked { .. } | Put::Referenced { .. } | Put::Named | Put::Noted))
    }

    fn exclusive(&self) -> bool {
        matches!(self.sweep, Sweep::CollectLocked | Sweep::CollectSeen)
    }

    /// The process dies; what is durable stays.
    fn crash(&self) -> Self {
        let puts = [Put::Away; 2];
        let (sweep, held, asked) = (Sweep::Idle, None, false);
        Self { puts, sweep, held, asked, crashes: self.crashes + 1, ..self.clone() }
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }
}

struct Model {
    mutant: Mutant,
    crashes: u8,
}

impl Model {
    fn next(&self, state: &State) -> Vec<State> {
        let mut next = Vec::new();
        for transfer in 0..2 {
            self.put(state, transfer, &mut next);
        }
        self.sweep(state, true, &mut next);
        if !state.asked && state.records.contains(&Record::Settled) {
            next.push(state.with(|state| state.asked = true));
        }
        if state.asked {
            // It opens what is there, or is told that there is nothing any more.
            next.push(state.with(|state| state.asked = false));
        }
        if state.crashes < self.crashes {
            next.push(state.crash());
        }
        next
    }

    fn put(&self, state: &State, at: usize, next: &mut Vec<State>) {
        let go = |put: Put, change: &dyn Fn(&mut State)| state.put(at, put, change);
        match state.puts[at] {
            Put::Away if state.held == Some(at) => {}
            Put::Away => {
                // A new transfer, or the same again. One that is over is told so, and changes nothing.
                if matches!(state.records[at], Record::Nothing | Record::Open) {
                    next.push(go(Put::Reserved, &|state| {
                        if state.partials[at] == Partial::Nothing {
                            state.partials[at] = Partial::Bytes;
                        }
                    }));
                }
            }
            Put::Reserved => next.push(go(Put::Announced, &|state| {
                if state.records[at] == Record::Nothing {
                    state.records[at] = Record::Open;
                }
            })),
            Put::Announced if state.records[at] != Record::Open => {
                next.push(go(Put::Concluded, &|_| {}));
            }
            Put::Announced => self.announced(state, at, next),
            Put::Locked { adopts } if self.mutant == Mutant::NameBeforeReference && !adopts => {
                next.push(go(Put::Referenced { adopts }, &|state| {
                    (state.object, state.partials[at]) = (true, Partial::Sealed);
                }));
            }
            Put::Locked { adopts } => {
                next.push(go(Put::Referenced { adopts }, &|state| state.references[at] = true));
            }
            Put::Referenced { adopts } => next.push(go(Put::Named, &|state| {
                if self.mutant == Mutant::NameBeforeReference && !adopts {
                    state.references[at] = true;
                } else if !adopts {
                    // The name is the seal: the journal has said before what it will be.
                    (state.object, state.partials[at]) = (true, Partial::Sealed);
                }
            })),
            Put::Named => next.push(go(Put::Noted, &|state| state.partials[at] = Partial::Sealed)),
            Put::Noted => next.push(go(Put::Concluded, &|state| {
                if state.records[at] == Record::Open {
                    state.records[at] = Record::Settled;
                }
            })),
            Put::Concluded => next.push(go(Put::Away, &|state| state.partials[at] = Partial::Nothing)),
        }
    }

    /// It is being sent, and no end is written of it.
    fn announced(&self, state: &State, at: usize, next: &mut Vec<State>) {
        let go = |put: Put, change: &dyn Fn(&mut State)| state.put(at, put, change);
        let free = self.mutant == Mutant::CollectsWithoutLock || !state.exclusive();
        // The connection breaks.
        next.push(go(Put::Away, &|_| {}));
        if state.partials[at] == Partial::Sealed {
            next.push(go(Put::Noted, &|_| {}));
        } else if free {
            if self.mutant == Mutant::ConcludesBeforeSeal {
                next.push(go(Put::Locked { adopts: false }, &|state| {
                    state.records[at] = Record::Settled;
                }));
                return;
            }
            next.push(go(Put::Locked { adopts: false }, &|_| {}));
            // It was named to the sender while another parcel had it; whether it is there still, is seen now.
            let other = state.records[1 - at] == Record::Settled || state.records[1 - at] == Record::Expired;
            if other && (state.object || self.mutant == Mutant::AdoptsBlindly) {
                next.push(go(Put::Locked { adopts: true }, &|_| {}));
            }
        }
    }

    /// One step of the sweep; `patient` says whether an unfinished transfer may be left for later.
    fn sweep(&self, state: &State, patient: bool, next: &mut Vec<State>) {
        let go = |sweep: Sweep, change: &dyn Fn(&mut State)| state.sweep(sweep, change);
        let active = |at: usize| state.puts[at] != Put::Away && self.mutant != Mutant::SweepsWithoutHold;
        let hold = |at: usize| (self.mutant != Mutant::SweepsWithoutHold).then_some(at);
        match state.sweep {
            Sweep::Idle => self.begin_sweep(state, patient, next),
            Sweep::Releasing(at) => next.push(go(Sweep::Parcel(0), &|state| match self.mutant {
                Mutant::ReleasesBeforeTheRoomKnows => state.records[at] = Record::Expired,
                _ => state.references[at] = false,
            })),
            Sweep::Parcel(2) => next.push(go(Sweep::Reference(0), &|state| state.held = None)),
            Sweep::Parcel(at) if active(at) => next.push(go(Sweep::Parcel(at + 1), &|_| {})),
            Sweep::Parcel(at) => {
                let seen = state.partials[at];
                next.push(go(Sweep::ParcelSeen(at, seen), &|state| state.held = hold(at)));
            }
            Sweep::ParcelSeen(at, seen) => Self::conclude(state, (at, seen), patient, next),
            Sweep::Discarding(at) => next.push(go(Sweep::Parcel(at + 1), &|state| {
                // What somebody writes at this moment is locked.
                if state.puts[at] == Put::Away {
                    state.partials[at] = Partial::Nothing;
                }
                state.held = None;
            })),
            Sweep::Reference(2) => next.push(go(Sweep::Restore(0), &|_| {})),
            Sweep::Reference(at) if !state.references[at] || active(at) => {
                next.push(go(Sweep::Reference(at + 1), &|_| {}));
            }
            Sweep::Reference(at) => {
                let record = state.records[at];
                next.push(go(Sweep::ReferenceSeen(at, record), &|state| state.held = hold(at)));
            }
            Sweep::ReferenceSeen(at, record) => {
                let keeps = Holds::keeps(record.holds(), ROOT) || self.mutant == Mutant::KeepsEveryReference;
                next.push(go(Sweep::Reference(at + 1), &|state| {
                    state.references[at] &= keeps;
                    state.held = None;
                }));
            }
            Sweep::Restore(2) => next.push(go(Sweep::Collect, &|_| {})),
            Sweep::Restore(at) => next.push(go(Sweep::Restore(at + 1), &|state| {
                state.references[at] |= state.records[at] == Record::Settled && state.object;
            })),
            Sweep::Collect if state.shared() && self.mutant != Mutant::CollectsWithoutLock => {}
            Sweep::Collect => next.push(go(Sweep::CollectLocked, &|_| {})),
            Sweep::CollectLocked if state.references.contains(&true) => {
                next.push(go(Sweep::Idle, &|_| {}));
            }
            Sweep::CollectLocked => next.push(go(Sweep::CollectSeen, &|_| {})),
            Sweep::CollectSeen => next.push(go(Sweep::Idle, &|state| state.object = false)),
        }
    }

    /// It begins, or first lets go of a parcel that has expired.
    fn begin_sweep(&self, state: &State, patient: bool, next: &mut Vec<State>) {
        let go = |sweep: Sweep, change: &dyn Fn(&mut State)| state.sweep(sweep, change);
        next.push(go(Sweep::Parcel(0), &|_| {}));
        for at in 0..2 {
            if patient && state.records[at] == Record::Settled {
                next.push(go(Sweep::Releasing(at), &|state| match self.mutant {
                    Mutant::ReleasesBeforeTheRoomKnows => state.references[at] = false,
                    _ => state.records[at] = Record::Expired,
                }));
            }
        }
    }

    /// What the room is told of a parcel of which the vault had this.
    fn conclude(state: &State, (at, seen): (usize, Partial), patient: bool, next: &mut Vec<State>) {
        let go = |sweep: Sweep, change: &dyn Fn(&mut State)| state.sweep(sweep, change);
        let done = |record: Record| {
            go(Sweep::Discarding(at), &|state| {
                if state.records[at] == Record::Open {
                    state.records[at] = record;
                    state.interrupted |= record == Record::Aborted && state.puts[at] != Put::Away;
                }
            })
        };
        match (state.records[at], seen) {
            (Record::Open, Partial::Sealed) => next.push(done(Record::Settled)),
            (Record::Open, Partial::Bytes) => {
                next.push(done(Record::Aborted));
                if patient {
                    next.push(go(Sweep::Parcel(at + 1), &|state| state.held = None));
                }
            }
            (Record::Open, Partial::Nothing) => next.push(done(Record::Aborted)),
            _ => next.push(go(Sweep::Discarding(at), &|_| {})),
        }
    }

    /// What is wrong with a state.
    fn wrong(&self, state: &State) -> Option<&'static str> {
        if state.interrupted {
            return Some("a sweep gives up what somebody is sending");
        }
        for at in 0..2 {
            let promised = state.records[at] == Record::Settled;
            if promised && !state.object {
                return Some("a room promises what the vault does not have");
            }
            if promised && !state.references[at] {
                return Some("a room promises what nothing keeps");
            }
        }
        let left = self.put_in_order(state)?;
        let promised = left.records.contains(&Record::Settled);
        match () {
            () if left.object != promised => {
                Some("after a crash and two sweeps an object is too much or missing")
            }
            () if left.references != left.records.map(|record| record == Record::Settled) => {
                Some("after a crash and two sweeps references are not what rooms say")
            }
            () if left.partials != [Partial::Nothing; 2] || left.records.contains(&Record::Open) => {
                Some("after a crash and two sweeps something is neither whole nor given up")
            }
            () => None,
        }
    }

    /// A crash, and two sweeps that nobody disturbs and that wait for nobody.
    fn put_in_order(&self, state: &State) -> Option<State> {
        let mut state = state.crash();
        for _ in 0..2 {
            loop {
                let mut next = Vec::new();
                self.sweep(&state, false, &mut next);
                state = next.into_iter().next()?;
                if state.sweep == Sweep::Idle {
                    break;
                }
            }
        }
        Some(state)
    }

    /// Searches everything that can happen; how many states there are, or the first that is wrong.
    fn search(&self) -> Result<usize, (&'static str, State)> {
        let (mut seen, mut todo) = (HashSet::from([State::new()]), VecDeque::from([State::new()]));
        while let Some(state) = todo.pop_front() {
            if let Some(what) = self.wrong(&state) {
                return Err((what, state));
            }
            for next in self.next(&state) {
                if seen.insert(next.clone()) {
                    todo.push_back(next);
                }
            }
        }
        Ok(seen.len())
    }
}

//= S5.70 (test)
#[test]
fn no_order_of_events_loses_what_a_room_promises_or_keeps_what_none_does() {
    let states = Model { mutant: Mutant::None, crashes: 2 }.search();
    let states = states.unwrap_or_else(|(what, state)| panic!("{what}: {state:?}"));
    println!("{states} states");
    assert!(states > 1_000, "{states}");
}

#[test]
fn every_rule_that_is_broken_is_noticed() {
    let mutants = [
        Mutant::CollectsWithoutLock,
        Mutant::NameBeforeReference,
        Mutant::ConcludesBeforeSeal,
        Mutant::ReleasesBeforeTheRoomKnows,
        Mutant::SweepsWithoutHold,
        Mutant::KeepsEveryReference,
        Mutant::AdoptsBlindly,
    ];
    for mutant in mutants {
        let found = Model { mutant, crashes: 1 }.search();
        let Err((what, _)) = found else { panic!("nobody notices {mutant:?}: {found:?}") };
        println!("{mutant:?}: {what}");
    }
}
