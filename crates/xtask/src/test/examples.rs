//! Every example of every crate is run. An example is the first thing that a newcomer copies, so it has to work.
//!
//! An example must end by itself within a minute and with success. One that cannot (a server that waits for
//! others) carries a line `// not run in tests: <reason>` in its source.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::workspace::{Workspace, output};

const PATIENCE: Duration = Duration::from_secs(60);
const EXEMPTION: &str = "// not run in tests: ";

struct Example {
    name: String,
    source: PathBuf,
    program: PathBuf,
}

pub(super) fn run(workspace: &Workspace) -> Outcome<String> {
    let arguments =
        ["build", "--workspace", "--examples", "--locked", "--message-format=json-render-diagnostics"];
    let examples = found(&output(&mut workspace.cargo(&arguments))?);
    let mut ran = 0;
    let mut exempt = 0;
    for example in &examples {
        if let Some(reason) = exemption(&example.source)? {
            println!("{}: not run: {reason}", example.name);
            exempt += 1;
            continue;
        }
        let begun = Instant::now();
        finish(workspace.command(&example.program), &example.name)?;
        println!("{}: ended well in {:.1} s", example.name, begun.elapsed().as_secs_f64());
        ran += 1;
    }
    Ok(format!("{ran} run, {exempt} exempt"))
}

/// The examples among the artifacts that cargo reports, one JSON object a line.
fn found(report: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    for message in report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let target = &message["target"];
        let is_example = target["kind"][0] == "example";
        let parts = (target["name"].as_str(), target["src_path"].as_str(), message["executable"].as_str());
        if let (true, (Some(name), Some(source), Some(program))) = (is_example, parts) {
            examples.push(Example { name: name.into(), source: source.into(), program: program.into() });
        }
    }
    examples.sort_by(|left, right| left.name.cmp(&right.name));
    examples
}

fn exemption(source: &Path) -> Outcome<Option<String>> {
    let text = std::fs::read_to_string(source)
        .map_err(|error| format!("{} could not be read: {error}", source.display()))?;
    let reason = text.lines().find_map(|line| line.trim().strip_prefix(EXEMPTION));
    Ok(reason.map(|reason| reason.trim().to_owned()))
}

/// Waits for the example, and ends it when it takes too long.
fn finish(mut command: Command, name: &str) -> Outcome {
    let started = command.stdin(Stdio::null()).spawn();
    let mut child = started.map_err(|error| format!("the example {name} could not be started: {error}"))?;
    let begun = Instant::now();
    loop {
        match child.try_wait().map_err(|error| format!("the example {name} could not be awaited: {error}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the example {name} ended with {status}")),
            None if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "the example {name} did not end within {} s; one that waits for others says so in a line \
                     `{EXEMPTION}<reason>`",
                    PATIENCE.as_secs()
                ));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_told_apart_from_other_artifacts() {
        let report = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"l","src_path":"l.rs"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["example"],"name":"e","src_path":"e.rs"},"executable":"/x/e"}"#,
        );
        let names: Vec<String> = found(report).into_iter().map(|example| example.name).collect();
        assert_eq!(names, ["e"]);
    }

    #[test]
    fn an_example_that_fails_or_is_missing_is_named() {
        let failure = finish(Command::new("false"), "hello");
        assert!(failure.is_err_and(|sentence| sentence.contains("hello")));
        assert!(finish(Command::new("/nonexistent/example"), "hello").is_err());
        assert_eq!(finish(Command::new("true"), "hello"), Ok(()));
    }
}
