use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024 * 1024;

fn limits(max_memory: u64) -> Limits {
    Limits { max_memory, ..Limits::default() }
}

fn member(budget: &Arc<Budget>, limits: &Limits) -> Share {
    let share = Share::open(budget, limits, Instant::now()).unwrap();
    share.raise();
    share
}

#[test]
fn credit_is_full_while_half_of_the_budget_is_left_and_then_small() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let members: Vec<_> = (0..1000).map(|_| member(&budget, &limits)).collect();
    let windows: Vec<_> = members.iter().map(|share| share.window.load(Ordering::Acquire)).collect();
    assert_eq!(windows.iter().filter(|window| **window == 24 * MIB).count(), 10);
    assert_eq!(windows.iter().filter(|window| **window == SMALL_WINDOW).count(), 990);
    assert_eq!(budget.used.load(Ordering::Acquire), windows.iter().sum::<u64>());
    drop(members);
    assert_eq!(budget.used.load(Ordering::Acquire), 0);
}

#[test]
fn a_connection_for_which_nothing_is_left_is_told_the_limit() {
    let limits = limits(3 * unauthorised::WINDOW);
    let budget = Budget::new(&limits);
    let now = Instant::now();
    let open: Vec<_> = (0..3).map(|_| Share::open(&budget, &limits, now).unwrap()).collect();
    let refusal = Share::open(&budget, &limits, now).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::LIMIT_EXCEEDED);
    assert!(refusal.message.contains("49152 bytes for its peers (max_memory)"), "{}", refusal.message);
    drop(open);
    Share::open(&budget, &limits, now).unwrap();
}

#[test]
fn credit_grows_when_it_is_used_up_within_a_second_and_not_otherwise() {
    let limits = limits(512 * MIB);
    let budget = Budget::new(&limits);
    let _many: Vec<_> = (0..11).map(|_| member(&budget, &limits)).collect();
    let share = member(&budget, &limits);
    let mut now = Instant::now();
    let mut use_up = |window: u64, time: Duration| {
        assert_eq!(share.consumed(window - 1, || panic!("nothing is due")), None);
        now += time;
        share.consumed(1, || now)
    };
    assert_eq!(use_up(SMALL_WINDOW, Duration::from_secs(3600)), None, "a talker, not a sender of bulk");
    let quickly = Duration::from_millis(500);
    for larger in [128 * 1024, 512 * 1024, 2 * MIB, 8 * MIB, 24 * MIB] {
        let window = share.window.load(Ordering::Acquire);
        assert_eq!(use_up(window, quickly), Some(larger));
    }
    assert_eq!(share.consumed(1 << 40, || panic!("it is as large as it gets")), None);
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
    let budget = Budget::new(&limits);
    let share = Share::alone(&limits, Instant::now());
    let mut held = Held::default();
    held.grow(&share, MIB).unwrap();
    held.shrink(&share, MIB);
    assert_eq!(share.messages.load(Ordering::Acquire), MIB);
    held.shrink(&share, 0);
    assert_eq!(share.messages.load(Ordering::Acquire), KEPT);
    held.clear(&share);
    assert_eq!((share.messages.load(Ordering::Acquire), budget.free()), (0, 512 * MIB));
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
        steps in prop::collection::vec((0_u8..5, 0_usize..4, 1_u64..4 * MIB), 0..300),
    ) {
        let limits = limits(16 * MIB);
        let budget = Budget::new(&limits);
        let mut open: Vec<(Share, Held)> = Vec::new();
        let now = Instant::now();
        for (step, number, bytes) in steps {
            match (step, open.get_mut(number)) {
                (0, _) => open.extend(Share::open(&budget, &limits, now).map(|share| (share, Held::default()))),
                (1, Some((share, _))) => { share.raise(); }
                (2, Some((share, held))) => { let _ = held.grow(share, bytes); }
                (3, Some((share, held))) => { share.consumed(bytes, || now); held.shrink(share, bytes / 2); }
                (4, Some((share, held))) => { held.clear(share); open.swap_remove(number); }
                _ => {}
            }
            prop_assert!(budget.used.load(Ordering::Acquire) <= 16 * MIB);
            let held: u64 = open.iter().map(|(_, held)| held.0).sum();
            let windows: u64 = open.iter().map(|(share, _)| share.window.load(Ordering::Acquire)).sum();
            prop_assert_eq!(budget.used.load(Ordering::Acquire), held + windows);
        }
        open.into_iter().for_each(|(share, mut held)| held.clear(&share));
        prop_assert_eq!(budget.used.load(Ordering::Acquire), 0);
    }
}
