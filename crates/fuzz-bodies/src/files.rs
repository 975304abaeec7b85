//! What is done with hostile bytes in the crate `hikyaku-files`: names that peers choose, journals that crashes tore.

use hikyaku_files::bundle::{BundleError, Item, MAX_LAST, Reader, last};
use hikyaku_files::journal::Contents;
use hikyaku_files::names::{Dots, SafeName, SafeRelPath};
use hikyaku_files::receive::Receiving;
use hikyaku_files::tree::{GROUP, GROUP_LEN, Tree, group};
use hikyaku_storage::vault::Mark;
use hikyaku_wire::files::{Block, Close};
use hikyaku_wire::parcel::Root;

use crate::input::Input;

/// A journal is read as far as it is whole, and reading what was read gives the same again.
pub fn journal(bytes: &[u8]) {
    let contents = Contents::parse(bytes);
    let end = usize::try_from(contents.end).unwrap_or(usize::MAX);
    let good = bytes.get(..end).expect("no more is good than there is");
    assert_eq!(Contents::parse(good), contents, "a torn tail changes nothing");
}

/// A saved tree is read or refused, and writes itself as it was read.
pub fn tree(bytes: &[u8]) {
    if let Ok(tree) = Tree::decode(bytes) {
        assert_eq!(tree.encode(), bytes);
    }
}

/// A name that is taken is one component: it leads nowhere else.
pub fn name(bytes: &[u8]) {
    for dots in [Dots::Refused, Dots::Allowed] {
        if let Ok(name) = SafeName::parse(bytes, dots) {
            assert_eq!(name.as_bytes(), bytes);
            assert!(!bytes.contains(&b'/') && !bytes.contains(&0) && bytes != b"." && bytes != b"..");
            assert!(!bytes.is_empty() && bytes.len() <= 255);
        }
        let components = bytes.split(|byte| *byte == b'/');
        if let Ok(path) = SafeRelPath::parse(components, dots) {
            assert!(path.components().iter().all(|name| !matches!(name.as_bytes(), b"" | b"." | b"..")));
        }
    }
}

/// A bundle says the same whole and in pieces, also to a reader that goes on elsewhere after each of them. The first byte
/// says how it is cut, the second whether names at the top may begin with a dot.
pub fn bundle(data: &[u8]) {
    let Some(([cut, dots], stream)) = data.split_first_chunk::<2>() else { return };
    let top = if dots & 1 == 0 { Dots::Refused } else { Dots::Allowed };
    // What it says at its end, to who reads no more.
    let _ = last(stream.get(stream.len().saturating_sub(MAX_LAST)..).unwrap_or_default());
    let whole = items(stream, usize::MAX, top);
    assert_eq!(items(stream, usize::from(*cut) + 1, top), whole);
}

/// The hash of all items, the content apart, and how it ended.
fn items(stream: &[u8], cut: usize, top: Dots) -> ([blake3::Hash; 2], Result<bool, BundleError>) {
    let mut reader = Reader::new(top);
    let (mut said, mut content) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut entries = 0;
    for mut input in stream.chunks(cut) {
        loop {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Bytes(bytes))) => drop(content.update(bytes)),
                Ok(Some(item)) => {
                    entries += u64::from(!matches!(item, Item::Done(_) | Item::Leave(_)));
                    if let Item::Done(done) = &item {
                        assert!(done.entries <= entries, "{done:?} after {entries} items");
                    }
                    said.update(format!("{item:?}").as_bytes());
                }
                Err(error) => return ([said.finalize(), content.finalize()], Err(error)),
            }
        }
        assert!(input.is_empty());
        if let Some(position) = reader.position()
            && !reader.is_done()
        {
            reader = Reader::resume(top, position.clone());
        }
    }
    ([said.finalize(), content.finalize()], Ok(reader.is_done()))
}

/// What the file in [`receiving`] contains at an offset: each 64 KiB begin with their number.
fn content(offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![7; usize::try_from(length).unwrap_or(0)];
    let first = offset.next_multiple_of(GROUP_LEN);
    for start in (first..offset + length).step_by(GROUP) {
        let at = usize::try_from(start - offset).unwrap_or(usize::MAX);
        bytes[at] = (start >> 16).to_le_bytes()[0];
    }
    bytes
}

/// A file arrives in blocks that say anything of themselves. Nothing counts that is not the file's, and only the whole
/// of it is published.
pub fn receiving(data: &[u8]) {
    let mut input = Input::new(data);
    let size = match input.below(3) {
        0 => None,
        1 => Some(input.short() * 8),
        _ => Some(input.long()),
    };
    let max_size = if input.below(8) == 0 { input.long() } else { 4 * GROUP_LEN };
    let mark = match input.below(4) {
        0 => Mark { verified: input.long(), state: input.counted().to_vec() },
        _ => Mark::default(),
    };
    let mut receiving = Receiving::resume(&mark, size, max_size);
    let begun = receiving.offset();
    assert!(begun == 0 || begun == mark.verified && size.is_none_or(|size| begun <= size));
    for _ in 0..8 {
        let before = receiving.offset();
        if input.is_empty() || before - begun > 4 * GROUP_LEN {
            break;
        }
        let block = block(&mut input, before);
        let bytes = if makeable(&block) { content(block.offset, block.len) } else { Vec::new() };
        let taken = receiving.take(&block, &bytes);
        let after = receiving.offset();
        assert!(after >= before && after - before <= block.len);
        match taken {
            Ok(()) => assert_eq!(after - before, block.len),
            Err(_) => assert!(after - before < block.len.max(1)),
        }
        assert!(after == begun || after <= max_size && size.is_none_or(|size| after <= size));
    }
    let end = receiving.offset();
    let root = if begun == 0 { *blake3::hash(&content(0, end)).as_bytes() } else { [9; 32] };
    for (size, root) in [(end, root), (end, [0; 32]), (end.wrapping_add(1), root)] {
        let whole = receiving.clone().close(&Close { entry: None, size, root: Root(root) });
        if let Ok((found, length)) = whole {
            assert_eq!((found, length, size), (Root(root), end, end), "only the whole is published");
        }
    }
}

/// Whether the block's bytes can be made here.
fn makeable(block: &Block) -> bool {
    block.len <= 2 * GROUP_LEN && block.offset < u64::MAX / 2
}

fn block(input: &mut Input<'_>, at: u64) -> Block {
    let offset = if input.below(8) == 0 { input.long() } else { at };
    let len = match input.below(6) {
        0 => input.long(),
        1 => input.short(),
        2 => 2 * GROUP_LEN,
        _ => GROUP_LEN,
    };
    let mut cvs = Vec::new();
    if len <= 2 * GROUP_LEN && offset < u64::MAX / 2 {
        // From the beginning of the group on that it begins in.
        let begin = offset - offset % GROUP_LEN;
        let bytes = content(begin, offset - begin + len);
        for (number, bytes) in (0u64..).zip(bytes.chunks(GROUP)) {
            cvs.extend(group(begin + number * GROUP_LEN, bytes).cv);
        }
    }
    if input.below(6) == 0 {
        cvs.extend(input.counted());
    }
    if input.below(6) == 0 && !cvs.is_empty() {
        let at = usize::from(input.byte()) % cvs.len();
        cvs[at] ^= 1;
    }
    Block { entry: (input.below(16) == 15).then_some(0), offset, len, cvs }
}
