//! What is remembered of older versions is bounded, whoever is slow.

use super::*;
use crate::names::Dots;

const SIZE: u64 = 1 << 20;

fn path(number: u64) -> SafeRelPath {
    let name = |name: &[u8]| SafeName::parse(name, Dots::Refused).unwrap();
    SafeRelPath::of(vec![name(&[b'd'; 200]), name(format!("{number:0200}").as_bytes())])
}

/// Names files until no more can be named; how many.
fn name_all(olders: &mut Olders, from: u64) -> u64 {
    (from..).take_while(|number| olders.name(*number, path(*number), SIZE).is_some()).count() as u64
}

//= S5.107 (test)
#[test]
fn paths_are_remembered_up_to_a_bound_also_those_that_wait_to_be_read() {
    let here = tempfile::tempdir().unwrap();
    let (teller, _told) = mpsc::channel(1);
    let places: Places = Arc::new(|| None);
    let mut olders = Olders::new(Dir::open(here.path()).unwrap(), teller, places);
    let named = name_all(&mut olders, 0);
    let paths = MAX_PATHS as u64 / named;
    assert!(
        (2 * 400..2 * 600).contains(&paths),
        "{paths} bytes for each, by whoever reads and whoever puts together"
    );
    // The bundle is behind them, but nobody has read them yet.
    olders.pass(named);
    let more = name_all(&mut olders, named);
    assert!(more.abs_diff(named / 2) <= 1, "{more} and {named}");
    // Those that nobody waits for any more leave their room to others.
    olders.pass(named + more);
    olders.untold.clear();
    assert_eq!(name_all(&mut olders, named + more), named);
}
