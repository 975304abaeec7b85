use super::*;

fn pieces(first: u64, count: usize, last: bool) -> Pieces {
    let one = [&8_192_u32.to_be_bytes()[1..], &[1; PIECE_LEN - 3]].concat();
    Pieces { first, pieces: one.repeat(count), last: last.then_some(true) }
}

fn named(file: u64, size: u64) -> OlderFile {
    OlderFile { file, older: Older { size, average: hikyaku_wire::files::MIN_AVERAGE, key: [1; 32] } }
}

fn wants(first: u64, verdicts: &[u8], older: Vec<OlderFile>) -> Wants {
    Wants { first, verdicts: verdicts.to_vec(), from: None, older }
}

fn wanted(verdict: u8) -> bool {
    verdict < 0x80
}

//= S5.107 (test)
#[test]
fn older_versions_of_what_is_not_wanted_are_refused() {
    let begun = || Olders::new(answers(1).1).0;
    let good = wants(4, &[1, 0x80, 1], vec![named(4, 9), named(6, 9)]);
    let mut olders = begun();
    olders.name(&good, wanted).unwrap();
    assert!(olders.has(4) && !olders.has(6));
    for bad in [
        wants(4, &[1], vec![named(3, 9)]),
        wants(4, &[1], vec![named(5, 9)]),
        wants(4, &[0x80], vec![named(4, 9)]),
        wants(4, &[1, 1], vec![named(5, 9), named(4, 9)]),
        wants(4, &[1, 1], vec![named(4, 9), named(4, 9)]),
        wants(0, &[1], vec![named(u64::MAX, 9)]),
    ] {
        assert!(matches!(begun().name(&bad, wanted), Err(FilesError::Order(_))), "{bad:?}");
    }
    let huge = wants(0, &[1, 1], vec![named(0, hikyaku_wire::cbor::MAX_INTEGER), named(1, 1)]);
    assert!(matches!(begun().name(&huge, wanted), Err(FilesError::Range { .. })));
    // Where nobody hears of pieces, none can be named.
    let (mut deaf, _) = Olders::new(Answers::from(mpsc::channel(1).1));
    assert!(deaf.name(&good, wanted).is_err());
}

//= S5.108 (test)
#[test]
fn no_more_pieces_wait_than_the_bound() {
    // Full messages, messages with one piece, and messages without any: so many are one below the bound or at it.
    for (count, most) in [(1_024, 1_270), (1, 145_635), (0, 163_840)] {
        let (answering, _answers) = answers(1);
        for first in 0..most {
            answering.pieces(pieces(first * count, usize::try_from(count).unwrap(), false)).unwrap();
        }
        let refused = answering.pieces(pieces(most * count, 1_024, true)).unwrap_err();
        assert!(refused.to_string().contains("told ahead (1310720)"), "{refused}");
    }
}

#[test]
fn pieces_are_heard_of_one_file_after_the_other() {
    let (answering, answers) = answers(1);
    let (mut olders, _wants) = Olders::new(answers);
    olders.name(&wants(0, &[1, 1], vec![named(0, 3 * 8_192), named(1, 8_192)]), wanted).unwrap();
    assert!(!olders.hear(false).unwrap());
    answering.pieces(pieces(0, 2, false)).unwrap();
    assert!(!olders.hear(false).unwrap());
    answering.pieces(pieces(2, 1, true)).unwrap();
    answering.pieces(pieces(0, 1, true)).unwrap();
    assert!(olders.hear(false).unwrap() && olders.hear(true).unwrap());
    assert_eq!(olders.take().unwrap().1, 0);
    assert!(olders.has(1) && olders.hear(true).unwrap());
    assert_eq!(olders.take().unwrap().1, 3 * 8_192);
    // Whoever tells is gone, and more was to come.
    olders.name(&wants(2, &[1], vec![named(2, 8_192)]), wanted).unwrap();
    drop(answering);
    assert!(olders.hear(false).is_err());
}
