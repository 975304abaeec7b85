//! `cargo xtask test`: the steps, cheapest first, so that a slip is told within seconds.
//!
//! The run stops at the first step that fails. Every step says its name and its time, and a table closes the run.

mod build;
mod claims;
mod deny;
mod examples;
mod house;
mod peer;
mod source;

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::workspace::Workspace;

/// One step of the test command. `run` gives a short note for the table, such as how many tests ran.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Outcome<String>,
}

const STEPS: &[Step] = &[
    Step { name: "format", about: "rustfmt has nothing to change", run: build::format },
    Step { name: "house", about: "rules of this project that no other tool knows", run: house::run },
    Step { name: "spec", about: "rules cited, registries fresh, vectors true", run: spec },
    Step { name: "clippy", about: "no warning in any target", run: build::clippy },
    Step { name: "docs", about: "rustdoc has no warning", run: build::docs },
    Step { name: "tests", about: "all unit and integration tests", run: build::tests },
    Step { name: "doctests", about: "the code in the documentation", run: build::doctests },
    Step { name: "examples", about: "every example ends by itself and well", run: examples::run },
    Step { name: "peer", about: "the peer in Python, a hostile one, and an evil server", run: peer::run },
    Step { name: "deny", about: "advisories, bans, licences and sources of dependencies", run: deny::run },
];

/// The task `cargo xtask spec`, as a step.
fn spec(_: &Workspace) -> Outcome<String> {
    crate::spec::run(&[])?;
    Ok(String::new())
}

/// Runs the steps that the arguments select.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let Some(steps) = select(arguments)? else {
        for step in STEPS {
            println!("{:<10} {}", step.name, step.about);
        }
        return Ok(());
    };
    let workspace = Workspace::find()?;
    let started = Instant::now();
    let mut rows = Vec::new();
    let mut failure = None;
    for step in &steps {
        println!("\n== {}: {}", step.name, step.about);
        let begun = Instant::now();
        let result = (step.run)(&workspace);
        let took = begun.elapsed();
        match result {
            Ok(note) => {
                println!("== {} passed in {}", step.name, seconds(took));
                rows.push((step.name, "passed", took, note));
            }
            Err(sentence) => {
                rows.push((step.name, "FAILED", took, String::new()));
                failure = Some(format!("the step `{}` failed: {sentence}", step.name));
                break;
            }
        }
    }
    table(&steps, &rows, started.elapsed());
    failure.map_or(Ok(()), Err)
}

/// Which steps to run; `None` when they are only to be listed.
fn select(arguments: &[String]) -> Outcome<Option<Vec<&'static Step>>> {
    let mut steps: Vec<&'static Step> = STEPS.iter().collect();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, mut value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if flag == "--list" {
            return Ok(None);
        }
        if flag != "--only" && flag != "--skip" {
            return Err(format!(
                "`{argument}` is not an argument of test; it takes --only, --skip and --list"
            ));
        }
        if value.is_none() {
            value = rest.next().cloned();
        }
        let value = value.ok_or_else(|| format!("{flag} needs the names of steps, separated by commas"))?;
        let names: Vec<&str> = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for name in &names {
            if !STEPS.iter().any(|step| step.name == *name) {
                let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
                return Err(format!("there is no step `{name}`; the steps are {}", known.join(", ")));
            }
        }
        steps.retain(|step| names.contains(&step.name) == (flag == "--only"));
    }
    Ok(Some(steps))
}

fn table(steps: &[&Step], rows: &[(&str, &str, Duration, String)], total: Duration) {
    println!("\n{:<10} {:<8} {:>8}", "step", "result", "time");
    for (name, result, took, note) in rows {
        println!("{name:<10} {result:<8} {:>8}  {note}", seconds(*took));
    }
    for step in steps.iter().skip(rows.len()) {
        println!("{:<10} {:<8}", step.name, "not run");
    }
    println!("{:<10} {:<8} {:>8}", "together", "", seconds(total));
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Outcome<Vec<&'static str>> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Ok(select(&arguments)?.unwrap_or_default().iter().map(|step| step.name).collect())
    }

    #[test]
    fn without_arguments_every_step_runs_in_order() {
        let all: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names(&[]), Ok(all));
    }

    #[test]
    fn only_and_skip_select_by_name_and_keep_the_order() {
        assert_eq!(names(&["--only", "docs,format"]), Ok(vec!["format", "docs"]));
        assert_eq!(names(&["--only=docs,format", "--skip=docs"]), Ok(vec!["format"]));
    }

    #[test]
    fn an_unknown_step_or_flag_is_refused_by_name() {
        assert!(names(&["--only", "clipy"]).is_err_and(|sentence| sentence.contains("`clipy`")));
        assert!(names(&["--only"]).is_err());
        assert!(names(&["--fast"]).is_err_and(|sentence| sentence.contains("`--fast`")));
    }
}
