//! The TCP binding's shell: the QMux state machine of `hikyaku-mux`, a byte stream, and the wakers between them.
//!
//! One task per connection (the [`driver::Driver`]) owns the byte stream. The state machine itself sits behind a mutex
//! that stream handles lock for the length of one call and never across an await, as quinn does it: a channel to
//! the task would cost every small message two more wake-ups. Spec: chapter 2, "QMux on a byte stream".

mod buffers;
mod driver;
mod streams;
#[cfg(test)]
mod tests;
mod waiting;
mod wakers;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hikyaku_mux as qmux;
use qmux::{Dir, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::budget::Windows;
use crate::error::{Closed, ClosedBy};
use crate::limits::{Limits, unauthorised};
use crate::recording::{Tap, Tapped};
use crate::transport::{DatagramError, StreamError, Waits};
use waiting::Waiting;
use wakers::{Wait, Wakers};

pub(crate) use hikyaku_mux::Side;
pub(crate) use streams::{Done, MuxRecv, MuxSend};

/// Where who takes datagrams stands in [`State::takers`], behind the directions of streams.
const DATAGRAMS: usize = 2;

/// One QMux connection. Cloning shares it.
#[derive(Clone)]
pub(crate) struct MuxLink {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    remote: Option<SocketAddr>,
    openable: Notify,
    /// The connection has closed, its driver is gone, or an answer to a ping has come.
    changed: Notify,
    /// Somebody wants to know what bytes wait for.
    measured: AtomicBool,
}

struct State {
    connection: qmux::Connection,
    driver: Option<Waker>,
    /// What was written last is worth a write of its own: the driver does not wait for others.
    hurried: bool,
    wakers: Wakers,
    /// The tasks that wait for what the peer begins: streams by direction, and datagrams.
    takers: [Option<Waker>; 3],
    closed: Option<Closed>,
    /// The driver is gone; nothing will ever leave or arrive.
    ended: bool,
    rtt: Option<Duration>,
    /// Answers to pings so far.
    pongs: u32,
    waiting: Waiting,
}

impl MuxLink {
    /// Starts QMux on `io` and a task that drives it.
    pub(crate) fn spawn<S>(io: S, side: Side, limits: &Limits, remote: Option<SocketAddr>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = qmux::Connection::new(side, config(side, limits), Instant::now());
        let state = State {
            connection,
            driver: None,
            hurried: false,
            wakers: Wakers::default(),
            takers: Default::default(),
            closed: None,
            ended: false,
            rtt: None,
            pongs: 0,
            waiting: Waiting::default(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            remote,
            openable: Notify::new(),
            changed: Notify::new(),
            measured: AtomicBool::new(false),
        });
        let keep_alive = (side == Side::Client).then_some(limits.keep_alive);
        tokio::spawn(driver::Driver::new(io, shared.clone(), keep_alive));
        Self { shared }
    }

    /// The same, with a copy of all bytes for a recording.
    pub(crate) fn spawn_tapped<S>(
        io: S,
        side: Side,
        limits: &Limits,
        remote: Option<SocketAddr>,
        tap: Option<Tap>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match tap {
            None => Self::spawn(io, side, limits, remote),
            Some(tap) => Self::spawn(Tapped { io, tap }, side, limits, remote),
        }
    }

    pub(super) fn waits(&self) -> Waits {
        self.shared.measured.store(true, Ordering::Relaxed);
        self.shared.lock().waiting.read(Instant::now())
    }

    pub(super) async fn open_bi(&self) -> Result<(MuxSend, MuxRecv), Closed> {
        let id = self.open(Dir::Bi).await?;
        Ok((MuxSend::new(&self.shared, id), MuxRecv::new(&self.shared, id)))
    }

    pub(super) async fn open_uni(&self) -> Result<MuxSend, Closed> {
        Ok(MuxSend::new(&self.shared, self.open(Dir::Uni).await?))
    }

    pub(super) async fn accept_bi(&self) -> Result<(MuxSend, MuxRecv), Closed> {
        let id = poll_fn(|cx| self.poll_take(cx, index(Dir::Bi), |c| c.accept(Dir::Bi))).await?;
        Ok((MuxSend::new(&self.shared, id), MuxRecv::new(&self.shared, id)))
    }

    pub(super) async fn accept_uni(&self) -> Result<MuxRecv, Closed> {
        let id = poll_fn(|cx| self.poll_take(cx, index(Dir::Uni), |c| c.accept(Dir::Uni))).await?;
        Ok(MuxRecv::new(&self.shared, id))
    }

    pub(super) fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let mut state = self.shared.lock();
        if state.closed.is_some() {
            return Err(DatagramError::Closed);
        }
        let size = datagram.len();
        state.connection.send_datagram(datagram).map_err(|error| match error {
            qmux::DatagramError::TooLarge { max } => DatagramError::TooLarge { size, limit: max },
            qmux::DatagramError::Blocked => DatagramError::Blocked,
            _ => DatagramError::Unsupported,
        })?;
        state.wake_driver();
        Ok(())
    }

    pub(super) async fn receive_datagram(&self) -> Result<Bytes, Closed> {
        poll_fn(|cx| self.poll_take(cx, DATAGRAMS, qmux::Connection::recv_datagram)).await
    }

    pub(super) fn close(&self, code: u32, reason: &str) {
        let mut state = self.shared.lock();
        if state.closed.is_none() {
            state.connection.close(Instant::now(), code.into(), Bytes::copy_from_slice(reason.as_bytes()));
            self.shared
                .end_streams(&mut state, Closed::new(u64::from(code), ClosedBy::Us, reason.to_owned()));
            state.wake_driver();
        }
    }

    pub(super) async fn closed(&self) -> Closed {
        loop {
            let notified = self.shared.changed.notified();
            if let Some(closed) = self.close_reason() {
                return closed;
            }
            notified.await;
        }
    }

    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.shared.lock().closed.clone()
    }

    pub(super) async fn flushed(&self) {
        loop {
            let notified = self.shared.changed.notified();
            if self.shared.lock().ended {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn raise(&self, windows: Windows, bidirectional: u64, unidirectional: u64) {
        let mut state = self.shared.lock();
        state.connection.set_receive_window(windows.receive);
        state.connection.set_send_buffer_total(bytes(windows.send));
        state.connection.set_max_concurrent_streams(Dir::Bi, bidirectional);
        state.connection.set_max_concurrent_streams(Dir::Uni, unidirectional);
        state.wake_driver();
    }

    pub(super) fn widen(&self, window: u64) {
        let mut state = self.shared.lock();
        state.connection.set_receive_window(window);
        state.wake_driver();
    }

    pub(super) fn allow_exchanges(&self, exchanges: u64) {
        let mut state = self.shared.lock();
        state.connection.set_max_concurrent_streams(Dir::Bi, exchanges);
        state.wake_driver();
    }

    pub(super) fn widen_send(&self, window: u64) {
        self.shared.lock().connection.set_send_buffer_total(bytes(window));
    }

    /// Asks with QX_PING and waits for the answer.
    pub(super) async fn ping(&self) -> Result<Duration, Closed> {
        let before = {
            let mut state = self.shared.lock();
            state.connection.ping(Instant::now());
            state.wake_driver();
            state.pongs
        };
        loop {
            let notified = self.shared.changed.notified();
            {
                let state = self.shared.lock();
                if let (Some(rtt), true) = (state.rtt, state.pongs != before) {
                    return Ok(rtt);
                }
                if let Some(closed) = &state.closed {
                    return Err(closed.clone());
                }
            }
            notified.await;
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.shared.lock().rtt
    }

    pub(super) fn remote_address(&self) -> Option<SocketAddr> {
        self.shared.remote
    }

    async fn open(&self, dir: Dir) -> Result<StreamId, Closed> {
        self.wait(&self.shared.openable, |c| c.open(dir)).await
    }

    /// Takes what the peer began, or waits for it: one task at a time for each kind.
    fn poll_take<T>(
        &self,
        cx: &Context<'_>,
        kind: usize,
        take: impl FnOnce(&mut qmux::Connection) -> Option<T>,
    ) -> Poll<Result<T, Closed>> {
        let mut state = self.shared.lock();
        if let Some(taken) = take(&mut state.connection) {
            return Poll::Ready(Ok(taken));
        }
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        match &mut state.takers[kind] {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Tries `take` until it gives something or the connection ends; `notify` tells when to try again.
    async fn wait<T>(
        &self,
        notify: &Notify,
        mut take: impl FnMut(&mut qmux::Connection) -> Option<T>,
    ) -> Result<T, Closed> {
        loop {
            // Registered before the attempt, so that a wake-up between the two is not lost.
            let notified = notify.notified();
            {
                let mut state = self.shared.lock();
                if let Some(taken) = take(&mut state.connection) {
                    return Ok(taken);
                }
                if let Some(closed) = &state.closed {
                    return Err(closed.clone());
                }
            }
            notified.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held has already ended that task; the state machine keeps no half-made moves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for what just happened inside the state machine.
    fn dispatch_events(&self, state: &mut State) {
        while let Some(event) = state.connection.poll_event() {
            match event {
                qmux::Event::Opened(dir) => wake(state.takers[index(dir)].take()),
                qmux::Event::Available(_) => self.openable.notify_waiters(),
                qmux::Event::Readable(id) => state.wakers.wake(id, Wait::Read),
                qmux::Event::Writable(id) => state.wakers.wake(id, Wait::Write),
                qmux::Event::Stopped { id, .. } | qmux::Event::Finished(id) => {
                    state.wakers.wake(id, Wait::Write);
                    state.wakers.wake(id, Wait::End);
                }
                qmux::Event::Datagram => wake(state.takers[DATAGRAMS].take()),
                qmux::Event::Pong { rtt } => {
                    state.rtt = Some(rtt);
                    state.pongs = state.pongs.wrapping_add(1);
                    // Who waits for the end looks again, and so does who asked.
                    self.changed.notify_waiters();
                }
                qmux::Event::Closed(reason) => self.end_streams(state, Closed::from(reason)),
                _ => {}
            }
        }
    }

    /// Records how the connection ended and wakes everybody.
    fn end_streams(&self, state: &mut State, closed: Closed) {
        if state.closed.is_none() {
            state.closed = Some(closed);
        }
        state.wakers.wake_all();
        state.takers.iter_mut().for_each(|taker| wake(taker.take()));
        self.openable.notify_waiters();
        self.changed.notify_waiters();
    }
}

impl State {
    fn wake_driver(&mut self) {
        wake(self.driver.take());
    }

    /// Credit given back in small pieces is not worth a wake-up each: the state machine says when it is.
    fn wake_driver_for_credit(&mut self) {
        if self.connection.has_control_to_send() {
            self.wake_driver();
        }
    }

    /// The stream is unknown to the state machine: its connection is gone, or it was ended on this side.
    fn lost(&self) -> StreamError {
        self.closed.clone().map_or(StreamError::Ended, StreamError::Lost)
    }
}

impl From<qmux::CloseReason> for Closed {
    fn from(reason: qmux::CloseReason) -> Self {
        let text = |reason: &Bytes| String::from_utf8_lossy(reason).into_owned();
        match reason {
            qmux::CloseReason::Local { code, reason } => Self::new(code, ClosedBy::Us, text(&reason)),
            qmux::CloseReason::Application { code, reason } => Self::new(code, ClosedBy::Peer, text(&reason)),
            qmux::CloseReason::Idle => Self::new(0, ClosedBy::Idle, String::new()),
            qmux::CloseReason::TransportEnded => {
                Self::new(0, ClosedBy::Transport, "the byte stream ended without a close".into())
            }
            qmux::CloseReason::Transport { .. } => Self::new(0, ClosedBy::Transport, reason.to_string()),
        }
    }
}

/// Datagrams are offered by the state machine's own default.
//= S2.5
fn config(side: Side, limits: &Limits) -> qmux::Config {
    // A client has pinned its server; a server's peer is a stranger until it was looked up.
    let (window, exchanges, unidirectional) = match side {
        Side::Client => (limits.connection_window, limits.max_exchanges, limits.max_unidirectional),
        Side::Server => (unauthorised::WINDOW, unauthorised::EXCHANGES, unauthorised::UNIDIRECTIONAL),
    };
    let usual = qmux::Config::default();
    let send_buffer_total = match side {
        Side::Client => usual.send_buffer_total,
        Side::Server => bytes(unauthorised::WINDOW),
    };
    qmux::Config {
        send_buffer_total,
        receive_window: window,
        stream_receive_window: limits.stream_window,
        max_concurrent_bidi_streams: exchanges,
        max_concurrent_uni_streams: unidirectional,
        max_idle_timeout: Some(limits.idle_timeout),
        ..usual
    }
}

fn bytes(window: u64) -> usize {
    usize::try_from(window).unwrap_or(usize::MAX)
}

fn index(dir: Dir) -> usize {
    match dir {
        Dir::Bi => 0,
        Dir::Uni => 1,
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
