//! Pages of a room for readers who come back: encoded once for all that stand at the same place.
//!
//! Who was away together comes back to the same place, often all at once. A page is read from the ring or the log by a
//! few of them, and the others take the same bytes. Pages hold nothing the log does not have; what is erased or trimmed
//! empties them, and a page that was read before that is not kept after it.

use std::collections::VecDeque;

use tokio::sync::Semaphore;

use super::core::Core;
use super::ring::{Budget, Shared};
use super::room::LiveRoom;
use crate::refusal::Refusal;
use crate::stored::store_room;

/// Pages kept of one room: some 2 MiB.
const PAGES: usize = 32;
/// Readers of one room that read from the log at once.
const READING: usize = 4;

/// The pages of one room.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    kept: VecDeque<Shared>,
    bytes: usize,
    /// Counts how often they were emptied.
    generation: u64,
}

impl Pages {
    /// The page that begins at a place.
    pub(crate) fn find(&self, epoch: u32, from: u64) -> Option<Shared> {
        self.kept.iter().rev().find(|page| (page.epoch, page.from) == (epoch, from)).cloned()
    }

    /// To be asked for before a page is read.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Keeps a page that was read when the generation was this one.
    pub(crate) fn keep(&mut self, page: Shared, generation: u64) {
        if generation != self.generation || self.find(page.epoch, page.from).is_some() {
            return;
        }
        if self.kept.len() == PAGES
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
        self.bytes += page.bytes();
        self.kept.push_back(page);
    }

    /// Forgets everything, also what is being read now.
    pub(crate) fn clear(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }

    /// How much memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Places for readers of the log.
pub(crate) fn places() -> Semaphore {
    Semaphore::new(READING)
}

impl Core {
    /// The page of a room that begins at `from`: kept, from the ring or from the log. `None` if the log does not have
    /// that place any more.
    pub(crate) async fn page(
        &self,
        room: &LiveRoom,
        epoch: u32,
        from: u64,
        budget: Budget,
    ) -> Result<Option<Shared>, Refusal> {
        if let Ok(page) = room.find_page(epoch, from) {
            return Ok(Some(page));
        }
        let _place = room.places.acquire().await.map_err(|_| Refusal::Stopping)?;
        // Those before may have read it.
        let generation = match room.find_page(epoch, from) {
            Ok(page) => return Ok(Some(page)),
            Err(generation) => generation,
        };
        let records = match room.newest(from, budget) {
            Some(records) => records,
            None => {
                let count = usize::try_from(budget.events).unwrap_or(usize::MAX);
                let read = self.store.events(store_room(room.id), from, count, budget.bytes).await?;
                if read.epoch != epoch || read.events.first().is_none_or(|first| first.seq != from) {
                    return Ok(None);
                }
                read.events.into_iter().map(|event| event.record).collect()
            }
        };
        let page = Shared::new(room.id, epoch, from, records);
        room.keep_page(page.clone(), generation, &self.limits);
        Ok(Some(page))
    }
}
