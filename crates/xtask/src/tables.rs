//! `cargo xtask tables`: the transition tables of the specification, written anew from the machines themselves.

use crate::Outcome;
use crate::workspace::{Workspace, must};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err("usage: cargo xtask tables".into());
    }
    let workspace = Workspace::find()?;
    // One package after the other, and one test after the other: they write the same files.
    for package in ["hikyaku-mux", "hikyaku"] {
        let test =
            ["test", "--locked", "--package", package, "--lib", "transitions", "--", "--test-threads", "1"];
        must(workspace.cargo(&test).env("HIKYAKU_WRITE_TABLES", "yes"))?;
    }
    Ok(())
}
