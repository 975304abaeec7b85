//! Of a tree nothing but what is named: what failed before, to be fetched again alone.

use std::collections::BTreeSet;

/// Paths of a tree, from its top. What lies in one of them is meant as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only(BTreeSet<Vec<u8>>);

impl Only {
    /// Nothing but these.
    pub fn of(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// Whether a path is meant: it, or a directory that it lies in.
    pub fn has(&self, path: &[u8]) -> bool {
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        above.chain([path.len()]).any(|end| path.get(..end).is_some_and(|path| self.0.contains(path)))
    }

    /// Whether something that is meant lies in this directory.
    pub fn is_above(&self, path: &[u8]) -> bool {
        let inside = [path, b"/"].concat();
        self.0.range(inside.clone()..).next().is_some_and(|first| first.starts_with(&inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_what_lies_in_it_is_meant_and_the_way_to_it_is_known() {
        let only = Only::of([b"t/a/b".to_vec(), b"t/c".to_vec()]);
        assert!([&b"t/a/b"[..], b"t/a/b/x/y", b"t/c"].iter().all(|path| only.has(path)));
        assert!([&b"t"[..], b"t/a", b"t/a/bb", b"t/a/b!", b"t/d"].iter().all(|path| !only.has(path)));
        assert!([&b"t"[..], b"t/a"].iter().all(|path| only.is_above(path)));
        assert!([&b"t/c"[..], b"t/", b"t/b", b"x"].iter().all(|path| !only.is_above(path)));
    }
}
