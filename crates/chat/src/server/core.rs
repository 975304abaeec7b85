//! What all parts of the server share: the store, the clock, the rooms in memory.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use hikyaku_storage::Store;
use hikyaku_wire::chat::{RoomId, RoomRef, Salt};
use tokio::sync::Semaphore;

use super::presence::Places;
use super::room::{LiveRoom, Versioned, lock};
use crate::limits::Limits;
use crate::member::{Ask, Member, Operation, Permit};
use crate::name::RoomName;
use crate::refusal::Refusal;
use crate::rules::Log;
use crate::stored::{self, name_key, room_key, store_room};

/// Milliseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    /// Bytes of bodies that may still wait.
    pub(crate) bytes_waiting: Arc<Semaphore>,
    rooms: Mutex<HashMap<RoomId, Weak<LiveRoom>>>,
    rings_bytes: Arc<AtomicUsize>,
    /// Where somebody looks now.
    pub(crate) places: Places,
}

impl Core {
    pub(crate) fn new(store: Arc<dyn Store>, limits: Limits, clock: Clock) -> Self {
        let bytes = limits.bytes_waiting.max(limits.body).min(Semaphore::MAX_PERMITS);
        Self {
            store,
            limits,
            clock,
            bytes_waiting: Arc::new(Semaphore::new(bytes)),
            rooms: Mutex::default(),
            rings_bytes: Arc::default(),
            places: Places::default(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Which room is meant, whoever asks; somebody's name means one only to whoever asks: [`Core::meant`].
    pub(crate) async fn resolve(&self, room: &RoomRef) -> Result<RoomId, Refusal> {
        let name = match room {
            RoomRef::Id(id) => return Ok(*id),
            RoomRef::Name(name) => RoomName::parse_any(name)?,
        };
        let found = self.store.get(&name_key(&name)).await?.ok_or(Refusal::RoomUnknown)?;
        found.value.as_ref().try_into().map(RoomId).map_err(|_| Refusal::Corrupt)
    }

    /// The one [`LiveRoom`] of this id. Rooms that do not exist take no memory.
    pub(crate) async fn room(&self, id: RoomId) -> Result<Arc<LiveRoom>, Refusal> {
        self.rooms(&[id]).await?.pop().flatten().ok_or(Refusal::RoomUnknown)
    }

    /// Several rooms with two reads of the store; `None` for those that do not exist.
    pub(crate) async fn rooms(&self, ids: &[RoomId]) -> Result<Vec<Option<Arc<LiveRoom>>>, Refusal> {
        let mut found: Vec<_> = {
            let rooms = lock(&self.rooms);
            ids.iter().map(|id| rooms.get(id).and_then(Weak::upgrade)).collect()
        };
        let missing: Vec<RoomId> =
            ids.iter().zip(&found).filter(|(_, room)| room.is_none()).map(|(id, _)| *id).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let records = self.store.get_many(missing.iter().map(|id| room_key(*id)).collect()).await?;
        let heads = self.store.heads(missing.iter().map(|id| store_room(*id)).collect()).await?;
        let mut loaded = HashMap::new();
        for ((id, record), head) in missing.into_iter().zip(records).zip(heads) {
            let Some(record) = record else { continue };
            let record = Versioned::new(id, record.version, stored::decode(&record.value)?);
            let log = Log::read(id, head.as_ref())?;
            loaded.insert(id, self.keep(LiveRoom::new(log, record, self.rings_bytes.clone())));
        }
        for (id, room) in ids.iter().zip(&mut found) {
            if room.is_none() {
                *room = loaded.get(id).cloned();
            }
        }
        Ok(found)
    }

    /// Whoever loads a room at the same moment gets the same one.
    fn keep(&self, room: LiveRoom) -> Arc<LiveRoom> {
        let mut rooms = lock(&self.rooms);
        if let Some(room) = rooms.get(&room.id).and_then(Weak::upgrade) {
            return room;
        }
        // Entries of rooms that nobody uses any more go before the table would grow.
        if rooms.len() == rooms.capacity() {
            rooms.retain(|_, room| room.strong_count() > 0);
        }
        let room = Arc::new(room);
        rooms.insert(room.id, Arc::downgrade(&room));
        room
    }

    /// Reads again where rooms stand: whoever changes the store without this server is noticed here, and so is
    /// what was committed between loading a room and watching it.
    pub(crate) async fn refresh_logs(&self, rooms: &[Arc<LiveRoom>]) -> Result<(), Refusal> {
        let heads = self.store.heads(rooms.iter().map(|room| store_room(room.id)).collect()).await?;
        for (room, head) in rooms.iter().zip(heads) {
            room.refresh(Log::read(room.id, head.as_ref())?, None);
        }
        Ok(())
    }

    /// Reads again everything a commit rests on.
    pub(crate) async fn refresh(&self, room: &LiveRoom) -> Result<(), Refusal> {
        let record = self.store.get(&room_key(room.id)).await?.ok_or(Refusal::RoomUnknown)?;
        let record = Versioned::new(room.id, record.version, stored::decode(&record.value)?);
        let head = self.store.head(store_room(room.id)).await?;
        room.refresh(Log::read(room.id, head.as_ref())?, Some(record));
        Ok(())
    }

    /// Asks once; for everything that is not part of a commit.
    pub(crate) async fn permit(
        &self,
        member: &dyn Member,
        operation: Operation,
        room: Option<RoomId>,
    ) -> Result<Permit, Refusal> {
        member.permit(Ask { operation, room, fresh: false }).await
    }

    /// What rings and pages hold.
    #[cfg(test)]
    pub(crate) fn bytes_held(&self) -> usize {
        self.rings_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn rooms_in_memory(&self) -> usize {
        lock(&self.rooms).values().filter(|room| room.strong_count() > 0).count()
    }
}

/// The system's clock.
pub(crate) fn system_clock() -> Clock {
    Arc::new(system_time)
}

/// Milliseconds since 1970, by the system's clock.
pub(crate) fn system_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Fresh randomness from the system, for one body.
//= S4.22
pub(crate) fn salt() -> Result<Salt, Refusal> {
    random().map(Salt)
}

/// 128 random bits.
pub(crate) fn random() -> Result<[u8; 16], Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::NoRandomness)?;
    Ok(bytes)
}
