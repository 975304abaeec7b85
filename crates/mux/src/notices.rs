//! Events that wait for the application. All but those of streams are single flags, so that a peer cannot make
//! them pile up; a stream has at most one of each kind waiting.

use crate::{Dir, Event, StreamId};
use std::collections::VecDeque;
use std::time::Duration;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 16;

/// What happened to one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamNotice {
    Readable,
    Writable,
    Stopped(u64),
    Finished,
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Notices {
    pub(crate) connected: bool,
    pub(crate) opened: [bool; 2],
    pub(crate) available: [bool; 2],
    pub(crate) datagram: bool,
    pub(crate) datagrams_unblocked: bool,
    pub(crate) pong: Option<Duration>,
    streams: VecDeque<(StreamId, StreamNotice)>,
}

impl Notices {
    pub(crate) fn push(&mut self, id: StreamId, notice: StreamNotice) {
        self.streams.push_back((id, notice));
    }

    /// The next event; `Closed` is the connection's to add.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.connected) {
            return Some(Event::Connected);
        }
        for dir in Dir::ALL {
            if std::mem::take(&mut self.opened[dir.slot()]) {
                return Some(Event::Opened(dir));
            }
        }
        if let Some((id, notice)) = self.streams.pop_front() {
            if self.streams.is_empty() && self.streams.capacity() > SMALL_QUEUE {
                self.streams = VecDeque::new();
            }
            return Some(match notice {
                StreamNotice::Readable => Event::Readable(id),
                StreamNotice::Writable => Event::Writable(id),
                StreamNotice::Stopped(code) => Event::Stopped { id, code },
                StreamNotice::Finished => Event::Finished(id),
            });
        }
        for dir in Dir::ALL {
            if std::mem::take(&mut self.available[dir.slot()]) {
                return Some(Event::Available(dir));
            }
        }
        if std::mem::take(&mut self.datagram) {
            return Some(Event::Datagram);
        }
        if std::mem::take(&mut self.datagrams_unblocked) {
            return Some(Event::DatagramsUnblocked);
        }
        self.pong.take().map(|rtt| Event::Pong { rtt })
    }
}
