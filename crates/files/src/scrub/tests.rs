use hikyaku_wire::bundle::{Enter, FileEnd, FileHead, Leave};

use super::*;
use crate::bundle::Writer;
use crate::vault::read_at;

/// An object in memory, whose bytes can be changed.
struct Held {
    data: Vec<u8>,
    values: Vec<u8>,
}

impl Held {
    fn new(data: &[u8]) -> (Self, Root) {
        let groups = data.chunks(GROUP).enumerate();
        let values = groups.flat_map(|(at, group)| tree::group(at as u64 * GROUP_LEN, group).cv).collect();
        (Self { data: data.to_vec(), values }, Root(*blake3::hash(data).as_bytes()))
    }
}

impl Object for Held {
    fn size(&self) -> u64 {
        self.data.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.data, offset, into))
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.values, offset, into))
    }
}

fn copy(all: &[u8], offset: u64, into: &mut [u8]) -> usize {
    let rest = all.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    count
}

fn content(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

fn pieces(found: &Scrubbed) -> Vec<(Option<&str>, Range<u64>)> {
    found
        .decayed
        .iter()
        .map(|decayed| {
            (decayed.path.as_deref().map(|path| std::str::from_utf8(path).unwrap()), decayed.range.clone())
        })
        .collect()
}

//= S5.70 (test)
#[test]
fn every_bit_that_flips_is_found_in_its_group() {
    for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, 5 * GROUP + 7] {
        let (mut object, root) = Held::new(&content(len));
        assert!(scrub(&object, root, EntryKind::File).unwrap().is_whole(), "{len}");
        for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
            object.data[at] ^= 0x10;
            let found = scrub(&object, root, EntryKind::File).unwrap();
            let begin = (at / GROUP * GROUP) as u64;
            let end = (begin + GROUP_LEN).min(len as u64);
            assert_eq!(pieces(&found), [(None, begin..end)], "byte {at} of {len}");
            assert_eq!((found.decayed_bytes, found.bytes), (end - begin, len as u64));
            object.data[at] ^= 0x10;
        }
    }
}

#[test]
fn neighbours_are_one_piece_and_others_are_their_own() {
    let (mut object, root) = Held::new(&content(6 * GROUP));
    for group in [1, 2, 4] {
        object.data[group * GROUP + 9] ^= 1;
    }
    let found = scrub(&object, root, EntryKind::File).unwrap();
    assert_eq!(pieces(&found), [(None, GROUP_LEN..3 * GROUP_LEN), (None, 4 * GROUP_LEN..5 * GROUP_LEN)]);
}

#[test]
fn values_that_decayed_accuse_no_content() {
    let (mut object, root) = Held::new(&content(4 * GROUP));
    object.values[40] ^= 1;
    let found = scrub(&object, root, EntryKind::File).unwrap();
    assert_eq!((found.values, found.is_whole(), pieces(&found)), (true, false, vec![]));
    // With both, what the values say is all there is to say.
    object.data[3 * GROUP] ^= 1;
    let found = scrub(&object, root, EntryKind::File).unwrap();
    assert!(found.values && found.decayed.iter().any(|decayed| decayed.range.start == 3 * GROUP_LEN));
    object.values.truncate(32);
    assert!(scrub(&object, root, EntryKind::File).unwrap().values);
}

#[test]
fn what_is_shorter_than_its_root_says_is_found() {
    let data = content(3 * GROUP);
    let (mut object, root) = Held::new(&data);
    object.data.truncate(2 * GROUP);
    let found = scrub(&object, root, EntryKind::File).unwrap();
    assert!(!found.is_whole() && !found.decayed.is_empty());
    object.data.clear();
    assert!(!scrub(&object, root, EntryKind::File).unwrap().is_whole());
}

/// Two directories with three files.
fn tree() -> Vec<u8> {
    let mut writer = Writer::default();
    let name = |name: &str| name.as_bytes().to_vec();
    let file = |writer: &mut Writer, called: &str, size: usize| {
        let head =
            FileHead { name: name(called), size: size as u64, meta: None, attributes: None, from: None };
        writer.file(&head);
        for piece in content(size).chunks(GROUP) {
            writer
                .bytes::<()>(piece.len(), |into| {
                    into.copy_from_slice(piece);
                    Ok(true)
                })
                .unwrap();
        }
        writer.end(&FileEnd::default());
    };
    writer.enter(&Enter { name: name("a") });
    file(&mut writer, "one", 100_000);
    file(&mut writer, "two", 300_000);
    writer.leave(&Leave::default());
    file(&mut writer, "z", 1_000);
    writer.written().to_vec()
}

#[test]
fn in_a_tree_the_file_is_named_and_where_in_it() {
    let (mut object, root) = Held::new(&tree());
    assert!(scrub(&object, root, EntryKind::Tree).unwrap().is_whole());
    object.data[250_000] ^= 1;
    let found = scrub(&object, root, EntryKind::Tree).unwrap();
    let [(Some("a/two"), range)] = &pieces(&found)[..] else { panic!("{found:?}") };
    // The file begins a few bytes behind byte 100,000 of the bundle.
    assert!(range.contains(&(250_000 - 100_060)) && range.end - range.start <= GROUP_LEN, "{range:?}");
    // A group in which one file ends and another begins.
    object.data[250_000] ^= 1;
    object.data[90_000] ^= 1;
    let found = scrub(&object, root, EntryKind::Tree).unwrap();
    let named: Vec<_> = pieces(&found).into_iter().map(|(path, _)| path).collect();
    assert_eq!(named, [Some("a/one"), Some("a/two")]);
    // A header: what follows has no name any more.
    object.data[90_000] ^= 1;
    object.data[1] ^= 0x7f;
    object.data[350_000] ^= 1;
    let found = scrub(&object, root, EntryKind::Tree).unwrap();
    assert!(pieces(&found).iter().all(|(path, _)| path.is_none()), "{found:?}");
    assert_eq!(found.decayed.len(), 2);
}

#[test]
fn a_vaults_object_is_scrubbed_where_it_lies() {
    let temp = tempfile::tempdir().unwrap();
    let (object, root) = Held::new(&content(200_000));
    assert!(matches!(open(temp.path(), ObjectId(root.0)), Err(VaultError::Io(_))));
    std::fs::create_dir(temp.path().join("objects")).unwrap();
    assert!(matches!(open(temp.path(), ObjectId(root.0)), Err(VaultError::NotFound)));
    std::fs::write(temp.path().join(format!("objects/{root}")), &object.data).unwrap();
    std::fs::write(temp.path().join(format!("objects/{root}.tree")), &object.values).unwrap();
    let there = open(temp.path(), ObjectId(root.0)).unwrap();
    assert!(scrub(&*there, root, EntryKind::File).unwrap().is_whole());
    let file = std::fs::File::open(temp.path().join(format!("objects/{root}"))).unwrap();
    assert_eq!(read_at(&file, 0, &mut [0; 10]).unwrap(), 10);
}
