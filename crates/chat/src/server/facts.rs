//! Reading what a proposal is about, for the rules to judge.
//!
//! What is read here changes only together with the room's log, and the commit demands that the log is as it was: so
//! nothing of it needs a check of its own.

use hikyaku_storage::Versioned;
use hikyaku_wire::chat::{Kind, RoomId, UserId};

use super::core::Core;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::rules::{Facts, Log, Proposal, Stored};
use crate::stored::{self, edits_key, mentions_key, receipt_key, store_room};

impl Core {
    /// What the store has about the event that a proposal is about.
    pub(crate) async fn facts(&self, log: &Log, proposal: &Proposal) -> Result<Facts, Refusal> {
        let mut facts = Facts { mentioned: self.mentioned(log.room, proposal).await?, ..Facts::default() };
        // One that is only now being appended is known to whoever decides.
        let Some(seq) = proposal.target().filter(|seq| (log.first..=log.last).contains(seq)) else {
            return Ok(facts);
        };
        let erases = proposal.kind == Kind::DELETE;
        facts.target = self.stored(log.room, seq, erases).await?;
        if erases || proposal.kind == Kind::EDIT {
            let found: Option<Versioned> = self.store.get(&edits_key(log.room, seq)).await?;
            facts.edited_at = found.map_or(Ok(Vec::new()), |found| stored::decode(&found.value))?;
        }
        if erases {
            for &edit in facts.edited_at.iter().filter(|edit| **edit >= log.first) {
                facts.edits.extend(self.stored(log.room, edit, true).await?);
            }
        }
        Ok(facts)
    }

    /// Where those who are mentioned were mentioned before.
    async fn mentioned(&self, room: RoomId, proposal: &Proposal) -> Result<Vec<(UserId, Vec<u64>)>, Refusal> {
        if proposal.mentions.is_empty() {
            return Ok(Vec::new());
        }
        let keys = proposal.mentions.iter().map(|user| mentions_key(room, *user)).collect();
        let found = self.store.get_many(keys).await?;
        let mentioned = proposal.mentions.iter().zip(found).map(|(user, found)| {
            Ok((*user, found.map_or(Ok(Vec::new()), |found| stored::decode(&found.value))?))
        });
        mentioned.collect()
    }

    /// One event as it is stored, with its receipt if that is wanted.
    async fn stored(&self, room: RoomId, seq: u64, receipt: bool) -> Result<Option<Stored>, Refusal> {
        let page = self.store.events(store_room(room), seq, 1, 0).await?;
        let Some(found) = page.events.into_iter().next().filter(|found| found.seq == seq) else {
            return Ok(None);
        };
        let mut stored = Stored { seq, record: found.record, receipt: None };
        if receipt {
            let event = Event::from_record(&stored.record).map_err(|_| Refusal::Corrupt)?;
            let key = receipt_key(room, event.envelope.author, event.envelope.id);
            let receipt = self.store.get(&key).await?;
            stored.receipt = receipt.map(|receipt| stored::decode(&receipt.value)).transpose()?;
        }
        Ok(Some(stored))
    }
}
