//! A run of the proof of transfers as a program: `cargo xtask soak files` starts it.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use hikyaku_checker::files::{FilesPlan, run};

const USAGE: &str = "files-soak [--NAME VALUE]…
    --seed N             where randomness begins [default: the time]
    --rounds N           runs, each with a seed of its own [1]
    --large BYTES        the size of the large file [50331648]
    --small N            how many small files [300]
    --kills N            kill -9 of either end [10]
    --cuts N             power cuts under the server's disk, as root [0]
    --patience SECONDS   how long a transfer may take from a fault to its end [180]
    --server PATH        the program hikyaku [beside this one]
    --directory DIR      where to keep everything while it runs [the system's]
    --keep 1             keep everything";

fn main() -> ExitCode {
    match soak() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("files-soak: {sentence}");
            ExitCode::from(2)
        }
    }
}

/// Whether all runs were good.
fn soak() -> Result<bool, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let server = own.parent().unwrap_or(Path::new(".")).join("hikyaku");
    let mut plan = FilesPlan::small(server, std::env::temp_dir(), seed);
    let mut rounds = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--help" {
            println!("{USAGE}");
            return Ok(true);
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        set(&mut plan, &mut rounds, &name, &value)?;
    }
    let mut good = true;
    for round in 0..rounds {
        let plan = FilesPlan { seed: plan.seed + round, ..plan.clone() };
        println!("== round {} of {rounds}, seed {}", round + 1, plan.seed);
        let outcome = run(&plan)?;
        println!("{outcome}");
        good &= outcome.is_good();
    }
    println!("== {rounds} rounds: {}", if good { "good" } else { "NOT GOOD" });
    Ok(good)
}

fn set(plan: &mut FilesPlan, rounds: &mut u64, name: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u64>().map_err(|_| format!("{name}: '{value}' is no number"));
    match name {
        "--seed" => plan.seed = number()?,
        "--rounds" => *rounds = number()?,
        "--large" => plan.large = number()?,
        "--small" => plan.small = number()?,
        "--kills" => plan.kills = number()?,
        "--cuts" => plan.cuts = number()?,
        "--patience" => plan.patience = Duration::from_secs(number()?),
        "--server" => plan.server = PathBuf::from(value),
        "--directory" => plan.directory = PathBuf::from(value),
        "--keep" => plan.keep = number()? > 0,
        _ => return Err(format!("there is no {name}\n{USAGE}")),
    }
    Ok(())
}
