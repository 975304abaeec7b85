//! What the application does to streams and datagrams.

use super::Connection;
use crate::frame::Datagram;
use crate::notices::StreamNotice;
use crate::record::MAX_RECORD;
use crate::stream::{Received, RecvHalf, SendHalf, Stream};
use crate::{DatagramError, Dir, ReadError, SendStatus, StreamId, WriteError};
use bytes::Bytes;

/// What a stream may hold to be sent when all together hold too much: enough for what most exchanges say.
const CROWDED_SEND_BUFFER: usize = 4 * 1024;

impl Connection {
    /// Opens a stream; `None` while the peer allows no more (`Event::Available` follows).
    ///
    /// The peer hears of it with the first bytes, a reset or a stop.
    pub fn open(&mut self, dir: Dir) -> Option<StreamId> {
        if self.closed.is_some() {
            return None;
        }
        let index = self.local[dir.slot()].open()?;
        let id = StreamId::new(self.side, dir, index);
        let peer = self.peer.as_deref()?;
        let stream = match dir {
            Dir::Bi => Stream::new(
                Some(SendHalf::new(peer.initial_max_stream_data_bidi_remote)),
                Some(RecvHalf::new(self.config.stream_receive_window)),
            ),
            Dir::Uni => Stream::new(Some(SendHalf::new(peer.initial_max_stream_data_uni)), None),
        };
        self.streams.insert(id, stream);
        Some(id)
    }

    /// The next stream that the peer opened; `None` when there is none (`Event::Opened` follows).
    pub fn accept(&mut self, dir: Dir) -> Option<StreamId> {
        loop {
            let index = self.remote[dir.slot()].accept()?;
            let id = StreamId::new(self.side.peer(), dir, index);
            // After the end of the connection only streams with something to read are left.
            if self.streams.get(id).is_some() {
                return Some(id);
            }
        }
    }

    /// Takes bytes from the front of `data` to be sent on the stream, and returns how many: at least one unless
    /// `data` is empty, fewer than all when the send buffer ends.
    pub fn write(&mut self, id: StreamId, data: &mut Bytes) -> Result<usize, WriteError> {
        let (unsent, most) = (self.unsent, self.config);
        let send = self.send_half(id)?;
        let before = send.held();
        let left = most.send_buffer_total.saturating_sub(unsent - before);
        let buffer = most.send_buffer.min(left.max(CROWDED_SEND_BUFFER));
        let written = send.write(data, buffer)?;
        let gained = send.held() - before;
        self.unsent += gained;
        if written > 0 {
            self.schedule_if_sendable(id);
        }
        Ok(written)
    }

    /// Says that nothing follows on the stream. What was written is still sent.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let outcome = self.send_half(id)?.finish();
        match outcome {
            Ok(false) => {}
            Ok(true) => {
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.pending.fin = true;
                }
                self.queue_pending(id);
            }
            Err(_) => self.forget_send_half_if_over(id),
        }
        outcome.map(|_| ())
    }

    /// Gives the sending direction up: what is not yet sent is dropped and the peer is told `code`. Does nothing
    /// when everything, the end included, was sent before, or the stream was reset.
    ///
    /// # Panics
    /// If `code` exceeds 2^62 − 1: the application chooses it.
    pub fn reset(&mut self, id: StreamId, code: u64) {
        assert!(code <= hikyaku_wire::varint::MAX, "application codes are below 2^62");
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Some(send) = stream.send.as_mut() else { return };
        self.unsent -= send.held();
        let resets = send.reset(code);
        self.unsent += send.held();
        if resets {
            stream.pending.fin = false;
            stream.pending.blocked = false;
            stream.pending.reset = true;
            self.queue_pending(id);
        } else {
            self.forget_send_half_if_over(id);
        }
    }

    /// Gives the receiving direction up: what is unread is dropped and the peer is told `code`. Does nothing when
    /// the end was read before.
    ///
    /// # Panics
    /// If `code` exceeds 2^62 − 1: the application chooses it.
    pub fn stop(&mut self, id: StreamId, code: u64) {
        assert!(code <= hikyaku_wire::varint::MAX, "application codes are below 2^62");
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Some(recv) = stream.recv.as_mut() else { return };
        let (unread, news) = recv.stop();
        let over = recv.is_over();
        //= S2.24
        self.window.consume(unread);
        if over || self.closed.is_some() {
            stream.recv = None;
            self.forget_if_over(id);
        } else if news {
            stream.pending.stop = Some(code);
            self.queue_pending(id);
        }
    }

    /// Streams of a higher priority are sent first; equal ones take turns. The first priority is 0.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) {
        let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) else { return };
        let before = std::mem::replace(&mut send.priority, priority);
        if send.scheduled && before != priority {
            self.schedule.remove(id, before);
            self.schedule.push(id, priority);
        }
    }

    /// The next bytes of the stream, at most `max` (at least one); `None` once, at its end.
    ///
    /// Reading gives the peer credit; after the connection's end, what arrived before can still be read.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError> {
        let stream = self.streams.get_mut(id).ok_or(ReadError::Closed)?;
        let recv = stream.recv.as_mut().ok_or(ReadError::Closed)?;
        match recv.read(max) {
            Ok(Received::Bytes(bytes)) => {
                self.window.consume(bytes.len() as u64);
                if self.closed.is_none() && recv.is_credit_due() {
                    stream.pending.max_data = true;
                    self.queue_pending(id);
                }
                Ok(Some(bytes))
            }
            Err(ReadError::Blocked) if self.closed.is_some() => {
                self.forget_recv_half(id);
                Err(ReadError::Closed)
            }
            // A stopped stream stays until its final size is known.
            Err(error @ (ReadError::Blocked | ReadError::Closed)) => Err(error),
            Ok(Received::End) => {
                self.forget_recv_half(id);
                Ok(None)
            }
            Err(reset @ ReadError::Reset(_)) => {
                self.forget_recv_half(id);
                Err(reset)
            }
        }
    }

    /// Queues a datagram. It is sent before the bytes of streams, or not at all if the connection ends before.
    pub fn send_datagram(&mut self, payload: Bytes) -> Result<(), DatagramError> {
        if self.closed.is_some() {
            return Err(DatagramError::Closed);
        }
        let max = self.max_datagram_size().ok_or(DatagramError::Unsupported)?;
        if payload.len() > max {
            return Err(DatagramError::TooLarge { max });
        }
        if self.datagrams_out.offer(payload, self.config.datagram_send_buffer) {
            return Ok(());
        }
        self.datagrams_blocked = true;
        Err(DatagramError::Blocked)
    }

    /// How far the sending direction of a stream is.
    pub fn send_status(&self, id: StreamId) -> SendStatus {
        match self.streams.get(id).and_then(|stream| stream.send.as_ref()) {
            None => SendStatus::Over,
            Some(send) => send.stopped().map_or(SendStatus::Open, SendStatus::Stopped),
        }
    }

    /// The next received datagram.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.datagrams_in.pop()
    }

    /// The largest payload `send_datagram` takes; `None` when the peer accepts none (or before `Connected`).
    pub fn max_datagram_size(&self) -> Option<usize> {
        let frame = usize::try_from(self.peer.as_deref()?.max_datagram_frame_size).unwrap_or(usize::MAX);
        frame.min(MAX_RECORD).checked_sub(Datagram::MAX_HEADER)
    }

    /// How many received datagrams were dropped because the application did not take them in time.
    pub fn datagrams_dropped(&self) -> u64 {
        self.datagrams_dropped
    }

    /// Sets how many received bytes may be unread on all streams together. Credit already given stays given.
    pub fn set_receive_window(&mut self, bytes: u64) {
        self.window.resize(bytes);
    }

    /// Sets how many bytes all streams together may hold waiting to be sent. What they hold already stays.
    pub fn set_send_buffer_total(&mut self, bytes: usize) {
        self.config.send_buffer_total = bytes;
    }

    /// Sets how many streams the peer may have open at one time. Credit already given stays given.
    pub fn set_max_concurrent_streams(&mut self, dir: Dir, count: u64) {
        self.remote[dir.slot()].resize(count);
    }

    fn send_half(&mut self, id: StreamId) -> Result<&mut SendHalf, WriteError> {
        let stream = self.streams.get_mut(id).ok_or(WriteError::Closed)?;
        stream.send.as_mut().ok_or(WriteError::Closed)
    }

    /// Gives the stream its turn, or has the peer told that it lacks credit.
    pub(super) fn schedule_if_sendable(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Some(send) = stream.send.as_mut() else { return };
        if send.sendable() > 0 {
            if !send.scheduled {
                send.scheduled = true;
                self.schedule.push(id, send.priority);
            }
        } else if send.is_blocked_news() {
            stream.pending.blocked = true;
            self.queue_pending(id);
        }
    }

    /// Puts a stream with pending control frames into the queue, once.
    pub(super) fn queue_pending(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && !stream.pending.queued
        {
            stream.pending.queued = true;
            self.pending.push_back(id);
        }
    }

    /// Tells a blocked writer that there is room.
    pub(super) fn notice_writable(&mut self, id: StreamId) {
        let buffer = self.config.send_buffer;
        if let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut())
            && send.becomes_writable(buffer)
        {
            self.notices.push(id, StreamNotice::Writable);
        }
    }

    pub(super) fn forget_send_half_if_over(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.send.as_ref().is_some_and(SendHalf::is_over)
        {
            stream.send = None;
            self.notices.push(id, StreamNotice::Finished);
            self.forget_if_over(id);
        }
    }

    fn forget_recv_half(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.recv = None;
            stream.pending.max_data = false;
            self.forget_if_over(id);
        }
    }

    /// Forgets a stream when both directions are over; the peer may then open another one.
    pub(super) fn forget_if_over(&mut self, id: StreamId) {
        if self.streams.remove_if_over(id) && id.initiator() != self.side {
            self.remote[id.dir().slot()].close();
        }
    }
}
