//! The vault as a model: maps behind one lock. What "durable" means here: it survives [`MemoryVault::crash`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Collected, MAX_STATE, Mark, Mending, Object, ObjectId, Partial, Peeked, Reference, Remembered, Reserved,
    Sealed, Transfer, Vault, VaultError,
};

/// A vault in memory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryVault(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    capacity: Option<u64>,
    transfers: BTreeMap<Transfer, Entry>,
    objects: BTreeMap<ObjectId, Arc<Contents>>,
    references: BTreeSet<(ObjectId, Reference)>,
    mending: BTreeSet<ObjectId>,
}

#[derive(Default)]
struct Entry {
    open: bool,
    contents: Contents,
    mark: Mark,
    sealed: Option<Sealed>,
    touched: Option<Instant>,
}

#[derive(Default)]
struct Contents {
    data: Vec<u8>,
    outboard: Vec<u8>,
}

impl MemoryVault {
    /// An empty vault.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty vault that holds at most `bytes` of content.
    pub fn with_capacity(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { capacity: Some(bytes), ..Inner::default() })))
    }

    /// What a power cut leaves: partials fall back to their marks, and nobody has one open.
    pub fn crash(&self) {
        for entry in self.lock().transfers.values_mut() {
            entry.open = false;
            entry.contents.data.truncate(usize::try_from(entry.mark.verified).unwrap_or(usize::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn used(&self) -> u64 {
        let partial = self.transfers.values().map(|entry| entry.contents.data.len());
        partial.chain(self.objects.values().map(|object| object.data.len())).map(|len| len as u64).sum()
    }

    fn check_space(&self, needed: u64) -> Result<(), VaultError> {
        match self.capacity.map(|capacity| capacity.saturating_sub(self.used())) {
            Some(free) if needed > free => Err(VaultError::Full { free, needed }),
            _ => Ok(()),
        }
    }
}

impl Vault for MemoryVault {
    fn reserve(&self, transfer: Transfer, size: Option<u64>) -> Result<Reserved, VaultError> {
        let mut inner = self.lock();
        if let Some(entry) = inner.transfers.get(&transfer) {
            if let Some(sealed) = entry.sealed {
                return Ok(Reserved::Sealed(sealed));
            }
            if entry.open {
                return Err(VaultError::Busy);
            }
        }
        let have = inner.transfers.get(&transfer).map_or(0, |entry| entry.contents.data.len() as u64);
        inner.check_space(size.unwrap_or(0).saturating_sub(have))?;
        let entry = inner.transfers.entry(transfer).or_default();
        entry.open = true;
        entry.touched = Some(Instant::now());
        Ok(Reserved::Open(Box::new(MemoryPartial {
            vault: self.clone(),
            transfer,
            mark: entry.mark.clone(),
        })))
    }

    fn peek(&self, transfer: Transfer) -> Result<Peeked, VaultError> {
        let inner = self.lock();
        let entry = inner.transfers.get(&transfer).ok_or(VaultError::NotFound)?;
        let verified = entry.sealed.map_or(entry.mark.verified, |sealed| sealed.size);
        Ok(Peeked { object: Box::new(MemoryPeek { vault: self.clone(), transfer }), verified })
    }

    fn discard(&self, transfer: Transfer) -> Result<(), VaultError> {
        let mut inner = self.lock();
        if inner.transfers.get(&transfer).is_some_and(|entry| entry.open) {
            return Err(VaultError::Busy);
        }
        inner.transfers.remove(&transfer);
        Ok(())
    }

    fn transfer(&self, transfer: Transfer) -> Result<Option<Remembered>, VaultError> {
        Ok(self.transfers()?.into_iter().find(|known| known.transfer == transfer))
    }

    fn transfers(&self) -> Result<Vec<Remembered>, VaultError> {
        let inner = self.lock();
        let idle = |entry: &Entry| entry.touched.map_or(Duration::ZERO, |at| at.elapsed());
        let remembered = |(transfer, entry): (&Transfer, &Entry)| Remembered {
            transfer: *transfer,
            sealed: entry.sealed,
            idle: idle(entry),
            verified: entry.mark.verified,
        };
        Ok(inner.transfers.iter().map(remembered).collect())
    }

    fn open(&self, root: ObjectId) -> Result<Box<dyn Object>, VaultError> {
        let object = self.lock().objects.get(&root).cloned().ok_or(VaultError::NotFound)?;
        Ok(Box::new(MemoryObject(object)))
    }

    fn mend(&self, root: ObjectId) -> Result<Box<dyn Mending>, VaultError> {
        let mut inner = self.lock();
        let object = inner.objects.get(&root).cloned().ok_or(VaultError::NotFound)?;
        if !inner.mending.insert(root) {
            return Err(VaultError::Busy);
        }
        let Contents { data, outboard } = &*object;
        let contents = Contents { data: data.clone(), outboard: outboard.clone() };
        Ok(Box::new(MemoryMending { vault: self.clone(), root, contents }))
    }

    fn reference(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError> {
        let mut inner = self.lock();
        if !inner.objects.contains_key(&root) {
            return Err(VaultError::NotFound);
        }
        inner.references.insert((root, reference));
        Ok(())
    }

    fn release(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError> {
        self.lock().references.remove(&(root, reference));
        Ok(())
    }

    fn stored(&self) -> Result<u64, VaultError> {
        let inner = self.lock();
        Ok(inner.objects.values().map(|object| (object.data.len() + object.outboard.len()) as u64).sum())
    }

    fn roots(&self) -> Result<Vec<ObjectId>, VaultError> {
        let inner = self.lock();
        let referenced = inner.references.iter().map(|(root, _)| *root);
        Ok(inner.objects.keys().copied().chain(referenced).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn references(&self, root: ObjectId) -> Result<Vec<Reference>, VaultError> {
        let inner = self.lock();
        let of_root = inner.references.iter().filter(|(other, _)| *other == root);
        Ok(of_root.map(|(_, reference)| *reference).collect())
    }

    fn collect(&self) -> Result<Collected, VaultError> {
        let inner = &mut *self.lock();
        let kept: BTreeSet<ObjectId> = inner.references.iter().map(|(root, _)| *root).collect();
        let mut collected = Collected::default();
        inner.objects.retain(|root, object| {
            let keep = kept.contains(root);
            if !keep {
                collected.objects += 1;
                collected.bytes += object.data.len() as u64;
            }
            keep
        });
        Ok(collected)
    }
}

struct MemoryPartial {
    vault: MemoryVault,
    transfer: Transfer,
    mark: Mark,
}

impl Partial for MemoryPartial {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError> {
        let mut inner = self.vault.lock();
        inner.check_space(data.len() as u64)?;
        let entry = inner.transfers.get_mut(&self.transfer).ok_or(VaultError::NotFound)?;
        place(&mut entry.contents.data, offset, data)?;
        place(&mut entry.contents.outboard, outboard_offset, outboard)?;
        entry.touched = Some(Instant::now());
        Ok(())
    }

    fn sync(&mut self, mark: Mark) -> Result<(), VaultError> {
        if mark.state.len() > MAX_STATE {
            return Err(VaultError::Misuse("the state of a mark is too long"));
        }
        let mut inner = self.vault.lock();
        let entry = inner.transfers.get_mut(&self.transfer).ok_or(VaultError::NotFound)?;
        if mark.verified > entry.contents.data.len() as u64 {
            return Err(VaultError::Misuse("a mark beyond the data"));
        }
        entry.mark = mark.clone();
        self.mark = mark;
        Ok(())
    }

    fn seal(self: Box<Self>, root: ObjectId, size: u64, reference: Reference) -> Result<Sealed, VaultError> {
        let inner = &mut *self.vault.lock();
        let entry = inner.transfers.get_mut(&self.transfer).ok_or(VaultError::NotFound)?;
        if entry.contents.data.len() as u64 != size {
            return Err(VaultError::Misuse("the size is not that of the data"));
        }
        let sealed = Sealed { root, size };
        entry.sealed = Some(sealed);
        inner.objects.insert(root, Arc::new(std::mem::take(&mut entry.contents)));
        inner.references.insert((root, reference));
        Ok(sealed)
    }

    fn adopt(self: Box<Self>, root: ObjectId, size: u64, reference: Reference) -> Result<Sealed, VaultError> {
        let inner = &mut *self.vault.lock();
        let there = !inner.mending.contains(&root)
            && inner.objects.get(&root).is_some_and(|object| object.data.len() as u64 == size);
        let entry = inner.transfers.get_mut(&self.transfer).filter(|_| there).ok_or(VaultError::NotFound)?;
        let sealed = Sealed { root, size };
        (entry.sealed, entry.contents) = (Some(sealed), Contents::default());
        inner.references.insert((root, reference));
        Ok(sealed)
    }
}

impl Drop for MemoryPartial {
    fn drop(&mut self) {
        if let Some(entry) = self.vault.lock().transfers.get_mut(&self.transfer) {
            entry.open = false;
        }
    }
}

/// A transfer, wherever its bytes are.
struct MemoryPeek {
    vault: MemoryVault,
    transfer: Transfer,
}

impl MemoryPeek {
    fn with<T>(&self, look: impl FnOnce(&Contents) -> T) -> Result<T, VaultError> {
        let inner = self.vault.lock();
        let entry = inner.transfers.get(&self.transfer).ok_or(VaultError::NotFound)?;
        let object = entry.sealed.and_then(|sealed| inner.objects.get(&sealed.root));
        Ok(look(object.map_or(&entry.contents, |object| object)))
    }
}

impl Object for MemoryPeek {
    fn size(&self) -> u64 {
        self.with(|contents| contents.data.len() as u64).unwrap_or(0)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        self.with(|contents| copy(&contents.data, offset, into))
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        self.with(|contents| copy(&contents.outboard, offset, into))
    }
}

struct MemoryObject(Arc<Contents>);

impl Object for MemoryObject {
    fn size(&self) -> u64 {
        self.0.data.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.0.data, offset, into))
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.0.outboard, offset, into))
    }
}

/// An object that is being mended: others see it when it is durable.
struct MemoryMending {
    vault: MemoryVault,
    root: ObjectId,
    contents: Contents,
}

impl Object for MemoryMending {
    fn size(&self) -> u64 {
        self.contents.data.len() as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.contents.data, offset, into))
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        Ok(copy(&self.contents.outboard, offset, into))
    }
}

impl Mending for MemoryMending {
    fn is_doubtful(&self) -> bool {
        false
    }

    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError> {
        place(&mut self.contents.data, offset, data)?;
        place(&mut self.contents.outboard, outboard_offset, outboard)
    }

    fn sync(&mut self, size: u64, outboard_size: u64) -> Result<(), VaultError> {
        let Contents { data, outboard } = &mut self.contents;
        data.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        outboard.truncate(usize::try_from(outboard_size).unwrap_or(usize::MAX));
        let contents = Contents { data: data.clone(), outboard: outboard.clone() };
        let object = &mut self.vault.lock().objects;
        *object.get_mut(&self.root).ok_or(VaultError::NotFound)? = Arc::new(contents);
        Ok(())
    }
}

impl Drop for MemoryMending {
    fn drop(&mut self) {
        self.vault.lock().mending.remove(&self.root);
    }
}

fn place(all: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> Result<(), VaultError> {
    let begin = usize::try_from(offset).map_err(|_| VaultError::Misuse("an offset beyond memory"))?;
    let end = begin.checked_add(bytes.len()).ok_or(VaultError::Misuse("an offset beyond memory"))?;
    if begin > all.len() {
        return Err(VaultError::Misuse("a gap in the data"));
    }
    all.resize(all.len().max(end), 0);
    all[begin..end].copy_from_slice(bytes);
    Ok(())
}

fn copy(all: &[u8], offset: u64, into: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| all.get(offset..)).unwrap_or_default();
    let count = rest.len().min(into.len());
    into[..count].copy_from_slice(&rest[..count]);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::conformance;

    #[test]
    fn the_model_passes_its_own_suite() {
        conformance::run(&mut |_| Box::new(MemoryVault::new()));
    }

    #[test]
    fn the_model_survives_a_crash_as_the_suite_demands() {
        let vault = MemoryVault::new();
        conformance::a_mark_survives_a_crash(&vault, &mut || {
            vault.crash();
            Box::new(vault.clone())
        });
    }

    #[test]
    fn a_full_vault_says_so_and_keeps_what_it_has() {
        let vault = MemoryVault::with_capacity(100);
        assert!(matches!(
            vault.reserve(Transfer([1; 16]), Some(101)),
            Err(VaultError::Full { free: 100, needed: 101 })
        ));
        let Ok(Reserved::Open(mut partial)) = vault.reserve(Transfer([1; 16]), Some(100)) else {
            panic!("there is room")
        };
        partial.write(0, &[1; 60], 0, &[]).unwrap();
        assert!(matches!(partial.write(60, &[1; 41], 0, &[]), Err(VaultError::Full { .. })));
        partial.write(60, &[1; 40], 0, &[]).unwrap();
        partial.seal(ObjectId([1; 32]), 100, Reference([1; 16])).unwrap();
        assert_eq!(vault.open(ObjectId([1; 32])).unwrap().size(), 100);
    }
}
