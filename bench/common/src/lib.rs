//! What every benchmark needs: a certificate, a server process, its processor time, medians and a table.
//!
//! A benchmark is one program in three roles. `run` starts the others: a `serve` process, which prints a
//! [`Ready`] line and then answers, and a `load` process, which asks and prints what it measured. Both ends are
//! processes of their own, so that the processor time of each can be told apart.

#![forbid(unsafe_code)]

mod process;
mod table;
mod tls;

pub use process::{Ready, Served, announce, cpu_seconds, load, serve, signal_ready};
pub use table::{Rows, median};
pub use tls::{Trust, identity};

/// Whatever may go wrong in a benchmark ends it.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Runs `work` as a task on one worker thread: each end of a benchmark has one core, as if it were alone with it.
pub fn on_one_thread<F: Future<Output = Result<()>> + Send + 'static>(work: F) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(async { tokio::spawn(work).await? })
}

/// The value of `--name VALUE` on the command line.
pub fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

/// The same as a number.
pub fn number(name: &str, default: usize) -> usize {
    option(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}
