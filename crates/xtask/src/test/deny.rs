//! `cargo deny`: known vulnerabilities, banned crates, licences and sources of everything we depend on.
//!
//! The tool is built once into `target/tools` when it is missing. The advisory database is fetched from the
//! network; where that cannot be done the step says so and still checks the other three.

use std::process::Command;

use crate::Outcome;
use crate::workspace::{Workspace, must, output};

const VERSION: &str = "0.20.2";

pub(super) fn run(workspace: &Workspace) -> Outcome<String> {
    let tool = tool(workspace)?;
    let deny = |arguments: &[&str]| -> Command {
        let mut command = workspace.command(&tool);
        command.args(["--locked", "--color", "never"]).args(arguments);
        command
    };
    let advisories = match output(&mut deny(&["fetch", "db"])) {
        Ok(_) => {
            must(&mut deny(&["check", "--disable-fetch", "advisories"]))?;
            "advisories checked".to_owned()
        }
        Err(reason) => {
            let skipped =
                format!("advisories: SKIPPED, the database could not be fetched: {}", last(&reason));
            println!("{skipped}");
            skipped
        }
    };
    must(&mut deny(&["check", "bans", "licenses", "sources"]))?;
    Ok(advisories)
}

/// The program `cargo-deny`: the installed one if its version is ours, else our own copy, built when missing.
fn tool(workspace: &Workspace) -> Outcome<std::path::PathBuf> {
    let wanted = |text: String| text.trim().ends_with(VERSION);
    if output(workspace.command("cargo-deny").arg("--version")).is_ok_and(wanted) {
        return Ok("cargo-deny".into());
    }
    let tools = workspace.target.join("tools");
    let own = tools.join("bin").join("cargo-deny");
    if output(workspace.command(&own).arg("--version")).is_ok_and(wanted) {
        return Ok(own);
    }
    println!("cargo-deny {VERSION} is not installed; building it into {}", tools.display());
    let mut install =
        workspace.cargo(&["install", "--locked", "--quiet", "cargo-deny", "--version", VERSION]);
    // A debug build is ready in a fraction of the time, and the checks take seconds either way.
    install.arg("--debug").arg("--root").arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
    must(&mut install)?;
    // The build directory is 1 GB of things that nobody needs again.
    let _ = std::fs::remove_dir_all(tools.join("build"));
    Ok(own)
}

/// The last line of a longer complaint holds the cause.
fn last(reason: &str) -> &str {
    reason.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(reason)
}
