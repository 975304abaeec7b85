//! Parcels whose time is over: because their room keeps files no longer, or no longer has their event.
//!
//! The room is told first, the record follows, and only then does the vault let go. Each step can be repeated, so a crash
//! between any two is finished by the next round. Spec: S5.71.

use hikyaku::Failure;
use hikyaku_chat::{Authority, Kept as RoomKeeps, NewEvent, Refusal};
use hikyaku_files::rooms::Content;
use hikyaku_storage::{Batch, Key, Versioned};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{Kind, RoomId};
use hikyaku_wire::parcel::{EndStatus, ParcelEnd, TransferId};

use super::record::{ParcelRecord, expired_id, kept_prefix, parse_kept, parse_place, places_prefix};
use super::{PAGE, Parcels, damaged, decode, store_failure, transfer_id};

/// Where it stands that the records of earlier releases have their indexes.
const INDEXED: &str = "parcel-indexed";
/// The most parcels that one round lets go of.
const AT_ONCE: usize = 64;

impl Parcels {
    /// Says of some parcels whose time is over that they have expired.
    pub(super) async fn expire_some(&self) -> Result<Vec<Content>, Failure> {
        self.index_all().await?;
        let (mut expired, mut after) = (Vec::new(), None);
        // From room to room: the first key behind all of one room is the first of the next.
        while expired.len() < AT_ONCE {
            let page = self.scan(kept_prefix(), after, 1).await?;
            let Some((key, _)) = page.first() else { break };
            let (room, ..) = parse_kept(key).ok_or_else(damaged)?;
            if let Err(failure) = self.expire_in(room, &mut expired).await {
                // Those of which it was said are let go of; the next round meets the failure first.
                return if expired.is_empty() { Err(failure) } else { Ok(expired) };
            }
            after = Some(Key::join([kept_prefix().as_bytes(), &room.0, &[0xff; 24]]));
        }
        Ok(expired)
    }

    async fn expire_in(&self, room: RoomId, expired: &mut Vec<Content>) -> Result<(), Failure> {
        let keeps = self.chat.keeps(room).await?;
        for transfer in self.over(room, keeps).await? {
            let Some((record, _)) = self.read(transfer).await? else { continue };
            if let Some(content) = record.content() {
                self.expire_one(record).await?;
                expired.push(content);
            }
        }
        Ok(())
    }

    /// The parcels of a room whose time is over, some of them.
    async fn over(&self, room: RoomId, keeps: RoomKeeps) -> Result<Vec<TransferId>, Failure> {
        let mut over = Vec::new();
        if let Some(files_ms) = keeps.retention.files_ms {
            let cut = (self.clock)().saturating_sub(files_ms);
            let of_room = Key::join([kept_prefix().as_bytes(), &room.0]);
            let page = self.scan(of_room, None, AT_ONCE).await?;
            let kept = page.iter().filter_map(|(key, _)| parse_kept(key));
            over.extend(kept.filter(|(_, since, _)| *since <= cut).map(|(.., transfer)| transfer));
        }
        // What is trimmed cannot be named any more.
        let (mut after, mut trimmed) = (None, Vec::new());
        while over.len() + trimmed.len() < AT_ONCE {
            let page = self.scan(places_prefix(room), after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let gone = page.iter().filter(|(key, _)| parse_place(key).is_some_and(|seq| seq < keeps.first));
            let gone = gone.map(|(_, found)| transfer_id(&found.value)).collect::<Result<Vec<_>, _>>()?;
            let all = gone.len() == page.len();
            for transfer in gone {
                if self.read(transfer).await?.is_some_and(|(record, _)| record.content().is_some()) {
                    trimmed.push(transfer);
                }
            }
            if !all {
                break;
            }
        }
        over.extend(trimmed);
        Ok(over)
    }

    /// Tells the room, and then notes it.
    //= S5.71
    async fn expire_one(&self, record: ParcelRecord) -> Result<(), Failure> {
        if let Some(place) = record.place {
            let end = ParcelEnd {
                parcel: place.seq,
                status: EndStatus::Expired,
                root: None,
                bytes: None,
                entries: None,
            };
            let event = NewEvent {
                kind: Kind::PARCEL_END,
                id: Some(expired_id(record.parcel.transfer)),
                body: cbor::encode(&end).into(),
                refs: vec![place.seq],
            };
            match self.chat.append_event(record.room, Authority::Server(record.author()), event).await {
                // Of what is trimmed nobody is told.
                Ok(_) | Err(Refusal::RefTrimmed { .. }) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        self.change(record.parcel.transfer, ParcelRecord::expire).await.map(|_| ())
    }

    /// Gives the records that an earlier release wrote what it did not know: their time begins now.
    async fn index_all(&self) -> Result<(), Failure> {
        let marker = Key::from(INDEXED);
        let known = self.store.get(&marker).await.map_err(|error| store_failure(&error))?;
        if known.is_some() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.scan(super::records_prefix(), after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, found) in &page {
                let record: ParcelRecord = decode(&found.value)?;
                if record.content().is_some() {
                    let now = (self.clock)();
                    self.change(record.parcel.transfer, move |record| record.note_kept(now)).await?;
                }
            }
        }
        let batch = Batch::new().put(marker, vec![1]);
        self.store.commit(batch).await.map_err(|error| store_failure(&error)).map(|_| ())
    }

    pub(super) async fn scan(
        &self,
        prefix: Key,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Versioned)>, Failure> {
        self.store.scan(prefix, after, limit).await.map_err(|error| store_failure(&error))
    }
}
