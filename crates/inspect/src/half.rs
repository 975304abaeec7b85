//! One direction of one stream: session frames, with their places in the stream. Spec: chapter 3.

use hikyaku_wire::codes::StreamType;
use hikyaku_wire::exchange::Open;
use hikyaku_wire::frame::FrameType;
use hikyaku_wire::varint;

use crate::diagnostic::diagnostic;
use crate::limits;
use crate::line::{Layer, Line};

/// The longest header: two varints.
const MAX_HEADER: usize = 2 * varint::MAX_LEN;

/// What one direction has said so far.
#[derive(Debug)]
pub(crate) struct Half {
    /// Where the next byte stands.
    offset: u64,
    state: State,
    /// Messages so far.
    messages: u64,
}

#[derive(Debug)]
enum State {
    /// The type of a unidirectional stream; `guess` when it may be an exchange as well.
    Type {
        bytes: Vec<u8>,
        guess: bool,
    },
    Header {
        bytes: Vec<u8>,
    },
    Payload {
        ty: FrameType,
        start: u64,
        length: usize,
        bytes: Vec<u8>,
    },
    /// Bytes that are not looked at.
    Pass {
        left: u64,
    },
    /// Nothing more is looked at.
    Opaque,
}

/// What a half needs to know of its stream, and keeps for it.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// Protocol and method, once OPEN was seen.
    pub(crate) call: Option<(String, String)>,
    /// Which direction opened it: as received or as sent.
    pub(crate) opener: Option<bool>,
}

impl Half {
    /// Of a bidirectional stream.
    pub(crate) fn of_exchange() -> Self {
        Self { offset: 0, state: State::Header { bytes: Vec::new() }, messages: 0 }
    }

    /// Of a unidirectional stream.
    pub(crate) fn of_unidirectional() -> Self {
        Self { offset: 0, state: State::Type { bytes: Vec::new(), guess: false }, messages: 0 }
    }

    /// Of a stream whose direction is unknown: what begins with the control stream's type is one.
    pub(crate) fn of_unknown_stream() -> Self {
        Self { offset: 0, state: State::Type { bytes: Vec::new(), guess: true }, messages: 0 }
    }

    /// Where its next byte stands.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Nothing more of it is looked at.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Opaque;
    }

    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        match &self.state {
            State::Payload { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// The next bytes. `room` is how many may be held.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        received: bool,
        room: usize,
        talk: &mut Talk,
        sink: &mut dyn FnMut(Line),
    ) {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Type { .. } => self.stream_type(bytes, sink),
                State::Header { .. } => self.header(bytes, room, sink),
                State::Payload { .. } => self.payload(bytes, received, talk, sink),
                State::Pass { left } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Header { bytes: Vec::new() };
                    }
                    taken
                }
                State::Opaque => bytes.len(),
            };
            self.offset += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// The stream is over in this direction.
    pub(crate) fn finish(&mut self, stream: Option<u64>, sink: &mut dyn FnMut(Line)) {
        let inside = match &self.state {
            State::Header { bytes } if bytes.is_empty() => None,
            State::Header { bytes } => Some((bytes.len() as u64, "a frame's header".to_owned())),
            State::Payload { ty, start, length, bytes } => {
                Some((self.offset - start, format!("{ty} ({} of {length} bytes)", bytes.len())))
            }
            State::Pass { left } => Some((0, format!("a frame ({left} bytes are missing)"))),
            State::Type { bytes, .. } if !bytes.is_empty() => {
                Some((bytes.len() as u64, "the stream's type".to_owned()))
            }
            State::Type { .. } | State::Opaque => None,
        };
        if let Some((back, inside)) = inside {
            let offset = self.offset.saturating_sub(back);
            let mut line = Line::error(Layer::Session, offset, format!("the stream ends inside {inside}"));
            line.stream = stream;
            sink(line);
        }
        self.state = State::Opaque;
    }

    fn stream_type(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Line)) -> usize {
        let State::Type { bytes: head, guess } = &mut self.state else { return 0 };
        let (before, guess) = (head.len(), *guess);
        let take = bytes.len().min(varint::MAX_LEN.saturating_sub(before));
        head.extend_from_slice(bytes.get(..take).unwrap_or_default());
        let Some((ty, length)) = varint::decode(head) else { return take };
        if guess && ty != StreamType::CONTROL.0 {
            // Only possible at the first byte: a varint's length is told by it.
            let held = std::mem::take(head);
            self.state = State::Header { bytes: held.get(..before).unwrap_or_default().to_vec() };
            return 0;
        }
        let mut line = Line::new(Layer::Session, self.offset - before as u64, "");
        if ty == StreamType::CONTROL.0 {
            line.name = "control stream".to_owned();
            self.state = State::Header { bytes: Vec::new() };
        } else {
            line.name = format!("stream of type {ty:#x}{}", reserved(ty));
            line.note = Some("nothing of it is looked at".to_owned());
            self.state = State::Opaque;
        }
        sink(line);
        length.saturating_sub(before)
    }

    fn header(&mut self, bytes: &[u8], room: usize, sink: &mut dyn FnMut(Line)) -> usize {
        let State::Header { bytes: head } = &mut self.state else { return 0 };
        let before = head.len();
        let take = bytes.len().min(MAX_HEADER.saturating_sub(before));
        head.extend_from_slice(bytes.get(..take).unwrap_or_default());
        let Some((ty, ty_size)) = varint::decode(head) else { return take };
        let rest = head.get(ty_size..).unwrap_or_default();
        let Some((length, length_size)) = varint::decode(rest) else { return take };
        let start = self.offset - before as u64;
        if !varint::is_shortest(ty, ty_size) || !varint::is_shortest(length, length_size) {
            sink(Line::error(Layer::Session, start, "a frame's type or length is not in its shortest form"));
            self.state = State::Opaque;
            return bytes.len();
        }
        let taken = (ty_size + length_size).saturating_sub(before);
        self.begin(FrameType(ty), length, start, room, sink);
        taken
    }

    /// What follows a header.
    fn begin(&mut self, ty: FrameType, length: u64, start: u64, room: usize, sink: &mut dyn FnMut(Line)) {
        let shown = usize::try_from(length).ok().filter(|length| *length <= limits::FRAME.min(room));
        let has_payload =
            [FrameType::HELLO, FrameType::GOAWAY, FrameType::OPEN, FrameType::MESSAGE, FrameType::ERROR];
        if let (true, Some(length)) = (has_payload.contains(&ty), shown.filter(|length| *length > 0)) {
            self.state = State::Payload { ty, start, length, bytes: Vec::new() };
            return;
        }
        let mut line = Line::new(Layer::Session, start, name(ty));
        line.length = Some(length);
        if has_payload.contains(&ty) {
            line.is_error = length == 0;
            line.note =
                Some(if length == 0 { "it has no payload" } else { "too long to be shown" }.to_owned());
        } else if ty == FrameType::END {
            line.length = None;
            if length > 0 {
                line.is_error = true;
                line.note = Some(format!("it carries {length} bytes, and must be empty"));
            }
        } else if ty.name().is_none() {
            line.note = Some("skipped by whoever does not know it".to_owned());
        }
        sink(line);
        self.state =
            if length == 0 { State::Header { bytes: Vec::new() } } else { State::Pass { left: length } };
    }

    fn payload(
        &mut self,
        bytes: &[u8],
        received: bool,
        talk: &mut Talk,
        sink: &mut dyn FnMut(Line),
    ) -> usize {
        let State::Payload { ty, start, length, bytes: held } = &mut self.state else { return 0 };
        let taken = length.saturating_sub(held.len()).min(bytes.len());
        held.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if held.len() < *length {
            return taken;
        }
        let (ty, start, payload) = (*ty, *start, std::mem::take(held));
        self.state = State::Header { bytes: Vec::new() };
        let mut line = Line::new(Layer::Session, start, name(ty));
        line.length = Some(payload.len() as u64);
        let (text, error) = diagnostic(&payload, self.rule(ty, &payload, received, talk));
        line.cbor = Some(text);
        sink(line);
        if let Some((within, reason)) = error {
            let begins = self.offset + taken as u64 - payload.len() as u64;
            sink(Line::error(Layer::Session, begins + within, reason));
        }
        taken
    }

    /// The rule of a payload; an OPEN says what the others are.
    fn rule(
        &mut self,
        ty: FrameType,
        payload: &[u8],
        received: bool,
        talk: &mut Talk,
    ) -> Option<&'static str> {
        match ty {
            FrameType::HELLO => Some("hello"),
            FrameType::GOAWAY => Some("goaway"),
            FrameType::ERROR => Some("failure"),
            FrameType::OPEN => {
                if let Ok(open) = Open::decode(payload) {
                    talk.call = Some((open.protocol, open.method));
                    talk.opener = Some(received);
                }
                Some("open")
            }
            _ => {
                let nth = self.messages;
                self.messages += 1;
                let (protocol, method) = talk.call.as_ref()?;
                crate::methods::rule(protocol, method, talk.opener == Some(received), nth)
            }
        }
    }
}

fn name(ty: FrameType) -> String {
    match ty.name() {
        Some(name) => name.to_owned(),
        None => format!("frame of type {:#x}{}", ty.0, reserved(ty.0)),
    }
}

fn reserved(number: u64) -> &'static str {
    if hikyaku_wire::codes::is_reserved(number) { " (grease)" } else { "" }
}
