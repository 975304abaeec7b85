//! Who looks at one room now, and who types: rules without I/O, `now` passed in. Spec: chapter 4, "Who is here".
//!
//! Nothing here is durable and nothing is promised: what is told may be lost, so it is told again now and then, and
//! forgotten by itself. Everything is bounded: who looks, how often they say so, how often and at what length it is
//! told to others. Who looks twice, on two devices, is here once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Present, RoomId, Someone, State, UserId};
use hikyaku_wire::exchange::MAX_DATAGRAM;

use crate::limits::within;
use crate::refusal::Refusal;

/// Bounds of presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceLimits {
    /// Exchanges that look at one room.
    pub lookers: usize,
    /// Exchanges that look at any room of the server.
    pub lookers_in_all: usize,
    /// Users who are named; where more are here, only how many, and who types.
    pub named: usize,
    /// Users of whom it is told that they type, where not everybody is named.
    pub typists: usize,
    /// Users named in one answer.
    pub listed: usize,
    /// How long somebody is here without saying so again.
    pub here: Duration,
    /// How long somebody types without saying so again.
    pub typing: Duration,
    /// The least time between two tellings in a room.
    pub tell_every: Duration,
    /// How often everybody is named again.
    pub repeat_every: Duration,
    /// A looker may say something as often as this, and for `burst` of them at once.
    pub say_every: Duration,
    /// How much a looker may say at once.
    pub burst: u32,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self {
            lookers: 1_000,
            lookers_in_all: 20_000,
            named: 50,
            typists: 8,
            listed: 200,
            here: Duration::from_secs(30),
            typing: Duration::from_secs(6),
            tell_every: Duration::from_secs(1),
            repeat_every: Duration::from_secs(10),
            say_every: Duration::from_millis(500),
            burst: 10,
        }
    }
}

/// One exchange that looks at a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookerId(u64);

#[derive(Debug)]
struct Looker {
    user: UserId,
    /// Until when they are here.
    here: Option<Instant>,
    /// Until when they type.
    typing: Option<Instant>,
    /// When all that was said would have been due at the permitted rate.
    spent: Option<Instant>,
}

/// A user who was told of.
#[derive(Debug)]
struct User {
    name: String,
    state: State,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It counts.
    Taken,
    /// It came too soon after others, and is dropped.
    TooOften,
    /// Whoever said it looks no longer.
    Unknown,
}

/// Who looks at one room.
#[derive(Debug)]
pub struct Presence {
    room: RoomId,
    limits: PresenceLimits,
    lookers: BTreeMap<LookerId, Looker>,
    users: BTreeMap<UserId, User>,
    /// Users of whom there is news; those who have gone stand here by name until it is told.
    changed: BTreeMap<UserId, String>,
    next: u64,
    told: Option<Instant>,
    repeated: Option<Instant>,
}

impl Presence {
    /// Nobody yet.
    pub fn new(room: RoomId, limits: PresenceLimits) -> Self {
        let (lookers, users, changed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { room, limits, lookers, users, changed, next: 0, told: None, repeated: None }
    }

    /// Somebody begins to look. They are not here until they say so.
    pub fn enter(&mut self, user: UserId) -> Result<LookerId, Refusal> {
        within("lookers at one room", self.lookers.len() + 1, self.limits.lookers)?;
        let id = LookerId(self.next);
        self.next += 1;
        self.lookers.insert(id, Looker { user, here: None, typing: None, spent: None });
        Ok(id)
    }

    /// Somebody says what they do.
    //= S4.74
    pub fn hear(&mut self, now: Instant, id: LookerId, name: &str, state: State) -> Heard {
        let PresenceLimits { here, typing, say_every, burst, .. } = self.limits;
        let Some(looker) = self.lookers.get_mut(&id) else { return Heard::Unknown };
        let spent = looker.spent.map_or(now, |spent| spent.max(now));
        if spent.saturating_duration_since(now) >= say_every * burst {
            return Heard::TooOften;
        }
        looker.spent = Some(spent + say_every);
        looker.here = (state != State::Gone).then(|| now + here);
        looker.typing = (state == State::Typing).then(|| now + typing);
        let user = looker.user;
        self.settle(now, user, name);
        Heard::Taken
    }

    /// Somebody looks no longer.
    pub fn leave(&mut self, now: Instant, id: LookerId) {
        if let Some(looker) = self.lookers.remove(&id) {
            self.settle(now, looker.user, "");
        }
    }

    /// Whether nobody looks.
    pub fn is_empty(&self) -> bool {
        self.lookers.is_empty()
    }

    /// How many users are here.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// When [`poll`](Self::poll) has something to do next, if nothing is heard before.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let expiry = self.lookers.values().flat_map(|looker| [looker.here, looker.typing]).flatten().min();
        let may_tell = self.told.map_or(now, |told| told + self.limits.tell_every);
        let news = (!self.changed.is_empty()).then_some(may_tell);
        let repeat = self.repeated.filter(|_| !self.users.is_empty()).map(|at| at + self.limits.repeat_every);
        [expiry, news, repeat].into_iter().flatten().min()
    }

    /// What everybody who looks is to be told now: each fits into a datagram.
    //= S4.73
    //= S4.75
    pub fn poll(&mut self, now: Instant) -> Vec<Present> {
        self.expire(now);
        let repeats = self.repeated.is_none_or(|at| at + self.limits.repeat_every <= now);
        let early = self.told.is_some_and(|told| told + self.limits.tell_every > now);
        if early || (self.changed.is_empty() && (!repeats || self.users.is_empty())) {
            return Vec::new();
        }
        self.told = Some(now);
        let mut news: BTreeSet<UserId> = self.changed.keys().copied().collect();
        if repeats {
            self.repeated = Some(now);
            news.extend(self.users.keys());
        }
        let crowded = self.users.len() > self.limits.named;
        let gone = std::mem::take(&mut self.changed);
        let someone = news.iter().filter_map(|user| match self.users.get(user) {
            Some(User { name, state }) => Some(Someone { user: *user, name: name.clone(), state: *state }),
            None => {
                gone.get(user).map(|name| Someone { user: *user, name: name.clone(), state: State::Gone })
            }
        });
        let someone: Vec<Someone> = match crowded {
            false => someone.collect(),
            true => someone.filter(|one| one.state == State::Typing).take(self.limits.typists).collect(),
        };
        self.pieces(someone)
    }

    /// Everybody who is here, as far as one answer names them.
    pub fn all(&mut self, now: Instant) -> Present {
        self.expire(now);
        let someone = self.users.iter().take(self.limits.listed);
        let someone = someone.map(|(user, User { name, state })| Someone {
            user: *user,
            name: name.clone(),
            state: *state,
        });
        Present { someone: someone.collect(), ..self.empty() }
    }

    fn empty(&self) -> Present {
        let count = u32::try_from(self.users.len()).unwrap_or(u32::MAX);
        Present { room: self.room, count, someone: Vec::new() }
    }

    /// In as many messages as it takes for each to fit into a datagram.
    fn pieces(&self, someone: Vec<Someone>) -> Vec<Present> {
        let mut pieces = vec![self.empty()];
        // The head of the list may become two bytes longer than that of an empty one.
        let frame = cbor::encode(&self.empty()).len() + 4;
        let mut size = frame;
        for one in someone {
            let bytes = cbor::encode(&one).len();
            if size + bytes > MAX_DATAGRAM {
                pieces.push(self.empty());
                size = frame;
            }
            size += bytes;
            if let Some(piece) = pieces.last_mut() {
                piece.someone.push(one);
            }
        }
        pieces
    }

    //= S4.73
    fn expire(&mut self, now: Instant) {
        let mut late = BTreeSet::new();
        for looker in self.lookers.values_mut() {
            for until in [&mut looker.here, &mut looker.typing] {
                if until.is_some_and(|at| at <= now) {
                    *until = None;
                    late.insert(looker.user);
                }
            }
        }
        late.into_iter().for_each(|user| self.settle(now, user, ""));
    }

    //= S4.72
    /// What a user does, on all devices together; notes it where it is another thing than before.
    fn settle(&mut self, now: Instant, user: UserId, name: &str) {
        let own = || self.lookers.values().filter(|looker| looker.user == user);
        let until = |at: Option<Instant>| at.is_some_and(|at| at > now);
        let state = if own().any(|looker| until(looker.typing)) {
            State::Typing
        } else if own().any(|looker| until(looker.here)) {
            State::Here
        } else {
            State::Gone
        };
        let before = self.users.get(&user).map_or(State::Gone, |user| user.state);
        if state == before {
            return;
        }
        let gone = self.users.remove(&user).map(|user| user.name);
        let name = gone.unwrap_or_else(|| name.to_owned());
        self.changed.insert(user, name.clone());
        if state != State::Gone {
            self.users.insert(user, User { name, state });
        }
    }
}

#[cfg(test)]
mod tests;
