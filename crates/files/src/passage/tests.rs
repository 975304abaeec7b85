use super::*;

const ROOT: Root = Root([7; 32]);
const GROUP: u64 = GROUP_LEN;

fn written(from: u64, to: u64) -> Passage {
    let mut passage = Passage::default();
    passage.begin(from);
    passage.reach(to);
    passage
}

//= S5.81 (test)
#[test]
fn a_reader_gets_what_is_verified_and_waits_where_it_is_ahead() {
    let mut passage = written(0, 3 * BLOCK_LEN + 5);
    let mut place = passage.place(0);
    for _ in 0..3 {
        assert_eq!(passage.next(&mut place), Next::Send(BLOCK_LEN));
        place.at += BLOCK_LEN;
    }
    assert_eq!(passage.next(&mut place), Next::Send(5));
    place.at += 5;
    assert_eq!(passage.next(&mut place), Next::Wait);
    passage.stop();
    assert_eq!(passage.next(&mut place), Next::Wait, "the sender may come back");
}

//= S5.82 (test)
#[test]
fn there_is_no_close_before_the_parcel_is_settled_however_much_was_read() {
    let mut passage = written(0, 10);
    let mut place = passage.place(10);
    assert_eq!(passage.next(&mut place), Next::Wait);
    passage.end(End::Settled(ROOT, 10));
    assert_eq!(passage.next(&mut place), Next::Close(ROOT, 10));
    passage.end(End::Aborted);
    assert_eq!(passage.next(&mut place), Next::Close(ROOT, 10), "the first end counts");
    let mut late = passage.place(0);
    assert_eq!(passage.next(&mut late), Next::Send(10));
}

//= S5.83 (test)
#[test]
fn every_reader_learns_of_an_abort_wherever_it_stands() {
    let mut passage = written(0, GROUP);
    passage.end(End::Aborted);
    for at in [0, GROUP, 5 * GROUP] {
        assert_eq!(passage.next(&mut passage.place(at)), Next::Aborted);
    }
    assert!(!passage.is_writing() && passage.has_ended());
}

#[test]
fn a_sender_that_begins_earlier_sends_those_back_who_have_read_further() {
    let mut passage = written(0, 4 * GROUP);
    let (mut behind, mut there, mut beyond) =
        (passage.place(GROUP), passage.place(2 * GROUP), passage.place(3 * GROUP));
    passage.stop();
    passage.begin(2 * GROUP);
    assert_eq!(passage.next(&mut behind), Next::Send(GROUP));
    assert_eq!(passage.next(&mut there), Next::Wait);
    assert_eq!(passage.next(&mut beyond), Next::Rewritten);
    // One that comes back with what it has waits until so much is there again.
    let mut again = passage.place(3 * GROUP);
    assert!(!passage.reaches(3 * GROUP));
    assert_eq!(passage.next(&mut again), Next::Wait);
    passage.reach(4 * GROUP);
    assert!(passage.reaches(3 * GROUP));
    assert_eq!(passage.next(&mut again), Next::Send(GROUP));
    // Two rewrites that nobody looked between: the first may have been the deeper one.
    passage.begin(0);
    passage.reach(4 * GROUP);
    passage.begin(3 * GROUP);
    assert_eq!(passage.next(&mut there), Next::Rewritten);
}

#[test]
fn what_the_store_says_counts_only_where_nobody_has_written() {
    let mut passage = Passage::default();
    passage.rest(GROUP);
    assert_eq!(passage.arrival(), Arrival { bytes: GROUP, sending: false });
    passage.rest(0);
    assert_eq!(passage.arrival().bytes, GROUP);
    passage.begin(GROUP);
    passage.reach(2 * GROUP);
    passage.rest(GROUP);
    assert_eq!(passage.arrival(), Arrival { bytes: 2 * GROUP, sending: true });
}

#[test]
fn a_place_beyond_the_end_is_of_something_else() {
    let mut passage = written(0, 10);
    passage.end(End::Settled(ROOT, 10));
    assert_eq!(passage.next(&mut passage.place(GROUP)), Next::Rewritten);
}

/// Blocks end where groups do, except where no more is there.
#[test]
fn after_a_part_of_a_group_blocks_are_whole_groups_again() {
    let passage = written(0, 10 * BLOCK_LEN);
    let mut place = passage.place(100);
    assert_eq!(passage.next(&mut place), Next::Send(BLOCK_LEN - 100));
}
