//! A disk that is full for a while: the receiver waits and says so, instead of failing.
//!
//! `Pause` is the rule, pure: when to tell, when to try again, when to give up. `Waiting` is its shell on the thread
//! that writes: it tries the same call to the disk again until there is room, the time is over, or nobody sends any more.
//! Nothing is lost by waiting: what was verified is there, and the sender stops because nobody takes its bytes. A call that
//! makes bytes durable is never tried again: what it lost, no later one tells. Spec: S5.26.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::{Answer, Paused};
use hikyaku_wire::parcel::TransferId;
use tokio::sync::mpsc;

use crate::error::{FilesError, Result};
use crate::progress::Progress;

/// How long room is waited for, unless it is said.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How often room is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How often the other side is told that it is still so.
//= S5.26
pub(crate) const REPEAT: Duration = Duration::from_secs(10);
/// What is asked for where nobody knows how much is needed: a directory, a journal.
const LITTLE: u64 = 64 * 1024;

/// What a full disk lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes that must be free to go on.
    pub needed: u64,
    /// Bytes that are free for it.
    pub free: u64,
    /// How much longer it is waited for.
    pub left: Duration,
}

/// The rule of waiting.
#[derive(Debug)]
struct Pause {
    patience: Duration,
    since: Option<Instant>,
    told: Option<Instant>,
}

/// What to do about a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Tell this, then wait and try again.
    Tell(Full),
    /// Wait and try again.
    Wait,
    /// It took too long.
    Over,
}

impl Pause {
    fn new(patience: Duration) -> Self {
        Self { patience, since: None, told: None }
    }

    /// There is no room.
    fn full(&mut self, now: Instant, needed: u64, free: u64) -> Turn {
        let since = *self.since.get_or_insert(now);
        let left = self.patience.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() {
            return Turn::Over;
        }
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= REPEAT);
        if is_due { Turn::Tell(Full { needed: needed.max(LITTLE), free, left }) } else { Turn::Wait }
    }

    /// The other side has been told.
    fn told(&mut self, now: Instant) {
        self.told = Some(now);
    }

    /// There is room; whether the other side is to be told of it.
    fn room(&mut self) -> bool {
        self.since = None;
        self.told.take().is_some()
    }
}

/// What a wait needs of the world.
pub(crate) trait Around: Send {
    fn now(&self) -> Instant;
    fn wait(&mut self, time: Duration);
    /// Tells both sides, of a full disk or that it goes on; `false` when the other side could not be told now.
    fn tell(&mut self, full: Option<Full>) -> bool;
    /// Whether somebody still wants it done here.
    fn is_wanted(&self) -> bool;
}

/// Tries what the disk has no room for again, as long as it makes sense.
pub(crate) struct Waiting {
    pause: Pause,
    around: Box<dyn Around>,
}

impl Waiting {
    /// For a transfer whose thread tells through `to`, and stops when it is [`Gone`].
    pub(crate) fn new(
        transfer: TransferId,
        patience: Duration,
        to: mpsc::Sender<Answer>,
        gone: Gone,
        progress: Progress,
    ) -> Self {
        Self::amid(patience, Box::new(Here { transfer, to, gone, progress }))
    }

    pub(crate) fn amid(patience: Duration, around: Box<dyn Around>) -> Self {
        Self { pause: Pause::new(patience), around }
    }

    /// Waits for nothing.
    pub(crate) fn none() -> Self {
        Self::amid(Duration::ZERO, Box::new(Nowhere))
    }

    /// Tries until there is room. `attempt` must be able to be made again after it found none.
    //= S5.26
    pub(crate) fn until_room<T>(&mut self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            let error = match attempt() {
                Err(error) => error,
                done => {
                    if self.pause.room() {
                        self.around.tell(None);
                    }
                    return done;
                }
            };
            let FilesError::Vault(VaultError::Full { free, needed }) = error else { return Err(error) };
            match self.pause.full(self.around.now(), needed, free) {
                _ if !self.around.is_wanted() => return Err(error),
                Turn::Over => return Err(error),
                Turn::Tell(full) if self.around.tell(Some(full)) => self.pause.told(self.around.now()),
                Turn::Tell(_) | Turn::Wait => {}
            }
            self.around.wait(LOOK);
        }
    }
}

/// Says that a transfer goes on elsewhere, or not at all. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<AtomicBool>);

impl Gone {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when this is dropped.
    pub(crate) fn on_drop(&self) -> GoneWithThis {
        GoneWithThis(self.clone())
    }
}

/// Whoever waits for a thread: when he stops waiting, the thread stops, too.
#[derive(Debug)]
pub(crate) struct GoneWithThis(Gone);

impl Drop for GoneWithThis {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// A thread that writes what a peer sends.
struct Here {
    transfer: TransferId,
    to: mpsc::Sender<Answer>,
    gone: Gone,
    progress: Progress,
}

impl Around for Here {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn tell(&mut self, full: Option<Full>) -> bool {
        let transfer = self.transfer;
        match full {
            Some(Full { needed, free, left }) => {
                let left = left.as_secs();
                tracing::warn!(%transfer, needed, free, left, "the disk is full: a transfer waits for room");
            }
            None => tracing::info!(%transfer, "there is room again: the transfer goes on"),
        }
        self.progress.paused(full);
        // This thread never waits for the network: who cannot be told now is told the next time.
        self.to.try_send(Answer::Paused(said(transfer, full))).is_ok()
    }

    fn is_wanted(&self) -> bool {
        !self.gone.0.load(Ordering::Relaxed)
    }
}

/// Where nobody waits.
struct Nowhere;

impl Around for Nowhere {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&mut self, _: Duration) {}

    fn tell(&mut self, _: Option<Full>) -> bool {
        true
    }

    fn is_wanted(&self) -> bool {
        false
    }
}

/// What a peer is told of this side's disk.
fn said(transfer: TransferId, full: Option<Full>) -> Paused {
    let left_ms = |full: Full| u64::try_from(full.left.as_millis()).unwrap_or(u64::MAX);
    Paused {
        transfer,
        needed: full.map(|full| full.needed),
        free: full.map(|full| full.free),
        left_ms: full.map(left_ms),
    }
}

/// What a peer has said of its disk; `None` when it goes on.
pub(crate) fn heard(paused: &Paused) -> Option<Full> {
    let left = Duration::from_millis(paused.left_ms.unwrap_or(0));
    paused.needed.map(|needed| Full { needed, free: paused.free.unwrap_or(0), left })
}

#[cfg(test)]
pub(crate) mod tests;
