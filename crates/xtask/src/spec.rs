//! `cargo xtask spec`: the specification and the code keep pace.
//!
//! A rule of the specification is a paragraph of `spec/*.md` that begins with its number, `**S2.14**`. Code that obeys it
//! says `//= S2.14` on a line of its own, the test that proves it `//= S2.14 (test)`. Reported are: rules with a MUST
//! that no code or no test cites, unless `spec/uncited.toml` gives a reason; citations of rules that do not exist; a MUST
//! without a number; numbers given twice; exceptions no longer needed. Then the registries and the vectors are checked.

mod citations;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::codes::{read, root};
use citations::Citations;
use rules::Rule;

/// Runs the task.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if !args.is_empty() {
        return Err("usage: cargo xtask spec".into());
    }
    let root = root();
    let (rules, mut problems) = rules::load(&root.join("spec"))?;
    let citations = Citations::load(&root)?;
    let exceptions = exceptions(&root.join("spec/uncited.toml"))?;
    let binding = rules.values().filter(|rule| rule.binds).count();
    problems.extend(compare(&rules, &citations, &exceptions));
    let check = ["--check".to_owned()];
    problems.extend(crate::codes::run(&check).err());
    problems.extend(crate::vectors::run(&check).err());
    if problems.is_empty() {
        println!("{binding} binding rules, each cited by code and test or excused in spec/uncited.toml");
        return Ok(());
    }
    Err(format!("{} problems with {binding} binding rules:\n  {}", problems.len(), problems.join("\n  ")))
}

/// A rule that code or tests need not cite.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// The rule: `S1.2`.
    rule: String,
    /// What is not there.
    missing: Missing,
    /// Why that is right.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Missing {
    Code,
    Test,
    Both,
}

fn exceptions(path: &Path) -> Result<Vec<Exception>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        uncited: Vec<Exception>,
    }
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file: File = toml::from_str(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(file.uncited)
}

/// Everything that is not as it should be between rules, citations and exceptions.
fn compare(rules: &BTreeMap<String, Rule>, citations: &Citations, exceptions: &[Exception]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut excused = BTreeSet::new();
    for exception in exceptions {
        let Exception { rule, missing, reason } = exception;
        let (code, test) = (citations.code.contains_key(rule), citations.tests.contains_key(rule));
        let needed = match missing {
            Missing::Code => !code,
            Missing::Test => !test,
            Missing::Both => !code && !test,
        };
        if !rules.contains_key(rule) {
            problems.push(format!("spec/uncited.toml: there is no rule {rule}"));
        } else if !needed {
            problems.push(format!("spec/uncited.toml: {rule} is cited by now; remove the exception"));
        } else if reason.trim().is_empty() {
            problems.push(format!("spec/uncited.toml: {rule} has no reason"));
        }
        if *missing != Missing::Test {
            excused.insert((rule.as_str(), false));
        }
        if *missing != Missing::Code {
            excused.insert((rule.as_str(), true));
        }
    }
    for (id, rule) in rules.iter().filter(|(_, rule)| rule.binds) {
        let missing: Vec<&str> = [(&citations.code, false, "no code"), (&citations.tests, true, "no test")]
            .into_iter()
            .filter(|(cited, test, _)| !cited.contains_key(id) && !excused.contains(&(id.as_str(), *test)))
            .map(|(_, _, what)| what)
            .collect();
        if !missing.is_empty() {
            let Rule { place, beginning, .. } = rule;
            problems.push(format!("{id} is cited by {} ({place}): {beginning}", missing.join(" and ")));
        }
    }
    for (id, places) in
        citations.code.iter().chain(&citations.tests).filter(|(id, _)| !rules.contains_key(*id))
    {
        problems.push(format!("{}: there is no rule {id}", places.join(", ")));
    }
    problems
}
