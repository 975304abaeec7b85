//! Which parcels of which rooms are being sent at this moment, and how far they are, for those who look at a room.
//!
//! There are never more than `max_puts`. How far one is is read where its writer says it to its readers (`passages`), when
//! somebody asks; only beginnings and ends are told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_wire::files::Arrival;
use hikyaku_wire::parcel::TransferId;
use tokio::sync::broadcast;

use super::passages::Passages;
use crate::rooms::RoomKey;

/// Beginnings and ends that wait for whoever looks; who is further behind looks at all that are there.
const NEWS: usize = 256;

/// The parcels that are being sent. Clones share everything.
#[derive(Clone)]
pub struct Underway(Arc<Shared>);

struct Shared {
    passages: Passages,
    parcels: Mutex<BTreeMap<(RoomKey, u64), Sent>>,
    /// How often somebody began to send.
    begun: AtomicU64,
    /// Tells of beginnings and ends.
    changes: broadcast::Sender<(RoomKey, u64)>,
}

/// What is sent, and the how manyth sending that is: a sender who comes back begins before the one before him is let go of.
type Sent = (TransferId, u64);

/// A parcel is being sent for as long as this lives.
pub(super) struct Sending {
    underway: Underway,
    place: (RoomKey, u64),
    sent: Sent,
}

impl Underway {
    pub(super) fn new(passages: Passages) -> Self {
        let (parcels, changes) = (Mutex::default(), broadcast::Sender::new(NEWS));
        Self(Arc::new(Shared { passages, parcels, begun: AtomicU64::new(0), changes }))
    }

    /// The parcels of a room that are being sent, by their events, and how far each is.
    pub fn in_room(&self, room: RoomKey) -> Vec<(u64, Arrival)> {
        let parcels = self.lock();
        let here = parcels.range((room, 0)..=(room, u64::MAX));
        // Not known before its writer has begun, which is soon.
        let beginning = Arrival { bytes: 0, sending: true };
        here.map(|((_, seq), (transfer, _))| (*seq, self.arrival(*transfer).unwrap_or(beginning))).collect()
    }

    /// Tells whenever a parcel of any room begins to be sent, or ceases to be.
    pub fn changes(&self) -> broadcast::Receiver<(RoomKey, u64)> {
        self.0.changes.subscribe()
    }

    /// Whether somebody sends it.
    pub(super) fn has(&self, transfer: TransferId) -> bool {
        self.lock().values().any(|(sent, _)| *sent == transfer)
    }

    /// How far a parcel is that is being written or read.
    pub(super) fn arrival(&self, transfer: TransferId) -> Option<Arrival> {
        self.0.passages.arrival(transfer)
    }

    /// Somebody begins to send a parcel, whose event has this place.
    pub(super) fn begin(&self, room: RoomKey, seq: u64, transfer: TransferId) -> Sending {
        let sent = (transfer, self.0.begun.fetch_add(1, Ordering::Relaxed));
        self.lock().insert((room, seq), sent);
        // Nobody may be looking.
        let _ = self.0.changes.send((room, seq));
        Sending { underway: self.clone(), place: (room, seq), sent }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(RoomKey, u64), Sent>> {
        self.0.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut parcels = self.underway.lock();
        if parcels.get(&self.place) == Some(&self.sent) {
            parcels.remove(&self.place);
        }
        drop(parcels);
        let _ = self.underway.0.changes.send(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_under_way_in_its_room_alone_and_no_longer_than_it_is_sent() {
        let passages = Passages::default();
        let underway = Underway::new(passages.clone());
        let (one, other) = ([1; 16], [2; 16]);
        let mut changes = underway.changes();
        let sending = underway.begin(one, 7, TransferId([7; 16]));
        assert_eq!(changes.try_recv(), Ok((one, 7)));
        let writing = passages.write(TransferId([7; 16]), 0);
        writing.reach(10);
        assert_eq!(underway.in_room(one), [(7, Arrival { bytes: 10, sending: true })]);
        assert_eq!(underway.in_room(other), []);
        drop((writing, sending));
        assert_eq!(underway.in_room(one), []);
        assert_eq!(changes.try_recv(), Ok((one, 7)));
    }

    #[test]
    fn a_sender_who_came_back_is_there_when_the_one_before_him_is_let_go_of() {
        let (underway, room, transfer) = (Underway::new(Passages::default()), [1; 16], TransferId([7; 16]));
        let before = underway.begin(room, 7, transfer);
        let again = underway.begin(room, 7, transfer);
        drop(before);
        assert!(underway.has(transfer) && underway.in_room(room).len() == 1);
        drop(again);
        assert!(!underway.has(transfer));
    }
}
