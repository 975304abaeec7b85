//! `cargo xtask soak connections`: the sieges of `crates/cli/tests/sieges` at full size, against a server process of
//! its own. What they count and where they draw the line is said there.

use crate::Outcome;
use crate::workspace::{Workspace, must};

/// The arguments, each with the variable that carries its number to the tests, and the number it has when it is not given.
const NUMBERS: &[(&str, &str, usize)] = &[
    ("--kills", "HIKYAKU_KILLS", 100_000),
    ("--attackers", "HIKYAKU_ATTACKERS", 2_000),
    ("--slow", "HIKYAKU_SLOW", 1_000),
    ("--members", "HIKYAKU_MEMBERS", 2_000),
];

pub(super) fn run(arguments: &[String]) -> Outcome {
    let numbers = read(arguments)?;
    let workspace = Workspace::find()?;
    // One siege after the other: each measures the processor's and the memory's owner.
    let mut command = workspace.cargo(&["test", "--locked", "--package", "hikyaku-cli", "--test", "sieges"]);
    command.args(["--", "--nocapture", "--test-threads=1"]);
    for ((_, variable, _), number) in NUMBERS.iter().zip(numbers) {
        command.env(variable, number.to_string());
    }
    must(&mut command)
}

fn read(arguments: &[String]) -> Outcome<Vec<usize>> {
    let mut numbers: Vec<usize> = NUMBERS.iter().map(|(_, _, usual)| *usual).collect();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let at = NUMBERS.iter().position(|(name, _, _)| name == argument);
        let at = at.ok_or_else(|| format!("`{argument}` is not an argument of soak connections"))?;
        let value = rest.next().ok_or_else(|| format!("{argument} needs a number"))?;
        numbers[at] = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_usual_ones_unless_given() {
        let read = |list: &[&str]| read(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&[]), Ok(vec![100_000, 2_000, 1_000, 2_000]));
        assert_eq!(read(&["--attackers", "7"]), Ok(vec![100_000, 7, 1_000, 2_000]));
        assert!(read(&["--kills", "many"]).is_err_and(|sentence| sentence.contains("`many`")));
        assert!(read(&["--kill"]).is_err_and(|sentence| sentence.contains("`--kill`")));
    }
}
