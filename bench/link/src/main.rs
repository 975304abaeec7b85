//! `link [--rate-mbit 100] [--delay-ms 10] [--queue-kib 256] [--loss-ppm 0] [--seed 1] [-- COMMAND…]`: brings a link up and
//! runs a command at end A of it, where the other end is 10.77.0.2 with nobody on it but what `ip netns exec` starts there.

#![forbid(unsafe_code)]

use bench_common::Result;
use bench_link::{End, Link, Options};

fn main() -> Result<()> {
    let link = Link::up(Options::from_command_line())?;
    let command: Vec<String> = std::env::args().skip_while(|argument| argument != "--").skip(1).collect();
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments.to_vec()),
        None => ("ping", ["-c", "5", "-i", "0.2", End::B.address()].map(str::to_owned).to_vec()),
    };
    let status = link.command(End::A, program).args(arguments).status()?;
    eprintln!("from a: {:?}; from b: {:?}", link.counts(End::A), link.counts(End::B));
    if !status.success() {
        return Err(format!("{program} ended with {status}").into());
    }
    Ok(())
}
