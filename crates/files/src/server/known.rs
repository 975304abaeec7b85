//! Content that the server has already: referenced instead of sent.
//!
//! A hash alone never grants anything. The server names what it has, of the offered size, in rooms that the sender may read;
//! only what it named in the same exchange is taken, if the sender may still read it, and after it was read and verified once
//! more: the receipt says no less than one for bytes that came. Spec: S5.72, S5.73.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use hikyaku_storage::vault::{Mark, ObjectId, Partial, Reference, Sealed, VaultError};
use hikyaku_wire::files::{Answer, Close, MAX_KNOWN};
use hikyaku_wire::parcel::{EntryKind, Root};
use tokio::runtime::Handle;

use super::FilesServer;
use super::put::From;
use crate::error::{FilesError, Result};
use crate::rooms::Rooms;
use crate::scrub::scrub;
use crate::writer::Work;

/// The most roots that are remembered as decayed; beyond that, nothing is named.
const MAX_DECAYED: usize = 4096;

/// Roots of objects that are not what they should be.
#[derive(Debug, Default)]
pub(super) struct Decayed(Mutex<BTreeSet<Root>>);

impl Decayed {
    fn names(&self, root: Root) -> bool {
        let decayed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        decayed.len() >= MAX_DECAYED || decayed.contains(&root)
    }

    fn add(&self, root: Root) {
        let mut decayed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if decayed.len() < MAX_DECAYED {
            decayed.insert(root);
        }
    }

    /// It was sent again, and is whole.
    pub(super) fn mended(&self, root: Root) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&root);
    }
}

/// What was named to a sender, and everything needed to take it.
pub(super) struct Known<C, R> {
    server: FilesServer<C, R>,
    context: Arc<C>,
    room: String,
    size: u64,
    roots: Vec<Root>,
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    /// What of an offer's size need not be sent.
    //= S5.72
    pub(super) async fn known(&self, from: &From<'_, C>, mark: &Mark) -> Result<Known<C, R>> {
        let (offer, size) = (from.offer, from.offer.size.unwrap_or(0));
        let asks = offer.kind == EntryKind::File && size > 0 && mark.verified == 0;
        let mut roots = match asks {
            true => self.shared.rooms.known(from.context, from.room, size).await?,
            false => Vec::new(),
        };
        roots.retain(|root| !self.shared.decayed.names(*root));
        roots.truncate(MAX_KNOWN);
        let (context, room) = (from.context.clone(), from.room.to_owned());
        Ok(Known { server: self.clone(), context, room, size, roots })
    }
}

impl<C: Send + Sync + 'static, R: Rooms<C>> Known<C, R> {
    /// Says it in an acceptance.
    pub(super) fn named_in(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Accept(mut accept) => {
                accept.known.clone_from(&self.roots);
                Answer::Accept(accept)
            }
            answer => answer,
        }
    }

    /// The close of a sender who begins with it, and has found its content among what was named.
    pub(super) fn claimed(&self, first: Option<&Work>) -> Option<Close> {
        match first {
            Some(Work::Close(close)) if close.size == self.size && self.roots.contains(&close.root) => {
                Some(close.clone())
            }
            _ => None,
        }
    }

    /// Takes what the vault has for what would have been sent. Blocks: it is read and verified.
    //= S5.73
    pub(super) fn take(
        &self,
        close: &Close,
        partial: Box<dyn Partial>,
        reference: Reference,
    ) -> Result<Sealed> {
        let shared = &self.server.shared;
        let now = Handle::current().block_on(shared.rooms.known(&self.context, &self.room, self.size))?;
        if !now.contains(&close.root) {
            return Err(FilesError::NotHeld);
        }
        let root = ObjectId(close.root.0);
        let found = match shared.vault.open(root) {
            Ok(object) => scrub(&*object, close.root, EntryKind::File)?.is_whole(),
            Err(VaultError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        if !found {
            tracing::error!(root = %close.root, "the content of a parcel has decayed in the vault");
            shared.decayed.add(close.root);
            return Err(FilesError::NotHeld);
        }
        match partial.adopt(root, close.size, reference) {
            Err(VaultError::NotFound) => {
                // It went, or somebody mends it: what is named again would be claimed again.
                shared.decayed.add(close.root);
                Err(FilesError::NotHeld)
            }
            sealed => Ok(sealed?),
        }
    }
}
