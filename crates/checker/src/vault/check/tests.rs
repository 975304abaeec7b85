use super::super::facts::Counted;
use super::*;

const ROOT: &str = "aa";

fn ts(second: u32) -> String {
    format!("2026-11-23T08:00:{second:02}.000Z")
}

fn begun(seq: u64, second: u32) -> Told {
    let what = Says::Parcel { name: format!("f{seq}"), transfer: format!("t{seq}"), bytes: Some(70_000) };
    Told { seq, author: "s0".to_owned(), ts: ts(second), what }
}

fn ended(seq: u64, of: u64, second: u32, status: &str) -> Told {
    let settled = status == "settled";
    let (root, bytes) = (settled.then(|| ROOT.to_owned()), settled.then_some(70_000));
    let what = Says::End { of, status: status.to_owned(), root, bytes };
    Told { seq, author: "s0".to_owned(), ts: ts(second), what }
}

fn seen(second: u32, collections: u64, transfers: &[&str]) -> Look {
    let transfers: BTreeSet<_> = transfers.iter().map(|transfer| (*transfer).to_owned()).collect();
    let objects = BTreeMap::from([(ROOT.to_owned(), 70_000)]);
    let references = BTreeMap::from([(ROOT.to_owned(), transfers)]);
    Look {
        at: ts(second),
        after: "a fault",
        collections,
        objects,
        references,
        stored: 70_064,
        ..Look::default()
    }
}

fn of(account: Account, said: u64) -> Counted {
    Counted { account, said }
}

/// One parcel that stays, one that was given up, and in another room one with the same content that has expired.
fn good() -> Facts {
    let mut keep = vec![begun(1, 1), ended(2, 1, 2, "settled"), begun(3, 3)];
    let short = vec![begun(1, 4), ended(2, 1, 5, "settled"), ended(3, 1, 9, "expired")];
    let room = |name: &str, told: &Vec<Told>| (name.to_owned(), told.clone());
    let calm = Rest {
        rooms: BTreeMap::from([room("keep", &keep), room("short", &short)]),
        look: seen(20, 8, &["t1"]),
        counted: vec![
            of(Account::User("s0".to_owned()), 140_000),
            of(Account::Room("short".to_owned()), 0),
            of(Account::Vault, 70_064 + 70_064),
        ],
    };
    keep.push(ended(4, 3, 30, "aborted"));
    let end = Rest {
        rooms: BTreeMap::from([room("keep", &keep), room("short", &short)]),
        look: seen(40, 12, &["t1"]),
        counted: vec![of(Account::Room("keep".to_owned()), 70_000), of(Account::Vault, 70_064)],
    };
    let place = ("keep".to_owned(), 1);
    let got = Got {
        who: "g0".to_owned(),
        place: place.clone(),
        at: ts(6),
        wrong: None,
        early: true,
        poured: false,
        beside: BTreeSet::new(),
    };
    Facts {
        sent: vec![Sent { who: "s0".to_owned(), place: place.clone(), root: ROOT.to_owned() }],
        got: vec![got],
        looks: vec![seen(7, 3, &["t1"]), seen(10, 5, &["t1"])],
        calm,
        end,
        hands: BTreeMap::from([(place, BTreeSet::from(["g0".to_owned()]))]),
        retention: BTreeMap::from([("short".to_owned(), 3_000)]),
        revoked: Some(Revoked { who: "rev".to_owned(), before: ("keep".to_owned(), 3) }),
        ..Facts::default()
    }
}

#[track_caller]
fn breaks(invariant: u8, change: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    change(&mut facts);
    let found = check(&facts);
    assert!(found.iter().any(|broken| broken.invariant == invariant), "{found:?}");
}

#[test]
fn what_is_as_it_has_to_be_breaks_nothing() {
    assert_eq!(check(&good()), []);
}

#[test]
fn what_receivers_have_is_compared_with_what_was_sent_with_the_room_and_with_receipts() {
    breaks(1, |facts| facts.got[0].wrong = Some("another content".to_owned()));
    breaks(1, |facts| facts.got[0].at = ts(1));
    breaks(1, |facts| facts.got[0].place.1 = 3);
    breaks(1, |facts| facts.hands.clear());
    breaks(1, |facts| facts.got.clear());
    // Two parcels of one content in one place have one receipt, and no receipt of anything else does.
    let place = |seq| ("keep".to_owned(), seq);
    let mut facts = good();
    facts.hands = BTreeMap::from([(place(9), BTreeSet::from(["g0".to_owned()]))]);
    let without: Vec<_> = check(&facts).into_iter().map(|broken| broken.says).collect();
    assert!(without.iter().any(|says| says.contains("has no receipt")), "{without:?}");
    facts.got[0].beside.insert(place(9));
    let beside: Vec<_> = check(&facts).into_iter().map(|broken| broken.says).collect();
    assert!(!beside.iter().any(|says| says.contains("has no receipt")), "{beside:?}");
}

#[test]
fn what_is_settled_is_in_the_vault_until_it_has_expired_and_that_not_early() {
    breaks(2, |facts| facts.looks[1].objects.clear());
    breaks(2, |facts| facts.looks[0].objects.values_mut().for_each(|size| *size = 0));
    breaks(2, |facts| facts.looks[0].damaged.push(ROOT.to_owned()));
    breaks(2, |facts| facts.looks[0].references.clear());
    breaks(2, |facts| facts.retention.values_mut().for_each(|keeps| *keeps = 5_000));
    breaks(2, |facts| facts.retention.clear());
    // The one that has expired at second 9 has to be there at second 7.
    let mut facts = good();
    facts.looks[0].references = BTreeMap::from([(ROOT.to_owned(), BTreeSet::from(["t1".to_owned()]))]);
    facts.end.rooms.get_mut("short").unwrap()[0].what =
        Says::Parcel { name: "f1".to_owned(), transfer: "t9".to_owned(), bytes: Some(70_000) };
    assert!(check(&facts).iter().any(|broken| broken.invariant == 2));
}

#[test]
fn every_parcel_has_one_end_and_it_is_what_everybody_was_told() {
    breaks(3, |facts| drop(facts.end.rooms.get_mut("keep").unwrap().pop()));
    breaks(3, |facts| facts.end.rooms.get_mut("keep").unwrap().push(ended(5, 3, 31, "settled")));
    breaks(3, |facts| facts.end.rooms.get_mut("keep").unwrap().push(ended(5, 1, 31, "settled")));
    breaks(3, |facts| facts.sent[0].root = "bb".to_owned());
    breaks(3, |facts| facts.sent[0].place.1 = 3);
    breaks(3, |facts| facts.gone.extend([("keep".to_owned(), 1)]));
    breaks(3, |facts| facts.calm.rooms.get_mut("keep").unwrap().push(ended(4, 3, 15, "settled")));
}

#[test]
fn what_nobody_refers_to_goes_and_nothing_else_stays() {
    let stray = |look: &mut Look| look.objects.extend([("bb".to_owned(), 5)]);
    breaks(4, |facts| facts.looks.iter_mut().for_each(stray));
    breaks(4, |facts| stray(&mut facts.end.look));
    breaks(4, |facts| facts.end.look.unfinished.extend(["t3".to_owned()]));
    breaks(4, |facts| {
        facts.end.look.references.get_mut(ROOT).unwrap().insert("t7".to_owned());
    });
    // One collection is not two.
    let mut facts = good();
    facts.looks.iter_mut().for_each(stray);
    facts.looks[1].collections = 4;
    assert_eq!(check(&facts), []);
}

#[test]
fn what_is_counted_is_what_is_there_and_what_is_on_its_way() {
    for at in 0..3 {
        breaks(5, |facts| facts.calm.counted[at].said += 1);
    }
    breaks(5, |facts| facts.end.counted[1].said = 0);
}

#[test]
fn who_was_revoked_does_nothing_more_and_nobody_complains() {
    for room in ["keep", "short"] {
        for what in [begun(9, 8), ended(9, 1, 8, "settled")] {
            breaks(6, |facts| {
                facts.end.rooms.get_mut(room).unwrap().push(Told { author: "rev".to_owned(), ..what });
            });
        }
    }
    // What is before the first word after it may have been acknowledged before, whatever the clock says; what is given up ends.
    let mut facts = good();
    let keep = facts.end.rooms.get_mut("keep").unwrap();
    keep.iter_mut().filter(|told| told.seq <= 3).for_each(|told| told.author = "rev".to_owned());
    keep.iter_mut().filter(|told| told.seq == 4).for_each(|told| told.author = "rev".to_owned());
    assert!(check(&facts).iter().all(|broken| broken.invariant != 6));
    breaks(7, |facts| facts.complaints.push("the doctor: damaged".to_owned()));
}

#[test]
fn a_time_that_cannot_be_read_proves_nothing() {
    breaks(7, |facts| facts.end.rooms.get_mut("short").unwrap()[2].ts = "yesterday".to_owned());
    breaks(7, |facts| facts.got[0].at = String::new());
    breaks(7, |facts| facts.looks[0].at = "0".to_owned());
}
