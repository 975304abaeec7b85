//! Names as a file system sees them that knows neither case nor how a letter is composed.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use unicode_normalization::UnicodeNormalization;

use crate::error::{FilesError, Result};
use crate::names::SafeName;

/// The most names in the directories that are open at once: what they take is about 32 MiB.
const MAX_FOLDED: usize = 1 << 20;

/// The names so far in each directory that is open, by the hash of their folded form. The hash has a key of its own, so
/// that nobody can make two names meet.
#[derive(Debug)]
pub(crate) struct Folded {
    key: RandomState,
    levels: Vec<HashSet<u64>>,
    count: usize,
}

impl Default for Folded {
    fn default() -> Self {
        Self { key: RandomState::new(), levels: vec![HashSet::new()], count: 0 }
    }
}

impl Folded {
    /// The names of one directory.
    pub(crate) fn of(names: &[SafeName]) -> Result<Self> {
        let mut folded = Self::default();
        names.iter().try_for_each(|name| folded.add(name))?;
        Ok(folded)
    }

    pub(crate) fn enter(&mut self) {
        self.levels.push(HashSet::new());
    }

    pub(crate) fn leave(&mut self) {
        self.count -= self.levels.pop().map_or(0, |level| level.len());
    }

    /// Whether the innermost directory has such a name.
    pub(crate) fn has(&self, name: &SafeName) -> bool {
        self.levels.last().is_some_and(|level| level.contains(&self.hash(name)))
    }

    pub(crate) fn add(&mut self, name: &SafeName) -> Result<()> {
        if self.count == MAX_FOLDED {
            return Err(FilesError::Limit { name: "distinct names", limit: MAX_FOLDED as u64 });
        }
        let hash = self.hash(name);
        if let Some(level) = self.levels.last_mut() {
            self.count += usize::from(level.insert(hash));
        }
        Ok(())
    }

    fn hash(&self, name: &SafeName) -> u64 {
        self.key.hash_one(fold(name.as_bytes()))
    }
}

/// A name without case and composition; of bytes that are no text, the ASCII letters in lower case.
pub(crate) fn fold(name: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(name) else { return name.to_ascii_lowercase() };
    let folded = text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.collect::<String>().nfd().collect::<String>().into_bytes()
}
