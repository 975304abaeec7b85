//! A message on its way out: stored in the outbox before it is sent, and until the server has answered.

use bytes::Bytes;
use hikyaku_accounts::system_time;
use hikyaku_chat::RoomName;
use hikyaku_sqlite::client::{ClientError, ClientStore, NewMessage};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Kind, MessageId, RoomId, Send, UserId};

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) kind: Kind,
    pub(crate) body: String,
    /// The event it is about.
    pub(crate) about: Option<About>,
    pub(crate) mentions: Vec<UserId>,
}

/// An event of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct About {
    /// The epoch that is meant, where it was said.
    pub(crate) epoch: Option<u32>,
    pub(crate) seq: u64,
}

impl Letter {
    /// A text for everybody.
    pub(crate) fn text(text: String) -> Self {
        Self { kind: Kind::MESSAGE, body: text, about: None, mentions: Vec::new() }
    }

    /// What is to be sent.
    pub(crate) fn send(self, room: RoomId, id: MessageId) -> Send {
        Send {
            room: room.into(),
            id,
            kind: self.kind,
            body: Bytes::from(self.body).into(),
            refs: self.about.iter().map(|about| about.seq).collect(),
            mentions: self.mentions,
            expect_last: None,
            sealed: None,
            signature: None,
            epoch: self.about.and_then(|about| about.epoch),
        }
    }
}

/// Stores a message under its id, notes that it is about to be sent, and gives what is to be sent.
///
/// # Errors
/// [`ClientError::KeyReused`] when another text waits under the same id.
pub(crate) fn post(
    store: &mut ClientStore,
    (room, name): (RoomId, &RoomName),
    id: MessageId,
    letter: Letter,
) -> Result<Send, ClientError> {
    let send = letter.send(room, id);
    // Whom a text means may change until it is said again: the message is the same.
    let message = NewMessage {
        id: id.0,
        room: name.as_str().to_owned(),
        kind: u32::from(send.kind.0),
        body: send.body.0.clone(),
        details: if send.refs.is_empty() {
            Bytes::new()
        } else {
            cbor::encode(&(&send.refs, send.epoch)).into()
        },
        created_ms: system_time(),
    };
    store.change(|changes| {
        changes.enqueue(&message, None)?;
        changes.attempt(id.0)
    })?;
    Ok(send)
}
