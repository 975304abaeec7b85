//! The task that moves bytes between a byte stream and its QMux state machine.
//!
//! It writes what the state machine wants to send whenever the stream takes it, and never reads ahead of nor waits
//! for an application: reading goes on whatever the streams do, as forward progress demands (QMux, "Forward
//! Progress"). Buffers belong to the thread, not to the connection: an idle connection holds none.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::Sleep;

use super::Shared;
use super::buffers::Buffers;
use super::waiting::WaitFor;
use super::wakers::Wait;
use crate::error::{Closed, ClosedBy};

/// Bytes taken from the state machine at once: eight full TLS records. More would deepen the queue ahead of chat.
const TRANSMIT_BUDGET: usize = 128 * 1024;
/// Rounds of reading and writing before other tasks of the thread get their turn.
const ROUNDS: usize = 8;
/// Bytes that make a turn a long one: after it the runtime looks at its sockets before the next.
const LONG_TURN: usize = 64 * 1024;
/// Bytes that make a turn a short one: it needs no more buffers than the one at hand.
const SHORT_TURN: usize = 16 * 1024;
/// How long a closed connection waits for the peer's own end.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

thread_local! {
    static READ_BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Driver<S> {
    io: S,
    shared: Arc<Shared>,
    /// Taken from the state machine, not yet by the byte stream.
    unsent: Vec<u8>,
    sent: usize,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Instant>,
    keep_alive: Option<KeepAlive>,
    phase: Phase,
    /// This turn was put off once already.
    gathering: bool,
    /// Bytes that the last turn moved, either way.
    moved: usize,
    /// When a closed connection stops waiting for its peer.
    give_up_at: Option<Instant>,
    /// The byte stream took no more in this turn.
    is_full: bool,
}

struct KeepAlive {
    every: Duration,
    next: Instant,
}

/// ```text
///   Open ──(closed, everything sent)──▶ ShuttingDown ──(our end is out)──▶ Draining ──(peer's end | 1 s)──▶ done
/// ```
#[derive(PartialEq, Eq, Clone, Copy)]
enum Phase {
    Open,
    ShuttingDown,
    Draining,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(io: S, shared: Arc<Shared>, keep_alive: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            io,
            shared,
            unsent: Vec::new(),
            sent: 0,
            timer: Box::pin(tokio::time::sleep(Duration::from_secs(3600))),
            timer_at: None,
            keep_alive: keep_alive.map(|every| KeepAlive { every, next: now + every }),
            phase: Phase::Open,
            gathering: false,
            moved: 0,
            give_up_at: None,
            is_full: false,
        }
    }

    /// One turn: as much reading and writing as the byte stream allows, then the timers. Reading never depends on
    /// what the application does with the streams.
    //= S2.23
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.moved = 0;
        let measured = self.shared.measured.load(Ordering::Relaxed);
        if measured {
            self.shared.lock().waiting.wait_for(None, Instant::now());
        }
        let done = self.exchange(cx);
        if measured {
            self.note_wait();
        }
        if self.moved < SHORT_TURN {
            READ_BUFFERS.with_borrow_mut(Buffers::rest);
        }
        done
    }

    /// Notes what bytes on their way out will wait for until the next turn.
    fn note_wait(&self) {
        let mut state = self.shared.lock();
        let what = match (self.is_full, state.wakers.count(Wait::Write) > 0) {
            (true, _) => Some(WaitFor::Socket),
            (false, true) => Some(WaitFor::Credit),
            (false, false) => None,
        };
        state.waiting.wait_for(what, Instant::now());
    }

    fn exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for round in 0.. {
            self.listen_for_wakers(cx);
            self.write(cx)?;
            let read = self.read(cx)?;
            if self.phase == Phase::Draining && read == Read::Ended {
                return Poll::Ready(Ok(()));
            }
            // Only what was read can have left something to write behind.
            if read != Read::Some {
                break;
            }
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.advance_close(cx)
    }

    /// Lets every task speak that is ready now, so that what they all say leaves in one write: whoever wakes this task
    /// would otherwise make it run next, before its neighbours. True when the turn is put off, which happens once.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        // Whoever has something to send takes the waker.
        let (asked, hurried) = {
            let mut state = self.shared.lock();
            (state.driver.is_none(), std::mem::take(&mut state.hurried))
        };
        let long = self.moved >= LONG_TURN;
        self.gathering = ((asked && !hurried) || long) && !self.gathering;
        match (self.gathering, long) {
            (true, true) => wake_after_sockets(cx),
            (true, false) => cx.waker().wake_by_ref(),
            (false, _) => {}
        }
        self.gathering
    }

    fn listen_for_wakers(&self, cx: &Context<'_>) {
        let mut state = self.shared.lock();
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
    }

    /// Returns whether anything was taken by the byte stream.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let (mut progress, mut drained) = (false, false);
        self.is_full = true;
        loop {
            while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut self.io).poll_write(cx, rest) {
                    Poll::Pending => return Ok(progress),
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => {
                        self.sent += count;
                        self.moved += count;
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                }
                progress = true;
            }
            self.return_write_buffer();
            // Only a flushed stream is asked to take more: what sits below cannot be overtaken any more.
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(flushed) => flushed?,
            }
            if self.phase != Phase::Open || drained || !self.transmit() {
                self.is_full = false;
                return Ok(progress);
            }
            // Less than was asked for is all there was; who adds to it wakes this task.
            drained = self.unsent.len() < TRANSMIT_BUDGET / 2;
        }
    }

    /// Takes the next records from the state machine; false when there are none.
    fn transmit(&mut self) -> bool {
        self.unsent = WRITE_BUFFER.take();
        let mut state = self.shared.lock();
        let some = state.connection.poll_transmit(Instant::now(), &mut self.unsent, TRANSMIT_BUDGET);
        self.shared.dispatch_events(&mut state);
        drop(state);
        if !some {
            self.return_write_buffer();
        }
        some
    }

    fn return_write_buffer(&mut self) {
        let mut buffer = std::mem::take(&mut self.unsent);
        self.sent = 0;
        if buffer.capacity() > 0 {
            buffer.clear();
            WRITE_BUFFER.set(buffer);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Read> {
        let mut buffer = READ_BUFFERS.with_borrow_mut(Buffers::take);
        let polled = pin!(self.io.read_buf(&mut buffer)).poll(cx);
        let result = match polled {
            Poll::Pending => Ok(Read::None),
            Poll::Ready(Ok(0)) => {
                let mut state = self.shared.lock();
                state.connection.handle_end(Instant::now());
                self.shared.dispatch_events(&mut state);
                Ok(Read::Ended)
            }
            Poll::Ready(Ok(count)) => {
                self.moved += count;
                let bytes = buffer.split().freeze();
                let mut state = self.shared.lock();
                state.connection.handle_input(Instant::now(), bytes);
                self.shared.dispatch_events(&mut state);
                Ok(Read::Some)
            }
            Poll::Ready(Err(error)) => Err(error),
        };
        READ_BUFFERS.with_borrow_mut(|buffers| buffers.put_back(buffer));
        result
    }

    /// Shuts the byte stream down once the state machine has nothing more to say, and waits a moment for the peer.
    ///
    /// The moment begins with the connection's end, whatever is still unsent: a peer that reads nothing must not keep
    /// the socket for ever.
    fn advance_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = Instant::now();
        if self.phase != Phase::Draining {
            let state = self.shared.lock();
            if self.give_up_at.is_none() && state.connection.close_reason().is_some() {
                self.give_up_at = Some(now + CLOSE_GRACE);
            }
            if self.phase == Phase::Open && self.unsent.is_empty() && state.connection.is_drained() {
                self.phase = Phase::ShuttingDown;
            }
        }
        if self.phase == Phase::ShuttingDown
            && let Poll::Ready(shut) = Pin::new(&mut self.io).poll_shutdown(cx)
        {
            shut?;
            self.phase = Phase::Draining;
            // The peer's end may have been read already.
            cx.waker().wake_by_ref();
        }
        self.poll_timers(cx, now)
    }

    /// Ready when a closed connection has waited long enough; otherwise the timer is set for what comes next.
    fn poll_timers(&mut self, cx: &mut Context<'_>, mut now: Instant) -> Poll<io::Result<()>> {
        loop {
            if self.give_up_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Ok(()));
            }
            let Some(next) = [self.run_timers(now), self.give_up_at].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            // Every record moves the idle timeout: a timer that rings too early is cheaper than one that is set anew
            // each time.
            let at = match self.timer_at.filter(|at| *at <= next) {
                // It knows this task already, and the time of day costs less than a look at it.
                Some(at) if tokio::time::Instant::now() < at.into() => return Poll::Pending,
                Some(at) => at,
                None => {
                    self.timer.as_mut().reset(next.into());
                    *self.timer_at.insert(next)
                }
            };
            // Out of the task's budget: where that is spent the timer would say Pending without knowing the task.
            ready!(pin!(tokio::task::unconstrained(self.timer.as_mut())).poll(cx));
            self.timer_at = None;
            // What is due may have something to send: one more turn. The timer's clock is the one that counts.
            now = now.max(at);
            cx.waker().wake_by_ref();
        }
    }

    fn run_timers(&mut self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.lock();
        if state.connection.poll_timeout().is_some_and(|at| at <= now) {
            state.connection.handle_timeout(now);
            self.shared.dispatch_events(&mut state);
        }
        let machine = state.connection.poll_timeout();
        if state.closed.is_some() {
            return machine;
        }
        let keep_alive = self.keep_alive.as_mut().map(|keep_alive| {
            if keep_alive.next <= now {
                state.connection.ping(now);
                keep_alive.next = now + keep_alive.every;
            }
            keep_alive.next
        });
        [machine, keep_alive].into_iter().flatten().min()
    }
}

/// Wakes this task once the runtime has looked at its sockets.
///
/// This task and one that feeds it wake each other, and tokio looks at sockets only after 61 such turns or when nobody
/// is ready: with 128 KiB in each of them an answer lay unread for 12 ms.
fn wake_after_sockets(cx: &mut Context<'_>) {
    // Its first poll leaves the waker with the runtime, and is never the last.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// What one read gave.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Read {
    Some,
    None,
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Driver<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.gather(cx) {
            return Poll::Pending;
        }
        let result = ready!(self.turn(cx));
        if let Err(error) = result {
            let mut state = self.shared.lock();
            if state.closed.is_none() {
                let reason = format!("the byte stream failed: {error}");
                self.shared.end_streams(&mut state, Closed::new(0, ClosedBy::Transport, reason));
            }
        }
        let mut state = self.shared.lock();
        state.connection.handle_end(Instant::now());
        self.shared.dispatch_events(&mut state);
        state.ended = true;
        self.shared.changed.notify_waiters();
        Poll::Ready(())
    }
}
