//! `put`: a peer sends a file.

mod room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hikyaku::{Exchange, Receiver, Sender};
use hikyaku_storage::vault::Mark;
use hikyaku_wire::files::{Accept, Answer, Component, MAX_BLOCK_LEN, Offer, Receipt, Step, Target};
use hikyaku_wire::parcel::{EntryKind, TransferId};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::active::Guard;
use super::older::{Guess, Offered};
use super::unbroken::Unwanted;
use super::{FilesServer, blocking, joined};
use crate::drop_dir::{DroppingTree, Prepared};
use crate::error::{FilesError, Result};
use crate::names::{Dots, SafeName};
use crate::older::Composing;
use crate::pause::{Gone, Waiting};
use crate::progress::Progress;
use crate::receive::Receiving;
use crate::rooms::{Deed, Outcome, Rooms};
use crate::sift::ANSWERS;
use crate::writer::{QUEUE, Work, decode, feed, write_all};

/// Who offers what, and to which room.
pub(super) struct From<'a, C> {
    pub(super) context: &'a Arc<C>,
    pub(super) offer: &'a Offer,
    pub(super) room: &'a str,
    bid: &'a Bid<'a, C>,
}

/// An offer, and whose it is.
struct Bid<'a, C> {
    context: &'a Arc<C>,
    offer: &'a Offer,
    address: Option<SocketAddr>,
    /// Bytes were asked for.
    accepted: AtomicBool,
}

impl<C> Clone for From<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for From<'_, C> {}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn put(&self, exchange: Exchange<C>, mut unwanted: Unwanted) -> Result<()> {
        let (context, address) = (exchange.shared_context(), exchange.connection().remote_address());
        let (mut sender, mut receiver) = exchange.split();
        let offer: Offer = unwanted.unless(async { Ok(receiver.receive().await?) }).await?;
        let bid = Bid { context: &context, offer: &offer, address, accepted: AtomicBool::new(false) };
        let receipt = match unwanted.unless(self.take(&bid, &mut sender, &mut receiver)).await {
            Ok(None) => return Ok(()),
            Ok(Some(receipt)) => receipt,
            Err(error) => {
                let (why, is_accepted) = (error.to_string(), bid.accepted.load(Ordering::Relaxed));
                let outcome = if is_accepted { Outcome::Failed(&why) } else { Outcome::Refused(&why) };
                // Its own log says that it could not be recorded; the sender is told why it ended.
                let _ = self.record(&bid, outcome).await;
                return Err(error);
            }
        };
        self.record(&bid, Outcome::Finished(&receipt)).await?;
        tracing::info!(
            transfer = %receipt.transfer, root = %receipt.root, size = receipt.size,
            name = %crate::escape(&offer.name), owner = %sender_of(&*context, &self.shared.rooms), "received"
        );
        let told = async {
            sender.feed(&Answer::Receipt(receipt)).await?;
            sender.finish().await?;
            // The peer's END says that it has the receipt: nobody will ask for it again.
            //= S5.18
            Ok(receiver.ended().await?)
        };
        unwanted.unless(told).await?;
        if let (Target::Drop(_), Some(dir)) = (&offer.target, self.shared.drop_dir.clone()) {
            blocking(move || Ok(dir.forget(offer.transfer)?)).await?;
        }
        Ok(())
    }

    /// Takes an offer to its end; `None` where nothing was to be sent.
    async fn take(
        &self,
        bid: &Bid<'_, C>,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Option<Receipt>> {
        let Bid { context, offer, .. } = *bid;
        self.check(offer)?;
        self.shared.rooms.may_put(context, offer).await?;
        if offer.options.is_some_and(|options| options.dry_run == Some(true)) {
            return self.preview(offer, sender, receiver).await.map(|()| None);
        }
        // For a block that has begun and is not whole.
        receiver.keep_room(MAX_BLOCK_LEN)?;
        let guard = self.shared.active.take(offer.transfer, self.shared.rooms.owner(context)).await?;
        let receipt = match &offer.target {
            Target::Drop(path) => self.put_into_directory(bid, path, guard, sender, receiver).await?,
            Target::Room(room) | Target::Device(room, _) => {
                self.put_into_room(From { context, offer, room, bid }, guard, sender, receiver).await?
            }
        };
        Ok(Some(receipt))
    }

    async fn record(&self, bid: &Bid<'_, C>, outcome: Outcome<'_>) -> Result<()> {
        let deed = Deed { offer: bid.offer, address: bid.address, outcome };
        Ok(self.shared.rooms.record(bid.context, deed).await?)
    }

    /// Notes that bytes are about to be asked for.
    async fn accepted(&self, bid: &Bid<'_, C>) -> Result<()> {
        self.record(bid, Outcome::Accepted).await?;
        bid.accepted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, offer: &Offer) -> Result<()> {
        //= S5.3
        if !matches!(offer.kind, EntryKind::File | EntryKind::Tree) {
            return Err(FilesError::Kind);
        }
        let limit = self.shared.limits.max_size;
        if offer.size.is_some_and(|size| size > limit) {
            return Err(FilesError::Limit { name: "max_size", limit });
        }
        // Whoever fetches it checks again, with less patience for dots.
        SafeName::parse(&offer.name, Dots::Allowed)?;
        Ok(())
    }

    async fn put_into_directory(
        &self,
        bid: &Bid<'_, C>,
        path: &[Component],
        guard: Guard,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Receipt> {
        let Bid { context, offer, .. } = *bid;
        let dir = self.shared.drop_dir.clone().ok_or(FilesError::DropDisabled)?;
        let (owner, known, path) = (self.shared.rooms.owner(context), offer.clone(), path.to_vec());
        let own = self.shared.rooms.allowance(owner).await?.directory;
        let dropping = match blocking(move || dir.prepare((owner, own), &known, &path)).await? {
            Prepared::Settled(receipt) => return Ok(receipt),
            Prepared::Tree(tree, mark, told) => {
                return self.put_tree(bid, (*tree, &mark, told), guard, sender, receiver).await;
            }
            Prepared::Open(dropping) => dropping,
        };
        let (dropping, older) = self.replaced(owner, dropping).await?;
        let receiving = self.accept(sender, bid, dropping.staged.mark(), &older).await?;
        let (to, work) = mpsc::channel(QUEUE);
        let stop = Stop::of(&guard);
        let (teller, told) = mpsc::channel(ANSWERS);
        let (older, guess) = older.told_to(teller.clone());
        let mut waiting = self.waiting(offer, teller, &stop);
        let thread = tokio::task::spawn_blocking(move || {
            // Declared before what it guards, so that the file is let go of first.
            let _guard = guard;
            let mut dropping = dropping;
            let mut composing = Composing { sink: &mut *dropping, older };
            match write_all(&mut composing, receiving, work, &Progress::none(), &mut waiting) {
                Ok((root, size)) => dropping.publish(root, size, &mut waiting),
                Err(error @ FilesError::RootMismatch { .. }) => {
                    dropping.discard()?;
                    Err(error)
                }
                //= S5.106
                Err(FilesError::OlderChanged) => {
                    guess.into_iter().for_each(|guess: Guess| guess.was_wrong(Instant::now()));
                    Err(FilesError::OlderChanged)
                }
                Err(error) => Err(error),
            }
        });
        telling(sender, told, drive(receiver, to, thread, &stop, &Progress::none())).await
    }

    async fn put_tree(
        &self,
        bid: &Bid<'_, C>,
        (tree, mark, told): (DroppingTree, &Mark, mpsc::Receiver<Answer>),
        guard: Guard,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Receipt> {
        let (offer, mut tree) = (bid.offer, tree);
        let receiving = Receiving::resume(mark, offer.size, self.shared.limits.max_size);
        //= S5.107
        let guess = match self.places(self.shared.rooms.owner(bid.context), offer) {
            Some((places, guess)) => tree.sink.renew(places).map(|()| Some(guess))?,
            None => None,
        };
        self.accepted(bid).await?;
        sender.send(&acceptance(offer.transfer, &receiving, tree.sink.lists().then_some(false))).await?;
        let (to, work) = mpsc::channel(QUEUE);
        let stop = Stop::of(&guard);
        let max_size = self.shared.limits.max_size;
        let mut waiting = self.waiting(offer, tree.sink.teller(), &stop);
        let thread = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            let mut tree = tree;
            tree.bound(max_size);
            match tree.sink.take_all(receiving, work, &Progress::none(), &mut waiting) {
                Ok((root, size)) => tree.publish(root, size, &mut waiting),
                // What cannot become a tree need not be kept.
                Err(error @ (FilesError::RootMismatch { .. } | FilesError::Bundle(_))) => {
                    tree.discard()?;
                    Err(error)
                }
                //= S5.106
                Err(FilesError::OlderChanged) => {
                    guess.into_iter().for_each(|guess| guess.was_wrong(Instant::now()));
                    Err(FilesError::OlderChanged)
                }
                Err(error) => Err(error),
            }
        });
        telling(sender, told, drive(receiver, to, thread, &stop, &Progress::none())).await
    }

    /// Answers a listing, and does nothing else.
    //= S5.66
    async fn preview(&self, offer: &Offer, sender: &mut Sender, receiver: &mut Receiver) -> Result<()> {
        let Target::Drop(path) = &offer.target else {
            return Err(FilesError::Order("only the drop directory can be asked what it has"));
        };
        let dir = self.shared.drop_dir.clone().ok_or(FilesError::DropDisabled)?;
        if offer.kind != EntryKind::Tree {
            return Err(FilesError::Kind);
        }
        let (path, options) = (path.clone(), offer.options.unwrap_or_default());
        let mut looking = blocking(move || dir.look(&path, options)).await?;
        let max_block = Some(MAX_BLOCK_LEN);
        let (transfer, list) = (offer.transfer, Some(true));
        let accept = Accept { max_block, list, ..Accept::new(transfer, 0) };
        sender.send(&Answer::Accept(accept)).await?;
        while let Some(item) = receiver.next().await? {
            let hikyaku::Incoming::Message(item) = item else {
                return Err(FilesError::Order("a listing was expected"));
            };
            let Step::List(list) = decode(&item)? else {
                return Err(FilesError::Order("a listing was expected"));
            };
            let wants;
            (looking, wants) = blocking(move || {
                let wants = looking.answer(list)?;
                Ok((looking, wants))
            })
            .await?;
            if let Some(wants) = wants {
                sender.send(&Answer::Wants(wants)).await?;
            }
        }
        Ok(sender.finish().await?)
    }

    /// Waits for room on a full disk, and tells the sender of it.
    fn waiting(&self, offer: &Offer, teller: mpsc::Sender<Answer>, stop: &Stop) -> Waiting {
        let (patience, gone) = (self.shared.limits.pause_timeout, stop.gone.clone());
        Waiting::new(offer.transfer, patience, teller, gone, Progress::none())
    }

    /// Says where to begin.
    async fn accept(
        &self,
        sender: &mut Sender,
        bid: &Bid<'_, C>,
        mark: &Mark,
        older: &Offered,
    ) -> Result<Receiving> {
        let offer = bid.offer;
        let receiving = Receiving::resume(mark, offer.size, self.shared.limits.max_size);
        self.accepted(bid).await?;
        sender.send(&older.named_in(acceptance(offer.transfer, &receiving, None))).await?;
        Ok(receiving)
    }
}

/// The acceptance of a transfer from where `receiving` stands.
///
/// `lists` says whether it is to be listed ahead, and then whether with roots.
//= S5.11
pub(crate) fn acceptance(transfer: TransferId, receiving: &Receiving, lists: Option<bool>) -> Answer {
    Answer::Accept(Accept {
        prefix: receiving.prefix(),
        max_block: Some(MAX_BLOCK_LEN),
        list: lists.map(|_| true),
        roots: lists.filter(|roots| *roots),
        packed: Some(true),
        ..Accept::new(transfer, receiving.offset())
    })
}

/// Sends what is to be told, the answers to a listing and of a full disk, while something else is done.
pub(crate) async fn telling<T>(
    sender: &mut Sender,
    told: mpsc::Receiver<Answer>,
    doing: impl Future<Output = Result<T>>,
) -> Result<T> {
    let tell = async move {
        // Dropped with the last of this, so that nobody who answers waits to be heard any longer.
        let mut told = told;
        while let Some(answer) = told.recv().await {
            sender.send(&answer).await?;
        }
        Ok::<_, FilesError>(())
    };
    let (mut tell, mut doing) = (std::pin::pin!(tell), std::pin::pin!(doing));
    tokio::select! {
        done = &mut doing => done,
        // When nothing can be told, whoever reads learns why.
        _ = &mut tell => doing.await,
    }
}

/// How a transfer is stopped: somebody asks for it, and its thread is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    pub(crate) asked: Arc<Notify>,
    pub(crate) gone: Gone,
}

impl Stop {
    fn of(guard: &Guard) -> Self {
        Self { asked: guard.stop.clone(), gone: Gone::default() }
    }
}

/// Feeds the thread from the network until both are done, or until another connection takes over.
pub(crate) async fn drive<T>(
    receiver: &mut Receiver,
    to: mpsc::Sender<Work>,
    mut thread: JoinHandle<Result<T>>,
    stop: &Stop,
    progress: &Progress,
) -> Result<T> {
    let mut fed = tokio::select! {
        fed = feed(receiver, to, progress) => Some(fed),
        done = &mut thread => return joined(done),
        () = stop.asked.notified() => None,
    };
    if matches!(fed, Some(Ok(()))) {
        // Everything is here. Whoever waits for room with the last of it still makes way for a sender that comes back.
        tokio::select! {
            done = &mut thread => return joined(done),
            () = stop.asked.notified() => fed = None,
        }
    }
    stop.gone.set();
    // Without its feed the thread ends soon; what it says counts, unless it only says that the feed ended.
    match (joined(thread.await), fed.unwrap_or(Err(FilesError::TakenOver))) {
        //= S5.17
        (Err(_), Err(FilesError::TakenOver)) => Err(FilesError::TakenOver),
        (Err(FilesError::Exchange(hikyaku::Error::Truncated)), Err(error)) => Err(error),
        (done, _) => done,
    }
}

pub(super) fn sender_of<C, R: Rooms<C>>(context: &C, rooms: &R) -> String {
    rooms.owner(context).iter().map(|byte| format!("{byte:02x}")).collect()
}
