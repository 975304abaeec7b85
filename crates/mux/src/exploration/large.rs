//! Searches that are too large to remember how often each state can be reached: every step in every state, as in the
//! others, but of a state no more is kept than 64 bits. Of 10⁸ states, the chance that any two are taken for one
//! is 3 in 10,000.

use super::world::{Scenario, World};

/// The states that were met, by their fingerprints: open addressing, zero is a free slot.
#[derive(Debug)]
struct Met {
    slots: Vec<u64>,
    len: usize,
}

impl Met {
    fn new() -> Self {
        Self { slots: vec![0; 1 << 16], len: 0 }
    }

    /// Adds one; false if it was there.
    fn add(&mut self, fingerprint: u64) -> bool {
        if self.len * 4 >= self.slots.len() * 3 {
            let larger = vec![0; self.slots.len() * 2];
            for old in std::mem::replace(&mut self.slots, larger).into_iter().filter(|old| *old != 0) {
                let slot = self.slot(old);
                self.slots[slot] = old;
            }
        }
        let fingerprint = fingerprint.max(1);
        let slot = self.slot(fingerprint);
        let is_new = std::mem::replace(&mut self.slots[slot], fingerprint) == 0;
        self.len += usize::from(is_new);
        is_new
    }

    /// Where it is, or belongs.
    fn slot(&self, fingerprint: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = fingerprint as usize & mask;
        while self.slots[slot] != 0 && self.slots[slot] != fingerprint {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// What a search has seen.
#[derive(Debug)]
pub(super) struct Search {
    met: Met,
    pub(super) steps: u64,
    pub(super) ends: u64,
}

impl Search {
    /// Takes every step in every state.
    pub(super) fn all(scenario: &Scenario) -> Self {
        let mut search = Self { met: Met::new(), steps: 0, ends: 0 };
        search.explore(&World::new(scenario));
        search
    }

    pub(super) fn states(&self) -> usize {
        self.met.len
    }

    fn explore(&mut self, world: &World) {
        if !self.met.add(world.fingerprint() as u64) {
            return;
        }
        let mut is_end = true;
        for step in world.steps() {
            let mut next = world.clone();
            if next.take(step) {
                is_end = false;
                self.steps += 1;
                next.check();
                self.explore(&next);
            }
        }
        if is_end {
            self.ends += 1;
            world.clone().settle();
        }
    }
}
