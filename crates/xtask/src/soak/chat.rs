//! Proof of delivery, for long: many faults under real clients, and mistakes made on purpose that must be found.
//!
//! The work is done by `chat-soak` of `crates/checker`; this builds it, gives it the long plan, and applies mutants.

mod mutants;

use super::mutants as mistakes;
use crate::Outcome;
use crate::workspace::{Workspace, must};

/// The long plan. Whatever is given on the command line comes after it and wins.
const LONG: &[&str] = &[
    "--server-kills=300",
    "--client-kills=300",
    "--power-cuts=50",
    "--client-stops=2",
    "--server-stops=1",
    "--stop-for=40",
    "--clock-jumps=50",
    "--lulls=20",
    "--disconnects=10000",
    "--breaks=4",
    "--gap=8",
    "--pause=10",
];

/// Runs the long plan, or with `--mutants` every mutant.
pub(super) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::find()?;
    // The whole workspace, so that nothing is built twice with other features.
    must(&mut workspace.cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    if let Some((first, rest)) = arguments.split_first()
        && first == "--mutants"
    {
        return mistakes::run(&workspace, "chat-soak", mutants::MUTANTS, rest);
    }
    let mut command = workspace.command(workspace.target.join("debug/chat-soak"));
    let long = LONG.iter().flat_map(|argument| argument.split('=')).map(str::to_owned);
    must(command.args(long.chain(arguments.iter().cloned())))
}
