//! Round trips of 64 bytes on one warm connection: ours beside raw TLS, raw QUIC, gRPC and a naive server.
//!
//! ```text
//! echo [run] [--runs 5] [--seconds 2] [--peers a,b,…]     measures all, interleaved, and prints the table
//! echo serve PEER                                         one server
//! echo load PEER ADDRESS TRUST CALLERS SECONDS PID        one client; prints what it measured of both
//! ```

#![forbid(unsafe_code)]

mod load;
mod peers;

use std::process::Command;

use bench_common::{Ready, Result, Rows, number, on_one_thread, option};
use peers::Peer;

/// How many callers wait for an answer at a time.
const CALLERS: [usize; 2] = [1, 64];

/// What everybody is compared with.
const REFERENCE: Peer = Peer::GrpcTls;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", peer] => on_one_thread(peers::serve(Peer::named(peer)?)),
        ["load", peer, address, trust, callers, seconds, pid] => {
            let ready = Ready { address: address.parse()?, trust: (*trust).to_owned() };
            let plan = load::Plan::new(callers.parse()?, seconds.parse()?, pid);
            on_one_thread(peers::load(Peer::named(peer)?, ready, plan))
        }
        [] | ["run", ..] => run(),
        [first, ..] if first.starts_with("--") => run(),
        _ => Err("echo [run] [--runs N] [--seconds S] [--peers a,b,…]".into()),
    }
}

fn run() -> Result<()> {
    let (runs, seconds) = (number("--runs", 5), number("--seconds", 2));
    let wanted = option("--peers");
    let wanted =
        |peer: &Peer| wanted.as_ref().is_none_or(|list| list.split(',').any(|name| name == peer.name()));
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(wanted).collect();
    let mut rows = Rows::default();
    for run in 0..runs {
        for callers in CALLERS {
            // Another order each time, so that nobody always comes after the same neighbour.
            for at in 0..peers.len() {
                let peer = peers[(at + run) % peers.len()];
                let numbers = measure(peer, callers, seconds)?;
                eprintln!("run {run}: {} with {callers}: {:.0} calls/s", peer.name(), numbers[0]);
                rows.add(&row(peer, callers), numbers);
            }
        }
    }
    print(&rows, &peers);
    Ok(())
}

fn measure(peer: Peer, callers: usize, seconds: usize) -> Result<Vec<f64>> {
    let served = bench_common::serve(&mut server(peer)?)?;
    let Ready { address, trust } = served.ready.clone();
    let arguments = [
        peer.name().to_owned(),
        address.to_string(),
        trust,
        callers.to_string(),
        seconds.to_string(),
        served.pid().to_string(),
    ];
    bench_common::load(&arguments)
}

fn server(peer: Peer) -> Result<Command> {
    if let Peer::NaivePython = peer {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/naive.py"));
        return Ok(command);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", peer.name()]);
    Ok(command)
}

fn row(peer: Peer, callers: usize) -> String {
    format!("{} {callers}", peer.name())
}

fn print(rows: &Rows, peers: &[Peer]) {
    println!(
        "| callers | peer | calls/s (least to most of {} runs) | × {} | p50 µs | p99 µs | p99.9 µs \
         | server CPU µs/call | client CPU µs/call |",
        rows.runs(&row(peers[0], CALLERS[0])),
        REFERENCE.name(),
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for callers in CALLERS {
        for peer in peers {
            let name = row(*peer, callers);
            let (least, most) = rows.range(&name, 0);
            let median = |column| rows.median(&name, column);
            println!(
                "| {callers} | {} | {:.0} ({least:.0} to {most:.0}) | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
                peer.description(),
                median(0),
                rows.ratio(&name, &row(REFERENCE, callers), 0),
                median(1),
                median(2),
                median(3),
                median(4),
                median(5),
            );
        }
    }
}
