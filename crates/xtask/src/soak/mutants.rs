//! Mistakes made on purpose, each in a copy of the project: a checker must find every one of them, and nothing in the
//! copy without any. No switch for them exists in the program itself. Which mistakes: beside each long run.
//!
//! Mutants are built in a place of their own: cargo takes the same crate in two directories for one, and a mutant would become
//! the program. A mutant is a few replacements of text. Text that is not there exactly once fails the run, so that no mutant
//! silently becomes the program as it is.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::Outcome;
use crate::workspace::{Workspace, must, output};

/// A file, what stands there, and what is to stand there.
pub(super) type Replacement = (&'static str, &'static str, &'static str);

/// One mistake. A name that begins with "none" is of the project as it is.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) replacements: &'static [Replacement],
    /// How the checker is run for it.
    pub(super) arguments: &'static [&'static str],
}

/// Builds every mutant, or those whose names hold one of the arguments, and runs the checker with it.
pub(super) fn run(workspace: &Workspace, checker: &str, mutants: &[Mutant], only: &[String]) -> Outcome {
    let copy = workspace.target.join("mutants");
    let mut missed = Vec::new();
    let mut table = Vec::new();
    for mutant in mutants {
        if !only.is_empty() && !only.iter().any(|word| mutant.name.contains(word.as_str())) {
            continue;
        }
        println!("\n== mutant: {}", mutant.name);
        let built = apply(workspace, &copy.join("tree"), mutant).and_then(|()| build(workspace, &copy));
        let (found, seed) = match built.and_then(|()| soak(workspace, &copy, checker, mutant)) {
            Ok(outcome) => outcome,
            Err(why) => {
                table.push(format!("{:<42} {why}   WRONG", mutant.name));
                missed.push(mutant.name);
                continue;
            }
        };
        let is_right = found.is_empty() == mutant.name.starts_with("none");
        let found = if found.is_empty() { "no violation".to_owned() } else { found };
        let wrong = if is_right { "" } else { "   WRONG" };
        table.push(format!("{:<42} {found}   (seed {seed}){wrong}", mutant.name));
        if !is_right {
            missed.push(mutant.name);
        }
    }
    println!();
    table.iter().for_each(|line| println!("{line}"));
    if missed.is_empty() { Ok(()) } else { Err(format!("the checker is wrong about: {}", missed.join("; "))) }
}

/// Copies the project, with the replacements; files that are right already keep their times.
fn apply(workspace: &Workspace, tree: &Path, mutant: &Mutant) -> Outcome {
    let list =
        output(workspace.command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let wanted = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rustfmt.toml"];
    let is_wanted =
        |path: &&str| wanted.contains(path) || path.starts_with("crates/") || path.starts_with("spec/");
    for path in list.lines().filter(is_wanted) {
        let Ok(mut content) = fs::read(workspace.root.join(path)) else { continue };
        for (_, from, to) in mutant.replacements.iter().filter(|(file, ..)| *file == path) {
            let text = String::from_utf8(content).map_err(|_| format!("{path} is no text"))?;
            if text.matches(from).count() != 1 {
                return Err(format!("mutant '{}': {path} does not hold this once: {from}", mutant.name));
            }
            content = text.replace(from, to).into_bytes();
        }
        let to = tree.join(path);
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let parent = to.parent().unwrap_or(tree);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&to, content));
        written.map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}

fn build(workspace: &Workspace, copy: &Path) -> Outcome {
    let manifest = copy.join("tree/Cargo.toml");
    let mut command =
        workspace.cargo(&["build", "--quiet", "--locked", "--package", "hikyaku-cli", "--bin", "hikyaku"]);
    must(command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(copy.join("target")))
}

/// Which invariants a run finds broken, as words, an empty text if none; and its seed.
fn soak(workspace: &Workspace, copy: &Path, checker: &str, mutant: &Mutant) -> Outcome<(String, String)> {
    let place = copy.join("runs");
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let mut command = workspace.command(workspace.target.join("debug").join(checker));
    command
        .args(mutant.arguments)
        .arg("--server")
        .arg(copy.join("target/debug/hikyaku"))
        .arg("--directory")
        .arg(&place);
    let done = command.stderr(Stdio::null()).output();
    let done = done.map_err(|error| format!("{checker} could not be started: {error}"))?;
    // What a run with violations keeps is of no use here: they were wanted.
    let _ = fs::remove_dir_all(&place);
    let text = String::from_utf8_lossy(&done.stdout);
    print!("{text}");
    let mut broken: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" is broken: "))
        .map(|(invariant, _)| invariant)
        .collect();
    broken.sort_unstable();
    broken.dedup();
    let seed =
        text.lines().find_map(|line| line.split_once("seed ")).map_or("?", |(_, seed)| seed).to_owned();
    match done.status.code() {
        Some(0) if broken.is_empty() => Ok((String::new(), seed)),
        Some(1) if !broken.is_empty() => Ok((broken.join(" "), seed)),
        // Nothing else is a verdict: a run that could not begin, or ended early, has found nothing.
        code => Err(format!("no verdict: {checker} ended with {code:?}")),
    }
}
