//! One thing that was read, as a line for people; its parts are there for programs.

use std::fmt;

use hikyaku_wire::text::is_hostile;

/// Where in the layers a line belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The recording itself.
    Recording,
    /// A QMux record.
    Record,
    /// A QUIC frame, or what stands for one where streams were recorded.
    Frame,
    /// A session frame.
    Session,
    /// A record of a bundle.
    Bundle,
    /// A message of its own.
    Message,
}

impl Layer {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Record => "record",
            Self::Frame => "frame",
            Self::Session => "session",
            Self::Bundle => "bundle",
            Self::Message => "message",
        }
    }

    fn indent(self) -> usize {
        match self {
            Self::Recording | Self::Message | Self::Record | Self::Bundle => 0,
            Self::Frame => 2,
            Self::Session => 4,
        }
    }
}

/// One thing that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The connection, in a recording.
    pub connection: Option<u64>,
    /// Microseconds since the recording began.
    pub at: Option<u64>,
    /// Whether the recording side received it.
    pub received: Option<bool>,
    /// What kind of thing it is.
    pub layer: Layer,
    /// Where it begins: in the recording, in its direction of the byte stream, in its stream, bundle or message.
    pub offset: Option<u64>,
    /// The stream it is about.
    pub stream: Option<u64>,
    /// What it is called.
    pub name: String,
    /// Its length in bytes.
    pub length: Option<u64>,
    /// Its numbers by name.
    pub fields: Vec<(&'static str, u64)>,
    /// What else there is to say.
    pub note: Option<String>,
    /// The message in CBOR's diagnostic notation.
    pub cbor: Option<String>,
    /// Whether the bytes break a rule here.
    pub is_error: bool,
}

impl Line {
    pub(crate) fn new(layer: Layer, offset: u64, name: impl Into<String>) -> Self {
        Self {
            connection: None,
            at: None,
            received: None,
            layer,
            offset: Some(offset),
            stream: None,
            name: name.into(),
            length: None,
            fields: Vec::new(),
            note: None,
            cbor: None,
            is_error: false,
        }
    }

    pub(crate) fn error(layer: Layer, offset: u64, reason: impl Into<String>) -> Self {
        Self { note: Some(reason.into()), is_error: true, ..Self::new(layer, offset, "error") }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = String::new();
        if let Some(at) = self.at {
            head += &format!("{:>4}.{:06} ", at / 1_000_000, at % 1_000_000);
        }
        if let Some(connection) = self.connection {
            head += &format!("#{connection} ");
        }
        head += match self.received {
            Some(true) => "← ",
            Some(false) => "→ ",
            None => "",
        };
        f.write_str(&head)?;
        write!(f, "{:indent$}", "", indent = self.layer.indent())?;
        if let Some(offset) = self.offset {
            write!(f, "@{offset} ")?;
        }
        if let (Some(stream), Layer::Session) = (self.stream, self.layer) {
            write!(f, "stream {stream} ")?;
        }
        f.write_str(&self.name)?;
        if let Some(length) = self.length {
            write!(f, ", {length} bytes")?;
        }
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        if let Some(note) = &self.note {
            write!(f, ": {}", Harmless(note))?;
        }
        if let Some(cbor) = &self.cbor {
            write!(f, "\n{:indent$}{}", "", Harmless(cbor), indent = self.layer.indent() + 4)?;
        }
        Ok(())
    }
}

/// Whatever it is: no character of it moves a cursor or turns the reading direction.
struct Harmless<'a>(&'a str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|character| {
            if is_hostile(character) {
                write!(f, "{}", character.escape_unicode())
            } else {
                f.write_char(character)
            }
        })
    }
}
