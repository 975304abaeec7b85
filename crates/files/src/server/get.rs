//! `get`: a peer fetches a file.

use hikyaku::{ErrorCode, Exchange, Failure};
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::{Answer, BLOCK_LEN, GROUP_LEN, Head, Request};
use hikyaku_wire::parcel::EntryKind;
use tokio::sync::mpsc;

use super::{FilesServer, blocking};
use crate::client::deliver;
use crate::error::{FilesError, Result};
use crate::object_tree::ObjectTree;
use crate::progress::Progress;
use crate::reader::{AHEAD, ObjectReading, growing::proof, packing::Pack};
use crate::rooms::Rooms;
use crate::sift::{ANSWERS, Sifting};

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn get(&self, exchange: Exchange<C>) -> Result<()> {
        let context = exchange.shared_context();
        let limit = self.shared.limits.max_gets as u64;
        let _permit =
            self.shared.gets.try_acquire().map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        let (mut sender, mut receiver) = exchange.split();
        let request: Request = receiver.receive().await?;
        let mut found = self.shared.rooms.resolve(&context, &request.wanted).await?;
        if found.root.is_none() {
            //= S5.80
            if request.live != Some(true) {
                let later = "this parcel is still being sent; try again later";
                return Err(Failure::new(ErrorCode::UNAVAILABLE, later).into());
            }
            // Looked at again once its end cannot be missed any more.
            let waiting = self.shared.passages.wait(found.transfer);
            found = self.shared.rooms.resolve(&context, &request.wanted).await?;
            if found.root.is_none() {
                self.get_live(found, waiting, &request, &mut sender, &mut receiver).await?;
                if request.list != Some(true) {
                    receiver.ended().await?;
                }
                return Ok(sender.finish().await?);
            }
        }
        let Some(root) = found.root else { return Err(FilesError::Unknown("it has no root")) };
        let vault = self.shared.vault.clone();
        let (object, before) = blocking(move || {
            let object = vault.open(ObjectId(root.0))?;
            let before = proof(&*object, object.size(), request.from)?;
            Ok((object, before))
        })
        .await?;
        // For the blocks that are read before the peer takes them. With less room they are smaller.
        let room = sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * GROUP_LEN)?;
        sender
            .send(&Head {
                transfer: found.transfer,
                name: found.name,
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
        let (progress, is_packed) = (Progress::none(), accept.packed == Some(true));
        if accept.list == Some(true) {
            if found.kind != EntryKind::Tree {
                return Err(FilesError::Order("only a tree can be listed"));
            }
            sender.keep_room(AHEAD * BLOCK_LEN, AHEAD * BLOCK_LEN)?;
            let tree = ObjectTree::new(object, root, accept.roots == Some(true));
            let reading = Sifting::new(tree, &accept, answers, |_| {})?;
            deliver(Pack::new(reading, is_packed), to, &mut sender, &mut receiver, &progress).await?;
        } else {
            let reading = ObjectReading::new(object, root, &accept, room / AHEAD)?;
            deliver(Pack::new(reading, is_packed), to, &mut sender, &mut receiver, &progress).await?;
        }
        receiver.ended().await?;
        Ok(sender.finish().await?)
    }
}
