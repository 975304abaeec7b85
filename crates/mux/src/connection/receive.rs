//! What the peer says: every frame, checked against the state it finds.

use super::Connection;
use crate::frame::{
    ConnectionClose, Datagram, Frame, MaxStreamData, Ping, ResetStream, StopSending, StreamDataBlocked,
    StreamHeader,
};
use crate::frame::{MaxStreams, TransportParametersFrame};
use crate::notices::StreamNotice;
use crate::parameters::Parameters;
use crate::record::{Piece, Reader};
use crate::stream::{RecvHalf, SendHalf, Stream};
use crate::violation::Violation;
use crate::{CloseReason, Dir, StreamId};
use bytes::Bytes;
use std::time::Instant;

impl Connection {
    /// Takes bytes from the transport, in any pieces. Never fails: a peer's mistake closes the connection.
    ///
    /// Payloads of STREAM frames of 4 KiB and more are kept as slices of `input` where a slice uses at least an
    /// eighth of it; smaller ones are copied, so that what is unread never holds much more memory than the windows
    /// say. Inputs of up to 128 KiB keep full records uncopied.
    pub fn handle_input(&mut self, now: Instant, input: Bytes) {
        // Draft §7.2: while waiting for the peer's end, "endpoints SHOULD discard any data they receive".
        if self.closed.is_some() {
            return;
        }
        // Out of `self` while frames that lie in it are handled.
        let mut reader = std::mem::take(&mut self.reader);
        let records = reader.records();
        let outcome = self.receive(now, &mut reader, &input);
        if reader.records() != records {
            self.idle.touch(now);
        }
        match outcome {
            Ok(()) if self.closed.is_none() => self.reader = reader,
            Ok(()) => {}
            Err(violation) => self.fail(violation),
        }
    }

    fn receive(&mut self, now: Instant, reader: &mut Reader, input: &Bytes) -> Result<(), Violation> {
        let mut at = 0;
        loop {
            match reader.next(input, &mut at).map_err(|violation| self.before_parameters(violation))? {
                Piece::NeedMore => return Ok(()),
                Piece::Frame(frame) => {
                    let ty = type_of(&frame);
                    self.receive_frame(now, frame).map_err(|violation| violation.in_frame(ty))?;
                }
                Piece::Stream { header, payload, done } => self
                    .receive_stream(now, header, payload, done, input.len())
                    .map_err(|violation| violation.in_frame(StreamHeader::FIRST_TYPE))?,
                Piece::Payload { id, payload, fin, done } => {
                    self.receive_payload(id, payload, fin && done, input.len());
                }
            }
            if self.closed.is_some() {
                return Ok(());
            }
        }
    }

    /// Where the transport parameters should be, an unreadable frame of another type is the wrong first frame.
    fn before_parameters(&self, violation: Violation) -> Violation {
        match violation.frame_type {
            // Not even the type was read, or the right frame is wrong inside.
            0 | TransportParametersFrame::TYPE => violation,
            _ if self.peer.is_some() => violation,
            ty => not_introduced().in_frame(ty),
        }
    }

    fn receive_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), Violation> {
        match frame {
            Frame::TransportParameters(frame) => return self.receive_parameters(frame),
            //= S2.16
            _ if self.peer.is_none() => return Err(not_introduced()),
            Frame::ConnectionClose(frame) => {
                self.receive_close(frame);
                return Ok(());
            }
            Frame::Datagram(frame) => return self.receive_datagram(frame),
            _ => {}
        }
        self.flood.spend(now)?;
        match frame {
            Frame::ResetStream(frame) => self.receive_reset(frame)?,
            Frame::StopSending(frame) => self.receive_stop(frame)?,
            Frame::MaxData(frame) => {
                self.credit.raise(frame.maximum);
            }
            Frame::MaxStreamData(frame) => self.receive_max_stream_data(frame)?,
            Frame::MaxStreams(frame) => self.receive_max_streams(frame),
            Frame::StreamDataBlocked(frame) => self.receive_stream_data_blocked(frame)?,
            Frame::Ping(frame) => self.receive_ping(now, frame)?,
            // Nothing depends on these two: credit goes out as soon as it is worth a frame.
            Frame::DataBlocked(_) | Frame::StreamsBlocked(_) => {}
            Frame::Padding(_) => {}
            // Handled above, or never handed out as a whole frame.
            Frame::TransportParameters(_)
            | Frame::ConnectionClose(_)
            | Frame::Datagram(_)
            | Frame::Stream(_) => {}
        }
        Ok(())
    }

    fn receive_parameters(&mut self, frame: TransportParametersFrame<'_>) -> Result<(), Violation> {
        //= S2.16
        if self.peer.is_some() {
            return Err(Violation::protocol("transport parameters are sent once, as the first frame"));
        }
        let peer = Parameters::decode(frame.parameters)?;
        self.idle.negotiate(peer.max_idle_timeout);
        self.credit.raise(peer.initial_max_data);
        for (dir, limit) in
            [(Dir::Bi, peer.initial_max_streams_bidi), (Dir::Uni, peer.initial_max_streams_uni)]
        {
            self.raise_streams(dir, limit);
        }
        self.peer = Some(Box::new(peer));
        self.notices.connected = true;
        Ok(())
    }

    fn receive_stream(
        &mut self,
        now: Instant,
        header: StreamHeader,
        payload: Bytes,
        done: bool,
        input: usize,
    ) -> Result<(), Violation> {
        if self.peer.is_none() {
            return Err(not_introduced());
        }
        if header.length == 0 && !header.fin {
            self.flood.spend(now)?;
        } else {
            self.flood.earn();
        }
        let left = self.window.left();
        let stream = self.peer_stream(header.id, Half::Receiving)?;
        let Some(recv) = stream.and_then(|stream| stream.recv.as_mut()) else {
            return Err(Violation::stream_state(format!("stream {} has ended already", header.id)));
        };
        recv.begin_frame(&header)?;
        //= S2.22
        if header.length as u64 > left {
            return Err(Violation::flow_control(format!(
                "the connection's limit of {} bytes is exceeded by stream {}",
                self.window.advertised(),
                header.id
            )));
        }
        let fin = header.fin && done;
        let wasted = recv.push(payload, input);
        Self::after_push(recv, fin).then(|| self.notices.push(header.id, StreamNotice::Readable));
        let counted = self.window.receive(header.length as u64);
        debug_assert!(counted, "checked above");
        self.window.consume(wasted);
        self.forget_stopped(header.id, fin);
        Ok(())
    }

    /// The payload of an earlier STREAM frame goes on: everything was checked with its header.
    fn receive_payload(&mut self, id: StreamId, payload: Bytes, fin: bool, input: usize) {
        let length = payload.len() as u64;
        let Some(recv) = self.streams.get_mut(id).and_then(|stream| stream.recv.as_mut()) else {
            self.window.consume(length);
            return;
        };
        let wasted = recv.push(payload, input);
        Self::after_push(recv, fin).then(|| self.notices.push(id, StreamNotice::Readable));
        self.window.consume(wasted);
        self.forget_stopped(id, fin);
    }

    /// Notes the end; says whether a blocked reader has something to read.
    fn after_push(recv: &mut RecvHalf, fin: bool) -> bool {
        if fin {
            recv.end();
        }
        recv.has_news() && recv.becomes_readable()
    }

    /// A stopped stream is over when its final size is known.
    fn forget_stopped(&mut self, id: StreamId, ended: bool) {
        if !ended {
            return;
        }
        if let Some(stream) = self.streams.get_mut(id)
            && stream.recv.as_ref().is_some_and(RecvHalf::is_over)
        {
            stream.recv = None;
            stream.pending.stop = None;
            self.forget_if_over(id);
        }
    }

    fn receive_reset(&mut self, frame: ResetStream) -> Result<(), Violation> {
        let left = self.window.left();
        let stream = self.peer_stream(frame.id, Half::Receiving)?;
        let Some(recv) = stream.and_then(|stream| stream.recv.as_mut()) else { return Ok(()) };
        let (missing, wasted) = recv.reset(frame.code, frame.final_size)?;
        if missing > left {
            return Err(Violation::flow_control(format!(
                "RESET_STREAM of stream {} exceeds the connection's limit of {} bytes",
                frame.id,
                self.window.advertised()
            )));
        }
        recv.becomes_readable().then(|| self.notices.push(frame.id, StreamNotice::Readable));
        let counted = self.window.receive(missing);
        debug_assert!(counted, "checked above");
        //= S2.24
        self.window.consume(wasted);
        self.forget_stopped(frame.id, true);
        Ok(())
    }

    fn receive_stop(&mut self, frame: StopSending) -> Result<(), Violation> {
        let stream = self.peer_stream(frame.id, Half::Sending)?;
        let Some(stream) = stream else { return Ok(()) };
        let Some(send) = stream.send.as_mut() else { return Ok(()) };
        let before = send.held();
        let resets = send.stop(frame.code);
        let dropped = before - send.held();
        //= S2.27
        if resets {
            stream.pending.fin = false;
            stream.pending.blocked = false;
            stream.pending.reset = true;
            self.notices.push(frame.id, StreamNotice::Stopped(frame.code));
            self.queue_pending(frame.id);
        }
        self.unsent -= dropped;
        Ok(())
    }

    fn receive_max_stream_data(&mut self, frame: MaxStreamData) -> Result<(), Violation> {
        let stream = self.peer_stream(frame.id, Half::Sending)?;
        let Some(send) = stream.and_then(|stream| stream.send.as_mut()) else { return Ok(()) };
        if send.raise_credit(frame.maximum) {
            self.schedule_if_sendable(frame.id);
        }
        Ok(())
    }

    fn receive_max_streams(&mut self, frame: MaxStreams) {
        self.raise_streams(frame.dir, frame.maximum);
    }

    fn raise_streams(&mut self, dir: Dir, limit: u64) {
        if self.local[dir.slot()].raise(limit) {
            self.notices.available[dir.slot()] = true;
        }
    }

    /// Creates the stream if it is new; credit goes out without being asked for.
    fn receive_stream_data_blocked(&mut self, frame: StreamDataBlocked) -> Result<(), Violation> {
        self.peer_stream(frame.id, Half::Receiving).map(|_| ())
    }

    fn receive_ping(&mut self, now: Instant, frame: Ping) -> Result<(), Violation> {
        if let Some(rtt) = self.pings.receive(now, frame)? {
            self.notices.pong = Some(rtt);
        }
        Ok(())
    }

    // RFC 9221 §3: "An endpoint that receives a DATAGRAM frame when it has not indicated support via the transport
    // parameter MUST terminate the connection with an error of type PROTOCOL_VIOLATION. Similarly, an endpoint that
    // receives a DATAGRAM frame that is larger than the value it sent in its max_datagram_frame_size transport
    // parameter MUST terminate the connection with an error of type PROTOCOL_VIOLATION."
    fn receive_datagram(&mut self, frame: Datagram<'_>) -> Result<(), Violation> {
        let Some(buffer) = self.config.datagram_receive_buffer.filter(|buffer| *buffer > 0) else {
            return Err(Violation::protocol("a datagram, and this side accepts none"));
        };
        if frame.frame_len > buffer {
            return Err(Violation::protocol(format!(
                "a DATAGRAM frame of {} bytes exceeds max_datagram_frame_size {buffer}",
                frame.frame_len
            )));
        }
        self.flood.earn();
        self.notices.datagram |= self.datagrams_in.is_empty();
        // Copied: datagrams are small, and one that waits should not hold a whole input.
        let payload = Bytes::copy_from_slice(frame.payload);
        self.datagrams_dropped += self.datagrams_in.force(payload, buffer);
        Ok(())
    }

    fn receive_close(&mut self, frame: ConnectionClose<'_>) {
        let reason = frame.reason.get(..ConnectionClose::MAX_REASON).unwrap_or(frame.reason);
        let reason = Bytes::copy_from_slice(reason);
        let reason = match frame.frame_type {
            None => CloseReason::Application { code: frame.code, reason },
            Some(frame_type) => {
                CloseReason::Transport { code: frame.code.into(), frame_type, reason, local: false }
            }
        };
        //= S2.31
        // Draft §7.3: the answer is to shut the sending side down "either without sending any frames or after
        // sending a single CONNECTION_CLOSE frame": without.
        self.end(reason, false);
    }

    /// The stream that a frame of the peer names. `None` when it is over; new ones of the peer are created, with
    /// all before them (RFC 9000 §3.2).
    fn peer_stream(&mut self, id: StreamId, half: Half) -> Result<Option<&mut Stream>, Violation> {
        let local = id.initiator() == self.side;
        //= S2.25
        if id.dir() == Dir::Uni && local != (half == Half::Sending) {
            let reason = format!("stream {id} is unidirectional and carries nothing in that direction");
            return Err(Violation::stream_state(reason));
        }
        let slot = id.dir().slot();
        if local {
            //= S2.25
            if id.index() >= self.local[slot].opened() {
                return Err(Violation::stream_state(format!("stream {id} was never opened")));
            }
        } else if id.index() >= self.remote[slot].opened() {
            //= S2.22
            if id.index() >= self.remote[slot].advertised() {
                return Err(Violation::stream_limit(format!(
                    "stream {id} exceeds the limit of {} {} streams",
                    self.remote[slot].advertised(),
                    id.dir()
                )));
            }
            self.create_peer_streams(id);
        }
        Ok(self.streams.get_mut(id))
    }

    fn create_peer_streams(&mut self, last: StreamId) {
        let slot = last.dir().slot();
        let window = self.config.stream_receive_window;
        let limit = self.peer.as_ref().map_or(0, |peer| peer.initial_max_stream_data_bidi_local);
        for index in self.remote[slot].opened()..=last.index() {
            let send = (last.dir() == Dir::Bi).then(|| SendHalf::new(limit));
            let id = StreamId::new(self.side.peer(), last.dir(), index);
            self.streams.insert(id, Stream::new(send, Some(RecvHalf::new(window))));
        }
        self.remote[slot].open_up_to(last.index());
        self.notices.opened[slot] = true;
    }
}

/// The half of a stream that a frame speaks of, seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Sending,
    Receiving,
}

fn not_introduced() -> Violation {
    Violation::protocol("the first frame must be QX_TRANSPORT_PARAMETERS")
}

/// The type of a frame, for CONNECTION_CLOSE.
fn type_of(frame: &Frame<'_>) -> u64 {
    use crate::frame::{DataBlocked, MaxData, Padding};
    match frame {
        Frame::Padding(_) => Padding::TYPE,
        Frame::ResetStream(_) => ResetStream::TYPE,
        Frame::StopSending(_) => StopSending::TYPE,
        Frame::Stream(_) => StreamHeader::FIRST_TYPE,
        Frame::MaxData(_) => MaxData::TYPE,
        Frame::MaxStreamData(_) => MaxStreamData::TYPE,
        Frame::MaxStreams(frame) => frame.ty(),
        Frame::DataBlocked(_) => DataBlocked::TYPE,
        Frame::StreamDataBlocked(_) => StreamDataBlocked::TYPE,
        Frame::StreamsBlocked(frame) => frame.ty(),
        Frame::ConnectionClose(_) => ConnectionClose::TYPE_APPLICATION,
        Frame::Datagram(_) => Datagram::TYPE,
        Frame::TransportParameters(_) => TransportParametersFrame::TYPE,
        Frame::Ping(frame) => frame.ty(),
    }
}
