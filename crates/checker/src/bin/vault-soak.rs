//! A run of the vault's proof as a program: `cargo xtask soak vault` starts it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hikyaku_checker::soaking::{beside, number, soak};
use hikyaku_checker::vault::{VaultPlan, run};

const USAGE: &str = "vault-soak [--NAME VALUE]…
    --seed N             where randomness begins [default: the time]
    --rounds N           runs, each with a seed of its own [1]
    --senders N          those who send [2]; one more is revoked on the way
    --getters N          those who fetch [2]
    --receivers N        those who receive what comes [1]
    --server-kills N     kill -9 of the server [3]
    --sender-kills N     kill -9 of a sender [2]
    --getter-kills N     kill -9 of one that fetches [2]
    --receiver-kills N   kill -9 of one that receives [1]
    --cuts N             power cuts under the vault, as root [0]
    --fulls N            times when the disk is full, as root [0]
    --gap MS             how long it is from one fault to the next [400]
    --patience SECONDS   how long nothing may move [90]
    --server PATH        the program hikyaku [beside this one]
    --directory DIR      where to keep everything while it runs [the system's]
    --keep 1             keep everything";

fn main() -> ExitCode {
    let plan = VaultPlan::small(beside("hikyaku"), std::env::temp_dir(), 0);
    soak(USAGE, plan, set, |plan, seed| {
        let outcome = run(&VaultPlan { seed, ..plan.clone() })?;
        Ok((outcome.is_good(), Box::new(outcome)))
    })
}

fn set(plan: &mut VaultPlan, name: &str, value: &str) -> Result<bool, String> {
    let number = || number(name, value);
    let faults = &mut plan.faults;
    match name {
        "--senders" => plan.senders = number()?,
        "--getters" => plan.getters = number()?,
        "--receivers" => plan.receivers = number()?,
        "--server-kills" => faults.server_kills = number()?,
        "--sender-kills" => faults.sender_kills = number()?,
        "--getter-kills" => faults.getter_kills = number()?,
        "--receiver-kills" => faults.receiver_kills = number()?,
        "--cuts" => faults.cuts = number()?,
        "--fulls" => faults.fulls = number()?,
        "--gap" => plan.gap = Duration::from_millis(number()?),
        "--patience" => plan.patience = Duration::from_secs(number()?),
        "--server" => plan.server = PathBuf::from(value),
        "--directory" => plan.directory = PathBuf::from(value),
        "--keep" => plan.keep = number()? > 0,
        _ => return Ok(false),
    }
    Ok(true)
}
