//! A small proof of transfers against the real program. The long one is `cargo xtask soak files`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hikyaku_checker::files::{FilesPlan, run};
use hikyaku_checker::run::can_cut_power;

/// The program under test stands beside this crate's own: tests of the workspace build both.
fn server() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_files-soak")).with_file_name("hikyaku");
    assert!(server.exists(), "{} is not built: cargo build --workspace --bins", server.display());
    server
}

#[test]
fn what_has_a_final_name_is_what_was_sent_however_often_either_end_is_killed_and_the_power_fails() {
    let given = std::env::var("HIKYAKU_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("HIKYAKU_TEST_SEED={seed}");
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut plan =
        FilesPlan { large: 20 << 20, small: 100, kills: 6, ..FilesPlan::small(server(), directory, seed) };
    if can_cut_power() {
        plan.cuts = 3;
    } else {
        println!("SKIPPED: power cuts, because only root can cut the power of a disk");
    }
    let outcome = run(&plan).unwrap();
    println!("{outcome}");
    assert!(outcome.is_good(), "{outcome}");
    assert!(outcome.server_kills + outcome.client_kills > 0, "{outcome}");
}
