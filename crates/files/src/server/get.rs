//! `get`: a peer fetches a file.

use hikyaku::Exchange;
use hikyaku_storage::vault::ObjectId;
use hikyaku_wire::files::{Accept, Answer, Head, Request};

use super::{FilesServer, blocking};
use crate::error::{FilesError, Result};
use crate::progress::Progress;
use crate::reader::{self, ObjectReading};
use crate::rooms::Rooms;

impl<C: Send + Sync + 'static, R: Rooms<C>> FilesServer<C, R> {
    pub(super) async fn get(&self, exchange: Exchange<C>) -> Result<()> {
        let context = exchange.shared_context();
        let limit = self.shared.limits.max_gets as u64;
        let _permit =
            self.shared.gets.try_acquire().map_err(|_| FilesError::Limit { name: "max_gets", limit })?;
        let (mut sender, mut receiver) = exchange.split();
        let request: Request = receiver.receive().await?;
        let found = self.shared.rooms.resolve(&context, &request.wanted).await?;
        let vault = self.shared.vault.clone();
        let object = blocking(move || Ok(vault.open(ObjectId(found.root.0))?)).await?;
        sender
            .send(&Head {
                transfer: found.transfer,
                name: found.name,
                kind: found.kind,
                size: Some(object.size()),
                root: Some(found.root),
                meta: found.meta,
            })
            .await?;
        let Accept { from, .. } = match receiver.receive().await? {
            Answer::Accept(accept) => accept,
            _ => return Err(FilesError::Order("an acceptance was expected")),
        };
        let reading = ObjectReading::new(object, found.root, from)?;
        let close = reader::send(&mut sender, reading, &Progress::none()).await?;
        match receiver.receive().await? {
            Answer::Receipt(receipt) if receipt.root == close.root => {}
            _ => return Err(FilesError::Order("the receipt of what was sent was expected")),
        }
        receiver.ended().await?;
        Ok(sender.finish().await?)
    }
}
