//! One server with a vault and a drop directory, rooms in memory, and connections that can be cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hikyaku::{Connection, ErrorCode, Exchange, Failure, Router};
use hikyaku_files::rooms::{
    Announced, Content, Counts, Deed, Fetch, Holds, Mend, OpenParcel, Outcome, Owner, Resolved,
};
use hikyaku_files::{
    Destination, DropDir, DropOptions, FilesClient, FilesError, FilesLimits, FilesServer, FsVault, Outgoing,
    Progress, Rooms,
};
use hikyaku_storage::vault::Vault;
use hikyaku_wire::files::{Component, Offer, Receipt, Target, Wanted};
use hikyaku_wire::parcel::{EndStatus, EntryKind, EventRef, Parcel, ParcelEnd, Root, TransferId};

pub(crate) type Server = FilesServer<Owner, RoomsModel>;

pub(crate) const ADA: Owner = [0xad; 16];
pub(crate) const BOB: Owner = [0xb0; 16];

/// Rooms as the program would keep them. The context of a connection is who it is.
#[derive(Clone, Default)]
pub(crate) struct RoomsModel(Arc<Mutex<Log>>);

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) parcels: Vec<(String, Parcel)>,
    pub(crate) ends: BTreeMap<u64, ParcelEnd>,
    pub(crate) denied: bool,
    pub(crate) conclude_fails: bool,
    /// Who sent what.
    pub(crate) owners: BTreeMap<TransferId, Owner>,
    /// Who may not read the room.
    pub(crate) outside: Vec<Owner>,
    /// Somebody gives up every parcel right before its end.
    pub(crate) aborts: bool,
    /// Parcels whose time is over.
    pub(crate) over: Vec<u64>,
    /// What became of offers, requests and mending, one after the other.
    pub(crate) said: Vec<String>,
    /// What became of requests, and of which parcels: as it is recorded.
    pub(crate) fetches: Vec<(Option<TransferId>, String)>,
    /// What became of mending: by whom, whether it was found, bytes that were lacking and came, and how it ended.
    pub(crate) mends: Vec<(Owner, bool, Option<u64>, u64, String)>,
}

impl RoomsModel {
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn end(&self, seq: u64) -> Option<ParcelEnd> {
        self.log().ends.get(&seq).cloned()
    }
}

impl Log {
    /// Keeps what became of something.
    fn say(&mut self, outcome: Outcome<'_>) -> String {
        let said = match outcome {
            Outcome::Refused(why) => format!("refused: {why}"),
            Outcome::Accepted => "accepted".to_owned(),
            Outcome::Failed(why) => format!("failed: {why}"),
            Outcome::Finished(_) | Outcome::Done => "finished".to_owned(),
        };
        self.said.push(said.clone());
        said
    }

    fn event(&self, index: usize) -> EventRef {
        EventRef { room: self.parcels[index].0.clone(), epoch: Some(1), seq: index as u64 + 1 }
    }
}

impl Rooms<Owner> for RoomsModel {
    fn owner(&self, context: &Owner) -> Owner {
        *context
    }

    async fn may_put(&self, _: &Owner, offer: &Offer) -> Result<(), Failure> {
        match &offer.target {
            Target::Room(room) if room == "nowhere" => {
                Err(Failure::new(ErrorCode::ROOM_UNKNOWN, "no such room"))
            }
            _ if self.log().denied => Err(Failure::new(ErrorCode::DENIED, "you may not")),
            _ => Ok(()),
        }
    }

    async fn room(&self, _: &Owner, room: &str) -> Result<[u8; 16], Failure> {
        let mut key = [0; 16];
        key.iter_mut().zip(room.bytes()).for_each(|(to, byte)| *to = byte);
        Ok(key)
    }

    async fn announce(&self, who: &Owner, room: &str, parcel: &Parcel) -> Result<Announced, Failure> {
        let mut log = self.log();
        log.owners.insert(parcel.transfer, *who);
        let known = log.parcels.iter().position(|(_, known)| known.transfer == parcel.transfer);
        let index = known.unwrap_or_else(|| {
            log.parcels.push((room.to_owned(), parcel.clone()));
            log.parcels.len() - 1
        });
        let event = log.event(index);
        Ok(Announced { end: log.ends.get(&event.seq).cloned(), event })
    }

    async fn conclude(&self, event: &EventRef, end: &ParcelEnd) -> Result<ParcelEnd, Failure> {
        let mut log = self.log();
        if log.conclude_fails {
            return Err(Failure::new(ErrorCode::UNAVAILABLE, "the room log is down"));
        }
        if log.aborts {
            let end = ParcelEnd { status: EndStatus::Aborted, root: None, bytes: None, ..end.clone() };
            log.ends.entry(event.seq).or_insert(end);
        }
        Ok(log.ends.entry(event.seq).or_insert_with(|| end.clone()).clone())
    }

    async fn resolve(&self, _: &Owner, wanted: &Wanted) -> Result<Resolved, Failure> {
        let log = self.log();
        let unknown = || Failure::new(ErrorCode::NOT_FOUND, "no such parcel");
        let index = match wanted {
            Wanted::Transfer(id) => log.parcels.iter().position(|(_, parcel)| parcel.transfer == *id),
            Wanted::Event(event) => usize::try_from(event.seq - 1).ok(),
        };
        let index = index.ok_or_else(unknown)?;
        let (_, parcel) = log.parcels.get(index).ok_or_else(unknown)?;
        let (root, settled) = match log.ends.get(&(index as u64 + 1)) {
            Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), bytes, .. }) => {
                (Some(*root), *bytes)
            }
            None => (None, None),
            Some(_) => return Err(unknown()),
        };
        let Parcel { transfer, name, kind, bytes, meta, .. } = parcel.clone();
        Ok(Resolved { transfer, name, root, size: settled.or(bytes), kind, meta })
    }

    async fn record(&self, _: &Owner, deed: Deed<'_>) -> Result<(), Failure> {
        self.log().say(deed.outcome);
        Ok(())
    }

    async fn record_fetch(&self, _: &Owner, fetch: Fetch<'_>) -> Result<(), Failure> {
        let mut log = self.log();
        let said = log.say(fetch.outcome);
        let outcome = said.split(':').next().unwrap_or_default().to_owned();
        log.fetches.push((fetch.found.map(|found| found.transfer), outcome));
        Ok(())
    }

    async fn record_mend(&self, who: &Owner, mend: Mend<'_>) -> Result<(), Failure> {
        let mut log = self.log();
        let outcome = log.say(mend.outcome);
        log.mends.push((*who, mend.found.is_some(), mend.lacking, mend.mended, outcome));
        Ok(())
    }

    async fn open_parcels(&self) -> Result<Vec<OpenParcel>, Failure> {
        let log = self.log();
        let open = (0..log.parcels.len()).filter(|index| !log.ends.contains_key(&(*index as u64 + 1)));
        Ok(open
            .map(|index| OpenParcel {
                transfer: log.parcels[index].1.transfer,
                event: log.event(index),
                counts: log.counts(index),
            })
            .collect())
    }

    async fn known(&self, who: &Owner, _: &str, size: u64) -> Result<Vec<Root>, Failure> {
        let log = self.log();
        if log.outside.contains(who) {
            return Ok(Vec::new());
        }
        let settled = log.ends.values().filter(|end| end.bytes == Some(size));
        Ok(settled.filter_map(|end| end.root).collect())
    }

    async fn older(
        &self,
        who: &Owner,
        room: &str,
        name: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Root>, Failure> {
        let log = self.log();
        if log.outside.contains(who) {
            return Ok(None);
        }
        let mut newest = log.parcels.iter().enumerate().rev();
        Ok(newest.find_map(|(index, (at, parcel))| {
            let is_one = at == room && parcel.name == name && parcel.kind == kind;
            let end =
                log.ends.get(&(index as u64 + 1)).filter(|end| is_one && end.status == EndStatus::Settled);
            end.and_then(|end| end.root)
        }))
    }

    async fn holds(&self, transfer: TransferId) -> Result<Option<Holds>, Failure> {
        Ok(self.log().holds(transfer))
    }

    async fn contents(&self, after: Option<TransferId>) -> Result<Vec<Content>, Failure> {
        let log = self.log();
        let mut contents: Vec<_> = log
            .parcels
            .iter()
            .enumerate()
            .filter_map(|(index, (_, parcel))| match log.holds(parcel.transfer) {
                Some(Holds::Content(root)) => {
                    Some(Content { transfer: parcel.transfer, root, counts: log.counts(index) })
                }
                _ => None,
            })
            .filter(|content| after.is_none_or(|after| content.transfer > after))
            .collect();
        contents.sort_by_key(|content| content.transfer);
        contents.truncate(2);
        Ok(contents)
    }

    async fn expire(&self) -> Result<Vec<Content>, Failure> {
        let mut log = self.log();
        let mut expired = Vec::new();
        for seq in std::mem::take(&mut log.over) {
            let index = usize::try_from(seq - 1).unwrap();
            let (transfer, counts) = (log.parcels[index].1.transfer, log.counts(index));
            if let Some(Holds::Content(root)) = log.holds(transfer) {
                let end = ParcelEnd {
                    parcel: seq,
                    status: EndStatus::Expired,
                    root: None,
                    bytes: None,
                    entries: None,
                };
                log.ends.insert(seq, end);
                expired.push(Content { transfer, root, counts });
            }
        }
        Ok(expired)
    }
}

impl Log {
    fn counts(&self, index: usize) -> Counts {
        let (name, parcel) = &self.parcels[index];
        let mut room = [0; 16];
        room.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte);
        let settled = self.ends.get(&(index as u64 + 1)).and_then(|end| end.bytes);
        let bytes = settled.or(parcel.bytes).unwrap_or(0);
        Counts { owner: self.owners[&parcel.transfer], room, bytes }
    }

    fn holds(&self, transfer: TransferId) -> Option<Holds> {
        let index = self.parcels.iter().position(|(_, parcel)| parcel.transfer == transfer)?;
        Some(match self.ends.get(&(index as u64 + 1)) {
            None => Holds::Open,
            Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), .. }) => Holds::Content(*root),
            Some(_) => Holds::Nothing,
        })
    }
}

/// Everything a test needs, in a directory that goes away with it.
pub(crate) struct World {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) rooms: RoomsModel,
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(FilesLimits::default(), DropOptions { keep_free: 0, ..DropOptions::default() })
    }

    /// In memory, where there is such a place: for thousands of synchronisations.
    pub(crate) fn in_memory() -> Self {
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self::at(temp, FilesLimits::default(), DropOptions { keep_free: 0, ..DropOptions::default() })
    }

    pub(crate) fn with(limits: FilesLimits, options: DropOptions) -> Self {
        Self::at(tempfile::tempdir().unwrap(), limits, options)
    }

    pub(crate) fn at(temp: tempfile::TempDir, limits: FilesLimits, options: DropOptions) -> Self {
        for directory in ["drop", "home", "into"] {
            std::fs::create_dir_all(temp.path().join(directory)).unwrap();
        }
        let rooms = RoomsModel::default();
        let server = start(temp.path(), &rooms, limits, options);
        Self { temp, rooms, server }
    }

    pub(crate) fn with_vault(vault: Arc<dyn Vault>) -> Self {
        let mut world = Self::new();
        world.server = FilesServer::new(world.rooms.clone(), vault, None, FilesLimits::default());
        world
    }

    /// The server process ends and starts again over the same disk.
    pub(crate) fn restart(&mut self) {
        let options = DropOptions { keep_free: 0, ..DropOptions::default() };
        self.server = start(self.temp.path(), &self.rooms, FilesLimits::default(), options);
    }

    pub(crate) fn restart_with(&mut self, limits: FilesLimits) {
        let options = DropOptions { keep_free: 0, ..DropOptions::default() };
        self.server = start(self.temp.path(), &self.rooms, limits, options);
    }

    pub(crate) async fn connect_as(&self, who: Owner) -> Connection {
        let server = self.server.clone();
        let router =
            Router::new().route("files/1", move |exchange: Exchange<Owner>| server.clone().handle(exchange));
        hikyaku::local::pair(router, who).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Connection {
        self.connect_as(ADA).await
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }

    /// A file in the sender's home, with bytes that differ everywhere.
    pub(crate) fn file(&self, name: &str, len: usize) -> (PathBuf, Vec<u8>) {
        let path = self.path("home").join(name);
        let data = bytes(len);
        std::fs::write(&path, &data).unwrap();
        (path, data)
    }

    pub(crate) async fn send(&self, path: &Path, target: Target) -> Result<Receipt, FilesError> {
        let outgoing = Outgoing::new(path, None, target).unwrap();
        FilesClient::new(self.connect().await).send_file(&outgoing, &Progress::none()).await
    }

    pub(crate) async fn get(&self, wanted: &Wanted) -> Result<hikyaku_files::Fetched, FilesError> {
        let destination = Destination::new(self.path("into"));
        FilesClient::new(self.connect().await).get_file(wanted, &destination, &Progress::none()).await
    }

    /// The names in the drop directory, without the hidden one.
    pub(crate) fn dropped(&self) -> Vec<String> {
        names(&self.path("drop")).into_iter().filter(|name| name != ".hikyaku").collect()
    }
}

fn start(at: &Path, rooms: &RoomsModel, limits: FilesLimits, options: DropOptions) -> Server {
    let vault = Arc::new(FsVault::open(&at.join("vault"), 0).unwrap());
    let drop_dir = DropDir::open(&at.join("drop"), options).unwrap();
    FilesServer::new(rooms.clone(), vault, Some(drop_dir), limits)
}

pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&len.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

pub(crate) fn here() -> Target {
    Target::Drop(Vec::new())
}

pub(crate) fn below(path: &[&[u8]]) -> Target {
    Target::Drop(path.iter().map(|component| Component(component.to_vec())).collect())
}

pub(crate) fn room() -> Target {
    Target::Room("lab".into())
}

pub(crate) fn event(seq: u64) -> Wanted {
    Wanted::Event(EventRef { room: "lab".into(), epoch: None, seq })
}

pub(crate) fn code<T>(result: Result<T, FilesError>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it went well"),
        Err(error) => error.code(),
    }
}

/// Waits for what another task does soon; a minute is a failure, not a measure.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            // The processor is for those who are waited for.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
