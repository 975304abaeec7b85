//! A newer version is sent to somebody who has an older one, by ends that may say anything of either.

use std::sync::OnceLock;

use hikyaku_files::packing::{pack, unpack};
use hikyaku_files::receive::Receiving;
use hikyaku_files::tree::{GROUP, group};
use hikyaku_files::versions::{Index, Spared, Sparing, Telling, average_of, check, compose};
use hikyaku_storage::vault::Mark;
use hikyaku_wire::files::{Block, Composed, MAX_BLOCK_LEN, Older, PIECE_LEN, Part, Pieces};

use crate::input::Input;

/// The longest version.
const LONGEST: usize = 128 * 1024;
/// What pieces are hashed with.
const KEY: [u8; 32] = [5; 32];

/// The content that older versions begin with.
fn content() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let mut content = vec![0; LONGEST];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    })
}

/// Whatever is told of the older version and whichever parts are named, only the newer version's own bytes are taken; and
/// when nobody lies all of them are.
pub fn versions(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        3 => unpacked(&mut input),
        0 => heard(&mut input),
        1 => put_together(&mut input),
        _ => sent(&mut input),
    }
}

/// What comes packed is unpacked to no more than was announced, and what was packed here to what it was.
fn unpacked(input: &mut Input<'_>) {
    let most = input.short() * 16;
    let packed = input.take(usize::MAX);
    let mut into = Vec::new();
    if let Ok(unpacked) = unpack(packed, most, &mut into) {
        assert!(unpacked <= most && into.len() as u64 == most);
    }
    let mut again = Vec::new();
    let len = pack(packed, &mut again);
    let unpacked = unpack(&again[..len], packed.len() as u64, &mut into);
    assert!(unpacked.is_ok_and(|unpacked| unpacked == packed.len() as u64) && into == packed);
}

/// Pieces of all kinds are taken or refused.
fn heard(input: &mut Input<'_>) {
    let average = 1 << (input.below(9) + 12);
    let size = if input.below(2) == 0 { input.long() } else { input.short() * 64 };
    let Ok(mut index) = Index::new(Older { size, average, key: KEY }) else { return };
    let mut known = 0;
    while !input.is_empty() {
        let first = if input.below(8) == 0 { input.long() } else { known };
        let mut pieces = Vec::new();
        for _ in 0..input.below(16) {
            let len = if input.below(8) == 0 { input.long() >> 40 } else { input.short() };
            pieces.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes().into_iter().skip(1));
            pieces.extend([input.byte(); 7]);
        }
        pieces.extend(if input.below(16) == 0 { input.counted() } else { &[] });
        let told = pieces.len() as u64 / PIECE_LEN as u64;
        let pieces = Pieces { first, pieces, last: (input.below(8) == 0).then_some(true) };
        if index.hear(&pieces).is_err() {
            return;
        }
        known += told;
        assert!(first + told == known && index.is_whole() == (pieces.last == Some(true)));
    }
}

/// Parts of all kinds are refused, or come out as as many bytes as the block says.
fn put_together(input: &mut Input<'_>) {
    let number = |input: &mut Input<'_>| if input.below(8) == 0 { input.long() } else { input.short() };
    let (older, offset, len) = (number(input), number(input), number(input));
    let mut parts = Vec::new();
    let mut at = offset;
    for _ in 0..input.below(20) {
        let gap = if input.below(8) == 0 { number(input) } else { input.below(64) };
        at = at.wrapping_add(gap);
        let part = Part { at, len: 2_040 + number(input) % 2_048, from: number(input) };
        at = at.wrapping_add(part.len);
        parts.push(part);
    }
    let composed = Composed { block: Block { entry: None, offset, len, cvs: Vec::new() }, parts };
    assert!(check(&composed, None).is_err(), "none was named");
    let Ok(carried) = check(&composed, Some(older)) else { return };
    assert!(len <= MAX_BLOCK_LEN && carried <= len);
    let came = vec![1; usize::try_from(carried).unwrap_or(usize::MAX).min(LONGEST)];
    let read = |from: u64, part: &mut [u8]| {
        assert!(from + part.len() as u64 <= older, "only what is there is read");
        Ok(part.len())
    };
    let mut into = Vec::new();
    if compose(&composed, &came, &mut into, read).is_ok() {
        assert_eq!(into.len() as u64, len);
    }
    if let Some((_, fewer)) = came.split_last() {
        assert!(compose(&composed, fewer, &mut into, read).is_err());
    }
}

/// The newer version, made out of the older one.
fn edited(input: &mut Input<'_>, older: &[u8]) -> Vec<u8> {
    let mut newer = Vec::new();
    for _ in 0..=input.below(8) {
        let from = usize::try_from(input.short() * 2).unwrap_or(0).min(older.len());
        let rest = &older[from..];
        let len = usize::try_from(input.short() * 2).unwrap_or(0).min(rest.len()).min(LONGEST - newer.len());
        newer.extend_from_slice(&rest[..len]);
        newer.extend_from_slice(input.counted());
        newer.truncate(LONGEST);
    }
    newer
}

/// Who lies, if anybody does, and about what.
#[derive(Clone, Copy)]
struct Liar {
    lie: u64,
    number: u64,
}

impl Liar {
    /// A place among so many.
    fn place(self, len: usize) -> usize {
        usize::try_from(self.number).unwrap_or(0) % len.max(1)
    }
}

/// A newer version is told, sent and received; one end may lie.
fn sent(input: &mut Input<'_>) {
    let size = usize::try_from(input.short() * 2).unwrap_or(0).min(LONGEST);
    let older = &content()[..size];
    let newer = edited(input, older);
    let liar = Liar { lie: input.below(4), number: input.short() };
    let named = Older { size: size as u64, average: average_of(size as u64), key: KEY };
    let Some(index) = told(older, named, liar) else { return };
    let mut sparing = Sparing::new(index, 0).expect("a known average");
    let mut spared = Vec::new();
    for (number, bytes) in newer.chunks(GROUP).enumerate() {
        let offset = (number * GROUP) as u64;
        let block =
            Block { entry: None, offset, len: bytes.len() as u64, cvs: group(offset, bytes).cv.to_vec() };
        sparing.take(block, bytes.to_vec().into());
        spared.extend(std::iter::from_fn(|| sparing.next_block()));
    }
    sparing.end();
    spared.extend(std::iter::from_fn(|| sparing.next_block()));
    received(spared, older, &newer, liar);
}

/// What the sender hears of the older version; `None` where it refuses a lie.
fn told(older: &[u8], named: Older, liar: Liar) -> Option<Index> {
    let mut telling = Telling::new(&named).expect("one of its own");
    telling.take(older);
    telling.end();
    let mut index = Index::new(named).expect("one of its own");
    while let Some(mut pieces) = telling.next_pieces() {
        if liar.lie == 1 && !pieces.pieces.is_empty() {
            let at = liar.place(pieces.pieces.len());
            pieces.pieces[at] ^= 1;
        }
        let heard = index.hear(&pieces);
        assert!(heard.is_ok() || liar.lie == 1, "{heard:?}");
        heard.ok()?;
    }
    assert!(index.is_whole(), "the last pieces say so");
    Some(index)
}

/// What was sent is put together and taken as far as it is the newer version.
fn received(spared: Vec<Spared>, older: &[u8], newer: &[u8], liar: Liar) {
    let (mut receiving, mut whole) = (Receiving::resume(&Mark::default(), None, 1 << 40), Vec::new());
    let mut changed = older.to_vec();
    if liar.lie == 3 {
        changed.iter_mut().for_each(|byte| *byte ^= 1);
    }
    let read = |from: u64, part: &mut [u8]| {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        part.copy_from_slice(&changed[from..from + part.len()]);
        Ok(part.len())
    };
    for Spared { block, mut parts, rest } in spared {
        if liar.lie == 2 && !parts.is_empty() {
            let at = liar.place(parts.len());
            parts[at].from ^= liar.number | 1;
        }
        let (mut bytes, composed) = (Vec::new(), Composed { block, parts });
        let taken = if composed.parts.is_empty() {
            bytes.extend_from_slice(&rest);
            receiving.take(&composed.block, &bytes)
        } else {
            let checked = check(&composed, Some(older.len() as u64));
            checked
                .and_then(|_| compose(&composed, &rest, &mut bytes, read))
                .and_then(|()| receiving.take(&composed.block, &bytes))
        };
        match taken {
            Ok(()) => whole.extend(bytes),
            Err(error) => {
                assert_ne!(liar.lie, 0, "{error}");
                break;
            }
        }
    }
    assert!(newer.starts_with(&whole), "what is taken is the newer version's");
    assert!(liar.lie != 0 || whole.len() == newer.len());
}
