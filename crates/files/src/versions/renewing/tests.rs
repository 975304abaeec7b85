use hikyaku_wire::files::{MIN_AVERAGE, Older};

use super::*;
use crate::versions::Telling;

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

fn index(older: &[u8]) -> Index {
    let named = Older { size: older.len() as u64, average: MIN_AVERAGE, key: [9; 32] };
    let (mut index, mut telling) = (Index::new(named).unwrap(), Telling::new(&named).unwrap());
    telling.take(older);
    telling.end();
    while let Some(pieces) = telling.next_pieces() {
        index.hear(&pieces).unwrap();
    }
    index
}

/// The content of a file: bytes, and zeros that no record has.
enum Run {
    Bytes(Vec<u8>),
    Hole(usize),
}

/// Writes them as records would lie, with headers of four bytes, and says what need not be sent, and the stream.
fn compared(older: &[u8], base: u64, runs: &[Run]) -> (Vec<Part>, Vec<u8>) {
    let (mut renewing, mut parts, mut stream) =
        (Renewing::new(index(older), base).unwrap(), VecDeque::new(), Vec::new());
    for run in runs {
        match run {
            Run::Bytes(bytes) => {
                for piece in bytes.chunks(64 * 1024) {
                    stream.extend([0xff; 4]);
                    let at = stream.len() as u64;
                    stream.extend_from_slice(piece);
                    renewing.take(at, piece);
                    renewing.add_to(&mut parts);
                    let known = renewing.known();
                    assert!(
                        known.is_none_or(|known| known >= at.saturating_sub(64 * 1024 + 8 * MIN_AVERAGE))
                    );
                }
            }
            Run::Hole(len) => renewing.zeros(*len as u64),
        }
        renewing.add_to(&mut parts);
    }
    renewing.end();
    renewing.add_to(&mut parts);
    assert_eq!(renewing.known(), None);
    (parts.into(), stream)
}

/// Each part is what it says, in both versions; how many bytes they have.
fn proved(older: &[u8], base: u64, (parts, stream): &(Vec<Part>, Vec<u8>)) -> usize {
    let (mut reached, mut count) = (0, 0);
    for Part { at, len, from } in parts {
        let at_ = |offset: u64| usize::try_from(offset).unwrap();
        assert!(*at >= reached && *len > 0);
        reached = at + len;
        let (here, there) = (at_(*at)..at_(reached), at_(from - base)..at_(from - base + len));
        assert!(stream[here] == older[there], "{at} {len} {from}");
        count += at_(*len);
    }
    count
}

//= S5.109 (test)
#[test]
fn parts_lie_in_records_and_never_in_their_headers() {
    let older = noise(1_000_000, 1);
    let mut newer = older.clone();
    newer[500_000] ^= 1;
    let compared = compared(&older, 1 << 40, &[Run::Bytes(newer)]);
    let records = 1_000_000_usize.div_ceil(65_536);
    // One for each record, and one more where it changed: what was found later goes on where the last part ends.
    assert!((records..=records + 2).contains(&compared.0.len()), "{}", compared.0.len());
    assert!(proved(&older, 1 << 40, &compared) > 1_000_000 - 20_000);
}

//= S5.109 (test)
#[test]
fn a_hole_in_the_middle_is_content_that_is_not_in_the_stream() {
    // Zeros as long as to be counted and not compared, shorter ones, and none that are whole pieces.
    for hole in [65_536, 300_000, 5_000_001, 40_000_000] {
        let (before, behind) = (noise(400_000, 2), noise(400_000, 3));
        let older = [before.clone(), vec![0; hole], behind.clone()].concat();
        let compared = compared(&older, 7, &[Run::Bytes(before), Run::Hole(hole), Run::Bytes(behind)]);
        // A last piece that is too short is told of nobody.
        assert!(proved(&older, 7, &compared) > 800_000 - 2_048, "{hole}");
    }
}

#[test]
fn zeros_that_are_skipped_are_cut_like_those_that_are_not() {
    let older = noise(300_000, 4);
    let (mut skipping, mut plain) =
        (Renewing::new(index(&older), 0).unwrap(), Renewing::new(index(&older), 0).unwrap());
    for renewing in [&mut skipping, &mut plain] {
        renewing.take(0, &older[..100_000]);
    }
    skipping.zeros(9_876_543);
    plain.take_zeros(9_876_543);
    for renewing in [&mut skipping, &mut plain] {
        renewing.take(100_000, &older[100_000..]);
        renewing.end();
    }
    assert_eq!(skipping.matching.decided(), plain.matching.decided());
    assert_eq!(skipping.parts, plain.parts);
}
