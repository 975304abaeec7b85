//! `get`: a peer fetches a file.

use std::net::SocketAddr;
use std::sync::Arc;

use hikyaku::{ErrorCode, Exchange, Failure, Receiver, Sender};
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::{Answer, BLOCK_LEN, GROUP_LEN, Head, Receipt, Request};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;

use super::passages::Waiting;
use super::unbroken::Unwanted;
use super::{FilesServer, blocking};
use crate::client::deliver;
use crate::error::{FilesError, Result};
use crate::object_tree::{Asker, ObjectTree};
use crate::progress::Progress;
use crate::reader::{AHEAD, ObjectReading, growing::proof, packing::Pack};
use crate::rooms::{Fetch, Outcome, Resolved, Rooms};
use crate::sift::{ANSWERS, Sifting};

/// A request, and what is known of it.
pub(super) struct Asked<'a, C> {
    context: &'a Arc<C>,
    pub(super) request: &'a Request,
    address: Option<SocketAddr>,
    /// What that is, once it was said to whoever asked: that counts as begun.
    pub(super) found: Option<Resolved>,
    pub(super) progress: Progress,
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn get(&self, exchange: Exchange<C>, mut unwanted: Unwanted) -> Result<()> {
        let (context, address) = (exchange.shared_context(), exchange.connection().remote_address());
        let (mut sender, mut receiver) = exchange.split();
        let request: Request = unwanted.unless(async { Ok(receiver.receive().await?) }).await?;
        let (context, request, progress) = (&context, &request, Progress::none());
        let mut asked = Asked { context, request, address, found: None, progress };
        let given = unwanted.unless(self.give(&mut asked, &mut sender, &mut receiver)).await;
        let why = given.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let outcome = match &given {
            Ok(Some(receipt)) => Outcome::Finished(receipt),
            Ok(None) => Outcome::Failed("its names were asked for, and no more"),
            Err(_) if asked.found.is_some() => Outcome::Failed(&why),
            Err(_) => Outcome::Refused(&why),
        };
        // Its own log says that it could not be recorded; whoever has it has it.
        let _ = self.record_fetch(&asked, outcome).await;
        let has_receipt = given?.is_some();
        let ended = async {
            if has_receipt {
                receiver.ended().await?;
            }
            Ok(sender.finish().await?)
        };
        unwanted.unless(ended).await
    }

    async fn record_fetch(&self, asked: &Asked<'_, C>, outcome: Outcome<'_>) -> Result<()> {
        let (wanted, found, address) = (&asked.request.wanted, asked.found.as_ref(), asked.address);
        let moment = asked.progress.moment();
        let sent = moment.bytes.saturating_sub(moment.from);
        let fetch = Fetch { wanted, found, address, sent, outcome };
        Ok(self.shared.rooms.record_fetch(asked.context, fetch).await?)
    }

    /// Notes that bytes are about to be given, from an offset on.
    pub(super) async fn giving(&self, asked: &Asked<'_, C>, from: u64) -> Result<()> {
        if let Some(found) = &asked.found {
            asked.progress.began(found.transfer, from, found.size);
        }
        self.record_fetch(asked, Outcome::Accepted).await
    }

    /// What is asked for, and while it is still being sent a wait for its end.
    async fn find(&self, asked: &Asked<'_, C>) -> Result<(Resolved, Option<Waiting>)> {
        let (rooms, wanted) = (&self.shared.rooms, &asked.request.wanted);
        let found = rooms.resolve(asked.context, wanted).await?;
        if found.root.is_some() {
            return Ok((found, None));
        }
        //= S5.80
        if asked.request.live != Some(true) {
            let later = "this parcel is still being sent; try again later";
            return Err(Failure::new(ErrorCode::UNAVAILABLE, later).into());
        }
        // Looked at again once its end cannot be missed any more.
        let waiting = self.shared.passages.wait(found.transfer);
        let found = rooms.resolve(asked.context, wanted).await?;
        let is_coming = found.root.is_none();
        Ok((found, is_coming.then_some(waiting)))
    }

    /// Gives what is asked for; what the other side says of it, unless it only wants to know the names.
    async fn give(
        &self,
        asked: &mut Asked<'_, C>,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Option<Receipt>> {
        let limit = self.shared.limits.max_gets as u64;
        let place = Arc::clone(&self.shared.gets).try_acquire_owned();
        let place = place.map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        let asker = Asker { _place: Some(Arc::new(place)), ..Asker::default() };
        // Dropped with this future, when whoever asked is gone: then a thread that lists for him ends, and lets go of his
        // place.
        let _waits = asker.gone.on_drop();
        let (found, waiting) = self.find(asked).await?;
        if let Some(waiting) = waiting {
            return self.get_live(asked, found, (waiting, &asker), sender, receiver).await;
        }
        let Some(root) = found.root else { return Err(FilesError::Unknown("it has no root")) };
        let (vault, from) = (self.shared.vault.clone(), asked.request.from);
        let (object, before) = blocking(move || {
            let object = vault.open(ObjectId(root.0))?;
            let before = proof(&*object, object.size(), from)?;
            Ok((object, before))
        })
        .await?;
        // For the blocks that are read before the peer takes them. With less room they are smaller.
        let room = sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * GROUP_LEN)?;
        let Resolved { transfer, name, kind, meta, .. } = found.clone();
        let (size, root_said) = (Some(object.size()), Some(root));
        asked.found = Some(found);
        let head = Head { transfer, name, kind, size, root: root_said, meta, arrival: None, before };
        sender.send(&head).await?;
        let accept = match receiver.receive().await? {
            Answer::Accept(accept) => accept,
            _ => return Err(FilesError::Order("an acceptance was expected")),
        };
        let (to, answers) = mpsc::channel(ANSWERS);
        let lists = accept.list == Some(true);
        if lists && kind != EntryKind::Tree {
            return Err(FilesError::Order("only a tree can be listed"));
        }
        self.giving(asked, accept.from).await?;
        let (progress, is_packed) = (&asked.progress, accept.packed == Some(true));
        if lists {
            sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * BLOCK_LEN)?;
            let tree = ObjectTree::new(object, root, accept.roots == Some(true), &asker);
            let reading = Sifting::new(tree, &accept, answers, |_| {})?;
            deliver(Pack::new(reading, is_packed), to, sender, receiver, progress).await.map(Some)
        } else {
            let reading = ObjectReading::new(object, root, &accept, room / AHEAD)?;
            deliver(Pack::new(reading, is_packed), to, sender, receiver, progress).await.map(Some)
        }
    }
}
