//! The chain's value anywhere in a room.
//!
//! Only the newest value stands in the room's head. Every so many events one more is kept beside the log, so that any
//! other is found by reading a bounded number of events. It can always be computed again; nothing rests on it.

use hikyaku_storage::Key;
use hikyaku_wire::chat::Digest;

use super::core::Core;
use super::room::LiveRoom;
use crate::chain::Chain;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::rules::{Decision, Log};
use crate::stored::{self, chain_key, store_room};

/// Events between two values that are kept.
const EVERY: u64 = 1_024;
/// Events read for one answer at most; a log from before values were kept has none near.
const MOST: u64 = 4 * EVERY;

/// What is to be kept with this decision, if it goes past a place where a value is kept.
pub(crate) fn kept(before: &Log, decision: &Decision) -> Option<(Key, bytes::Bytes)> {
    let (log, place) = (&decision.log, decision.log.last / EVERY);
    let passes = before.last / EVERY < place;
    passes.then(|| (chain_key(log.room, place), stored::encode(&(log.last, log.chain.0))))
}

impl Core {
    //= S4.52
    /// The value after event `seq`, which is at least `log.first - 1`; `None` where finding it would take too long.
    pub(crate) async fn chain_after(
        &self,
        room: &LiveRoom,
        log: &Log,
        seq: u64,
    ) -> Result<Option<Chain>, Refusal> {
        if seq == log.last {
            return Ok(Some(log.chain));
        }
        let mut base = match (log.first, room.record().record.trimmed) {
            (1, _) => Some((0, Chain::genesis(log.room))),
            (first, Some(chain)) => Some((first - 1, Chain(chain))),
            (_, None) => None,
        };
        let places = (0..=3).filter_map(|back| (seq / EVERY).checked_sub(back));
        let keys: Vec<Key> = places.map(|place| chain_key(log.room, place)).collect();
        for found in self.store.get_many(keys).await?.into_iter().flatten() {
            let (at, chain): (u64, Digest) = stored::decode(&found.value)?;
            if (log.first..=seq).contains(&at) && base.is_none_or(|(best, _)| at > best) {
                base = Some((at, Chain(chain)));
            }
        }
        let Some((mut at, mut chain)) = base.filter(|(at, _)| seq - at <= MOST) else { return Ok(None) };
        while at < seq {
            let count = usize::try_from(seq - at).unwrap_or(usize::MAX);
            let page = self.store.events(store_room(log.room), at + 1, count, usize::MAX).await?;
            // Trimmed meanwhile: whoever asks again gets another answer.
            if page.first > at + 1 || page.events.is_empty() {
                return Ok(None);
            }
            for event in &page.events {
                chain = Event::from_record(&event.record).map_err(|_| Refusal::Corrupt)?.link(chain);
                at = event.seq;
            }
        }
        Ok(Some(chain))
    }
}
