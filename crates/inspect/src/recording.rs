//! Recordings: entries in, and from there what the bytes of each connection say. Format: `docs/recording.md`.

use std::collections::HashMap;

use hikyaku_mux::dissect::Dissector;
use hikyaku_wire::recording::{Entry, Kind, MAGIC, MAX_ENTRY};
use hikyaku_wire::varint;

use crate::limits;
use crate::line::{Layer, Line};
use crate::streams::{Place, Streams, datagram, meaning};

/// A recording, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Bytes of an entry that is not complete.
    pending: Vec<u8>,
    /// Where the first of them stands in the file.
    offset: u64,
    begun: bool,
    broken: bool,
    byte_streams: HashMap<u64, ByteStream>,
    streams: Streams,
    crowded: bool,
}

/// The byte stream of one connection.
#[derive(Debug, Default)]
struct ByteStream {
    /// As sent and as received.
    directions: [Dissector; 2],
    over: bool,
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Line)) {
        // In pieces, so that what is held does not depend on how much comes at once.
        for chunk in bytes.chunks(MAX_ENTRY) {
            if self.broken {
                return;
            }
            self.pending.extend_from_slice(chunk);
            self.read(sink);
        }
    }

    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Line)) {
        if !self.broken && !self.begun {
            sink(Line::error(Layer::Recording, 0, "this is no recording: it is too short"));
        } else if !self.pending.is_empty() {
            let reason = format!("the recording ends {} bytes into an entry", self.pending.len());
            sink(Line::error(Layer::Recording, self.offset, reason));
        }
        self.pending = Vec::new();
    }

    fn read(&mut self, sink: &mut dyn FnMut(Line)) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        loop {
            match self.one(rest, sink) {
                Ok(0) => break,
                Ok(taken) => {
                    self.offset += taken as u64;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Err(reason) => {
                    sink(Line::error(Layer::Recording, self.offset, reason));
                    self.broken = true;
                    return;
                }
            }
        }
        self.pending = rest.to_vec();
    }

    /// What stands at the front of `rest`; returns its length, 0 while it is not all there.
    fn one(&mut self, rest: &[u8], sink: &mut dyn FnMut(Line)) -> Result<usize, String> {
        if !self.begun {
            let there = rest.len().min(MAGIC.len());
            if rest.get(..there) != MAGIC.get(..there) {
                return Err("this is no recording, or one of another version".to_owned());
            }
            self.begun = there == MAGIC.len();
            return Ok(if self.begun { there } else { 0 });
        }
        let Some((length, size)) = varint::decode(rest) else { return Ok(0) };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_ENTRY);
        let length = length.ok_or_else(|| format!("an entry has at most {MAX_ENTRY} bytes"))?;
        let Some(item) = rest.get(size..).and_then(|rest| rest.get(..length)) else { return Ok(0) };
        let entry = Entry::decode(item).map_err(|error| format!("an entry cannot be read: {error}"))?;
        self.entry(entry, sink);
        Ok(size + length)
    }

    fn entry(&mut self, entry: Entry, sink: &mut dyn FnMut(Line)) {
        let Entry { at, connection, kind, received, stream, bytes, code, text } = entry;
        let place = Place { connection, at: Some(at), received };
        let bytes = bytes.unwrap_or_default();
        let mut event = |layer: Layer, name: &str, note: Option<String>| {
            let mut line = place.line(Line::new(layer, 0, name));
            line.offset = None;
            line.stream = stream;
            line.fields = stream.map(|stream| ("stream", stream)).into_iter().collect();
            line.fields.extend(code.map(|code| ("code", code)));
            line.note = note;
            if layer == Layer::Recording {
                line.received = None;
            }
            sink(line);
        };
        match (kind, stream) {
            (Kind::Begin, _) => event(Layer::Recording, "connection", text),
            (Kind::Records, _) => self.records(place, &bytes, sink),
            (Kind::Stream, Some(stream)) => self.streams.bytes(place, stream, &bytes, sink),
            (Kind::Fin, Some(stream)) => {
                event(Layer::Frame, "FIN", None);
                self.streams.over(place, stream, true, sink);
            }
            (Kind::Reset, Some(stream)) => {
                event(Layer::Frame, "RESET_STREAM", code.and_then(meaning));
                self.streams.over(place, stream, false, sink);
            }
            (Kind::Stop, Some(_)) => event(Layer::Frame, "STOP_SENDING", code.and_then(meaning)),
            (Kind::Datagram, _) => event(Layer::Frame, "DATAGRAM", Some(datagram(&bytes))),
            (Kind::End, _) => {
                event(Layer::Recording, "over", text);
                // Its byte stream may go on for a moment: the last record says that it is over.
                if let Some(byte_stream) = self.byte_streams.get_mut(&connection) {
                    byte_stream.over = true;
                }
                self.streams.forget(connection);
            }
            (Kind::Stream | Kind::Fin | Kind::Reset | Kind::Stop, None) => {
                let reason = "an entry about a stream does not say which";
                sink(place.line(Line::error(Layer::Recording, self.offset, reason)));
            }
        }
    }

    fn records(&mut self, place: Place, bytes: &[u8], sink: &mut dyn FnMut(Line)) {
        let known = self.byte_streams.contains_key(&place.connection);
        if !known && self.byte_streams.len() >= limits::CONNECTIONS {
            self.byte_streams.retain(|_, byte_stream| !byte_stream.over);
        }
        if !known && self.byte_streams.len() >= limits::CONNECTIONS {
            if !self.crowded {
                let most = limits::CONNECTIONS;
                let reason = format!("more than {most} connections at once: the others are not shown");
                sink(place.line(Line::error(Layer::Recording, self.offset, reason)));
            }
            self.crowded = true;
            return;
        }
        let byte_stream = self.byte_streams.entry(place.connection).or_default();
        let streams = &mut self.streams;
        byte_stream.directions[usize::from(place.received)]
            .push(bytes, &mut |seen| streams.seen(place, seen, sink));
    }
}
