//! Deleting is erasing: what goes from the store with an event that somebody deletes.

use bytes::Bytes;
use hikyaku_wire::chat::RoomId;

use super::proposal::fingerprint;
use super::{Decision, Facts, Stored};
use crate::event::{Event, erase};
use crate::refusal::Refusal;
use crate::stored::{self, Receipt, edits_key, receipt_key};

/// A record that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) seq: u64,
    /// The record as it was read.
    pub(crate) before: Bytes,
    /// The same without salt and body.
    pub(crate) after: Bytes,
}

/// Erases an event, its edits, and what their receipts would let anybody guess.
//= S4.24
//= S4.25
pub(crate) fn erase_all(decision: &mut Decision, target: u64, facts: &Facts) -> Result<(), Refusal> {
    let room = decision.log.room;
    for stored in facts.target.iter().chain(&facts.edits) {
        let event = Event::from_record(&stored.record).map_err(|_| Refusal::Corrupt)?;
        let after = erase(&stored.record).map_err(|_| Refusal::Corrupt)?;
        // An edit may have been erased already, by whoever restored half of a history.
        if after != stored.record {
            decision.erasures.push(Erasure { seq: stored.seq, before: stored.record.clone(), after });
        }
        decision.puts.extend(without_salt(room, &event, stored));
    }
    if !facts.edits.is_empty() {
        decision.puts.push((edits_key(room, target), None));
    }
    Ok(())
}

/// The receipt of an erased event: it still says where the event is, and no longer what it was.
fn without_salt(
    room: RoomId,
    event: &Event,
    stored: &Stored,
) -> Option<(hikyaku_storage::Key, Option<Bytes>)> {
    let receipt = stored.receipt.as_ref()?;
    let envelope = &event.envelope;
    let fingerprint = fingerprint(&event.digest(), envelope.kind, &envelope.refs);
    let receipt = Receipt { salt: None, fingerprint, ..receipt.clone() };
    Some((receipt_key(room, envelope.author, envelope.id), Some(stored::encode(&receipt))))
}
