//! `cargo xtask scene`: the scene in README and its recording, written anew by playing it.

use crate::Outcome;
use crate::workspace::{Workspace, must};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if !arguments.is_empty() {
        return Err("usage: cargo xtask scene".into());
    }
    let workspace = Workspace::find()?;
    let test = ["test", "--locked", "--package", "hikyaku-cli", "--test", "scene"];
    must(workspace.cargo(&test).env("HIKYAKU_WRITE_SCENE", "yes"))
}
