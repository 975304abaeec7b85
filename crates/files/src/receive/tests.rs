use proptest::prelude::*;

use super::*;

const NO_LIMIT: u64 = 1 << 53;

fn bytes(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(b"receive").finalize_xof().fill(&mut out);
    out
}

fn block(offset: u64, data: &[u8]) -> Block {
    let groups = data.chunks(GROUP).enumerate();
    let cvs =
        groups.flat_map(|(index, piece)| tree::group(offset + index as u64 * GROUP_LEN, piece).cv).collect();
    Block { entry: None, offset, len: data.len() as u64, cvs }
}

fn close_of(data: &[u8]) -> Close {
    Close { entry: None, size: data.len() as u64, root: Root(*blake3::hash(data).as_bytes()) }
}

fn fresh(size: Option<u64>) -> Receiving {
    Receiving::resume(&Mark::default(), size, NO_LIMIT)
}

fn take_all(receiving: &mut Receiving, data: &[u8], block_len: usize) {
    for (index, piece) in data.chunks(block_len).enumerate() {
        receiving.take(&block((index * block_len) as u64, piece), piece).unwrap();
    }
}

//= S5.15 (test)
#[test]
fn a_file_of_every_interesting_size_is_received() {
    for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 8 * GROUP, 8 * GROUP + 1, 16 * GROUP, 20 * GROUP + 9] {
        let data = bytes(len);
        let mut receiving = fresh(Some(len as u64));
        take_all(&mut receiving, &data, 8 * GROUP);
        assert_eq!(receiving.close(&close_of(&data)).unwrap(), (close_of(&data).root, len as u64));
    }
}

//= S5.13 (test)
#[test]
fn a_flipped_bit_is_located_to_its_group() {
    let data = bytes(8 * GROUP - 5);
    let good = block(0, &data);
    for at in [0, 1, GROUP - 1, GROUP, 3 * GROUP + 77, 7 * GROUP, data.len() - 1] {
        let mut bad = data.clone();
        bad[at] ^= 0x10;
        let mut receiving = fresh(None);
        let error = receiving.take(&good, &bad).unwrap_err();
        let begin = (at / GROUP * GROUP) as u64;
        assert!(
            matches!(error, FilesError::GroupMismatch { offset, len }
            if offset == begin && len == (data.len() as u64 - begin).min(GROUP_LEN)),
            "{at}: {error}"
        );
        assert_eq!(receiving.offset(), begin, "the groups before it count");
    }
}

#[test]
fn a_wrong_chaining_value_is_as_bad_as_a_wrong_byte() {
    let data = bytes(3 * GROUP);
    for at in 0..96 {
        let mut bad = block(0, &data);
        bad.cvs[at] ^= 1;
        let error = fresh(None).take(&bad, &data).unwrap_err();
        assert!(
            matches!(error, FilesError::GroupMismatch { offset, .. } if offset == (at / 32) as u64 * GROUP_LEN)
        );
    }
}

//= S5.16 (test)
#[test]
fn resuming_at_every_group_gives_the_same_root() {
    let data = bytes(19 * GROUP + 1234);
    for groups in 0..=19 {
        let cut = groups * GROUP;
        let mut first = fresh(Some(data.len() as u64));
        take_all(&mut first, &data[..cut], 4 * GROUP);
        let mut second = Receiving::resume(&first.mark(), Some(data.len() as u64), NO_LIMIT);
        assert_eq!(second.offset(), cut as u64);
        assert_eq!(second.prefix(), (cut > 0).then(|| Root(*blake3::hash(&data[..cut]).as_bytes())));
        for (index, piece) in data[cut..].chunks(4 * GROUP).enumerate() {
            second.take(&block((cut + index * 4 * GROUP) as u64, piece), piece).unwrap();
        }
        second.close(&close_of(&data)).unwrap();
    }
}

//= S5.11 (test)
#[test]
fn a_mark_never_counts_half_a_group() {
    let data = bytes(2 * GROUP + 5);
    let mut receiving = fresh(None);
    take_all(&mut receiving, &data, 8 * GROUP);
    assert_eq!(receiving.mark().verified, 2 * GROUP_LEN);
    assert_eq!(receiving.offset(), data.len() as u64);
}

#[test]
fn a_mark_that_makes_no_sense_is_the_same_as_none() {
    let mut receiving = fresh(None);
    take_all(&mut receiving, &bytes(4 * GROUP), GROUP);
    let good = receiving.mark();
    assert_eq!(Receiving::resume(&good, Some(4 * GROUP_LEN), NO_LIMIT).offset(), 4 * GROUP_LEN);
    for bad in [
        Mark { verified: 3 * GROUP_LEN, ..good.clone() },
        Mark { verified: u64::MAX, ..good.clone() },
        Mark { state: vec![], ..good.clone() },
        Mark { state: vec![0xff; 100], ..good.clone() },
    ] {
        assert_eq!(Receiving::resume(&bad, None, NO_LIMIT).offset(), 0);
    }
    assert_eq!(Receiving::resume(&good, Some(100), NO_LIMIT).offset(), 0, "a mark beyond the size");
}

//= S5.12 (test)
#[test]
fn a_block_that_lies_where_it_may_not_is_refused() {
    let data = bytes(2 * GROUP);
    let mut receiving = fresh(Some(4 * GROUP_LEN));
    receiving.take(&block(0, &data), &data).unwrap();
    let good = block(2 * GROUP_LEN, &data);
    receiving.check(&good).unwrap();
    let bad = [
        Block { offset: 0, ..good.clone() },
        Block { offset: 3 * GROUP_LEN, ..good.clone() },
        Block { offset: 2 * GROUP_LEN + 1, ..good.clone() },
        Block { offset: u64::MAX, ..good.clone() },
        Block { len: 0, cvs: vec![], ..good.clone() },
        Block { len: 3 * GROUP_LEN, cvs: vec![0; 96], ..good.clone() },
        Block { len: MAX_BLOCK_LEN + 1, cvs: vec![0; 17 * 32], ..good.clone() },
        Block { len: u64::MAX, ..good.clone() },
        Block { cvs: vec![0; 63], ..good.clone() },
        Block { cvs: vec![0; 65], ..good.clone() },
        Block { cvs: vec![0; 96], ..good.clone() },
        Block { cvs: vec![], ..good.clone() },
        Block { entry: Some(0), ..good.clone() },
    ];
    for block in bad {
        assert!(matches!(receiving.check(&block), Err(FilesError::Range { .. })), "{block:?}");
    }
    assert!(receiving.take(&good, &data[1..]).is_err(), "fewer bytes than said");
}

/// The chaining values of a block that begins or ends inside a group: of each group as far as it has come.
fn part(all: &[u8], offset: usize, end: usize) -> Block {
    let groups = (offset / GROUP * GROUP..end).step_by(GROUP);
    let cvs = groups.flat_map(|begin| tree::group(begin as u64, &all[begin..end.min(begin + GROUP)]).cv);
    Block { entry: None, offset: offset as u64, len: (end - offset) as u64, cvs: cvs.collect() }
}

//= S5.13 (test)
#[test]
fn a_group_comes_in_any_pieces_and_each_of_them_is_checked() {
    let data = bytes(3 * GROUP + 100);
    let cuts = [0, 1, 2, 700, GROUP - 1, GROUP, GROUP + 9, 2 * GROUP + 5, 2 * GROUP + 6, data.len()];
    for bad in [None, Some(0), Some(1), Some(650), Some(GROUP - 1), Some(GROUP + 3), Some(2 * GROUP + 5)] {
        let mut receiving = fresh(Some(data.len() as u64));
        let mut refused = None;
        for pair in cuts.windows(2) {
            let (block, mut piece) = (part(&data, pair[0], pair[1]), data[pair[0]..pair[1]].to_vec());
            if let Some(at) = bad.filter(|bad| (pair[0]..pair[1]).contains(bad)) {
                piece[at - pair[0]] ^= 1;
            }
            if let Err(error) = receiving.take(&block, &piece) {
                assert!(matches!(error, FilesError::GroupMismatch { .. }), "{error}");
                refused = Some(pair[0]);
                break;
            }
            assert_eq!(receiving.offset(), pair[1] as u64);
            assert_eq!(receiving.mark().verified, (pair[1] / GROUP * GROUP) as u64);
        }
        let is_there =
            bad.map(|bad| cuts.windows(2).find(|pair| (pair[0]..pair[1]).contains(&bad)).unwrap()[0]);
        assert_eq!(refused, is_there, "{bad:?}");
        if bad.is_none() {
            receiving.close(&close_of(&data)).unwrap();
        }
    }
}

#[test]
fn the_largest_block_is_taken_and_one_byte_more_is_not() {
    let data = bytes(MAX_BLOCK_LEN as usize);
    fresh(None).take(&block(0, &data), &data).unwrap();
    let long = Block { len: MAX_BLOCK_LEN + 1, offset: 0, entry: None, cvs: vec![0; 17 * 32] };
    assert!(fresh(None).check(&long).is_err());
}

#[test]
fn a_file_of_unknown_size_is_bounded() {
    let data = bytes(GROUP);
    let receiving = Receiving::resume(&Mark::default(), None, GROUP_LEN);
    receiving.check(&block(0, &data)).unwrap();
    let receiving = Receiving::resume(&Mark::default(), None, GROUP_LEN - 1);
    assert!(matches!(receiving.check(&block(0, &data)), Err(FilesError::Limit { name: "max_size", .. })));
}

//= S5.15 (test)
#[test]
fn a_wrong_root_size_or_early_close_is_refused() {
    let data = bytes(2 * GROUP + 3);
    let mut receiving = fresh(Some(data.len() as u64));
    take_all(&mut receiving, &data, GROUP);
    let good = close_of(&data);
    let wrong_root = Close { root: Root([1; 32]), ..good.clone() };
    assert!(matches!(receiving.clone().close(&wrong_root), Err(FilesError::RootMismatch { said, found, .. })
        if said == Root([1; 32]) && found == good.root));
    for size in [0, good.size - 1, good.size + 1, u64::MAX] {
        let wrong = Close { size, ..good.clone() };
        assert!(matches!(receiving.clone().close(&wrong), Err(FilesError::Range { .. })));
    }
    assert!(receiving.clone().close(&Close { entry: Some(1), ..good.clone() }).is_err());
    receiving.close(&good).unwrap();
    let mut short = fresh(Some(data.len() as u64));
    take_all(&mut short, &data[..GROUP], GROUP);
    assert!(short.close(&close_of(&data[..GROUP])).is_err(), "less than was offered");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_cut_into_blocks_gives_the_root_of_the_whole(len in 0usize..2_000_000, groups in 1usize..16) {
        let data = bytes(len);
        let mut receiving = fresh(None);
        take_all(&mut receiving, &data, groups * GROUP);
        prop_assert!(receiving.close(&close_of(&data)).is_ok());
    }

    #[test]
    fn arbitrary_blocks_never_panic(offset: u64, len: u64, cvs in proptest::collection::vec(any::<u8>(), 0..128),
                                    data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut receiving = fresh(Some(1 << 20));
        let _ = receiving.take(&Block { entry: None, offset, len, cvs }, &data);
        let _ = receiving.close(&Close { entry: None, size: len, root: Root([0; 32]) });
    }
}
