//! `hikyaku room`: rooms, what they are about, and who belongs to them.

mod members;

use std::time::Duration;

use clap::Subcommand;
use hikyaku::{Connection, printable};
use hikyaku_chat::{ChatClient, RoomName};
use hikyaku_wire::chat::{Kind, MarkRead, Retain, Retention, Room as Info, RoomId, RoomRef, Trim};
use serde::Serialize;

use super::random;
use super::say::about;
use crate::args::{Global, duration};
use crate::client::Client;
use crate::event::Shown;
use crate::exit::{Result, Trouble};
use crate::letter::{About, Letter};
use crate::output::{self, JSON_VERSION};
use crate::sending::Message;
use crate::{reference, time};

/// How long a change that is an event is tried.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(crate) enum Room {
    /// Make a room
    Create {
        /// Its name, '#' in front or not
        name: String,
        /// What it is about
        #[arg(long)]
        topic: Option<String>,
        /// Only its members may read it and know of it
        #[arg(long)]
        private: bool,
    },
    /// Show the rooms, and what is unread in them
    List {
        /// One JSON object per room
        #[arg(long)]
        json: bool,
    },
    /// Show what a room is about, or say it anew
    Topic {
        /// The room
        room: String,
        /// The new topic
        text: Option<String>,
    },
    /// Keep an event in view
    Pin {
        /// The room
        room: String,
        /// The event's number
        #[arg(value_parser = about)]
        event: About,
    },
    /// Keep an event in view no longer
    Unpin {
        /// The room
        room: String,
        /// The event's number
        #[arg(value_parser = about)]
        event: About,
    },
    /// Show the events that are kept in view
    Pins {
        /// The room
        room: String,
    },
    /// Say how far you have read; what is unread is counted from there, on all your devices
    Read {
        /// The room
        room: String,
        /// The last event read [default: the newest]
        #[arg(value_name = "SEQ")]
        event: Option<u64>,
    },
    #[command(flatten)]
    Members(members::Membership),
    /// Show how long a room keeps its events and files, or set it; what is not named stays as it is
    Retention {
        /// The room
        room: String,
        /// Events older than this go: 90d
        #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "forever")]
        age: Option<Duration>,
        /// Only so many of the newest stay
        #[arg(long, value_name = "N", conflicts_with = "forever")]
        events: Option<u64>,
        /// The content of files that are older than this goes, and their events stay: 30d
        #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "forever")]
        files: Option<Duration>,
        /// Nothing goes
        #[arg(long)]
        forever: bool,
    },
    /// Remove the oldest events of a room for ever
    Trim {
        /// The room
        room: String,
        /// The last event that goes
        #[arg(long, value_name = "SEQ")]
        through: u64,
    },
}

#[derive(Serialize)]
struct JsonRoom {
    v: u32,
    r#type: &'static str,
    name: String,
    id: String,
    epoch: u32,
    first: u64,
    last: u64,
    ts: String,
    private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pins: Vec<u64>,
    read: u64,
    unread: u64,
    mentions: u32,
    chain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<JsonRetention>,
}

#[derive(Serialize)]
struct JsonRetention {
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_ms: Option<u64>,
}

/// A room that a command is about, and a connection to its server.
struct Open {
    connection: Connection,
    chat: ChatClient,
    name: RoomName,
}

impl Open {
    async fn room(global: &Global, text: &str) -> Result<Self> {
        let room = reference::room(text).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, room.server.as_deref())?;
        let connection = client.connected().await?;
        let chat = ChatClient::new(connection.clone());
        Ok(Self { connection, chat, name: room.what })
    }

    fn named(&self) -> RoomRef {
        RoomRef::Name(self.name.as_str().to_owned())
    }

    fn trouble(&self, error: hikyaku::Error) -> Trouble {
        Trouble::from(error).during(format_args!("{}", self.name))
    }

    async fn info(&self) -> Result<Info> {
        self.chat.resolve(self.named()).await.map_err(|error| self.trouble(error))
    }
}

impl Room {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self {
            Self::Create { name, topic, private } => create(global, &name, topic.as_deref(), private).await,
            Self::List { json } => {
                let connection = Client::of(global, None)?.connected().await?;
                let rooms = ChatClient::new(connection.clone()).rooms().await?;
                connection.close().await;
                rooms.iter().try_for_each(|room| print(room, json))
            }
            Self::Topic { room, text: Some(text) } => tell(global, &room, Kind::TOPIC, text, None).await,
            Self::Topic { room, text: None } => {
                let open = Open::room(global, &room).await?;
                let info = open.info().await?;
                open.connection.close().await;
                let topic = info.topic.as_deref().unwrap_or_default();
                output::line(hikyaku::printable(topic))
            }
            Self::Pin { room, event } => tell(global, &room, Kind::PIN, String::new(), Some(event)).await,
            Self::Unpin { room, event } => tell(global, &room, Kind::UNPIN, String::new(), Some(event)).await,
            Self::Pins { room } => pins(global, &room).await,
            Self::Read { room, event } => read(global, &room, event).await,
            Self::Members(members) => members.run(global).await,
            Self::Retention { room, age, events, files, forever } => {
                let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 11);
                let wanted = Retention { age_ms: age.map(ms), events, files_ms: files.map(ms) };
                let wanted = (forever || wanted != Retention::default()).then_some(wanted);
                retention(global, &room, wanted, forever).await
            }
            Self::Trim { room, through } => {
                let open = Open::room(global, &room).await?;
                let epoch = open.info().await?.head.epoch;
                let trim = Trim { room: open.named(), epoch, through };
                let info = open.chat.trim(&trim).await.map_err(|error| open.trouble(error))?;
                open.connection.close().await;
                output::line(format_args!("{} begins with event {}", open.name, info.head.first))
            }
        }
    }
}

async fn create(global: &Global, name: &str, topic: Option<&str>, private: bool) -> Result {
    let open = Open::room(global, name).await?;
    let (id, name) = (RoomId(random()?), open.name.as_str());
    let created = match private {
        true => open.chat.create_private_room(id, name, topic).await,
        false => open.chat.create_room(id, name, topic).await,
    };
    let created = created.map_err(|error| open.trouble(error))?;
    open.connection.close().await;
    output::line(reference::place(&created.room.name))
}

/// Makes an event that is no message, as `say` makes messages.
async fn tell(global: &Global, room: &str, kind: Kind, body: String, about: Option<About>) -> Result {
    let room = reference::room(room).map_err(|error| Trouble::usage(error.to_string()))?;
    let client = Client::of(global, room.server.as_deref())?;
    let letter = Letter { kind, body, about, mentions: Vec::new() };
    let mut message = Message::new(&client, room.what, letter, None)?;
    let sent = message.say(&client, PATIENCE).await?;
    output::line(format_args!("{}:{}", message.room, sent.seq))
}

async fn pins(global: &Global, room: &str) -> Result {
    let open = Open::room(global, room).await?;
    let info = open.info().await?;
    for seq in info.pins {
        let ask = hikyaku_wire::chat::History {
            room: info.head.room.into(),
            from: Some(seq),
            since_ms: None,
            limit: Some(1),
            chain: false,
        };
        let page = open.chat.history(&ask).await.map_err(|error| open.trouble(error))?;
        if let Some(record) = page.records.iter().next().filter(|_| page.first == seq) {
            output::line(Shown::record(open.name.as_str(), info.head.epoch, seq, &record).line())?;
        }
    }
    open.connection.close().await;
    Ok(())
}

async fn read(global: &Global, room: &str, event: Option<u64>) -> Result {
    let open = Open::room(global, room).await?;
    let head = open.info().await?.head;
    let seq = event.unwrap_or(head.last);
    let mark = MarkRead { room: open.named(), epoch: head.epoch, seq };
    let read = open.chat.mark_read(&mark).await.map_err(|error| open.trouble(error))?;
    open.connection.close().await;
    let unread = head.count.saturating_sub(read.count);
    output::line(format_args!("{}: {unread} unread", open.name))
}

async fn retention(global: &Global, room: &str, wanted: Option<Retention>, forever: bool) -> Result {
    let open = Open::room(global, room).await?;
    let info = match wanted {
        None => open.info().await?,
        Some(wanted) => {
            let known = if forever { None } else { open.info().await?.retention };
            let known = known.unwrap_or_default();
            let retention = Retention {
                age_ms: wanted.age_ms.or(known.age_ms),
                events: wanted.events.or(known.events),
                files_ms: wanted.files_ms.or(known.files_ms),
            };
            let retain = Retain { room: open.named(), retention };
            open.chat.retain(&retain).await.map_err(|error| open.trouble(error))?
        }
    };
    open.connection.close().await;
    output::line(format_args!("{} keeps {}", open.name, kept(info.retention)))
}

fn kept(retention: Option<Retention>) -> String {
    let Some(Retention { age_ms, events, files_ms }) = retention else { return "everything".to_owned() };
    let time = |ms: u64| match ms / 1_000 {
        days if days % 86_400 == 0 && days > 0 => format!("{} days", days / 86_400),
        hours if hours % 3_600 == 0 && hours > 0 => format!("{} hours", hours / 3_600),
        seconds => format!("{seconds} seconds"),
    };
    let kept = match (events, age_ms.map(time)) {
        (Some(events), Some(age)) => format!("the newest {events} events, none older than {age}"),
        (Some(events), None) => format!("the newest {events} events"),
        (None, Some(age)) => format!("the events of the last {age}"),
        (None, None) if files_ms.is_some() => "every event".to_owned(),
        (None, None) => "everything".to_owned(),
    };
    match files_ms.map(time) {
        Some(files) => format!("{kept}, and files for {files}"),
        None => kept,
    }
}

/// What is unread: events, and among them those that mention the asker.
pub(super) fn unread(room: &Info) -> (u64, u32) {
    let (count, mentions) = room.read.map_or((0, 0), |read| (read.count, read.mentions));
    (room.head.count.saturating_sub(count), mentions)
}

fn print(room: &Info, json: bool) -> Result {
    let (head, (unread, mentions)) = (&room.head, unread(room));
    if json {
        return output::json(&JsonRoom {
            v: JSON_VERSION,
            r#type: "room",
            name: room.name.clone(),
            id: head.room.to_string(),
            epoch: head.epoch,
            first: head.first,
            last: head.last,
            ts: time::utc(head.ts_ms),
            private: room.private,
            role: room.role.map(|role| role.name()),
            topic: room.topic.clone(),
            pins: room.pins.clone(),
            read: room.read.map_or(0, |read| read.seq),
            unread,
            mentions,
            chain: head.chain.to_string(),
            retention: room.retention.map(|Retention { age_ms, events, files_ms }| JsonRetention {
                age_ms,
                events,
                files_ms,
            }),
        });
    }
    let mut line = match head.last {
        0 => format!("{}  empty", reference::place(&room.name)),
        last => {
            format!("{}  {last} events, the last {}", reference::place(&room.name), time::local(head.ts_ms))
        }
    };
    if unread > 0 {
        line.push_str(&format!(", {unread} unread"));
    }
    if mentions > 0 {
        line.push_str(&format!(" ({mentions} for you)"));
    }
    if room.private && !room.name.starts_with('@') {
        line.push_str(", private");
    }
    if room.role == Some(hikyaku_wire::chat::MemberRole::Invited) {
        line.push_str(", you are invited");
    }
    if let Some(topic) = &room.topic {
        line.push_str(&format!("  {}", printable(topic)));
    }
    output::line(line)
}
