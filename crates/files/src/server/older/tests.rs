//! Nobody keeps others from being told, and nobody guesses for long.

use std::time::{Duration, Instant as Moment};

use hikyaku_wire::files::{MIN_PART, PIECE_LEN};

use super::*;
use hikyaku_wire::files::Pieces;

const ADA: Owner = [0xad; 16];
const BOB: Owner = [0xb0; 16];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A file of zeros, which are cut into the longest pieces.
fn older(len: u64) -> OlderVersion {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    OlderVersion::of_file(file).unwrap()
}

fn later() -> Instant {
    Instant::now() + TELL_FOR
}

#[test]
fn there_are_so_many_places_and_each_user_has_one() {
    let hearing = Hearing::new(2);
    let first = hearing.place(ADA).unwrap();
    assert!(hearing.place(ADA).is_none(), "one for each");
    let _second = hearing.place(BOB).unwrap();
    assert!(hearing.place([1; 16]).is_none(), "two in all");
    drop(first);
    let _third = hearing.place([1; 16]).unwrap();
    assert!(hearing.place(ADA).is_none());
}

//= S5.106 (test)
#[test]
fn a_user_who_was_wrong_eight_times_is_told_nothing_more_that_day() {
    let (hearing, begun) = (Hearing::new(1), Moment::now());
    for _ in 0..100 {
        drop(hearing.guess(ADA, begun).expect("who is right may go on"));
    }
    // What is under way may be wrong, too.
    let open: Vec<_> = std::iter::from_fn(|| hearing.guess(ADA, begun)).collect();
    assert_eq!(open.len(), 8);
    assert!(hearing.guess(BOB, begun).is_some(), "that is nobody else's");
    open.into_iter().skip(1).for_each(|guess| guess.was_wrong(begun));
    hearing.guess(ADA, begun).expect("the eighth").was_wrong(begun + Duration::from_secs(1));
    assert!(hearing.guess(ADA, begun + DAY - Duration::from_secs(1)).is_none());
    assert!(hearing.guess(ADA, begun + DAY).is_some());
}

/// The index of a file whose pieces are all long, but for its end.
#[tokio::test]
async fn a_version_is_told_to_its_last_piece_that_is_long_enough() {
    let (hearing, (teller, mut told)) = (Hearing::new(1), mpsc::channel(8));
    let longest = 4 * hikyaku_wire::files::MIN_AVERAGE;
    tell(older(20 * longest + MIN_PART - 1), hearing.place(ADA).unwrap(), teller, later()).await.unwrap();
    let Some(Answer::Pieces(pieces)) = told.recv().await else { panic!("pieces") };
    assert_eq!((pieces.pieces.len() / PIECE_LEN, pieces.last), (20, Some(true)));
    assert!(told.recv().await.is_none() && hearing.is_free());
}

/// Pieces that were told alike and are not cost one attempt, and the next has another key.
//= S5.101 (test)
#[test]
fn each_exchange_has_a_key_of_its_own() {
    let key = || older(OLDER_FROM).named().key;
    assert_ne!(key(), key());
}

#[tokio::test]
async fn one_who_does_not_listen_keeps_no_place() {
    let (hearing, (teller, mut told)) = (Hearing::new(1), mpsc::channel(1));
    let earlier = Pieces { first: 0, pieces: Vec::new(), last: Some(true) };
    teller.try_send(Answer::Pieces(earlier.clone())).unwrap();
    // He has had his time.
    let telling = tokio::spawn(tell(older(OLDER_FROM), hearing.place(ADA).unwrap(), teller, Instant::now()));
    while !hearing.is_free() {
        tokio::task::yield_now().await;
    }
    // And when he listens at last, he hears that nothing follows.
    assert_eq!(told.recv().await, Some(Answer::Pieces(earlier.clone())));
    assert_eq!(told.recv().await, Some(Answer::Pieces(earlier)));
    assert!(told.recv().await.is_none());
    telling.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_who_goes_away_keeps_no_place() {
    let (hearing, (teller, told)) = (Hearing::new(1), mpsc::channel(1));
    drop(told);
    let told = tell(older(OLDER_FROM), hearing.place(ADA).unwrap(), teller, later()).await;
    assert_eq!(told, None);
    assert!(hearing.is_free());
}
