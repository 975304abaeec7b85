//! `chat/1` on one connection.

use std::time::Duration;

use hikyaku::{CallOptions, Connection, Error, ErrorCode, Failure, Receiver, Result, Sender};
use hikyaku_wire::chat::{
    ChangeMember, Create, Created, Follow, History, Kind, List, ListMembers, Look, MarkRead, Member, Members,
    PROTOCOL, Page, Present, ReadPosition, Resolve, Retain, Room, RoomId, RoomRef, Rooms, Send, Sent, Trim,
    Update, method,
};

use minicbor::{Decode, Encode};

use super::looking::Looking;
use crate::fresh_id::fresh_id;
use crate::refusal::Refusal;
use crate::server::{random, system_time};

/// The most pages of rooms that are asked for; a server that always has more is left after them. One with as many rooms
/// as servers take by default needs 391.
const MAX_PAGES: usize = 1_000;

/// How long one question may take. A server that says nothing for longer is not waited for.
//= S3.54
const ANSWER: Duration = Duration::from_secs(30);
/// How many bytes of rooms are held at most: the names of as many rooms as servers take by default are a third of it.
const MAX_ROOMS_BYTES: usize = 32 << 20;

/// The chat of one server, over a connection to it. Cheap to make.
#[derive(Clone)]
pub struct ChatClient {
    connection: Connection,
}

impl ChatClient {
    /// Chat over this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn call<Q, A>(&self, method: &str, question: &Q) -> Result<A>
    where
        Q: Encode<()>,
        A: for<'b> Decode<'b, ()>,
    {
        let options = CallOptions { deadline: Some(ANSWER), ..CallOptions::default() };
        self.connection.call_with(PROTOCOL, method, question, options).await
    }

    /// Makes a room. To repeat a call whose outcome is unknown, pass the same id.
    pub async fn create_room(&self, id: RoomId, name: &str, topic: Option<&str>) -> Result<Created> {
        let ask = Create { room: id, name: name.to_owned(), topic: topic.map(str::to_owned), private: false };
        self.call(method::CREATE, &ask).await
    }

    /// Makes a room that only its members may read and know of.
    pub async fn create_private_room(&self, id: RoomId, name: &str, topic: Option<&str>) -> Result<Created> {
        let ask = Create { room: id, name: name.to_owned(), topic: topic.map(str::to_owned), private: true };
        self.call(method::CREATE, &ask).await
    }

    /// Changes who belongs to a room. To repeat a call whose outcome is unknown, pass the same id.
    pub async fn change_member(&self, ask: &ChangeMember) -> Result<Sent> {
        self.call(method::MEMBER, ask).await
    }

    /// All who belong to a room.
    pub async fn members(&self, room: impl Into<RoomRef>) -> Result<Vec<Member>> {
        let (room, mut members, mut after) = (room.into(), Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let ask = ListMembers { room: room.clone(), after };
            let page: Members = self.call(method::MEMBERS, &ask).await?;
            members.extend(page.members);
            match page.more {
                Some(more) if after.is_none_or(|after| more > after) => after = Some(more),
                _ => return Ok(members),
            }
        }
        let endless = format!("the server's list of members does not end within {MAX_PAGES} pages");
        Err(Failure::new(ErrorCode::LIMIT, endless).into())
    }

    /// Sets how long a room keeps its events.
    pub async fn retain(&self, ask: &Retain) -> Result<Room> {
        self.call(method::RETAIN, ask).await
    }

    /// Removes the oldest events of a room.
    pub async fn trim(&self, ask: &Trim) -> Result<Room> {
        self.call(method::TRIM, ask).await
    }

    /// Says how far one has read a room.
    pub async fn mark_read(&self, ask: &MarkRead) -> Result<ReadPosition> {
        self.call(method::READ, ask).await
    }

    /// All rooms one may see, by name.
    pub async fn rooms(&self) -> Result<Vec<Room>> {
        let (mut rooms, mut after, mut bytes) = (Vec::new(), None, 0);
        for _ in 0..MAX_PAGES {
            let ask = List { after: after.clone(), limit: None };
            let page: Rooms = self.call(method::LIST, &ask).await?;
            bytes += page.rooms.iter().map(|room| room.name.len() + size_of::<Room>()).sum::<usize>();
            if bytes > MAX_ROOMS_BYTES {
                break;
            }
            rooms.extend(page.rooms);
            match page.more {
                // Names rise, so even a server that never ends the list cannot keep us here with the same page.
                Some(more) if after.as_ref().is_none_or(|after| more > *after) => after = Some(more),
                _ => return Ok(rooms),
            }
        }
        let endless = format!(
            "the server's list of rooms does not end within {MAX_PAGES} pages or {MAX_ROOMS_BYTES} bytes"
        );
        Err(Failure::new(ErrorCode::LIMIT, endless).into())
    }

    /// Which room a name or id means, and where its log stands.
    pub async fn resolve(&self, room: impl Into<RoomRef>) -> Result<Room> {
        self.call(method::RESOLVE, &Resolve { room: room.into() }).await
    }

    /// Sends one event; when it returns, the event is durable. If it fails without an answer, sending the same again
    /// is safe: the id makes it one event.
    pub async fn send(&self, send: &Send) -> Result<Sent> {
        self.call(method::SEND, send).await
    }

    /// Sends many events over one exchange: in order, without waiting for each answer.
    pub async fn sends(&self) -> Result<Sends> {
        let (sender, receiver) = self.connection.open(PROTOCOL, method::SEND).await?.split();
        Ok(Sends { sender: SendsSender(sender), receiver: SendsReceiver(receiver) })
    }

    /// One page of stored events.
    pub async fn history(&self, ask: &History) -> Result<Page> {
        self.call(method::HISTORY, ask).await
    }

    /// Looks at a room: who is here, and from then on what changes, as far as datagrams arrive.
    pub async fn look(&self, room: impl Into<RoomRef>) -> Result<(Present, Looking)> {
        let mut exchange = self.connection.open(PROTOCOL, method::PRESENCE).await?;
        let datagrams = exchange.datagrams();
        exchange.send(&Look { room: room.into() }).await?;
        let answered = tokio::time::timeout(ANSWER, exchange.receive::<Present>()).await;
        let present = answered.unwrap_or(Err(Error::Deadline))?;
        let looking = Looking::new(present.room, exchange, datagrams);
        Ok((present, looking))
    }

    /// Who looks at a room now.
    pub async fn who(&self, room: impl Into<RoomRef>) -> Result<Present> {
        let (present, looking) = self.look(room).await?;
        looking.finish().await?;
        Ok(present)
    }

    /// Follows rooms on this connection; [`Following`](super::Following) does so across connections.
    pub async fn sync(&self) -> Result<Sync> {
        let (sender, receiver) = self.connection.open(PROTOCOL, method::SYNC).await?.split();
        Ok(Sync { sender: SyncSender(sender), receiver: SyncReceiver(receiver) })
    }
}

/// A text message to be sent, with a fresh id.
pub fn message(room: impl Into<RoomRef>, text: impl Into<String>) -> std::result::Result<Send, Refusal> {
    Ok(Send {
        room: room.into(),
        id: fresh_id(system_time(), random()?),
        kind: Kind::MESSAGE,
        body: text.into().into_bytes().into(),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        sealed: None,
        signature: None,
        epoch: None,
    })
}

/// An exchange that sends many events. Use the halves from two tasks to keep many in flight.
pub struct Sends {
    /// Sends.
    pub sender: SendsSender,
    /// Answers, in the order of the sends.
    pub receiver: SendsReceiver,
}

/// The sending half of [`Sends`].
pub struct SendsSender(Sender);

impl SendsSender {
    /// Sends one more event now.
    pub async fn send(&mut self, send: &Send) -> Result<()> {
        self.0.send(send).await
    }

    /// Puts one more event into the buffer; it leaves with the next send, flush or finish.
    pub async fn feed(&mut self, send: &Send) -> Result<()> {
        self.0.feed(send).await
    }

    /// Sends what was fed.
    pub async fn flush(&mut self) -> Result<()> {
        self.0.flush().await
    }

    /// There will be no more.
    pub async fn finish(&mut self) -> Result<()> {
        self.0.finish().await
    }
}

/// The answering half of [`Sends`].
pub struct SendsReceiver(Receiver);

impl SendsReceiver {
    /// The answer to the next send; `None` after the last. What failed without an answer may be sent again.
    pub async fn next(&mut self) -> Result<Option<Sent>> {
        or_end(self.0.receive().await)
    }
}

/// A `sync` exchange.
pub struct Sync {
    /// Cursors.
    pub sender: SyncSender,
    /// Updates.
    pub receiver: SyncReceiver,
}

/// The sending half of [`Sync`].
pub struct SyncSender(Sender);

impl SyncSender {
    /// Follows and leaves rooms.
    pub async fn follow(&mut self, follow: &Follow) -> Result<()> {
        self.0.send(follow).await
    }

    /// Ends the exchange; the server then ends its side.
    pub async fn finish(&mut self) -> Result<()> {
        self.0.finish().await
    }
}

/// The receiving half of [`Sync`].
pub struct SyncReceiver(Receiver);

impl SyncReceiver {
    /// The next update; `None` once the server has ended its side.
    pub async fn next(&mut self) -> Result<Option<Update>> {
        or_end(self.0.receive().await)
    }
}

fn or_end<T>(received: Result<T>) -> Result<Option<T>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(Error::Ended) => Ok(None),
        Err(error) => Err(error),
    }
}
