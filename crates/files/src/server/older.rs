//! Older versions that a sender may use: which they are, and that they are told of.
//!
//! In a room, what the newest parcel of the same name has there, if the sender may read it; in the drop directory, the file
//! that the offer will replace, for which the sender needs that right. Nothing that anybody says leads to other content: a
//! hash names nothing here. Whoever may replace a file and not read it can still compare guesses with it (`hearing`
//! bounds how many): that belongs to the right to replace, and SECURITY.md says so. Spec: S5.100, S5.106.

mod hearing;

use std::sync::Arc;

use hikyaku_storage::vault::{ObjectId, VaultError};
use hikyaku_wire::files::{Answer, Offer};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::put::From;
use super::{FilesServer, blocking};
use crate::drop_dir::Dropping;
use crate::error::Result;
use crate::older::{OlderVersion, TELL_FOR, tell};
use crate::rooms::{Owner, Rooms};
use crate::unpack::Places;
use crate::versions::OLDER_FROM;

use hearing::Place;
pub(super) use hearing::{Guess, Hearing};

/// An older version with a place among those that are read at once, if there is one.
pub(super) struct Offered(Option<Named>);

struct Named {
    older: OlderVersion,
    place: Place,
    /// What the sender says of it may be a guess.
    guess: Option<Guess>,
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// What the room has of it.
    //= S5.100
    pub(super) async fn older(&self, from: &From<'_, C>) -> Result<Offered> {
        let Some(place) = self.place(self.shared.rooms.owner(from.context), from.offer) else {
            return Ok(Offered(None));
        };
        let (name, kind) = (&from.offer.name, from.offer.kind);
        let Some(root) = self.shared.rooms.older(from.context, from.room, name, kind).await? else {
            return Ok(Offered(None));
        };
        let vault = self.shared.vault.clone();
        let opened = blocking(move || match vault.open(ObjectId(root.0)) {
            Err(VaultError::NotFound) => Ok(None),
            opened => Ok(Some(opened?)),
        });
        let older = opened.await?.and_then(OlderVersion::of_object);
        Ok(Offered(older.map(|older| Named { older, place, guess: None })))
    }

    /// What it will take the place of.
    //= S5.100
    //= S5.106
    pub(super) async fn replaced(
        &self,
        owner: Owner,
        dropping: Box<Dropping>,
    ) -> Result<(Box<Dropping>, Offered)> {
        let place = self.place(owner, dropping.offer());
        let guess = self.shared.hearing.guess(owner, Instant::now().into_std());
        let (Some(place), Some(guess)) = (place, guess) else { return Ok((dropping, Offered(None))) };
        blocking(move || {
            let older = dropping.replaced().and_then(OlderVersion::of_file);
            let named = older.map(|older| Named { older, place, guess: Some(guess) });
            Ok((dropping, Offered(named)))
        })
        .await
    }

    /// Places for older versions of a tree's files, each for as long as it is read, and a guess for all of them.
    //= S5.106
    pub(super) fn places(&self, owner: Owner, offer: &Offer) -> Option<(Places, Guess)> {
        let is_asked = offer.options.is_some_and(|options| options.parts == Some(true));
        let guess = is_asked.then(|| self.shared.hearing.guess(owner, Instant::now().into_std()))??;
        let hearing = self.shared.hearing.clone();
        let places: Places = Arc::new(move || Some(Box::new(hearing.place(owner)?)));
        Some((places, guess))
    }

    /// What is too small to have an older version that is worth it takes nobody's place.
    fn place(&self, owner: Owner, offer: &Offer) -> Option<Place> {
        let is_asked = offer.options.is_some_and(|options| options.parts == Some(true));
        let is_worth_it = offer.size.is_none_or(|size| size >= OLDER_FROM);
        (is_asked && is_worth_it).then(|| self.shared.hearing.place(owner)).flatten()
    }
}

impl Offered {
    /// Says it in an acceptance.
    pub(super) fn named_in(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Accept(mut accept) => {
                accept.older = self.0.as_ref().map(|named| named.older.named());
                Answer::Accept(accept)
            }
            answer => answer,
        }
    }

    /// Reads it beside everything else, and tells of it until nobody listens any more.
    pub(super) fn told_to(self, teller: mpsc::Sender<Answer>) -> (Option<OlderVersion>, Option<Guess>) {
        let Some(Named { older, place, guess }) = self.0 else { return (None, None) };
        tokio::spawn(tell(older.clone(), place, teller, Instant::now() + TELL_FOR));
        (Some(older), guess)
    }
}

#[cfg(test)]
mod tests;
