//! What did not change is not sent, and whatever is told of it, what is put together is verified by others.

use bytes::Bytes;
use hikyaku_wire::files::{
    BLOCK_LEN, Block, Composed, GROUP_LEN, MAX_AVERAGE, MAX_INDEX, MAX_PIECES, MIN_AVERAGE, MIN_PART, Older,
    PIECE_LEN, Part, Pieces,
};

use fastcdc::v2020::Normalization;

use super::cut::{Cuts, Cutter};
use super::*;
use crate::error::FilesError;

const KIB: usize = 1024;

/// Bytes that differ everywhere.
fn content(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

/// The lengths of the pieces of this average.
fn cuts(content: &[u8], average: u64) -> impl Iterator<Item = usize> {
    let mut cutter = Cutter::new(Cuts::new(average).unwrap());
    cutter.take(content);
    cutter.end();
    std::iter::from_fn(move || cutter.next_piece().map(<[u8]>::len))
}

fn older(content: &[u8]) -> Older {
    let size = content.len() as u64;
    Older { size, average: average_of(size), key: [3; 32] }
}

fn told(content: &[u8], at_once: usize) -> Vec<Pieces> {
    let mut telling = Telling::new(&older(content)).unwrap();
    let mut told = Vec::new();
    for bytes in content.chunks(at_once) {
        telling.take(bytes);
        told.extend(std::iter::from_fn(|| telling.next_pieces()));
    }
    telling.end();
    told.extend(std::iter::from_fn(|| telling.next_pieces()));
    assert!(telling.is_over());
    told
}

fn index(content: &[u8]) -> Index {
    let mut index = Index::new(older(content)).unwrap();
    for pieces in told(content, 512 * KIB) {
        index.hear(&pieces).unwrap();
    }
    assert!(index.is_whole());
    index
}

/// The blocks of the new version from an offset on, and how many bytes of them are sent; what is put together is compared.
fn sent(old: &[u8], new: &[u8], from: usize) -> usize {
    let mut sparing = Sparing::new(index(old), from as u64).unwrap();
    let (mut spared, mut held) = (Vec::new(), 0);
    let block_len = usize::try_from(BLOCK_LEN).unwrap();
    for (number, bytes) in new[from..].chunks(block_len).enumerate() {
        let (offset, len) = ((from + number * block_len) as u64, bytes.len() as u64);
        sparing.take(Block { entry: None, offset, len, cvs: Vec::new() }, Bytes::copy_from_slice(bytes));
        spared.extend(std::iter::from_fn(|| sparing.next_block()));
        held = held.max((number + 1) * block_len - spared.len() * block_len);
    }
    sparing.end();
    spared.extend(std::iter::from_fn(|| sparing.next_block()));
    assert!(held <= 2 * block_len, "no more is held back than the longest piece lies in");
    let (mut whole, mut sent, mut into) = (new[..from].to_vec(), 0, Vec::new());
    for Spared { block, parts, rest } in spared {
        sent += rest.len();
        if parts.is_empty() {
            whole.extend_from_slice(&rest);
            continue;
        }
        let composed = Composed { block, parts };
        assert_eq!(check(&composed, Some(old.len() as u64)).unwrap(), rest.len() as u64);
        let read = |offset: u64, part: &mut [u8]| {
            let offset = usize::try_from(offset).unwrap();
            part.copy_from_slice(&old[offset..offset + part.len()]);
            Ok(part.len())
        };
        compose(&composed, &rest, &mut into, read).unwrap();
        whole.extend_from_slice(&into);
    }
    assert!(whole == new, "what is put together is the new version");
    sent
}

//= S5.102 (test)
//= S5.104 (test)
#[test]
fn what_did_not_change_is_not_sent_wherever_something_was_put_in_or_taken_out() {
    let old = content(1, 8 * 1024 * KIB);
    let tail = usize::try_from(MIN_PART).unwrap();
    assert!(sent(&old, &old, 0) < tail);
    let mut new = old.clone();
    new.splice(3_000_001..3_000_001, content(2, 1_001));
    new.drain(5_000_000..5_000_777);
    new[7_000_000] ^= 1;
    let changed = sent(&old, &new, 0);
    assert!(changed < 3 * 4 * 64 * KIB, "{changed} bytes for three changes");
    // What was moved is found, too, and what is there twice.
    let new = [&old[4_000_000..], &old[..4_000_000], &old[..1_000_000]].concat();
    let changed = sent(&old, &new, 0);
    assert!(changed < 3 * 2 * 64 * KIB, "{changed} bytes for three places");
    let other = content(3, 1024 * KIB);
    assert_eq!(sent(&old, &other, 0), other.len(), "nothing of it is there");
}

//= S5.103 (test)
#[test]
fn parts_that_touch_in_the_new_version_alone_are_told_apart() {
    let first = content(5, 512 * KIB);
    let len: usize = cuts(&first, older(&first).average).take(40).sum();
    // The older version is the same twice, but for a byte in a piece: those before it lie at its beginning, and this one,
    // which follows at once, far behind.
    let mut new = first.clone();
    new[len + KIB] ^= 1;
    let old = [first, new.clone()].concat();
    assert!(sent(&old, &new, 0) < usize::try_from(MIN_PART).unwrap());
}

//= S5.104 (test)
#[test]
fn who_goes_on_in_the_middle_finds_the_same_pieces_soon() {
    let old = content(1, 4 * 1024 * KIB);
    let from = usize::try_from(17 * GROUP_LEN).unwrap();
    let changed = sent(&old, &old, from);
    assert!(changed < 4 * 64 * KIB, "{changed} bytes until the cuts are the same again");
    let mut shorter = old.clone();
    shorter.truncate(2_000_123);
    assert!(sent(&old, &shorter, from) < 5 * 64 * KIB);
}

//= S5.102 (test)
#[test]
fn the_cuts_are_those_of_fastcdc_however_the_bytes_come() {
    let content = content(4, 3 * 1024 * KIB + 17);
    let lens: Vec<_> =
        fastcdc::v2020::FastCDC::with_level(&content, 2 * KIB, 4 * KIB, 16 * KIB, Normalization::Level2)
            .map(|piece| {
                let bytes = &content[piece.offset..][..piece.length];
                (piece.length, *blake3::keyed_hash(&[3; 32], bytes).as_bytes())
            })
            .collect();
    for at_once in [1_000, 64 * KIB, 5 * 1024 * KIB] {
        let told = told(&content, at_once);
        let pieces: Vec<u8> = told.iter().flat_map(|pieces| pieces.pieces.clone()).collect();
        let expected = lens.iter().flat_map(|(len, digest)| {
            [&u32::try_from(*len).unwrap().to_be_bytes()[1..], &digest[..7]].concat()
        });
        assert!(pieces == expected.collect::<Vec<u8>>(), "in pieces of {at_once}");
        assert_eq!(told.last().unwrap().last, Some(true));
        assert!(told.iter().rev().skip(1).all(|pieces| pieces.last.is_none()));
    }
}

/// The example of the specification.
//= S5.102 (test)
#[test]
fn the_first_cuts_of_the_example_are_these() {
    let mut example = vec![0; 200_000];
    blake3::Hasher::new().finalize_xof().fill(&mut example);
    let lens: Vec<_> = cuts(&example, 4_096).take(4).collect();
    assert_eq!(lens, [3_591, 5_302, 5_115, 5_634]);
}

#[test]
fn the_average_grows_with_the_size_so_that_pieces_stay_few() {
    for (size, average) in [
        (0, MIN_AVERAGE),
        (2 << 30, MIN_AVERAGE),
        ((2 << 30) + 1, 2 * MIN_AVERAGE),
        (100 << 30, MAX_AVERAGE / 4),
        (512 << 30, MAX_AVERAGE),
        (u64::MAX, MAX_AVERAGE),
    ] {
        assert_eq!(average_of(size), average, "of {size}");
        assert!(Cuts::new(average).is_ok());
    }
    for average in [0, 1, MIN_AVERAGE / 2, MIN_AVERAGE + 1, 2 * MAX_AVERAGE, u64::MAX] {
        let older = Older { size: 1, average, key: [0; 32] };
        assert!(Cuts::new(average).is_err() && Index::new(older).is_err() && Telling::new(&older).is_err());
    }
}

fn pieces(first: u64, lens: &[u32], last: Option<bool>) -> Pieces {
    let pieces = lens.iter().flat_map(|len| [&len.to_be_bytes()[1..], &[7; 7]].concat()).collect();
    Pieces { first, pieces, last }
}

//= S5.101 (test)
#[test]
fn pieces_that_cannot_be_are_refused() {
    let older = Older { size: 100_000, average: 16_384, key: [0; 32] };
    let begun = || {
        let mut index = Index::new(older).unwrap();
        index.hear(&pieces(0, &[50_000], None)).unwrap();
        index
    };
    let longest = 4 * 16_384;
    for bad in [
        pieces(0, &[2_048], None),
        pieces(2, &[2_048], None),
        pieces(1, &[0], None),
        pieces(1, &[2_047], None),
        pieces(1, &[2_047], Some(true)),
        pieces(1, &[longest + 1], None),
        pieces(1, &[50_001], None),
        pieces(1, &[47_953, 2_048], None),
        pieces(1, &[0xff_ffff], None),
        pieces(1, &[], None),
        pieces(1, &[], Some(false)),
        Pieces { first: 1, pieces: vec![0; PIECE_LEN - 1], last: None },
        Pieces {
            first: 1,
            pieces: [[0, 16, 0].as_slice(), &[1; 7]].concat().repeat(MAX_PIECES + 1),
            last: None,
        },
    ] {
        let refused = begun().hear(&bad);
        assert!(matches!(refused, Err(FilesError::Range { .. })), "{refused:?}: {bad:?}");
    }
    let mut index = begun();
    index.hear(&pieces(1, &[50_000], Some(true))).unwrap();
    assert!(index.is_whole());
    assert!(index.hear(&pieces(2, &[], Some(true))).is_err(), "nothing follows the last ones");
}

//= S5.101 (test)
#[test]
fn no_more_pieces_are_heard_than_the_bound() {
    let mut index = Index::new(Older { size: u64::MAX, average: MIN_AVERAGE, key: [0; 32] }).unwrap();
    let many = vec![2_048; MAX_PIECES];
    for first in (0..MAX_INDEX as u64).step_by(MAX_PIECES) {
        index.hear(&pieces(first, &many, None)).unwrap();
    }
    let refused = index.hear(&pieces(MAX_INDEX as u64, &[2_048], None)).unwrap_err();
    assert!(refused.to_string().contains("pieces of an older version (524288)"), "{refused}");
    index.hear(&pieces(MAX_INDEX as u64, &[], Some(true))).unwrap();
}

//= S5.101 (test)
//= S5.103 (test)
#[test]
fn neither_pieces_nor_parts_are_so_short_that_they_could_be_guessed() {
    // Long enough in all its pieces but the last, whatever that is.
    for len in (256 * KIB..).step_by(977).take(40) {
        let old = content(6, len);
        let told = told(&old, 64 * KIB);
        let lens = told.iter().flat_map(|pieces| pieces.pieces.chunks(PIECE_LEN));
        let lens: Vec<_> =
            lens.map(|piece| u64::from(u32::from_be_bytes([0, piece[0], piece[1], piece[2]]))).collect();
        assert!(lens.iter().all(|len| *len >= MIN_PART), "{lens:?}");
        assert!(lens.iter().sum::<u64>() > len as u64 - MIN_PART);
    }
    // What lies across the edges of many small blocks.
    let old = content(1, 512 * KIB);
    let mut sparing = Sparing::new(index(&old), 0).unwrap();
    let mut parts = Vec::new();
    for (number, bytes) in old.chunks(3_000).enumerate() {
        let block =
            Block { entry: None, offset: number as u64 * 3_000, len: bytes.len() as u64, cvs: Vec::new() };
        sparing.take(block, Bytes::copy_from_slice(bytes));
        parts.extend(std::iter::from_fn(|| sparing.next_block()).flat_map(|spared| spared.parts));
    }
    assert!(parts.len() > 50 && parts.iter().all(|part| part.len >= MIN_PART), "{parts:?}");
}

//= S5.103 (test)
#[test]
fn a_block_whose_parts_cannot_be_is_refused() {
    const LEN: u64 = 10 * MIN_PART;
    let block = Block { entry: None, offset: GROUP_LEN, len: LEN, cvs: Vec::new() };
    let part = |at, len, from| Part { at: GROUP_LEN + at, len, from };
    let of = |parts: &[Part]| Composed { block: block.clone(), parts: parts.to_vec() };
    let (size, least) = (5 * MIN_PART, MIN_PART);
    let good =
        of(&[part(0, 2 * least, 3 * least), part(2 * least, least, 0), part(9 * least, least, 4 * least)]);
    assert_eq!(check(&good, Some(size)).unwrap(), 6 * least);
    assert!(check(&good, Some(size - 1)).is_err() && check(&good, None).is_err());
    for bad in [
        of(&[part(0, 0, 0)]),
        of(&[part(0, least - 1, 0)]),
        of(&[Part { at: GROUP_LEN - 1, len: least, from: 0 }]),
        of(&[part(0, least + 1, 4 * least)]),
        of(&[part(0, least, u64::MAX)]),
        of(&[part(0, u64::MAX, 1)]),
        of(&[Part { at: u64::MAX, len: least, from: 1 }]),
        of(&[part(9 * least + 1, least, 0)]),
        of(&[part(least, least, 0), part(0, least, 0)]),
        of(&[part(0, least, 0), part(least - 1, least, 0)]),
    ] {
        assert!(check(&bad, Some(size)).is_err(), "{bad:?}");
    }
    let long = Composed { block: Block { len: 1 << 40, ..block.clone() }, parts: vec![part(0, least, 0)] };
    assert!(check(&long, Some(size)).is_err());
    // More or less than what is announced came, or the older version is shorter than it was.
    let read = |_, part: &mut [u8]| Ok(part.len());
    let carried = 6 * usize::try_from(least).unwrap();
    for came in [0, carried - 1, carried + 1] {
        assert!(compose(&good, &vec![1; came], &mut Vec::new(), read).is_err(), "{came}");
    }
    let short = compose(&good, &vec![1; carried], &mut Vec::new(), |_, part| Ok(part.len() - 1));
    assert!(matches!(short, Err(FilesError::OlderChanged)));
}

/// The pieces of the older version that a change of these bytes touches.
fn touched(old: &[u8], from: usize, to: usize) -> usize {
    let mut begin = 0;
    let touched = cuts(old, older(old).average).filter(|len| {
        begin += len;
        begin > from && begin - len < to
    });
    touched.sum()
}

/// Bytes in which there is hardly a place to cut: who cuts otherwise once does so for long.
fn sparse(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    out.chunks_exact_mut(KIB).zip(content(seed, len / 128).chunks_exact(8)).for_each(|(to, from)| {
        to[..8].copy_from_slice(from);
    });
    out
}

#[test]
fn a_change_in_its_place_costs_the_pieces_that_it_touches_and_no_others() {
    for old in [content(7, 4 * 1024 * KIB), sparse(7, 4 * 1024 * KIB)] {
        let (mut new, mut cost) = (old.clone(), 0);
        for (number, from) in (100_000..old.len() - 4 * KIB).step_by(123_457).enumerate() {
            let to = from + 4 * KIB;
            // Bytes whose cuts lie elsewhere, and zeros, which have none.
            let change = if number % 2 == 0 { content(8, 4 * KIB) } else { vec![0; 4 * KIB] };
            new[from..to].copy_from_slice(&change);
            cost += touched(&old, from, to);
        }
        let tail = usize::try_from(MIN_PART).unwrap();
        let changed = sent(&old, &new, 0);
        assert!(changed <= cost + tail, "{changed} bytes instead of {cost}");
    }
}

#[test]
fn what_is_put_in_or_taken_out_costs_the_piece_it_lies_in_and_itself() {
    let old = content(7, 4 * 1024 * KIB);
    let (longest, tail) = (4 * 4 * KIB, usize::try_from(MIN_PART).unwrap());
    let mut new = old.clone();
    for at in (0..30).rev().map(|number| 100_001 + number * 130_003) {
        new.splice(at..at, content(9, 1_001));
    }
    let changed = sent(&old, &new, 0);
    let cost: usize =
        (0..30).map(|number| 100_001 + number * 130_003).map(|at| touched(&old, at, at + 1)).sum();
    assert!(changed <= cost + 30 * 1_001 + tail, "{changed} bytes instead of {cost} and what was put in");
    assert!(cost < 30 * longest);
}

/// Whatever is told of pieces that never are there is tried, and nothing is hashed without end for it.
#[test]
fn what_is_told_of_pieces_that_are_not_there_ends() {
    let new = content(1, 300 * KIB);
    // The first piece is there, and all that follow are not: as short as may be told, and as long.
    let first: Vec<_> = told(&new, 64 * KIB).into_iter().take(1).collect();
    let first = first[0].pieces[..PIECE_LEN].to_vec();
    for len in [MIN_PART, 4 * MIN_AVERAGE] {
        let mut index = Index::new(Older { size: 1 << 40, ..older(&new) }).unwrap();
        let len = u32::try_from(len).unwrap().to_be_bytes();
        let others = [&len[1..], &[7; 7]].concat().repeat(1_000);
        index.hear(&Pieces { first: 0, pieces: [first.clone(), others].concat(), last: Some(true) }).unwrap();
        let mut sparing = Sparing::new(index, 0).unwrap();
        let block = Block { entry: None, offset: 0, len: new.len() as u64, cvs: Vec::new() };
        sparing.take(block, Bytes::copy_from_slice(&new));
        sparing.end();
        let spared = sparing.next_block().unwrap();
        let named: u64 = spared.parts.iter().map(|part| part.len).sum();
        assert_eq!(named, cuts(&new, MIN_AVERAGE).next().unwrap() as u64);
        assert_eq!(spared.rest.len() as u64 + named, new.len() as u64);
    }
}

#[test]
fn pieces_are_told_otherwise_with_another_key() {
    let old = content(1, 256 * KIB);
    let told = |key| {
        let mut telling = Telling::new(&Older { key, ..older(&old) }).unwrap();
        telling.take(&old);
        telling.end();
        telling.next_pieces().unwrap().pieces
    };
    let (one, other) = (told([1; 32]), told([2; 32]));
    for (one, other) in one.chunks(PIECE_LEN).zip(other.chunks(PIECE_LEN)) {
        assert!(one[..3] == other[..3] && one[3..] != other[3..]);
    }
}
