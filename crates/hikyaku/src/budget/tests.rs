use proptest::prelude::*;

use std::time::Duration;

use super::window::SMALL_WINDOW;
use super::*;

const MIB: u64 = 1024 * 1024;

const ASIDE: u64 = unauthorised::WINDOW;

/// With room for a thousand connections beside it.
fn limits(memory: u64) -> Limits {
    Limits { max_memory: memory + 1000 * ASIDE, max_connections: 1000, ..Limits::default() }
}

fn share(budget: &Arc<Budget>, limits: &Limits) -> Share {
    Share::open(budget, limits, Waiting::Unsent, Instant::now())
}

fn member(budget: &Arc<Budget>, limits: &Limits) -> Share {
    let share = share(budget, limits);
    share.raise();
    share
}

#[test]
fn windows_are_full_while_half_of_the_budget_is_left_and_then_small() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let members: Vec<_> = (0..1000).map(|_| member(&budget, &limits)).collect();
    let receive = |size: u64| members.iter().filter(|share| share.receive.size() == size).count();
    let send = |size: u64| members.iter().filter(|share| share.send.size() == size).count();
    assert_eq!((receive(24 * MIB), receive(SMALL_WINDOW)), (9, 991));
    assert_eq!((send(4 * MIB), send(SMALL_WINDOW)), (9 + 1, 990));
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
    assert!(members.iter().all(|share| share.receive.size() >= ASIDE && share.send.size() >= ASIDE));
    let all: u64 = members.iter().map(|share| share.receive.size()).sum();
    assert!(all + budget.held.load(Ordering::Acquire) <= limits.max_memory, "{all}");
    members.iter().for_each(|share| {
        while share.exchanges.load(Ordering::Acquire) > 0 {
            share.leave()
        }
    });
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
    assert_eq!(use_up(SMALL_WINDOW, Duration::from_secs(3600)), None, "a talker, not a sender of bulk");
    let quickly = Duration::from_millis(500);
    for larger in [128 * 1024, 512 * 1024, 2 * MIB, 8 * MIB, 24 * MIB] {
        assert_eq!(use_up(share.receive.size(), quickly), Some(larger));
    }
    assert_eq!(share.consumed(1 << 40, || panic!("it is as large as it gets")), None);
    // What is sent has a window of its own.
    assert_eq!(share.send.size(), SMALL_WINDOW);
    assert_eq!(share.sent(SMALL_WINDOW, || now), None, "nothing was sent for an hour");
    assert_eq!(share.sent(SMALL_WINDOW, || now), Some(128 * 1024));
    assert_eq!(share.send.size(), 128 * 1024);
}

#[test]
fn a_quic_peer_may_open_more_exchanges_when_half_of_them_are_open_and_a_qmux_peer_all_at_once() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let quic = Share::open(&budget, &limits, Waiting::Unacknowledged, Instant::now());
    let enter = |open: u64| {
        while quic.exchanges.load(Ordering::Acquire) < open * EXCHANGE {
            quic.enter().unwrap();
            assert!(quic.exchanges.load(Ordering::Acquire) == open * EXCHANGE || quic.entered().is_none());
        }
        quic.entered()
    };
    assert_eq!((quic.places(), enter(15)), (32, None));
    assert_eq!((enter(16), enter(63), enter(64), enter(255)), (Some(128), None, Some(512), None));
    assert_eq!((enter(256), enter(1024)), (Some(1024), None));
    assert!(budget.used.load(Ordering::Acquire) > 1024 * EXCHANGE, "places cost something");
    (0..1024).for_each(|_| quic.leave());
    drop(quic);
    assert_eq!(budget.used.load(Ordering::Acquire), 0);
    assert_eq!(share(&budget, &limits).places(), 1024);
    let few = Limits { max_exchanges: 3, ..limits };
    let quic = Share::open(&budget, &few, Waiting::Unacknowledged, Instant::now());
    assert_eq!((quic.places(), quic.entered()), (3, None));
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
    let own = |share: &Share| share.exchanges.load(Ordering::Acquire);
    while own(&shares[0]) > 0 {
        shares[0].leave();
    }
    shares[0].enter().expect("there is room again");
    shares.iter().for_each(|share| {
        while own(share) > 0 {
            share.leave()
        }
    });
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
            let held: u64 = open.iter().map(|(_, held, exchanges)| held.0 + exchanges * EXCHANGE).sum();
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
