//! A link between two network namespaces, emulated in user space: rate, delay, queue, seeded losses.
//!
//! ```text
//!   namespace a                    this process                     namespace b
//!   10.77.0.1 ── TUN ──▶ queue (rate, limit, losses) ─ delay ─▶ TUN ── 10.77.0.2     and the same back
//! ```
//!
//! It needs root and no kernel module but TUN. What it does with each packet follows from its options and their seed
//! alone; when it does it depends on the machine, like every emulation in user space: a few hundred microseconds of jitter.
//! Packets keep their order.

#![forbid(unsafe_code)]

mod forward;
mod options;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use bench_common::Result;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tun_rs::{DeviceBuilder, SyncDevice};

pub use forward::Counts;
pub use options::Options;

/// The packets' size limit, as on Ethernet.
const MTU: u16 = 1500;
/// The device's name in each namespace.
const DEVICE: &str = "hk0";

/// One end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where clients run.
    A,
    /// Where servers run.
    B,
}

impl End {
    /// Its address.
    pub fn address(self) -> &'static str {
        match self {
            Self::A => "10.77.0.1",
            Self::B => "10.77.0.2",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A link that is up. Dropping it removes the namespaces; its threads end with the process.
pub struct Link {
    names: [String; 2],
    counts: [Arc<Counts>; 2],
}

impl Link {
    /// Makes both namespaces and starts to forward.
    pub fn up(options: Options) -> Result<Self> {
        let names = ["a", "b"].map(|end| format!("hk-{}-{end}", std::process::id()));
        let link = Self { names, counts: Default::default() };
        let [a, b] = [End::A, End::B].map(|end| link.device(end));
        let (a, b) = (Arc::new(a?), Arc::new(b?));
        for (end, from, to) in [(End::A, &a, &b), (End::B, &b, &a)] {
            let counts = link.counts[end as usize].clone();
            forward::start(from.clone(), to.clone(), &options, end as u64, counts);
        }
        Ok(link)
    }

    /// A command that runs at one end.
    pub fn command(&self, end: End, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[end as usize]]).arg(program);
        command
    }

    /// What happened to the packets that this end sent.
    pub fn counts(&self, end: End) -> &Counts {
        &self.counts[end as usize]
    }

    /// The namespace of one end with its device, up and addressed.
    fn device(&self, end: End) -> Result<SyncDevice> {
        let name = self.names[end as usize].clone();
        run(&["netns", "add", &name])?;
        let namespace = File::open(format!("/run/netns/{name}"))?;
        // A thread of its own: a namespace belongs to a thread, and this one's is gone in a moment.
        let opened = thread::spawn(move || -> Result<SyncDevice> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(DeviceBuilder::new().name(DEVICE).mtu(MTU).offload(true).build_sync()?)
        });
        let device = opened.join().map_err(|_| "the thread that opens a device panicked")??;
        let (own, peer) = (end.address(), end.other().address());
        run(&["-n", &name, "addr", "replace", own, "peer", peer, "dev", DEVICE])?;
        run(&["-n", &name, "link", "set", DEVICE, "up"])?;
        run(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(device)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for name in &self.names {
            // It may not have been made.
            let _ = run(&["netns", "del", name]);
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ip {}: {}", arguments.join(" "), said.trim()).into());
    }
    Ok(())
}
