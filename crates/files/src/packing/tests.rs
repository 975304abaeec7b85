//! Blocks are packed where that is sooner, and unpacked to what was announced or not at all.

use super::*;
use crate::error::FilesError;

const BLOCK: usize = 512 * 1024;
const SLOW: u64 = 12_500_000;

/// A line that takes so many bytes in a second.
fn line(rate: u64) -> Packing {
    let mut packing = Packing::default();
    packing.passed(JUDGED_BY, Duration::from_secs_f64(JUDGED_BY as f64 / rate as f64));
    packing
}

/// A quick processor packs a block in this time.
const QUICK: Duration = Duration::from_micros(400);

#[test]
fn nothing_is_packed_before_the_line_is_known_or_where_it_is_fast() {
    let mut unknown = Packing::default();
    unknown.passed(JUDGED_BY - 1, Duration::from_secs(9));
    assert_eq!(unknown.next(BLOCK), Try::Nothing);
    assert_eq!(line(FAST).next(BLOCK), Try::Nothing);
    assert_eq!(line(u64::MAX / 2_000_000).next(BLOCK), Try::Nothing);
    assert_eq!(line(SLOW).next(0), Try::Nothing);
    assert_eq!(line(SLOW).next(100), Try::Sample(100));
}

#[test]
fn what_pays_is_packed_until_it_does_not() {
    let mut packing = line(SLOW);
    assert_eq!(packing.next(BLOCK), Try::Sample(SAMPLE));
    assert!(packing.tried(SAMPLE, SAMPLE / 2, QUICK / 8));
    for _ in 0..100 {
        assert_eq!(packing.next(BLOCK), Try::Whole);
        assert!(packing.tried(BLOCK, BLOCK / 2, QUICK));
    }
    // One that gets no smaller is sent as it is, and some of them end it.
    for _ in 0..IN_VAIN {
        assert_eq!(packing.next(BLOCK), Try::Whole);
        assert!(!packing.tried(BLOCK, BLOCK + 9, QUICK));
    }
    assert_eq!(packing.next(BLOCK), Try::Sample(SAMPLE));
    // So does a line that becomes fast.
    assert!(packing.tried(SAMPLE, SAMPLE / 2, QUICK / 8));
    packing.passed(JUDGED_BY, Duration::from_millis(1));
    assert_eq!(packing.next(BLOCK), Try::Nothing);
    packing.bound(Some(SLOW));
    assert!(matches!(packing.next(BLOCK), Try::Sample(_)), "a bound is a slow line");
}

#[test]
fn what_does_not_pay_is_tried_ever_more_seldom() {
    let (mut packing, mut trials, mut last) = (line(SLOW), 0, 0);
    for block in 0..1_000 {
        if packing.next(BLOCK) != Try::Nothing {
            assert!(!packing.tried(SAMPLE, SAMPLE, QUICK / 8));
            (trials, last) = (trials + 1, block);
        }
    }
    assert!(
        (10..30).contains(&trials) && last > 1_000 - 2 * LATEST as usize,
        "{trials} trials, the last at {last}"
    );
}

#[test]
fn a_processor_slower_than_the_line_packs_nothing() {
    let mut packing = line(200_000_000);
    assert_eq!(packing.next(BLOCK), Try::Sample(SAMPLE));
    // It gets smaller, and what that spares takes less than twice the time.
    assert!(packing.tried(SAMPLE, SAMPLE / 2, Duration::from_micros(90)));
    assert_eq!(packing.next(BLOCK), Try::Nothing);
}

//= S5.111 (test)
#[test]
fn what_is_packed_is_unpacked_to_the_same() {
    let text: Vec<u8> = b"a line of a log, and another one\n".iter().copied().cycle().take(300_000).collect();
    let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
    for bytes in [&text[..], &text[..1], &[]] {
        let len = pack(bytes, &mut packed);
        assert_eq!(unpack(&packed[..len], bytes.len() as u64, &mut unpacked).unwrap(), bytes.len() as u64);
        assert_eq!(unpacked, bytes);
    }
}

//= S5.112 (test)
#[test]
fn a_bomb_is_an_error_that_names_the_bound_and_costs_no_more_than_it() {
    let mut packed = Vec::new();
    let len = pack(&vec![0; 64 << 20], &mut packed);
    packed.truncate(len);
    for bound in [0, 1, 1_000, 1 << 20] {
        let mut into = Vec::new();
        let refused = unpack(&packed, bound, &mut into).unwrap_err();
        assert!(matches!(refused, FilesError::Limit { limit, .. } if limit == bound), "{refused}");
        assert!(into.capacity() as u64 <= bound.max(8));
    }
    let mut into = Vec::new();
    assert!(unpack(&packed[..1_000], 1 << 20, &mut into).is_err(), "its end is missing");
    let len = pack(&[7; 1_000], &mut packed);
    assert_eq!(unpack(&packed[..len], 1_001, &mut into).unwrap(), 1_000);
    assert!(unpack(&[], 1, &mut into).is_err());
}
