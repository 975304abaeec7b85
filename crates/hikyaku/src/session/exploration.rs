//! Every order in which exchanges, cancels, GOAWAYs, ends and losses can meet on one connection, on small sizes.
//!
//! Two sessions, made of the real machines (`Lifecycle`, `Control`, `Inbound`) and of what the tasks around them do, talk in
//! real frames over a link that is either one ordered pipe each way, as QMux is, or a pipe per stream and one for the
//! close that may overtake them all, as QUIC is. Each side has a few events to spend: ask, finish, cancel, drain.
//!
//! At every end that nobody forced (no loss, no grace that ran out): each exchange that was taken before GOAWAY and that
//! nobody gave up has its whole answer at its opener, each that came later was refused, and where somebody drained the
//! connection is closed, once, by one side that had received everything.

mod world;

use std::collections::HashMap;

use world::{Scenario, World};

#[derive(Default)]
struct Seen {
    orders: HashMap<u128, f64>,
    steps: u64,
    ends: u64,
}

impl Seen {
    /// In how many orders the rest can happen; none if there are more states than `most`.
    fn explore(&mut self, world: &World, most: usize) -> Option<f64> {
        let fingerprint = world.fingerprint();
        if let Some(known) = self.orders.get(&fingerprint) {
            return Some(*known);
        }
        if self.orders.len() >= most {
            return None;
        }
        let mut orders = 0.0;
        for step in world.steps() {
            let mut next = world.clone();
            next.take(step);
            self.steps += 1;
            orders += self.explore(&next, most)?;
        }
        // From every state, not only from the last ones: nobody has to do anything more.
        world.clone().settle();
        if orders == 0.0 {
            self.ends += 1;
            orders = 1.0;
        }
        self.orders.insert(fingerprint, orders);
        Some(orders)
    }
}

/// More states than a soak has memory for: what is beyond is not searched, and that is said.
const MOST: usize = 25_000_000;

fn explore(name: &str, scenario: Scenario) {
    let mut seen = Seen::default();
    let orders = seen.explore(&World::new(scenario), MOST);
    let all = orders.map_or("not all".to_owned(), |orders| format!("all: {orders:.3e} interleavings"));
    let states = seen.orders.len();
    println!("{name}: {states} states, {} steps, {} ends, {all}", seen.steps, seen.ends);
    assert!(seen.ends > 1 && orders.is_none_or(|orders| orders > 1e3), "{name}: nothing was searched");
}

//= S3.71 (test)
//= S3.72 (test)
//= S3.73 (test)
#[test]
fn over_one_pipe_no_exchange_that_was_taken_before_goaway_is_lost_in_any_order() {
    explore("ordered", Scenario { exchanges: 2, events: [3, 2], ordered: true, disturbed: false });
}

//= S3.73 (test)
#[test]
fn over_many_pipes_no_exchange_that_was_taken_before_goaway_is_lost_in_any_order() {
    explore("apart", Scenario { exchanges: 2, events: [2, 2], ordered: false, disturbed: false });
}

#[test]
fn a_loss_or_a_grace_that_runs_out_at_any_moment_ends_both_sides_once() {
    explore("disturbed", Scenario { exchanges: 1, events: [3, 2], ordered: true, disturbed: true });
    explore("disturbed, apart", Scenario { exchanges: 1, events: [2, 2], ordered: false, disturbed: true });
}

#[test]
#[ignore = "many minutes: cargo xtask soak states"]
fn three_exchanges_and_four_events_each_in_every_order() {
    explore("ordered, 3 and 4", Scenario { exchanges: 3, events: [4, 4], ordered: true, disturbed: false });
}

#[test]
#[ignore = "many minutes: cargo xtask soak states"]
fn three_exchanges_and_four_events_each_over_many_pipes_in_every_order() {
    explore("apart, 3 and 3", Scenario { exchanges: 3, events: [3, 3], ordered: false, disturbed: false });
    explore("disturbed, 2 and 3", Scenario { exchanges: 2, events: [3, 3], ordered: true, disturbed: true });
}
