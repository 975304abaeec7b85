//! A transfer that waits for room on a full disk: how long it may, and who is told.

use std::time::Duration;

use clap::Args;
use hikyaku_files::{Full, Moment};
use serde::Serialize;
use tokio::sync::watch;

use super::events;
use super::rate::clock;
use crate::args::duration;

/// How long a full disk is waited for.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Pausing {
    /// How long to wait for room when the receiver's disk gets full: 90s, 10m, 24h [default: as long as the receiver
    /// does; 10m where that is this computer]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) pause_timeout: Option<Duration>,
}

/// What programs are told of a full disk.
#[derive(Serialize)]
struct Paused {
    disk: &'static str,
    needed: u64,
    free: u64,
    left: u64,
}

#[derive(Serialize)]
struct Resumed {}

/// Tells of every pause and of its end, until the transfer is over: programs on standard output, people through `say`.
pub(super) async fn tell(json: bool, here: bool, mut moments: watch::Receiver<Moment>, say: impl Fn(String)) {
    let mut was = false;
    while moments.changed().await.is_ok() {
        let paused = moments.borrow_and_update().paused;
        if paused.is_some() == was {
            continue;
        }
        was = paused.is_some();
        match (json, paused) {
            (true, Some(Full { needed, free, left })) => {
                let disk = if here { "here" } else { "receiver" };
                events::told("paused", Paused { disk, needed, free, left: left.as_secs() });
            }
            (true, None) => events::told("resumed", Resumed {}),
            (false, Some(full)) => say(sentence(here, full)),
            (false, None) => say("there is room again: the transfer goes on".to_owned()),
        }
    }
}

/// Why nothing moves, for people.
pub(super) fn sentence(here: bool, full: Full) -> String {
    let whose = if here { "the disk here" } else { "the receiver's disk" };
    let Full { needed, free, left } = full;
    format!("paused: {whose} is full, {needed} bytes needed ({free} free); waiting {} more", clock(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_is_told_once_and_so_is_its_end() {
        let (sender, moments) = watch::channel(Moment::default());
        let said = std::cell::RefCell::new(Vec::new());
        let telling = tell(false, false, moments, |line| said.borrow_mut().push(line));
        let full = Full { needed: 524_288, free: 4_096, left: Duration::from_secs(600) };
        let changing = async {
            for paused in [None, Some(full), Some(Full { free: 0, ..full }), None, None] {
                sender.send_modify(|moment| moment.paused = paused);
                tokio::task::yield_now().await;
            }
            drop(sender);
        };
        tokio::join!(telling, changing);
        let expected = [
            "paused: the receiver's disk is full, 524288 bytes needed (4096 free); waiting 10:00 more",
            "there is room again: the transfer goes on",
        ];
        assert_eq!(*said.borrow(), expected);
        assert!(sentence(true, full).starts_with("paused: the disk here is full, 524288 bytes needed"));
    }
}
