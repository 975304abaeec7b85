//! The connection: its parts, its clock, its end. What arrives is in `receive`, what leaves in `transmit`, what the
//! application does to streams and datagrams in `application`.

mod application;
#[cfg(test)]
mod inspect;
mod receive;
mod transmit;

use crate::datagrams;
use crate::flood::Flood;
use crate::flow::{Credit, Window};
use crate::frame::ConnectionClose;
use crate::idle::Idle;
use crate::notices::Notices;
use crate::parameters::{DEFAULT_MAX_RECORD_SIZE, Parameters};
use crate::pings::Pings;
use crate::record::Reader;
use crate::schedule::Schedule;
use crate::stream::{Map, Pending};
use crate::streams::{Local, Remote};
use crate::violation::Violation;
use crate::{CloseReason, Config, Event, Side, StreamId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

/// One QMux connection, without its transport.
///
/// Methods are of four kinds: `handle_*` bring what happened outside, `poll_*` fetch what must happen outside, the
/// others are the application's. None of them blocks, and none but `handle_*` and `close` ends the connection.
///
/// The application ends every direction of every stream: `finish` or `reset` what it sends, read to the end (or to
/// the reset) or `stop` what it receives. Until then the stream exists and counts against the peer's limit.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Connection {
    side: Side,
    config: Config,
    /// What the peer declared; `None` until it has.
    peer: Option<Box<Parameters>>,
    /// Whether this side's own parameters were taken by `poll_transmit`.
    introduced: bool,
    reader: Reader,
    streams: Map,
    /// Streams with bytes to send and credit for them.
    schedule: Schedule,
    /// Streams with control frames to send.
    pending: VecDeque<StreamId>,
    /// Streams of this side and of the peer, by direction.
    local: [Local; 2],
    remote: [Remote; 2],
    /// Bytes that the peer may send, and that this side may, on all streams together.
    window: Window,
    credit: Credit,
    datagrams_out: datagrams::Queue,
    datagrams_in: datagrams::Queue,
    datagrams_dropped: u64,
    datagrams_blocked: bool,
    pings: Pings,
    idle: Idle,
    flood: Flood,
    notices: Notices,
    /// What the send buffers of all streams hold.
    unsent: usize,
    /// Why it is over. Boxed, like what the peer declared: most connections are idle, none is often closed.
    closed: Option<Box<Closed>>,
}

/// The end of a connection.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Closed {
    reason: CloseReason,
    /// CONNECTION_CLOSE waits to be taken by `poll_transmit`.
    unsent: bool,
    /// `Event::Closed` waits to be taken by `poll_event`.
    unheard: bool,
}

impl Connection {
    /// A connection whose transport has just become available.
    pub fn new(side: Side, config: Config, now: Instant) -> Self {
        Self {
            side,
            peer: None,
            introduced: false,
            reader: Reader::default(),
            streams: Map::new(),
            schedule: Schedule::default(),
            pending: VecDeque::new(),
            local: [Local::default(), Local::default()],
            remote: [
                Remote::new(config.max_concurrent_bidi_streams),
                Remote::new(config.max_concurrent_uni_streams),
            ],
            window: Window::new(config.receive_window),
            credit: Credit::default(),
            datagrams_out: datagrams::Queue::default(),
            datagrams_in: datagrams::Queue::default(),
            datagrams_dropped: 0,
            datagrams_blocked: false,
            pings: Pings::default(),
            idle: Idle::new(config.max_idle_timeout, now),
            flood: Flood::new(now),
            notices: Notices::default(),
            unsent: 0,
            closed: None,
            config,
        }
    }

    /// Which endpoint this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// How many streams are alive, of both sides.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The transport ended: nothing more can be received.
    ///
    /// What arrived before can still be accepted and read.
    //= S2.33
    pub fn handle_end(&mut self, _now: Instant) {
        self.end(CloseReason::TransportEnded, false);
    }

    /// When [`Connection::handle_timeout`] wants to be called, if nothing else happens. Poll it after each call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed.is_some() { None } else { self.idle.deadline() }
    }

    /// The time asked for by [`Connection::poll_timeout`] has come. Harmless when it has not.
    pub fn handle_timeout(&mut self, now: Instant) {
        //= S2.32
        if self.idle.deadline().is_some_and(|deadline| now >= deadline) {
            // Draft §7.2: "When the idle timeout expires, an endpoint gracefully shuts down its sending side of the
            // underlying transport. The endpoint does not send any QMux frames".
            self.end(CloseReason::Idle, false);
        }
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.notices.pop() {
            return Some(event);
        }
        let closed = self.closed.as_deref_mut()?;
        std::mem::take(&mut closed.unheard).then(|| Event::Closed(closed.reason.clone()))
    }

    /// Asks the peer for a sign of life; `Event::Pong` follows. Pings not yet sent are one ping.
    pub fn ping(&mut self, _now: Instant) {
        self.pings.ask();
    }

    /// Closes the connection at once: streams end, what is buffered is dropped, the peer is told `code` and at most
    /// 1,024 bytes of `reason`.
    ///
    /// # Panics
    /// If `code` exceeds 2^62 − 1: the application chooses it.
    pub fn close(&mut self, _now: Instant, code: u64, mut reason: Bytes) {
        assert!(code <= hikyaku_wire::varint::MAX, "application codes are below 2^62");
        reason.truncate(ConnectionClose::MAX_REASON);
        self.end(CloseReason::Local { code, reason }, true);
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_deref().map(|closed| &closed.reason)
    }

    /// Whether the connection is over and everything that must be written was taken by `poll_transmit`:
    /// the shell may shut the transport's sending side down.
    pub fn is_drained(&self) -> bool {
        self.closed.as_deref().is_some_and(|closed| !closed.unsent)
    }

    /// The peer broke a rule: it is told which, and the connection is over.
    fn fail(&mut self, violation: Violation) {
        let reason = CloseReason::Transport {
            code: violation.code,
            frame_type: violation.frame_type,
            reason: Bytes::from(violation.reason.into_owned()),
            local: true,
        };
        self.end(reason, true);
    }

    /// The connection is over; only the first reason counts. `tell`: CONNECTION_CLOSE must go out.
    fn end(&mut self, reason: CloseReason, tell: bool) {
        if self.closed.is_some() {
            return;
        }
        // What the peer sent in good order before it left can still be read; after a violation or our own close
        // nobody wants it.
        let readable = !tell;
        self.streams.retain(|_, stream| {
            stream.send = None;
            stream.pending = Pending::default();
            readable && stream.recv.as_ref().is_some_and(|recv| !recv.is_worthless())
        });
        self.unsent = 0;
        self.schedule.clear();
        self.pending = VecDeque::new();
        self.datagrams_out = datagrams::Queue::default();
        self.notices = Notices::default();
        self.reader = Reader::default();
        self.closed = Some(Box::new(Closed { reason, unsent: tell, unheard: true }));
    }

    /// What this side declares. The windows that may be raised later are declared as they are now.
    fn own_parameters(&self) -> Parameters {
        let stream_window = self.config.stream_receive_window.min(hikyaku_wire::varint::MAX);
        let idle = self.config.max_idle_timeout.map_or(0, |timeout| timeout.as_millis().max(1));
        let datagram = self.config.datagram_receive_buffer.map_or(0, |buffer| buffer as u64);
        Parameters {
            max_idle_timeout: u64::try_from(idle).unwrap_or(u64::MAX).min(hikyaku_wire::varint::MAX),
            initial_max_data: self.window.advertised(),
            initial_max_stream_data_bidi_local: stream_window,
            initial_max_stream_data_bidi_remote: stream_window,
            initial_max_stream_data_uni: stream_window,
            initial_max_streams_bidi: self.remote[0].advertised(),
            initial_max_streams_uni: self.remote[1].advertised(),
            max_datagram_frame_size: datagram.min(DEFAULT_MAX_RECORD_SIZE),
            max_record_size: DEFAULT_MAX_RECORD_SIZE,
        }
    }
}
