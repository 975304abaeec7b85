//! What the programs of long runs have in common: options with values, and rounds with a seed each.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// A program beside this one.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join(name)
}

/// A number that is an option's value.
pub fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{name}: '{value}' is no number"))
}

/// Reads the options, and runs `round` with one seed after the other. It says what came of it, and whether that is good;
/// `set` returns false for an option that it does not know. Exit code 1: a round was not good, 2: there was none.
pub fn soak<P>(
    usage: &str,
    plan: P,
    set: impl Fn(&mut P, &str, &str) -> Result<bool, String>,
    round: impl Fn(&P, u64) -> Result<(bool, Box<dyn Display>), String>,
) -> ExitCode {
    match rounds(usage, plan, set, round) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            let name = usage.split_whitespace().next().unwrap_or_default();
            eprintln!("{name}: {sentence}");
            ExitCode::from(2)
        }
    }
}

/// Whether all rounds were good.
fn rounds<P>(
    usage: &str,
    mut plan: P,
    set: impl Fn(&mut P, &str, &str) -> Result<bool, String>,
    round: impl Fn(&P, u64) -> Result<(bool, Box<dyn Display>), String>,
) -> Result<bool, String> {
    let mut seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut rounds = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--help" {
            println!("{usage}");
            return Ok(true);
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value\n{usage}"))?;
        match &*option {
            "--seed" => seed = number(&option, &value)?,
            "--rounds" => rounds = number(&option, &value)?,
            _ if set(&mut plan, &option, &value)? => {}
            _ => return Err(format!("there is no {option}\n{usage}")),
        }
    }
    let mut bad = Vec::new();
    for at in 0..rounds {
        println!("== round {} of {rounds}, seed {}", at + 1, seed + at);
        let (good, said) = round(&plan, seed + at)?;
        println!("{said}");
        bad.extend((!good).then_some(seed + at));
    }
    let verdict = if bad.is_empty() { "good".to_owned() } else { format!("NOT GOOD: seeds {bad:?}") };
    println!("== {rounds} rounds: {verdict}");
    Ok(bad.is_empty())
}
