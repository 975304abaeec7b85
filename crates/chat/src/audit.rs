//! Whether a store's rooms are what the rules make: every chain recomputed, every count, every index.
//!
//! For `hikyaku doctor`. It reads everything and changes nothing; what it finds is a sentence for a person.

use std::collections::{BTreeMap, HashMap};

use hikyaku_storage::{Head, Key, Store, StoreError, StoredEvent};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Digest, MemberRole, RoomId};

use crate::chain::Chain;
use crate::event::Event;
use crate::stored::{
    self, MemberRecord, Receipt, RoomRecord, State, members_prefix, name_key, receipt_key, store_room,
};

/// Keys or events read at once.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 4 << 20;

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Rooms looked at.
    pub rooms: u64,
    /// Events whose place in the chain was recomputed.
    pub events: u64,
    /// The highest epoch of a room.
    pub epoch: u32,
    /// The time of the newest event, in milliseconds since 1970.
    pub newest_ms: u64,
    /// Where the chain, a count, a time, an epoch or an index is not what it should be.
    pub damage: Vec<String>,
    /// What belongs to nothing that is there.
    pub orphans: Vec<String>,
}

/// Looks at every room of a store.
pub async fn audit(store: &dyn Store) -> Result<Audit, StoreError> {
    let mut audit = Audit::default();
    let mut rooms = HashMap::new();
    for (key, value) in all(store, Key::from("r/")).await? {
        let id = key.as_bytes().get(2..).and_then(|id| id.try_into().ok()).map(RoomId);
        match (id, stored::decode::<RoomRecord>(&value)) {
            (Some(id), Ok(record)) => drop(rooms.insert(id, record)),
            _ => audit.damage.push(format!("the record of a room cannot be read ({key})")),
        }
    }
    for (id, record) in &rooms {
        audit.room(store, *id, record).await?;
    }
    audit.indexes(store, &rooms).await?;
    Ok(audit)
}

impl Audit {
    async fn room(&mut self, store: &dyn Store, id: RoomId, record: &RoomRecord) -> Result<(), StoreError> {
        self.rooms += 1;
        let parsed = crate::RoomName::parse_any(&record.name);
        let name = parsed
            .as_ref()
            .map_or_else(|_| hikyaku::printable(&record.name).to_string(), ToString::to_string);
        let named = match parsed {
            Ok(parsed) => store.get(&name_key(&parsed)).await?.map(|found| found.value),
            Err(_) => None,
        };
        if named.as_deref() != Some(&id.0[..]) {
            self.damage.push(format!("{name}: the list of names does not lead to the room"));
        }
        self.members(store, id, record, &name).await?;
        let Some(head) = store.head(store_room(id)).await? else {
            self.damage.push(format!("{name}: the room has no log"));
            return Ok(());
        };
        self.epoch = self.epoch.max(head.epoch);
        self.newest_ms = self.newest_ms.max(head.last_ts);
        if let Some(wrong) = wrong_epochs(&head) {
            self.damage.push(format!("{name}: {wrong}"));
        }
        let Ok(state) = stored::decode::<State>(&head.state) else {
            self.damage.push(format!("{name}: the state in the head cannot be read"));
            return Ok(());
        };
        let noted = self.noted(store, id, &name).await?;
        let Some(mut walk) = Walk::begin(id, record, &head, noted) else {
            self.damage.push(format!("{name}: the chain's value before event {} is missing", head.first));
            return Ok(());
        };
        while walk.next <= head.last {
            let page = store.events(store_room(id), walk.next, PAGE, PAGE_BYTES).await?;
            if page.events.is_empty() {
                walk.wrong(format!("events from {} to {} are missing", walk.next, head.last));
                break;
            }
            let mut keys = Vec::with_capacity(page.events.len());
            for event in &page.events {
                keys.push(walk.step(event, &head));
            }
            let receipts =
                store.get_many(keys.iter().flatten().map(|(key, _)| key.clone()).collect()).await?;
            for ((_, seq), found) in keys.iter().flatten().zip(receipts) {
                let receipt = found.and_then(|found| stored::decode::<Receipt>(&found.value).ok());
                if receipt.is_none_or(|receipt| receipt.seq != *seq) {
                    walk.wrong(format!("the id of event {seq} does not lead to it"));
                }
            }
        }
        walk.end(&head, &state);
        self.events += walk.events;
        self.damage.extend(walk.damage.iter().map(|what| format!("{name}: {what}")));
        Ok(())
    }

    /// Whether there are as many members and owners as the room's record says.
    async fn members(
        &mut self,
        store: &dyn Store,
        id: RoomId,
        record: &RoomRecord,
        name: &str,
    ) -> Result<(), StoreError> {
        let (mut members, mut owners) = (0_u64, 0_u64);
        for (_, value) in all(store, members_prefix(id)).await? {
            let Ok(member) = stored::decode::<MemberRecord>(&value) else {
                self.damage.push(format!("{name}: the record of a member cannot be read"));
                continue;
            };
            members += 1;
            owners += u64::from(member.role == MemberRole::Owner);
        }
        if (members, owners) != (record.members, record.owners) {
            self.damage.push(format!(
                "{name}: the room counts {} members and {} owners, and has {members} and {owners}",
                record.members, record.owners
            ));
        }
        Ok(())
    }

    /// Values of the chain that were noted on the way.
    async fn noted(
        &mut self,
        store: &dyn Store,
        id: RoomId,
        name: &str,
    ) -> Result<BTreeMap<u64, Digest>, StoreError> {
        let mut noted = BTreeMap::new();
        for (_, value) in all(store, Key::join([b"ch/".as_slice(), &id.0])).await? {
            match cbor::decode::<(u64, Digest)>(&value, &cbor::Limits::default()) {
                Ok((seq, chain)) => drop(noted.insert(seq, chain)),
                Err(_) => self.damage.push(format!("{name}: a noted value of the chain cannot be read")),
            }
        }
        Ok(noted)
    }

    /// Names and ids that lead to no room.
    async fn indexes(
        &mut self,
        store: &dyn Store,
        rooms: &HashMap<RoomId, RoomRecord>,
    ) -> Result<(), StoreError> {
        let known = |bytes: &[u8]| bytes.try_into().is_ok_and(|id| rooms.contains_key(&RoomId(id)));
        for (key, value) in all(store, stored::names_prefix()).await? {
            if !known(&value) {
                self.orphans.push(format!("the name {key} leads to no room"));
            }
        }
        let (mut after, mut lost) = (None, 0_u64);
        loop {
            let page = store.scan(stored::receipts_prefix(), after.take(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let room = |key: &Key| stored::room_of_receipt(key).is_some_and(known);
            lost += page.iter().filter(|(key, _)| !room(key)).count() as u64;
        }
        if lost > 0 {
            self.orphans.push(format!("{lost} ids of messages belong to no room"));
        }
        Ok(())
    }
}

fn wrong_epochs(head: &Head) -> Option<String> {
    let rising = head.epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
    let newest = head.epochs.last().map_or(1, |(epoch, _)| *epoch);
    let within = head.epochs.iter().all(|(_, first)| *first <= head.last + 1);
    if rising && within && newest == head.epoch {
        return None;
    }
    Some(format!(
        "the list of epochs {:?} does not fit epoch {} and event {}",
        head.epochs, head.epoch, head.last
    ))
}

/// One room, event by event.
struct Walk {
    room: RoomId,
    next: u64,
    chain: Chain,
    count: u64,
    ts_ms: u64,
    noted: BTreeMap<u64, Digest>,
    events: u64,
    damage: Vec<String>,
    /// The chain went wrong, and was told: everything behind it would be wrong, too.
    broken: bool,
}

impl Walk {
    /// `None` if the beginning was trimmed and nobody knows what the chain was there.
    fn begin(room: RoomId, record: &RoomRecord, head: &Head, noted: BTreeMap<u64, Digest>) -> Option<Self> {
        let chain = if head.first == 1 { Chain::genesis(room) } else { Chain(record.trimmed?) };
        let (events, damage) = (0, Vec::new());
        Some(Self { room, next: head.first, chain, count: 0, ts_ms: 0, noted, events, damage, broken: false })
    }

    fn wrong(&mut self, what: String) {
        self.damage.push(what);
    }

    /// Where the event's id should lead back to it; `None` if the event cannot be read.
    fn step(&mut self, stored: &StoredEvent, head: &Head) -> Option<(Key, u64)> {
        let seq = stored.seq;
        if seq != self.next {
            self.wrong(format!("event {seq} stands where {} should be", self.next));
        }
        self.next = seq + 1;
        self.events += 1;
        let Ok(event) = Event::from_record(&stored.record) else {
            self.wrong(format!("event {seq} cannot be read"));
            self.broken = true;
            return None;
        };
        let envelope = &event.envelope;
        if envelope.ts_ms != stored.ts_ms || envelope.ts_ms < self.ts_ms {
            self.wrong(format!("event {seq} has the time {}, after {}", envelope.ts_ms, self.ts_ms));
        }
        if envelope.count < self.count
            || (head.first == 1 && envelope.count != self.count + u64::from(envelope.kind.counts()))
        {
            self.wrong(format!("event {seq} counts {} after {}", envelope.count, self.count));
        }
        (self.ts_ms, self.count) = (envelope.ts_ms, envelope.count);
        self.chain = event.link(self.chain);
        if self.noted.get(&seq).is_some_and(|noted| *noted != self.chain.0) && !self.broken {
            self.wrong(format!("the chain is broken at or before event {seq}"));
            self.broken = true;
        }
        Some((receipt_key(self.room, envelope.author, envelope.id), seq))
    }

    fn end(&mut self, head: &Head, state: &State) {
        if self.chain.0 != state.chain && !self.broken {
            self.wrong(format!("the chain up to event {} is not the one in the head", head.last));
        }
        if self.count != state.count && self.events > 0 {
            self.wrong(format!("the head counts {}, the newest event {}", state.count, self.count));
        }
        if self.ts_ms > head.last_ts {
            self.wrong(format!("the newest event is of {}, the head says {}", self.ts_ms, head.last_ts));
        }
    }
}

/// All keys with a prefix. Only for what there are few of.
async fn all(store: &dyn Store, prefix: Key) -> Result<Vec<(Key, bytes::Bytes)>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(prefix.clone(), after.take(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.clone());
        found.extend(page.into_iter().map(|(key, found)| (key, found.value)));
    }
}
