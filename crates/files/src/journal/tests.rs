use proptest::prelude::*;

use super::*;

fn mark(verified: u64) -> Record {
    Record::Mark(Mark { verified, state: vec![verified as u8; 40] })
}

fn sample() -> (Contents, Vec<u8>, Vec<usize>) {
    let mut contents = Contents::default();
    let mut bytes = Vec::new();
    let mut ends = vec![0];
    for record in [
        Record::Begin(b"offer".to_vec()),
        mark(65_536),
        mark(131_072),
        Record::Outcome(b"all of it".to_vec()),
        Record::Sealing { root: Root([7; 32]), size: 131_075, inode: 9 },
        Record::Settled { root: Root([7; 32]), size: 131_075 },
    ] {
        bytes.extend(contents.append(record));
        ends.push(bytes.len());
    }
    (contents, bytes, ends)
}

#[test]
fn a_journal_reads_back_as_it_was_written() {
    let (contents, bytes, _) = sample();
    assert_eq!(Contents::parse(&bytes), contents);
    assert_eq!(contents.end, bytes.len() as u64);
    assert_eq!(contents.mark.verified, 131_072);
}

//= S5.31 (test)
#[test]
fn a_torn_tail_is_ignored_wherever_it_is_torn() {
    let (_, bytes, ends) = sample();
    for cut in 0..bytes.len() {
        let whole = ends.iter().rfind(|end| **end <= cut).unwrap();
        assert_eq!(Contents::parse(&bytes[..cut]), Contents::parse(&bytes[..*whole]), "cut at {cut}");
        assert_eq!(Contents::parse(&bytes[..cut]).end, *whole as u64);
    }
}

//= S5.31 (test)
#[test]
fn a_flipped_bit_ends_the_journal_before_its_record() {
    let (_, bytes, ends) = sample();
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let whole = ends.iter().rfind(|end| **end <= at).unwrap();
            assert_eq!(Contents::parse(&bad), Contents::parse(&bytes[..*whole]), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn what_follows_a_torn_record_is_not_believed() {
    let (_, bytes, ends) = sample();
    let without_the_second = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
    assert_eq!(Contents::parse(&without_the_second).mark, Mark::default());
}

#[test]
fn writing_goes_on_after_a_torn_tail() {
    let (_, bytes, ends) = sample();
    let mut contents = Contents::parse(&bytes[..ends[2] + 7]);
    let mut mended = bytes[..contents.end as usize].to_vec();
    mended.extend(contents.append(mark(196_608)));
    assert_eq!(Contents::parse(&mended).mark.verified, 196_608);
}

#[test]
fn a_compacted_journal_says_the_same() {
    let (contents, bytes, _) = sample();
    let (fresh, compact) = contents.compact();
    assert!(compact.len() < bytes.len());
    let read = Contents::parse(&compact);
    assert_eq!(read, fresh);
    assert_eq!(
        (read.begin, read.mark, read.sealing, read.settled),
        (contents.begin, contents.mark, contents.sealing, contents.settled)
    );
}

#[test]
fn a_journal_that_does_not_begin_is_empty() {
    let mut contents = Contents::default();
    let bytes = contents.append(mark(65_536));
    assert_eq!(Contents::parse(&bytes), Contents::default());
}

proptest! {
    #[test]
    fn any_bytes_are_a_journal(bytes in proptest::collection::vec(any::<u8>(), 0..500), cut in 0usize..300) {
        prop_assert!(Contents::parse(&bytes).end <= bytes.len() as u64);
        let (_, good, _) = sample();
        let mixed = [&good[..cut.min(good.len())], &bytes].concat();
        prop_assert!(Contents::parse(&mixed).end <= mixed.len() as u64);
    }
}
