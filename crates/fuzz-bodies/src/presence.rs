//! What is done with hostile bytes where it is known who is here: anybody says anything at any time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hikyaku_chat::client::People;
use hikyaku_chat::presence::{LookerId, Presence, PresenceLimits};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Doing, Present, RoomId, State, UserId};
use hikyaku_wire::exchange::MAX_DATAGRAM;

use crate::input::Input;

const ROOM: RoomId = RoomId([1; 16]);
/// Nobody's.
const ME: UserId = UserId([0xff; 16]);

/// The first byte `0xff` makes the rest one datagram of the server to a reader. Otherwise the input says who looks, what
/// their datagrams are and how time passes: what is told fits into datagrams, not twice within a second, names nobody
/// twice, and leaves a reader who hears all of it knowing nobody who is not here.
pub fn presence(data: &[u8]) {
    if let Some((0xff, datagram)) = data.split_first() {
        if let Ok(present) = cbor::decode::<Present>(datagram, &cbor::Limits::default()) {
            let (mut people, now) = (People::default(), Instant::now());
            people.take(now, &present);
            assert!(people.typing(now, ME).len() <= people.here(now, ME).len());
        }
        return;
    }
    let limits = PresenceLimits { lookers: 8, named: 4, typists: 2, ..PresenceLimits::default() };
    let (mut room, mut now) = (Presence::new(ROOM, limits), Instant::now());
    let mut lookers: BTreeMap<u8, LookerId> = BTreeMap::new();
    let (mut people, mut told) = (People::default(), None::<Instant>);
    let mut input = Input::new(data);
    while !input.is_empty() {
        now += Duration::from_millis(u64::from(input.byte()) * 40);
        let (act, who) = (input.below(4), input.byte() % 12);
        match (act, lookers.get(&who).copied()) {
            (0, Some(id)) => {
                room.leave(now, id);
                lookers.remove(&who);
            }
            (_, Some(id)) => {
                let datagram = [0xa1, 0x00, input.byte() % 4];
                if let Ok(Doing { state }) = cbor::decode(&datagram, &cbor::Limits::default()) {
                    room.hear(now, id, &"n".repeat(usize::from(input.byte())), state);
                }
            }
            (_, None) => {
                // Two lookers in a row are one user.
                if let Ok(id) = room.enter(UserId([who / 2; 16])) {
                    lookers.insert(who, id);
                }
            }
        }
        assert!(lookers.len() <= 8 && room.count() <= lookers.len());
        hear(&mut room, now, &mut people, &mut told);
    }
    // Long after, whoever said nothing more is gone for everybody.
    now += Duration::from_secs(31);
    hear(&mut room, now, &mut people, &mut told);
    assert_eq!((room.count(), people.here(now, ME).len()), (0, 0));
}

fn hear(room: &mut Presence, now: Instant, people: &mut People, told: &mut Option<Instant>) {
    let presents = room.poll(now);
    if !presents.is_empty() {
        assert!(told.is_none_or(|told| told + Duration::from_secs(1) <= now), "told too often");
        *told = Some(now);
    }
    let mut named: Vec<UserId> = Vec::new();
    for present in presents {
        assert!(cbor::encode(&present).len() <= MAX_DATAGRAM);
        named.extend(present.someone.iter().map(|one| one.user));
        let someone = present.someone.iter().all(|one| one.state == State::Typing);
        assert!(present.count <= 4 || (someone && present.someone.len() <= 2), "named in a crowd");
        people.take(now, &present);
    }
    let before = named.len();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), before, "named twice");
}
