//! The program `hikyaku`: a private server with chat rooms and file transfer, and its clients.
//!
//! This file reads the command line and hands over; each command is a file in `commands`, the server is `server`.

#![forbid(unsafe_code)]

mod archive;
mod args;
mod backlog;
mod board;
mod cache;
mod cards;
mod client;
mod commands;
mod company;
mod doctor;
mod event;
mod exit;
mod failures;
mod handing;
mod hands;
mod home;
mod letter;
mod mentions;
mod output;
mod receipts;
mod reference;
mod screen;
mod seeing;
mod selection;
mod sending;
mod server;
mod sheet;
mod time;
mod transfer;
mod window;
mod wrap;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::Cli;
use exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let filter = EnvFilter::try_from_env("HIKYAKU_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            exit::io("the runtime", &error).report();
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(commands::run(cli));
    // A thread that waits for a line at the terminal must not keep the program.
    runtime.shutdown_background();
    match result {
        Ok(()) => Exit::Done.into(),
        Err(trouble) => {
            trouble.report();
            trouble.exit.into()
        }
    }
}

/// Help and version go to standard output and are a success; everything else is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // Nobody reading is no reason to fail.
    let _ = error.print();
    exit.into()
}
