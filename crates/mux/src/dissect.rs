//! For those who look: cuts one direction of a recorded byte stream into records and frames, with their places.
//!
//! It uses the decoders of the connection itself, so that what it shows is what a connection here understands. It holds at
//! most one record. Spec: chapter 2.

use crate::frame::{self, DecodeError, Frame};
use crate::parameters;
use crate::violation::Violation;
use hikyaku_wire::varint;

/// One direction of a byte stream, from its first byte on.
#[derive(Debug, Default)]
pub struct Dissector {
    /// Bytes of a record that is not complete.
    pending: Vec<u8>,
    /// Where the first of them stands in the byte stream.
    offset: u64,
    broken: bool,
}

/// What stands at a place of the byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A record begins; its frames follow.
    Record {
        /// Where its Size field begins.
        offset: u64,
        /// Its length without that field.
        size: u64,
    },
    /// A frame.
    Frame {
        /// Where it begins.
        offset: u64,
        /// Its length.
        length: usize,
        /// Its name in RFC 9000, RFC 9221 or the draft.
        name: &'static str,
        /// Its fields by their names there.
        fields: Vec<(&'static str, u64)>,
        /// The stream that it carries bytes of or ends, with the end in the field `fin`.
        stream: Option<u64>,
        /// The bytes it carries: of a stream, a datagram or a close's reason.
        payload: &'a [u8],
    },
    /// What follows is not QMux, and is not looked at.
    Broken {
        /// Where the record or frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl Dissector {
    /// The next bytes. What can be told of them is handed to `see`.
    pub fn push(&mut self, bytes: &[u8], see: &mut dyn FnMut(Seen<'_>)) {
        if self.broken {
            return;
        }
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(rest) = self.pending.get(at..).filter(|rest| !rest.is_empty()) {
            match record(rest, self.offset, see) {
                Ok(Some(length)) => {
                    at += length;
                    self.offset += length as u64;
                }
                Ok(None) => break,
                Err(()) => {
                    self.broken = true;
                    self.pending = Vec::new();
                    return;
                }
            }
        }
        self.pending.drain(..at);
    }

    /// The byte stream is over.
    pub fn finish(&mut self, see: &mut dyn FnMut(Seen<'_>)) {
        if !self.pending.is_empty() {
            let reason = format!("the byte stream ends {} bytes into a record", self.pending.len());
            see(Seen::Broken { offset: self.offset, reason });
        }
        self.pending = Vec::new();
    }
}

/// The whole record at the front of `bytes`; `None` while it is not all there.
fn record(bytes: &[u8], offset: u64, see: &mut dyn FnMut(Seen<'_>)) -> Result<Option<usize>, ()> {
    let Some((size, head)) = varint::decode(bytes) else { return Ok(None) };
    let largest = parameters::DEFAULT_MAX_RECORD_SIZE;
    if size == 0 || size > largest {
        let reason = format!("a record of {size} bytes: it has 1 to {largest}");
        see(Seen::Broken { offset, reason });
        return Err(());
    }
    let length = usize::try_from(size).map_err(drop)?;
    let Some(mut rest) = bytes.get(head..).and_then(|rest| rest.get(..length)) else { return Ok(None) };
    see(Seen::Record { offset, size });
    let mut at = offset + head as u64;
    while !rest.is_empty() {
        let taken = one(rest, at, see)?;
        at += taken as u64;
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(Some(head + length))
}

/// The frame at the front of `rest`, which is the rest of its record; returns its length.
fn one(rest: &[u8], offset: u64, see: &mut dyn FnMut(Seen<'_>)) -> Result<usize, ()> {
    let (frame, taken) = match frame::decode(rest, rest.len()) {
        Ok(decoded) => decoded,
        Err(error) => {
            let reason = match error {
                DecodeError::Incomplete => "the record ends inside a frame".to_owned(),
                DecodeError::Invalid(Violation { code, frame_type, reason }) => {
                    format!("frame type {frame_type:#x}: {reason} ({code})")
                }
            };
            see(Seen::Broken { offset, reason });
            return Err(());
        }
    };
    let (payload, length) = match &frame {
        Frame::Stream(header) => {
            let end = taken + header.length;
            (rest.get(taken..end).unwrap_or_default(), end)
        }
        Frame::Datagram(datagram) => (datagram.payload, taken),
        Frame::ConnectionClose(close) => (close.reason, taken),
        _ => (&[][..], taken),
    };
    let stream = match &frame {
        Frame::Stream(header) => Some(header.id.into()),
        Frame::ResetStream(reset) => Some(reset.id.into()),
        Frame::StopSending(stop) => Some(stop.id.into()),
        _ => None,
    };
    let (name, fields) = describe(&frame);
    see(Seen::Frame { offset, length, name, fields, stream, payload });
    // A frame takes a byte at least, so this comes to an end.
    Ok(length.max(1))
}

/// The name and the fields.
fn describe(frame: &Frame<'_>) -> (&'static str, Vec<(&'static str, u64)>) {
    match frame {
        Frame::Padding(padding) => ("PADDING", vec![("length", padding.length as u64)]),
        Frame::ResetStream(frame) => (
            "RESET_STREAM",
            vec![("stream", frame.id.into()), ("code", frame.code), ("final_size", frame.final_size)],
        ),
        Frame::StopSending(frame) => {
            ("STOP_SENDING", vec![("stream", frame.id.into()), ("code", frame.code)])
        }
        Frame::Stream(header) => {
            let mut fields = vec![
                ("stream", header.id.into()),
                ("offset", header.offset),
                ("length", header.length as u64),
            ];
            if header.fin {
                fields.push(("fin", 1));
            }
            ("STREAM", fields)
        }
        Frame::MaxData(frame) => ("MAX_DATA", vec![("maximum", frame.maximum)]),
        Frame::MaxStreamData(frame) => {
            ("MAX_STREAM_DATA", vec![("stream", frame.id.into()), ("maximum", frame.maximum)])
        }
        Frame::MaxStreams(frame) => match frame.dir {
            crate::Dir::Bi => ("MAX_STREAMS_BIDI", vec![("maximum", frame.maximum)]),
            crate::Dir::Uni => ("MAX_STREAMS_UNI", vec![("maximum", frame.maximum)]),
        },
        Frame::DataBlocked(frame) => ("DATA_BLOCKED", vec![("limit", frame.limit)]),
        Frame::StreamDataBlocked(frame) => {
            ("STREAM_DATA_BLOCKED", vec![("stream", frame.id.into()), ("limit", frame.limit)])
        }
        Frame::StreamsBlocked(frame) => match frame.dir {
            crate::Dir::Bi => ("STREAMS_BLOCKED_BIDI", vec![("limit", frame.limit)]),
            crate::Dir::Uni => ("STREAMS_BLOCKED_UNI", vec![("limit", frame.limit)]),
        },
        Frame::ConnectionClose(close) => {
            let mut fields = vec![("code", close.code)];
            fields.extend(close.frame_type.map(|ty| ("frame_type", ty)));
            (if close.frame_type.is_some() { "CONNECTION_CLOSE" } else { "APPLICATION_CLOSE" }, fields)
        }
        Frame::Datagram(datagram) => ("DATAGRAM", vec![("length", datagram.payload.len() as u64)]),
        Frame::TransportParameters(frame) => ("QX_TRANSPORT_PARAMETERS", parameters::named(frame.parameters)),
        Frame::Ping(ping) => {
            (if ping.response { "QX_PING_RESPONSE" } else { "QX_PING" }, vec![("sequence", ping.sequence)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Connection, Side};
    use std::time::Instant;

    fn all(chunks: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut dissector = Dissector::default();
        chunks.iter().for_each(|chunk| dissector.push(chunk, &mut |what| seen.push(format!("{what:?}"))));
        dissector.finish(&mut |what| seen.push(format!("{what:?}")));
        seen
    }

    #[test]
    fn what_a_connection_says_is_seen_the_same_however_it_was_cut() {
        let now = Instant::now();
        let mut connection = Connection::new(Side::Client, Config::default(), now);
        let mut bytes = Vec::new();
        while connection.poll_transmit(now, &mut bytes, 1 << 16) {}
        connection.ping(now);
        connection.close(now, 7, bytes::Bytes::from_static(b"enough"));
        while connection.poll_transmit(now, &mut bytes, 1 << 16) {}
        let whole = all(&[&bytes]);
        assert!(whole[0].starts_with("Record { offset: 0"), "{whole:#?}");
        assert!(whole[1].contains("QX_TRANSPORT_PARAMETERS") && whole[1].contains("initial_max_data"));
        assert!(whole.last().is_some_and(|last| last.contains("APPLICATION_CLOSE")), "{whole:#?}");
        for cut in 0..=bytes.len() {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let cut_short = all(&[&bytes[..bytes.len() - 1]]);
        assert!(cut_short.last().is_some_and(|last| last.contains("bytes into a record")), "{cut_short:#?}");
    }

    #[test]
    fn what_is_no_qmux_is_told_once_with_its_place() {
        // A good record with a PING's prohibited number in the second one.
        let broken = all(&[&[1, 0, 1, 0x01], b"more"]);
        assert_eq!(broken.len(), 4, "{broken:#?}");
        assert!(broken[3].starts_with("Broken { offset: 3"), "{broken:#?}");
        assert!(all(&[&[0]])[0].starts_with("Broken { offset: 0"));
        assert!(all(&[&[0xff; 8]])[0].contains("1 to 16382"));
    }
}
