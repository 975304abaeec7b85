//! One event on its way into a room: from the outbox to the server's acknowledgement.
//!
//! The message gets its id from a key before anything is sent: one that the person chose, or a fresh one. Trying again,
//! here or later, with the same key is therefore always safe.

use std::time::{Duration, Instant};

use hikyaku::{Error, ErrorCode};
use hikyaku_chat::{ChatClient, RoomName, client};
use hikyaku_sqlite::client::{ClientError, ClientStore, KnownRoom, OutboxState};
use hikyaku_wire::chat::{MessageId, RoomId, Send, Sent};

use crate::backlog::{self, Held};
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
    /// It is in the outbox, put there by this process.
    posted: bool,
    /// An attempt, of this process or an earlier one, ended without an answer: the server may have it.
    unsure: bool,
    /// An earlier message of the room, by its beginning, that has no answer either: this one waits behind it.
    behind: Option<String>,
}

impl Message {
    /// A message under a key of the person's own, or else under a fresh one.
    pub(crate) fn new(client: &Client, room: RoomName, letter: Letter, key: Option<String>) -> Result<Self> {
        let key = match key {
            Some(key) => key,
            None => random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        Ok(Self {
            room,
            key,
            letter,
            store: client.server.store()?,
            posted: false,
            unsure: false,
            behind: None,
        })
    }

    /// Tries until it is acknowledged, refused, or late.
    pub(crate) async fn say(&mut self, client: &Client, time: Duration) -> Result<Sent> {
        let deadline = Instant::now() + time;
        let (mut backoff, mut why) = (Backoff::new(), Error::ConnectTimeout(time));
        loop {
            match tokio::time::timeout_at(deadline.into(), self.attempt(client)).await {
                Ok(Ok(sent)) => return Ok(sent),
                Ok(Err(Attempt::Trouble(trouble))) => return Err(trouble),
                Ok(Err(Attempt::Refused(error))) => return Err(self.refused(error)),
                Ok(Err(Attempt::Hopeless(error))) => return Err(self.late(error)),
                Ok(Err(Attempt::Again(error))) => why = error,
                Err(_) => return Err(self.late(why)),
            }
            let asked = why.retry_after();
            if Instant::now() + asked.unwrap_or_default().max(Duration::from_millis(100)) >= deadline {
                return Err(self.late(why));
            }
            backoff.wait(asked).await;
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
        let earlier = backlog::send_earlier(&chat, &mut self.store, (room, &self.room), send.id);
        let earlier = tokio::time::timeout(ATTEMPT, earlier).await;
        match earlier.unwrap_or(Err(Held::Behind { earlier: String::new(), error: Error::Deadline })) {
            Ok(()) => self.behind = None,
            Err(Held::Trouble(trouble)) => return Err(Attempt::Trouble(trouble)),
            Err(Held::Behind { earlier, error }) => {
                self.behind = Some(earlier);
                return Err(Attempt::of_earlier(error));
            }
        }
        // Until the answer is here, also when this future is dropped.
        let was_unsure = std::mem::replace(&mut self.unsure, true);
        let answered = tokio::time::timeout(ATTEMPT, chat.send(&send)).await;
        let sent = answered.unwrap_or(Err(Error::Deadline)).map_err(|error| {
            self.unsure = was_unsure || !error.says_no();
            Attempt::of_send(error, was_unsure)
        })?;
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
        if !std::mem::replace(&mut self.posted, true) {
            let waiting = self.store.outbox_entry(id.0).map_err(|error| Attempt::Trouble(error.into()))?;
            self.unsure = waiting.is_some_and(|waiting| waiting.state == OutboxState::Attempted);
        }
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
        self.settle(error.code() == ErrorCode::ROOM_UNKNOWN);
        if error.code() == ErrorCode::ID_REUSED {
            return self.reused(&error.to_string());
        }
        Trouble::from(error).during(format_args!("saying it in {}", self.room))
    }

    /// It waits no longer; `forgotten`: nor is the room's id remembered.
    fn settle(&mut self, forgotten: bool) {
        let Some(known) = self.store.room(self.room.as_str()).ok().flatten() else { return };
        let id = client::id_for_key(RoomId(known.room.0), &self.key);
        // Why it was not sent is what matters; a row left behind is only shown by `status`.
        let _ = self.store.change(|changes| {
            changes.settle(id.0)?;
            if forgotten { changes.forget_room(known.room) } else { Ok(()) }
        });
    }

    fn reused(&self, why: &str) -> Trouble {
        Trouble::new(
            Exit::Failed,
            format!("the key '{}' stands for another message: {why}", hikyaku::printable(&self.key)),
        )
        .hint("choose a new key for a new message")
    }

    fn late(&mut self, error: Error) -> Trouble {
        if !self.unsure {
            self.settle(false);
            let trouble = match self.behind.take() {
                Some(earlier) => Trouble::from(error).during(format_args!(
                    "an earlier message there has no answer yet, and goes first{earlier}"
                )),
                None => Trouble::from(error),
            };
            return trouble.during(format_args!("the message was not sent to {}", self.room));
        }
        Trouble::new(
            Exit::OutcomeUnknown,
            format!("no acknowledgement: the message may or may not be in {} ({error})", self.room),
        )
        .hint(format!(
            "say the same again with --key {} : it will be there once, whatever happened",
            self.key
        ))
    }
}

/// How an attempt failed.
#[derive(Debug)]
enum Attempt {
    /// Another may work.
    Again(Error),
    /// No other will work. The message was not handed over in this attempt.
    Hopeless(Error),
    /// The server has said no to the message.
    Refused(Error),
    /// This computer has said no.
    Trouble(Trouble),
}

impl Attempt {
    fn of(error: Error) -> Self {
        if error.is_retryable() { Self::Again(error) } else { Self::Hopeless(error) }
    }

    /// An earlier message that was clearly refused holds up nothing; without an answer it is said again like any other.
    fn of_earlier(error: Error) -> Self {
        if error.says_no() { Self::of(error) } else { Self::Again(error) }
    }

    /// After an answer that is none the message may be there: the same is said again, until there is an answer that is one.
    //= S3.63
    fn of_send(error: Error, unsure: bool) -> Self {
        // A device that was revoked since is told nothing of what it had sent before.
        if unsure && error.code() == ErrorCode::ENROLL_REQUIRED {
            Self::Hopeless(error)
        } else if error.says_no() && !error.is_retryable() {
            Self::Refused(error)
        } else {
            Self::Again(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku::{Failure, Retry};

    fn answered(code: ErrorCode, retry: Retry, unsure: bool) -> Attempt {
        Attempt::of_send(Failure::new(code, "").with_retry(retry).into(), unsure)
    }

    #[test]
    fn only_a_clear_no_ends_the_wait_for_an_acknowledgement() {
        let clear =
            [ErrorCode::DENIED, ErrorCode::FAILED, ErrorCode::ENROLL_REQUIRED, ErrorCode(0x7fff_ffff)];
        for code in clear {
            assert!(matches!(answered(code, Retry::No, false), Attempt::Refused(_)), "{code}");
        }
        for code in [ErrorCode::INTERNAL, ErrorCode::DEADLINE_EXCEEDED] {
            assert!(matches!(answered(code, Retry::No, false), Attempt::Again(_)), "{code}");
        }
        assert!(matches!(answered(ErrorCode::BUSY, Retry::NewConnection, false), Attempt::Again(_)));
        for error in [Error::Truncated, Error::Ended, Error::UnexpectedData, Error::Deadline, Error::Refused]
        {
            assert!(matches!(Attempt::of_send(error.clone(), false), Attempt::Again(_)), "{error}");
        }
    }

    /// A server that is killed under an earlier message gives no answer, and comes back.
    #[test]
    fn an_earlier_message_without_an_answer_is_said_again() {
        for error in [Error::Deadline, Error::Truncated, Error::Ended] {
            assert!(matches!(Attempt::of_earlier(error.clone()), Attempt::Again(_)), "{error}");
        }
        let denied = Failure::new(ErrorCode::ENROLL_REQUIRED, "").with_retry(Retry::No);
        assert!(matches!(Attempt::of_earlier(denied.into()), Attempt::Hopeless(_)));
    }

    #[test]
    fn a_device_that_became_unknown_learns_nothing_of_what_it_sent_before() {
        let unknown = answered(ErrorCode::ENROLL_REQUIRED, Retry::No, true);
        assert!(matches!(unknown, Attempt::Hopeless(_)));
        assert!(matches!(answered(ErrorCode::DENIED, Retry::No, true), Attempt::Refused(_)));
    }
}
