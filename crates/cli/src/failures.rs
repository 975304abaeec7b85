//! What failed of a transfer, so that `--retry-failed` takes it again alone.
//!
//! Remembered under the command, the paths and the place, in the store of the server: in so many places that old ones make
//! room for new ones. What failed is named by its path from the top of what was sent; where more failed than was named, the
//! whole is taken again.

use std::collections::BTreeMap;

use hikyaku_sqlite::client::ClientStore;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Result, Trouble};

/// How many places there are.
const PLACES: u16 = 1 << 10;

/// What of one command failed, by its transfers: all at once, or one for each path.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<usize, Failed>);

/// What of one transfer failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Paths from the top.
    pub(crate) paths: Vec<Vec<u8>>,
    /// More failed than was named.
    pub(crate) more: bool,
}

/// Which command it was, where from and where to.
#[derive(Clone, Debug)]
pub(crate) struct Id(String);

#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    transfers: Vec<KeptFailed>,
}

#[derive(Serialize, Deserialize)]
struct KeptFailed {
    number: usize,
    /// In hexadecimal: names are bytes.
    paths: Vec<String>,
    more: bool,
}

impl Id {
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        Self(hasher.finalize().to_string())
    }

    fn place(&self) -> String {
        let place = u16::from_str_radix(self.0.get(..4).unwrap_or("0"), 16).unwrap_or(0) % PLACES;
        format!("failed {place}")
    }
}

impl Failures {
    /// What failed when the same was done last.
    pub(crate) fn of(store: &ClientStore, id: &Id) -> Result<Self> {
        let bytes = store.meta(&id.place())?;
        let kept = bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| kept.id == id.0).ok_or_else(|| {
            Trouble::new(Exit::NotFound, "nothing is remembered that failed when the same was done last")
                .hint("without --retry-failed all of it is done; what is there already is not sent again")
        })?;
        let transfers = kept.transfers.into_iter().map(|failed| {
            let paths = failed.paths.iter().filter_map(|path| unhex(path)).collect();
            (failed.number, Failed { paths, more: failed.more })
        });
        Ok(Self(transfers.collect()))
    }

    /// Something of a transfer failed.
    pub(crate) fn add(&mut self, number: usize, path: &[u8]) {
        self.0.entry(number).or_default().paths.push(path.to_vec());
    }

    /// More of it failed than is named.
    pub(crate) fn add_more(&mut self, number: usize) {
        self.0.entry(number).or_default().more = true;
    }

    /// What failed of a transfer.
    pub(crate) fn get(&self, number: usize) -> Option<&Failed> {
        self.0.get(&number)
    }

    /// Remembers it in the place of what was remembered of the same; nothing, where nothing failed.
    pub(crate) fn remember(&self, store: &mut ClientStore, id: &Id) -> Result {
        let place = id.place();
        if self.0.is_empty() {
            let known = store.meta(&place)?.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
            if known.is_some_and(|known| known.id == id.0) {
                store.change(|changes| changes.set_meta(&place, None))?;
            }
            return Ok(());
        }
        let transfers = self.0.iter().map(|(number, failed)| {
            let paths =
                failed.paths.iter().map(|path| path.iter().map(|byte| format!("{byte:02x}")).collect());
            KeptFailed { number: *number, paths: paths.collect(), more: failed.more }
        });
        let kept = Kept { id: id.0.clone(), transfers: transfers.collect() };
        let json = serde_json::to_vec(&kept).unwrap_or_default();
        Ok(store.change(|changes| changes.set_meta(&place, Some(&json)))?)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(byte).collect()
}
