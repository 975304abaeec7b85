use proptest::prelude::*;

use std::time::Duration;

use super::*;

const MIB: u64 = 1024 * 1024;

/// The window of a connection that has asked for nothing.
const FIRST: u64 = unauthorised::WINDOW;

/// With room for a thousand connections beside it.
fn limits(memory: u64) -> Limits {
    Limits { max_memory: memory + 1000 * PLACE, max_connections: 1000, ..Limits::default() }
}

fn share(budget: &Arc<Budget>, limits: &Limits) -> Share {
    Share::open(budget, limits, Waiting::Unsent, Instant::now())
}

fn open(share: &Share) -> u64 {
    share.exchanges.load(Ordering::Acquire)
}

fn leave_all(share: &Share) {
    while open(share) > 0 {
        share.leave();
    }
}

fn member(budget: &Arc<Budget>, limits: &Limits) -> Share {
    let share = share(budget, limits);
    share.raise();
    share
}

#[test]
fn windows_are_full_while_half_of_the_budget_is_left_and_then_what_was_put_aside() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let members: Vec<_> = (0..1000).map(|_| member(&budget, &limits)).collect();
    let receive = |size: u64| members.iter().filter(|share| share.receive.size() == size).count();
    let send = |size: u64| members.iter().filter(|share| share.send.size() == size).count();
    assert_eq!((receive(24 * MIB), receive(FIRST)), (9, 991));
    assert_eq!((send(4 * MIB), send(FIRST)), (9 + 1, 990));
    let taken: u64 = members.iter().map(|share| share.receive.taken() + share.send.taken()).sum();
    assert_eq!(budget.used.load(Ordering::Acquire), taken);
    drop(members);
    assert_eq!(budget.used.load(Ordering::Acquire), 0);
}

#[test]
fn every_connection_that_is_taken_has_its_credit_whatever_the_others_hold() {
    let limits = Limits::default().within_bounds();
    let budget = Budget::new(&limits);
    let members: Vec<_> = (0..limits.max_connections)
        .map(|_| {
            let share = member(&budget, &limits);
            while share.enter().is_ok() {}
            share
        })
        .collect();
    assert!(budget.free() < MIB, "they hold what they can: {}", budget.free());
    assert!(members.iter().all(|share| share.receive.size() >= FIRST && share.send.size() >= FIRST));
    let all: u64 = members.iter().map(|share| share.receive.size()).sum();
    assert!(all + budget.held.load(Ordering::Acquire) <= limits.max_memory, "{all}");
    members.iter().for_each(leave_all);
}

#[test]
fn windows_grow_when_they_are_used_up_within_a_second_and_not_otherwise() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let _many: Vec<_> = (0..11).map(|_| member(&budget, &limits)).collect();
    let share = Share::open(&budget, &limits, Waiting::Unacknowledged, Instant::now());
    share.raise();
    let mut now = Instant::now();
    let mut use_up = |bytes: u64, time: Duration| {
        assert_eq!(share.consumed(bytes - 1, || panic!("nothing is due")), None);
        now += time;
        share.consumed(1, || now)
    };
    assert_eq!(use_up(FIRST, Duration::from_secs(3600)), None, "a talker, not a sender of bulk");
    let quickly = Duration::from_millis(500);
    for larger in [64 * 1024, 256 * 1024, MIB, 4 * MIB, 16 * MIB, 24 * MIB] {
        assert_eq!(use_up(share.receive.size(), quickly), Some(larger));
    }
    assert_eq!(share.consumed(1 << 40, || panic!("it is as large as it gets")), None);
    // What is sent has a window of its own.
    assert_eq!(share.send.size(), FIRST);
    assert_eq!(share.sent(FIRST, || now), None, "nothing was sent for an hour");
    assert_eq!(share.sent(FIRST, || now), Some(64 * 1024));
    assert_eq!(share.send.size(), 64 * 1024);
}

#[test]
fn a_member_may_open_more_exchanges_when_half_of_them_are_open() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let member = share(&budget, &limits);
    let enter = |many: u64| {
        while open(&member) < many {
            member.enter().unwrap();
            assert!(open(&member) == many || member.entered().is_none());
        }
        member.entered()
    };
    assert_eq!((member.places(), enter(15)), (32, None));
    assert_eq!((enter(16), enter(63), enter(64), enter(255)), (Some(128), None, Some(512), None));
    assert_eq!((enter(256), enter(1024)), (Some(1024), None));
    let used = budget.used.load(Ordering::Acquire);
    assert_eq!(used, (1024 - OWN) * EXCHANGE + (1024 - 32) * 512, "a place costs something, too");
    leave_all(&member);
    drop(member);
    assert_eq!(budget.used.load(Ordering::Acquire), 0);
    let few = share(&budget, &Limits { max_exchanges: 3, ..limits });
    assert_eq!((few.places(), few.entered()), (3, None));
}

/// However much the others hold: who is connected may ask one thing while another goes on.
#[test]
fn the_first_two_exchanges_of_a_connection_never_ask_for_room() {
    let limits = limits(MIB);
    let budget = Budget::new(&limits);
    let hoarders: Vec<_> = (0..40).map(|_| share(&budget, &limits)).collect();
    hoarders.iter().for_each(|share| while share.enter().is_ok() {});
    let late = share(&budget, &limits);
    assert_eq!([late.enter(), late.enter()], [Ok(()); 2]);
    late.enter().unwrap_err();
    assert_eq!(open(&late), 2);
    hoarders.iter().chain([&late]).for_each(leave_all);
    assert_eq!((budget.used.load(Ordering::Acquire), budget.held.load(Ordering::Acquire)), (0, 0));
}

#[test]
fn room_that_is_kept_is_there_for_all_that_is_said_until_the_end() {
    let limits = limits(64 * MIB);
    let budget = Budget::new(&limits);
    let share = share(&budget, &limits);
    let held = || budget.held.load(Ordering::Acquire);
    let mut answer = Held::default();
    assert_eq!(answer.keep_some(&share, MIB, MIB), Ok(MIB));
    for size in [KEPT, MIB, 2 * MIB] {
        answer.grow_answer(&share, size).unwrap();
        assert_eq!(held(), size.max(MIB));
        answer.said(&share);
        assert_eq!(held(), MIB);
    }
    answer.clear(&share);
    // Its part is an eighth of what would be left of a quarter.
    let most = budget.held_limit / 9 / SMALL_MESSAGE * SMALL_MESSAGE;
    assert_eq!(answer.keep_some(&share, most + 1, most + 1).map_err(|full| full.name), Err("max_memory"));
    assert_eq!(held(), 0, "what was refused was not taken");
    assert_eq!(answer.keep_some(&share, 3 * most, most / 4), Ok(3 * most / 4));
    answer.clear(&share);
    assert_eq!(answer.keep_some(&share, most, 0), Ok(most));
    answer.clear(&share);
    assert_eq!(held(), 0);
}

/// However large the messages of a connection are, exchanges are held to the same purse.
#[test]
fn an_exchange_has_a_price_and_what_is_held_is_a_quarter_of_it_all() {
    let limits = Limits { max_memory: 32 * MIB, max_connections: 100, ..Limits::default() };
    let budget = Budget::new(&limits);
    let shares: Vec<_> = (0..100).map(|_| share(&budget, &limits)).collect();
    for share in &shares {
        while share.enter().is_ok() {}
    }
    let held = budget.held.load(Ordering::Acquire);
    assert!((7 * MIB..=8 * MIB).contains(&held), "{held}");
    assert!(budget.used.load(Ordering::Acquire) == held, "{held}");
    let refused = shares[0].enter().unwrap_err();
    assert_eq!(refused, NoRoom { name: "max_memory", limit: 32 * MIB });
    leave_all(&shares[0]);
    (0..3).for_each(|_| shares[0].enter().expect("there is room again"));
    shares.iter().for_each(leave_all);
    assert_eq!(budget.free(), budget.limit);
}

#[test]
fn what_a_client_asks_is_its_own() {
    let limits = limits(MIB);
    let alone = Share::alone(&limits, Instant::now());
    let mut held = Held::default();
    held.grow_answer(&alone, 1 << 40).unwrap();
    held.clear(&alone);
    let share = share(&Budget::new(&limits), &limits);
    held.grow_answer(&share, 1 << 40).unwrap_err();
    held.clear(&share);
}

#[test]
fn messages_of_one_connection_have_room_up_to_its_limit_and_not_a_byte_more() {
    let limits = Limits { max_buffered: 64 * 1024, ..limits(512 * MIB) };
    let share = member(&Budget::new(&limits), &limits);
    let (mut first, mut second) = (Held::default(), Held::default());
    first.grow(&share, 60 * 1024).unwrap();
    second.grow(&share, 4 * 1024).unwrap();
    let mut third = Held::default();
    third.grow(&share, 4 * 1024 + 1).unwrap_err();
    first.clear(&share);
    third.grow(&share, 64 * 1024).unwrap();
    assert_eq!(second.grow(&share, 4 * 1024 + 1), Err(NoRoom { name: "max_buffered", limit: 64 * 1024 }));
    third.clear(&share);
}

#[test]
fn what_an_exchange_has_done_with_is_given_back() {
    let limits = limits(512 * MIB);
    let share = Share::alone(&limits, Instant::now());
    let mut held = Held::default();
    held.grow(&share, MIB).unwrap();
    held.shrink(&share, MIB);
    assert_eq!(share.messages.load(Ordering::Acquire), MIB);
    held.shrink(&share, 0);
    assert_eq!(share.messages.load(Ordering::Acquire), KEPT);
    held.clear(&share);
    assert_eq!((share.messages.load(Ordering::Acquire), share.budget.held.load(Ordering::Acquire)), (0, 0));
}

/// However many connections hold all they can, the next one still has room for a message.
#[test]
fn those_who_hold_all_they_can_leave_room_for_those_who_come_later() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let mut hoarders = Vec::new();
    for _ in 0..40 {
        let share = member(&budget, &limits);
        let mut held = Held::default();
        let mut bytes = 64 * 1024;
        while held.grow(&share, bytes).is_ok() {
            bytes += 64 * 1024;
        }
        hoarders.push((share, held));
    }
    let late = member(&budget, &limits);
    let mut held = Held::default();
    held.grow(&late, 64 * 1024).expect("room for a message");
    assert!(budget.used.load(Ordering::Acquire) <= 512 * MIB);
    held.clear(&late);
    for (share, held) in &mut hoarders {
        held.clear(share);
    }
}

proptest! {
    /// Whatever connections do in whatever order, the budget is not exceeded, and all of it comes back.
    #[test]
    fn the_budget_is_never_exceeded_and_nothing_of_it_is_lost(
        steps in prop::collection::vec((0_u8..7, 0_usize..4, 1_u64..4 * MIB), 0..300),
    ) {
        let limits = limits(16 * MIB);
        let budget = Budget::new(&limits);
        let mut open: Vec<(Share, Held, u64)> = Vec::new();
        let now = Instant::now();
        for (step, number, bytes) in steps {
            match (step, open.get_mut(number)) {
                (0, _) => open.push((share(&budget, &limits), Held::default(), 0)),
                (1, Some((share, ..))) => { share.raise(); }
                (2, Some((share, held, _))) => { let _ = held.grow(share, bytes); }
                (3, Some((share, held, _))) => { share.consumed(bytes, || now); held.shrink(share, bytes / 2); }
                (4, Some((share, held, exchanges))) => {
                    held.clear(share);
                    (0..*exchanges).for_each(|_| share.leave());
                    open.swap_remove(number);
                }
                (5, Some((share, _, exchanges))) => *exchanges += u64::from(share.enter().is_ok()),
                (6, Some((share, ..))) => { share.sent(bytes, || now); }
                _ => {}
            }
            prop_assert!(budget.used.load(Ordering::Acquire) <= 16 * MIB);
            let held: u64 = open.iter().map(|(_, held, exchanges)| held.bytes + exchanges.saturating_sub(OWN) * EXCHANGE).sum();
            let windows: u64 = open.iter().map(|(share, ..)| share.receive.taken() + share.send.taken()).sum();
            prop_assert_eq!(budget.held.load(Ordering::Acquire), held);
            prop_assert_eq!(budget.used.load(Ordering::Acquire), held + windows);
        }
        for (share, mut held, exchanges) in open {
            held.clear(&share);
            (0..exchanges).for_each(|_| share.leave());
        }
        prop_assert_eq!(budget.used.load(Ordering::Acquire), 0);
    }
}
