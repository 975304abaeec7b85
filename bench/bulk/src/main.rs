//! Memory to memory on one stream of one connection: ours beside what it is built on, and beside another QMux.
//!
//! ```text
//! bulk [run] [--runs 5] [--mib 2048] [--peers a,b,…]     measures all, interleaved, and prints the table
//! bulk serve PEER                                        one receiver
//! bulk load PEER ADDRESS TRUST MIB PID                   one sender; prints what it measured of both
//! ```
//!
//! The sender sends the same block again and again and is done when the receiver has said how much arrived.

#![forbid(unsafe_code)]

mod load;
mod peers;

use std::process::Command;

use bench_common::{Ready, Result, Rows, number, on_one_thread, option};
use peers::Peer;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", peer] => on_one_thread(peers::serve(Peer::named(peer)?)),
        ["load", peer, address, trust, mib, pid] => {
            let ready = Ready { address: address.parse()?, trust: (*trust).to_owned() };
            let plan = load::Plan::new(mib.parse()?, pid);
            on_one_thread(peers::load(Peer::named(peer)?, ready, plan))
        }
        [] | ["run", ..] => run(),
        [first, ..] if first.starts_with("--") => run(),
        _ => Err("bulk [run] [--runs N] [--mib N] [--peers a,b,…]".into()),
    }
}

fn run() -> Result<()> {
    let (runs, mib) = (number("--runs", 5), number("--mib", 2048));
    let wanted = option("--peers");
    let wanted =
        |peer: &Peer| wanted.as_ref().is_none_or(|list| list.split(',').any(|name| name == peer.name()));
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(wanted).collect();
    let mut rows = Rows::default();
    for run in 0..runs {
        // Another order each time, so that nobody always comes after the same neighbour.
        for at in 0..peers.len() {
            let peer = peers[(at + run) % peers.len()];
            let numbers = measure(peer, mib)?;
            eprintln!("run {run}: {}: {:.2} GB/s", peer.name(), numbers[0]);
            rows.add(peer.name(), numbers);
        }
    }
    print(&rows, &peers);
    Ok(())
}

fn measure(peer: Peer, mib: usize) -> Result<Vec<f64>> {
    let served = bench_common::serve(Command::new(std::env::current_exe()?).args(["serve", peer.name()]))?;
    let Ready { address, trust } = served.ready.clone();
    let (mib, pid) = (mib.to_string(), served.pid().to_string());
    bench_common::load(&[peer.name().to_owned(), address.to_string(), trust, mib, pid])
}

fn print(rows: &Rows, peers: &[Peer]) {
    println!(
        "| peer | GB/s (least to most of {} runs) | × what it is built on | sender CPU s/GB | receiver CPU s/GB \
         | both |",
        rows.runs(peers[0].name()),
    );
    println!("|---|---|---|---|---|---|");
    for peer in peers {
        let name = peer.name();
        let (least, most) = rows.range(name, 0);
        println!(
            "| {} | {:.2} ({least:.2} to {most:.2}) | {:.2} | {:.2} | {:.2} | {:.2} |",
            peer.description(),
            rows.median(name, 0),
            rows.ratio(name, peer.built_on().name(), 0),
            rows.median(name, 1),
            rows.median(name, 2),
            rows.median(name, 3),
        );
    }
}
