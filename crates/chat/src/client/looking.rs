//! Looking at a room: saying so, and hearing who else does. Spec: chapter 4, "Who is here".

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hikyaku::{DatagramError, Datagrams, Exchange, Result};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Doing, Present, RoomId, State, UserId};

/// How long somebody counts as here, or as typing, who is not named again.
const HERE: Duration = Duration::from_secs(30);
const TYPING: Duration = Duration::from_secs(6);
/// Users remembered at most: a server that names more is not believed.
const MOST: usize = 1_000;

/// An exchange for as long as one looks at a room.
pub struct Looking {
    room: RoomId,
    exchange: Exchange<()>,
    datagrams: Datagrams,
}

impl Looking {
    pub(crate) fn new(room: RoomId, exchange: Exchange<()>, datagrams: Datagrams) -> Self {
        Self { room, exchange, datagrams }
    }

    /// Says what one does. It holds for 30 s, typing for 6 s: say it again every 10 s and 3 s.
    ///
    /// # Errors
    /// [`DatagramError::Blocked`] when there is no room now: it may be left out.
    pub fn say(&self, state: State) -> std::result::Result<(), DatagramError> {
        self.datagrams.send(&cbor::encode(&Doing { state }))
    }

    /// What is new. What cannot be read, or is of another room, is passed over. Ends with an error when the server
    /// ends the exchange. Safe to drop and call again.
    //= S4.77
    pub async fn next(&mut self) -> Result<Present> {
        loop {
            let datagram = tokio::select! {
                ended = self.exchange.ended() => {
                    ended?;
                    return Err(hikyaku::Error::Ended);
                }
                datagram = self.datagrams.receive() => datagram?,
            };
            match cbor::decode::<Present>(&datagram, &cbor::Limits::default()) {
                Ok(present) if present.room == self.room => return Ok(present),
                _ => {}
            }
        }
    }

    /// Looks no longer.
    pub async fn finish(mut self) -> Result<()> {
        self.exchange.finish().await?;
        self.exchange.ended().await
    }
}

/// Who is here, as far as was heard. Pure: `now` is passed in.
#[derive(Debug, Default)]
pub struct People {
    known: BTreeMap<UserId, Person>,
    count: u32,
}

#[derive(Debug)]
struct Person {
    name: String,
    here: Instant,
    typing: Option<Instant>,
}

impl People {
    /// Takes in what was heard.
    //= S4.77
    pub fn take(&mut self, now: Instant, present: &Present) {
        self.count = present.count;
        for one in &present.someone {
            match one.state {
                State::Gone => drop(self.known.remove(&one.user)),
                _ if self.known.len() >= MOST && !self.known.contains_key(&one.user) => {}
                state => {
                    let (name, typing) = (one.name.clone(), (state == State::Typing).then(|| now + TYPING));
                    self.known.insert(one.user, Person { name, here: now + HERE, typing });
                }
            }
        }
        self.known.retain(|_, person| person.here > now);
    }

    /// Whoever said something types no longer, whatever was heard before.
    pub fn said(&mut self, user: UserId) {
        if let Some(person) = self.known.get_mut(&user) {
            person.typing = None;
        }
    }

    /// How many are here, by the server's count.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The names of those who are here, in the order of their ids.
    pub fn here(&self, now: Instant, but: UserId) -> Vec<&str> {
        self.names(but, |person| person.here > now)
    }

    /// The names of those who type.
    pub fn typing(&self, now: Instant, but: UserId) -> Vec<&str> {
        self.names(but, |person| person.typing.is_some_and(|until| until > now))
    }

    fn names(&self, but: UserId, are: impl Fn(&Person) -> bool) -> Vec<&str> {
        let found = self.known.iter().filter(|(user, person)| **user != but && are(person));
        found.map(|(_, person)| person.name.as_str()).collect()
    }

    /// When [`typing`](Self::typing) becomes shorter by itself.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.known.values().filter_map(|person| person.typing).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::chat::Someone;

    fn present(someone: &[(u8, State)]) -> Present {
        let named = |(n, state): &(u8, State)| Someone {
            user: UserId([*n; 16]),
            name: format!("user {n}"),
            state: *state,
        };
        Present { room: RoomId([1; 16]), count: 2, someone: someone.iter().map(named).collect() }
    }

    const ME: UserId = UserId([9; 16]);

    //= S4.77 (test)
    #[test]
    fn whoever_is_not_named_again_is_forgotten() {
        let (mut people, now) = (People::default(), Instant::now());
        people.take(now, &present(&[(1, State::Typing), (2, State::Here), (9, State::Typing)]));
        assert_eq!(
            (people.typing(now, ME), people.here(now, ME)),
            (vec!["user 1"], vec!["user 1", "user 2"])
        );
        assert_eq!(people.due(now), Some(now + TYPING));
        assert_eq!(people.typing(now + TYPING, ME), Vec::<&str>::new());
        assert_eq!(people.due(now + TYPING), None);
        let later = now + HERE / 2;
        people.take(later, &present(&[(2, State::Here)]));
        assert_eq!(people.here(now + HERE, ME), ["user 2"]);
        people.take(later, &present(&[(2, State::Gone)]));
        assert_eq!(people.here(later, ME), ["user 1"]);
    }

    #[test]
    fn whoever_has_said_something_types_no_longer() {
        let (mut people, now) = (People::default(), Instant::now());
        people.take(now, &present(&[(1, State::Typing)]));
        people.said(UserId([1; 16]));
        assert_eq!((people.typing(now, ME).len(), people.here(now, ME).len()), (0, 1));
    }

    #[test]
    fn a_server_that_names_the_world_is_believed_as_far_as_a_thousand() {
        let (mut people, now) = (People::default(), Instant::now());
        for n in 0..2_000_u16 {
            let user = UserId(std::array::from_fn(|at| n.to_be_bytes()[at % 2]));
            let someone = vec![Someone { user, name: "x".into(), state: State::Here }];
            people.take(now, &Present { room: RoomId([1; 16]), count: 1, someone });
        }
        assert_eq!(people.here(now, ME).len(), MOST);
    }
}
