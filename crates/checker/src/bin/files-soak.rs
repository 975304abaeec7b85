//! A run of the proof of transfers as a program: `cargo xtask soak files` starts it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hikyaku_checker::files::{FilesPlan, run};
use hikyaku_checker::soaking::{beside, number, soak};

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
    let plan = FilesPlan::small(beside("hikyaku"), std::env::temp_dir(), 0);
    soak(USAGE, plan, set, |plan, seed| {
        let outcome = run(&FilesPlan { seed, ..plan.clone() })?;
        Ok((outcome.is_good(), Box::new(outcome)))
    })
}

fn set(plan: &mut FilesPlan, name: &str, value: &str) -> Result<bool, String> {
    let number = || number(name, value);
    match name {
        "--large" => plan.large = number()?,
        "--small" => plan.small = number()?,
        "--kills" => plan.kills = number()?,
        "--cuts" => plan.cuts = number()?,
        "--patience" => plan.patience = Duration::from_secs(number()?),
        "--server" => plan.server = PathBuf::from(value),
        "--directory" => plan.directory = PathBuf::from(value),
        "--keep" => plan.keep = number()? > 0,
        _ => return Ok(false),
    }
    Ok(true)
}
