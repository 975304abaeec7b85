//! Every order in which things can happen to two connections, on small sizes.
//!
//! Each side has a few events to spend, from an alphabet: it may open, write, finish, reset, stop, read, close. Between
//! the two are pipes; what one has to say is taken at any moment, and arrives at any later one; the transport may be cut,
//! also in the middle of a record, and either side may find the connection idle. The search takes every step that is
//! possible in every state; states that it has met before (`World::fingerprint`) are not searched again.
//!
//! After each step the accounts must be in order and nobody may have accused the other (`World::check`); from every state
//! in which all events are spent, everything must come to its end by itself (`World::settle`).

mod end;
mod settle;
mod world;

use std::collections::HashMap;
use world::{Kind, Scenario, World};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// To every state, of which there are no more than so many.
    All(usize),
    /// To so many states, from the beginning again and again on other ways: what is too large to be searched whole.
    Some(usize),
}

/// How often a search that does not reach all begins anew.
const BEGINNINGS: usize = 50;

/// What a search has seen.
#[derive(Debug, Default)]
struct Seen {
    /// In how many orders the rest can happen, for each state from which everything was searched.
    orders: HashMap<u128, f64>,
    steps: u64,
    ends: u64,
    /// Decides the order of the steps, where not all of them are taken.
    random: Option<u64>,
}

impl Seen {
    /// The number of ways from here to all ends; none if there are more states than `most`.
    fn explore(&mut self, world: &World, most: usize) -> Option<f64> {
        let fingerprint = world.fingerprint();
        if let Some(known) = self.orders.get(&fingerprint) {
            return Some(*known);
        }
        if self.orders.len() >= most {
            return None;
        }
        let mut orders = 0.0;
        let mut steps = world.steps();
        self.shuffle(&mut steps);
        for step in steps {
            let mut next = world.clone();
            if next.take(step) {
                self.steps += 1;
                next.check();
                orders += self.explore(&next, most)?;
            }
        }
        if orders == 0.0 {
            world.clone().settle();
            self.ends += 1;
            orders = 1.0;
        }
        self.orders.insert(fingerprint, orders);
        Some(orders)
    }

    fn shuffle<T>(&mut self, steps: &mut [T]) {
        let Some(random) = &mut self.random else { return };
        for last in (1..steps.len()).rev() {
            // SplitMix64.
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            steps.swap(last, (mixed ^ (mixed >> 31)) as usize % (last + 1));
        }
    }
}

/// Searches one scenario and says how large it was.
fn explore(name: &str, scenario: &Scenario, reach: Reach) {
    let mut seen = Seen::default();
    let world = World::new(scenario);
    let orders = match reach {
        Reach::All(most) => {
            let orders = seen.explore(&world, most);
            Some(orders.expect("the search is not as small as it was"))
        }
        Reach::Some(most) => {
            let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs());
            println!("{name}: seed {seed}");
            seen.random = Some(seed);
            (1..=BEGINNINGS).find_map(|nth| seen.explore(&world, most / BEGINNINGS * nth))
        }
    };
    let all = orders.map_or("not all".to_owned(), |orders| format!("all: {orders:.3e} interleavings"));
    println!("{name}: {} states, {} steps, {} ends, {all}", seen.orders.len(), seen.steps, seen.ends);
    assert!(
        seen.ends > 1 && orders.is_none_or(|orders| orders > seen.ends as f64),
        "{name}: nothing was searched"
    );
}

const TALK: &[Kind] = &[Kind::OpenBi, Kind::Write, Kind::Finish, Kind::Reset, Kind::Stop, Kind::Read];

#[test]
fn one_stream_comes_to_its_end_in_every_order_of_events() {
    let scenario = Scenario { streams: 1, alphabets: [TALK, TALK], events: [4, 3], ..Scenario::default() };
    explore("one stream", &scenario, Reach::All(200_000));
}

#[test]
fn two_streams_share_credit_that_is_used_up_and_given_again_in_every_order() {
    let writer = &[Kind::OpenUni, Kind::Write, Kind::Finish, Kind::Reset];
    let reader = &[Kind::Read, Kind::Stop];
    let scenario = Scenario {
        streams: 2,
        alphabets: [writer, reader],
        events: [4, 4],
        windows: (2, 3),
        ..Scenario::default()
    };
    explore("credit", &scenario, Reach::All(200_000));
}

#[test]
fn three_streams_pass_a_limit_of_one_in_every_order() {
    let opener = &[Kind::OpenBi, Kind::OpenUni, Kind::Finish, Kind::Reset];
    let answerer = &[Kind::OpenUni, Kind::Finish, Kind::Stop];
    let scenario = Scenario {
        streams: 3,
        alphabets: [opener, answerer],
        events: [4, 3],
        concurrent: 1,
        ..Scenario::default()
    };
    explore("stream limits", &scenario, Reach::All(200_000));
}

#[test]
fn a_connection_that_is_closed_lost_or_idle_at_any_moment_ends_once_and_for_one_reason() {
    let client = &[Kind::OpenBi, Kind::Write, Kind::Finish, Kind::Close];
    let server = &[Kind::Write, Kind::Read, Kind::Close];
    let scenario = Scenario {
        streams: 1,
        alphabets: [client, server],
        events: [3, 2],
        loss: true,
        idle: true,
        ..Scenario::default()
    };
    explore("close, loss and idle", &scenario, Reach::All(200_000));
}

#[test]
fn two_strangers_may_begin_close_and_be_cut_off_in_every_order() {
    let alphabet = &[Kind::OpenUni, Kind::Write, Kind::Ping, Kind::Datagram, Kind::Close];
    let scenario = Scenario {
        streams: 2,
        alphabets: [alphabet, alphabet],
        events: [2, 2],
        loss: true,
        strangers: true,
        ..Scenario::default()
    };
    explore("strangers", &scenario, Reach::All(200_000));
}

/// Everything at once: three streams, four events each. There are more than fifty million states.
#[test]
#[ignore = "tens of minutes: cargo xtask soak states"]
fn three_streams_and_four_events_each_in_many_orders() {
    let all = &[Kind::OpenBi, Kind::OpenUni, Kind::Write, Kind::Finish, Kind::Reset, Kind::Stop, Kind::Read];
    let talk = Scenario { streams: 3, alphabets: [all, all], events: [4, 4], ..Scenario::default() };
    explore("three streams, four events each", &talk, Reach::Some(25_000_000));
}

#[test]
#[ignore = "tens of minutes: cargo xtask soak states"]
fn two_streams_through_small_windows_with_four_events_each_in_every_order() {
    let small = Scenario {
        streams: 2,
        alphabets: [TALK, TALK],
        events: [4, 4],
        windows: (2, 3),
        concurrent: 1,
        ..Scenario::default()
    };
    explore("small windows, four events each", &small, Reach::All(30_000_000));
}

#[test]
#[ignore = "tens of minutes: cargo xtask soak states"]
fn close_loss_and_idleness_with_four_events_each_in_every_order() {
    let ending = &[Kind::OpenBi, Kind::Write, Kind::Finish, Kind::Read, Kind::Close];
    let ends = Scenario {
        streams: 2,
        alphabets: [ending, ending],
        events: [4, 3],
        loss: true,
        idle: true,
        ..Scenario::default()
    };
    explore("close, loss and idle, four events", &ends, Reach::All(30_000_000));
}
