//! The fuzz targets of this crate, replayed over their corpus and over mutations of it at every test run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a corpus that cannot be read is a failed test")]

#[path = "../../../fuzz/bodies/files.rs"]
mod files;
// The bodies live beside the fuzz targets, which are outside the workspace; a path is how both get at one copy.
#[path = "../../../fuzz/bodies/replay.rs"]
#[allow(dead_code, reason = "the vectors' place is for another crate")]
mod replay;

use hikyaku_files::journal::{Contents, Record};
use hikyaku_files::tree::{Tree, group};
use hikyaku_wire::parcel::Root;
use replay::{corpus, replay};

#[test]
fn journals_keep_their_promises() {
    let mut contents = Contents::default();
    let mut journal = contents.append(Record::Begin(b"what is transferred".to_vec()));
    let (root, size) = (Root([7; 32]), 3);
    for record in [Record::Sealing { root, size, inode: 1 }, Record::Settled { root, size }] {
        journal.extend(contents.append(record));
    }
    replay([corpus("journal"), vec![journal]].concat(), files::journal);
}

#[test]
fn saved_trees_keep_their_promises() {
    let mut tree = Tree::new();
    let trees = (0..5).map(|number| {
        tree.push(&group(number * 65_536, &vec![1; 65_536]));
        tree.encode()
    });
    replay([corpus("tree"), trees.collect()].concat(), files::tree);
}

#[test]
fn names_keep_their_promises() {
    replay(corpus("safe_name"), files::name);
}
