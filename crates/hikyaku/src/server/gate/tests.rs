use proptest::prelude::*;

use super::*;

fn bounds(most: usize, early_drop: usize, per_network: usize) -> Bounds {
    Bounds { most, early_drop, per_network }
}

fn address(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap()).into()
}

fn enter(gate: &mut Gate, origin: Origin) -> Pass {
    match gate.knock(origin) {
        Answer::Enter(pass) => pass,
        other => panic!("{other:?}"),
    }
}

fn refused(gate: &mut Gate, origin: Origin) -> Refusal {
    match gate.knock(origin) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_many_as_the_limit_come_in_and_one_more_does_not_until_somebody_leaves() {
    let mut gate = Gate::new(bounds(3, 3, 3), 1);
    let mut passes: Vec<_> = (0..3).map(|n| enter(&mut gate, Origin::Proved(address(n)))).collect();
    let refusal = refused(&mut gate, Origin::Proved(address(9)));
    assert_eq!(refusal, Refusal::Full { limit: 3 });
    assert!(refusal.to_string().contains("3 connections that are not authorised yet (max_unauthenticated)"));
    gate.leave(passes.pop().unwrap());
    enter(&mut gate, Origin::Proved(address(9)));
    assert_eq!(gate.turned_away, 1);
}

#[test]
fn a_network_has_its_share_and_the_others_have_the_rest() {
    let mut gate = Gate::new(bounds(100, 100, 2), 1);
    let first = enter(&mut gate, Origin::Proved(address(1)));
    enter(&mut gate, Origin::Proved(address(1)));
    let refusal = refused(&mut gate, Origin::Proved(address(1)));
    assert_eq!(refusal, Refusal::Network { network: address(1).into(), limit: 2 });
    assert!(refusal.to_string().contains("2 connections"), "{refusal}");
    assert!(refusal.to_string().contains("10.0.0.1 (max_unauthenticated_per_network)"), "{refusal}");
    enter(&mut gate, Origin::Proved(address(2)));
    gate.leave(first);
    enter(&mut gate, Origin::Proved(address(1)));
}

#[test]
fn a_network_is_one_address_of_ipv4_however_it_is_written_and_a_64_of_ipv6() {
    let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
    assert_ne!(network("::ffff:192.0.2.7"), network("::ffff:192.0.2.8"));
    assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
    assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
    assert_eq!(network("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
    assert_eq!(network("::ffff:192.0.2.7").to_string(), "192.0.2.7");
}

/// Of a thousand who knock at each number of open places, about as many are turned away as the line says.
#[test]
fn the_fuller_it_is_the_more_are_turned_away() {
    for (open, expected) in [(99, 0), (100, 30), (150, 65), (199, 99)] {
        let mut gate = Gate::new(bounds(200, 100, 1), 0x00c0_ffee);
        gate.open = open;
        let turned = (0..1000)
            .filter(|_| match gate.knock(Origin::Proved(address(1))) {
                Answer::Enter(pass) => {
                    gate.leave(pass);
                    false
                }
                Answer::Refused(Refusal::Dice { open: at, from: 100 }) => at == open,
                other => panic!("{other:?}"),
            })
            .count();
        assert!(turned.abs_diff(expected * 10) <= 50, "{open} open: {turned} of 1,000 turned away");
    }
}

/// Somebody decent gets in while a flood takes every place that comes free.
#[test]
fn one_decent_caller_gets_in_although_a_flood_never_ends() {
    let mut gate = Gate::new(bounds(256, 128, 64), 7);
    let mut inside = std::collections::VecDeque::new();
    let mut attempts = Vec::new();
    for round in 0..2000_usize {
        // A hundred attackers of as many networks knock, then the oldest of those inside runs into its deadline.
        for attacker in 0..100 {
            if let Answer::Enter(pass) = gate.knock(Origin::Proved(address(1000 + attacker))) {
                inside.push_back(pass);
            }
        }
        let decent = (1..=50).find(|_| match gate.knock(Origin::Proved(address(round % 7))) {
            Answer::Enter(pass) => {
                gate.leave(pass);
                true
            }
            _ => false,
        });
        attempts.push(decent);
        for _ in 0..16 {
            inside.pop_front().into_iter().for_each(|pass| gate.leave(pass));
        }
    }
    let lost = attempts.iter().filter(|attempt| attempt.is_none()).count();
    assert!(lost * 20 < attempts.len(), "{lost} of {} decent callers never got in", attempts.len());
}

#[test]
fn an_address_that_may_be_made_up_counts_against_nobody_until_it_is_proved() {
    let mut gate = Gate::new(bounds(100, 100, 1), 1);
    let mut first = enter(&mut gate, Origin::Claimed);
    let mut second = enter(&mut gate, Origin::Claimed);
    // Two packets carried this address; whoever really has it comes in all the same.
    let owner = enter(&mut gate, Origin::Proved(address(1)));
    gate.leave(owner);
    assert_eq!(gate.proved(&mut first, address(1)), Ok(()));
    assert_eq!(gate.proved(&mut first, address(1)), Ok(()), "it counts once");
    let refusal = gate.proved(&mut second, address(1));
    assert_eq!(refusal, Err(Refusal::Network { network: address(1).into(), limit: 1 }));
    gate.leave(second);
    gate.leave(first);
    assert!(gate.networks.is_empty());
    assert_eq!(gate.open, 0);
}

#[test]
fn when_half_of_the_early_places_are_taken_addresses_are_proved_first() {
    let mut gate = Gate::new(bounds(8, 4, 8), 1);
    let _two = [enter(&mut gate, Origin::Claimed), enter(&mut gate, Origin::Claimed)];
    assert_eq!(gate.knock(Origin::Claimed), Answer::Prove);
    enter(&mut gate, Origin::Proved(address(1)));
    assert_eq!(gate.turned_away, 0, "who has to prove an address is not turned away");
}

#[test]
fn refusals_are_told_once_a_second_with_their_number() {
    let mut gate = Gate::new(bounds(0, 0, 1), 1);
    let now = Instant::now();
    assert_eq!(gate.tell(now), None);
    refused(&mut gate, Origin::Proved(address(1)));
    assert_eq!(gate.tell(now), Some(1));
    for _ in 0..500 {
        refused(&mut gate, Origin::Proved(address(1)));
    }
    assert_eq!(gate.tell(now + Duration::from_millis(999)), None);
    assert_eq!(gate.tell(now + TELL_EVERY), Some(500));
    assert_eq!(gate.tell(now + 2 * TELL_EVERY), None);
}

proptest! {
    /// Whatever happens in whatever order, no bound is exceeded, and nothing is left when everybody is gone.
    #[test]
    fn no_order_of_coming_and_going_breaks_a_bound(
        seed: u64,
        steps in prop::collection::vec((0_u8..4, 0_usize..5), 0..400),
    ) {
        let mut gate = Gate::new(bounds(12, 6, 4), seed);
        let mut inside = Vec::new();
        for (step, number) in steps {
            match step {
                0 => if let Answer::Enter(pass) = gate.knock(Origin::Proved(address(number))) { inside.push(pass) },
                1 => if let Answer::Enter(pass) = gate.knock(Origin::Claimed) { inside.push(pass) },
                2 => if let Some(pass) = inside.get_mut(number) { let _ = gate.proved(pass, address(number)); },
                _ => if number < inside.len() { gate.leave(inside.swap_remove(number)) },
            }
            prop_assert_eq!(gate.open, inside.len());
            prop_assert!(gate.open <= 12);
            prop_assert!(gate.networks.values().all(|taken| (1..=4).contains(taken)));
        }
        inside.into_iter().for_each(|pass| gate.leave(pass));
        prop_assert!(gate.networks.is_empty());
        prop_assert_eq!(gate.open, 0);
    }
}
