//! `hikyaku room`: rooms.

use clap::Subcommand;
use hikyaku_chat::ChatClient;
use hikyaku_wire::chat::RoomId;
use serde::Serialize;

use super::random;
use crate::args::Global;
use crate::client::Client;
use crate::exit::{Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::{reference, time};

#[derive(Debug, Subcommand)]
pub(crate) enum Room {
    /// Make a room
    Create {
        /// Its name, '#' in front or not
        name: String,
        /// What it is about
        #[arg(long)]
        topic: Option<String>,
    },
    /// Show the rooms
    List {
        /// One JSON object per room
        #[arg(long)]
        json: bool,
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
}

impl Room {
    pub(crate) async fn run(self, global: &Global) -> Result {
        match self {
            Self::Create { name, topic } => {
                let room = reference::room(&name).map_err(|error| Trouble::usage(error.to_string()))?;
                let connection = Client::of(global, room.server.as_deref())?.connected().await?;
                let chat = ChatClient::new(connection.clone());
                let name = room.what.as_str();
                let created = chat.create_room(RoomId(random()?), name, topic.as_deref()).await;
                let created =
                    created.map_err(|error| Trouble::from(error).during(format_args!("#{name}")))?;
                connection.close().await;
                output::line(format_args!("#{}", hikyaku::printable(&created.room.name)))
            }
            Self::List { json } => {
                let connection = Client::of(global, None)?.connected().await?;
                let rooms = ChatClient::new(connection.clone()).rooms().await?;
                connection.close().await;
                rooms.iter().try_for_each(|room| print(room, json))
            }
        }
    }
}

fn print(room: &hikyaku_wire::chat::Room, json: bool) -> Result {
    let head = &room.head;
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
        });
    }
    let name = hikyaku::printable(&room.name);
    match head.last {
        0 => output::line(format_args!("#{name}  empty")),
        last => output::line(format_args!("#{name}  {last} events, the last {}", time::local(head.ts_ms))),
    }
}
