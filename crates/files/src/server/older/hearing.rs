//! Who may be told of older versions: so many at once and each user once; and of files in the drop directory nobody who
//! guesses too often what is in them.
//!
//! A block that is put together from a file's parts and comes out as its sender said tells the sender what those parts are.
//! Who means well is wrong only where a file changes while it is replaced; who guesses is wrong nearly always. So each
//! user may be wrong so often in a day, and what is under way counts as if it were. Spec: S5.106.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rooms::Owner;

/// How often a user may be wrong, with what is under way.
const GUESSES: usize = 8;
/// How long that counts, from the first on.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The places and the guesses of all users. Clones share them.
#[derive(Clone, Debug)]
pub(in crate::server) struct Hearing(Arc<Mutex<Heard>>);

#[derive(Debug)]
struct Heard {
    max_places: usize,
    places: BTreeSet<Owner>,
    guesses: BTreeMap<Owner, Guesses>,
}

/// What a user was told of in the drop directory. Kept while something is open or wrong.
#[derive(Clone, Copy, Debug)]
struct Guesses {
    open: usize,
    wrong: usize,
    since: Instant,
}

/// A user is told of an older version for as long as this lives.
#[derive(Debug)]
pub(in crate::server) struct Place(Hearing, Owner);

/// A user may say what a file has for as long as this lives.
#[derive(Debug)]
pub(in crate::server) struct Guess(Hearing, Owner);

impl Hearing {
    /// With so many places.
    pub(in crate::server) fn new(max_places: usize) -> Self {
        let (places, guesses) = (BTreeSet::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(Heard { max_places, places, guesses })))
    }

    /// A place for a user who has none, if there is one.
    pub(in crate::server) fn place(&self, owner: Owner) -> Option<Place> {
        let mut heard = self.lock();
        let is_free = heard.places.len() < heard.max_places && heard.places.insert(owner);
        is_free.then(|| Place(self.clone(), owner))
    }

    /// Whether a user may be told of a file in the drop directory.
    //= S5.106
    pub(in crate::server) fn guess(&self, owner: Owner, now: Instant) -> Option<Guess> {
        let mut heard = self.lock();
        heard.guesses.retain(|_, guesses| guesses.is_needed(now));
        let guesses = heard.guesses.entry(owner).or_insert(Guesses { open: 0, wrong: 0, since: now });
        let is_allowed = guesses.open + guesses.wrong < GUESSES;
        guesses.open += usize::from(is_allowed);
        is_allowed.then(|| Guess(self.clone(), owner))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has a place.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.lock().places.is_empty()
    }
}

impl Guesses {
    /// Forgets what is long ago; whether anything is left.
    fn is_needed(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= REMEMBERED {
            self.wrong = 0;
        }
        self.open + self.wrong > 0
    }
}

impl Guess {
    /// What was said of the file was not so.
    pub(in crate::server) fn was_wrong(self, now: Instant) {
        if let Some(guesses) = self.0.lock().guesses.get_mut(&self.1) {
            if guesses.wrong == 0 {
                guesses.since = now;
            }
            guesses.wrong += 1;
        }
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        if let Some(guesses) = self.0.lock().guesses.get_mut(&self.1) {
            guesses.open = guesses.open.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().places.remove(&self.1);
    }
}
