//! The receipts that this computer keeps: what the root of a path was when it was sent or fetched.
//!
//! One for each path, in the store of the server that it went to or came from; in so many places that old ones make room
//! for new ones.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hikyaku_sqlite::client::ClientStore;
use serde::{Deserialize, Serialize};

use crate::exit::Result;
use crate::home::Home;

/// How many places there are.
const PLACES: u16 = 1 << 14;

/// What is kept of one transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The hash of the path: another one may want the same place.
    path: String,
    pub(crate) root: String,
    /// Where it went or came from: `#room:SEQ`, `:sub/name`.
    pub(crate) reference: Option<String>,
    /// Whether extended attributes are part of the root.
    pub(crate) xattrs: bool,
    /// Only a part of it was sent since it had this root, because the rest was there: nobody has the root of the whole.
    #[serde(default)]
    pub(crate) parts: bool,
    at_ms: u64,
}

impl Kept {
    pub(crate) fn new(path: &Path, root: String, reference: Option<String>, xattrs: bool) -> Self {
        let at_ms = hikyaku_accounts::system_time();
        Self { path: hash(path), root, reference, xattrs, parts: false, at_ms }
    }

    /// After a part of it was sent alone: what was known of the whole before is known still, and may not hold any more.
    pub(crate) fn after_parts(self, before: Option<Self>) -> Self {
        let root = before.map_or(self.root, |before| before.root);
        Self { root, parts: true, ..self }
    }

    /// The event in a room, if it is in one.
    pub(crate) fn event(&self) -> Option<&str> {
        self.reference.as_deref().filter(|reference| reference.starts_with(['#', '@']))
    }

    /// Stores it.
    pub(crate) fn keep(&self, store: &mut ClientStore) -> Result {
        let json = serde_json::to_vec(self).unwrap_or_default();
        Ok(store.change(|changes| changes.set_meta(&place(&self.path), Some(&json)))?)
    }
}

/// Forgets the receipt of a path: what was sent or fetched since has none of its own.
pub(crate) fn forget(store: &mut ClientStore, path: &Path) -> Result {
    if known(store, path)?.is_some() {
        store.change(|changes| changes.set_meta(&place(&hash(path)), None))?;
    }
    Ok(())
}

/// The receipt of a path, from one server.
pub(crate) fn known(store: &ClientStore, path: &Path) -> Result<Option<Kept>> {
    let hash = hash(path);
    let known = store.meta(&place(&hash))?.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    Ok(known.filter(|known| known.path == hash))
}

/// The newest receipt of a path, from any server.
pub(crate) fn of(home: &Home, path: &Path) -> Result<Option<Kept>> {
    let mut newest = None::<Kept>;
    for server in home.servers()? {
        let kept = known(&server.store()?, path)?;
        newest = newest.into_iter().chain(kept).max_by_key(|kept| kept.at_ms);
    }
    Ok(newest)
}

fn hash(path: &Path) -> String {
    blake3::hash(path.as_os_str().as_bytes()).to_string()
}

fn place(hash: &str) -> String {
    let place = u16::from_str_radix(hash.get(..4).unwrap_or("0"), 16).unwrap_or(0) % PLACES;
    format!("receipt {place}")
}
