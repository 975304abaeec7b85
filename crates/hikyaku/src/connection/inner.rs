//! What all handles of one connection share, and its tasks: who the peer is, what it said of itself, how far the
//! connection is, and what it may make this side hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hikyaku_wire::frame::FrameLimits;
use hikyaku_wire::hello::HelloLimits;
use tokio::sync::Notify;

use super::{Connection, Setup};
use crate::budget::{NoRoom, Share};
use crate::error::Result;
use crate::events::{By, Dropped, Recorder, Text, event};
use crate::identity::KeyId;
use crate::limits::Limits;
use crate::recording::Tap;
use crate::session::datagrams::{Demux, Fate};
use crate::session::lifecycle::{self, Lifecycle};
use crate::session::void::Allowance;
use crate::tls::Negotiated;
use crate::transport::{Link, SendStream, Transport};

pub(crate) struct Inner {
    pub(super) link: Link,
    pub(super) peer: KeyId,
    pub(super) transport: Transport,
    pub(crate) limits: Arc<Limits>,
    void: Mutex<Allowance>,
    /// What this connection may make this side hold.
    pub(crate) share: Share,
    /// Whether the peer is a stranger, who is given next to nothing.
    pub(crate) stranger: bool,
    pub(super) peer_limits: OnceLock<HelloLimits>,
    pub(super) peer_agent: OnceLock<Text>,
    /// Notified whenever one of the facts below changes.
    pub(crate) changed: Notify,
    /// Who has said GOAWAY, and how many exchanges are open.
    lifecycle: lifecycle::Shared,
    datagrams: Mutex<Demux>,
    /// The control stream: open for as long as the connection.
    pub(crate) control: tokio::sync::Mutex<Option<SendStream>>,
    /// HELLO was sent.
    greeted: AtomicBool,
    /// The peer has opened its control stream.
    peer_control: AtomicBool,
    pub(crate) events: Arc<Recorder>,
    pub(super) negotiated: Option<Negotiated>,
    pub(crate) tap: Option<Tap>,
}

impl Inner {
    pub(super) fn new(link: Link, peer: KeyId, setup: Setup) -> Self {
        let Setup { transport, limits, share, stranger, close_on_drop: _, events, negotiated, tap } = setup;
        Self {
            link,
            peer,
            transport,
            stranger,
            peer_limits: OnceLock::new(),
            peer_agent: OnceLock::new(),
            changed: Notify::new(),
            lifecycle: lifecycle::Shared::default(),
            void: Mutex::new(Allowance::new(limits.max_void_frames)),
            datagrams: Mutex::new(Demux::new(limits.datagram_queue)),
            control: tokio::sync::Mutex::new(None),
            greeted: AtomicBool::new(false),
            peer_control: AtomicBool::new(false),
            limits,
            share,
            events,
            negotiated,
            tap,
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Holds the connection without keeping a client's open.
    pub(crate) fn handle(self: &Arc<Self>) -> Connection {
        Connection { inner: self.clone(), _close: None }
    }

    /// Counts frames of the peer that carried nothing.
    pub(crate) fn count_void(&self, frames: u64) -> Result<()> {
        let spent = self.void.lock().unwrap_or_else(PoisonError::into_inner).spend(frames, Instant::now());
        spent.inspect_err(|_| {
            let value = self.limits.max_void_frames;
            event!(self.events, LimitReached { limit: "max_void_frames", value, owner: By::Us });
        })
    }

    /// Bytes of the peer were read. Whoever uses its credit up quickly gets more.
    pub(crate) fn consumed(&self, bytes: u64) {
        if let Some(window) = self.share.consumed(bytes, Instant::now) {
            self.link.widen(window);
        }
    }

    /// Bytes were taken by the transport. Whoever lets much be sent gets more of it at once.
    pub(crate) fn sent(&self, bytes: u64) {
        if let Some(window) = self.share.sent(bytes, Instant::now) {
            self.link.widen_send(window);
        }
    }

    /// The peer opens an exchange; why there is no room for it. Whoever has many open may open more at once.
    pub(crate) fn enter_share(&self) -> Option<NoRoom> {
        let no_room = self.share.enter().err();
        if let Some(exchanges) = self.share.entered() {
            self.link.allow_exchanges(exchanges);
        }
        no_room
    }

    pub(crate) fn frame_limits(&self) -> FrameLimits {
        let limits = &self.limits;
        if self.stranger {
            return FrameLimits {
                max_message: limits.stranger_max_frame,
                max_metadata: limits.stranger_max_frame,
                max_skipped: limits.stranger_max_frame,
                max_data_frame: 0,
            };
        }
        FrameLimits {
            max_message: limits.max_message,
            // An OPEN or ERROR is its metadata or details plus names and text.
            max_metadata: limits.max_metadata.saturating_add(FrameLimits::METADATA_OVERHEAD),
            max_data_frame: limits.max_data_frame,
            ..FrameLimits::default()
        }
    }

    /// Records the peer's HELLO.
    pub(crate) fn set_hello(&self, limits: HelloLimits, agent: &str) {
        // There is one control stream, and one HELLO on it.
        let _ = self.peer_agent.set(agent.into());
        let _ = self.peer_limits.set(limits);
        self.changed.notify_waiters();
    }

    /// Records that the peer opened a control stream; false when it had one already.
    pub(crate) fn claim_peer_control(&self) -> bool {
        !self.peer_control.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn set_greeted(&self) {
        self.greeted.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn has_greeted(&self) -> bool {
        self.greeted.load(Ordering::Acquire)
    }

    pub(crate) fn has_hello(&self) -> bool {
        self.peer_limits.get().is_some()
    }

    pub(crate) fn is_going_away(&self) -> bool {
        self.lifecycle.now().is_leaving()
    }

    pub(crate) fn is_peer_going_away(&self) -> bool {
        self.lifecycle.now().has_heard_goaway()
    }

    pub(crate) fn set_going_away(&self) {
        self.lifecycle.step(Lifecycle::say_goaway);
        self.changed.notify_waiters();
    }

    pub(crate) fn set_peer_going_away(&self) {
        self.lifecycle.step(Lifecycle::hear_goaway);
        self.changed.notify_waiters();
    }

    /// Counts an exchange in; says whether it may be.
    pub(crate) fn enter_exchange(&self, by: By) -> bool {
        self.lifecycle.step(|lifecycle| lifecycle.enter(by)).0
    }

    pub(crate) fn leave_exchange(&self) {
        let ((), news) = self.lifecycle.step(Lifecycle::leave);
        if news {
            self.changed.notify_waiters();
        }
    }

    /// The peer is going away and this side has received everything.
    pub(crate) fn may_close(&self) -> bool {
        self.lifecycle.now().may_close()
    }

    /// Waits until `condition` holds.
    pub(crate) async fn when(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            if self.link.close_reason().is_some() {
                // Nothing will change any more but exchanges being let go.
                changed.await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                _ = self.link.closed() => {}
            }
        }
    }

    /// The same, for whoever hears of the connection's end in another way.
    pub(crate) async fn when_told(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn arrive(&self, datagram: Bytes) -> Fate {
        self.with_demux(Fate::dropped, |demux| demux.arrive(datagram, Instant::now()))
    }

    /// Works on the datagrams; what was dropped meanwhile is recorded with the reason that `why` gives.
    pub(super) fn with_demux<T>(&self, why: impl Fn(&T) -> Dropped, work: impl FnOnce(&mut Demux) -> T) -> T {
        let (done, count) = {
            let mut demux = self.demux();
            let before = demux.count();
            let done = work(&mut demux);
            (done, demux.count() - before)
        };
        if count > 0 {
            event!(self.events, times = count, DatagramDropped { reason: why(&done), count });
        }
        done
    }

    /// Wakes everybody who waits for something that a dead connection will not bring.
    pub(crate) fn wake_all(&self) {
        self.changed.notify_waiters();
        self.demux().wake_all();
    }

    pub(super) fn demux(&self) -> MutexGuard<'_, Demux> {
        // A panic inside leaves a queue at worst one datagram short, which datagrams may be.
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
