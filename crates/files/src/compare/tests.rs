//! Every kind of difference is found, in its file and at its place.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::sync::Arc;

use hikyaku_wire::parcel::TransferId;

use super::*;
use crate::walk::{Walk, WalkOptions};

fn head(kind: EntryKind, size: u64) -> Head {
    let (transfer, root, meta) = (TransferId([1; 16]), None, None);
    Head { transfer, name: b"t".to_vec(), kind, size: Some(size), root, meta, arrival: None, before: None }
}

fn tree(at: &Path) {
    fs::create_dir_all(at.join("deep/empty")).unwrap();
    fs::write(at.join("small"), b"three words here").unwrap();
    fs::write(at.join("big"), vec![7; 300_000]).unwrap();
    let holes = File::create(at.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    holes.write_all_at(b"island", 500_000).unwrap();
    symlink("small", at.join("deep/link")).unwrap();
    fs::hard_link(at.join("small"), at.join("twin")).unwrap();
}

fn bundle(at: &Path) -> Vec<u8> {
    let mut walk = Walk::new(Arc::from([(b"t".to_vec(), at.to_owned())]), WalkOptions::default());
    while !walk.is_finished() {
        walk.step().unwrap();
    }
    walk.written().to_vec()
}

/// What differs between the tree and itself after a change, the bundle given in pieces.
fn after(change: impl FnOnce(&Path)) -> Vec<String> {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().join("t");
    tree(&at);
    let bytes = bundle(&at);
    change(&at);
    let (mut comparer, head) = (Comparer::new(temp.path()), head(EntryKind::Tree, bytes.len() as u64));
    bytes.chunks(50_001).for_each(|piece| comparer.take(&head, piece).unwrap());
    let comparison = comparer.finish(&head).unwrap();
    assert_eq!(comparison.damaged + comparison.touched, comparison.differences.len() as u64);
    assert_eq!(comparison.entries, 8);
    let said =
        comparison.differences.iter().map(|(path, what)| format!("{} {what}", String::from_utf8_lossy(path)));
    said.filter(|line| !line.ends_with("time of modification")).collect()
}

#[test]
fn a_tree_is_as_it_was() {
    assert_eq!(after(|_| {}), [""; 0]);
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    let flip = |file: &'static str, at: u64| {
        move |tree: &Path| {
            let file = fs::OpenOptions::new().write(true).open(tree.join(file)).unwrap();
            file.write_all_at(&[6], at).unwrap();
        }
    };
    for at in [0, 65_535, 65_536, 200_000, 299_999] {
        assert_eq!(after(flip("big", at)), [format!("t/big bytes {at} to {at} differ")]);
    }
    assert_eq!(after(flip("holes", 900_000)), ["t/holes bytes 900000 to 900000 differ"]);
    assert_eq!(after(flip("holes", 500_001)), ["t/holes bytes 500001 to 500001 differ"]);
    let near = after(|tree| {
        flip("big", 70_010)(tree);
        flip("big", 70_500)(tree);
        flip("big", 140_000)(tree);
    });
    assert_eq!(near, ["t/big bytes 70010 to 70500 differ", "t/big bytes 140000 to 140000 differ"]);
    let both = after(|tree| {
        flip("big", 10)(tree);
        flip("big", 250_000)(tree);
    });
    assert_eq!(both, ["t/big bytes 10 to 10 differ", "t/big bytes 250000 to 250000 differ"]);
}

#[test]
fn what_is_missing_or_something_else_is_told_once() {
    assert_eq!(after(|tree| fs::remove_file(tree.join("big")).unwrap()), ["t/big missing"]);
    assert_eq!(
        after(|tree| fs::File::options()
            .write(true)
            .open(tree.join("big"))
            .unwrap()
            .set_len(299_000)
            .unwrap()),
        ["t/big 299000 bytes instead of 300000"]
    );
    let gone = after(|tree| fs::remove_dir_all(tree.join("deep")).unwrap());
    assert_eq!(gone.first().map(String::as_str), Some("t/deep missing"));
    let link = after(|tree| {
        fs::remove_file(tree.join("deep/link")).unwrap();
        symlink("big", tree.join("deep/link")).unwrap();
    });
    assert_eq!(link, ["t/deep/link the link leads elsewhere"]);
    let kind = after(|tree| {
        fs::remove_file(tree.join("big")).unwrap();
        symlink("small", tree.join("big")).unwrap();
    });
    assert_eq!(kind, ["t/big another kind of thing"], "a link is not followed");
}

#[test]
fn modes_are_no_damage() {
    let said =
        after(|tree| fs::set_permissions(tree.join("big"), fs::Permissions::from_mode(0o600)).unwrap());
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("t/big mode 600 instead of 6"), "{said:?}");
    assert!(Difference::Mode { wanted: 0, found: 1 }.is_metadata());
}

#[test]
fn a_file_alone_is_compared_under_its_name_or_under_its_path() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("t"), vec![1; 100_000]).unwrap();
    let mut wanted = vec![1; 100_000];
    wanted[70_000] = 9;
    for at in [temp.path().to_owned(), temp.path().join("t")] {
        let (mut comparer, head) = (Comparer::new(&at), head(EntryKind::File, 100_000));
        wanted.chunks(65_536).for_each(|piece| comparer.take(&head, piece).unwrap());
        let comparison = comparer.finish(&head).unwrap();
        assert_eq!(comparison.differences, [(b"t".to_vec(), Difference::Bytes(70_000..70_001))]);
    }
}
