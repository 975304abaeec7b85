//! One event on its way into a room: from the outbox to the server's acknowledgement.
//!
//! The message gets its id from a key before anything is sent: one that the person chose, or a fresh one. Trying again,
//! here or later, with the same key is therefore always safe.

use std::time::{Duration, Instant};

use hikyaku::Error;
use hikyaku_chat::{ChatClient, RoomName, client};
use hikyaku_sqlite::client::{ClientError, ClientStore, KnownRoom};
use hikyaku_wire::chat::{MessageId, RoomId, Send, Sent};

use crate::client::{Backoff, Client};
use crate::commands::random;
use crate::exit::{Exit, Result, Trouble};
use crate::letter::{self, Letter};
use crate::mentions;

/// The longest one attempt may wait for its answer before a new connection is tried.
const ATTEMPT: Duration = Duration::from_secs(10);

/// A message on its way.
pub(crate) struct Message {
    pub(crate) room: RoomName,
    pub(crate) key: String,
    letter: Letter,
    store: ClientStore,
    /// It was handed to a connection at least once: the server may have it.
    attempted: bool,
}

impl Message {
    /// A message under a key of the person's own, or else under a fresh one.
    pub(crate) fn new(client: &Client, room: RoomName, letter: Letter, key: Option<String>) -> Result<Self> {
        let key = match key {
            Some(key) => key,
            None => random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Ok(Self { room, key, letter, store: client.server.store()?, attempted: false })
    }

    /// Tries until it is acknowledged, refused, or late.
    pub(crate) async fn say(&mut self, client: &Client, deadline: Instant) -> Result<Sent> {
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
        if self.letter.body.contains('@') && self.letter.kind.counts() {
            self.letter.mentions = mentions::of(&self.letter.body, &connection).await.map_err(Attempt::of)?;
        }
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
        let posted = letter::post(&mut self.store, (room, &self.room), id, self.letter.clone());
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
