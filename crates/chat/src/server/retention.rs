//! Forgetting the oldest events of a room: by its rules of retention, or when an owner says so.
//!
//! A prefix goes, whole transactions of it at a time, each with the chain's value behind it: what is left can be
//! verified as before. Message ids stay, so that what was said once is not said again. Spec: chapter 4, "Retention".

use hikyaku_storage::{Append, Batch, Guard, Key, StoreError, StoredEvent, Trim as StoreTrim};
use hikyaku_wire::chat::{Retain, Retention, Trim};

use super::core::Core;
use super::room::{LiveRoom, Versioned};
use crate::chain::Chain;
use crate::event::Event;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::rules::{Log, Marks};
use crate::stored::{self, RoomRecord, chain_key, edits_key, room_key, rooms_prefix, store_room};

/// Rooms looked at in one read.
const PAGE: usize = 256;

/// What a room keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How long, and how much.
    pub retention: Retention,
    /// The oldest event that it has.
    pub first: u64,
}

/// Sets how long a room keeps its events.
//= S4.95
pub(crate) async fn retain(core: &Core, member: &dyn Member, ask: &Retain) -> Result<(), Refusal> {
    let Retention { age_ms, events, files_ms } = ask.retention;
    if age_ms == Some(0) || events == Some(0) || files_ms == Some(0) {
        return Err(Refusal::Invalid("a room keeps something: a limit of retention is at least 1"));
    }
    let retention = Some(ask.retention).filter(|retention| *retention != Retention::default());
    let room = core.room(core.meant(member, &ask.room).await?).await?;
    for _ in 0..core.limits.commit_attempts {
        let before = room.record();
        let permit = core.owned_by(member, &before).await?;
        let record = RoomRecord { retention, ..before.record.clone() };
        let key = room_key(room.id);
        let mut batch = Batch::new().check(key.clone(), before.version);
        batch.checks.extend(permit.checks.into_iter().filter(|(other, _)| *other != key));
        match core.store.commit(batch.put(key, stored::encode(&record))).await {
            Ok(committed) => {
                room.refresh(room.log(), Some(Versioned::new(room.id, committed.version, record)));
                return core.apply_retention(&room).await;
            }
            Err(StoreError::Conflict(_)) => core.refresh(&room).await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Contended)
}

/// Removes the oldest events of a room.
//= S4.95
pub(crate) async fn trim(core: &Core, member: &dyn Member, ask: &Trim) -> Result<(), Refusal> {
    let (room, log) = core.open(member, &ask.room).await?;
    core.owned_by(member, &room.record()).await?;
    if ask.epoch != log.epoch {
        return Err(Refusal::Rewound { epoch: log.epoch, last: log.last });
    }
    if ask.through > log.last {
        return Err(Refusal::RefUnknown { seq: ask.through, last: log.last });
    }
    core.trim_through(&room, log.epoch, ask.through).await
}

impl Core {
    /// Forgets what the rooms need no longer keep.
    pub(crate) async fn retain_all(&self) -> Result<(), Refusal> {
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(rooms_prefix(), after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, found) in &page {
                let record: RoomRecord = stored::decode(&found.value)?;
                if record.retention.is_some() {
                    let id = key.as_bytes().last_chunk::<16>().copied().ok_or(Refusal::Corrupt)?;
                    self.apply_retention(&*self.room(hikyaku_wire::chat::RoomId(id)).await?).await?;
                }
            }
        }
    }

    /// Forgets what one room need no longer keep.
    //= S4.96
    async fn apply_retention(&self, room: &LiveRoom) -> Result<(), Refusal> {
        let Some(Retention { age_ms, events, .. }) = room.record().record.retention else { return Ok(()) };
        self.refresh(room).await?;
        let log = room.log();
        let mut through = events.map_or(0, |events| log.last.saturating_sub(events));
        if let Some(age_ms) = age_ms {
            let oldest = self.now_ms().saturating_sub(age_ms);
            through = through.max(self.store.seq_at(store_room(log.room), oldest).await? - 1);
        }
        self.trim_through(room, log.epoch, through).await
    }

    /// Removes all events up to `through`.
    async fn trim_through(&self, room: &LiveRoom, epoch: u32, through: u64) -> Result<(), Refusal> {
        let mut attempts = 0;
        loop {
            let (log, record) = (room.log(), room.record());
            let through = through.min(log.last);
            if log.epoch != epoch || through < log.first {
                return Ok(());
            }
            let count = self.limits.trimmed_at_once.max(1);
            let page = self.store.events(store_room(log.room), log.first, count, usize::MAX).await?;
            let gone: Vec<_> = page.events.into_iter().filter(|event| event.seq <= through).collect();
            if page.first == log.first && !gone.is_empty() {
                let step = Step::new(&log, &record.record, &gone)?;
                match self.store.commit(step.batch(&log, &record)).await {
                    Ok(committed) => {
                        let record = Versioned::new(log.room, committed.version, step.record);
                        room.trimmed(step.log, record);
                        attempts = 0;
                        continue;
                    }
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            attempts += 1;
            if attempts >= self.limits.commit_attempts {
                return Err(Refusal::Contended);
            }
            self.refresh(room).await?;
        }
    }
}

/// One transaction of a trim.
struct Step {
    log: Log,
    record: RoomRecord,
    /// Keys that only concern what is gone.
    keys: Vec<Key>,
}

impl Step {
    fn new(log: &Log, record: &RoomRecord, gone: &[StoredEvent]) -> Result<Self, Refusal> {
        let mut chain = record.trimmed.map_or_else(|| Chain::genesis(log.room), Chain);
        let (mut keys, mut first) = (Vec::new(), log.first);
        for event in gone {
            let read = Event::from_record(&event.record).map_err(|_| Refusal::Corrupt)?;
            chain = read.link(chain);
            first = event.seq + 1;
            if read.envelope.kind.counts() {
                keys.push(edits_key(log.room, event.seq));
            }
        }
        // Values of the chain that nobody can continue from any more.
        keys.extend((log.first / 1_024..first / 1_024).map(|place| chain_key(log.room, place)));
        let Marks { topic, pins } = (*log.marks).clone();
        let pins = pins.into_iter().filter(|pin| *pin >= first).collect();
        let marks = std::sync::Arc::new(Marks { topic, pins });
        let record = RoomRecord { trimmed: Some(chain.0), ..record.clone() };
        Ok(Self { log: Log { first, marks, ..log.clone() }, record, keys })
    }

    fn batch(&self, before: &Log, record: &Versioned) -> Batch {
        let room = store_room(before.room);
        let mut batch = Batch::new()
            .check(room_key(before.room), record.version)
            .put(room_key(before.room), stored::encode(&self.record))
            .trim(StoreTrim { room, epoch: before.epoch, expect_first: before.first, first: self.log.first });
        for key in &self.keys {
            batch = batch.delete(key.clone());
        }
        if self.log.marks != before.marks {
            let guard = Guard { epoch: before.epoch, expect_last: before.last };
            batch = batch.append(Append { room, guard, events: Vec::new(), state: self.log.state() });
        }
        batch
    }
}
