//! A text message on its way out: stored in the outbox before it is sent, and until the server has answered.

use bytes::Bytes;
use hikyaku_accounts::system_time;
use hikyaku_chat::RoomName;
use hikyaku_sqlite::client::{ClientError, ClientStore, NewMessage};
use hikyaku_wire::chat::{Kind, MessageId, RoomId, Send};

/// Stores a message under its id, notes that it is about to be sent, and gives what is to be sent.
///
/// # Errors
/// [`ClientError::KeyReused`] when another text waits under the same id.
pub(crate) fn post(
    store: &mut ClientStore,
    (room, name): (RoomId, &RoomName),
    id: MessageId,
    text: String,
) -> Result<Send, ClientError> {
    let body = Bytes::from(text);
    let message = NewMessage {
        id: id.0,
        room: name.as_str().to_owned(),
        kind: u32::from(Kind::MESSAGE.0),
        body: body.clone(),
        created_ms: system_time(),
    };
    store.change(|changes| {
        changes.enqueue(&message, None)?;
        changes.attempt(id.0)
    })?;
    Ok(Send {
        room: room.into(),
        id,
        kind: Kind::MESSAGE,
        body: body.into(),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        sealed: None,
        signature: None,
    })
}
