//! How many bytes all objects have. Pure: whoever changes an object says how long it was and is.

use std::collections::BTreeMap;

use hikyaku_wire::parcel::Root;

/// The count.
#[derive(Debug, Default)]
pub(super) struct Stored {
    bytes: u64,
    /// What objects count that are being mended: their length changes at any moment, and they may go or be replaced.
    lent: BTreeMap<Root, u64>,
}

impl Stored {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, lent: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An object had so many bytes and has so many now. Of one that is lent it is known what it had.
    pub(super) fn recount(&mut self, root: Root, before: u64, now: u64) {
        let before = self.lent.get_mut(&root).map_or(before, |counted| std::mem::replace(counted, now));
        self.bytes = self.bytes.saturating_sub(before) + now;
    }

    /// Lends an object, which counts so many bytes, to who mends it; false when somebody has it.
    pub(super) fn lend(&mut self, root: Root, counted: u64) -> bool {
        let is_free = !self.lent.contains_key(&root);
        if is_free {
            self.lent.insert(root, counted);
        }
        is_free
    }

    pub(super) fn is_lent(&self, root: Root) -> bool {
        self.lent.contains_key(&root)
    }

    /// Nobody mends it any more.
    pub(super) fn take_back(&mut self, root: Root) {
        self.lent.remove(&root);
    }
}
