//! What of a tree was made under another name, because its own and an earlier one are the same there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::names::{Dots, SafeName, SafeRelPath};

/// The most entries of a tree that get another name.
const MAX_ASIDES: usize = 16 * 1024;

/// The other names, by the path that the tree has for the entry: hard links name files by those.
#[derive(Debug, Default)]
pub(super) struct Asides {
    key: RandomState,
    names: HashMap<u64, SafeName>,
}

impl Asides {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.names.len() < MAX_ASIDES
    }

    /// The entry at this path has another name.
    pub(super) fn add(&mut self, path: &[u8], name: SafeName) {
        self.names.insert(self.key.hash_one(path), name);
    }

    /// Where something lies that the tree has at `path`.
    pub(super) fn place(&self, path: &SafeRelPath) -> SafeRelPath {
        if self.is_empty() {
            return path.clone();
        }
        let (mut said, mut names) = (Vec::new(), Vec::new());
        for name in path.components() {
            if !said.is_empty() {
                said.push(b'/');
            }
            said.extend_from_slice(name.as_bytes());
            names.push(self.names.get(&self.key.hash_one(&said)).unwrap_or(name).as_bytes());
        }
        // The other names are a little longer: a path that is too long then leads nowhere.
        SafeRelPath::parse(names, Dots::Inside).unwrap_or_else(|_| path.clone())
    }
}
