//! `get`: a peer fetches a file.

use std::net::SocketAddr;
use std::sync::Arc;

use hikyaku::{ErrorCode, Exchange, Failure, Receiver, Sender};
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::{Answer, BLOCK_LEN, GROUP_LEN, Head, Receipt, Request};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;

use super::{FilesServer, blocking};
use crate::client::deliver;
use crate::error::{FilesError, Result};
use crate::object_tree::ObjectTree;
use crate::progress::Progress;
use crate::reader::{AHEAD, ObjectReading, growing::proof, packing::Pack};
use crate::rooms::{Fetch, Outcome, Resolved, Rooms};
use crate::sift::{ANSWERS, Sifting};

/// A request, and what is known of it.
pub(super) struct Asked<'a, C> {
    context: &'a Arc<C>,
    pub(super) request: &'a Request,
    address: Option<SocketAddr>,
    found: Option<Resolved>,
    /// Bytes are about to be given.
    is_accepted: bool,
    pub(super) progress: Progress,
}

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn get(&self, exchange: Exchange<C>) -> Result<()> {
        let (context, address) = (exchange.shared_context(), exchange.connection().remote_address());
        let (mut sender, mut receiver) = exchange.split();
        let request: Request = receiver.receive().await?;
        let (context, request, progress) = (&context, &request, Progress::none());
        let mut asked = Asked { context, request, address, found: None, is_accepted: false, progress };
        let given = self.give(&mut asked, &mut sender, &mut receiver).await;
        let why = given.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let outcome = match &given {
            Ok(Some(receipt)) => Outcome::Finished(receipt),
            Ok(None) => Outcome::Failed("its names were asked for, and no more"),
            Err(_) if asked.is_accepted => Outcome::Failed(&why),
            Err(_) => Outcome::Refused(&why),
        };
        // Its own log says that it could not be recorded; whoever has it has it.
        let _ = self.record_fetch(&asked, outcome).await;
        if given?.is_some() {
            receiver.ended().await?;
        }
        Ok(sender.finish().await?)
    }

    async fn record_fetch(&self, asked: &Asked<'_, C>, outcome: Outcome<'_>) -> Result<()> {
        let (wanted, found, address) = (&asked.request.wanted, asked.found.as_ref(), asked.address);
        let moment = asked.progress.moment();
        let sent = moment.bytes.saturating_sub(moment.from);
        let fetch = Fetch { wanted, found, address, sent, outcome };
        Ok(self.shared.rooms.record_fetch(asked.context, fetch).await?)
    }

    /// Notes that bytes are about to be given, from an offset on.
    pub(super) async fn giving(&self, asked: &mut Asked<'_, C>, found: Resolved, from: u64) -> Result<()> {
        asked.progress.began(found.transfer, from, found.size);
        asked.found = Some(found);
        self.record_fetch(asked, Outcome::Accepted).await?;
        asked.is_accepted = true;
        Ok(())
    }

    /// Gives what is asked for; what the other side says of it, unless it only wants to know the names.
    async fn give(
        &self,
        asked: &mut Asked<'_, C>,
        sender: &mut Sender,
        receiver: &mut Receiver,
    ) -> Result<Option<Receipt>> {
        let (context, request) = (asked.context, asked.request);
        let limit = self.shared.limits.max_gets as u64;
        let _permit =
            self.shared.gets.try_acquire().map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        let mut found = self.shared.rooms.resolve(context, &request.wanted).await?;
        if found.root.is_none() {
            //= S5.80
            if request.live != Some(true) {
                let later = "this parcel is still being sent; try again later";
                return Err(Failure::new(ErrorCode::UNAVAILABLE, later).into());
            }
            // Looked at again once its end cannot be missed any more.
            let waiting = self.shared.passages.wait(found.transfer);
            found = self.shared.rooms.resolve(context, &request.wanted).await?;
            if found.root.is_none() {
                return self.get_live(asked, found, waiting, sender, receiver).await;
            }
        }
        let Some(root) = found.root else { return Err(FilesError::Unknown("it has no root")) };
        let (vault, from) = (self.shared.vault.clone(), request.from);
        let (object, before) = blocking(move || {
            let object = vault.open(ObjectId(root.0))?;
            let before = proof(&*object, object.size(), from)?;
            Ok((object, before))
        })
        .await?;
        // For the blocks that are read before the peer takes them. With less room they are smaller.
        let room = sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * GROUP_LEN)?;
        sender
            .send(&Head {
                transfer: found.transfer,
                name: found.name.clone(),
                kind: found.kind,
                size: Some(object.size()),
                root: Some(root),
                meta: found.meta,
                arrival: None,
                before,
            })
            .await?;
        let accept = match receiver.receive().await? {
            Answer::Accept(accept) => accept,
            _ => return Err(FilesError::Order("an acceptance was expected")),
        };
        let (to, answers) = mpsc::channel(ANSWERS);
        let lists = accept.list == Some(true);
        if lists && found.kind != EntryKind::Tree {
            return Err(FilesError::Order("only a tree can be listed"));
        }
        self.giving(asked, found, accept.from).await?;
        let (progress, is_packed) = (&asked.progress, accept.packed == Some(true));
        if lists {
            sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * BLOCK_LEN)?;
            let tree = ObjectTree::new(object, root, accept.roots == Some(true));
            let reading = Sifting::new(tree, &accept, answers, |_| {})?;
            deliver(Pack::new(reading, is_packed), to, sender, receiver, progress).await.map(Some)
        } else {
            let reading = ObjectReading::new(object, root, &accept, room / AHEAD)?;
            deliver(Pack::new(reading, is_packed), to, sender, receiver, progress).await.map(Some)
        }
    }
}
