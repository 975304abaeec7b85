//! A small run against the real program. The long one is `cargo xtask soak chat`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hikyaku_checker::{Faults, Plan, run};

/// The program under test stands beside this crate's own: tests of the workspace build both.
fn server() -> PathBuf {
    let client = Path::new(env!("CARGO_BIN_EXE_chat-client"));
    let server = client.with_file_name("hikyaku");
    assert!(server.exists(), "{} is not built: cargo build --workspace --bins", server.display());
    server
}

/// From `HIKYAKU_TEST_SEED`, or a new one; printed, so that a failure can be had again.
fn seed() -> u64 {
    let given = std::env::var("HIKYAKU_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("HIKYAKU_TEST_SEED={seed}");
    seed
}

fn small() -> Plan {
    Plan::small(server(), env!("CARGO_BIN_EXE_chat-client").into(), std::env::temp_dir(), seed())
}

#[test]
fn exactly_once_in_order_to_the_application_for_acknowledged_messages_while_the_disk_honours_fsync() {
    let mut plan = small();
    // Only root can take a disk its power; the others prove everything else.
    plan.faults.power_cuts = if run::can_cut_power() { 2 } else { 0 };
    let outcome = run::run(&plan).unwrap();
    println!("{outcome}");
    assert!(outcome.report.is_good(), "{outcome}");
}

#[test]
fn a_client_that_notes_its_cursor_after_it_has_shown_an_event_is_found_out() {
    let faults = Faults { client_kills: 4, ..Faults::default() };
    let plan = Plan { late_cursor: true, faults, clients: 3, disconnects: 0, ..small() };
    let outcome = run::run(&plan).unwrap();
    let broken: Vec<u8> = outcome.report.violations.iter().map(|violation| violation.invariant).collect();
    assert!(!broken.is_empty() && broken.iter().all(|invariant| *invariant == 2), "{outcome}");
    std::fs::remove_dir_all(outcome.kept.unwrap()).unwrap();
}
