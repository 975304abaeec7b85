//! The server's side: rooms as durable logs, followed by many.
//!
//! ```text
//!  send ─▶ queue of the room ─▶ decide ─▶ one commit ─▶ ring ─▶ mailbox of each reader ─▶ its next update
//!            (waits while          (rules)   (store)      │                                  ▲
//!             a commit runs)                              └───── the log, where the ring ends ┘
//! ```
//!
//! Nothing is answered and nothing is shown before it is durable. Spec: chapter 4.

mod access;
mod chain_at;
mod core;
mod direct;
mod facts;
mod feed;
mod members;
mod methods;
mod pages;
mod presence;
mod reads;
mod retention;
mod ring;
mod room;
mod sequencer;
mod sync;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hikyaku::{Encoded, Exchange, Failure, Handler};
use hikyaku_storage::Store;
use hikyaku_wire::chat::{Kind, MessageId, Page, Retain, RoomId, RoomRef, Sent, Trim, UserId, method};
use hikyaku_wire::codes::ErrorCode;
use minicbor::Encode;

use self::core::{Core, salt, system_clock};
pub(crate) use self::core::{random, system_time};
pub use self::retention::Kept;
pub(crate) use self::room::lock;
use crate::event::Event;
use crate::fresh_id::fresh_id;
use crate::limits::Limits;
use crate::member::{Author, Member, Operation};
use crate::refusal::Refusal;
use crate::rules::Proposal;
use crate::stored::{self, Receipt, receipt_key, store_room};

/// A page may be made as small as this where there is no room for more; then it has one event, however large.
const LEAST_PAGE: u64 = 4 * 1024;

/// The chat server. Cloning shares it; it is a [`Handler`], so a router takes it as it is:
/// `router.route("chat/1", chat.clone())`.
#[derive(Clone)]
pub struct ChatServer {
    core: Arc<Core>,
}

/// In whose name the program itself appends an event.
#[derive(Clone)]
pub enum Authority {
    /// A member's: they are asked whether they may, in the same batch.
    Member(Arc<dyn Member>),
    /// The server's own decision about something this author began.
    Server(Author),
}

/// An event that the program makes, such as a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is.
    pub kind: Kind,
    /// Appending twice with one id and one author is appending once; `None` for a fresh one.
    pub id: Option<MessageId>,
    /// Its content.
    pub body: Bytes,
    /// The events it is about.
    pub refs: Vec<u64>,
}

impl ChatServer {
    /// A server over `store`.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self { core: Arc::new(Core::new(store, limits, system_clock())) }
    }

    /// The same with another clock (milliseconds since 1970), for tests of what depends on time.
    pub fn with_clock(
        store: Arc<dyn Store>,
        limits: Limits,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { core: Arc::new(Core::new(store, limits, Arc::new(clock))) }
    }

    /// Which room a name or an id means; [`Refusal::RoomUnknown`] for none.
    pub async fn resolve(&self, room: &RoomRef) -> Result<RoomId, Refusal> {
        let id = self.core.resolve(room).await?;
        self.core.room(id).await.map(|room| room.id)
    }

    /// Which room a member means: somebody's name is their direct room, which is made when it is first named.
    pub async fn meant(&self, member: &dyn Member, room: &RoomRef) -> Result<RoomId, Refusal> {
        let id = self.core.meant(member, room).await?;
        self.core.room(id).await.map(|room| room.id)
    }

    /// What a room is called, whoever asks.
    pub async fn name(&self, room: RoomId) -> Result<String, Refusal> {
        Ok(self.core.room(room).await?.record().record.name.clone())
    }

    /// Whether the member may do this in the room.
    pub async fn may(&self, member: &dyn Member, operation: Operation, room: RoomId) -> Result<(), Refusal> {
        let room = self.core.room(room).await?;
        match operation {
            Operation::Append(kind) => {
                let mut checks = sequencer::Checks::default();
                self.core.standing(member, &room.record(), kind, true, &mut checks).await.map(|_| ())
            }
            Operation::Read => self.core.readable_by(member, &room.record()).await,
            operation => self.core.permit(member, operation, Some(room.id)).await.map(|_| ()),
        }
    }

    /// What a room keeps now, and for how long.
    pub async fn keeps(&self, room: RoomId) -> Result<Kept, Refusal> {
        let room = self.core.room(room).await?;
        self.core.refresh(&room).await?;
        let retention = room.record().record.retention.unwrap_or_default();
        Ok(Kept { retention, first: room.log().first })
    }

    /// How many belong to a room beside this user: 0 where nobody ever joined one that is open to everybody.
    pub async fn others(&self, room: RoomId, user: UserId) -> Result<u64, Refusal> {
        let record = self.core.room(room).await?.record();
        if direct::is_direct(&record.record) {
            return Ok(1);
        }
        let is_member = self.core.store.get(&stored::member_key(room, user)).await?.is_some();
        Ok(record.record.members.saturating_sub(u64::from(is_member)))
    }

    /// Forgets what rooms need no longer keep; to be called now and then.
    pub async fn retain(&self) -> Result<(), Refusal> {
        self.core.retain_all().await
    }

    /// Appends an event on behalf of the program; durable when it resolves. Kinds that members may not send are
    /// made here.
    pub async fn append_event(
        &self,
        room: RoomId,
        authority: Authority,
        event: NewEvent,
    ) -> Result<Sent, Refusal> {
        let (author, member) = match authority {
            Authority::Member(member) => (member.author(), Some(member)),
            Authority::Server(author) => (author, None),
        };
        let id = match event.id {
            Some(id) => id,
            None => fresh_id(self.core.now_ms(), random()?),
        };
        let NewEvent { kind, body, refs, .. } = event;
        let (mentions, expect_last, epoch, salt) = (Vec::new(), None, None, salt()?);
        let proposal =
            Proposal { author, id, kind, body, refs, mentions, expect_last, epoch, salt, wish: None };
        proposal.check_size(&self.core.limits)?;
        let room = self.core.room(room).await?;
        let pending = self.core.submit(room, proposal, member).await?;
        pending.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Where an author's event with this id is; `None` if there is none.
    pub async fn place_of(
        &self,
        room: RoomId,
        author: UserId,
        id: MessageId,
    ) -> Result<Option<(u32, u64)>, Refusal> {
        let found = self.core.store.get(&receipt_key(room, author, id)).await?;
        let receipt: Option<Receipt> = found.map(|found| stored::decode(&found.value)).transpose()?;
        Ok(receipt.map(|receipt| (receipt.epoch, receipt.seq)))
    }

    /// One event; `None` if the room does not have it.
    pub async fn event(&self, room: RoomId, seq: u64) -> Result<Option<Event>, Refusal> {
        let found = self.core.store.events(store_room(room), seq, 1, 0).await?;
        let found = found.events.first().filter(|event| event.seq == seq);
        found.map(|event| Event::from_record(&event.record).map_err(|_| Refusal::Corrupt)).transpose()
    }
}

impl<C: Member> Handler<C> for ChatServer {
    async fn handle(&self, exchange: Exchange<C>) -> hikyaku::Result<()> {
        // Each in a future of its own: one that lasts does not hold room for the others.
        match exchange.method() {
            method::SEND => Box::pin(methods::send(&self.core, exchange)).await,
            method::PRESENCE => Box::pin(presence::serve(&self.core, exchange)).await,
            method::SYNC => Box::pin(sync::serve(&self.core, exchange)).await,
            _ => Box::pin(self.ask(exchange)).await,
        }
    }
}

impl ChatServer {
    /// One question, one answer.
    async fn ask<C: Member>(&self, mut exchange: Exchange<C>) -> hikyaku::Result<()> {
        let core = &self.core;
        match exchange.method() {
            method::CREATE => {
                let ask = exchange.receive().await?;
                let answer = methods::create(core, exchange.context(), ask).await;
                reply(exchange, answer).await
            }
            method::LIST => {
                let ask = exchange.receive().await?;
                let answer = methods::list(core, exchange.context(), ask).await;
                reply(exchange, answer).await
            }
            method::RESOLVE => {
                let ask = exchange.receive().await?;
                let answer = methods::resolve(core, exchange.context(), ask).await;
                reply(exchange, answer).await
            }
            method::HISTORY => {
                let ask = exchange.receive().await?;
                // Before it is read: many pages that nobody takes would be there at once.
                let room = exchange.reserve(core.limits.update_bytes as u64, LEAST_PAGE)?;
                let answer = methods::history(core, exchange.context(), ask, room).await;
                reply_with_page(exchange, answer).await
            }
            method::MEMBER => {
                let ask = exchange.receive().await?;
                let answer = members::change(core, exchange.shared_context(), ask).await;
                reply(exchange, answer).await
            }
            method::MEMBERS => {
                let ask = exchange.receive().await?;
                let answer = members::list(core, exchange.context(), ask).await;
                reply(exchange, answer).await
            }
            method::RETAIN => {
                let ask: Retain = exchange.receive().await?;
                let answer = match retention::retain(core, exchange.context(), &ask).await {
                    Ok(()) => methods::view(core, exchange.context(), &ask.room).await,
                    Err(refusal) => Err(refusal),
                };
                reply(exchange, answer).await
            }
            method::TRIM => {
                let ask: Trim = exchange.receive().await?;
                let answer = match retention::trim(core, exchange.context(), &ask).await {
                    Ok(()) => methods::view(core, exchange.context(), &ask.room).await,
                    Err(refusal) => Err(refusal),
                };
                reply(exchange, answer).await
            }
            method::READ => {
                let ask = exchange.receive().await?;
                let answer = reads::mark(core, exchange.context(), ask).await;
                reply(exchange, answer).await
            }
            _ => Err(Failure::new(ErrorCode::UNKNOWN_METHOD, "chat/1 has no such method").into()),
        }
    }
}

/// A page is large, and may wait for long: only what goes over the wire is kept of it.
async fn reply_with_page<C>(exchange: Exchange<C>, answer: Result<Page, Refusal>) -> hikyaku::Result<()> {
    let page = Encoded::new(&answer.map_err(sync::failed)?);
    let (mut sender, _receiver) = exchange.split();
    sender.send_whole(page).await?;
    sender.finish().await
}

async fn reply<C, A: Encode<()>>(
    mut exchange: Exchange<C>,
    answer: Result<A, Refusal>,
) -> hikyaku::Result<()> {
    exchange.reply(&answer.map_err(sync::failed)?).await
}
