//! One directory of a listing: what is there, what an earlier attempt made in it, and what of that was not listed again.

use super::vault;
use crate::error::Result;
use crate::folded::Folded;
use crate::jail::{Dir, Found};
use crate::names::SafeName;

/// A directory of the listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) name: Option<SafeName>,
    pub(super) last: Option<SafeName>,
    /// The same directory in its place, and in the tree being made; none where it is new.
    pub(super) there: Option<Dir>,
    pub(super) made: Option<Dir>,
    /// What an earlier attempt made in it and was not listed yet, the last name first.
    pub(super) leftovers: Vec<SafeName>,
    /// It is not made, and so nothing in it is.
    pub(super) refused: bool,
}

impl Listing {
    pub(super) fn find_leftovers(&mut self) -> Result<()> {
        let Some(made) = &self.made else { return Ok(()) };
        self.leftovers = made.all_names().map_err(vault)?;
        self.leftovers.sort_unstable_by(|left, right| right.cmp(left));
        Ok(())
    }

    /// The names that are there.
    pub(super) fn theirs(&self) -> Result<Folded> {
        let mut theirs = Folded::default();
        self.add_to(&mut theirs)?;
        Ok(theirs)
    }

    pub(super) fn add_to(&self, theirs: &mut Folded) -> Result<()> {
        let names = self.there.as_ref().map(Dir::all_names).transpose().map_err(vault)?;
        names.unwrap_or_default().iter().try_for_each(|name| theirs.add(name))
    }

    pub(super) fn find_there(&self, name: &SafeName) -> Result<Option<Found>> {
        Ok(self.there.as_ref().map(|there| there.find(name)).transpose().map_err(vault)?.flatten())
    }

    /// A name was listed: what was made before it was not. Says whether it was made itself.
    pub(super) fn pass(&mut self, name: &SafeName) -> Result<bool> {
        while let Some(left) = self.leftovers.pop_if(|left| *left <= *name) {
            if left == *name {
                return Ok(true);
            }
            self.remove(&left)?;
        }
        Ok(false)
    }

    pub(super) fn close(mut self) -> Result<()> {
        while let Some(left) = self.leftovers.pop() {
            self.remove(&left)?;
        }
        Ok(())
    }

    fn remove(&self, name: &SafeName) -> Result<()> {
        self.made.iter().try_for_each(|made| made.remove_all(name)).map_err(vault)
    }
}
