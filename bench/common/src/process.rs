//! Server and load processes, and how much processor time they took.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::Result;

/// Where a server listens, and what its clients have to trust.
#[derive(Clone)]
pub struct Ready {
    /// The socket address.
    pub address: SocketAddr,
    /// Whatever the peer's clients understand: a certificate, a pin, or `-`.
    pub trust: String,
}

/// A server process; it ends when this is dropped.
pub struct Served {
    child: Child,
    /// What it announced.
    pub ready: Ready,
}

/// Says on standard output where this server listens.
pub fn announce(address: SocketAddr, trust: &str) {
    println!("ready {address} {trust}");
    // Nobody reads on if that fails.
    let _ = std::io::stdout().flush();
}

/// Keeps a server whose tasks do the work from returning.
pub async fn signal_ready(address: SocketAddr, trust: &str) -> Result<()> {
    announce(address, trust);
    std::future::pending().await
}

/// Starts a server process and waits for its announcement.
pub fn serve(command: &mut Command) -> Result<Served> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    let mut words = line.split_whitespace().skip(1);
    let (Some(address), Some(trust)) = (words.next(), words.next()) else {
        return Err(format!("the server said {line:?}").into());
    };
    let ready = Ready { address: address.parse()?, trust: trust.to_owned() };
    Ok(Served { child, ready })
}

impl Served {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a load process of this same program and returns the numbers it prints.
pub fn load(arguments: &[String]) -> Result<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?)
        .arg("load")
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("load {} failed", arguments.join(" ")).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// User and system time of a process (`self` or a process id) so far, all its threads together.
pub fn cpu_seconds(pid: &str) -> Result<f64> {
    /// Linux counts in hundredths of a second for its users, whatever its own clock does.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in parentheses that may hold anything; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').ok_or("an unreadable stat file")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().ok_or("a short stat file")?.parse()?) };
    Ok((ticks()? + ticks()?) / TICKS)
}
