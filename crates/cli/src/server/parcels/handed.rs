//! Receipts of parcels, kept beside them in the store: `handed/<transfer><user><device>` is the newest that a device gave.

use std::collections::BTreeSet;
use std::time::Duration;

use hikyaku::{ErrorCode, Failure, KeyId, Retry};
use hikyaku_accounts::system_time;
use hikyaku_chat::{Member as _, Operation};
use hikyaku_files::FilesServer;
use hikyaku_files::receipts::Known;
use hikyaku_files::receipts::server::{News, Receipts};
use hikyaku_storage::{Batch, Key, Versioned};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{DeviceId, RoomId, UserId};
use hikyaku_wire::files::Arrival;
use hikyaku_wire::files::receipts::{
    After, Hands, KeptReceipt, ListReceipts, MAX_LISTED, Receipts as Page, SignedReceipt, Statement,
};
use hikyaku_wire::parcel::{EndStatus, ParcelEnd, TransferId};
use tokio::sync::broadcast;

use super::record::ParcelRecord;
use super::{Parcels, decode, no_parcel, store_failure, unknown};
use crate::server::context::Context;

/// The most receipts that are kept of one parcel.
const MOST: usize = 4_096;
/// When to come again with the receipt of a parcel that has no end yet.
const SOON: Duration = Duration::from_millis(200);
/// Receipts read at once.
const PAGE: usize = 256;
/// News that wait for whoever follows; who is further behind is told all again.
const NEWS: usize = 256;

/// Receipts, over the parcels and their store.
#[derive(Clone)]
pub(crate) struct Handed {
    parcels: Parcels,
    files: FilesServer<Context, Parcels>,
    host: KeyId,
    news: broadcast::Sender<News>,
}

impl Handed {
    pub(crate) fn new(parcels: Parcels, files: FilesServer<Context, Parcels>, host: KeyId) -> Self {
        Self { parcels, files, host, news: broadcast::channel(NEWS).0 }
    }

    /// The parcel of an event, whatever became of it.
    async fn at(&self, room: RoomId, seq: u64) -> Result<Option<ParcelRecord>, Failure> {
        let Some(transfer) = self.parcels.at(room, seq).await? else { return Ok(None) };
        Ok(self.parcels.read(transfer).await?.map(|(record, _)| record))
    }

    /// Some of a parcel's receipts, with whose they are.
    async fn page(
        &self,
        transfer: TransferId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(After, Versioned)>, Failure> {
        let found = self.parcels.store.scan(of_parcel(transfer), after, limit).await;
        let found = found.map_err(|error| store_failure(&error))?;
        found.into_iter().map(|(key, found)| Ok((holder(&key)?, found))).collect()
    }

    /// Everybody who has given a receipt, and how many receipts there are.
    async fn holders(&self, transfer: TransferId) -> Result<(BTreeSet<UserId>, usize), Failure> {
        let (mut users, mut count, mut after) = (BTreeSet::new(), 0, None);
        loop {
            let page = self.page(transfer, after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok((users, count)) };
            after = Some(receipt_key(transfer, *last));
            count += page.len();
            users.extend(page.iter().map(|(holder, _)| holder.user));
        }
    }
}

impl Receipts<Context> for Handed {
    async fn room(&self, context: &Context, name: &str) -> Result<RoomId, Failure> {
        let room = self.parcels.meant(context, name).await?;
        self.parcels.chat.may(context, Operation::Read, room).await?;
        Ok(room)
    }

    async fn known(&self, context: &Context, room: RoomId, seq: u64) -> Result<Known, Failure> {
        self.parcels.chat.may(context, Operation::Read, room).await?;
        let record = self.at(room, seq).await?.ok_or_else(unknown)?;
        let place = record.place.ok_or_else(unknown)?;
        if record.end.is_none() {
            // Who has read along has it all a moment before its end is written.
            let soon = Failure::new(ErrorCode::UNAVAILABLE, "this parcel has no end yet");
            return Err(soon.with_retry(Retry::After(SOON)));
        }
        let Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), bytes, .. }) = record.end else {
            return Err(Failure::new(ErrorCode::NOT_FOUND, "this parcel is not there to be received"));
        };
        let author = context.author();
        Ok(Known {
            host: self.host,
            user: author.id,
            device: author.device,
            epoch: place.epoch,
            transfer: record.parcel.transfer,
            root,
            size: bytes,
        })
    }

    //= S5.92
    //= S5.93
    async fn keep(
        &self,
        context: &Context,
        statement: &Statement,
        receipt: &SignedReceipt,
    ) -> Result<(), Failure> {
        let holder = After { user: statement.user, device: statement.device };
        let key = receipt_key(statement.transfer, holder);
        let known = self.parcels.store.get(&key).await.map_err(|error| store_failure(&error))?;
        if known.is_none() && self.holders(statement.transfer).await?.1 >= MOST {
            let full = format!("the server keeps no more than {MOST} receipts of one parcel");
            return Err(Failure::new(ErrorCode::LIMIT, full));
        }
        let kept =
            KeptReceipt { receipt: receipt.clone(), name: context.author().name, got_ms: system_time() };
        let batch = Batch::new().put(key, cbor::encode(&kept));
        self.parcels.store.commit(batch).await.map_err(|error| store_failure(&error))?;
        // Nobody may be following.
        let _ = self.news.send((statement.room, statement.seq));
        Ok(())
    }

    async fn list(&self, context: &Context, ask: &ListReceipts) -> Result<Page, Failure> {
        let room = self.room(context, &ask.parcel.room).await?;
        let record = self.at(room, ask.parcel.seq).await?.ok_or_else(|| no_parcel(&ask.parcel))?;
        let place = record.place.ok_or_else(unknown)?;
        if ask.parcel.epoch.is_some_and(|epoch| epoch != place.epoch) {
            return Err(no_parcel(&ask.parcel));
        }
        let transfer = record.parcel.transfer;
        let after = ask.after.map(|after| receipt_key(transfer, after));
        let mut found = self.page(transfer, after, MAX_LISTED + 1).await?;
        let more = found.len() > MAX_LISTED;
        found.truncate(MAX_LISTED);
        let more = found.last().map(|(last, _)| *last).filter(|_| more);
        let receipts: Result<_, Failure> = found.iter().map(|(_, found)| decode(&found.value)).collect();
        Ok(Page { receipts: receipts?, more })
    }

    //= S5.95
    async fn hands(&self, room: RoomId, seq: u64) -> Result<Option<Hands>, Failure> {
        let Some(record) = self.at(room, seq).await? else { return Ok(None) };
        let (mut users, _) = self.holders(record.parcel.transfer).await?;
        users.remove(&record.author);
        let hands = u64::try_from(users.len()).unwrap_or(u64::MAX);
        let of = self.parcels.chat.others(room, record.author).await?;
        let arrival = match record.end {
            None => Some(self.files.arrival(record.parcel.transfer).await?),
            Some(_) => None,
        };
        Ok(Some(Hands { seq, hands, of: Some(of).filter(|of| *of >= hands.max(1)), arrival }))
    }

    fn underway(&self, room: RoomId) -> Vec<(u64, Arrival)> {
        self.files.underway().in_room(room.0)
    }

    fn changes(&self) -> broadcast::Receiver<([u8; 16], u64)> {
        self.files.underway().changes()
    }

    fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

fn of_parcel(transfer: TransferId) -> Key {
    Key::join([b"handed/".as_slice(), &transfer.0])
}

fn receipt_key(transfer: TransferId, holder: After) -> Key {
    Key::join([b"handed/".as_slice(), &transfer.0, &holder.user.0, &holder.device.0])
}

/// Whose receipt is under a key.
fn holder(key: &Key) -> Result<After, Failure> {
    let corrupt = || Failure::new(ErrorCode::CORRUPT, "a stored receipt belongs to nobody");
    let (rest, device) = key.as_bytes().split_last_chunk::<32>().ok_or_else(corrupt)?;
    let user = rest.last_chunk::<16>().ok_or_else(corrupt)?;
    Ok(After { user: UserId(*user), device: DeviceId(*device) })
}
