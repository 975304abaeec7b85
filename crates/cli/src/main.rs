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

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let filter = EnvFilter::try_from_env("HIKYAKU_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = match runtime(&cli.command) {
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

/// What a command runs on: in a client one thread, beside those that hash and write. A second one that has nothing to do would
/// be woken for every packet, and take the connection over. `TOKIO_WORKER_THREADS` says otherwise.
fn runtime(command: &Command) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    let is_client = !matches!(command, Command::Serve(_) | Command::Tour(_));
    if is_client && std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

/// Help and version go to standard output and are a success; everything else is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // Nobody reading is no reason to fail.
    let _ = error.print();
    exit.into()
}
