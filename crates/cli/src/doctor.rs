//! What is looked at when a server is examined, one function a topic. Everything is read, nothing is changed, and a
//! server that is running goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use hikyaku_files::scrub::MAX_NAMED;
use hikyaku_sqlite::{FILE_NAME, OpenError, SqliteStore, inspect};
use hikyaku_storage::vault::ObjectId;
use hikyaku_storage::{Key, RoomId, Store, StoreError};
use hikyaku_wire::parcel::EntryKind;
use rustix::process::{Resource, getrlimit};

use crate::archive;
use crate::server::{self, KEEP_FREE};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Ok,
    /// Nothing is lost, but somebody should look.
    Warning,
    /// What was stored is not what is there.
    Damaged,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Damaged => "damaged",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The topic, a word for scripts.
    pub(crate) check: &'static str,
    pub(crate) state: State,
    pub(crate) says: String,
    /// What to do.
    pub(crate) hint: Option<&'static str>,
}

const RESTORE: &str = "stop the server, keep a copy of the data directory, and restore a backup ('hikyaku restore FILE --replace')";
/// A server with fewer open files soon has no room for connections.
const FEWEST_FILES: u64 = 1_024;
const COPY: &str = "nothing that anybody said is lost; keep a copy of the data directory and report this";

/// Findings so far.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.0.push(Finding { check, state: State::Ok, says: says.into(), hint: None });
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, hint: &'static str) {
        self.0.push(Finding { check, state: State::Warning, says: says.into(), hint: Some(hint) });
    }

    fn damaged(&mut self, check: &'static str, says: impl Into<String>, hint: &'static str) {
        self.0.push(Finding { check, state: State::Damaged, says: says.into(), hint: Some(hint) });
    }

    /// Damage and orphans of one topic, or that all is well.
    fn of(&mut self, check: &'static str, well: String, damage: Vec<String>, orphans: Vec<String>) {
        if damage.is_empty() && orphans.is_empty() {
            return self.ok(check, well);
        }
        for says in damage {
            self.damaged(check, says, RESTORE);
        }
        for says in orphans {
            self.warn(check, says, COPY);
        }
    }

    /// The worst of all.
    pub(crate) fn worst(&self) -> State {
        self.0.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
    }
}

/// Looks at everything. With `objects`, the content of every stored file is read and hashed.
pub(crate) async fn examine(data: &Path, now_ms: u64, objects: bool) -> Findings {
    let mut found = Findings::default();
    modes(data, &mut found);
    key(data, &mut found);
    limits(getrlimit(Resource::Nofile).maximum, &mut found);
    disk(data, free(data), &mut found);
    let Some(rooms) = file(data, &mut found) else { return found };
    let store: Arc<dyn Store> = match SqliteStore::open_read_only(data) {
        Ok(store) => Arc::new(store),
        // An older format, which the next start migrates; what is below needs the newest.
        Err(OpenError::Foreign { .. }) => {
            found.warn(
                "store",
                "the store is of an earlier release",
                "'hikyaku serve' migrates it; then ask again",
            );
            return found;
        }
        Err(error) => {
            found.damaged("store", error.to_string(), RESTORE);
            return found;
        }
    };
    if let Err(error) = contents(data, &*store, &rooms, now_ms, objects, &mut found).await {
        found.damaged("store", error.to_string(), RESTORE);
    }
    found
}

async fn contents(
    data: &Path,
    store: &dyn Store,
    rooms: &[RoomId],
    now_ms: u64,
    objects: bool,
    found: &mut Findings,
) -> Result<(), StoreError> {
    let audit = hikyaku_chat::audit::audit(store).await?;
    let mut orphans = audit.orphans;
    for room in rooms {
        if store.get(&Key::join([b"r/".as_slice(), &room.0])).await?.is_none() {
            orphans.push(format!("the log of room {room} belongs to no room"));
        }
    }
    let well = format!(
        "{} rooms, {} events, every chain recomputed, highest epoch {}",
        audit.rooms, audit.events, audit.epoch
    );
    found.of("rooms", well, audit.damage, orphans);
    clock(audit.newest_ms, now_ms, found);
    let audit = hikyaku_accounts::audit::audit(store).await?;
    found.of(
        "accounts",
        format!("{} users, {} devices", audit.users, audit.devices),
        audit.damage,
        audit.orphans,
    );
    files(data, store, objects, found).await
}

/// Nobody else may read what is here.
fn modes(data: &Path, found: &mut Findings) {
    let names = ["", "host.pem", FILE_NAME, "store.sqlite-wal", "admin.sock", "vault"];
    let mut good = 0;
    for name in names {
        let path = data.join(name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        // The vault stands within a directory that nobody else can enter.
        if mode & 0o077 != 0 && name != "vault" {
            let says = format!("{} can be used by others (mode {mode:03o})", path.display());
            let hint = if name.is_empty() {
                "chmod 700 it"
            } else {
                "chmod 600 it; if others may have read it, make new invites and keys"
            };
            found.warn("modes", says, hint);
        } else {
            good += 1;
        }
    }
    if good > 0 && found.worst() == State::Ok {
        found.ok("modes", "nobody else can read the data directory");
    }
}

/// The key that every client has pinned.
fn key(data: &Path, found: &mut Findings) {
    match hikyaku::Identity::load(data.join("host.pem")) {
        Ok(identity) => found.ok("key", identity.id().to_string()),
        Err(error) => found.damaged(
            "key",
            format!("the host key cannot be read: {error}"),
            "take host.pem from a backup; without it every client must be invited anew",
        ),
    }
}

/// What the system lets a server of this user do: how many files it may have open at most.
fn limits(most: Option<u64>, found: &mut Findings) {
    match most {
        Some(most @ ..FEWEST_FILES) => {
            let says = format!("at most {most} files may be open, and each connection is one");
            found.warn("limits", says, "raise it: 'ulimit -n', or LimitNOFILE= in the unit file");
        }
        Some(most) => found.ok("limits", format!("{most} open files")),
        None => found.ok("limits", "any number of open files"),
    }
}

/// How many bytes are free where the data is.
fn disk(data: &Path, free: rustix::io::Result<u64>, found: &mut Findings) {
    match free {
        Ok(free @ ..KEEP_FREE) => {
            let hint = "make room: below 256 MiB no files are taken, and with none left no messages";
            found.warn("disk", format!("{} MiB free", free >> 20), hint);
        }
        Ok(free) => found.ok("disk", format!("{} MiB free", free >> 20)),
        Err(error) => {
            let says = format!("{}: {error}", data.display());
            found.warn("disk", says, "name the data directory with --data DIR");
        }
    }
}

fn free(data: &Path) -> rustix::io::Result<u64> {
    rustix::fs::statvfs(data).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The store's file; the rooms that have a log. `None` if there is nothing more to look at.
fn file(data: &Path, found: &mut Findings) -> Option<Vec<RoomId>> {
    let inspection = match inspect(data) {
        Ok(inspection) => inspection,
        Err(error @ OpenError::Newer { .. }) => {
            found.warn("store", error.to_string(), "use the newer program");
            return None;
        }
        Err(error) => {
            found.damaged("store", error.to_string(), RESTORE);
            return None;
        }
    };
    let broken = !inspection.damage.is_empty();
    let well = format!(
        "format {} of {}, {} keys, structure whole",
        inspection.format, inspection.newest, inspection.keys
    );
    found.of("store", well, inspection.damage, inspection.orphans);
    (!broken).then_some(inspection.rooms)
}

fn clock(newest_ms: u64, now_ms: u64, found: &mut Findings) {
    const TOLERATED_MS: u64 = 60_000;
    if newest_ms > now_ms.saturating_add(TOLERATED_MS) {
        let says = format!(
            "the clock is {} s behind the newest event: every event gets that one's time until it has caught up",
            (newest_ms - now_ms) / 1_000
        );
        found.warn("clock", says, "set the clock ('timedatectl'); times of events never fall");
    } else {
        found.ok("clock", "not behind the newest event");
    }
}

/// Whoever still has the bytes mends them.
const MEND: &str = "whoever still has it mends it: \"hikyaku repair '#room:SEQ' PATH\" gives back what has decayed, 'hikyaku send' all of it, to any room; or restore a backup";
/// What is read may be in memory alone.
const DOUBTFUL: &str =
    "whoever still has it types \"hikyaku repair '#room:SEQ' PATH\" again, which writes all of it anew";
/// There is nothing to mend.
const GONE: &str = "whoever still has it gives it back: 'hikyaku send' to any room; or restore a backup";

/// Every file that a room promises is there; what is there belongs to somebody.
async fn files(data: &Path, store: &dyn Store, hash: bool, found: &mut Findings) -> Result<(), StoreError> {
    let (parcels, damage) = server::settled_parcels(store).await?;
    let objects = data.join("vault/objects");
    let (mut named, mut bytes) = (std::collections::HashSet::new(), 0_u64);
    let (mut gone, mut decayed, mut doubtful) = (Vec::new(), Vec::new(), Vec::new());
    for parcel in &parcels {
        if data.join("vault/mending").join(&parcel.root).exists() {
            doubtful.push(format!(
                "a repair of {} is going on, or was not made durable: what is read of it may not be what the disk has",
                called(parcel)
            ));
        }
        let path = objects.join(&parcel.root);
        let tree = objects.join(format!("{}.tree", parcel.root));
        match fs::metadata(&path) {
            Err(_) => gone.push(format!("{} is not in the vault ({})", called(parcel), parcel.root)),
            Ok(there) if parcel.bytes.is_some_and(|bytes| bytes != there.len()) => {
                decayed.push(format!("{} has {} bytes in the vault", called(parcel), there.len()));
            }
            Ok(_) if !tree.exists() => {
                decayed.push(format!("{} has no tree in the vault", called(parcel)));
            }
            Ok(there) => {
                if named.insert(parcel.root.clone()) {
                    bytes += there.len();
                    if hash {
                        decayed.extend(scrub(data, parcel).await);
                    }
                } else if decayed.iter().any(|says| says.contains(&parcel.root)) {
                    decayed.push(format!("{} has the same content ({})", called(parcel), parcel.root));
                }
            }
        }
    }
    let mut orphans = Vec::new();
    for name in archive::files_in(&objects).unwrap_or_default() {
        let root = name.strip_suffix(".tree").unwrap_or(&name);
        let kept = archive::files_in(&data.join("vault/refs").join(root)).unwrap_or_default();
        if !named.contains(root) && kept.is_empty() && name == root {
            orphans.push(format!("the object {root} belongs to nothing"));
        }
    }
    let how = if hash { "all read and hashed" } else { "sizes compared; --scrub reads them" };
    let well = format!("{} files, {bytes} bytes, {how}", named.len());
    let is_well = gone.is_empty() && decayed.is_empty() && doubtful.is_empty();
    if is_well || !damage.is_empty() || !orphans.is_empty() {
        found.of("files", well, damage, orphans);
    }
    gone.into_iter().for_each(|says| found.damaged("files", says, GONE));
    decayed.into_iter().for_each(|says| found.damaged("files", says, MEND));
    doubtful.into_iter().for_each(|says| found.warn("files", says, DOUBTFUL));
    Ok(())
}

/// A parcel as people know it.
fn called(parcel: &server::SettledParcel) -> String {
    let name = hikyaku::printable(&parcel.name);
    match &parcel.place {
        Some(place) => format!("'{name}' ({})", hikyaku::printable(place)),
        None => format!("'{name}'"),
    }
}

/// Reads one stored file; what of it was changed, a sentence each.
async fn scrub(data: &Path, parcel: &server::SettledParcel) -> Vec<String> {
    let (vault, kind, root) = (data.join("vault"), parcel.kind, parcel.id);
    let scrubbed = tokio::task::spawn_blocking(move || {
        let object = hikyaku_files::scrub::open(&vault, ObjectId(root.0))?;
        hikyaku_files::scrub::scrub(&*object, root, kind)
    });
    let (called, id) = (called(parcel), &parcel.root);
    let found = match scrubbed.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return vec![format!("{called} cannot be read in the vault: {error} ({id})")],
        Err(error) => return vec![format!("{called} cannot be read in the vault: {error} ({id})")],
    };
    let mut says: Vec<String> = found
        .decayed
        .iter()
        .map(|decayed| {
            let of = match &decayed.path {
                Some(path) => format!("in {}, ", hikyaku_files::escape(path)),
                None if kind == EntryKind::Tree => "in names or metadata, from there on, ".to_owned(),
                None => String::new(),
            };
            let (begin, end) = (decayed.range.start, decayed.range.end.saturating_sub(1));
            format!("{called} was changed in the vault: {of}bytes {begin} to {end} ({id})")
        })
        .collect();
    if found.values {
        says.push(format!("{called}: the hashes beside it were changed in the vault ({id})"));
    }
    if found.decayed.len() == MAX_NAMED {
        says.push(format!("{called}: and more, {} bytes in all ({id})", found.decayed_bytes));
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_behind_the_newest_event_is_told() {
        for (newest, state) in [(0, State::Ok), (160_000, State::Ok), (160_001, State::Warning)] {
            let mut found = Findings::default();
            clock(newest, 100_000, &mut found);
            assert_eq!(found.worst(), state, "{newest}");
        }
    }

    fn one(look: impl FnOnce(&mut Findings)) -> Finding {
        let mut found = Findings::default();
        look(&mut found);
        assert_eq!(found.0.len(), 1, "{:?}", found.0);
        found.0.remove(0)
    }

    #[test]
    fn too_few_open_files_are_told_with_their_number_and_what_to_do() {
        let few = one(|found| limits(Some(1_023), found));
        assert_eq!((few.check, few.state), ("limits", State::Warning));
        assert!(few.says.contains("1023") && few.hint.unwrap().contains("LimitNOFILE="), "{few:?}");
        for (most, says) in [(Some(1_024), "1024 open files"), (None, "any number of open files")] {
            let enough = one(|found| limits(most, found));
            assert_eq!((enough.state, &*enough.says, enough.hint), (State::Ok, says, None));
        }
    }

    #[test]
    fn a_disk_that_is_nearly_full_or_not_there_is_told_with_what_to_do() {
        let data = Path::new("/srv/data");
        let little = one(|found| disk(data, Ok(KEEP_FREE - 1), found));
        assert_eq!((little.check, little.state, &*little.says), ("disk", State::Warning, "255 MiB free"));
        assert!(little.hint.unwrap().contains("make room"), "{little:?}");
        let enough = one(|found| disk(data, Ok(KEEP_FREE), found));
        assert_eq!((enough.state, &*enough.says, enough.hint), (State::Ok, "256 MiB free", None));
        let gone = one(|found| disk(data, Err(rustix::io::Errno::NOENT), found));
        assert_eq!((gone.check, gone.state), ("disk", State::Warning));
        assert!(gone.says.starts_with("/srv/data: ") && gone.hint.unwrap().contains("--data"), "{gone:?}");
    }
}
