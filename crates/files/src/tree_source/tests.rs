//! Going on from every offset.

use std::fs;

use hikyaku_wire::files::{GROUP_LEN, PutOptions, Target};

use super::{Milestones, OutgoingTree, ReadingTree};
use crate::error::FilesError;
use crate::progress::Progress;
use crate::reader::{Blocks, Said};
use crate::tree::{self, Tree};
use crate::walk::WalkOptions;

fn all(mut reading: ReadingTree) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(Said::Block(_, bytes)) = reading.next(&Progress::none()).unwrap() {
        out.extend_from_slice(&bytes);
    }
    out
}

/// A tree with files of many sizes, holes, links and several names, of about 6 MiB.
fn plant(at: &std::path::Path) {
    for row in 0..12 {
        let row_at = at.join(format!("r{row:02}/inner"));
        fs::create_dir_all(&row_at).unwrap();
        for file in 0..10 {
            let data: Vec<u8> = (0..row * 9_000 + file * 1_111).map(|index| (index % 251) as u8).collect();
            fs::write(row_at.join(format!("f{file}")), data).unwrap();
        }
        let sparse = fs::File::create(row_at.join("sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 1 << 20).unwrap();
        fs::hard_link(at.join("r00/inner/f9"), row_at.join("same")).unwrap();
        std::os::unix::fs::symlink("f1", row_at.join("link")).unwrap();
    }
}

fn outgoing(at: &std::path::Path) -> OutgoingTree {
    let (paths, target) = ([at.to_owned()], Target::Drop(Vec::new()));
    OutgoingTree::new(&paths, None, target, PutOptions::default(), WalkOptions::default()).unwrap()
}

//= S5.10 (test)
#[test]
fn a_tree_is_read_on_from_every_group_in_another_process() {
    let temp = tempfile::tempdir().unwrap();
    plant(&temp.path().join("t"));
    let outgoing = outgoing(&temp.path().join("t"));
    outgoing.known().milestones = Milestones { stride: 512 * 1024, passed: Vec::new() };
    let whole = all(outgoing.read_from(0, None).unwrap());
    let milestones = outgoing.known().milestones.passed.len();
    assert!(milestones >= 5, "{milestones} milestones in {} bytes", whole.len());
    let mut tree = Tree::new();
    for (index, group) in whole.chunks(GROUP_LEN as usize).enumerate() {
        let from = index as u64 * GROUP_LEN;
        let prefix = (from > 0).then(|| tree.root().unwrap());
        let other = OutgoingTree::decode(&outgoing.encode(), WalkOptions::default()).unwrap();
        let rest = all(other.read_from(from, prefix).unwrap());
        assert!(rest == whole[index * GROUP_LEN as usize..], "from {from}");
        tree.push(&tree::group(from, group));
    }
}

//= S5.16 (test)
#[test]
fn a_tree_that_changed_in_what_was_sent_is_not_gone_on_with() {
    let temp = tempfile::tempdir().unwrap();
    plant(&temp.path().join("t"));
    let outgoing = outgoing(&temp.path().join("t"));
    let whole = all(outgoing.read_from(0, None).unwrap());
    let from = 10 * GROUP_LEN;
    let mut tree = Tree::new();
    whole[..from as usize].chunks(GROUP_LEN as usize).enumerate().for_each(|(index, group)| {
        tree.push(&tree::group(index as u64 * GROUP_LEN, group));
    });
    assert!(outgoing.read_from(from, tree.root()).is_ok());
    fs::write(temp.path().join("t/r00/inner/f0"), b"longer than it was").unwrap();
    assert!(matches!(outgoing.read_from(from, tree.root()), Err(FilesError::SourceChanged(_))));
}
