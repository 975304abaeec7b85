//! Parcels in rooms: received, sealed, and concluded. Spec: chapter 5.5.

use hikyaku::{Receiver, Sender};
use hikyaku_storage::vault::{ObjectId, Partial, Reference, Reserved, Sealed, Transfer};
use hikyaku_wire::files::{Offer, Receipt, Synced, Target};
use hikyaku_wire::parcel::{Addressee, EndStatus, EventRef, Parcel, ParcelEnd, Root, TransferId};
use tokio::sync::mpsc;

use super::{From, Stop, acceptance, drive, telling};
use crate::error::{FilesError, Result};
use crate::older::Composing;
use crate::progress::Progress;
use crate::receive::Receiving;
use crate::rooms::Rooms;
use crate::server::active::Guard;
use crate::server::{FilesServer, blocking};
use crate::sift::ANSWERS;
use crate::writer::{QUEUE, write_on};

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn put_into_room(
        &self,
        from: From<'_, C>,
        guard: Guard,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Receipt> {
        let From { context, offer, room, .. } = from;
        //= S5.75
        let addressee = match &offer.target {
            Target::Device(_, device) => Some(self.shared.rooms.addressee(context, room, device).await?),
            _ => None,
        };
        self.hold(context, offer, room).await?;
        let reserved = match self.reserve(offer).await {
            // Nothing of it is there and nobody was told of it. What was begun before stays, and so does what it holds.
            Err(error) if self.shared.rooms.holds(offer.transfer).await?.is_none() => {
                self.shared.quotas.release(offer.transfer);
                return Err(error);
            }
            reserved => reserved?,
        };
        let announced = match self.shared.rooms.announce(context, room, &parcel(offer, addressee)).await {
            Ok(announced) => announced,
            Err(failure) => {
                self.let_go(reserved, offer.transfer).await?;
                return Err(failure.into());
            }
        };
        if let Some(end) = &announced.end {
            self.let_go(reserved, offer.transfer).await?;
            return Ok(receipt(offer, ended(end)?, announced.event));
        }
        // Until it has its end, or its sender is gone: those who look at the room see how far it is.
        //= S5.96
        let key = self.shared.rooms.room(context, room).await?;
        let _sending = self.shared.underway.begin(key, announced.event.seq, offer.transfer);
        let (sealed, _guard) = match reserved {
            Reserved::Sealed(sealed) => (sealed, guard),
            Reserved::Open(partial) => {
                let (received, guard) = self.receive_object(from, partial, guard, sender, receiver).await?;
                match received {
                    Err(error @ FilesError::RootMismatch { .. }) => {
                        self.conclude(offer.transfer, &announced.event, None).await?;
                        self.discard(offer.transfer).await?;
                        return Err(error);
                    }
                    received => (received?, guard),
                }
            }
        };
        self.shared.decayed.mended(Root(sealed.root.0));
        //= S5.36
        let end = self.conclude(offer.transfer, &announced.event, Some(sealed)).await?;
        self.discard(offer.transfer).await?;
        Ok(receipt(offer, ended(&end)?, announced.event))
    }

    /// Nothing of it is kept.
    async fn let_go(&self, reserved: Reserved, transfer: TransferId) -> Result<()> {
        drop(reserved);
        self.shared.quotas.release(transfer);
        self.discard(transfer).await
    }

    async fn reserve(&self, offer: &Offer) -> Result<Reserved> {
        let (vault, limit) = (self.shared.vault.clone(), self.shared.limits.max_partials);
        let (transfer, size) = (Transfer(offer.transfer.0), offer.size);
        blocking(move || {
            let known = vault.transfers()?;
            let unfinished =
                known.iter().filter(|known| known.sealed.is_none() && known.transfer != transfer);
            if unfinished.count() >= limit {
                return Err(FilesError::Limit { name: "max_partials", limit: limit as u64 });
            }
            Ok(vault.reserve(transfer, size)?)
        })
        .await
    }

    /// Receives and seals. The guard comes back with what came of it: until the parcel has its end, nobody else may
    /// begin with it.
    async fn receive_object(
        &self,
        from: From<'_, C>,
        partial: Box<dyn Partial>,
        guard: Guard,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<(Result<Sealed>, Guard)> {
        let offer = from.offer;
        let known = self.known(&from, partial.mark()).await?;
        let older = self.older(&from).await?;
        let receiving = Receiving::resume(partial.mark(), offer.size, self.shared.limits.max_size);
        self.accepted(from.bid).await?;
        sender.send(&known.named_in(older.named_in(acceptance(offer.transfer, &receiving, None)))).await?;
        let writing = self.shared.passages.write(offer.transfer, receiving.offset());
        let (to, mut work) = mpsc::channel(QUEUE);
        let (stop, reference) = (Stop::of(&guard), Reference(offer.transfer.0));
        let (teller, told) = mpsc::channel(ANSWERS);
        let (older, _) = older.told_to(teller.clone());
        let mut waiting = self.waiting(offer, teller, &stop);
        let (server, transfer) = (self.clone(), offer.transfer);
        let thread = tokio::task::spawn_blocking(move || {
            let first = work.blocking_recv();
            if let Some(close) = known.claimed(first.as_ref()) {
                return Ok((known.take(&close, partial, reference), guard));
            }
            let mut counting = server.counting(transfer, partial);
            let progress = Progress::none().read_by(writing);
            let mut composing = Composing { sink: &mut counting, older };
            let written = write_on(&mut composing, receiving, first, work, &progress, &mut waiting);
            let partial = counting.partial;
            let sealed = match written {
                Ok((root, size)) => partial.seal(ObjectId(root.0), size, reference).map_err(FilesError::from),
                Err(error) => {
                    // The next one who takes this transfer opens the same file.
                    drop(partial);
                    Err(error)
                }
            };
            // The feed's word counts before this thread's, where it says that the feed ended.
            match sealed {
                Err(error @ FilesError::Exchange(_)) => Err(error),
                sealed => Ok((sealed, guard)),
            }
        });
        telling(sender, told, drive(receiver, to, thread, &stop, &Progress::none())).await
    }
}

/// What a room is told at the start.
fn parcel(offer: &Offer, device: Option<Addressee>) -> Parcel {
    Parcel {
        transfer: offer.transfer,
        name: offer.name.clone(),
        kind: offer.kind,
        bytes: offer.size,
        entries: None,
        meta: offer.meta,
        device,
    }
}

/// The object of a parcel that was concluded before; an error when it was given up.
fn ended(end: &ParcelEnd) -> Result<Sealed> {
    match (end.status, end.root, end.bytes) {
        (EndStatus::Settled, Some(root), Some(size)) => Ok(Sealed { root: ObjectId(root.0), size }),
        (EndStatus::Expired, ..) => Err(FilesError::Unknown("the parcel has expired")),
        _ => Err(FilesError::Unknown("the parcel was aborted; send it again as a new one")),
    }
}

fn receipt(offer: &Offer, sealed: Sealed, event: EventRef) -> Receipt {
    let (transfer, root, size) = (offer.transfer, Root(sealed.root.0), sealed.size);
    Receipt { transfer, root, size, synced: Synced::Each, name: None, event: Some(event), tree: None }
}
