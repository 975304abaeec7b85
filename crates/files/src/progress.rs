//! How far a transfer is and what it waits for, for whoever shows it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikyaku::Waits;
use hikyaku_wire::bundle::Reason;
use hikyaku_wire::files::Arrival;
use hikyaku_wire::parcel::TransferId;
use tokio::sync::watch;

use crate::pace::Pace;
use crate::pause::Full;
use crate::server::passages::Writing;

/// A moment of a transfer. Rates are for the one who looks: it knows when it looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The transfer, once it is known.
    pub transfer: Option<TransferId>,
    /// Where this attempt began: bytes before it were there already.
    pub from: u64,
    /// How far it is, from the beginning of the file.
    pub bytes: u64,
    /// The size, once it is known.
    pub total: Option<u64>,
    /// Of a parcel that is fetched while it is sent: how far its sender is.
    pub arrival: Option<Arrival>,
    /// How often the other side said so: it is alive, also when nothing moves.
    pub heard: u64,
    /// The receiver's disk is full, and it waits for room.
    pub paused: Option<Full>,
}

/// Something that is known of one entry of a tree while it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing<'a> {
    /// A regular file begins.
    Begins {
        /// Its path from the top, as bytes.
        path: &'a [u8],
        /// Its size in bytes.
        size: u64,
    },
    /// A regular file was passed.
    Passed {
        /// Its path from the top, as bytes.
        path: &'a [u8],
        /// Its size in bytes.
        size: u64,
        /// Why it is not carried, if it is not.
        failed: Option<Reason>,
    },
}

/// Told of every file of a tree while it passes, on the thread that reads or writes it.
pub type Observer = Arc<dyn Fn(Passing<'_>) + Send + Sync>;

/// Where a transfer says how far it is. Costs nothing when nobody looks.
#[derive(Clone)]
pub struct Progress {
    moments: watch::Sender<Moment>,
    meter: Meter,
    /// The work of the thread at this side's end of the pipe.
    local: Meter,
    pace: Option<Pace>,
    observer: Option<Observer>,
    /// The offset up to which files were told of: what is walked again after a break is not told again.
    told: Arc<AtomicU64>,
    /// How much the line took, and how long that took.
    line: Line,
    /// Those who read what is written are told too.
    readers: Option<Arc<Writing>>,
}

impl Progress {
    /// A progress and a view of it, to be looked at as often as somebody wants to know.
    ///
    /// [`watch::Receiver::changed`] tells of a beginning, a pause, a word of the other side, and not of bytes that have moved: to be
    /// woken by every block cost a sender a tenth of its processor time.
    pub fn new() -> (Self, watch::Receiver<Moment>) {
        let (moments, receiver) = watch::channel(Moment::default());
        let (meter, local, told) = (Meter::default(), Meter::default(), Arc::default());
        let line = Line::default();
        (Self { moments, meter, local, pace: None, observer: None, told, line, readers: None }, receiver)
    }

    /// A progress that nobody looks at.
    pub fn none() -> Self {
        Self::new().0
    }

    /// The same, and somebody is told of every file of a tree.
    #[must_use]
    pub fn observed(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same, and others read what is written.
    pub(crate) fn read_by(self, readers: Writing) -> Self {
        Self { readers: Some(Arc::new(readers)), ..self }
    }

    /// The same, and not faster than this.
    #[must_use]
    pub fn paced(mut self, pace: Option<Pace>) -> Self {
        self.pace = pace;
        self
    }

    /// What it waits for.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    pub(crate) fn local(&self) -> &Meter {
        &self.local
    }

    /// Whether anybody may want to know what it waits for.
    pub(crate) fn is_measured(&self) -> bool {
        self.moments.receiver_count() > 0
    }

    pub(crate) fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref()
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Tells of a file whose record ends at `offset` of the bundle, once.
    pub(crate) fn passing(&self, offset: u64, passing: Passing<'_>) {
        let Some(observer) = &self.observer else { return };
        let is_news = match passing {
            Passing::Begins { .. } => true,
            Passing::Passed { .. } => self.told.fetch_max(offset, Ordering::Relaxed) < offset,
        };
        if is_news {
            observer(passing);
        }
    }

    /// Tells of a file that is sent in this attempt alone: what came before is listed as there.
    pub(crate) fn passed(&self, passing: Passing<'_>) {
        if let Some(observer) = &self.observer {
            observer(passing);
        }
    }

    pub(crate) fn began(&self, transfer: TransferId, from: u64, total: Option<u64>) {
        self.moments.send_modify(|moment| {
            *moment = Moment { transfer: Some(transfer), from, bytes: from, total, paused: None, ..*moment };
        });
    }

    /// The receiver's disk is full, or has room again.
    pub(crate) fn paused(&self, full: Option<Full>) {
        self.moments.send_modify(|moment| moment.paused = full);
    }

    /// So many more bytes need not be sent: they are there already.
    pub(crate) fn skipped(&self, bytes: u64) {
        if bytes > 0 {
            self.moments.send_if_modified(|moment| {
                moment.from += bytes;
                moment.bytes += bytes;
                false
            });
        }
    }

    /// The other side says how far the sender of a parcel on its way is; `None`: it is not on its way.
    pub(crate) fn arrived(&self, arrival: impl Into<Option<Arrival>>) {
        let arrival = arrival.into();
        self.moments.send_modify(|moment| {
            (moment.arrival, moment.heard) = (arrival, moment.heard + 1);
        });
    }

    /// The other side is at work.
    pub(crate) fn heard(&self) {
        self.moments.send_modify(|moment| moment.heard += 1);
    }

    /// As it is now.
    pub(crate) fn moment(&self) -> Moment {
        *self.moments.borrow()
    }

    pub(crate) fn reached(&self, bytes: u64) {
        if let Some(readers) = &self.readers {
            readers.reach(bytes);
        }
        self.moments.send_if_modified(|moment| {
            moment.bytes = bytes;
            false
        });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("moment", &*self.moments.borrow()).finish_non_exhaustive()
    }
}

/// What the line takes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<[AtomicU64; 2]>);

impl Line {
    /// So many bytes were handed over, or came, in this time.
    pub(crate) fn passed(&self, bytes: u64, took: Duration) {
        self.0[0].fetch_add(bytes, Ordering::Relaxed);
        self.0[1].fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was handed over since this was asked last.
    pub(crate) fn taken(&self) -> (u64, Duration) {
        let [bytes, nanoseconds] = [&self.0[0], &self.0[1]].map(|count| count.swap(0, Ordering::Relaxed));
        (bytes, Duration::from_nanos(nanoseconds))
    }
}

/// What takes time in a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading and writing files on this side.
    Disk,
    /// Hashing and encrypting on this side.
    Cpu,
    /// The socket takes no more, or gives nothing.
    Network,
    /// The peer gives no credit: it does not take what has arrived.
    Peer,
    /// The network or the peer: from here they look the same.
    Remote,
    /// This side was asked to be slow.
    Pace,
}

impl Stage {
    const ALL: [Self; 6] = [Self::Disk, Self::Cpu, Self::Network, Self::Peer, Self::Remote, Self::Pace];
}

impl Stage {
    /// As it is told: part of the program's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Cpu => "CPU",
            Self::Network => "network",
            Self::Peer => "peer",
            Self::Remote => "network or peer",
            Self::Pace => "--limit-rate",
        }
    }
}

/// How long a transfer has waited for what, measured where it waits. Clones share it.
///
/// A transfer is a pipe with two ends, and is as fast as the slower one: the time in which the local end was waited for
/// is divided as its own work was, the time in which the remote end was waited for as the connection says.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<[AtomicU64; 6]>);

/// What a meter said at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading([Duration; 6]);

impl Meter {
    /// Adds time.
    pub(crate) fn add(&self, work: Stage, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0[work as usize].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Measures how long something takes.
    pub(crate) fn time<T>(&self, work: Stage, what: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = what();
        self.add(work, begun.elapsed());
        done
    }

    /// Divides a wait for the other end of the pipe as that end's own work was divided since `before`.
    pub(crate) fn share(&self, wait: Duration, of: &Self, before: &Reading) {
        let Reading(spent) = of.read().since(before);
        let total: Duration = spent.iter().sum();
        for (work, part) in Stage::ALL.into_iter().zip(spent) {
            if !total.is_zero() {
                self.add(work, wait.mul_f64(part.as_secs_f64() / total.as_secs_f64()));
            }
        }
    }

    /// Divides the time in which bytes were handed over as the connection says: what it did not wait was work.
    pub(crate) fn sent(&self, time: Duration, waits: Option<(Waits, Waits)>) {
        let Some((before, after)) = waits else { return self.add(Stage::Remote, time) };
        let socket = after.socket.saturating_sub(before.socket).min(time);
        let credit = after.credit.saturating_sub(before.credit).min(time - socket);
        self.add(Stage::Network, socket);
        self.add(Stage::Peer, credit);
        self.add(Stage::Cpu, time - socket - credit);
    }

    /// What it says now.
    pub fn read(&self) -> Reading {
        Reading(Stage::ALL.map(|work| Duration::from_nanos(self.0[work as usize].load(Ordering::Relaxed))))
    }
}

impl Reading {
    /// What was added after an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut parts = self.0;
        parts.iter_mut().zip(earlier.0).for_each(|(now, then)| *now = now.saturating_sub(then));
        Self(parts)
    }

    /// The time for one kind of work.
    pub fn of(&self, work: Stage) -> Duration {
        self.0[work as usize]
    }

    /// What took the most time; `None` when nothing took any.
    pub fn most(&self) -> Option<Stage> {
        Stage::ALL.into_iter().max_by_key(|work| self.of(*work)).filter(|work| !self.of(*work).is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_move_are_there_to_be_seen_and_wake_nobody() {
        let (progress, mut view) = Progress::new();
        progress.reached(7);
        progress.skipped(3);
        assert_eq!((view.borrow().bytes, view.borrow().from), (10, 3));
        assert!(!view.has_changed().unwrap(), "every block would wake whoever looks");
        progress.heard();
        assert!(view.has_changed().unwrap());
        view.mark_unchanged();
        progress.paused(Some(Full { needed: 1, free: 0, left: Duration::ZERO }));
        assert!(view.has_changed().unwrap());
    }

    #[test]
    fn what_is_waited_for_most_is_what_limits() {
        let meter = Meter::default();
        assert_eq!(meter.read().most(), None);
        meter.add(Stage::Disk, Duration::from_millis(5));
        meter.add(Stage::Peer, Duration::from_millis(7));
        let before = meter.read();
        assert_eq!(before.most(), Some(Stage::Peer));
        meter.add(Stage::Network, Duration::from_millis(1));
        assert_eq!(meter.read().since(&before).most(), Some(Stage::Network));
    }

    #[test]
    fn a_wait_for_the_other_end_is_divided_as_its_work_was() {
        let (end, meter) = (Meter::default(), Meter::default());
        let before = end.read();
        end.add(Stage::Disk, Duration::from_millis(30));
        end.add(Stage::Cpu, Duration::from_millis(10));
        meter.share(Duration::from_millis(8), &end, &before);
        let said = meter.read();
        assert_eq!(
            (said.of(Stage::Disk), said.of(Stage::Cpu)),
            (Duration::from_millis(6), Duration::from_millis(2))
        );
    }
}
