//! `hikyaku say`: one message, done when it is durable on the server.
//!
//! The message gets its id from a key before anything is sent: the one given with `--key`, or a fresh one. Trying
//! again, here or later, with the same key is therefore always safe.

use std::io::Read as _;
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku::Error;
use hikyaku_chat::{ChatClient, RoomName, client};
use hikyaku_sqlite::client::{ClientError, ClientStore, KnownRoom};
use hikyaku_wire::chat::{MessageId, RoomId, Send, Sent};
use serde::Serialize;

use super::{blocking, random};
use crate::args::{Global, duration};
use crate::client::{Backoff, Client};
use crate::exit::{self, Exit, Result, Trouble};
use crate::output::{self, JSON_VERSION};
use crate::{letter, reference};

/// The largest message read from standard input: what a server takes at most.
const MAX_TEXT: u64 = 64 * 1024;
/// The longest one attempt may wait for its answer before a new connection is tried.
const ATTEMPT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Say {
    /// The room, '#' in front or not
    room: String,
    /// The text; without it, standard input is read
    text: Option<String>,
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
        let text = match self.text {
            Some(text) => text,
            None => blocking(read_text).await?,
        };
        if text.is_empty() {
            return Err(Trouble::usage("there is nothing to say: the text is empty"));
        }
        let key = match self.key {
            Some(key) => key,
            None => hex(&random::<8>()?),
        };
        let mut message =
            Message { room: room.what, text, key, store: client.server.store()?, attempted: false };
        let deadline = Instant::now() + self.timeout;
        let sent = message.say(&client, deadline).await?;
        if !self.json {
            return output::line(format_args!("#{}:{}", message.room.as_str(), sent.seq));
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

/// A message on its way.
struct Message {
    room: RoomName,
    text: String,
    key: String,
    store: ClientStore,
    /// It was handed to a connection at least once: the server may have it.
    attempted: bool,
}

impl Message {
    /// Tries until it is acknowledged, refused, or late.
    async fn say(&mut self, client: &Client, deadline: Instant) -> Result<Sent> {
        let mut backoff = Backoff::new();
        loop {
            let attempt = tokio::time::timeout_at(deadline.into(), self.attempt(client)).await;
            let error = match attempt {
                Ok(Ok(sent)) => return Ok(sent),
                Ok(Err(Attempt::Trouble(trouble))) => return Err(trouble),
                Ok(Err(Attempt::Refused(error))) => return Err(self.refused(error)),
                Ok(Err(Attempt::Again(error))) => error,
                Err(_) => Error::ConnectTimeout(Duration::ZERO),
            };
            if Instant::now() + Duration::from_millis(100) >= deadline {
                return Err(self.late(error));
            }
            backoff.wait().await;
        }
    }

    async fn attempt(&mut self, client: &Client) -> Result<Sent, Attempt> {
        let connection = client.connect().await.map_err(Attempt::of)?;
        let chat = ChatClient::new(connection.clone());
        let room = self.resolve(&chat).await?;
        let send = self.enqueue(room)?;
        self.attempted = true;
        let answered = tokio::time::timeout(ATTEMPT, chat.send(&send)).await;
        let sent = answered.unwrap_or(Err(Error::ConnectTimeout(ATTEMPT))).map_err(Attempt::of)?;
        self.store
            .change(|changes| changes.settle(send.id.0))
            .map_err(|error| Attempt::Trouble(error.into()))?;
        connection.close().await;
        Ok(sent)
    }

    /// The room's id, remembered for the next time.
    async fn resolve(&mut self, chat: &ChatClient) -> Result<RoomId, Attempt> {
        let name = self.room.as_str();
        let stored = |error: ClientError| Attempt::Trouble(error.into());
        if let Some(known) = self.store.room(name).map_err(stored)? {
            return Ok(RoomId(known.room.0));
        }
        let room =
            chat.resolve(hikyaku_wire::chat::RoomRef::Name(name.to_owned())).await.map_err(Attempt::of)?;
        let known = KnownRoom {
            room: hikyaku_storage::RoomId(room.head.room.0),
            name: name.to_owned(),
            epoch: room.head.epoch,
            last: room.head.last,
            title: None,
        };
        self.store.change(|changes| changes.put_room(&known)).map_err(stored)?;
        Ok(room.head.room)
    }

    /// Stores the message before it is sent, under the id that its key stands for.
    fn enqueue(&mut self, room: RoomId) -> Result<Send, Attempt> {
        let id: MessageId = client::id_for_key(room, &self.key);
        let posted = letter::post(&mut self.store, (room, &self.room), id, self.text.clone());
        posted.map_err(|error| match error {
            ClientError::KeyReused { .. } => {
                Attempt::Trouble(self.reused("another text is waiting under the key"))
            }
            error => Attempt::Trouble(error.into()),
        })
    }

    /// The server has said no: nothing waits any longer.
    fn refused(&mut self, error: Error) -> Trouble {
        let known = self.store.room(self.room.as_str()).ok().flatten();
        if let Some(known) = known {
            let id = client::id_for_key(RoomId(known.room.0), &self.key);
            // The refusal is what matters; a row left behind is only shown by `status`.
            let _ = self.store.change(|changes| {
                changes.settle(id.0)?;
                if error.code() == hikyaku::ErrorCode::ROOM_UNKNOWN {
                    changes.forget_room(known.room)
                } else {
                    Ok(())
                }
            });
        }
        if error.code() == hikyaku::ErrorCode::ID_REUSED {
            return self.reused(&error.to_string());
        }
        Trouble::from(error).during(format_args!("saying it in #{}", self.room.as_str()))
    }

    fn reused(&self, why: &str) -> Trouble {
        Trouble::new(
            Exit::Failed,
            format!("the key '{}' stands for another message: {why}", hikyaku::printable(&self.key)),
        )
        .hint("choose a new key for a new message")
    }

    fn late(&self, error: Error) -> Trouble {
        if !self.attempted {
            let trouble = Trouble::from(error);
            return trouble.during(format_args!("the message was not sent to #{}", self.room.as_str()));
        }
        Trouble::new(
            Exit::OutcomeUnknown,
            format!(
                "no acknowledgement in time: the message may or may not be in #{} ({error})",
                self.room.as_str()
            ),
        )
        .hint(format!(
            "say the same again with --key {} : it will be there once, whatever happened",
            self.key
        ))
    }
}

/// How an attempt failed.
enum Attempt {
    /// Another may work.
    Again(Error),
    /// The server has said no.
    Refused(Error),
    /// This computer has said no.
    Trouble(Trouble),
}

impl Attempt {
    fn of(error: Error) -> Self {
        if error.is_retryable() { Self::Again(error) } else { Self::Refused(error) }
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
