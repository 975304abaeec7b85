//! What is done with hostile bytes in the crate `hikyaku-files`: names that peers choose, journals that crashes tore.

use hikyaku_files::journal::Contents;
use hikyaku_files::names::{Dots, SafeName, SafeRelPath};
use hikyaku_files::tree::Tree;

/// A journal is read as far as it is whole, and reading what was read gives the same again.
pub(crate) fn journal(bytes: &[u8]) {
    let contents = Contents::parse(bytes);
    let end = usize::try_from(contents.end).unwrap_or(usize::MAX);
    let good = bytes.get(..end).expect("no more is good than there is");
    assert_eq!(Contents::parse(good), contents, "a torn tail changes nothing");
}

/// A saved tree is read or refused, and writes itself as it was read.
pub(crate) fn tree(bytes: &[u8]) {
    if let Ok(tree) = Tree::decode(bytes) {
        assert_eq!(tree.encode(), bytes);
    }
}

/// A name that is taken is one component: it leads nowhere else.
pub(crate) fn name(bytes: &[u8]) {
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
