//! Where a room's log stands: what the store's head says, and what chat keeps in it.

use std::sync::Arc;

use bytes::Bytes;
use hikyaku_storage::Head as StoredHead;
use hikyaku_wire::chat as wire;
use hikyaku_wire::chat::RoomId;

use crate::chain::Chain;
use crate::refusal::Refusal;
use crate::stored::{self, State};

/// Where a room's log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) room: RoomId,
    pub(crate) epoch: u32,
    /// The first event still there; `last + 1` if there is none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) ts_ms: u64,
    pub(crate) count: u64,
    pub(crate) chain: Chain,
    pub(crate) marks: Arc<Marks>,
    /// Epochs after the first and the sequence number each begins with, oldest first.
    pub(crate) epochs: Arc<Vec<(u32, u64)>>,
}

/// Events that a room points at. Shared, since every reader's step copies the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The event with the topic; 0 for none.
    pub(crate) topic: u64,
    /// Events kept in view, in the order in which they were pinned.
    pub(crate) pins: Vec<u64>,
}

impl Log {
    /// The log of a room nobody has written in.
    pub(crate) fn empty(room: RoomId) -> Self {
        let (chain, marks, epochs) = (Chain::genesis(room), Arc::default(), Arc::default());
        Self { room, epoch: 1, first: 1, last: 0, ts_ms: 0, count: 0, chain, marks, epochs }
    }

    /// From what the store says.
    pub(crate) fn read(room: RoomId, head: Option<&StoredHead>) -> Result<Self, Refusal> {
        let Some(head) = head else { return Ok(Self::empty(room)) };
        let state: State = stored::decode(&head.state)?;
        Ok(Self {
            room,
            epoch: head.epoch,
            first: head.first,
            last: head.last,
            ts_ms: head.last_ts,
            count: state.count,
            chain: Chain(state.chain),
            marks: Arc::new(Marks { topic: state.topic.unwrap_or(0), pins: state.pins }),
            epochs: Arc::new(head.epochs.clone()),
        })
    }

    /// What the store is to keep in the head.
    pub(crate) fn state(&self) -> Bytes {
        let topic = Some(self.marks.topic).filter(|topic| *topic > 0);
        let pins = self.marks.pins.clone();
        stored::encode(&State { chain: self.chain.0, count: self.count, topic, pins })
    }

    /// What readers are told.
    pub(crate) fn head(&self, rewound: Option<u64>) -> wire::Head {
        wire::Head {
            room: self.room,
            epoch: self.epoch,
            first: self.first,
            last: self.last,
            count: self.count,
            ts_ms: self.ts_ms,
            chain: self.chain.0,
            rewound,
        }
    }

    /// The epoch in which an event was appended.
    pub(crate) fn epoch_of(&self, seq: u64) -> u32 {
        self.epochs.iter().rev().find(|(_, first)| *first <= seq).map_or(1, |(epoch, _)| *epoch)
    }

    /// The first sequence number that a reader of `epoch` must throw away, if it is one of an older epoch: what later
    /// ones replaced; all of it, should the list of epochs be incomplete.
    //= S4.43
    pub(crate) fn rewound_since(&self, epoch: u32) -> Option<u64> {
        let older = epoch != 0 && epoch < self.epoch;
        // Whoever has an epoch that this history never had was shown another one, and nobody knows since when.
        let known = epoch == 1 || self.epochs.iter().any(|(begun, _)| *begun == epoch);
        let later = self.epochs.iter().filter(|(later, _)| known && *later > epoch);
        older.then(|| later.map(|(_, first)| *first).min().unwrap_or(1))
    }

    /// Whether `other` is the same log at a later moment, or this one.
    pub(crate) fn is_not_after(&self, other: &Log) -> bool {
        (self.epoch, self.last, self.first) <= (other.epoch, other.last, other.first)
    }
}
