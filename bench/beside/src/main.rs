//! Chat beside bulk on one connection: how long a small exchange takes while a bulk stream runs or stalls.
//!
//! ```text
//! beside [run] [--runs 3] [--seconds 5] [--path loopback|link]     measures all cases, interleaved, and prints the table
//!              [--transports tcp,quic] [--beside none,up,…]         of them only some
//! beside serve [ADDRESS]                                           the server
//! beside load TRANSPORT BULK ADDRESS TRUST SECONDS                 one client; prints what it measured
//! ```
//!
//! `--path link` puts both ends into namespaces with an emulated link between them (bench/link; needs root), which takes
//! `--rate-mbit`, `--delay-ms`, `--queue-kib` and `--loss-ppm`.

#![forbid(unsafe_code)]

mod ends;

use std::process::Command;

use bench_common::{Ready, Result, Rows, number, on_one_thread, option};
use bench_link::{End, Link, Options};
use ends::Bulk;

const TRANSPORTS: [&str; 2] = ["tcp", "quic"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => on_one_thread(ends::serve(None)),
        ["serve", address] => on_one_thread(ends::serve(Some(address.parse()?))),
        ["load", transport, bulk, address, trust, seconds] => {
            let ready = Ready { address: address.parse()?, trust: (*trust).to_owned() };
            on_one_thread(ends::load(
                ends::transport(transport)?,
                Bulk::named(bulk)?,
                ready,
                seconds.parse()?,
            ))
        }
        [] | ["run", ..] => run(),
        [first, ..] if first.starts_with("--") => run(),
        _ => Err("beside [run] [--runs N] [--seconds N] [--path loopback|link]".into()),
    }
}

fn run() -> Result<()> {
    let (runs, seconds) = (number("--runs", 3), number("--seconds", 5));
    let link = match option("--path").as_deref() {
        None | Some("loopback") => None,
        Some("link") => Some(Link::up(Options::from_command_line())?),
        Some(other) => return Err(format!("--path {other}: it is loopback or link").into()),
    };
    let mut rows = Rows::default();
    let wanted = |list: &Option<String>, name: &str| {
        list.as_ref().is_none_or(|list| list.split(',').any(|wanted| wanted == name))
    };
    let (transports, bulks) = (option("--transports"), option("--beside"));
    let all = TRANSPORTS.iter().flat_map(|transport| Bulk::ALL.map(|bulk| (*transport, bulk)));
    let cases: Vec<_> = all
        .filter(|(transport, bulk)| wanted(&transports, transport) && wanted(&bulks, bulk.name()))
        .collect();
    for run in 0..runs {
        for at in 0..cases.len() {
            let (transport, bulk) = cases[(at + run) % cases.len()];
            let numbers = measure(link.as_ref(), transport, bulk, seconds)?;
            eprintln!("run {run}: {transport}, {}: p99 {:.2} ms", bulk.name(), numbers[1]);
            rows.add(&format!("{transport} {}", bulk.name()), numbers);
        }
    }
    println!(
        "| transport | beside the round trips | p50 ms | p99 ms (least to most of {runs} runs) | most ms | bulk MB/s |"
    );
    println!("|---|---|---|---|---|---|");
    for (transport, bulk) in cases {
        let name = format!("{transport} {}", bulk.name());
        let (least, most) = rows.range(&name, 1);
        println!(
            "| {transport} | {} | {:.2} | {:.2} ({least:.2} to {most:.2}) | {:.2} | {:.1} |",
            bulk.description(),
            rows.median(&name, 0),
            rows.median(&name, 1),
            rows.median(&name, 2),
            rows.median(&name, 3),
        );
    }
    Ok(())
}

fn measure(link: Option<&Link>, transport: &str, bulk: Bulk, seconds: usize) -> Result<Vec<f64>> {
    let own = std::env::current_exe()?;
    let mut server = link.map_or_else(|| Command::new(&own), |link| link.command(End::B, &own));
    server.arg("serve");
    if link.is_some() {
        server.arg(format!("{}:0", End::B.address()));
    }
    let served = bench_common::serve(&mut server)?;
    let Ready { address, trust } = served.ready.clone();
    let mut load = link.map_or_else(|| Command::new(&own), |link| link.command(End::A, &own));
    let seconds = seconds.to_string();
    load.args(["load", transport, bulk.name(), &address.to_string(), &trust, &seconds]);
    let output = load.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{transport} {} failed", bulk.name()).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}
