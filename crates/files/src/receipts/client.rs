//! The client side of signed receipts.

use std::future::Future;
use std::time::Duration;

use hikyaku::{Exchange, Receiver};
use hikyaku_wire::files::Wanted;
use hikyaku_wire::files::receipts::{
    AskHands, GIVE, Given, HANDS, Hands, KeptReceipt, LIST, ListReceipts, Receipts, SignedReceipt,
};
use hikyaku_wire::parcel::EventRef;
use minicbor::Encode;

use super::Holder;
use crate::client::{Destination, Fetched, FilesClient, forget};
use crate::error::{FilesError, Result};
use crate::progress::Progress;

/// How long it may take to learn who receives, and to give a receipt: the parcel is here, whatever becomes of that.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most receipts that are listed of one parcel.
const MOST: usize = 1 << 16;

/// What was fetched, and what became of its receipt.
#[derive(Debug)]
pub struct Receipted {
    /// What was fetched.
    pub fetched: Fetched,
    /// The receipt, and whether the server has it; `None` where nobody knows who receives.
    pub receipt: Option<(SignedReceipt, Result<Given>)>,
}

impl FilesClient {
    /// Fetches a parcel as [`FilesClient::get_file`] does and, once it is durable and in its place, gives the server the
    /// receipt that `holder` signs. That the receipt does not arrive is no failure of the transfer.
    ///
    /// `owe` keeps the receipt until it was given: durable when it returns. If this process ends before, whoever fetches the
    /// same to the same place signs it then.
    pub async fn get_receipted(
        &self,
        wanted: &Wanted,
        into: &Destination,
        progress: &Progress,
        holder: impl Future<Output = Option<Holder>>,
        clock: impl Fn() -> u64,
        owe: impl FnOnce(&SignedReceipt),
    ) -> Result<Receipted> {
        // Asked for while bytes come: nothing of the server is needed between the name and the signature.
        let holder = async { Ok(tokio::time::timeout(PATIENCE, holder).await) };
        let getting = self.get_remembered(wanted, into, progress);
        let ((fetched, remains), holder) = tokio::try_join!(getting, holder)?;
        let is_cut_off = holder.is_err() || self.connection.is_closed();
        //= S5.90
        // A part of a tree, or a file that was left as it was, is not the parcel.
        if into.only.is_some() || fetched.kept.is_some() {
            forget(remains).await?;
            return Ok(Receipted { fetched, receipt: None });
        }
        let signed = holder.ok().flatten().and_then(|holder| holder.sign(&fetched, clock()));
        if let Some(receipt) = &signed {
            owe(receipt);
        }
        // Who receives was not to be learned: who fetches the same again asks again.
        if signed.is_some() || !is_cut_off {
            forget(remains).await?;
        }
        let receipt = match signed {
            Some(receipt) => {
                let given = self.give_receipt(&receipt).await;
                Some((receipt, given))
            }
            None => None,
        };
        Ok(Receipted { fetched, receipt })
    }

    /// Gives a receipt to the server: it is durable there when this returns.
    pub async fn give_receipt(&self, receipt: &SignedReceipt) -> Result<Given> {
        let given = async {
            let mut exchange = self.open(GIVE).await?;
            ask(&mut exchange, receipt).await?;
            let given = exchange.receive().await?;
            exchange.ended().await?;
            Ok(given)
        };
        let patient = tokio::time::timeout(PATIENCE, given).await;
        patient.unwrap_or_else(|_| Err(FilesError::Exchange(hikyaku::Error::Deadline)))
    }

    /// Everybody's receipts of a parcel, as the server has them. Nothing of them is checked yet.
    pub async fn receipts(&self, parcel: &EventRef) -> Result<Vec<KeptReceipt>> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let mut exchange = self.open(LIST).await?;
            ask(&mut exchange, &ListReceipts { parcel: parcel.clone(), after }).await?;
            let page: Receipts = exchange.receive().await?;
            exchange.ended().await?;
            found.extend(page.receipts);
            match page.more {
                None => return Ok(found),
                Some(_) if found.len() > MOST => {
                    return Err(FilesError::Limit { name: "receipts of a parcel", limit: MOST as u64 });
                }
                more => after = more,
            }
        }
    }

    /// In how many hands parcels of a room are.
    pub async fn hands(&self, room: &str, parcels: Vec<u64>) -> Result<Vec<Hands>> {
        let mut following = self.follow(room, parcels, None).await?;
        let mut found = Vec::new();
        while let Some(hands) = following.next().await? {
            found.push(hands);
        }
        Ok(found)
    }

    /// The same, and then of every parcel of the room that comes into another hand.
    pub async fn follow_hands(&self, room: &str, parcels: Vec<u64>) -> Result<Following> {
        self.follow(room, parcels, Some(true)).await
    }

    async fn follow(&self, room: &str, parcels: Vec<u64>, follow: Option<bool>) -> Result<Following> {
        let question = AskHands { room: room.to_owned(), parcels, follow };
        let mut exchange = self.open(HANDS).await?;
        if follow.is_none() {
            ask(&mut exchange, &question).await?;
            return Ok(Following { receiver: exchange.split().1, sender: None });
        }
        let (mut sender, receiver) = exchange.split();
        sender.send(&question).await?;
        Ok(Following { receiver, sender: Some(sender) })
    }
}

/// Asks, and says that this is all. Who has answered already reads no more of it.
async fn ask(exchange: &mut Exchange, question: &impl Encode<()>) -> hikyaku::Result<()> {
    match exchange.reply(question).await {
        Ok(()) | Err(hikyaku::Error::Cancelled(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Hands, as the server tells of them.
pub struct Following {
    receiver: Receiver,
    /// Held open: its end is the end of the telling.
    sender: Option<hikyaku::Sender>,
}

impl Following {
    /// The next; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Hands>> {
        match self.receiver.receive().await {
            Ok(hands) => Ok(Some(hands)),
            Err(hikyaku::Error::Ended) => {
                self.sender = None;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
