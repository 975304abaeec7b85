//! Tests that take too long for every day: they stand beside their shorter versions, marked `ignore`.

use crate::Outcome;
use crate::workspace::{Workspace, must};

/// A reader that stops for ten seconds in the middle of 256 MiB, between us and `qmux`, and between two of ours.
pub(super) fn interop(arguments: &[String]) -> Outcome {
    ignored(&["--package", "hikyaku", "--test", "interop"], arguments)
}

/// Every order in which a few things can happen, with more of them than a test has time for.
pub(super) fn states(arguments: &[String]) -> Outcome {
    for package in ["hikyaku-mux", "hikyaku"] {
        ignored(&["--release", "--package", package, "--lib", "exploration"], arguments)?;
    }
    Ok(())
}

fn ignored(which: &[&str], arguments: &[String]) -> Outcome {
    let workspace = Workspace::find()?;
    let mut command = workspace.cargo(&["test", "--locked"]);
    command.args(which).args(["--", "--ignored", "--nocapture"]).args(arguments);
    must(&mut command)
}
