//! The room log under load. `run.py` beside this program starts both ends, and other servers, and prints the tables.
//!
//! ```text
//! fanout serve DIRECTORY [--threads 2] [--commit-events 256]
//!                                    a server whose store is in DIRECTORY, which must be on a real disk
//! fanout load SCENARIO ADDRESS TRUST key=value …
//!                                    clients on one worker thread; prints one line of JSON
//! ```
//!
//! Everybody may do everything on this server; the rest is what the program runs: mutual TLS, the session, chat over the
//! SQLite store. The receivers are the library's: they keep a cursor and read every event.

#![forbid(unsafe_code)]

mod clients;
mod json;
mod scenario;
mod serve;
mod stats;

use std::collections::HashMap;

use bench_common::{Ready, Result, number, on_one_thread};

/// What a scenario is told on the command line.
#[derive(Clone)]
pub struct Plan {
    /// The server.
    pub ready: Ready,
    keys: HashMap<String, String>,
}

impl Plan {
    /// The text of a key; empty if it is not there.
    pub fn text(&self, key: &str) -> String {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    /// The number of a key.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.keys
            .get(key)
            .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{key} takes a number")))
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", directory, ..] => {
            let (threads, commit_events) = (number("--threads", 2), number("--commit-events", 256));
            serve::run(directory, threads, commit_events)
        }
        ["load", scenario, address, trust, keys @ ..] => {
            let keys = keys.iter().filter_map(|key| key.split_once('='));
            let plan = Plan {
                ready: Ready { address: address.parse()?, trust: (*trust).to_owned() },
                keys: keys.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            };
            on_one_thread(scenario::run((*scenario).to_owned(), plan))
        }
        _ => Err("fanout serve DIRECTORY | fanout load SCENARIO ADDRESS TRUST [key=value …]".into()),
    }
}
