//! The methods of `chat/1` apart from `sync`: rooms, sending, history.

use std::sync::Arc;

use hikyaku::{Error, Exchange, Receiver, Sender};
use hikyaku_storage::{Append, Batch, Guard, StoreError};
use hikyaku_wire::chat::{
    Create, Created, History, Kind, List, MemberRole, MessageId, Page, Records, Resolve, Room, RoomId,
    RoomRef, Rooms, Send,
};
use tokio::sync::mpsc;

use super::core::{Core, salt};
use super::direct;
use super::room::LiveRoom;
use super::sequencer::Pending;
use super::sync::failed;
use crate::limits::within;
use crate::member::{Ask, Author, Member, Operation};
use crate::name::RoomName;
use crate::refusal::Refusal;
use crate::rules::{Case, Facts, Log, Proposal, Standing, decide};
use crate::stored::{
    self, MemberRecord, RoomRecord, member_key, name_key, names_prefix, room_key, rooms_key, store_room,
    topic_key,
};

/// Makes a room. Asking again with the same id and name is answered as the first time.
//= S4.3
//= S4.4
pub(crate) async fn create(core: &Core, member: &dyn Member, create: Create) -> Result<Created, Refusal> {
    let name = RoomName::parse(&create.name)?;
    let topic = create.topic.clone().unwrap_or_default();
    within("bytes of a topic", topic.len(), core.limits.topic)?;
    let author = member.author();
    for attempt in 0..core.limits.commit_attempts {
        let ask = Ask { operation: Operation::Create, room: None, fresh: attempt > 0 };
        let permit = member.permit(ask).await?;
        let keys = vec![room_key(create.room), name_key(&name), rooms_key()];
        let [room, named, count] =
            <[_; 3]>::try_from(core.store.get_many(keys).await?).map_err(|_| Refusal::Corrupt)?;
        if let Some(room) = room {
            return created_before(core, member, &create, &stored::decode(&room.value)?, &name).await;
        }
        if named.is_some() {
            return Err(Refusal::NameTaken);
        }
        let rooms = more_rooms(core, count.as_ref())?;
        let (log, batch) = new_room(core, &create, &name, &topic, &author)?;
        let mut batch = batch.check(name_key(&name), 0).check_read(rooms_key(), count.as_ref());
        batch.checks.extend(permit.checks.into_iter().filter(|(key, _)| *key != rooms_key()));
        let batch =
            batch.put(name_key(&name), create.room.0.to_vec()).put(rooms_key(), stored::encode(&rooms));
        match core.store.commit(batch).await {
            Ok(_) => {
                let room = Room {
                    private: create.private,
                    role: Some(MemberRole::Owner),
                    topic: Some(topic).filter(|topic| !topic.is_empty()),
                    ..bare(name.as_str(), &log)
                };
                return Ok(Created { room, duplicate: false });
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Contended)
}

/// How many rooms there are with one more than `count` says, if there may be so many.
pub(crate) fn more_rooms(core: &Core, count: Option<&hikyaku_storage::Versioned>) -> Result<u64, Refusal> {
    let rooms: u64 = count.map_or(Ok(0), |count| stored::decode(&count.value))?;
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    within("rooms", size(rooms + 1), size(core.limits.rooms))?;
    Ok(rooms + 1)
}

/// The room's record and its log, with the topic as its first event.
fn new_room(
    core: &Core,
    Create { room: id, private, .. }: &Create,
    name: &RoomName,
    topic: &str,
    author: &Author,
) -> Result<(Log, Batch), Refusal> {
    let now_ms = core.now_ms();
    let record = RoomRecord {
        name: name.as_str().to_owned(),
        creator: author.id,
        created_ms: now_ms,
        trimmed: None,
        private: *private,
        members: 1,
        owners: 1,
        retention: None,
    };
    let owner = MemberRecord { role: MemberRole::Owner, name: author.name.clone(), since_ms: now_ms };
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
        wish: None,
    };
    let (known, standing, facts) = (None, Ok(Standing::Moderator), Facts::default());
    let first = (!topic.is_empty()).then_some(Case { proposal: &proposal, known, standing, facts });
    let decision = decide(&Log::empty(*id), &record, first, &core.limits, now_ms);
    let mut batch = Batch::new().check(room_key(*id), 0).put(room_key(*id), stored::encode(&record));
    batch = batch.put(member_key(*id, author.id), stored::encode(&owner));
    batch.puts.extend(decision.puts());
    for (key, receipt) in decision.receipts {
        batch = batch.put(key, receipt);
    }
    let (guard, state) = (Guard::UNKNOWN_ROOM, decision.log.state());
    let batch = batch.append(Append { room: store_room(*id), guard, events: decision.events, state });
    Ok((decision.log, batch))
}

async fn created_before(
    core: &Core,
    member: &dyn Member,
    create: &Create,
    record: &RoomRecord,
    name: &RoomName,
) -> Result<Created, Refusal> {
    if record.name != name.as_str() || record.creator != member.author().id {
        return Err(Refusal::RoomTaken);
    }
    let room = view(core, member, &create.room.into()).await?;
    Ok(Created { room, duplicate: true })
}

/// Rooms that the member may know of, by name.
//= S4.80
pub(crate) async fn list(core: &Core, member: &dyn Member, list: List) -> Result<Rooms, Refusal> {
    core.permit(member, Operation::List, None).await?;
    let limit = list.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let limit = limit.clamp(1, core.limits.listed);
    let mut after = list.after.as_deref().map(RoomName::parse_any).transpose()?.map(|name| name_key(&name));
    let (mut known, mut more) = (Vec::new(), None);
    //= S4.9
    // Names of rooms that the asker may not know of are passed over here, and never said as the place to go on from.
    loop {
        let page = core.store.scan(names_prefix(), after, limit).await?;
        let ended = page.len() < limit;
        after = page.last().map(|(key, _)| key.clone());
        let ids = page.iter().map(|(_, id)| id.value.as_ref().try_into().map(RoomId));
        let ids: Vec<RoomId> = ids.collect::<Result<_, _>>().map_err(|_| Refusal::Corrupt)?;
        known.extend(known_of(core, member, &ids).await?);
        if known.len() > limit || (known.len() == limit && !ended) {
            known.truncate(limit);
            more = known.last().map(|(room, _)| room.record().record.name.clone());
        }
        if ended || more.is_some() {
            return Ok(Rooms { rooms: views(core, member, known).await?, more });
        }
    }
}

/// Those rooms that a member may know of, and what they are in them.
async fn known_of(
    core: &Core,
    member: &dyn Member,
    ids: &[RoomId],
) -> Result<Vec<(Arc<LiveRoom>, Option<MemberRole>)>, Refusal> {
    let rooms: Vec<Arc<LiveRoom>> = core.rooms(ids).await?.into_iter().flatten().collect();
    core.refresh_logs(&rooms).await?;
    let mut known = Vec::new();
    for room in rooms {
        let record = room.record();
        //= S4.7
        if direct::is_direct(&record.record) && room.log().last == 0 {
            continue;
        }
        match core.known_to(member, &record).await {
            Ok((_, role)) => known.push((room, role)),
            Err(Refusal::Denied(_) | Refusal::RoomUnknown) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(known)
}

/// Which room a name or an id means, where its log stands, and what it is to the member.
pub(crate) async fn resolve(core: &Core, member: &dyn Member, ask: Resolve) -> Result<Room, Refusal> {
    view(core, member, &ask.room).await
}

/// A room as a member sees it.
pub(crate) async fn view(core: &Core, member: &dyn Member, room: &RoomRef) -> Result<Room, Refusal> {
    let room = core.room(core.meant(member, room).await?).await?;
    let (_, role) = core.known_to(member, &room.record()).await?;
    core.refresh_logs(std::slice::from_ref(&room)).await?;
    views(core, member, vec![(room, role)]).await?.pop().ok_or(Refusal::Corrupt)
}

/// Rooms as a member sees them, with two reads of the store.
async fn views(
    core: &Core,
    member: &dyn Member,
    rooms: Vec<(Arc<LiveRoom>, Option<MemberRole>)>,
) -> Result<Vec<Room>, Refusal> {
    let logs: Vec<Log> = rooms.iter().map(|(room, _)| room.log()).collect();
    let topics = core.store.get_many(logs.iter().map(|log| topic_key(log.room)).collect()).await?;
    let reads = core.positions(member.author().id, &logs).await?;
    let mut views = Vec::with_capacity(logs.len());
    for ((((room, role), log), topic), read) in rooms.into_iter().zip(logs).zip(topics).zip(reads) {
        let record = room.record();
        // What the invited may know is that there is a room, and its name.
        let inside = !record.record.private || role != Some(MemberRole::Invited);
        let topic = topic.filter(|_| inside);
        views.push(Room {
            private: record.record.private,
            role,
            topic: topic.map(|topic| String::from_utf8_lossy(&topic.value).into_owned()),
            pins: if inside { log.marks.pins.clone() } else { Vec::new() },
            read: Some(read).filter(|read| read.epoch > 0 || read.mentions > 0),
            retention: record.record.retention,
            ..bare(&direct::seen_by(&record.record, member), &log)
        });
    }
    Ok(views)
}

/// Name and head of a room.
fn bare(name: &str, log: &Log) -> Room {
    Room {
        name: name.to_owned(),
        head: log.head(None),
        private: false,
        role: None,
        topic: None,
        pins: Vec::new(),
        read: None,
        retention: None,
    }
}

/// Stored events, oldest first, as many as fit `room` bytes.
//= S4.50
//= S4.51
pub(crate) async fn history(
    core: &Core,
    member: &dyn Member,
    ask: History,
    room: u64,
) -> Result<Page, Refusal> {
    let fits = usize::try_from(room).unwrap_or(usize::MAX);
    let (room, log) = core.open(member, &ask.room).await?;
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
    let (count, bytes) = (limit.min(core.limits.update_events), core.limits.update_bytes.min(fits));
    let events = core.store.events(store_room(room.id), from, count, bytes).await?.events;
    // What came since the head was read belongs to the next page.
    let events: Vec<_> = events.into_iter().take_while(|event| event.seq <= log.last).collect();
    let first = events.first().map_or(from, |event| event.seq);
    let records: Records = events.into_iter().map(|event| event.record).collect();
    let chain = if ask.chain { core.chain_after(&room, &log, first - 1).await? } else { None };
    Ok(Page { head: log.head(None), first, records, chain: chain.map(|chain| chain.0) })
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
            _ => self.core.room(self.core.meant(&*self.member, &named).await?).await?,
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
