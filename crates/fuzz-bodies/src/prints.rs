//! Prints: what lies beside a file may be anybody's, and what is made of bytes does not depend on how they came.

use hikyaku_files::prints::{Print, Prints};
use hikyaku_files::tree::{GROUP, GROUP_LEN, group};

use crate::input::Input;

/// The longest print: its head, 64 parts, and what is left behind them.
const LONGEST: usize = 22 + 65 * 32;

/// A print is read as it was written or not at all; and it is one and the same, and canonical, however the bytes came.
pub fn prints(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => pieces(&mut input),
        1 | 2 => runs(&mut input),
        _ => {
            let bytes = input.take(usize::MAX);
            if let Some(print) = Print::decode(bytes) {
                assert_eq!(print.encode(), bytes);
                // Of as many parts as are made of a file of that size, and no others.
                let size =
                    bytes.get(2..10).and_then(|size| size.try_into().ok()).map_or(0, u64::from_be_bytes);
                let mut prints = Prints::default();
                prints.zeros(size);
                let made = made(prints, size, (0, 0)).encode();
                assert_eq!((made.len(), made.get(..10)), (bytes.len(), bytes.get(..10)));
            }
        }
    }
}

/// What was made here is read again.
fn made(prints: Prints, size: u64, time: (i64, u32)) -> Print {
    let print = prints.finish(size, time);
    let bytes = print.encode();
    assert!(bytes.len() <= LONGEST, "{} bytes of {size}", bytes.len());
    assert_eq!(Print::decode(&bytes).as_ref(), Some(&print));
    print
}

/// A few groups, in pieces and in blocks that end anywhere.
fn pieces(input: &mut Input<'_>) {
    let mut content = Vec::new();
    for _ in 0..input.below(4) {
        let byte = input.byte();
        content.resize(content.len() + GROUP, byte);
    }
    content.resize(content.len() + usize::try_from(input.short()).unwrap_or(0), 1);
    let mut one = || usize::try_from(input.short() * 2).unwrap_or(0) + 4_096;
    let (piece, block) = (one(), one());
    let (mut pieces, mut blocks) = (Prints::default(), Prints::default());
    content.chunks(piece).for_each(|piece| pieces.update(piece));
    for (number, bytes) in content.chunks(block).enumerate() {
        let (begin, end) = (number * block, number * block + bytes.len());
        let groups = (begin / GROUP..end.div_ceil(GROUP)).map(|number| number * GROUP);
        let cvs = groups.map(|at| group(at as u64, &content[at..end.min(at + GROUP)]).cv);
        blocks.block(begin as u64, bytes, &cvs.collect::<Vec<_>>());
    }
    let size = content.len() as u64;
    assert_eq!(made(pieces, size, (1, 2)), made(blocks, size, (1, 2)));
}

/// Content and holes of any length, each hole as a whole and in two; the beginning may not have been seen.
fn runs(input: &mut Input<'_>) {
    let time = (input.long().cast_signed(), u32::try_from(input.short()).unwrap_or(0));
    let unseen = if input.below(4) == 0 { (input.long() >> 11) / GROUP_LEN * GROUP_LEN } else { 0 };
    let (mut whole, mut halves) = (Prints::from(unseen), Prints::from(unseen));
    let mut size = unseen;
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let kind = input.byte();
        if kind == 0 {
            let bytes = [7; 1_024];
            (0..GROUP / bytes.len()).for_each(|_| {
                whole.update(&bytes);
                halves.update(&bytes);
            });
            size += GROUP_LEN;
            continue;
        }
        let groups = if kind < 16 { input.long() >> 27 } else { input.short() };
        let first = input.short().min(groups);
        whole.zeros(groups * GROUP_LEN);
        halves.zeros(first * GROUP_LEN);
        halves.zeros((groups - first) * GROUP_LEN);
        size += groups * GROUP_LEN;
    }
    assert_eq!(made(whole, size, time), made(halves, size, time));
}
