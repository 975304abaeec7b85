//! A run of the checker as a program: `cargo xtask soak chat` starts it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hikyaku_checker::soaking::{beside, number, soak};
use hikyaku_checker::{Faults, Plan, run};

const USAGE: &str = "chat-soak [--NAME VALUE]…
    --seed N             where randomness begins [default: the time]
    --rounds N           runs, each with a seed of its own [1]
    --clients N          clients [8]; one more is revoked on the way
    --rooms N            rooms [2]
    --server-kills N     kill -9 of the server [4]
    --client-kills N     kill -9 of a client [6]
    --power-cuts N       power cuts under the server's disk, as root [0]
    --client-stops N     SIGSTOP of a client [1]
    --server-stops N     SIGSTOP of the server [0]
    --stop-for SECONDS   how long [1]
    --clock-jumps N      jumps of the server's clock [2]
    --lulls N            times when nobody sends and everybody must come to have everything [1]
    --disconnects N      connections to be broken on purpose in all [30]
    --breaks N           one of so many sends breaks its connection [12]
    --gap N              acknowledgements between faults [25]
    --pause MS           the longest pause between two sends [60]
    --patience SECONDS   how long nothing may move [90]
    --server PATH        the program hikyaku [beside this one]
    --directory DIR      where to keep everything while it runs [the system's]
    --keep 1             keep everything
    --late-cursor 1      with clients that are wrong on purpose";

fn main() -> ExitCode {
    let plan = Plan::small(beside("hikyaku"), beside("chat-client"), std::env::temp_dir(), 0);
    soak(USAGE, plan, set, |plan, seed| {
        let outcome = run::run(&Plan { seed, ..plan.clone() })?;
        Ok((outcome.report.is_good(), Box::new(outcome)))
    })
}

fn set(plan: &mut Plan, name: &str, value: &str) -> Result<bool, String> {
    let number = || number(name, value);
    let Plan { faults, .. } = plan;
    let Faults { server_kills, client_kills, power_cuts, client_stops, server_stops, clock_jumps, lulls } =
        faults;
    match name {
        "--clients" => plan.clients = number()?,
        "--rooms" => plan.rooms = number()?,
        "--server-kills" => *server_kills = number()?,
        "--client-kills" => *client_kills = number()?,
        "--power-cuts" => *power_cuts = number()?,
        "--client-stops" => *client_stops = number()?,
        "--server-stops" => *server_stops = number()?,
        "--clock-jumps" => *clock_jumps = number()?,
        "--stop-for" => plan.stop_for = Duration::from_secs(number()?),
        "--lulls" => *lulls = number()?,
        "--disconnects" => plan.disconnects = number()?,
        "--breaks" => plan.breaks = number()?,
        "--gap" => plan.gap = number()?,
        "--pause" => plan.pause = Duration::from_millis(number()?),
        "--patience" => plan.patience = Duration::from_secs(number()?),
        "--server" => plan.server = PathBuf::from(value),
        "--directory" => plan.directory = PathBuf::from(value),
        "--keep" => plan.keep = number()? > 0,
        "--late-cursor" => plan.late_cursor = number()? > 0,
        _ => return Ok(false),
    }
    Ok(true)
}
