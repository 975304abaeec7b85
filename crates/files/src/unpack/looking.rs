//! Looking without touching: what would become of a tree or a file in a directory.

use std::path::Path;

use hikyaku_storage::vault::VaultError;
use hikyaku_wire::files::{Head, List, PutOptions, Synced, Verdict, Wants};

use super::{Report, Sifter, UnpackOptions, vault};
use crate::error::Result;
use crate::jail::{Dir, Found};
use crate::names::{Dots, SafeName};
use crate::policy::{Policy, has_root, verdict};
use crate::sift::Item;

/// A directory that is only looked at.
pub(crate) struct Looking {
    there: Option<Dir>,
    policy: Policy,
    dots: Dots,
    sifter: Sifter,
}

impl Looking {
    pub(crate) fn new(directory: &Path, options: PutOptions, dots: Dots) -> Result<Self> {
        Self::below(Some(Dir::open(directory).map_err(VaultError::Io)?), options, dots)
    }

    /// Looks at a held directory, or at one that is not there.
    pub(crate) fn below(there: Option<Dir>, options: PutOptions, dots: Dots) -> Result<Self> {
        let policy = Policy::of(&options);
        let (all_links, synced) = (options.all_links.unwrap_or(false), Synced::None);
        let (distinct, aside) = (policy.distinct, policy.aside);
        let unpack = UnpackOptions { dots, all_links, synced, distinct, aside, prints: false };
        let twin = there.as_ref().map(Dir::try_clone).transpose().map_err(vault)?;
        let sifter = Sifter::new(twin, None, None, policy, &unpack)?;
        Ok(Self { there, policy, dots, sifter })
    }

    /// Answers a part of a listing.
    //= S5.66
    pub(crate) fn answer(&mut self, list: List) -> Result<Option<Wants>> {
        let wants = self.sifter.answer(list, &mut Report::default(), None)?;
        self.sifter.forget();
        Ok(wants)
    }

    /// What would become of each file of a part of a listing.
    pub(crate) fn items(&mut self, list: List) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        self.sifter.answer(list, &mut Report::default(), Some(&mut items))?;
        self.sifter.forget();
        Ok(items)
    }

    /// What would become of one file.
    pub(crate) fn file(&self, name: &[u8], head: &Head) -> Result<Item> {
        let safe = SafeName::parse(name, self.dots)?;
        let found = self.there.as_ref().map(|there| there.find(&safe)).transpose().map_err(vault)?;
        let (meta, size) = (head.meta.unwrap_or_default(), head.size.unwrap_or(0));
        let has_root = |root| {
            let is_there = self.there.as_ref().is_some_and(|there| has_root(there, &safe, root));
            self.policy.checksum && is_there
        };
        let verdict = match found.flatten() {
            Some(_) if head.root.is_some_and(has_root) => Verdict::SAME,
            Some(theirs) => verdict(Found::listed(size, &meta), theirs, self.policy),
            None => Verdict::NEW,
        };
        Ok(Item { path: name.to_vec(), size, verdict })
    }
}
