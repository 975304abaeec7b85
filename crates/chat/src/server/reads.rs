//! How far users have read: one number for a user and room, whatever device says it, and from it what is unread.
//!
//! Unread events are a difference of counts, and unread mentions are counted in a short list that grows with the log:
//! no question about them reads the log. Spec: chapter 4, "Reading".

use hikyaku_storage::{Batch, StoreError, Versioned};
use hikyaku_wire::chat::{MarkRead, ReadPosition, RoomId, UserId};

use super::core::Core;
use super::room::LiveRoom;
use crate::event::Event;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::rules::Log;
use crate::stored::{self, ReadRecord, mentions_key, read_key, store_room};

/// Says how far a member has read.
//= S4.90
pub(crate) async fn mark(core: &Core, member: &dyn Member, ask: MarkRead) -> Result<ReadPosition, Refusal> {
    let (room, log) = core.open(member, &ask.room).await?;
    if ask.epoch != log.epoch {
        return Err(Refusal::Rewound { epoch: log.epoch, last: log.last });
    }
    if ask.seq > log.last {
        return Err(Refusal::RefUnknown { seq: ask.seq, last: log.last });
    }
    let user = member.author().id;
    let key = read_key(log.room, user);
    for _ in 0..core.limits.commit_attempts {
        let found = core.store.get(&key).await?;
        let before: ReadRecord =
            found.as_ref().map_or(Ok(ReadRecord::default()), |found| stored::decode(&found.value))?;
        let valid = core.valid(&log, before).await?;
        if (valid.epoch, valid.seq) >= (ask.epoch, ask.seq) {
            return core.position(user, &log).await;
        }
        let count = core.count_at(&log, ask.seq).await?;
        let after = ReadRecord { epoch: ask.epoch, seq: ask.seq, count };
        let batch =
            Batch::new().check_read(key.clone(), found.as_ref()).put(key.clone(), stored::encode(&after));
        match core.store.commit(batch).await {
            Ok(_) => {
                room.tell_reads(|other| *other == user);
                return core.position(user, &log).await;
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Contended)
}

impl Core {
    /// How far a user has read a room.
    pub(crate) async fn position(&self, user: UserId, log: &Log) -> Result<ReadPosition, Refusal> {
        let mut positions = self.positions(user, std::slice::from_ref(log)).await?;
        positions.pop().ok_or(Refusal::Corrupt)
    }

    /// How far a user has read several rooms, with one read of the store unless history was rewound.
    pub(crate) async fn positions(&self, user: UserId, logs: &[Log]) -> Result<Vec<ReadPosition>, Refusal> {
        let keys = logs.iter().flat_map(|log| [read_key(log.room, user), mentions_key(log.room, user)]);
        let found = self.store.get_many(keys.collect()).await?;
        let mut positions = Vec::with_capacity(logs.len());
        for (log, pair) in logs.iter().zip(found.chunks(2)) {
            let [read, mentions] = pair else { return Err(Refusal::Corrupt) };
            let read = self.valid(log, decoded(read.as_ref())?.unwrap_or_default()).await?;
            let mentions: Vec<u64> = decoded(mentions.as_ref())?.unwrap_or_default();
            let unread = mentions.iter().filter(|at| (read.seq + 1..=log.last).contains(at)).count();
            positions.push(ReadPosition {
                room: log.room,
                epoch: read.epoch,
                seq: read.seq,
                count: read.count,
                mentions: u32::try_from(unread).unwrap_or(u32::MAX),
            });
        }
        Ok(positions)
    }

    //= S4.93
    /// The position in the epoch of today: what was replaced was not read.
    async fn valid(&self, log: &Log, read: ReadRecord) -> Result<ReadRecord, Refusal> {
        let Some(from) = log.rewound_since(read.epoch) else { return Ok(read) };
        let seq = read.seq.min(from.saturating_sub(1)).min(log.last);
        let count = if seq == read.seq { read.count } else { self.count_at(log, seq).await? };
        Ok(ReadRecord { epoch: log.epoch, seq, count })
    }

    /// How many events up to `seq` count as unread: it stands in the event itself.
    async fn count_at(&self, log: &Log, seq: u64) -> Result<u64, Refusal> {
        if seq >= log.last {
            return Ok(log.count);
        }
        if seq == 0 && log.first == 1 {
            return Ok(0);
        }
        let page = self.store.events(store_room(log.room), seq, 1, 0).await?;
        let Some(found) = page.events.first() else { return Ok(log.count) };
        let envelope = Event::from_record(&found.record).map_err(|_| Refusal::Corrupt)?.envelope;
        // The event itself is trimmed: the first that is left tells how many were before it.
        let before = u64::from(found.seq > seq && envelope.kind.counts());
        Ok(envelope.count.saturating_sub(before))
    }

    /// A room that a member may read, and its log as the store has it now.
    pub(crate) async fn open(
        &self,
        member: &dyn Member,
        room: &hikyaku_wire::chat::RoomRef,
    ) -> Result<(std::sync::Arc<LiveRoom>, Log), Refusal> {
        let id: RoomId = self.meant(member, room).await?;
        let room = self.room(id).await?;
        self.readable_by(member, &room.record()).await?;
        self.refresh_logs(std::slice::from_ref(&room)).await?;
        let log = room.log();
        Ok((room, log))
    }
}

fn decoded<T: for<'b> minicbor::Decode<'b, ()>>(found: Option<&Versioned>) -> Result<Option<T>, Refusal> {
    found.map(|found| stored::decode(&found.value)).transpose()
}
