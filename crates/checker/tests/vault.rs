//! A small proof of the vault against the real program. The long one is `cargo xtask soak vault`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hikyaku_checker::run::can_cut_power;
use hikyaku_checker::vault::{VaultPlan, run};

/// The program under test stands beside this crate's own: tests of the workspace build both.
fn server() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_vault-soak")).with_file_name("hikyaku");
    assert!(server.exists(), "{} is not built: cargo build --workspace --bins", server.display());
    server
}

//= S5.36 (test)
//= S5.38 (test)
//= S5.70 (test)
//= S5.71 (test)
//= S5.74 (test)
//= S5.90 (test)
#[test]
fn what_rooms_promise_of_parcels_holds_whoever_is_killed_when_the_power_fails_and_when_the_disk_is_full() {
    let given = std::env::var("HIKYAKU_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("HIKYAKU_TEST_SEED={seed}");
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut plan = VaultPlan::small(server(), directory, seed);
    if can_cut_power() {
        (plan.faults.cuts, plan.faults.fulls) = (1, 1);
    } else {
        println!("SKIPPED: power cuts and full disks, because only root can make a disk and cut its power");
    }
    let outcome = run(&plan).unwrap();
    println!("{outcome}");
    assert!(outcome.processes >= 8 && outcome.is_good(), "{outcome}");
}
