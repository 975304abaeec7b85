//! The steps that are one run of cargo each. All share one target directory and one profile, and every one
//! names the whole workspace, so that features are unified in the same way and nothing is built twice.

use crate::Outcome;
use crate::workspace::{Workspace, must, output, watch};

pub(super) fn format(workspace: &Workspace) -> Outcome<String> {
    must(&mut workspace.cargo(&["fmt", "--all", "--check"]))
        .map_err(|sentence| format!("{sentence}; `cargo fmt --all` repairs it"))?;
    Ok(String::new())
}

pub(super) fn clippy(workspace: &Workspace) -> Outcome<String> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    must(&mut workspace.cargo(&arguments))?;
    Ok(String::new())
}

pub(super) fn docs(workspace: &Workspace) -> Outcome<String> {
    // The program and the library share their name, and so their place: one after the other.
    for packages in [&["--workspace", "--exclude", "hikyaku-cli"][..], &["--package", "hikyaku-cli"]] {
        let arguments = [&["doc", "--no-deps", "--document-private-items", "--locked"], packages].concat();
        must(workspace.cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(String::new())
}

/// nextest runs tests of several binaries at once and kills a hung one; plain cargo does where it is missing.
pub(super) fn tests(workspace: &Workspace) -> Outcome<String> {
    if output(&mut workspace.cargo(&["nextest", "--version"])).is_err() {
        println!("cargo-nextest is not installed; `cargo test` runs the tests instead");
        let arguments = ["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"];
        return counted(workspace, &arguments);
    }
    let mut closing = String::new();
    let arguments = ["nextest", "run", "--workspace", "--all-targets", "--locked", "--no-fail-fast"];
    watch(&mut workspace.cargo(&arguments), |line| {
        if let Some((_, counts)) = line.split_once("Summary [") {
            closing = counts.split_once(']').map_or(counts, |(_, counts)| counts).trim().to_owned();
        }
    })?;
    Ok(closing)
}

pub(super) fn doctests(workspace: &Workspace) -> Outcome<String> {
    counted(workspace, &["test", "--workspace", "--doc", "--locked"])
}

/// Runs `cargo test` and adds up the closing lines of its many binaries.
fn counted(workspace: &Workspace, arguments: &[&str]) -> Outcome<String> {
    let mut sum = Counts::default();
    let result = watch(&mut workspace.cargo(arguments), |line| sum.add(line));
    let Counts { binaries, passed, failed, ignored } = sum;
    let total = passed + failed;
    let closing = format!("{total} tests run: {passed} passed, {failed} failed, {ignored} skipped");
    println!("{closing} ({binaries} test binaries)");
    result.map(|()| closing)
}

#[derive(Default, Debug, PartialEq)]
struct Counts {
    binaries: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Takes a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.trim().strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.binaries += 1;
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_binaries_are_added_up() {
        let mut sum = Counts::default();
        sum.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        sum.add("test some::name ... ok");
        sum.add("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(sum, Counts { binaries: 2, passed: 7, failed: 2, ignored: 1 });
    }
}
