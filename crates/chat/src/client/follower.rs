//! A reader's rules: which events are new, which were seen, which are missing; what an epoch replaces.
//!
//! No I/O. Whatever connections do, the application is handed every event once and in order: the follower's cursors
//! outlive connections, and each new one begins where they stand. Spec: chapter 4, "Following".
//!
//! ```text
//!   follow ─▶ wishes() ─▶ Follow ─▶ server ─▶ Update ─▶ update() ─▶ News
//!                ▲                                          │ a gap: ask again from the cursor
//!                └──────────────── cursors ◀────────────────┘
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use hikyaku_wire::chat::{
    Batch, Cursor, Digest, Follow, Head, Live, Mode, ReadPosition, Refused, RoomId, Trimmed, Update,
};

use crate::event::{Event, EventError, EventView};

/// Cursors in one message: some 30 KiB.
const CURSORS_AT_ONCE: usize = 1_024;

/// Where a reader stands in a room. To be stored with what was made of the events before it, in one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The epoch of what the reader has; 0 if it has nothing.
    pub epoch: u32,
    /// The first sequence number it does not have.
    pub next: u64,
}

impl Position {
    /// Everything from the first event on.
    pub const START: Position = Position { epoch: 0, next: 1 };
    /// Only what comes from now on.
    pub const END: Position = Position { epoch: 0, next: hikyaku_wire::cbor::MAX_INTEGER };

    /// What to do with an event of this epoch; moves on if it is the next one.
    //= S4.60
    pub fn accept(&mut self, seq: u64) -> Accept {
        if seq < self.next {
            Accept::Ignore
        } else if seq == self.next {
            self.next += 1;
            Accept::Apply
        } else {
            Accept::Gap
        }
    }
}

/// What an event is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// The next one.
    Apply,
    /// Seen before.
    Ignore,
    /// Others are missing before it.
    Gap,
}

/// Something the application is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// The next event of a room.
    Event(Delivery),
    /// Where a room's log stands.
    Head(Head),
    /// History was rewound: everything from `from` on is void and comes again in the new epoch.
    Rewound {
        /// The room.
        room: RoomId,
        /// The new epoch.
        epoch: u32,
        /// The first sequence number to throw away.
        from: u64,
    },
    /// Events the reader did not have are gone for ever.
    Trimmed {
        /// The room.
        room: RoomId,
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        through: u64,
        /// The chain's value after it.
        chain: Option<Digest>,
    },
    /// The reader has everything; from here on events come as they happen.
    Live {
        /// The room.
        room: RoomId,
        /// The newest event.
        through: u64,
    },
    /// How far the reader's user has read a room, on whatever device, and what mentions them since.
    Read(ReadPosition),
    /// The room is not followed any more.
    Refused(Refused),
    /// A connection was made.
    Connected,
    /// The connection was lost; another one is being made.
    Lost(String),
}

/// One event, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The room.
    pub room: RoomId,
    /// The epoch.
    pub epoch: u32,
    /// The sequence number.
    pub seq: u64,
    /// The bytes.
    pub record: Bytes,
}

impl Delivery {
    /// The event in it. One that cannot be read keeps its place: it is shown as unreadable, and the next follows.
    pub fn event(&self) -> Result<Event, EventError> {
        Event::from_record(&self.record)
    }

    /// The same, read where it lies: nothing is copied.
    pub fn view(&self) -> Result<EventView<'_>, EventError> {
        EventView::of(&self.record)
    }
}

/// The cursors of one reader, and what it still wants to say to the server.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    rooms: BTreeMap<RoomId, Followed>,
    leaving: Vec<RoomId>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    position: Position,
    mode: Mode,
    /// Whether the server knows of the cursor, on this connection.
    asked: bool,
    /// What arrives is void until the head that answers the latest cursor: it answers an older one.
    awaits_head: bool,
}

impl Follower {
    /// Follows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows a room from a position on, or goes on elsewhere in a room followed already.
    pub fn follow(&mut self, room: RoomId, position: Position, mode: Mode) {
        self.leaving.retain(|left| *left != room);
        self.rooms.insert(room, Followed { position, mode, asked: false, awaits_head: true });
    }

    /// Follows a room no longer.
    pub fn leave(&mut self, room: RoomId) {
        if self.rooms.remove(&room).is_some_and(|followed| followed.asked) {
            self.leaving.push(room);
        }
    }

    /// Where the reader stands.
    pub fn position(&self, room: &RoomId) -> Option<Position> {
        self.rooms.get(room).map(|followed| followed.position)
    }

    /// The connection is gone: the next one begins with every cursor.
    //= S4.61
    pub fn disconnected(&mut self) {
        self.leaving.clear();
        for followed in self.rooms.values_mut() {
            (followed.asked, followed.awaits_head) = (false, true);
        }
    }

    /// What is to be sent to the server now. Ask until there is nothing.
    pub fn wishes(&mut self) -> Option<Follow> {
        let waiting = self.rooms.iter_mut().filter(|(_, followed)| !followed.asked).take(CURSORS_AT_ONCE);
        let subscribe: Vec<Cursor> = waiting
            .map(|(room, followed)| {
                followed.asked = true;
                let Position { epoch, next } = followed.position;
                Cursor { room: *room, epoch, next, mode: followed.mode }
            })
            .collect();
        let follow = Follow { subscribe, unsubscribe: std::mem::take(&mut self.leaving) };
        (follow != Follow::default()).then_some(follow)
    }

    /// Whether [`wishes`](Self::wishes) would give something.
    pub fn has_wishes(&self) -> bool {
        !self.leaving.is_empty() || self.rooms.values().any(|followed| !followed.asked)
    }

    /// Takes in what the server sent.
    pub fn update(&mut self, update: Update) -> Vec<News> {
        let mut news = Vec::new();
        for head in update.heads {
            self.head(head, &mut news);
        }
        for trimmed in update.trimmed {
            self.trimmed(trimmed, &mut news);
        }
        for batch in update.batches {
            self.batch(batch, &mut news);
        }
        for live in update.live {
            self.live(live, &mut news);
        }
        let reads = update.reads.into_iter().filter(|read| self.rooms.contains_key(&read.room));
        news.extend(reads.map(News::Read));
        for refused in update.refused {
            if self.rooms.remove(&refused.room).is_some() {
                news.push(News::Refused(refused));
            }
        }
        news
    }

    //= S4.62
    fn head(&mut self, head: Head, news: &mut Vec<News>) {
        let Some(followed) = self.rooms.get_mut(&head.room).filter(|followed| followed.asked) else { return };
        let position = &mut followed.position;
        if head.epoch < position.epoch {
            return;
        }
        if position.epoch == 0 {
            position.next = position.next.min(head.last + 1);
        } else if head.epoch > position.epoch {
            let from = head.rewound.unwrap_or(1);
            if from < position.next {
                position.next = from;
                news.push(News::Rewound { room: head.room, epoch: head.epoch, from });
            }
        }
        position.epoch = head.epoch;
        followed.awaits_head = false;
        news.push(News::Head(head));
    }

    fn trimmed(&mut self, trimmed: Trimmed, news: &mut Vec<News>) {
        let Some(position) = self.current(&trimmed.room, trimmed.epoch) else { return };
        let Trimmed { room, through, chain, .. } = trimmed;
        if through >= position.next {
            news.push(News::Trimmed { room, from: position.next, through, chain });
            position.next = through + 1;
        }
    }

    fn batch(&mut self, batch: Batch, news: &mut Vec<News>) {
        let Batch { room, epoch, first, records } = batch;
        let Some(position) = self.current(&room, epoch) else { return };
        news.reserve(usize::try_from(records.len()).unwrap_or_default());
        for (seq, record) in (first..).zip(records.iter()) {
            match position.accept(seq) {
                Accept::Apply => news.push(News::Event(Delivery { room, epoch, seq, record: record.0 })),
                Accept::Ignore => {}
                Accept::Gap => return self.ask_again(room),
            }
        }
    }

    fn live(&mut self, live: Live, news: &mut Vec<News>) {
        let Live { room, epoch, through } = live;
        let Some(position) = self.current(&room, epoch) else { return };
        if through >= position.next {
            self.ask_again(room);
        } else if through + 1 == position.next {
            news.push(News::Live { room, through });
        }
    }

    /// The position of a room, if what arrives for this epoch concerns it.
    fn current(&mut self, room: &RoomId, epoch: u32) -> Option<&mut Position> {
        let followed = self.rooms.get_mut(room)?;
        let current = followed.asked && !followed.awaits_head && followed.position.epoch == epoch;
        current.then_some(&mut followed.position)
    }

    /// Something is missing: the server moves its cursor back to ours.
    //= S4.60
    fn ask_again(&mut self, room: RoomId) {
        if let Some(followed) = self.rooms.get_mut(&room) {
            (followed.asked, followed.awaits_head) = (false, true);
        }
    }
}

#[cfg(test)]
mod tests;
