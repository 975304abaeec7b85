//! What is told of a tree that was unpacked: the counts, and everything that is not there as it was sent. Spec: S5.51.

use hikyaku_wire::bundle::{Done, Reason};
use hikyaku_wire::files::MissingEntry;

use crate::names::escape;

/// The most things that a report names; the rest is counted.
pub const MAX_REPORTED: usize = 1_000;

/// What was made, and what was not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the bundle counted.
    pub counts: Done,
    /// What is missing or different, by path: the first [`MAX_REPORTED`].
    pub missing: Vec<(Vec<u8>, Missing)>,
    /// How many are missing or different altogether.
    pub missing_count: u64,
    /// How many entries the tree has at its top.
    pub tops: u64,
    /// Of the counts: files that were not carried because they are there, and their bytes.
    pub kept: (u64, u64),
}

/// Why something of a tree is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The sender could not give it.
    #[error("not carried: {}", reason_text(*.0))]
    Source(Reason),
    /// Something else has the name and stays.
    #[error("something of that name exists already and was not replaced")]
    Exists,
    /// Its name and that of an earlier entry are one name there, or would be one elsewhere.
    #[error(
        "its name and another one of its directory differ by case or by composition alone: it was not made"
    )]
    Collides,
    /// The same, and it was made under another name.
    #[error(
        "its name and another one of its directory differ by case or by composition alone: it got another name"
    )]
    Aside,
    /// A link that leads out of the tree.
    #[error("a symbolic link that leads out of the tree was not made")]
    LinkOut,
    /// A second name whose first one is not there.
    #[error("a second name of a file that is missing")]
    LinkTarget,
    /// Attributes that this file system or this user cannot set.
    #[error("made, but not all of its extended attributes could be kept")]
    Attributes,
    /// A record of a kind that this version does not know.
    #[error("an entry of a kind that this version does not know")]
    Unknown,
}

/// Bytes of what is missing that a journal names beside a place in the bundle; the rest is counted.
const REMEMBERED: usize = 4 * 1024;

impl Missing {
    /// What was told in these words, if that is known here.
    fn told(words: &str) -> Option<Self> {
        let reasons = [Reason::CHANGED, Reason::UNREADABLE, Reason::VANISHED, Reason::SPECIAL, Reason::LIMIT];
        let all = [
            Self::Exists,
            Self::Collides,
            Self::Aside,
            Self::LinkOut,
            Self::LinkTarget,
            Self::Attributes,
            Self::Unknown,
        ];
        let sources = reasons.into_iter().map(Self::Source);
        all.into_iter().chain(sources).find(|missing| missing.to_string() == words)
    }
}

//= S5.51
impl Report {
    /// What is remembered of it when the transfer goes on later: as much as has room in a journal.
    pub(crate) fn remembered(&self) -> Option<Vec<MissingEntry>> {
        let mut room = REMEMBERED;
        let entries = self.missing.iter().map(|(path, why)| (path, why.to_string()));
        let fits = entries.take_while(|(path, why)| {
            let needed = path.len() + why.len();
            let is_in = needed <= room;
            room = room.saturating_sub(needed);
            is_in
        });
        let named: Vec<_> = fits.map(|(path, why)| MissingEntry { path: path.clone(), why }).collect();
        Some(named).filter(|named| !named.is_empty())
    }

    /// Takes up what was missing when it stopped: so many things, of which these are named.
    pub(crate) fn recall(&mut self, count: u64, named: &[MissingEntry]) {
        self.missing_count = count;
        let known = |entry: &MissingEntry| Some((entry.path.clone(), Missing::told(&entry.why)?));
        self.missing = named.iter().filter_map(known).collect();
    }

    pub(crate) fn add(&mut self, path: Vec<u8>, why: Missing) {
        tracing::debug!(path = %escape(&path), %why, "not kept");
        self.missing_count += 1;
        if self.missing.len() < MAX_REPORTED {
            self.missing.push((path, why));
        }
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::CHANGED => "it changed while it was being read",
        Reason::UNREADABLE => "it could not be read",
        Reason::VANISHED => "it was gone when it was its turn",
        Reason::SPECIAL => "it is a device, a pipe or a socket",
        Reason::LIMIT => "its name or depth is beyond what is carried",
        _ => "for a reason that this version does not know",
    }
}
