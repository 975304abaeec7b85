//! The tree hash: BLAKE3 cut into groups of 64 KiB, computed while the bytes move.
//!
//! Each group has a chaining value; the values merge to the root, which equals `blake3::hash` of the whole
//! file. A [`Tree`] holds about log₂(groups) values whatever the size of the file, can be written into a
//! journal after any whole group, and goes on from there without reading anything again. Spec: S5.1, S5.2.

use blake3::Hasher;
use blake3::hazmat::{self, HasherExt, Mode};
use hikyaku_wire::parcel::Root;

/// The bytes of one group.
pub const GROUP: usize = 64 * 1024;

/// [`GROUP`] as a file offset.
pub const GROUP_LEN: u64 = hikyaku_wire::files::GROUP_LEN;

/// The most values a [`Tree`] ever holds: a file of 2^62 bytes has 2^46 groups.
const MAX_STACK: usize = 48;

/// The chaining value of a group or of a whole subtree.
pub type Cv = [u8; 32];

/// One hashed group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its chaining value, as it is sent and stored.
    pub cv: Cv,
    /// The hash it has when it is the whole file; only the first group has one.
    whole: Option<Root>,
}

/// Hashes the group that begins at `offset` (a multiple of [`GROUP_LEN`]); `bytes` is 1 to [`GROUP`] long.
///
/// # Panics
/// If `bytes` is empty or the offset is not a multiple: the callers cut the groups themselves.
//= S5.1
pub fn group(offset: u64, bytes: &[u8]) -> Group {
    assert!(!bytes.is_empty() && bytes.len() <= GROUP, "a group has 1 to {GROUP} bytes");
    assert!(offset.is_multiple_of(GROUP_LEN), "a group begins at a multiple of {GROUP_LEN}");
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes);
    let whole = (offset == 0).then(|| Root(*hasher.finalize().as_bytes()));
    Group { cv: hasher.finalize_non_root(), whole }
}

/// A group whose bytes come piece by piece.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    hasher: Hasher,
    offset: u64,
    len: usize,
}

impl Filling {
    /// The group that begins at `offset` (a multiple of [`GROUP_LEN`]), empty.
    pub(crate) fn new(offset: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(offset);
        Self { hasher, offset, len: 0 }
    }

    /// The same for another group, as long as it is empty.
    pub(crate) fn move_to(&mut self, offset: u64) {
        self.hasher.set_input_offset(offset);
        self.offset = offset;
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many it may still take.
    pub(crate) fn room(&self) -> usize {
        GROUP - self.len
    }

    /// Takes the next bytes: no more than there is room for.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room(), "a group has no more than {GROUP} bytes");
        self.hasher.update(bytes);
        self.len += bytes.len();
    }

    /// What it is so far; `None` while it is empty.
    pub(crate) fn group(&self) -> Option<Group> {
        let whole = (self.offset == 0).then(|| Root(*self.hasher.finalize().as_bytes()));
        (self.len > 0).then(|| Group { cv: self.hasher.finalize_non_root(), whole })
    }
}

/// The root of a file, read in pieces of `piece` bytes.
pub(crate) fn hash_file(file: &std::fs::File, piece: usize) -> std::io::Result<Root> {
    let (mut hasher, mut offset, mut buffer) = (Hasher::new(), 0, vec![0; piece]);
    loop {
        let read = crate::vault::read_at(file, offset, &mut buffer).map_err(std::io::Error::other)?;
        hasher.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
        if read < piece {
            return Ok(Root(*hasher.finalize().as_bytes()));
        }
    }
}

/// Whether the chaining values in a file prove a root: as many as `size` bytes have groups, merging to it.
///
/// The value of a single group proves nothing: false.
pub(crate) fn proves(values: &std::fs::File, size: u64, root: Root) -> std::io::Result<bool> {
    let (mut tree, mut offset, mut buffer) = (Tree::new(), 0, [0; GROUP]);
    loop {
        let read = crate::vault::read_at(values, offset, &mut buffer).map_err(std::io::Error::other)?;
        let (cvs, rest) = buffer.get(..read).unwrap_or_default().as_chunks::<32>();
        cvs.iter().for_each(|cv| tree.push_cv(*cv));
        offset += read as u64;
        if read < buffer.len() {
            let is_whole = rest.is_empty() && tree.groups() > 1 && tree.groups() == size.div_ceil(GROUP_LEN);
            return Ok(is_whole && tree.root() == Some(root));
        }
    }
}

impl Group {
    /// The hash it has when it is the whole file.
    pub(crate) fn whole(&self) -> Option<Root> {
        self.whole
    }
}

/// Why the bytes of a journal are not a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a saved tree of {groups} groups does not have this form")]
pub struct BadTree {
    groups: u64,
}

/// The hash of everything pushed so far.
///
/// The stack is merged one group late (as BLAKE3 itself does), because the last merge of all is the root's
/// and must be done differently from every other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    groups: u64,
    whole: Option<Root>,
    stack: Vec<Cv>,
}

impl Tree {
    /// The tree of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many groups were pushed.
    pub fn groups(&self) -> u64 {
        self.groups
    }

    /// Appends the next group. The caller pushes only whole groups but for the last.
    pub fn push(&mut self, group: &Group) {
        self.settle();
        if self.groups == 0 {
            self.whole = group.whole;
        }
        self.stack.push(group.cv);
        self.groups += 1;
    }

    /// Appends the next group by its chaining value alone, as an outboard gives it.
    ///
    /// The root of a single group cannot be computed from this; see [`Tree::root`].
    pub fn push_cv(&mut self, cv: Cv) {
        self.push(&Group { cv, whole: None });
    }

    /// The BLAKE3 hash of the bytes pushed so far.
    ///
    /// `None` in one case: there is one group and it was pushed by its chaining value alone.
    //= S5.2
    pub fn root(&self) -> Option<Root> {
        if self.groups == 0 {
            return Some(Root(*blake3::hash(b"").as_bytes()));
        }
        if self.groups == 1 {
            return self.whole;
        }
        let mut values = self.stack.iter().rev();
        let mut right = *values.next()?;
        let mut left = *values.next()?;
        for next in values {
            right = hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash);
            left = *next;
        }
        Some(Root(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
    }

    /// The chaining values that everything so far has been merged to: what proves the bytes that follow.
    //= S5.87
    pub(crate) fn values(&self) -> Vec<u8> {
        self.stack.concat()
    }

    /// A tree of so many groups, known by its values alone.
    //= S5.87
    pub(crate) fn of_values(groups: u64, values: &[u8]) -> Result<Self, BadTree> {
        let (stack, tail) = values.as_chunks::<32>();
        if !tail.is_empty() || stack.len() > MAX_STACK || stack.len() != stack_len(groups) {
            return Err(BadTree { groups });
        }
        Ok(Self { groups, whole: None, stack: stack.to_vec() })
    }

    /// The tree as bytes for a journal.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 32 * (self.stack.len() + 1));
        out.extend(self.groups.to_be_bytes());
        if self.groups > 0 {
            out.extend(self.whole.unwrap_or(Root([0; 32])).0);
        }
        self.stack.iter().for_each(|cv| out.extend(cv));
        out
    }

    /// Reads what [`Tree::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadTree> {
        let Some((groups, rest)) = bytes.split_first_chunk::<8>() else { return Err(BadTree { groups: 0 }) };
        let groups = u64::from_be_bytes(*groups);
        let bad = BadTree { groups };
        if groups == 0 {
            return if rest.is_empty() { Ok(Self::new()) } else { Err(bad) };
        }
        let Some((whole, rest)) = rest.split_first_chunk::<32>() else { return Err(bad) };
        let (stack, tail) = rest.as_chunks::<32>();
        if !tail.is_empty() || stack.len() > MAX_STACK || stack.len() != stack_len(groups) {
            return Err(bad);
        }
        Ok(Self { groups, whole: Some(Root(*whole)).filter(|root| root.0 != [0; 32]), stack: stack.to_vec() })
    }

    /// Merges every subtree that the coming group proves complete.
    fn settle(&mut self) {
        while self.stack.len() > self.groups.count_ones() as usize {
            let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) else { return };
            self.stack.push(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

/// How many values the stack holds after `groups` pushes: those of all but the last, merged, and the last.
fn stack_len(groups: u64) -> usize {
    match groups {
        0 => 0,
        n => (n - 1).count_ones() as usize + 1,
    }
}

#[cfg(test)]
mod tests;
