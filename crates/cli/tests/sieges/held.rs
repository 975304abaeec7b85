//! What a server process holds, as the kernel sees it.

use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Server};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Bytes of memory now and at most so far.
    pub(crate) memory: u64,
    pub(crate) peak: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
}

impl Held {
    pub(crate) fn by(server: &Server) -> Self {
        let process = format!("/proc/{}", server.program.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches(|symbol: char| !symbol.is_ascii_digit()).parse().unwrap()
        };
        Self {
            memory: field("VmRSS:") << 10,
            peak: field("VmHWM:") << 10,
            descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count(),
            threads: field("Threads:"),
        }
    }

    /// Waits until the server needs no more memory than it did a second ago: it has taken in all that was sent.
    pub(crate) fn at_its_worst(server: &Server) -> Self {
        let begun = Instant::now();
        let (mut held, mut steady) = (Self::by(server), 0);
        while steady < 5 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
            let now = Self::by(server);
            steady = if now.peak == held.peak { steady + 1 } else { 0 };
            held = now;
        }
        held
    }

    /// Waits until the server has let go of every connection that is not there any more.
    pub(crate) fn after_all(server: &Server, descriptors: usize) -> Self {
        let begun = Instant::now();
        loop {
            let held = Self::by(server);
            if held.descriptors <= descriptors {
                return held;
            }
            assert!(begun.elapsed() < PATIENCE, "{held:?}: {descriptors} descriptors were open before");
            // The server needs the processor more than this loop does.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// 64 MiB for the server, and for 2,000 attackers no more than makes 256 MiB of it.
pub(crate) fn allowed(attackers: usize) -> u64 {
    (64 << 20) + attackers as u64 * (96 << 10)
}
