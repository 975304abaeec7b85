//! A listing ends with whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

use hikyaku_storage::vault::VaultError;
use tokio::sync::Semaphore;

use super::*;

/// How often it is read until nobody waits any more.
const READS: u64 = 100;

/// A file of thousands of records without a byte: its sender chose them.
struct Crumbs {
    bytes: Vec<u8>,
    gone: Gone,
    read: Arc<AtomicU64>,
}

impl Crumbs {
    fn new(gone: &Gone) -> Self {
        let (name, size, meta, attributes, from) = (b"f".to_vec(), 1, None, None, None);
        let head = cbor::encode(&FileHead { name, size, meta, attributes, from });
        let mut bytes = vec![0x03, u8::try_from(head.len()).unwrap()];
        bytes.extend(head);
        // Less than a group: what is there of one is not compared.
        bytes.extend([0x04, 0x00].repeat(30_000));
        Self { bytes, gone: gone.clone(), read: Arc::default() }
    }
}

impl Object for Crumbs {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        if self.read.fetch_add(1, Ordering::Relaxed) == READS {
            self.gone.set();
        }
        let rest = self.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        into.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
        Ok(rest.len().min(into.len()))
    }

    fn read_outboard(&self, _: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(into.len())
    }
}

#[test]
fn a_listing_ends_when_nobody_waits_for_it_whatever_lies_between_two_names() {
    let asker = Asker::default();
    let crumbs = Crumbs::new(&asker.gone);
    let (read, size) = (crumbs.read.clone(), crumbs.size());
    let mut tree = ObjectTree::growing(Arc::new(crumbs), size, &asker);
    let listed = tree.list();
    assert!(matches!(listed, Err(FilesError::Exchange(_))), "{listed:?}");
    let read = read.load(Ordering::Relaxed);
    assert!(read <= READS + 2, "it was read {read} times");
}

#[test]
fn whoever_asked_keeps_his_place_until_his_listing_ends() {
    let places = Arc::new(Semaphore::new(1));
    let place = places.clone().try_acquire_owned().unwrap();
    let asker = Asker { _place: Some(Arc::new(place)), ..Asker::default() };
    let waits = asker.gone.on_drop();
    let (crumbs, gone) = (Crumbs::new(&Gone::default()), asker.gone.clone());
    let size = crumbs.size();
    let mut tree = ObjectTree::growing(Arc::new(crumbs), size, &asker);
    // The exchange ends, and the thread that lists has not heard of it.
    drop((waits, asker));
    assert_eq!(places.available_permits(), 0);
    assert!(gone.is_set() && tree.list().is_err());
    drop(tree);
    assert_eq!(places.available_permits(), 1);
}
