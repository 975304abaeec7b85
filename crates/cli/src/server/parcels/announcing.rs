//! Parcels that are being announced: their records have no place, and that says nothing yet.
//!
//! Between a record and its event, a record without a place looks like what a crash has left. Who is about to forget one reads
//! it first and asks here next; who announces is here first and then writes the record anew. So either the one sees the other,
//! or the record that is to be forgotten is no longer the one that was read. A claim belongs to a task of its own, not to the
//! request: what a store has begun to write it writes, whoever still waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku::Failure;
use hikyaku_chat::Operation;
use hikyaku_wire::chat::{Kind, MessageId, RoomId};
use hikyaku_wire::parcel::{Parcel, TransferId};

use super::record::Place;
use super::{Context, Parcels, decode};

impl Parcels {
    /// The parcel whose event is in a room at `seq`; and its place, where nobody has noted that yet: whoever sees the event may
    /// ask for it before.
    pub(super) async fn announced_at(
        &self,
        context: &Context,
        room: RoomId,
        seq: u64,
    ) -> Result<Option<(TransferId, Option<Place>)>, Failure> {
        if let Some(transfer) = self.at(room, seq).await? {
            return Ok(Some((transfer, None)));
        }
        self.chat.may(context, Operation::Read, room).await?;
        let event = self.chat.event(room, seq).await?.filter(|event| event.envelope.kind == Kind::PARCEL);
        let Some(body) = event.and_then(|event| event.body) else { return Ok(None) };
        let Parcel { transfer, .. } = decode(&body)?;
        let Some((record, _)) = self.read(transfer).await?.filter(|(record, _)| record.room == room) else {
            return Ok(None);
        };
        // An event that only says so is nobody's parcel.
        let placed = self.chat.place_of(room, record.author, MessageId(transfer.0)).await?;
        let placed = placed.filter(|(_, at)| *at == seq);
        Ok(placed.map(|(epoch, seq)| (transfer, Some(Place { epoch, seq }))))
    }
}

/// Which, and how often at once.
#[derive(Clone, Default)]
pub(super) struct Announcing(Arc<Mutex<HashMap<TransferId, usize>>>);

/// Held until the event is written and its place is noted, or it is certain that it will not be.
pub(super) struct Claim {
    announcing: Announcing,
    transfer: TransferId,
}

impl Announcing {
    pub(super) fn claim(&self, transfer: TransferId) -> Claim {
        *self.lock().entry(transfer).or_default() += 1;
        Claim { announcing: self.clone(), transfer }
    }

    pub(super) fn has(&self, transfer: TransferId) -> bool {
        self.lock().contains_key(&transfer)
    }

    /// Whether the only claim is that of whoever asks. With another one the record is not his to forget.
    pub(super) fn is_alone(&self, transfer: TransferId) -> bool {
        self.lock().get(&transfer) == Some(&1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TransferId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.announcing.lock();
        if let Some(count) = claimed.get_mut(&self.transfer) {
            *count -= 1;
            if *count == 0 {
                claimed.remove(&self.transfer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_announces_beside_another_forgets_nothing_of_his() {
        let (announcing, transfer) = (Announcing::default(), TransferId([1; 16]));
        let first = announcing.claim(transfer);
        assert!(announcing.is_alone(transfer));
        let second = announcing.claim(transfer);
        assert!(!announcing.is_alone(transfer) && announcing.has(transfer));
        drop(first);
        assert!(announcing.is_alone(transfer), "the other one ended");
        drop(second);
        assert!(!announcing.is_alone(transfer) && !announcing.has(transfer));
    }
}
