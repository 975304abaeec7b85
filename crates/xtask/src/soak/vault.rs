//! Proof of the vault, for long: kills of everybody, power cuts, full disks, and mistakes made on purpose that must be found.
//!
//! The work is done by `vault-soak` of `crates/checker`; this builds it, gives it the long plan, and applies mutants.

mod mutants;

use std::path::Path;

use super::mutants as mistakes;
use crate::Outcome;
use crate::workspace::{Workspace, must};

/// The long plan. Whatever is given on the command line comes after it and wins.
const LONG: &[&str] = &[
    "--rounds=40",
    "--senders=3",
    "--getters=3",
    "--receivers=2",
    "--server-kills=12",
    "--sender-kills=10",
    "--getter-kills=10",
    "--receiver-kills=8",
    "--cuts=8",
    "--fulls=4",
];

/// Runs the long plan, or with `--mutants` every mutant.
pub(super) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::find()?;
    // The whole workspace, so that nothing is built twice with other features.
    must(&mut workspace.cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    if let Some((first, rest)) = arguments.split_first()
        && first == "--mutants"
    {
        return mistakes::run(&workspace, "vault-soak", mutants::MUTANTS, rest);
    }
    let in_memory: &[&str] = if Path::new("/dev/shm").is_dir() { &["--directory", "/dev/shm"] } else { &[] };
    let long = LONG.iter().flat_map(|argument| argument.split('=')).map(str::to_owned);
    let mut command = workspace.command(workspace.target.join("debug/vault-soak"));
    must(command.args(in_memory).args(long.chain(arguments.iter().cloned())))
}
