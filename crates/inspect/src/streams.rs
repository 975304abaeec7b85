//! The streams of connections: QUIC frames in, each stream's bytes to its own decoder. Spec: chapter 2.

use std::collections::HashMap;

use bytes::Bytes;
use hikyaku_mux::dissect::Seen;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::exchange;

use crate::half::{Half, Talk};
use crate::limits;
use crate::line::{Layer, Line};

/// Bits of a stream's id (RFC 9000 §2.1).
const UNIDIRECTIONAL: u64 = 0x2;

/// Where bytes come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) connection: u64,
    /// Microseconds; without them there is no recording, and neither a direction nor a connection to show.
    pub(crate) at: Option<u64>,
    pub(crate) received: bool,
}

impl Place {
    /// The line, of here.
    pub(crate) fn line(self, mut line: Line) -> Line {
        if self.at.is_some() {
            line.at = self.at;
            line.connection = Some(self.connection);
            line.received = Some(self.received);
        }
        line
    }
}

/// All streams that are not over.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: HashMap<(u64, u64), Stream>,
    /// Bytes of unfinished frames.
    held: usize,
    /// That there are too many was said.
    crowded: bool,
}

#[derive(Debug, Default)]
struct Stream {
    talk: Talk,
    /// What was sent, and what was received.
    halves: [Option<Half>; 2],
    over: [bool; 2],
}

impl Streams {
    /// What a dissector sees of a byte stream.
    pub(crate) fn seen(&mut self, place: Place, seen: Seen<'_>, sink: &mut dyn FnMut(Line)) {
        match seen {
            Seen::Record { offset, size } => {
                let mut line = Line::new(Layer::Record, offset, "record");
                line.length = Some(size);
                sink(place.line(line));
            }
            Seen::Broken { offset, reason } => {
                sink(place.line(Line::error(Layer::Record, offset, reason)));
            }
            Seen::Frame { offset, name, fields, stream, payload, .. } => {
                let fin = fields.contains(&("fin", 1));
                let begins = fields.iter().find(|(name, _)| *name == "offset").map(|(_, at)| *at);
                let code = fields.iter().find(|(name, _)| *name == "code").map(|(_, code)| *code);
                let mut line = Line::new(Layer::Frame, offset, name);
                line.stream = stream;
                line.fields = fields;
                line.note = match name {
                    "RESET_STREAM" | "STOP_SENDING" => code.and_then(meaning),
                    "APPLICATION_CLOSE" => close(code, payload),
                    "CONNECTION_CLOSE" => close(None, payload),
                    "DATAGRAM" => Some(datagram(payload)),
                    _ => None,
                };
                sink(place.line(line));
                match (name, stream) {
                    ("STREAM", Some(stream)) => {
                        self.in_order(place, stream, begins.unwrap_or(0), offset, sink);
                        self.bytes(place, stream, payload, sink);
                        if fin {
                            self.over(place, stream, true, sink);
                        }
                    }
                    ("RESET_STREAM", Some(stream)) => self.over(place, stream, false, sink),
                    _ => {}
                }
            }
        }
    }

    /// Bytes of a stream, in their order.
    pub(crate) fn bytes(&mut self, place: Place, id: u64, bytes: &[u8], sink: &mut dyn FnMut(Line)) {
        let key = (place.connection, id);
        if !self.streams.contains_key(&key) && self.streams.len() >= limits::STREAMS {
            if !self.crowded {
                let reason =
                    format!("more than {} streams at once: the others are not shown", limits::STREAMS);
                sink(place.line(Line::error(Layer::Frame, 0, reason)));
            }
            self.crowded = true;
            return;
        }
        let stream = self.streams.entry(key).or_default();
        let half = &mut stream.halves[usize::from(place.received)];
        let half = half.get_or_insert_with(|| {
            if id & UNIDIRECTIONAL == 0 { Half::of_exchange() } else { Half::of_unidirectional() }
        });
        let before = half.held();
        let room = limits::HELD.saturating_sub(self.held);
        half.push(bytes, place.received, room, &mut stream.talk, &mut |mut line| {
            line.stream = Some(id);
            sink(place.line(line));
        });
        self.held = (self.held + half.held()).saturating_sub(before);
    }

    /// On a byte stream nothing overtakes anything: a frame goes on where its stream was.
    fn in_order(&mut self, place: Place, id: u64, begins: u64, at: u64, sink: &mut dyn FnMut(Line)) {
        let stream = self.streams.get_mut(&(place.connection, id));
        let half = stream.and_then(|stream| stream.halves[usize::from(place.received)].as_mut());
        let expected = half.as_ref().map_or(0, |half| half.offset());
        if begins != expected {
            let reason = format!("stream {id} goes on at byte {begins}, and was at byte {expected}");
            sink(place.line(Line::error(Layer::Frame, at, reason)));
            if let Some(half) = half {
                half.give_up();
            }
        }
    }

    /// A stream's end in one direction, which `whole` ones only reach between two frames.
    pub(crate) fn over(&mut self, place: Place, id: u64, whole: bool, sink: &mut dyn FnMut(Line)) {
        let key = (place.connection, id);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let side = usize::from(place.received);
        if let Some(mut half) = stream.halves[side].take() {
            self.held = self.held.saturating_sub(half.held());
            if whole {
                half.finish(Some(id), &mut |line| sink(place.line(line)));
            }
        }
        stream.over[side] = true;
        if id & UNIDIRECTIONAL != 0 || stream.over == [true, true] {
            self.streams.remove(&key);
        }
    }

    /// A connection is over: its streams are forgotten, whatever they were about to say.
    pub(crate) fn forget(&mut self, connection: u64) {
        let held = &mut self.held;
        self.streams.retain(|(of, _), stream| {
            let stays = *of != connection;
            if !stays {
                *held = held.saturating_sub(stream.halves.iter().flatten().map(Half::held).sum());
            }
            stays
        });
    }
}

/// What a code of ours means.
pub(crate) fn meaning(code: u64) -> Option<String> {
    ErrorCode::from_wire(code).name().map(str::to_owned)
}

fn close(code: Option<u64>, reason: &[u8]) -> Option<String> {
    let reason = String::from_utf8_lossy(reason);
    let name = code.and_then(meaning).unwrap_or_default();
    let both = [name.as_str(), &reason].into_iter().filter(|part| !part.is_empty());
    let text = both.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

/// Which exchange a datagram belongs to.
pub(crate) fn datagram(bytes: &[u8]) -> String {
    match exchange::decode_datagram(Bytes::copy_from_slice(bytes)) {
        Some((number, payload)) => match exchange::stream_id(number) {
            Some(stream) => format!("of the exchange on stream {stream}, {} bytes", payload.len()),
            None => format!("of exchange {number}, which is no stream, {} bytes", payload.len()),
        },
        None => "it has no readable exchange number".to_owned(),
    }
}
