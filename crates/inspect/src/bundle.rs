//! A bundle: a directory tree as records. What it shows is where each record lies and what it says; whether the tree is
//! canonical is for its receiver to judge. Spec: section 5.6.

use hikyaku_wire::bundle::{MAX_HEADER, RecordType};
use hikyaku_wire::varint;

use crate::diagnostic::diagnostic;
use crate::line::{Layer, Line};

/// The longest type and length.
const LONGEST: usize = 2 * varint::MAX_LEN;

/// Reads one bundle from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    offset: u64,
    /// Where the record at hand begins.
    start: u64,
    held: Vec<u8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Header,
    Payload {
        ty: RecordType,
        length: usize,
    },
    /// Bytes that are not shown: content, and records that nobody knows.
    Pass {
        left: u64,
    },
    /// Nothing more is looked at.
    Opaque,
}

impl Bundle {
    pub(crate) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Line)) {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Header => self.header(bytes, sink),
                State::Payload { ty, length } => self.payload(ty, length, bytes, sink),
                State::Pass { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.pass(left - taken as u64);
                    taken
                }
                State::Opaque => bytes.len(),
            };
            self.offset += taken as u64;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Line)) {
        let inside = match self.state {
            State::Header if self.held.is_empty() => return,
            State::Opaque => return,
            State::Header => "a record's header".to_owned(),
            State::Payload { ty, length } => format!("{} ({} of {length} bytes)", name(ty), self.held.len()),
            State::Pass { left } => format!("a record ({left} bytes are missing)"),
        };
        sink(Line::error(Layer::Bundle, self.start, format!("the bundle ends inside {inside}")));
        self.state = State::Opaque;
    }

    fn header(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Line)) -> usize {
        let before = self.held.len();
        if before == 0 {
            self.start = self.offset;
        }
        let take = bytes.len().min(LONGEST.saturating_sub(before));
        self.held.extend_from_slice(bytes.get(..take).unwrap_or_default());
        let Some((ty, first)) = varint::decode(&self.held) else { return take };
        let rest = self.held.get(first..).unwrap_or_default();
        let Some((length, second)) = varint::decode(rest) else { return take };
        self.held.clear();
        //= S5.40
        if !varint::is_shortest(ty, first) || !varint::is_shortest(length, second) {
            let reason = "a record's type or length is not in its shortest form";
            sink(Line::error(Layer::Bundle, self.start, reason));
            self.state = State::Opaque;
            return bytes.len();
        }
        self.begin(RecordType(ty), length, sink);
        (first + second).saturating_sub(before)
    }

    fn begin(&mut self, ty: RecordType, length: u64, sink: &mut dyn FnMut(Line)) {
        let is_shown = ty != RecordType::BYTES && is_known(ty);
        match usize::try_from(length).ok().filter(|_| length <= MAX_HEADER) {
            Some(length) if is_shown && length > 0 => self.state = State::Payload { ty, length },
            shown => {
                let mut line = self.line(ty, length);
                if shown.is_none() && ty != RecordType::BYTES {
                    line.is_error = true;
                    line.note = Some(format!("longer than {MAX_HEADER} bytes, which its receiver refuses"));
                } else if is_shown {
                    line.is_error = true;
                    line.note = Some("it has no payload".to_owned());
                } else if ty != RecordType::BYTES {
                    line.note = Some("passed over by whoever does not know it".to_owned());
                }
                sink(line);
                self.pass(length);
            }
        }
    }

    fn pass(&mut self, left: u64) {
        self.state = if left == 0 { State::Header } else { State::Pass { left } };
    }

    fn payload(&mut self, ty: RecordType, length: usize, bytes: &[u8], sink: &mut dyn FnMut(Line)) -> usize {
        let taken = length.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.held.len() < length {
            return taken;
        }
        let payload = std::mem::take(&mut self.held);
        self.state = State::Header;
        let mut line = self.line(ty, payload.len() as u64);
        if let Some(counted) = counted(ty) {
            match varint::decode(&payload) {
                Some((count, size)) if size == payload.len() => line.fields.push((counted, count)),
                _ => {
                    line.is_error = true;
                    line.note = Some("its payload is no number".to_owned());
                }
            }
            sink(line);
            return taken;
        }
        let (text, error) = diagnostic(&payload, Some(rule(ty)));
        line.cbor = Some(text);
        sink(line);
        if let Some((within, reason)) = error {
            let begins = self.offset + taken as u64 - payload.len() as u64;
            sink(Line::error(Layer::Bundle, begins + within, reason));
        }
        taken
    }

    fn line(&self, ty: RecordType, length: u64) -> Line {
        let mut line = Line::new(Layer::Bundle, self.start, name(ty));
        line.length = Some(length);
        line
    }
}

fn is_known(ty: RecordType) -> bool {
    (RecordType::ENTER.0..=RecordType::KEPT.0).contains(&ty.0)
}

fn name(ty: RecordType) -> String {
    match ty {
        RecordType::ENTER => "ENTER",
        RecordType::LEAVE => "LEAVE",
        RecordType::FILE => "FILE",
        RecordType::BYTES => "BYTES",
        RecordType::HOLE => "HOLE",
        RecordType::END => "END",
        RecordType::SYMLINK => "SYMLINK",
        RecordType::HARD_LINK => "HARD_LINK",
        RecordType::LEFT_OUT => "LEFT_OUT",
        RecordType::DONE => "DONE",
        RecordType::KEPT => "KEPT",
        RecordType(ty) => return format!("record of type {ty:#x}"),
    }
    .to_owned()
}

/// What a payload counts that is one number.
fn counted(ty: RecordType) -> Option<&'static str> {
    match ty {
        RecordType::HOLE => Some("zeros"),
        RecordType::KEPT => Some("files"),
        _ => None,
    }
}

/// The rule of a payload.
fn rule(ty: RecordType) -> &'static str {
    match ty {
        RecordType::ENTER => "bundle-enter",
        RecordType::LEAVE => "bundle-leave",
        RecordType::FILE => "bundle-file",
        RecordType::END => "bundle-end",
        RecordType::SYMLINK => "bundle-symlink",
        RecordType::HARD_LINK => "bundle-hard-link",
        RecordType::LEFT_OUT => "bundle-left-out",
        _ => "bundle-done",
    }
}
