//! Parcels in rooms: what files ask of the room log, answered over chat and the store.
//!
//! A parcel is one record, [`ParcelRecord`], under its transfer id. It is written before the event `parcel`, so that
//! a crash between the two is found: if the event is not there, nobody has been told of the parcel, and it is forgotten. All
//! its events have ids derived from the transfer, so writing them again is writing them once. The record is what says
//! whether the vault keeps anything for it ([`Holds`]). Spec: chapter 5, "In a room".

mod announcing;
mod dropping;
mod expiry;
mod handed;
mod known;
mod record;

use std::sync::Arc;

use hikyaku::{ErrorCode, Failure};
use hikyaku_chat::{Authority, ChatServer, Member, NewEvent, Operation, Refusal, RoomName};
use hikyaku_files::Rooms;
use hikyaku_files::rooms::{
    Allowance, Announced, Content, Deed, Fetch, Holds, Mend, OpenParcel, Owner, Resolved, RoomKey,
};
use hikyaku_storage::{Batch, Store, StoreError, Versioned};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Kind, MessageId, RoomId, RoomRef, Sent, UserId};
use hikyaku_wire::files::{Offer, Target, Wanted};
use hikyaku_wire::parcel::{Addressee, EndStatus, EntryKind, EventRef, Parcel, ParcelEnd, Root, TransferId};
use minicbor::Decode;

use super::audit::Audit;
use super::context::Context;
use super::quotas;
use crate::reference::place;
use announcing::{Announcing, Claim};
use dropping::may_drop;
use record::{ParcelRecord, Place, end_id, open_key, place_key, record_key, records_prefix};

pub(crate) use handed::Handed;

/// Records read at once.
const PAGE: usize = 256;
/// Milliseconds since 1970.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// How often a record is written again when someone else changed it meanwhile.
const ATTEMPTS: usize = 16;

/// Parcels, over the room log and the store.
#[derive(Clone)]
pub(crate) struct Parcels {
    chat: ChatServer,
    store: Arc<dyn Store>,
    clock: Clock,
    announcing: Announcing,
    /// Where it is written down what becomes of offers and requests.
    audit: Option<Audit>,
}

impl Parcels {
    pub(crate) fn new(chat: ChatServer, store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(hikyaku_accounts::system_time);
        Self { chat, store, clock, announcing: Announcing::default(), audit: None }
    }

    /// The same, and what becomes of offers and requests is written down.
    pub(crate) fn audited(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// The record of a parcel that is to be announced. One without a place is written anew: nobody forgets it any more.
    async fn recorded(
        &self,
        context: &Context,
        room: &str,
        parcel: &Parcel,
    ) -> Result<ParcelRecord, Failure> {
        let author = context.author();
        let (record, version) = match self.read(parcel.transfer).await? {
            Some((record, _)) if record.parcel != *parcel || record.author != author.id => {
                return Err(Failure::new(
                    ErrorCode::CONFLICT,
                    "this transfer was offered before as another parcel",
                ));
            }
            Some((record, _)) if record.place.is_some() => return Ok(record),
            Some(known) => known,
            None => {
                let room = self.meant(context, room).await?;
                let record = ParcelRecord {
                    room,
                    room_name: self.chat.name(room).await?,
                    parcel: parcel.clone(),
                    author: author.id,
                    author_name: author.name.clone(),
                    device: author.device,
                    place: None,
                    end: None,
                    kept: None,
                };
                (record, 0)
            }
        };
        if self.write(&record, version).await? {
            return Ok(record);
        }
        Err(Failure::new(ErrorCode::BUSY, "this transfer is being offered twice at once"))
    }

    /// Writes the event `parcel` and notes its place, or forgets the record: it is claimed until either is done.
    async fn place_claimed(
        self,
        claim: Claim,
        record: ParcelRecord,
        authority: Authority,
    ) -> Result<ParcelRecord, Failure> {
        let transfer = record.parcel.transfer;
        let placed = self.place(record, authority).await;
        // Offered again meanwhile, after its connection broke: then it is the other one's, or the sweep's.
        if placed.is_err()
            && let Some((record, version)) = self.read(transfer).await?
            && self.announcing.is_alone(transfer)
        {
            self.settle_place(record, version).await?;
        }
        drop(claim);
        placed
    }

    /// Writes the event `parcel` if it is not there yet, and notes its place.
    async fn place(&self, record: ParcelRecord, authority: Authority) -> Result<ParcelRecord, Failure> {
        if record.place.is_some() {
            return Ok(record);
        }
        let transfer = record.parcel.transfer;
        let event = NewEvent {
            kind: Kind::PARCEL,
            id: Some(MessageId(transfer.0)),
            body: cbor::encode(&record.parcel).into(),
            refs: Vec::new(),
        };
        let Sent { epoch, seq, .. } = self.chat.append_event(record.room, authority, event).await?;
        self.change(transfer, move |record| record.place = Some(Place { epoch, seq })).await
    }

    /// Notes the place of an event that was written and not noted, or forgets a parcel that has none: the record of this version.
    async fn settle_place(
        &self,
        record: ParcelRecord,
        version: u64,
    ) -> Result<Option<ParcelRecord>, Failure> {
        if record.place.is_some() {
            return Ok(Some(record));
        }
        let transfer = record.parcel.transfer;
        match self.chat.place_of(record.room, record.author, MessageId(transfer.0)).await? {
            Some((epoch, seq)) => {
                let place = Place { epoch, seq };
                self.change(transfer, move |record| record.place = Some(place)).await.map(Some)
            }
            None => self.forget(transfer, version).await.map(|()| None),
        }
    }

    /// Forgets a parcel that nobody has been told of. Whoever offers it again begins anew.
    async fn forget(&self, transfer: TransferId, version: u64) -> Result<(), Failure> {
        let key = record_key(transfer);
        let batch = Batch::new().check(key.clone(), version).delete(key).delete(open_key(Some(transfer)));
        match self.store.commit(batch).await {
            // Offered again meanwhile: it is somebody's.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(store_failure(&error)),
            Ok(_) => Ok(()),
        }
    }

    /// Reads a record, changes it and writes it with its indexes, again if somebody else was faster.
    async fn change(
        &self,
        transfer: TransferId,
        change: impl Fn(&mut ParcelRecord),
    ) -> Result<ParcelRecord, Failure> {
        for _ in 0..ATTEMPTS {
            let (mut record, version) = self.read(transfer).await?.ok_or_else(unknown)?;
            change(&mut record);
            if self.write(&record, version).await? {
                return Ok(record);
            }
        }
        Err(Failure::new(ErrorCode::BUSY, "too many changes to this parcel at once"))
    }

    /// Writes a record over the version it was read at; false if that version is no longer there.
    async fn write(&self, record: &ParcelRecord, version: u64) -> Result<bool, Failure> {
        let transfer = record.parcel.transfer;
        let batch =
            Batch::new().check(record_key(transfer), version).put(record_key(transfer), cbor::encode(record));
        let batch = record.index(batch);
        match self.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(store_failure(&error)),
        }
    }

    async fn read(&self, transfer: TransferId) -> Result<Option<(ParcelRecord, u64)>, Failure> {
        let found = self.store.get(&record_key(transfer)).await.map_err(|error| store_failure(&error))?;
        found.map(|Versioned { value, version }| Ok((decode(&value)?, version))).transpose()
    }

    async fn at(&self, room: RoomId, seq: u64) -> Result<Option<TransferId>, Failure> {
        let found = self.store.get(&place_key(room, seq)).await.map_err(|error| store_failure(&error))?;
        found.map(|found| transfer_id(&found.value)).transpose()
    }

    /// The room of this name, whoever asks.
    async fn room(&self, name: &str) -> Result<RoomId, Failure> {
        Ok(self.chat.resolve(&RoomRef::Name(name.to_owned())).await?)
    }

    /// The room that a member means by this name: somebody's is the direct room of the two.
    async fn meant(&self, context: &Context, name: &str) -> Result<RoomId, Failure> {
        Ok(self.chat.meant(context, &RoomRef::Name(name.to_owned())).await?)
    }
}

impl Rooms<Context> for Parcels {
    fn owner(&self, context: &Context) -> Owner {
        context.session().user.map_or([0; 16], |user| user.0)
    }

    async fn may_put(&self, context: &Context, offer: &Offer) -> Result<(), Failure> {
        match &offer.target {
            Target::Drop(_) => may_drop(context, offer.options.unwrap_or_default()).await,
            Target::Room(name) | Target::Device(name, _) => {
                let room = self.meant(context, name).await?;
                Ok(self.chat.may(context, Operation::Append(Kind::PARCEL), room).await?)
            }
        }
    }

    async fn record(&self, context: &Context, deed: Deed<'_>) -> Result<(), Failure> {
        match &self.audit {
            Some(audit) => audit.record(context, &deed).await,
            None => Ok(()),
        }
    }

    async fn record_fetch(&self, context: &Context, fetch: Fetch<'_>) -> Result<(), Failure> {
        match &self.audit {
            Some(audit) => audit.record_fetch(context, &fetch).await,
            None => Ok(()),
        }
    }

    async fn record_mend(&self, context: &Context, mend: Mend<'_>) -> Result<(), Failure> {
        match &self.audit {
            Some(audit) => audit.record_mend(context, &mend).await,
            None => Ok(()),
        }
    }

    async fn allowance(&self, owner: Owner) -> Result<Allowance, Failure> {
        quotas::allowance(&*self.store, UserId(owner)).await
    }

    async fn room(&self, context: &Context, room: &str) -> Result<RoomKey, Failure> {
        Ok(self.meant(context, room).await?.0)
    }

    //= S5.75
    async fn addressee(&self, context: &Context, room: &str, device: &str) -> Result<Addressee, Failure> {
        let person = RoomName::parse_any(room).ok().and_then(|name| Some(name.person()?.to_owned()));
        let nobody = || {
            let (person, device) = (hikyaku::printable(room), hikyaku::printable(device));
            Failure::new(ErrorCode::NOT_FOUND, format!("{person} has no device '{device}'"))
        };
        let (user, _) = context.user_named(&person.ok_or_else(nobody)?).await?.ok_or_else(nobody)?;
        let id = context.device_named(user, device).await?.ok_or_else(nobody)?;
        Ok(Addressee { id, name: device.to_owned() })
    }

    async fn announce(&self, context: &Context, room: &str, parcel: &Parcel) -> Result<Announced, Failure> {
        let claim = self.announcing.claim(parcel.transfer);
        let record = self.recorded(context, room, parcel).await?;
        self.chat.may(context, Operation::Append(Kind::PARCEL), record.room).await?;
        // Asked again in the append's own batch: who is sent away meanwhile announces nothing.
        //= S4.81
        let authority = Authority::Member(Arc::new(context.again()));
        // An append that is on its way does not end with the request, and neither does what keeps its record.
        let placed = tokio::spawn(self.clone().place_claimed(claim, record, authority)).await;
        let record = placed.map_err(|error| broken(&error))??;
        let place = record.place.ok_or_else(unknown)?;
        Ok(Announced { event: record.event(place), end: record.end })
    }

    async fn conclude(&self, event: &EventRef, end: &ParcelEnd) -> Result<ParcelEnd, Failure> {
        let room = self.room(&event.room).await?;
        let transfer = self.at(room, event.seq).await?.ok_or_else(unknown)?;
        let (record, _) = self.read(transfer).await?.ok_or_else(unknown)?;
        if let Some(end) = record.end {
            return Ok(end);
        }
        let entries = end.entries.filter(|_| record.parcel.kind == EntryKind::Tree);
        let end = &ParcelEnd { entries, ..end.clone() };
        let closing = NewEvent {
            kind: Kind::PARCEL_END,
            id: Some(end_id(transfer)),
            body: cbor::encode(end).into(),
            refs: vec![event.seq],
        };
        let end = match self.chat.append_event(record.room, Authority::Server(record.author()), closing).await
        {
            Ok(_) => end.clone(),
            // An end was written before and could not be noted: the log is right, the record follows it.
            Err(Refusal::IdReused { seq }) => {
                let written = self.chat.event(record.room, seq).await?.and_then(|event| event.body);
                decode(&written.ok_or_else(unknown)?)?
            }
            // Nobody can name it any more. Nobody is told, and nothing is kept.
            Err(Refusal::RefTrimmed { .. }) => {
                ParcelEnd { status: EndStatus::Aborted, root: None, ..end.clone() }
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let now = (self.clock)();
        let record = self.change(transfer, move |record| record.conclude(end.clone(), now)).await?;
        record.end.ok_or_else(unknown)
    }

    async fn resolve(&self, context: &Context, wanted: &Wanted) -> Result<Resolved, Failure> {
        let (transfer, seen) = match wanted {
            Wanted::Transfer(transfer) => (*transfer, None),
            Wanted::Event(event) => {
                let room = self.meant(context, &event.room).await?;
                self.announced_at(context, room, event.seq).await?.ok_or_else(|| no_parcel(event))?
            }
        };
        let (record, _) = self.read(transfer).await?.ok_or_else(unknown)?;
        self.chat.may(context, Operation::Read, record.room).await?;
        let place = record.place.or(seen).ok_or_else(unknown)?;
        if let Wanted::Event(event) = wanted
            && event.epoch.is_some_and(|epoch| epoch != place.epoch)
        {
            return Err(no_parcel(event));
        }
        let (root, settled) = match record.end {
            Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), bytes, .. }) => {
                (Some(root), bytes)
            }
            None => (None, None),
            Some(ParcelEnd { status: EndStatus::Expired, .. }) => {
                return Err(Failure::new(
                    ErrorCode::NOT_FOUND,
                    "this parcel has expired: its room keeps files no longer",
                ));
            }
            Some(_) => {
                return Err(Failure::new(
                    ErrorCode::NOT_FOUND,
                    "this parcel was given up before it was whole",
                ));
            }
        };
        let Parcel { name, kind, bytes, meta, .. } = record.parcel;
        let size = settled.or(bytes);
        Ok(Resolved { transfer, name, root, size, kind, meta })
    }

    async fn open_parcels(&self) -> Result<Vec<OpenParcel>, Failure> {
        let (mut open, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(open_key(None), after.clone(), PAGE).await;
            let page = page.map_err(|error| store_failure(&error))?;
            let Some((last, _)) = page.last() else { return Ok(open) };
            after = Some(last.clone());
            for (_, found) in &page {
                let Some((record, version)) = self.read(transfer_id(&found.value)?).await? else { continue };
                if record.place.is_none() && self.announcing.has(record.parcel.transfer) {
                    continue;
                }
                // What was announced to nobody when the server died needs no end.
                let Some(record) = self.settle_place(record, version).await? else { continue };
                let place = record.place.ok_or_else(unknown)?;
                let (transfer, event, counts) =
                    (record.parcel.transfer, record.event(place), record.counts());
                open.push(OpenParcel { transfer, event, counts });
            }
        }
    }

    async fn holds(&self, transfer: TransferId) -> Result<Option<Holds>, Failure> {
        Ok(self.read(transfer).await?.map(|(record, _)| record.holds()))
    }

    async fn contents(&self, after: Option<TransferId>) -> Result<Vec<Content>, Failure> {
        let mut after = after.map(record_key);
        loop {
            let page = self.store.scan(records_prefix(), after, PAGE).await;
            let page = page.map_err(|error| store_failure(&error))?;
            let Some((last, _)) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.clone());
            let records = page.iter().map(|(_, found)| decode::<ParcelRecord>(&found.value));
            let contents = records.filter_map(|record| record.map(|record| record.content()).transpose());
            let contents = contents.collect::<Result<Vec<_>, _>>()?;
            // A page of parcels that were all given up is not the end.
            if !contents.is_empty() {
                return Ok(contents);
            }
        }
    }

    async fn known(&self, context: &Context, room: &str, size: u64) -> Result<Vec<Root>, Failure> {
        self.known_to(context, room, size).await
    }

    async fn older(
        &self,
        context: &Context,
        room: &str,
        name: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Root>, Failure> {
        self.older_of(context, room, name, kind).await
    }

    async fn expire(&self) -> Result<Vec<Content>, Failure> {
        self.expire_some().await
    }
}

/// A stored file that a room promises.
pub(crate) struct SettledParcel {
    pub(crate) name: String,
    /// Its event, as a reference.
    pub(crate) place: Option<String>,
    pub(crate) kind: EntryKind,
    pub(crate) id: Root,
    /// Its object, in hexadecimal.
    pub(crate) root: String,
    pub(crate) bytes: Option<u64>,
}

/// Every parcel that is whole, and sentences about records that cannot be read. For `hikyaku doctor`.
pub(crate) async fn settled(store: &dyn Store) -> Result<(Vec<SettledParcel>, Vec<String>), StoreError> {
    let (mut parcels, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.scan(records_prefix(), after.take(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok((parcels, unreadable)) };
        after = Some(last.clone());
        for (key, found) in &page {
            match decode::<ParcelRecord>(&found.value) {
                Ok(record) => {
                    let Some(Content { root: id, .. }) = record.content() else { continue };
                    let place = record.place.map(|at| format!("{}:{}", place(&record.room_name), at.seq));
                    let (kind, bytes) = (record.parcel.kind, record.end.and_then(|end| end.bytes));
                    let name = String::from_utf8_lossy(record.parcel.name.as_ref()).into_owned();
                    parcels.push(SettledParcel { name, place, kind, id, root: id.to_string(), bytes });
                }
                Err(_) => unreadable.push(format!("the record of a parcel cannot be read ({key})")),
            }
        }
    }
}

fn transfer_id(bytes: &[u8]) -> Result<TransferId, Failure> {
    bytes.try_into().map(TransferId).map_err(|_| damaged())
}

fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, Failure> {
    cbor::decode(bytes, &cbor::Limits::default()).map_err(|_| damaged())
}

fn no_parcel(event: &EventRef) -> Failure {
    Failure::new(ErrorCode::NOT_FOUND, format!("{event} is not a parcel"))
}

fn unknown() -> Failure {
    Failure::new(ErrorCode::TRANSFER_UNKNOWN, "there is no such parcel here")
}

fn damaged() -> Failure {
    tracing::error!("a record of a parcel cannot be read");
    Failure::new(ErrorCode::CORRUPT, "the server's record of this parcel cannot be read")
}

fn broken(error: &tokio::task::JoinError) -> Failure {
    tracing::error!(%error, "a parcel was not announced");
    Failure::new(ErrorCode::INTERNAL, "the server could not announce this parcel; its log says why")
}

fn store_failure(error: &StoreError) -> Failure {
    tracing::error!(%error, "the store failed under a parcel");
    match error {
        StoreError::Full => Failure::new(ErrorCode::FULL, "the server's disk is full"),
        _ => Failure::new(ErrorCode::INTERNAL, "the server's store failed; its log says why"),
    }
}

#[cfg(test)]
mod tests;
