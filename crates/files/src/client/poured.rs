//! A parcel that is fetched to somewhere that takes bytes once: standard output, a comparison.
//!
//! Bytes are handed over when their group is verified, in order, each once, whatever happens to the connection. That the
//! whole is what it should be is only known at its end. Spec: S5.13, S5.15.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku_storage::vault::Mark;
use hikyaku_wire::cbor::MAX_INTEGER;
use hikyaku_wire::files::{Block, GET, Head, Receipt, Request, Synced, Wanted};
use hikyaku_wire::parcel::Root;
use tokio::sync::mpsc;

use super::incoming::identity;
use super::{FilesClient, say_received, why_not};
use crate::coming::{Coming, Next};
use crate::error::{FilesError, Result};
use crate::progress::{Progress, Stage};
use crate::receive::Receiving;
use crate::server::blocking;
use crate::server::put::{Stop, acceptance, drive};
use crate::tree::{GROUP_LEN, Tree};
use crate::versions::unnamed;
use crate::writer::{QUEUE, Work};

/// Takes verified bytes: what is fetched, and the next of them.
type Taker = Box<dyn FnMut(&Head, &[u8]) -> io::Result<()> + Send>;

/// Where a parcel is poured, and how far it is. Clones share it.
#[derive(Clone)]
pub struct Poured(Arc<Mutex<State>>);

struct State {
    head: Option<Head>,
    /// The first byte that is handed over.
    from: u64,
    /// Whether what is there when it is asked for is enough, also of a parcel that is still being sent.
    is_impatient: bool,
    /// Of such a parcel: how much was there then.
    until: Option<u64>,
    mark: Mark,
    /// Bytes that were handed over, or lie before those that are: the mark, and perhaps a part of a group behind it.
    taken: u64,
    taker: Taker,
}

impl Poured {
    /// Nothing so far.
    pub fn new(taker: impl FnMut(&Head, &[u8]) -> io::Result<()> + Send + 'static) -> Self {
        let (head, mark, taken, taker) = (None, Mark::default(), 0, Box::new(taker) as Taker);
        let (from, is_impatient, until) = (0, false, None);
        Self(Arc::new(Mutex::new(State { head, from, is_impatient, until, mark, taken, taker })))
    }

    /// From this byte on: those before it are proved, and not fetched.
    #[must_use]
    pub fn from(self, offset: u64) -> Self {
        {
            let mut state = self.state();
            (state.from, state.taken) = (offset, offset);
        }
        self
    }

    /// Of a parcel that is still being sent no more than there is: that ends with [`FilesError::Provisional`].
    #[must_use]
    pub fn impatient(self) -> Self {
        self.state().is_impatient = true;
        self
    }

    /// The first byte that is asked for. (One group has no proof but its bytes.)
    fn begin(&self) -> Option<u64> {
        let group = self.state().from / GROUP_LEN;
        (group > 1).then_some(group * GROUP_LEN)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it goes on; an error when something else came before.
    fn resume(&self, head: &Head) -> Result<Receiving> {
        // Whoever poured for a connection that broke is waited for here.
        let mut state = self.state();
        if identity(state.head.get_or_insert_with(|| head.clone())) != identity(head) {
            return Err(FilesError::Order("the parcel is another one than before"));
        }
        if state.is_impatient && state.until.is_none() {
            state.until = head.arrival.map(|arrival| arrival.bytes);
        }
        if state.mark.verified == 0
            && let (Some(values), from @ 1..) = (&head.before, state.from / GROUP_LEN)
        {
            let tree = Tree::of_values(from, values);
            let tree =
                tree.map_err(|_| FilesError::Order("what lies before the first byte is not proved"))?;
            state.mark = Mark { verified: from * GROUP_LEN, state: tree.encode() };
        }
        Ok(Receiving::resume(&state.mark, head.size, MAX_INTEGER))
    }

    fn take_all(
        &self,
        mut receiving: Receiving,
        mut work: mpsc::Receiver<Work>,
        progress: &Progress,
    ) -> Result<(Root, u64)> {
        let (mut state, mut coming) = (self.state(), Coming::default());
        state.enough(&receiving)?;
        while let Some(work) = work.blocking_recv() {
            let composed = match coming.next(work, &receiving)? {
                Next::Block(composed) => composed,
                Next::List(_) => return Err(FilesError::Order("a listing that nobody asked for")),
                Next::Close(close) => return receiving.close(&close),
            };
            let bytes = coming.whole(&composed, |composed, _, _| Err(unnamed(&composed.block)))?;
            progress.local().time(Stage::Cpu, || receiving.take(&composed.block, bytes))?;
            progress.local().time(Stage::Disk, || state.take(&composed.block, bytes))?;
            state.mark = receiving.mark();
            progress.reached(receiving.offset());
            state.enough(&receiving)?;
        }
        Err(hikyaku::Error::Truncated.into())
    }
}

impl State {
    /// Ends early where what was there is enough; the close of a whole parcel comes first.
    fn enough(&self, receiving: &Receiving) -> Result<()> {
        match self.until {
            Some(until) if receiving.offset() >= until => Err(FilesError::Provisional(receiving.offset())),
            _ => Ok(()),
        }
    }

    fn take(&mut self, block: &Block, bytes: &[u8]) -> Result<()> {
        let known = usize::try_from(self.taken.saturating_sub(block.offset)).unwrap_or(usize::MAX);
        let (Some(head), Some(news)) = (&self.head, bytes.get(known..)) else { return Ok(()) };
        // What is handed over counts, even if the rest is refused.
        for piece in news.chunks(usize::try_from(GROUP_LEN).unwrap_or(usize::MAX)) {
            let taken = (self.taker)(head, piece);
            taken.map_err(|error| FilesError::Source { path: "where it goes".to_owned(), error })?;
            self.taken += piece.len() as u64;
        }
        Ok(())
    }
}

impl fmt::Debug for Poured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Poured")
            .field("head", &state.head)
            .field("taken", &state.taken)
            .finish_non_exhaustive()
    }
}

impl FilesClient {
    /// Fetches a parcel's bytes to somewhere, or goes on with it. Of a tree these are a bundle.
    pub async fn pour(&self, wanted: &Wanted, to: &Poured, progress: &Progress) -> Result<(Head, Receipt)> {
        let (mut sender, mut receiver) = self.open(GET).await?.split();
        sender.send(&Request { from: to.begin(), ..Request::live(wanted.clone()) }).await?;
        let head: Head = receiver.receive().await?;
        let (known, poured) = (head.clone(), to.clone());
        let receiving = blocking(move || poured.resume(&known)).await?;
        progress.began(head.transfer, receiving.offset(), head.size);
        progress.arrived(head.arrival);
        sender.send(&acceptance(head.transfer, &receiving, None)).await?;
        let (feeding, work) = mpsc::channel(QUEUE);
        let (poured, reporting, promised) = (to.clone(), progress.clone(), head.root);
        let thread = tokio::task::spawn_blocking(move || {
            match (poured.take_all(receiving, work, &reporting)?, promised) {
                ((found, size), Some(said)) if said != found => {
                    Err(FilesError::RootMismatch { said, found, size })
                }
                (whole, _) => Ok(whole),
            }
        });
        let done = drive(&mut receiver, feeding, thread, &Stop::default(), progress).await;
        let (root, size) = why_not(&mut sender, done).await?;
        let (transfer, name, event, tree) = (head.transfer, None, None, None);
        let receipt = Receipt { transfer, root, size, synced: Synced::None, name, event, tree };
        say_received(&mut sender, &mut receiver, &receipt).await;
        Ok((head, receipt))
    }
}
