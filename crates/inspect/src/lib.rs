//! Bytes you can read: what a recorded connection, a decrypted byte stream, one stream, one bundle or one message says.
//!
//! ```text
//!   recording ─▶ entries ─▶ QMux records ─▶ QUIC frames ─▶ one stream each ─▶ session frames ─▶ CBOR
//! ```
//!
//! [`Inspector`] takes bytes in any pieces and gives [`Line`]s. The names of fields are those of `spec/hikyaku.cddl`, which
//! is part of this crate. Whatever the bytes are, it holds no more than [`limits`] say, prints no character that a terminal
//! obeys, and ends; what it cannot read it says with the place. No I/O, no clock.
//!
//! ```
//! use hikyaku_inspect::{Input, Inspector};
//! let mut inspector = Inspector::new(Input::Message(Some("hello-limits".to_owned())));
//! let mut lines = Vec::new();
//! inspector.push(&[0xa2, 0x00, 0x18, 0x64, 0x02, 0x00], &mut |line| lines.push(line.to_string()));
//! inspector.finish(&mut |line| lines.push(line.to_string()));
//! assert_eq!(lines, ["@0 message, 6 bytes\n    {0 /max_message/: 100, 2 /max_datagram/: 0}"]);
//! ```

#![forbid(unsafe_code)]

mod bundle;
mod cddl;
mod diagnostic;
mod half;
mod line;
mod methods;
mod recording;
mod streams;

pub use cddl::rule_names;
pub use diagnostic::diagnostic;
pub use line::{Layer, Line};

use hikyaku_mux::dissect::Dissector;

use bundle::Bundle;
use half::{Half, Talk};
use recording::Reader;
use streams::Streams;

/// The bounds of an [`Inspector`], whatever it reads.
pub mod limits {
    /// Connections followed at once.
    pub const CONNECTIONS: usize = 1024;
    /// Streams followed at once, of all connections.
    pub const STREAMS: usize = 4096;
    /// The longest frame whose payload is shown; longer ones are passed over.
    pub const FRAME: usize = 1 << 20;
    /// Bytes of unfinished frames held, of all streams.
    pub const HELD: usize = 32 << 20;
    /// The longest text made of one message; the rest is cut off.
    pub const TEXT: usize = 64 << 10;
}

/// What the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A recording (`docs/recording.md`).
    Recording,
    /// One direction of the decrypted byte stream over TCP, from its beginning: QMux records.
    Records,
    /// One direction of one stream, from its beginning: session frames.
    Stream,
    /// A bundle (section 5.6 of the specification), from its beginning.
    Bundle,
    /// One CBOR message, of this rule of the CDDL if it is known.
    Message(Option<String>),
}

/// Reads bytes and tells what they say.
pub struct Inspector {
    state: State,
    errors: u64,
}

enum State {
    Recording(Box<Reader>),
    Records(Dissector, Streams),
    Stream(Half, Talk),
    Bundle(Bundle),
    Message { bytes: Vec<u8>, cut: bool, rule: Option<String> },
}

/// The connection and the stream that bytes without a recording belong to.
const ALONE: streams::Place = streams::Place { connection: 0, at: None, received: false };

impl Inspector {
    /// For bytes of this kind.
    pub fn new(input: Input) -> Self {
        let state = match input {
            Input::Recording => State::Recording(Box::default()),
            Input::Records => State::Records(Dissector::default(), Streams::default()),
            Input::Stream => State::Stream(Half::of_unknown_stream(), Talk::default()),
            Input::Bundle => State::Bundle(Bundle::default()),
            Input::Message(rule) => State::Message { bytes: Vec::new(), cut: false, rule },
        };
        Self { state, errors: 0 }
    }

    /// The next bytes; what they complete goes to `sink`.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Line)) {
        let errors = &mut self.errors;
        let sink = &mut |line: Line| {
            *errors += u64::from(line.is_error);
            sink(line);
        };
        match &mut self.state {
            State::Recording(reader) => reader.push(bytes, sink),
            State::Records(dissector, streams) => {
                dissector.push(bytes, &mut |seen| streams.seen(ALONE, seen, sink));
            }
            State::Stream(half, talk) => half.push(bytes, false, limits::HELD, talk, sink),
            State::Bundle(bundle) => bundle.push(bytes, sink),
            State::Message { bytes: held, cut, .. } => {
                let room = limits::FRAME.saturating_sub(held.len());
                *cut |= bytes.len() > room;
                held.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            }
        }
    }

    /// There are no more bytes: what is unfinished is told. Returns how many errors there were in all.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Line)) -> u64 {
        let errors = &mut self.errors;
        let sink = &mut |line: Line| {
            *errors += u64::from(line.is_error);
            sink(line);
        };
        match &mut self.state {
            State::Recording(reader) => reader.finish(sink),
            State::Records(dissector, streams) => {
                dissector.finish(&mut |seen| streams.seen(ALONE, seen, sink));
                streams.forget(ALONE.connection);
            }
            State::Stream(half, _) => half.finish(None, sink),
            State::Bundle(bundle) => bundle.finish(sink),
            State::Message { bytes, cut, rule } => message(bytes, *cut, rule.as_deref(), sink),
        }
        self.errors
    }
}

fn message(bytes: &[u8], cut: bool, rule: Option<&str>, sink: &mut dyn FnMut(Line)) {
    let mut line = Line::new(Layer::Message, 0, "message");
    line.length = Some(bytes.len() as u64);
    if cut {
        line.is_error = true;
        line.note = Some(format!("longer than {} bytes: the rest was not read", limits::FRAME));
    }
    let (text, error) = diagnostic(bytes, rule);
    line.cbor = Some(text);
    sink(line);
    if let Some((offset, reason)) = error.filter(|_| !cut) {
        sink(Line::error(Layer::Message, offset, reason));
    }
}
