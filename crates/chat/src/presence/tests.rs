//! Presence by the clock that a test sets.

use hikyaku_wire::chat::State::{Gone, Here, Typing};
use proptest::prelude::*;

use super::*;

const ROOM: RoomId = RoomId([7; 16]);
const SECOND: Duration = Duration::from_secs(1);

fn presence() -> (Presence, Instant) {
    (Presence::new(ROOM, PresenceLimits::default()), Instant::now())
}

fn user(n: u16) -> UserId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    UserId(id)
}

/// What is told: how many are here, and who of them does what.
fn told(presents: Vec<Present>) -> Vec<(u32, Vec<(String, State)>)> {
    let named = |present: Present| present.someone.into_iter().map(|one| (one.name, one.state)).collect();
    presents.into_iter().map(|present| (present.count, named(present))).collect()
}

fn one(count: u32, name: &str, state: State) -> Vec<(u32, Vec<(String, State)>)> {
    vec![(count, vec![(name.to_owned(), state)])]
}

//= S4.73 (test)
#[test]
fn somebody_is_here_for_thirty_seconds_and_types_for_six() {
    let (mut room, now) = presence();
    let ana = room.enter(user(1)).unwrap();
    assert_eq!(room.poll(now), [], "who only looks is not here");
    assert_eq!(room.hear(now, ana, "ana", Typing), Heard::Taken);
    assert_eq!(room.due(now), Some(now), "news are told at once");
    assert_eq!(told(room.poll(now)), one(1, "ana", Typing));
    assert_eq!(room.due(now), Some(now + 6 * SECOND));
    assert_eq!(room.poll(now + 6 * SECOND - SECOND / 10), []);
    assert_eq!(told(room.poll(now + 6 * SECOND)), one(1, "ana", Here));
    assert_eq!(told(room.poll(now + 10 * SECOND)), one(1, "ana", Here), "named again after ten seconds");
    assert_eq!(told(room.poll(now + 30 * SECOND)), one(0, "ana", Gone));
    assert_eq!(room.due(now + 30 * SECOND), None, "an empty room needs no clock");
    assert_eq!(room.poll(now + 90 * SECOND), []);
}

//= S4.72 (test)
//= S4.73 (test)
#[test]
fn whoever_leaves_is_gone_at_once_unless_another_device_is_here() {
    let (mut room, now) = presence();
    let (phone, laptop) = (room.enter(user(1)).unwrap(), room.enter(user(1)).unwrap());
    room.hear(now, phone, "ana", Here);
    room.hear(now, laptop, "ana", Typing);
    assert_eq!(told(room.poll(now)), one(1, "ana", Typing), "one user, whatever the number of devices");
    room.leave(now, laptop);
    assert_eq!(told(room.poll(now + SECOND)), one(1, "ana", Here));
    room.leave(now, phone);
    assert_eq!(told(room.poll(now + 2 * SECOND)), one(0, "ana", Gone));
    assert!(room.is_empty());
    assert_eq!(room.hear(now, phone, "ana", Here), Heard::Unknown);
}

//= S4.75 (test)
#[test]
fn a_room_is_told_news_at_most_once_a_second_however_much_happens() {
    let (mut room, now) = presence();
    let (ana, ben) = (room.enter(user(1)).unwrap(), room.enter(user(2)).unwrap());
    room.hear(now, ana, "ana", Here);
    assert_eq!(room.poll(now).len(), 1);
    let soon = now + SECOND / 2;
    room.hear(soon, ben, "ben", Typing);
    room.hear(soon, ana, "ana", Typing);
    assert_eq!((room.poll(soon), room.due(soon)), (vec![], Some(now + SECOND)));
    let both = vec![("ana".to_owned(), Typing), ("ben".to_owned(), Typing)];
    assert_eq!(told(room.poll(now + SECOND)), [(2, both)]);
}

//= S4.74 (test)
#[test]
fn who_says_more_than_is_permitted_is_not_heard_until_later() {
    let (mut room, now) = presence();
    let ana = room.enter(user(1)).unwrap();
    for _ in 0..10 {
        assert_eq!(room.hear(now, ana, "ana", Here), Heard::Taken);
    }
    assert_eq!(room.hear(now, ana, "ana", Gone), Heard::TooOften);
    assert_eq!(room.count(), 1, "and changes nothing");
    assert_eq!(room.hear(now + SECOND / 2, ana, "ana", Gone), Heard::Taken);
    assert_eq!(room.hear(now + SECOND / 2, ana, "ana", Here), Heard::TooOften);
}

#[test]
fn as_many_look_as_the_limit_says_and_one_more_is_told_which_it_is() {
    let limits = PresenceLimits { lookers: 2, ..PresenceLimits::default() };
    let (mut room, now) = (Presence::new(ROOM, limits), Instant::now());
    let first = room.enter(user(1)).unwrap();
    room.enter(user(2)).unwrap();
    let refused = room.enter(user(3)).unwrap_err();
    assert_eq!(refused, Refusal::Limit { what: "lookers at one room", size: 3, limit: 2 });
    room.leave(now, first);
    assert!(room.enter(user(3)).is_ok());
}

//= S4.75 (test)
#[test]
fn in_a_crowd_only_those_who_type_are_named() {
    let (mut room, now) = presence();
    for n in 0..60 {
        let id = room.enter(user(n)).unwrap();
        let state = if (20..40).contains(&n) { Typing } else { Here };
        room.hear(now, id, &format!("user-{n}"), state);
    }
    let news = told(room.poll(now));
    let named: Vec<_> =
        news.iter().flat_map(|(count, named)| std::iter::repeat_n(*count, named.len())).collect();
    assert_eq!(named, vec![60; 8], "{news:?}");
    assert!(news.iter().all(|(_, named)| named.iter().all(|(_, state)| *state == Typing)));
    assert_eq!(room.all(now).someone.len(), 60, "who asks is answered");
}

proptest! {
    /// Whatever is said and whenever it is looked: what is told fits into datagrams, never twice within a second, and
    /// who hears all of it knows in the end exactly who is here.
    #[test]
    fn what_is_told_is_bounded_and_ends_in_the_truth(
        acts in prop::collection::vec((0_u64..3_000, 0_u16..40, 0_u8..5), 1..200),
    ) {
        let (mut room, mut now) = presence();
        let mut lookers: BTreeMap<u16, LookerId> = BTreeMap::new();
        let mut known: BTreeMap<UserId, State> = BTreeMap::new();
        let mut last: Option<Instant> = None;
        let long = "\u{98db}".repeat(32);
        for (millis, n, act) in acts.into_iter().chain([(5_000, 0, 9), (5_000, 0, 9)]) {
            now += Duration::from_millis(millis);
            match (act, lookers.get(&n).copied()) {
                (0, Some(id)) => {
                    room.leave(now, id);
                    lookers.remove(&n);
                }
                (1..=3, Some(id)) => {
                    let state = [Gone, Here, Typing][usize::from(act) - 1];
                    prop_assert_ne!(room.hear(now, id, &long, state), Heard::Unknown);
                }
                (_, None) => drop(lookers.insert(n, room.enter(user(n)).unwrap())),
                _ => {}
            }
            let news = room.poll(now);
            if !news.is_empty() {
                prop_assert!(last.is_none_or(|last| last + SECOND <= now));
                last = Some(now);
            }
            for present in news {
                prop_assert!(cbor::encode(&present).len() <= MAX_DATAGRAM);
                for one in present.someone {
                    known.insert(one.user, one.state);
                }
            }
        }
        known.retain(|_, state| *state != Gone);
        let here: BTreeMap<UserId, State> =
            room.all(now).someone.into_iter().map(|one| (one.user, one.state)).collect();
        prop_assert_eq!(known, here);
    }
}
