//! What this side says: control frames first, then datagrams, then streams by priority and in turn.
//!
//! Control frames are derived from state when there is room for them, never queued: however many reasons a peer
//! gives for one, it goes out once.

use super::Connection;
use crate::frame::{
    ConnectionClose, DataBlocked, Datagram, MAX_CONTROL_FRAME, MaxData, MaxStreamData, MaxStreams,
    ResetStream, StopSending, StreamDataBlocked, StreamHeader, StreamsBlocked, TransportParametersFrame,
};
use crate::record::{MAX_RECORD, Writer};
use crate::streams::Remote;
use crate::{CloseReason, Dir, StreamId};
use hikyaku_wire::varint;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// A record may be this large even when the budget is smaller, so that every frame but the largest fits.
const MIN_RECORD: usize = 1300;

/// No STREAM frame is begun in less room than this.
const MIN_STREAM_FRAME: usize = 64;

/// An empty queue larger than this gives its memory back.
const SMALL_QUEUE: usize = 16;

impl Connection {
    /// Appends whole records to `out`, about `budget` bytes at most (never more than one small record above it, or
    /// one datagram), and returns whether it appended anything.
    ///
    /// Call it when the transport has room, and again until it returns false; what is not yet taken can still be
    /// overtaken by something more urgent. With a budget that is a multiple of 16,384 a bulk transfer makes records
    /// of exactly 16,384 bytes, which fill one TLS record each.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, budget: usize) -> bool {
        let start = out.len();
        loop {
            let used = out.len() - start;
            if used > 0 && used + MIN_STREAM_FRAME >= budget {
                break;
            }
            let capacity = (budget - used.min(budget)).saturating_sub(2).clamp(MIN_RECORD, MAX_RECORD);
            let mut record = Writer::new(out, capacity);
            self.fill(now, &mut record);
            if !record.finish() {
                break;
            }
        }
        let transmitted = out.len() > start;
        if transmitted {
            self.idle.touch(now);
        }
        transmitted
    }

    /// Whether control frames wait to be sent: after a `read`, whether the peer should hear of new credit now.
    pub fn has_control_to_send(&self) -> bool {
        !self.pending.is_empty() || self.window.is_due() || self.remote.iter().any(Remote::is_due)
    }

    fn fill(&mut self, now: Instant, record: &mut Writer<'_>) {
        if let Some(closed) = self.closed.as_deref() {
            //= S2.30
            //= S2.31
            if closed.unsent {
                self.introduce(record);
                self.transmit_close(record);
            }
            return;
        }
        self.introduce(record);
        //= S2.17
        if self.peer.is_none() {
            return;
        }
        self.transmit_connection_control(now, record);
        self.transmit_stream_control(record);
        self.transmit_datagrams(record);
        self.transmit_streams(record);
    }

    /// The transport parameters, once and first, without waiting for the peer's.
    //= S2.15
    fn introduce(&mut self, record: &mut Writer<'_>) {
        if std::mem::replace(&mut self.introduced, true) {
            return;
        }
        let grease = RandomState::new().hash_one(());
        let parameters = self.own_parameters().encode(grease);
        TransportParametersFrame { parameters: &parameters }.encode(record.out());
    }

    fn transmit_close(&mut self, record: &mut Writer<'_>) {
        let Some(closed) = self.closed.as_deref_mut() else { return };
        closed.unsent = false;
        let (code, frame_type, reason) = match &closed.reason {
            CloseReason::Local { code, reason } => (*code, None, reason),
            CloseReason::Transport { code, frame_type, reason, .. } => {
                (u64::from(*code), Some(*frame_type), reason)
            }
            // The others are said without words.
            _ => return,
        };
        let reason = reason.get(..ConnectionClose::MAX_REASON).unwrap_or(reason);
        ConnectionClose { code, frame_type, reason }.encode(record.out());
    }

    fn transmit_connection_control(&mut self, now: Instant, record: &mut Writer<'_>) {
        while self.pings.is_pending() && record.room() >= MAX_CONTROL_FRAME {
            if let Some(ping) = self.pings.transmit(now) {
                ping.encode(record.out());
            }
        }
        if self.window.is_due() && record.room() >= MAX_CONTROL_FRAME {
            MaxData { maximum: self.window.advertise() }.encode(record.out());
        }
        for dir in Dir::ALL {
            let remote = &mut self.remote[dir.slot()];
            if remote.is_due() && record.room() >= MAX_CONTROL_FRAME {
                MaxStreams { dir, maximum: remote.advertise() }.encode(record.out());
            }
            let local = &mut self.local[dir.slot()];
            if local.is_blocked_news()
                && record.room() >= MAX_CONTROL_FRAME
                && let Some(limit) = local.take_blocked()
            {
                StreamsBlocked { dir, limit }.encode(record.out());
            }
        }
        if self.credit.is_blocked_news()
            && !self.schedule.is_empty()
            && record.room() >= MAX_CONTROL_FRAME
            && let Some(limit) = self.credit.blocked_at()
        {
            DataBlocked { limit }.encode(record.out());
        }
    }

    fn transmit_stream_control(&mut self, record: &mut Writer<'_>) {
        // One stream says at most five things; FIN and RESET_STREAM exclude each other.
        while record.room() >= 4 * MAX_CONTROL_FRAME {
            let Some(id) = self.pending.pop_front() else { break };
            self.transmit_control_of(id, record);
        }
        if self.pending.is_empty() && self.pending.capacity() > SMALL_QUEUE {
            self.pending = VecDeque::new();
        }
    }

    fn transmit_control_of(&mut self, id: StreamId, record: &mut Writer<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let pending = std::mem::take(&mut stream.pending);
        let out = record.out();
        if let Some(code) = pending.stop {
            StopSending { id, code }.encode(out);
        }
        if let Some(recv) = stream.recv.as_mut()
            && pending.max_data
            && let Some(maximum) = recv.advertise()
        {
            MaxStreamData { id, maximum }.encode(out);
        }
        if let Some(send) = stream.send.as_mut() {
            if pending.blocked
                && let Some(limit) = send.take_blocked()
            {
                StreamDataBlocked { id, limit }.encode(out);
            }
            if pending.fin
                && let Some(offset) = send.take_fin()
            {
                StreamHeader { id, offset, length: 0, fin: true }.encode(true, out);
            }
            if pending.reset
                && let Some((code, final_size)) = send.take_reset()
            {
                ResetStream { id, code, final_size }.encode(out);
            }
        }
        self.forget_send_half_if_over(id);
        self.forget_if_over(id);
    }

    fn transmit_datagrams(&mut self, record: &mut Writer<'_>) {
        while let Some(payload) = self.datagrams_out.front() {
            let frame = Datagram::MAX_HEADER + payload.len();
            if frame > record.room() {
                if !record.is_empty() {
                    break;
                }
                record.extend_to_max();
            }
            Datagram::encode(payload, record.out());
            self.datagrams_out.pop();
            self.flood.earn();
        }
        if self.datagrams_blocked && self.datagrams_out.held() <= self.config.datagram_send_buffer / 2 {
            self.datagrams_blocked = false;
            self.notices.datagrams_unblocked = true;
        }
    }

    fn transmit_streams(&mut self, record: &mut Writer<'_>) {
        while record.room() >= MIN_STREAM_FRAME && self.credit.left() > 0 {
            let Some(id) = self.schedule.pop() else { break };
            let filled = self.transmit_stream(id, record);
            if filled {
                break;
            }
        }
    }

    /// One STREAM frame; true when it filled the record.
    fn transmit_stream(&mut self, id: StreamId, record: &mut Writer<'_>) -> bool {
        let Some(send) = self.streams.get_mut(id).and_then(|stream| stream.send.as_mut()) else {
            return false;
        };
        send.scheduled = false;
        //= S2.22
        let credit = usize::try_from(self.credit.left()).unwrap_or(usize::MAX);
        let sendable = send.sendable().min(credit);
        if sendable == 0 {
            return false;
        }
        let offset = send.offset();
        let header = StreamHeader::len_without_length(id, offset);
        let room = record.room().saturating_sub(header);
        // A frame that reaches the end of its record needs no Length field.
        let filled = sendable + varint::len(sendable as u64) >= room;
        let length = if filled { sendable.min(room) } else { sendable };
        let fin = send.ends_with(length);
        StreamHeader { id, offset, length, fin }.encode(!filled, record.out());
        self.unsent -= send.held();
        send.transmit(length, record.out());
        self.unsent += send.held();
        self.credit.spend(length as u64);
        self.flood.earn();
        self.notice_writable(id);
        self.forget_send_half_if_over(id);
        self.schedule_if_sendable(id);
        filled
    }
}
