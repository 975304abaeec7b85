//! Older versions that a sender may use: which they are, and that they are told of.
//!
//! In a room, what the newest parcel of the same name has there, if the sender may read it; in the drop directory, the file
//! that the offer will replace, for which the sender needs that right. Nothing that anybody says leads to other content: a
//! hash names nothing here. Spec: S5.100.

use std::sync::Arc;

use hikyaku_storage::vault::{ObjectId, VaultError};
use hikyaku_wire::files::{Answer, Offer};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::put::From;
use super::{FilesServer, blocking};
use crate::drop_dir::Dropping;
use crate::error::Result;
use crate::older::OlderVersion;
use crate::rooms::Rooms;

/// An older version with a place among those that are read at once, if there is one.
pub(super) struct Offered(Option<(OlderVersion, OwnedSemaphorePermit)>);

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// What the room has of it.
    //= S5.100
    pub(super) async fn older(&self, from: &From<'_, C>) -> Result<Offered> {
        let Some(place) = self.place(from.offer) else { return Ok(Offered(None)) };
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
        Ok(Offered(older.map(|older| (older, place))))
    }

    /// What it will take the place of.
    //= S5.100
    pub(super) async fn replaced(&self, dropping: Box<Dropping>) -> Result<(Box<Dropping>, Offered)> {
        let Some(place) = self.place(dropping.offer()) else { return Ok((dropping, Offered(None))) };
        blocking(move || {
            let older = dropping.replaced().and_then(OlderVersion::of_file);
            Ok((dropping, Offered(older.map(|older| (older, place)))))
        })
        .await
    }

    fn place(&self, offer: &Offer) -> Option<OwnedSemaphorePermit> {
        let is_asked = offer.options.is_some_and(|options| options.parts == Some(true));
        is_asked.then(|| Arc::clone(&self.shared.indexing).try_acquire_owned().ok()).flatten()
    }
}

impl Offered {
    /// Says it in an acceptance.
    pub(super) fn named_in(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Accept(mut accept) => {
                accept.older = self.0.as_ref().map(|(older, _)| older.named());
                Answer::Accept(accept)
            }
            answer => answer,
        }
    }

    /// Reads it on a thread of its own, and tells of it until nobody listens any more.
    pub(super) fn told_to(self, teller: mpsc::Sender<Answer>) -> Option<OlderVersion> {
        let (older, place) = self.0?;
        let read = older.clone();
        tokio::task::spawn_blocking(move || {
            read.tell(|pieces| teller.blocking_send(Answer::Pieces(pieces)).is_ok());
            drop(place);
        });
        Some(older)
    }
}
