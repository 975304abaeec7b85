//! `hikyaku inspect`: what recorded bytes say, from the records down to the messages.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hikyaku_inspect::{Input, Inspector, Line, rule_names};
use hikyaku_wire::recording::MAGIC;
use serde::Serialize;

use super::blocking;
use crate::exit::{self, Exit, Result, Trouble};
use crate::output::{JSON_VERSION, Lines};

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// What --record has written, or other bytes; '-' reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the bytes are, when they are no recording
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// The rule of the CDDL that a message obeys, for the names of its fields; 'list' lists them
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// `--as`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A file that --record has written
    Recording,
    /// One direction of a decrypted byte stream over TCP, from its beginning: QMux records
    Records,
    /// One direction of one stream, from its beginning: session frames
    Stream,
    /// A directory tree as it travels and lies in a vault: a bundle, from its beginning
    Bundle,
    /// One CBOR message
    Message,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    v: u32,
    r#type: &'static str,
    layer: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    fields: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cbor: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    error: bool,
}

impl Inspect {
    pub(crate) async fn run(self) -> Result {
        blocking(move || self.inspect()).await
    }

    fn inspect(self) -> Result {
        if self.rule.as_deref() == Some("list") {
            return rule_names().iter().try_for_each(crate::output::line);
        }
        let name = if self.file.as_os_str() == "-" {
            "standard input".to_owned()
        } else {
            self.file.display().to_string()
        };
        let trouble = |error: io::Error| exit::io(&name, &error);
        let mut bytes: Box<dyn Read> = match self.file.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(&self.file).map_err(trouble)?),
        };
        let mut begin = Vec::new();
        bytes.by_ref().take(MAGIC.len() as u64).read_to_end(&mut begin).map_err(trouble)?;
        let mut inspector = Inspector::new(self.input(&begin, &name)?);
        let mut lines = Lines::new();
        let mut printed = Ok(());
        let mut print = |line: Line| {
            if printed.is_ok() {
                printed = if self.json { lines.json(&JsonLine::of(&line)) } else { lines.line(&line) };
            }
            printed.is_ok()
        };
        let mut going_on = true;
        inspector.push(&begin, &mut |line| going_on &= print(line));
        let mut buffer = vec![0; CHUNK];
        while going_on {
            let read = bytes.read(&mut buffer).map_err(trouble)?;
            if read == 0 {
                break;
            }
            inspector.push(buffer.get(..read).unwrap_or_default(), &mut |line| going_on &= print(line));
        }
        let errors = inspector.finish(&mut |line| going_on &= print(line));
        printed?;
        lines.end()?;
        match errors {
            0 => Ok(()),
            errors => Err(Trouble::new(Exit::Corrupt, format!("{name}: {errors} places break a rule"))),
        }
    }

    /// What the bytes are: what was said, or what they begin with.
    fn input(&self, begin: &[u8], name: &str) -> Result<Input> {
        Ok(match self.kind {
            Some(Kind::Recording) => Input::Recording,
            Some(Kind::Records) => Input::Records,
            Some(Kind::Stream) => Input::Stream,
            Some(Kind::Bundle) => Input::Bundle,
            Some(Kind::Message) => Input::Message(self.known_rule()?),
            None if begin == MAGIC => Input::Recording,
            None => {
                return Err(Trouble::usage(format!("{name} is no recording"))
                    .hint("say what it is with --as records, --as stream, --as bundle or --as message"));
            }
        })
    }

    fn known_rule(&self) -> Result<Option<String>> {
        match &self.rule {
            Some(rule) if !rule_names().contains(&rule.as_str()) => {
                Err(Trouble::usage("there is no such rule in the CDDL").hint("--rule list lists them"))
            }
            rule => Ok(rule.clone()),
        }
    }
}

impl<'a> JsonLine<'a> {
    fn of(line: &'a Line) -> Self {
        Self {
            v: JSON_VERSION,
            r#type: "inspected",
            layer: line.layer.name(),
            name: &line.name,
            connection: line.connection,
            at: line.at,
            received: line.received,
            offset: line.offset,
            stream: line.stream,
            length: line.length,
            fields: line.fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
            note: line.note.as_deref(),
            cbor: line.cbor.as_deref(),
            error: line.is_error,
        }
    }
}
