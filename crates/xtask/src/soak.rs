//! Long runs: they look for what a test of a few seconds cannot find, and are started by hand.

mod chat;
mod connections;
mod files;
mod fuzz;
mod long_tests;
mod mutants;
mod vault;

use crate::Outcome;

/// One long run, as listed by `cargo xtask soak`.
struct Soak {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

/// A new run is one line here and one module.
const RUNS: &[Soak] = &[
    Soak {
        name: "chat",
        arguments: "[--mutants [WORD]…] [--NAME VALUE]…",
        about: "clients and a server under 300 kills of each, 50 power cuts (as root), 10,000 broken connections, stops, \
                clock jumps and lulls, and a check of what they saw; --mutants: mistakes made on purpose must be found",
        run: chat::run,
    },
    Soak {
        name: "files",
        arguments: "[--NAME VALUE]…",
        about: "10,000 trees received under an attacker at either end, every call to the disk failed, 200 kills of either end \
                of 2 GiB and 5,000 small files, 60 power cuts (as root), and a check of every name after each",
        run: files::run,
    },
    Soak {
        name: "vault",
        arguments: "[--mutants [WORD]…] [--NAME VALUE]…",
        about: "parcels sent to rooms and people, fetched while they are sent and later, under kills of everybody, power cuts \
                and full disks (as root), files that expire within seconds and a sender that is revoked; --mutants: mistakes \
                made on purpose must be found",
        run: vault::run,
    },
    Soak {
        name: "fuzz",
        arguments: "[--minutes N] [--target NAME,…] [--keep] [--list]",
        about: "libFuzzer on every fuzz target, N minutes each; --keep puts what is new into fuzz/corpus",
        run: fuzz::run,
    },
    Soak {
        name: "interop",
        arguments: "",
        about: "QMux with an implementation by other people: 256 MiB with a reader that stops for ten seconds",
        run: long_tests::interop,
    },
    Soak {
        name: "states",
        arguments: "",
        about: "all orders of four events on each side of up to three streams, of closes, losses and drains (the longest have \
                65 million states in 1.6 GB)",
        run: long_tests::states,
    },
    Soak {
        name: "connections",
        arguments: "[--kills N] [--attackers N] [--slow N]",
        about: "100,000 connections killed at every point, then 2,000 that do their worst at once, then 1,000 in each state \
                that say a byte a second, against a server each",
        run: connections::run,
    },
];

/// Starts the run named by the first argument, or lists them all.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let Some((name, rest)) = arguments.split_first() else {
        for soak in RUNS {
            println!("cargo xtask soak {} {}\n    {}", soak.name, soak.arguments, soak.about);
        }
        return Ok(());
    };
    match RUNS.iter().find(|soak| soak.name == name) {
        Some(soak) => (soak.run)(rest),
        None => Err(format!("there is no soak run `{name}`; `cargo xtask soak` lists them")),
    }
}
