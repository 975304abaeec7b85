//! Messages that an earlier command left behind without an answer: they go before what is said later in the same room,
//! so that the order in which things were said is the order in which they stand there.

use hikyaku::{Error, ErrorCode, printable};
use hikyaku_accounts::system_time;
use hikyaku_chat::{ChatClient, RoomName};
use hikyaku_sqlite::client::{ClientStore, OutboxEntry};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Kind, MessageId, RoomId, Send};

use crate::exit::Trouble;
use crate::{mentions, output};

/// One that is younger may be another command's that is still at it: nothing is said of it.
const FRESH_MS: u64 = 5_000;
/// How much of a message is shown to recognise it by.
const SHOWN: usize = 40;

/// Why a message has to wait.
#[derive(Debug)]
pub(crate) enum Held {
    /// An earlier one could not be sent.
    Behind {
        /// How the earlier one begins, behind a colon; empty if that is not known.
        earlier: String,
        /// What happened to it.
        error: Error,
    },
    /// This computer's store failed.
    Trouble(Trouble),
}

/// Sends what was said in a room before the message `id` and has no answer yet, oldest first. One that the server
/// refuses for good holds up nothing.
pub(crate) async fn send_earlier(
    chat: &ChatClient,
    store: &mut ClientStore,
    (room, name): (RoomId, &RoomName),
    id: MessageId,
) -> Result<(), Held> {
    let stored = |error: hikyaku_sqlite::client::ClientError| Held::Trouble(error.into());
    for entry in store.outbox_before(name.as_str(), id.0).map_err(stored)? {
        let held = |error: Error| Held::Behind { earlier: format!(": {}", beginning(&entry)), error };
        let send = again(chat, room, &entry).await.map_err(held)?;
        let told = entry.message.created_ms.saturating_add(FRESH_MS) < system_time();
        let note = |what: String| {
            if told {
                output::note(what)
            }
        };
        match chat.send(&send).await {
            Ok(sent) => note(format!("sent first, as it was said before: {}:{}", name, sent.seq)),
            // Whom it mentions has changed since, but it is there.
            Err(error) if error.code() == ErrorCode::ID_REUSED => {}
            Err(error) if error.says_no() && !error.is_retryable() => {
                output::note(format!("an earlier message was refused: {} ({error})", beginning(&entry)));
            }
            Err(error) => return Err(held(error)),
        }
        store.change(|changes| changes.settle(send.id.0)).map_err(stored)?;
    }
    Ok(())
}

/// The same message as before.
async fn again(chat: &ChatClient, room: RoomId, entry: &OutboxEntry) -> hikyaku::Result<Send> {
    let message = &entry.message;
    let kind = Kind(u16::try_from(message.kind).unwrap_or(u16::MAX));
    let about: Option<(Vec<u64>, Option<u32>)> =
        cbor::decode(&message.details, &cbor::Limits::default()).ok();
    let (refs, epoch) = about.unwrap_or_default();
    let text = std::str::from_utf8(&message.body).unwrap_or_default();
    let mentions = match text.contains('@') && kind.counts() {
        true => mentions::of(text, chat.connection()).await?,
        false => Vec::new(),
    };
    Ok(Send {
        room: room.into(),
        id: MessageId(message.id),
        kind,
        body: message.body.clone().into(),
        refs,
        mentions,
        expect_last: None,
        sealed: None,
        signature: None,
        epoch,
    })
}

fn beginning(entry: &OutboxEntry) -> String {
    let text = String::from_utf8_lossy(&entry.message.body);
    let mut begins: String = text.chars().take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        begins.push('\u{2026}');
    }
    format!("\u{201c}{}\u{201d}", printable(&begins))
}
