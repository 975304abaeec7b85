//! `hikyaku say`: one message, done when it is durable on the server.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use hikyaku_wire::chat::Kind;
use serde::Serialize;

use super::blocking;
use crate::args::{Global, duration};
use crate::client::Client;
use crate::exit::{self, Exit, Result, Trouble};
use crate::letter::{About, Letter};
use crate::output::{self, JSON_VERSION};
use crate::reference;
use crate::sending::Message;

/// The largest message read from standard input: what a server takes at most.
const MAX_TEXT: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Say {
    /// The room, '#' in front or not
    room: String,
    /// The text; without it, standard input is read
    text: Option<String>,
    #[command(flatten)]
    about: ToEvent,
    /// A name of your own for this message: however often it is said with the same key, it is one message
    #[arg(long, value_name = "K")]
    key: Option<String>,
    /// How long to try before giving up
    #[arg(long, value_name = "T", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What to do with an event instead of saying something new.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct ToEvent {
    /// Answer the event with this number
    #[arg(long, value_name = "SEQ", value_parser = about)]
    reply_to: Option<About>,
    /// Let the text take the place of what you said in this event
    #[arg(long, value_name = "SEQ", value_parser = about)]
    edit: Option<About>,
    /// Delete this event: its text is erased on the server
    #[arg(long, value_name = "SEQ", value_parser = about, conflicts_with = "text")]
    delete: Option<About>,
    /// React to this event; the text is the reaction, one emoji or short word
    #[arg(long, value_name = "SEQ", value_parser = about)]
    react: Option<About>,
    /// Take back your reaction to this event; the text is the reaction
    #[arg(long, value_name = "SEQ", value_parser = about)]
    unreact: Option<About>,
}

impl ToEvent {
    fn kind(&self) -> (Kind, Option<About>) {
        let kinds = [
            (Kind::REPLY, self.reply_to),
            (Kind::EDIT, self.edit),
            (Kind::DELETE, self.delete),
            (Kind::REACTION, self.react),
            (Kind::UNREACT, self.unreact),
        ];
        kinds.into_iter().find(|(_, about)| about.is_some()).unwrap_or((Kind::MESSAGE, None))
    }
}

/// `17`, or `2.17` with the epoch that is meant.
pub(super) fn about(text: &str) -> Result<About, String> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|seq| *seq > 0);
    let (epoch, seq) = match text.split_once('.') {
        Some((epoch, seq)) => (epoch.parse().ok().map(Some), number(seq)),
        None => (Some(None), number(text)),
    };
    match (epoch, seq) {
        (Some(epoch), Some(seq)) => Ok(About { epoch, seq }),
        _ => Err("an event is meant by its number: '17', or '2.17' with the epoch".to_owned()),
    }
}

#[derive(Serialize)]
struct JsonSaid {
    v: u32,
    r#type: &'static str,
    room: String,
    epoch: u32,
    seq: u64,
    ts: String,
    duplicate: bool,
    key: String,
}

impl Say {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let room = reference::room(&self.room).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, room.server.as_deref())?;
        let (kind, about) = self.about.kind();
        let body = match self.text {
            _ if kind == Kind::DELETE => String::new(),
            Some(text) => text,
            None => blocking(read_text).await?,
        };
        if body.is_empty() && kind != Kind::DELETE {
            return Err(Trouble::usage("there is nothing to say: the text is empty"));
        }
        let letter = Letter { kind, body, about, mentions: Vec::new() };
        let mut message = Message::new(&client, room.what, letter, self.key)?;
        let sent = message.say(&client, self.timeout).await?;
        if !self.json {
            return output::line(format_args!("{}:{}", message.room, sent.seq));
        }
        output::json(&JsonSaid {
            v: JSON_VERSION,
            r#type: "said",
            room: message.room.as_str().to_owned(),
            epoch: sent.epoch,
            seq: sent.seq,
            ts: crate::time::utc(sent.ts_ms),
            duplicate: sent.duplicate,
            key: message.key,
        })
    }
}

fn read_text() -> Result<String> {
    let mut text = Vec::new();
    let read = std::io::stdin().take(MAX_TEXT + 1).read_to_end(&mut text);
    read.map_err(|error| exit::io("standard input", &error))?;
    if text.len() as u64 > MAX_TEXT {
        return Err(Trouble::new(Exit::TimeoutOrLimit, format!("a message has at most {MAX_TEXT} bytes"))
            .hint("send it as a file: 'hikyaku send FILE --to #room'"));
    }
    let text = String::from_utf8(text).map_err(|_| Trouble::usage("standard input is not UTF-8 text"))?;
    // What a shell's echo adds is not part of the message.
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
