//! What one reader still has to be told: its cursors, and the next update for them.
//!
//! A subscription is a cursor, never a queue: an update is put together when the reader can take it, from the rooms'
//! rings or, where a cursor has left the ring, from the log. A reader that does not read costs its cursors and nothing
//! else, and misses nothing. Spec: chapter 4, "Following".

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use hikyaku::Encoded;
use hikyaku_wire::chat::{
    Batch, Cursor, Follow, Live, Mode, ReadPosition, Records, Refused, RoomId, Trimmed, Update, UserId,
};
use hikyaku_wire::exchange::Retry;

use super::core::Core;
use super::ring::Budget;
use super::room::{LiveRoom, Mailbox, Watching};
use crate::limits::Limits;
use crate::member::Member;
use crate::refusal::Refusal;
use crate::rules::Log;
use crate::stored::store_room;

/// Heads and refusals in one update: each is one or two hundred bytes.
pub(super) const HEADS_AT_ONCE: usize = 256;

/// One reader.
pub(crate) struct Feed {
    core: Arc<Core>,
    member: Arc<dyn Member>,
    user: UserId,
    mailbox: Arc<Mailbox>,
    followed: HashMap<RoomId, Followed>,
    /// Rooms to look at, each once.
    ready: VecDeque<RoomId>,
    /// What the mailbox said; empty between two looks.
    changed: Vec<RoomId>,
    /// Rooms off screen whose head has changed.
    heads_due: Vec<RoomId>,
    /// Rooms in which the reader is to be told how far it has read.
    reads_due: BTreeSet<RoomId>,
    /// Heads and refusals that wait for the next update.
    told: Update,
    /// Counts updates.
    round: u64,
}

/// What a reader is sent.
pub(crate) enum Next {
    /// The same as others.
    Shared(Encoded),
    /// Its own. Boxed, because the future that waits for it is the largest thing that an idle reader holds.
    Own(Box<Update>),
}

/// One subscription.
struct Followed {
    watching: Watching,
    /// Whom the room lets read it, as of when this reader was looked up.
    access: u64,
    mode: Mode,
    epoch: u32,
    next: u64,
    /// Whether the reader was told that it has everything.
    live: bool,
    /// Whether it stands in `ready`.
    queued: bool,
    /// Whether it stands in `heads_due`.
    head_due: bool,
    /// Epoch and newest event of the head the reader was last told.
    head: (u32, u64),
    /// The update that last had something of this room.
    round: u64,
}

impl Feed {
    pub(crate) fn new(core: Arc<Core>, member: Arc<dyn Member>) -> Self {
        let user = member.author().id;
        Self {
            core,
            member,
            user,
            mailbox: Arc::default(),
            followed: HashMap::new(),
            ready: VecDeque::new(),
            changed: Vec::new(),
            heads_due: Vec::new(),
            reads_due: BTreeSet::new(),
            told: Update::default(),
            round: 0,
        }
    }

    /// Where news of rooms arrives; wait there when there is no update.
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        self.mailbox.clone()
    }

    /// Whether [`flush_heads`](Self::flush_heads) has something to do.
    pub(crate) fn has_heads_due(&self) -> bool {
        !self.heads_due.is_empty()
    }

    /// Follows and leaves rooms. A room that is refused does not disturb the others.
    pub(crate) async fn apply(&mut self, follow: Follow) -> Result<(), Refusal> {
        for room in &follow.unsubscribe {
            self.leave(room);
        }
        let mut cursors = Vec::new();
        for cursor in follow.subscribe {
            match self.admit(&cursor, cursors.len()) {
                Ok(()) => cursors.push(cursor),
                Err(refusal) => self.refuse(cursor.room, &refusal),
            }
        }
        let ids: Vec<RoomId> = cursors.iter().map(|cursor| cursor.room).collect();
        let rooms = self.core.rooms(&ids).await?;
        let mut found = Vec::new();
        for (cursor, room) in cursors.into_iter().zip(rooms) {
            let Some(room) = room else {
                self.refuse(cursor.room, &Refusal::RoomUnknown);
                continue;
            };
            let record = room.record();
            match self.core.readable_by(&*self.member, &record).await {
                // Watch first, look afterwards: nothing falls between.
                //= S4.47
                Ok(()) => found.push((cursor, room.watch(self.user, &self.mailbox), record.access())),
                // A store that fails is no answer about this room: the reader comes again with all its cursors.
                Err(refusal) if refusal.retry() != Retry::No => return Err(refusal),
                Err(refusal) => self.refuse(cursor.room, &refusal),
            }
        }
        let rooms: Vec<Arc<LiveRoom>> = found.iter().map(|(_, watching, _)| watching.room.clone()).collect();
        self.core.refresh_logs(&rooms).await?;
        for (cursor, watching, access) in found {
            self.start(cursor, watching, access);
        }
        Ok(())
    }

    /// Whether there is place for one more subscription.
    fn admit(&self, cursor: &Cursor, admitted: usize) -> Result<(), Refusal> {
        let limit = self.core.limits.subscriptions;
        let size = self.followed.len() + admitted + 1;
        if size > limit && !self.followed.contains_key(&cursor.room) {
            return Err(Refusal::Limit { what: "subscriptions of one connection", size, limit });
        }
        Ok(())
    }

    //= S4.42
    //= S4.43
    fn start(&mut self, cursor: Cursor, watching: Watching, access: u64) {
        // A cursor for a room already followed takes the place of the old one.
        self.leave(&cursor.room);
        let log = watching.room.log();
        let knows_nothing = cursor.epoch == 0;
        let rewound = log.rewound_since(cursor.epoch);
        let wanted = cursor.next.max(1).min(rewound.unwrap_or(u64::MAX));
        if cursor.epoch > log.epoch || (!knows_nothing && wanted > log.last + 1) {
            self.refuse(cursor.room, &Refusal::Ahead { epoch: log.epoch, last: log.last });
            return;
        }
        self.told.heads.push(log.head(rewound));
        self.reads_due.insert(cursor.room);
        let followed = Followed {
            watching,
            access,
            mode: cursor.mode,
            epoch: log.epoch,
            next: wanted.min(log.last + 1),
            live: false,
            queued: true,
            head_due: false,
            head: (log.epoch, log.last),
            round: 0,
        };
        self.followed.insert(cursor.room, followed);
        self.ready.push_back(cursor.room);
    }

    fn leave(&mut self, room: &RoomId) {
        if self.followed.remove(room).is_some() {
            self.ready.retain(|ready| ready != room);
            self.heads_due.retain(|due| due != room);
        }
    }

    //= S4.45
    fn refuse(&mut self, room: RoomId, refusal: &Refusal) {
        self.told.refused.push(refused(room, refusal));
    }

    /// The next thing to send; `None` when the reader has everything there is.
    pub(crate) async fn next(&mut self) -> Result<Option<Next>, Refusal> {
        self.round += 1;
        self.look();
        if self.ready.is_empty() && self.reads_due.is_empty() && self.told == Update::default() {
            return Ok(None);
        }
        if let Some(message) = self.share() {
            return Ok(Some(Next::Shared(message)));
        }
        if let Some(message) = self.share_page().await? {
            return Ok(Some(Next::Shared(message)));
        }
        Ok(self.next_update().await?.map(|update| Next::Own(Box::new(update))))
    }

    /// What most readers are told most of the time: the newest events of one room, and nothing else.
    fn share(&mut self) -> Option<Encoded> {
        if !self.has_only_events() {
            return None;
        }
        let budget = self.budget();
        let followed = self.followed.get_mut(self.ready.front()?)?;
        if followed.mode != Mode::Live || !followed.live {
            return None;
        }
        let Followed { access, epoch, next, .. } = *followed;
        let shared = followed.watching.room.share(access, epoch, next, budget)?;
        self.ready.clear();
        followed.queued = false;
        followed.next = shared.next;
        Some(shared.message)
    }

    /// A page for a reader that is far behind in one room, as who comes back is: others who do stand at the same place.
    async fn share_page(&mut self) -> Result<Option<Encoded>, Refusal> {
        if !self.has_only_events() || !self.is_far_behind() {
            return Ok(None);
        }
        let budget = self.budget();
        let Some(followed) = self.ready.front().and_then(|room| self.followed.get_mut(room)) else {
            return Ok(None);
        };
        let Followed { access, epoch, next, .. } = *followed;
        let room = &followed.watching.room;
        let page = self.core.page(room, epoch, next, budget).await?;
        // Reading took its time. If anything is different now, the reader is told so first.
        let Some(page) = page.filter(|_| room.still_has(access, epoch, next)) else { return Ok(None) };
        followed.next = page.next;
        if followed.live && page.next > room.log().last {
            self.ready.clear();
            followed.queued = false;
        }
        Ok(Some(page.message))
    }

    /// Whether there is nothing to tell but events of one room.
    fn has_only_events(&self) -> bool {
        let told = self.told.heads.is_empty() && self.told.refused.is_empty() && self.reads_due.is_empty();
        told && self.ready.len() == 1
    }

    /// Whether pages are next, for the only room there is something of.
    fn is_far_behind(&self) -> bool {
        let followed = self.ready.front().and_then(|room| self.followed.get(room));
        self.ready.len() == 1
            && followed.is_some_and(|followed| {
                let Followed { watching, access, epoch, next, .. } = followed;
                followed.mode == Mode::Live
                    && watching.room.still_has(*access, *epoch, *next)
                    && watching.room.is_far_from(*epoch, *next, self.budget())
            })
    }

    fn budget(&self) -> Budget {
        let Limits { update_events, update_bytes, .. } = self.core.limits;
        Budget { events: u64::try_from(update_events).unwrap_or(u64::MAX), bytes: update_bytes }
    }

    /// An update of this reader's own.
    async fn next_update(&mut self) -> Result<Option<Update>, Refusal> {
        let mut update = self.take_told();
        // The head of a new subscription goes out before its first events.
        if !self.told.heads.is_empty() {
            return Ok(Some(update));
        }
        if !self.reads_due.is_empty() {
            update.reads = self.reads().await?;
        }
        // What is shared goes by itself.
        if self.has_only_events() && update != Update::default() && self.is_far_behind() {
            return Ok(Some(update));
        }
        let mut left = self.budget();
        while left.events > 0 && left.bytes > 0 {
            let Some(room) = self.ready.pop_front() else { break };
            match self.step(room, left, &mut update).await? {
                Step::Took(records) => {
                    left.events -= records.len().min(left.events);
                    left.bytes -= records.encoded_len().min(left.bytes);
                }
                Step::Seen => {
                    self.ready.push_front(room);
                    break;
                }
            }
        }
        // Positions that nobody set are not told, but others may be due behind them.
        if update == Update::default() && !self.reads_due.is_empty() {
            self.round += 1;
            self.look();
            return Box::pin(self.next_update()).await;
        }
        Ok((update != Update::default()).then_some(update))
    }

    /// How far the reader's user has read the rooms that are due, some at once.
    //= S4.91
    async fn reads(&mut self) -> Result<Vec<ReadPosition>, Refusal> {
        let mut logs = Vec::new();
        while logs.len() < HEADS_AT_ONCE {
            let Some(room) = self.reads_due.pop_first() else { break };
            logs.extend(self.followed.get(&room).map(|followed| followed.watching.room.log()));
        }
        let positions = self.core.positions(self.user, &logs).await?;
        Ok(positions.into_iter().filter(|read| read.epoch > 0 || read.mentions > 0).collect())
    }

    /// Takes in what the mailbox says.
    fn look(&mut self) {
        self.reads_due.extend(self.mailbox.take_reads());
        self.mailbox.take(&mut self.changed);
        for room in self.changed.drain(..) {
            if let Some(followed) = self.followed.get_mut(&room) {
                followed.watching.looking();
                if !std::mem::replace(&mut followed.queued, true) {
                    self.ready.push_back(room);
                }
            }
        }
    }

    /// Heads and refusals, so many at once that the update stays small.
    fn take_told(&mut self) -> Update {
        let heads = self.told.heads.drain(..self.told.heads.len().min(HEADS_AT_ONCE)).collect();
        let refused = self.told.refused.drain(..self.told.refused.len().min(HEADS_AT_ONCE)).collect();
        Update { heads, refused, ..Update::default() }
    }

    /// One room's part of one update. A room has at most one part, so that the order of the keys is the order of
    /// events.
    //= S4.41
    async fn step(&mut self, id: RoomId, left: Budget, update: &mut Update) -> Result<Step, Refusal> {
        let Some(followed) = self.followed.get_mut(&id) else { return Ok(Step::nothing()) };
        if followed.round == self.round {
            return Ok(Step::Seen);
        }
        followed.round = self.round;
        followed.queued = false;
        let (log, access) = followed.watching.room.log_and_access();
        //= S4.80
        if access != followed.access {
            let record = followed.watching.room.record();
            match self.core.readable_by(&*self.member, &record).await {
                Ok(()) => followed.access = record.access(),
                Err(refusal) if refusal.retry() != Retry::No => return Err(refusal),
                Err(refusal) => {
                    update.refused.push(refused(id, &refusal));
                    self.leave(&id);
                    return Ok(Step::nothing());
                }
            }
        }
        if log.epoch != followed.epoch {
            followed.rewind(&log, update);
        }
        //= S4.49
        if followed.mode == Mode::Heads {
            if followed.head != (log.epoch, log.last) && !std::mem::replace(&mut followed.head_due, true) {
                self.heads_due.push(id);
            }
            return Ok(Step::nothing());
        }
        followed.skip_trimmed(&log, update);
        let records =
            if followed.next <= log.last { followed.read(&self.core, left).await? } else { Records::new() };
        if !records.is_empty() {
            let (room, epoch, first) = (id, followed.epoch, followed.next);
            followed.next += records.len();
            update.batches.push(Batch { room, epoch, first, records: records.clone() });
        }
        if followed.next <= followed.watching.room.log().last {
            followed.queued = true;
            self.ready.push_back(id);
        } else if !std::mem::replace(&mut followed.live, true) {
            update.live.push(Live { room: id, epoch: followed.epoch, through: followed.next - 1 });
        }
        Ok(Step::Took(records))
    }

    /// Puts the heads of rooms off screen into the next update.
    pub(crate) fn flush_heads(&mut self) {
        for room in std::mem::take(&mut self.heads_due) {
            if let Some(followed) = self.followed.get_mut(&room) {
                followed.head_due = false;
                self.told.heads.extend(followed.tell_head());
            }
        }
    }

    /// Looks at every room once more, and tells heads that the reader does not know: should a wake-up ever be
    /// lost, the reader is late, not wrong.
    //= S4.46
    pub(crate) fn check_all(&mut self) {
        self.flush_heads();
        for (room, followed) in &mut self.followed {
            let behind = followed.mode == Mode::Live && followed.next <= followed.watching.room.log().last;
            if behind && !std::mem::replace(&mut followed.queued, true) {
                self.ready.push_back(*room);
            }
            if behind || followed.mode == Mode::Heads {
                self.told.heads.extend(followed.tell_head());
            }
        }
    }

    /// The rooms this reader follows, for reading their heads from the store again.
    pub(crate) fn rooms(&self) -> Vec<Arc<LiveRoom>> {
        self.followed.values().map(|followed| followed.watching.room.clone()).collect()
    }
}

impl Followed {
    /// The log has begun a new epoch: the reader throws away what it replaces.
    fn rewind(&mut self, log: &Log, update: &mut Update) {
        let rewound = log.rewound_since(self.epoch);
        self.next = self.next.min(rewound.unwrap_or(u64::MAX));
        self.epoch = log.epoch;
        self.live = false;
        self.head = (log.epoch, log.last);
        update.heads.push(log.head(rewound));
    }

    //= S4.44
    fn skip_trimmed(&mut self, log: &Log, update: &mut Update) {
        if self.next < log.first {
            let chain = self.watching.room.record().record.trimmed;
            update.trimmed.push(Trimmed {
                room: self.watching.room.id,
                epoch: self.epoch,
                through: log.first - 1,
                chain,
            });
            self.next = log.first;
        }
    }

    /// Events from the cursor on, from memory or from the log.
    async fn read(&self, core: &Core, left: Budget) -> Result<Records, Refusal> {
        if let Some(records) = self.watching.room.newest(self.next, left) {
            return Ok(records);
        }
        let count = usize::try_from(left.events).unwrap_or(usize::MAX);
        let page = core.store.events(store_room(self.watching.room.id), self.next, count, left.bytes).await?;
        if page.first > self.next {
            // Trimmed since the log was looked at: look again.
            core.refresh_logs(std::slice::from_ref(&self.watching.room)).await?;
            return Ok(Records::new());
        }
        match page.events.first() {
            Some(first) if first.seq == self.next => {
                Ok(page.events.into_iter().map(|event| event.record).collect())
            }
            _ => Err(Refusal::Corrupt),
        }
    }

    /// The head, if it is not the one the reader was told last.
    fn tell_head(&mut self) -> Option<hikyaku_wire::chat::Head> {
        let log = self.watching.room.log();
        let before = std::mem::replace(&mut self.head, (log.epoch, log.last));
        (before != self.head).then(|| log.head(log.rewound_since(before.0)))
    }
}

fn refused(room: RoomId, refusal: &Refusal) -> Refused {
    Refused { room, code: refusal.code().0, message: refusal.to_string() }
}

enum Step {
    /// The records that went into the update.
    Took(Records),
    /// This update has its part already.
    Seen,
}

impl Step {
    fn nothing() -> Self {
        Step::Took(Records::new())
    }
}
