//! Counting bytes against quotas: what is there, what is on its way, and whether more may come.
//!
//! One rule for everything that is stored under a quota: a directory of a server's, a room, a user. Pure: whoever stores
//! asks before it takes bytes, says what became of them, and counts again what is really there when it begins
//! ([`Book::recount`]). A *hold* is what one transfer may still bring: it counts as if it were there, so that two transfers
//! together never exceed what each alone would not. Spec: S5.24.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;

/// What an entry counts at least: an empty file or a directory is not free.
pub const LEAST: u64 = 1024;

/// What an entry of a directory counts: its size as a reader sees it, holes and all, and never less than [`LEAST`].
///
/// Holes count because whoever reads the file has them too, and because a copy may not be able to keep them.
pub fn counted(size: u64) -> u64 {
    size.max(LEAST)
}

/// Somebody whose bytes are counted, and how many there may be; `None` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<A> {
    /// Who.
    pub account: A,
    /// The most bytes.
    pub quota: Option<u64>,
}

/// What is counted of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes that are there.
    pub there: u64,
    /// Bytes that transfers under way may still bring, or have brought and not finished.
    pub held: u64,
}

impl Used {
    /// Both together: what a quota is compared with.
    pub fn all(self) -> u64 {
        self.there.saturating_add(self.held)
    }
}

/// More than an account may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded<A> {
    /// Whose quota.
    pub account: A,
    /// How many bytes there may be.
    pub quota: u64,
    /// How many there are, with those on their way.
    pub used: u64,
    /// How many more were asked for.
    pub needed: u64,
}

impl<A: fmt::Display> fmt::Display for Exceeded<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, quota, used, needed } = self;
        write!(f, "the quota of {account} is {quota} bytes: {used} are used, {needed} more are needed")
    }
}

/// What is counted, for every account. `A` is an account, `T` names a transfer.
#[derive(Debug)]
pub struct Book<A, T> {
    used: BTreeMap<A, Used>,
    holds: HashMap<T, Hold<A>>,
}

#[derive(Clone, Debug)]
struct Hold<A> {
    parties: Vec<Party<A>>,
    bytes: u64,
}

impl<A, T> Default for Book<A, T> {
    fn default() -> Self {
        Self { used: BTreeMap::new(), holds: HashMap::new() }
    }
}

impl<A: Clone + Ord, T: Hash + Eq> Book<A, T> {
    /// Holds bytes for a transfer, for all of its parties or for none. What it held before is let go of: it begins again.
    ///
    /// # Errors
    /// Whose quota would be exceeded. The transfer then holds nothing.
    pub fn hold(&mut self, transfer: T, parties: Vec<Party<A>>, bytes: u64) -> Result<(), Exceeded<A>> {
        self.release(&transfer);
        check(&self.used, &parties, bytes)?;
        self.carry(transfer, parties, bytes);
        Ok(())
    }

    /// Holds bytes that are there already, whatever the quotas say: the remains of a transfer that broke off.
    pub fn carry(&mut self, transfer: T, parties: Vec<Party<A>>, bytes: u64) {
        self.release(&transfer);
        change(&mut self.used, &parties, |used| used.held = used.held.saturating_add(bytes));
        self.holds.insert(transfer, Hold { parties, bytes });
    }

    /// Holds more for a transfer that turns out to be larger. One that holds nothing gets nothing.
    ///
    /// # Errors
    /// Whose quota would be exceeded. What was held stays.
    pub fn grow(&mut self, transfer: &T, more: u64) -> Result<(), Exceeded<A>> {
        let Some(hold) = self.holds.get_mut(transfer) else { return Ok(()) };
        check(&self.used, &hold.parties, more)?;
        change(&mut self.used, &hold.parties, |used| used.held = used.held.saturating_add(more));
        hold.bytes = hold.bytes.saturating_add(more);
        Ok(())
    }

    /// What a transfer holds; `None` when it is not known.
    pub fn held(&self, transfer: &T) -> Option<u64> {
        self.holds.get(transfer).map(|hold| hold.bytes)
    }

    /// A transfer is over and has left so many bytes: they are there, and nothing is held for it.
    pub fn settle(&mut self, transfer: &T, bytes: u64) {
        let Some(hold) = self.holds.remove(transfer) else { return };
        change(&mut self.used, &hold.parties, |used| {
            used.held = used.held.saturating_sub(hold.bytes);
            used.there = used.there.saturating_add(bytes);
        });
    }

    /// A transfer is over and has left nothing.
    pub fn release(&mut self, transfer: &T) {
        self.settle(transfer, 0);
    }

    /// Something that was there is gone, for each of its accounts.
    pub fn remove(&mut self, accounts: &[A], bytes: u64) {
        for account in accounts {
            if let Some(used) = self.used.get_mut(account) {
                used.there = used.there.saturating_sub(bytes);
            }
        }
    }

    /// Takes what was found for what is there. What is held stays.
    pub fn recount(&mut self, found: &BTreeMap<A, u64>) {
        self.used.retain(|_, used| used.held > 0);
        self.used.values_mut().for_each(|used| used.there = 0);
        for (account, bytes) in found {
            self.used.entry(account.clone()).or_default().there = *bytes;
        }
    }

    /// What is counted of an account.
    pub fn used(&self, account: &A) -> Used {
        self.used.get(account).copied().unwrap_or_default()
    }

    /// Every account of which anything is counted.
    pub fn all(&self) -> impl Iterator<Item = (&A, Used)> {
        self.used.iter().map(|(account, used)| (account, *used))
    }
}

/// Whether every party has room for so many more.
fn check<A: Clone + Ord>(
    used: &BTreeMap<A, Used>,
    parties: &[Party<A>],
    needed: u64,
) -> Result<(), Exceeded<A>> {
    for Party { account, quota } in parties {
        let Some(quota) = *quota else { continue };
        let used = used.get(account).copied().unwrap_or_default().all();
        if needed > 0 && used.saturating_add(needed) > quota {
            return Err(Exceeded { account: account.clone(), quota, used, needed });
        }
    }
    Ok(())
}

fn change<A: Clone + Ord>(used: &mut BTreeMap<A, Used>, parties: &[Party<A>], change: impl Fn(&mut Used)) {
    parties.iter().for_each(|party| change(used.entry(party.account.clone()).or_default()));
}

#[cfg(test)]
mod tests;
