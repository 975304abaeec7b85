//! The methods of `chat/1` apart from `sync`: rooms, sending, history.

use std::sync::Arc;

use hikyaku::{Error, Exchange, Receiver, Sender};
use hikyaku_storage::{Append, Batch, Guard, StoreError};
use hikyaku_wire::chat::{
    Create, Created, History, Kind, List, MessageId, Page, Records, Resolve, Room, RoomId, RoomRef, Rooms,
    Send,
};
use tokio::sync::mpsc;

use super::core::{Core, salt};
use super::room::LiveRoom;
use super::sequencer::Pending;
use super::sync::failed;
use crate::limits::within;
use crate::member::{Ask, Author, Member, Operation};
use crate::name::RoomName;
use crate::refusal::Refusal;
use crate::rules::{Case, Facts, Log, Proposal, Standing, decide};
use crate::stored::{self, RoomRecord, name_key, name_of, names_prefix, room_key, rooms_key, store_room};

/// Makes a room. Asking again with the same id and name is answered as the first time.
//= S4.3
//= S4.4
pub(crate) async fn create(core: &Core, member: &dyn Member, create: Create) -> Result<Created, Refusal> {
    let name = RoomName::parse(&create.name)?;
    let topic = create.topic.unwrap_or_default();
    within("bytes of a topic", topic.len(), core.limits.topic)?;
    let author = member.author();
    for attempt in 0..core.limits.commit_attempts {
        let ask = Ask { operation: Operation::Create, room: None, fresh: attempt > 0 };
        let permit = member.permit(ask).await?;
        let keys = vec![room_key(create.room), name_key(&name), rooms_key()];
        let [room, named, count] =
            <[_; 3]>::try_from(core.store.get_many(keys).await?).map_err(|_| Refusal::Corrupt)?;
        if let Some(room) = room {
            return created_before(core, &create.room, &stored::decode(&room.value)?, &name, &author).await;
        }
        if named.is_some() {
            return Err(Refusal::NameTaken);
        }
        let rooms: u64 = count.as_ref().map_or(Ok(0), |count| stored::decode(&count.value))?;
        if rooms >= core.limits.rooms {
            let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            return Err(Refusal::Limit {
                what: "rooms",
                size: size(rooms + 1),
                limit: size(core.limits.rooms),
            });
        }
        let (log, batch) = new_room(core, &create.room, &name, &topic, &author)?;
        let mut batch = batch.check(name_key(&name), 0).check_read(rooms_key(), count.as_ref());
        batch.checks.extend(permit.checks.into_iter().filter(|(key, _)| *key != rooms_key()));
        let batch =
            batch.put(name_key(&name), create.room.0.to_vec()).put(rooms_key(), stored::encode(&(rooms + 1)));
        match core.store.commit(batch).await {
            Ok(_) => {
                let room = Room { name: name.as_str().to_owned(), head: log.head(None) };
                return Ok(Created { room, duplicate: false });
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Contended)
}

/// The room's record and its log, with the topic as its first event.
fn new_room(
    core: &Core,
    id: &RoomId,
    name: &RoomName,
    topic: &str,
    author: &Author,
) -> Result<(Log, Batch), Refusal> {
    let now_ms = core.now_ms();
    let record =
        RoomRecord { name: name.as_str().to_owned(), creator: author.id, created_ms: now_ms, trimmed: None };
    let proposal = Proposal {
        author: author.clone(),
        // The room is new: its own id cannot be that of another message in it.
        id: MessageId(id.0),
        kind: Kind::TOPIC,
        body: topic.to_owned().into(),
        refs: Vec::new(),
        mentions: Vec::new(),
        expect_last: None,
        epoch: None,
        salt: salt()?,
    };
    let (known, standing, facts) = (None, Ok(Standing::Moderator), Facts::default());
    let first = (!topic.is_empty()).then_some(Case { proposal: &proposal, known, standing, facts });
    let decision = decide(&Log::empty(*id), first, &core.limits, now_ms);
    let mut batch = Batch::new().check(room_key(*id), 0).put(room_key(*id), stored::encode(&record));
    for (key, receipt) in decision.receipts {
        batch = batch.put(key, receipt);
    }
    let (guard, state) = (Guard::UNKNOWN_ROOM, decision.log.state());
    let batch = batch.append(Append { room: store_room(*id), guard, events: decision.events, state });
    Ok((decision.log, batch))
}

async fn created_before(
    core: &Core,
    id: &RoomId,
    record: &RoomRecord,
    name: &RoomName,
    author: &Author,
) -> Result<Created, Refusal> {
    if record.name != name.as_str() || record.creator != author.id {
        return Err(Refusal::RoomTaken);
    }
    let log = Log::read(*id, core.store.head(store_room(*id)).await?.as_ref())?;
    Ok(Created { room: Room { name: record.name.clone(), head: log.head(None) }, duplicate: true })
}

/// Rooms the member may read, by name.
pub(crate) async fn list(core: &Core, member: &dyn Member, list: List) -> Result<Rooms, Refusal> {
    core.permit(member, Operation::List, None).await?;
    let limit = list.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limit = limit.clamp(1, core.limits.listed);
    let after = list.after.as_deref().map(RoomName::parse).transpose()?.map(|name| name_key(&name));
    let page = core.store.scan(names_prefix(), after, limit).await?;
    let more = page.last().and_then(|(key, _)| name_of(key)).map(|name| name.as_str().to_owned());

    let mut found: Vec<(RoomName, RoomId)> = Vec::new();
    for (key, id) in page {
        let name = name_of(&key).ok_or(Refusal::Corrupt)?;
        let id = id.value.as_ref().try_into().map(RoomId).map_err(|_| Refusal::Corrupt)?;
        match core.permit(member, Operation::Read, Some(id)).await {
            Ok(_) => found.push((name, id)),
            Err(Refusal::Denied(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let heads = core.store.heads(found.iter().map(|(_, id)| store_room(*id)).collect()).await?;
    let rooms = found.into_iter().zip(heads).map(|((name, id), head)| {
        let head = Log::read(id, head.as_ref())?.head(None);
        Ok(Room { name: name.as_str().to_owned(), head })
    });
    Ok(Rooms { rooms: rooms.collect::<Result<_, Refusal>>()?, more })
}

/// Which room a name or an id means, and where its log stands.
pub(crate) async fn resolve(core: &Core, member: &dyn Member, ask: Resolve) -> Result<Room, Refusal> {
    let (room, name) = readable(core, member, &ask.room).await?;
    Ok(Room { name, head: room.log().head(None) })
}

/// Stored events, oldest first.
//= S4.50
//= S4.51
pub(crate) async fn history(core: &Core, member: &dyn Member, ask: History) -> Result<Page, Refusal> {
    let (room, _) = readable(core, member, &ask.room).await?;
    let log = room.log();
    let from = match (ask.from, ask.since_ms) {
        (Some(_), Some(_)) => {
            return Err(Refusal::Invalid("history begins at a sequence number or a time, not both"));
        }
        (Some(from), None) => from,
        (None, Some(since)) => core.store.seq_at(store_room(room.id), since).await?,
        (None, None) => log.first,
    };
    let from = from.clamp(log.first, log.last + 1).max(1);
    let limit = ask.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (count, bytes) = (limit.min(core.limits.update_events), core.limits.update_bytes);
    let events = core.store.events(store_room(room.id), from, count, bytes).await?.events;
    // What came since the head was read belongs to the next page.
    let events: Vec<_> = events.into_iter().take_while(|event| event.seq <= log.last).collect();
    let first = events.first().map_or(from, |event| event.seq);
    let records: Records = events.into_iter().map(|event| event.record).collect();
    let chain = if ask.chain { core.chain_after(&room, &log, first - 1).await? } else { None };
    Ok(Page { head: log.head(None), first, records, chain: chain.map(|chain| chain.0) })
}

/// A room the member may read, with its log as the store has it now, and its name.
async fn readable(
    core: &Core,
    member: &dyn Member,
    room: &RoomRef,
) -> Result<(Arc<LiveRoom>, String), Refusal> {
    let id = core.resolve(room).await?;
    core.permit(member, Operation::Read, Some(id)).await?;
    let room = core.room(id).await?;
    core.refresh_logs(std::slice::from_ref(&room)).await?;
    let name = room.record().record.name.clone();
    Ok((room, name))
}

/// Answers `send`: any number of events, each answered in its turn once it is durable.
//= S4.36
pub(crate) async fn send<C: Member>(core: &Arc<Core>, exchange: Exchange<C>) -> hikyaku::Result<()> {
    let member: Arc<dyn Member> = exchange.shared_context();
    let (sender, receiver) = exchange.split();
    let (accepted, answers) = mpsc::channel(core.limits.sends_in_flight.max(1));
    tokio::try_join!(accept(core, member, receiver, accepted), answer(sender, answers)).map(|_| ())
}

type Accepted = Result<Pending, Refusal>;

async fn accept(
    core: &Arc<Core>,
    member: Arc<dyn Member>,
    mut receiver: Receiver,
    accepted: mpsc::Sender<Accepted>,
) -> hikyaku::Result<()> {
    let mut inbox = Inbox { core, author: member.author(), member, last: None };
    loop {
        let pending = match receiver.receive::<Send>().await {
            Ok(send) => inbox.take(send).await,
            Err(Error::Ended) => return Ok(()),
            Err(error) => return Err(error),
        };
        // The first refusal ends the exchange; what comes behind it is not looked at.
        let over = pending.is_err();
        if accepted.send(pending).await.is_err() || over {
            return Ok(());
        }
    }
}

/// Takes the sends of one exchange.
struct Inbox<'a> {
    core: &'a Arc<Core>,
    member: Arc<dyn Member>,
    author: Author,
    /// The room of the last send: most exchanges have only one.
    last: Option<(RoomRef, Arc<LiveRoom>)>,
}

impl Inbox<'_> {
    async fn take(&mut self, send: Send) -> Accepted {
        let (named, proposal) = Proposal::from_member(send, self.author.clone(), salt()?, &self.core.limits)?;
        let room = match &self.last {
            Some((last, room)) if *last == named => room.clone(),
            _ => self.core.room(self.core.resolve(&named).await?).await?,
        };
        self.last = Some((named, room.clone()));
        self.core.submit(room, proposal, Some(self.member.clone())).await
    }
}

async fn answer(mut sender: Sender, mut answers: mpsc::Receiver<Accepted>) -> hikyaku::Result<()> {
    loop {
        let accepted = match answers.try_recv() {
            Ok(accepted) => accepted,
            Err(_) => {
                sender.flush().await?;
                match answers.recv().await {
                    Some(accepted) => accepted,
                    None => return sender.finish().await,
                }
            }
        };
        let mut pending = accepted.map_err(failed)?;
        let verdict = match pending.try_recv() {
            Ok(verdict) => verdict,
            // Answers that are there leave before others are waited for.
            Err(_) => {
                sender.flush().await?;
                pending.await.unwrap_or(Err(Refusal::Stopping))
            }
        };
        match verdict {
            Ok(sent) => sender.feed(&sent).await?,
            Err(refusal) => {
                sender.flush().await?;
                return Err(failed(refusal));
            }
        }
    }
}
