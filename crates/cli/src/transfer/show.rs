//! Whoever watches a transfer: people see it drawn on a terminal, programs are told once a second.
//!
//! What limits it is what it waited for most in the last second, measured where it waits ([`hikyaku_files::Meter`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hikyaku_files::{Meter, Moment, Observer, Passing, Progress, Stage, escape};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::events::{self, Far};
use super::rate::{Rate, clock};
use super::rows::Rows;
use super::{Counted, LOOK_EVERY, pause};
use crate::event;
use crate::output;
use crate::screen::fit;
use crate::wrap::size_of;

/// How often programs are told, and what limits is looked at.
const TELL: Duration = Duration::from_secs(1);
/// The columns of a bar.
const BAR: usize = 12;
/// The most that is shown of a name beside a bar.
const MAX_NAME: usize = 30;
/// The steps of a bar.
const LENGTH: u64 = 10_000;
/// A transfer that has not moved for so long is shown as one that does not.
const STILL: Duration = Duration::from_secs(3);

/// What is watched.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// As people call it.
    pub(crate) name: String,
    /// How much there is, where the transfer does not know itself.
    pub(crate) counted: Option<Counted>,
    /// Whether the bytes go to this computer.
    pub(crate) here: bool,
}

/// Somebody watches a transfer, until this is dropped.
pub(crate) struct Watch {
    /// Whoever tells of pauses.
    telling: JoinHandle<()>,
    watched: Option<Watched>,
}

struct Watched {
    task: JoinHandle<()>,
    bars: Option<Bars>,
}

/// The files of a tree, as they pass.
#[derive(Debug, Default)]
struct Files {
    passed: AtomicU64,
    current: Mutex<Option<Current>>,
}

#[derive(Clone, Debug)]
struct Current {
    path: String,
    size: u64,
    /// How far the whole was when it began.
    at: u64,
}

impl Watch {
    /// Whether a person looks, so that it is worth counting beforehand.
    pub(crate) fn is_drawn(json: bool) -> bool {
        !json && output::is_watched()
    }

    /// Tells programs, or draws where a person looks. The progress is the one to transfer with.
    pub(crate) fn begin(
        json: bool,
        subject: Subject,
        progress: Progress,
        moments: watch::Receiver<Moment>,
    ) -> (Self, Progress) {
        let here = subject.here;
        if !json && !Self::is_drawn(json) {
            let telling = tokio::spawn(pause::tell(json, here, moments, output::note));
            return (Self { telling, watched: None }, progress);
        }
        let files = Arc::new(Files::default());
        let observer = files.observer(json, moments.clone());
        let bars = (!json).then(|| Bars::on(Rows::of_stderr()));
        let drawn = bars.clone();
        let say = move |line: String| drawn.iter().for_each(|bars| bars.say(&line));
        let telling = tokio::spawn(pause::tell(json, here, moments.clone(), say));
        let view = View {
            subject,
            meter: progress.meter().clone(),
            moments,
            files,
            rate: Rate::default(),
            before: Default::default(),
            limit: None,
            moved: (Instant::now(), 0),
        };
        let task = tokio::spawn(view.run(bars.clone()));
        (Self { telling, watched: Some(Watched { task, bars }) }, progress.observed(observer))
    }

    /// Takes the drawing away: what follows says how it ended.
    pub(crate) fn finish(self) {}
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.telling.abort();
        if let Some(watched) = self.watched.take() {
            watched.task.abort();
            if let Some(bars) = watched.bars {
                bars.clear();
            }
        }
    }
}

impl Files {
    fn observer(self: &Arc<Self>, json: bool, moments: watch::Receiver<Moment>) -> Observer {
        let files = self.clone();
        Arc::new(move |passing| {
            if json {
                events::passing(passing);
            }
            match passing {
                Passing::Begins { path, size } => {
                    let (path, at) = (escape(path).to_string(), moments.borrow().bytes);
                    *files.current() = Some(Current { path, size, at });
                }
                Passing::Passed { .. } => {
                    files.passed.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines on a terminal: of a tree the file that is passing, and the whole.
#[derive(Clone)]
pub(super) struct Bars {
    rows: Rows,
    all: MultiProgress,
    file: Arc<OnceLock<ProgressBar>>,
    whole: ProgressBar,
}

impl Bars {
    /// Bars on rows of their own.
    pub(super) fn on(rows: Rows) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(rows.clone())));
        let whole = all.add(bar("{bar:12} {msg}"));
        Self { rows, all, file: Arc::default(), whole }
    }

    pub(super) fn draw(&self, file: Option<String>, whole: String, share: Option<f64>) {
        if let Some(file) = file {
            let line = self.file.get_or_init(|| self.all.insert_before(&self.whole, bar("{msg}")));
            line.set_message(cut(&file, 0));
        }
        self.whole.set_position((share.unwrap_or(0.0) * LENGTH as f64) as u64);
        self.whole.set_message(cut(&whole, BAR + 1));
    }

    /// A line that stays, above.
    pub(super) fn say(&self, line: &str) {
        // Nobody looking is no reason to fail.
        let _ = self.all.println(line);
    }

    pub(super) fn clear(self) {
        if let Some(file) = self.file.get() {
            file.finish_and_clear();
        }
        self.whole.finish_and_clear();
        // Nobody looking is no reason to fail.
        let _ = self.all.clear();
        let _ = self.rows.end();
    }
}

/// As much of a line as has room on the terminal beside `used` columns, and beside the `^C` that a terminal puts behind
/// it: a line that went on in the next row would not be taken away.
fn cut(line: &str, used: usize) -> String {
    let columns = size_of(std::io::stderr()).0.saturating_sub(used + 4);
    fit(line, columns).trim_end().to_owned()
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::new(LENGTH).with_style(style)
}

/// Looks at a transfer again and again.
struct View {
    subject: Subject,
    meter: Meter,
    moments: watch::Receiver<Moment>,
    files: Arc<Files>,
    rate: Rate,
    before: hikyaku_files::progress::Reading,
    limit: Option<Stage>,
    /// When it moved last, and to where.
    moved: (Instant, u64),
}

impl View {
    async fn run(mut self, bars: Option<Bars>) {
        let (mut looked, every) = (Instant::now(), if bars.is_some() { LOOK_EVERY } else { TELL });
        loop {
            tokio::time::sleep(every).await;
            let (now, moment) = (Instant::now(), *self.moments.borrow());
            self.rate.note(now, moment.bytes);
            if moment.bytes != self.moved.1 {
                self.moved = (now, moment.bytes);
            }
            if now.duration_since(looked) >= TELL {
                let spent = self.meter.read();
                (self.limit, self.before, looked) = (spent.since(&self.before).most(), spent, now);
            }
            match &bars {
                None if moment.transfer.is_some() => events::far(&self.far(moment)),
                None => {}
                Some(bars) => {
                    let share = self.total(moment).map(|total| share(moment.bytes, total));
                    bars.draw(self.file(moment), self.whole(moment, now), share);
                }
            }
        }
    }

    fn total(&self, moment: Moment) -> Option<u64> {
        let counted = || self.subject.counted.as_ref()?.total();
        moment.total.or_else(|| Some(counted()?.0.max(moment.bytes)))
    }

    fn far(&self, moment: Moment) -> Far {
        let total = self.total(moment);
        let remaining = total.and_then(|total| self.rate.remaining(moment.bytes, total));
        Far {
            bytes: moment.bytes,
            from: moment.from,
            total,
            files: self.files.passed.load(Ordering::Relaxed),
            rate: self.rate.per_second(),
            eta: remaining.map(|time| time.as_secs()),
            limit: moment.paused.map_or_else(|| self.limit.map(Stage::name), |_| Some("full disk")),
            arrived: moment.arrival.map(|arrival| arrival.bytes),
            sending: moment.arrival.map(|arrival| arrival.sending),
        }
    }

    fn file(&self, moment: Moment) -> Option<String> {
        let current = self.files.current().clone()?;
        let done = moment.bytes.saturating_sub(current.at).min(current.size);
        let size = event::bytes(current.size);
        Some(match current.size {
            0..1_000_000 => format!("{}  {size}", current.path),
            total => format!(
                "{}  {} of {size}  {:.0} %",
                current.path,
                event::bytes(done),
                share(done, total) * 100.0
            ),
        })
    }

    /// What matters most comes first: a narrow terminal cuts the rest.
    fn whole(&self, moment: Moment, now: Instant) -> String {
        let mut parts = vec![self.subject.name.chars().take(MAX_NAME).collect()];
        if moment.transfer.is_none() {
            parts.push("connecting".to_owned());
            return parts.join("  ");
        }
        let total = self.total(moment);
        parts.extend(total.map(|total| format!("{:.0} %", share(moment.bytes, total) * 100.0)));
        let still = now.duration_since(self.moved.0);
        let ahead = moment.arrival.filter(|arrival| arrival.bytes > moment.bytes);
        if let Some(full) = moment.paused {
            parts.push(pause::sentence(self.subject.here, full));
        } else if let Some(arrival) =
            moment.arrival.filter(|arrival| arrival.bytes <= moment.bytes && still >= STILL)
        {
            parts.push(match arrival.sending {
                true => "waiting for the sender".to_owned(),
                false => "waiting for the sender, who is away".to_owned(),
            });
        } else if still >= STILL {
            parts.push(format!("nothing has moved for {} s", still.as_secs()));
        } else {
            parts.extend(self.rate.per_second().map(|rate| format!("{}/s", event::bytes(rate))));
            let time = total.and_then(|total| self.rate.remaining(moment.bytes, total));
            parts.extend(time.map(|time| format!("{} left", clock(time))));
            parts.extend(self.limit.map(|limit| format!("limited by {}", limit.name())));
        }
        let about = if moment.total.is_some() { "" } else { "~" };
        let of = total.map(|total| format!(" of {about}{}", event::bytes(total)));
        parts.push(format!("{}{}", event::bytes(moment.bytes), of.unwrap_or_default()));
        parts.extend(ahead.map(|arrival| {
            let at = if arrival.sending { "is at" } else { "is away, at" };
            format!("the sender {at} {}", event::bytes(arrival.bytes))
        }));
        let passed = self.files.passed.load(Ordering::Relaxed);
        match self.subject.counted.as_ref().and_then(Counted::total) {
            Some((_, files)) => parts.push(format!("{passed} of {files} files")),
            None if passed > 0 => parts.push(format!("{passed} files")),
            None => {}
        }
        parts.join("  ")
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part.min(whole) as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_files::Full;
    use hikyaku_wire::parcel::TransferId;

    fn view(moment: Moment) -> View {
        let (_, moments) = watch::channel(moment);
        View {
            subject: Subject { name: "big.iso".into(), counted: None, here: false },
            meter: Meter::default(),
            moments,
            files: Arc::default(),
            rate: Rate::default(),
            before: Default::default(),
            limit: Some(Stage::Disk),
            moved: (Instant::now(), 0),
        }
    }

    #[test]
    fn a_line_says_how_far_how_fast_how_long_and_what_limits() {
        let transfer = Some(TransferId([1; 16]));
        let moment =
            Moment { transfer, from: 0, bytes: 50 << 20, total: Some(200 << 20), ..Moment::default() };
        let (mut view, now) = (view(moment), Instant::now());
        assert_eq!(view.whole(Moment::default(), now), "big.iso  connecting");
        view.rate.note(now, 0);
        let later = now + Duration::from_secs(2);
        view.rate.note(later, 50 << 20);
        view.moved = (later, 50 << 20);
        let line = view.whole(moment, later);
        assert_eq!(line, "big.iso  25 %  25.00 MiB/s  0:06 left  limited by disk  50.00 MiB of 200.00 MiB");
        let line = view.whole(moment, later + Duration::from_secs(8));
        assert_eq!(line, "big.iso  25 %  nothing has moved for 8 s  50.00 MiB of 200.00 MiB");
        let full = Full { needed: 65_536, free: 512, left: Duration::from_secs(75) };
        let paused = Moment { paused: Some(full), ..moment };
        let line = view.whole(paused, later + Duration::from_secs(8));
        let told = "paused: the receiver's disk is full, 65536 bytes needed (512 free); waiting 1:15 more";
        assert_eq!(line, format!("big.iso  25 %  {told}  50.00 MiB of 200.00 MiB"));
        assert_eq!(view.far(paused).limit, Some("full disk"));
    }

    #[test]
    fn a_parcel_on_its_way_shows_both_ends_and_for_whom_it_waits() {
        let transfer = Some(TransferId([1; 16]));
        let arrival = |bytes, sending| Some(hikyaku_wire::files::Arrival { bytes, sending });
        let moment = Moment { transfer, bytes: 50 << 20, total: Some(200 << 20), ..Moment::default() };
        let (mut view, now) = (view(moment), Instant::now());
        (view.limit, view.moved.0) = (None, now);
        let at = |arrival, later| view.whole(Moment { arrival, ..moment }, now + Duration::from_secs(later));
        let far = "big.iso  25 %  50.00 MiB of 200.00 MiB";
        assert_eq!(at(arrival(80 << 20, true), 0), format!("{far}  the sender is at 80.00 MiB"));
        assert_eq!(at(arrival(80 << 20, false), 0), format!("{far}  the sender is away, at 80.00 MiB"));
        assert_eq!(at(arrival(50 << 20, true), 0), far);
        let waits = at(arrival(50 << 20, false), 9);
        assert_eq!(waits, "big.iso  25 %  waiting for the sender, who is away  50.00 MiB of 200.00 MiB");
    }

    #[test]
    fn a_name_cannot_draw_on_the_terminal() {
        let view = view(Moment::default());
        let observer = view.files.observer(false, view.moments.clone());
        observer(Passing::Begins { path: b"a\x1b[2J\n\xff", size: 3 });
        assert_eq!(view.file(Moment::default()).unwrap(), r"a\u{1b}[2J\n\xff  3 B");
    }
}
