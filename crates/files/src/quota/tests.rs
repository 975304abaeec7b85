use super::*;

const ROOM: &str = "the room";
const ADA: &str = "Ada";
const BOB: &str = "Bob";

fn parties(user: &'static str, own: u64, all: u64) -> Vec<Party<&'static str>> {
    vec![Party { account: user, quota: Some(own) }, Party { account: ROOM, quota: Some(all) }]
}

#[test]
fn up_to_the_quota_is_taken_and_one_byte_more_is_not() {
    let mut book = Book::default();
    assert_eq!(book.hold(1, parties(ADA, 100, 150), 100), Ok(()));
    let more = book.hold(2, parties(ADA, 100, 150), 1).unwrap_err();
    assert_eq!(more, Exceeded { account: ADA, quota: 100, used: 100, needed: 1 });
    assert_eq!(more.to_string(), "the quota of Ada is 100 bytes: 100 are used, 1 more are needed");
    // All parties or none: what one of them has no room for counts for nobody.
    let more = book.hold(3, parties(BOB, 100, 150), 51).unwrap_err();
    assert_eq!((more.account, more.used), (ROOM, 100));
    assert_eq!(book.used(&BOB), Used::default());
    assert_eq!(book.hold(3, parties(BOB, 100, 150), 50), Ok(()));
    assert_eq!(book.used(&ROOM), Used { there: 0, held: 150 });
}

#[test]
fn two_transfers_together_have_no_more_than_one_alone() {
    let mut book = Book::default();
    book.hold(1, parties(ADA, 100, 1_000), 60).unwrap();
    assert!(book.hold(2, parties(ADA, 100, 1_000), 60).is_err());
    book.release(&1);
    assert_eq!(book.hold(2, parties(ADA, 100, 1_000), 60), Ok(()));
    // Offered again, it does not stand in its own way.
    assert_eq!(book.hold(2, parties(ADA, 100, 1_000), 100), Ok(()));
}

#[test]
fn what_grows_is_checked_at_each_step_and_keeps_what_it_had() {
    let mut book = Book::default();
    book.hold(1, parties(ADA, 100, 1_000), 0).unwrap();
    assert_eq!(book.grow(&1, 100), Ok(()));
    assert!(book.grow(&1, 1).is_err());
    assert_eq!(book.held(&1), Some(100));
    book.settle(&1, 80);
    assert_eq!(book.used(&ADA), Used { there: 80, held: 0 });
    assert_eq!(book.held(&1), None);
}

#[test]
fn who_has_too_much_may_not_have_more_but_nothing_is_no_more() {
    let mut book = Book::default();
    book.carry(1, parties(ADA, 100, 1_000), 300);
    assert_eq!(book.used(&ADA).all(), 300);
    assert!(book.hold(2, parties(ADA, 100, 1_000), 1).is_err());
    assert_eq!(book.hold(2, parties(ADA, 100, 1_000), 0), Ok(()));
    assert!(book.hold(3, parties(ADA, 0, 1_000), 1).is_err(), "a quota of nothing");
    assert_eq!(book.hold(4, vec![Party { account: ADA, quota: None }], u64::MAX), Ok(()), "no quota");
}

#[test]
fn counting_again_takes_what_was_found_and_leaves_what_is_on_its_way() {
    let mut book = Book::default();
    book.hold(1, parties(ADA, 100, 1_000), 30).unwrap();
    book.hold(2, parties(BOB, 100, 1_000), 20).unwrap();
    book.settle(&2, 20);
    book.recount(&BTreeMap::from([(ADA, 7), (ROOM, 7)]));
    assert_eq!(book.used(&ADA), Used { there: 7, held: 30 });
    assert_eq!(book.used(&BOB), Used::default());
    assert_eq!(book.used(&ROOM), Used { there: 7, held: 30 });
    assert_eq!(book.all().count(), 2);
}

#[test]
fn an_entry_counts_its_size_and_never_less_than_the_least() {
    assert_eq!([0, 1, 1_023, 1_024, 1_025].map(counted), [1_024, 1_024, 1_024, 1_024, 1_025]);
}

/// Random transfers beside a book that adds up everything anew each time.
#[test]
fn what_is_counted_is_what_a_sum_over_everything_says() {
    let seed = std::env::var("QUOTA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_217_u64);
    println!("QUOTA_SEED={seed}");
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut book, mut held, mut there) = (Book::default(), HashMap::<u64, (usize, u64)>::new(), [0_u64; 3]);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let (id, user, bytes) = (random(12), random(3), random(90));
        let user = usize::try_from(user).unwrap();
        let own = |held: &HashMap<u64, (usize, u64)>, there: &[u64; 3]| {
            let mine = held.values().filter(|(who, _)| *who == user).map(|(_, bytes)| bytes).sum::<u64>();
            (
                mine + there[user],
                held.values().map(|(_, bytes)| bytes).sum::<u64>() + there.iter().sum::<u64>(),
            )
        };
        let parties =
            || vec![Party { account: user, quota: Some(200) }, Party { account: 9, quota: Some(450) }];
        match random(4) {
            0 => {
                held.remove(&id);
                let (mine, all) = own(&held, &there);
                let fits = bytes == 0 || (mine + bytes <= 200 && all + bytes <= 450);
                assert_eq!(book.hold(id, parties(), bytes).is_ok(), fits);
                if fits {
                    held.insert(id, (user, bytes));
                }
                *(if fits { &mut taken } else { &mut refused }) += 1;
            }
            1 => {
                let left = held.remove(&id).map(|(who, had)| (who, had / 2));
                if let Some((who, left)) = left {
                    there[who] += left;
                    book.settle(&id, left);
                }
            }
            2 => {
                there[user] = there[user].saturating_sub(bytes);
                let found = (0..3).map(|who| (who, there[who])).chain([(9, there.iter().sum())]);
                book.recount(&found.collect());
            }
            _ => {
                held.remove(&id);
                book.release(&id);
            }
        }
        for (who, there) in there.into_iter().enumerate() {
            let mine = held.values().filter(|(owner, _)| *owner == who).map(|(_, bytes)| bytes).sum();
            assert_eq!(book.used(&who), Used { there, held: mine });
        }
        assert!(book.used(&9).all() <= 450);
    }
    assert!(taken > 500 && refused > 100, "{taken} taken, {refused} refused");
}
