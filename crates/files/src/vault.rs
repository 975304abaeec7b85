//! The vault on a file system.
//!
//! `partials/` holds transfers on their way (`staging`), `objects/<root>` content and `objects/<root>.tree` its
//! chaining values, `refs/<root>/<reference>` an empty file for each reference. Every step is durable before the next:
//! the reference before the object's name, so that no crash leaves an object that a collection would take from its
//! owner. What a crash leaves instead, references without an object, trees without data, empty directories, is told by
//! [`Vault::roots`] and goes with the next collection. `mending/<root>` is an empty file for each object that somebody writes
//! to in its place (`mending`). Spec: S5.36, S5.70.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hikyaku_storage::vault::{
    Collected, Mark, Mending, Object, ObjectId, Partial, Peeked, Reference, Remembered, Reserved, Sealed,
    Transfer, Vault, VaultError,
};
use hikyaku_wire::parcel::{Root, TransferId};

use crate::jail::Dir;
use crate::names::SafeName;
use crate::staging::{Layout, Left, Opened, Peek, Settled, Staged, Staging};

mod mending;
mod stored;

use stored::Stored;

/// Objects in a directory of the server's own. Clones share it; processes must not.
#[derive(Clone)]
pub struct FsVault(Arc<Inner>);

struct Inner {
    staging: Staging,
    objects: Dir,
    references: Dir,
    /// An empty file for each object to which something was written in its place that may not be durable.
    marks: Dir,
    /// Bytes of the disk that transfers leave free.
    keep_free: u64,
    /// Taken for writing while an object is removed, for reading while one gets a reference or its name.
    removing: RwLock<()>,
    /// Bytes of all objects. Held while one gets its name, and while a mark goes.
    stored: Mutex<Stored>,
}

impl FsVault {
    /// Opens a vault, making it when the directory is empty or missing.
    pub fn open(path: &Path, keep_free: u64) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let dir = Dir::open(path)?;
        let objects = dir.ensure_own("objects")?;
        let mut stored = 0;
        for name in objects.names()? {
            stored += length(&objects, &name)?;
        }
        Ok(Self(Arc::new(Inner {
            staging: Staging::new(dir.ensure_own("partials")?, "", keep_free),
            objects,
            references: dir.ensure_own("refs")?,
            marks: dir.ensure_own("mending")?,
            keep_free,
            removing: RwLock::new(()),
            stored: Mutex::new(Stored::new(stored)),
        })))
    }
}

impl Inner {
    fn settled(&self, root: Root, size: u64) -> io::Result<bool> {
        let found = self.objects.open_file(&object_name(root), false)?;
        let is_there = found.is_some_and(|file| file.metadata().is_ok_and(|meta| meta.len() == size));
        if is_there {
            // Whoever gave it its name may have ended before the name was durable.
            self.objects.sync()?;
        }
        Ok(is_there)
    }

    fn add_reference(&self, root: Root, reference: Reference) -> Result<(), VaultError> {
        let dir = self.references.ensure_own(&root.to_string())?;
        match dir.create(&SafeName::own(reference.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(crate::staging::full(&dir, 0, error));
            }
            _ => {}
        }
        // Also where it exists: whoever made it may have ended before this.
        Ok(dir.sync()?)
    }

    fn check_space(&self, needed: u64) -> Result<(), VaultError> {
        let free = self.staging.dir().free_space()?.saturating_sub(self.keep_free);
        if needed > free { Err(VaultError::Full { free, needed }) } else { Ok(()) }
    }

    /// The names in the directory of an object's references; `None` without such a directory.
    fn kept_by(&self, root: Root) -> Result<Option<Vec<SafeName>>, VaultError> {
        match self.references.open_child(&object_name(root)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => Ok(Some(opened?.names()?)),
        }
    }

    /// Removes what there is of one root unless it is referenced; returns the object's size when one was removed.
    fn collect_one(&self, root: Root) -> Result<Option<u64>, VaultError> {
        let _exclusive = self.removing.write().unwrap_or_else(PoisonError::into_inner);
        let kept = self.kept_by(root)?;
        if kept.as_ref().is_some_and(|names| !names.is_empty()) {
            return Ok(None);
        }
        let data = self.objects.open_file(&object_name(root), false)?;
        let size = data.map(|file| file.metadata().map(|meta| meta.len())).transpose()?;
        // A crash between two of these leaves less, and the next collection finds the rest.
        if size.is_some() || self.objects.identify(&tree_name(root))?.is_some() {
            self.counting(root, || {
                self.objects.remove(&object_name(root))?;
                Ok(self.objects.remove(&tree_name(root))?)
            })?;
            self.objects.sync()?;
        }
        self.unmark(root);
        if kept.is_some() {
            self.references.remove_dir(&object_name(root))?;
        }
        Ok(size)
    }

    fn stored_of(&self, root: Root) -> io::Result<u64> {
        Ok(length(&self.objects, &object_name(root))? + length(&self.objects, &tree_name(root))?)
    }

    /// Changes an object, and counts what it has then, also where that failed on its way.
    fn counting<T>(
        &self,
        root: Root,
        change: impl FnOnce() -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.stored_of(root)?;
        let done = change();
        stored.recount(root, before, self.stored_of(root)?);
        done
    }

    /// Notes, durably, that an object is written to in its place.
    fn mark(&self, root: Root) -> Result<(), VaultError> {
        match self.marks.create(&object_name(root)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(crate::staging::full(&self.marks, 0, error));
            }
            _ => {}
        }
        // Also where it exists: whoever made it may have ended before this.
        Ok(self.marks.sync()?)
    }

    /// Whether what is read of an object may not be what the disk has.
    fn is_marked(&self, root: Root) -> io::Result<bool> {
        Ok(self.marks.identify(&object_name(root))?.is_some())
    }

    /// What an object has is durable. A mark that stays only costs the next one who mends it more.
    fn unmark(&self, root: Root) {
        if let Err(error) = self.marks.remove(&object_name(root)) {
            tracing::warn!(%error, %root, "the mark of an object that was mended could not be removed");
        }
    }

    /// Whether somebody is mending an object, or left it doubtful.
    fn is_unsettled(&self, root: Root) -> io::Result<bool> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stored.is_lent(root) || self.is_marked(root)?)
    }

    /// Every root of which there is anything, strange names apart.
    fn all_roots(&self) -> Result<BTreeSet<Root>, VaultError> {
        let objects = self.objects.names()?;
        let objects = objects.iter().map(|name| name.as_bytes());
        let stems = objects.map(|name| name.strip_suffix(b".tree").unwrap_or(name)).filter_map(hex);
        let mut roots: BTreeSet<Root> = stems.map(Root).collect();
        roots.extend(self.references.names()?.iter().filter_map(|name| hex(name.as_bytes())).map(Root));
        Ok(roots)
    }

    /// What is remembered of a transfer that left something.
    fn remembered(&self, left: Left) -> Result<Remembered, VaultError> {
        let sealed = match (left.contents.settled, left.contents.sealing) {
            (Some((root, size)), _) => Some((root, size)),
            (None, Some((root, size, _))) if self.settled(root, size)? => Some((root, size)),
            _ => None,
        };
        let sealed = sealed.map(|(root, size)| Sealed { root: ObjectId(root.0), size });
        let (transfer, verified) = (Transfer(left.transfer.0), left.contents.mark.verified);
        Ok(Remembered { transfer, sealed, idle: left.idle, verified })
    }
}

impl Vault for FsVault {
    fn reserve(&self, transfer: Transfer, size: Option<u64>) -> Result<Reserved, VaultError> {
        let opened = self
            .0
            .staging
            .open(TransferId(transfer.0), &[], Layout::Object, |root, size, _| self.0.settled(root, size))?;
        let mut staged = match opened {
            Opened::Settled(Settled { root, size, .. }) => {
                return Ok(Reserved::Sealed(Sealed { root: ObjectId(root.0), size }));
            }
            Opened::Staged(staged) => staged,
        };
        let checked = self.0.check_space(size.unwrap_or(0).saturating_sub(staged.mark().verified));
        if let Err(error) = checked.and_then(|()| staged.prepare(size)) {
            if staged.mark().verified == 0 {
                staged.discard()?;
            }
            return Err(error);
        }
        Ok(Reserved::Open(Box::new(FsPartial { vault: self.0.clone(), staged: *staged })))
    }

    fn peek(&self, transfer: Transfer) -> Result<Peeked, VaultError> {
        let sealed = match self.0.staging.peek(TransferId(transfer.0))? {
            Peek::Nothing => return Err(VaultError::NotFound),
            Peek::Settled(root) => root,
            Peek::Open { data, tree, verified } => {
                return Ok(Peeked { object: Box::new(FsObject { size: None, data, tree }), verified });
            }
        };
        let object = self.open(ObjectId(sealed.0))?;
        Ok(Peeked { verified: object.size(), object })
    }

    fn discard(&self, transfer: Transfer) -> Result<(), VaultError> {
        self.0.staging.discard(TransferId(transfer.0))
    }

    fn transfer(&self, transfer: Transfer) -> Result<Option<Remembered>, VaultError> {
        let left = self.0.staging.find(TransferId(transfer.0))?;
        left.map(|left| self.0.remembered(left)).transpose()
    }

    fn transfers(&self) -> Result<Vec<Remembered>, VaultError> {
        self.0.staging.list()?.into_iter().map(|left| self.0.remembered(left)).collect()
    }

    fn open(&self, root: ObjectId) -> Result<Box<dyn Object>, VaultError> {
        open_object(&self.0.objects, Root(root.0))
    }

    fn mend(&self, root: ObjectId) -> Result<Box<dyn Mending>, VaultError> {
        Ok(Box::new(mending::FsMending::open(self.0.clone(), Root(root.0))?))
    }

    fn reference(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError> {
        let _shared = self.0.removing.read().unwrap_or_else(PoisonError::into_inner);
        let root = Root(root.0);
        self.0.objects.identify(&object_name(root))?.ok_or(VaultError::NotFound)?;
        self.0.add_reference(root, reference)
    }

    fn release(&self, root: ObjectId, reference: Reference) -> Result<(), VaultError> {
        let dir = match self.0.references.open_child(&object_name(Root(root.0))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        dir.remove(&SafeName::own(reference.to_string()))?;
        Ok(dir.sync()?)
    }

    fn stored(&self) -> Result<u64, VaultError> {
        Ok(self.0.stored.lock().unwrap_or_else(PoisonError::into_inner).bytes())
    }

    fn roots(&self) -> Result<Vec<ObjectId>, VaultError> {
        Ok(self.0.all_roots()?.into_iter().map(|root| ObjectId(root.0)).collect())
    }

    fn references(&self, root: ObjectId) -> Result<Vec<Reference>, VaultError> {
        let names = self.0.kept_by(Root(root.0))?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| hex(name.as_bytes())).map(Reference).collect())
    }

    fn collect(&self) -> Result<Collected, VaultError> {
        let mut collected = Collected::default();
        let mut roots = self.0.all_roots()?;
        // A crash may leave the mark of an object that is gone.
        roots.extend(self.0.marks.names()?.iter().filter_map(|name| hex(name.as_bytes())).map(Root));
        for root in roots {
            if let Some(size) = self.0.collect_one(root)? {
                collected.objects += 1;
                collected.bytes += size;
            }
        }
        Ok(collected)
    }
}

struct FsPartial {
    vault: Arc<Inner>,
    staged: Staged,
}

impl Partial for FsPartial {
    fn mark(&self) -> &Mark {
        self.staged.mark()
    }

    fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        outboard_offset: u64,
        outboard: &[u8],
    ) -> Result<(), VaultError> {
        self.staged.write(offset, data, outboard_offset, outboard)
    }

    fn sync(&mut self, mark: Mark) -> Result<(), VaultError> {
        self.staged.sync(mark)
    }

    fn seal(
        mut self: Box<Self>,
        root: ObjectId,
        size: u64,
        reference: Reference,
    ) -> Result<Sealed, VaultError> {
        let _shared = self.vault.removing.read().unwrap_or_else(PoisonError::into_inner);
        let name = Root(root.0);
        self.vault.add_reference(name, reference)?;
        let (vault, staged) = (&self.vault, &mut self.staged);
        vault.counting(name, || {
            staged.publish_object(name, size, &vault.objects, &object_name(name), &tree_name(name))?;
            // These bytes are durable, whatever those were.
            vault.unmark(name);
            Ok(())
        })?;
        Ok(Sealed { root, size })
    }

    fn adopt(
        mut self: Box<Self>,
        root: ObjectId,
        size: u64,
        reference: Reference,
    ) -> Result<Sealed, VaultError> {
        let _shared = self.vault.removing.read().unwrap_or_else(PoisonError::into_inner);
        let name = Root(root.0);
        if self.vault.is_unsettled(name)? || !self.vault.settled(name, size)? {
            return Err(VaultError::NotFound);
        }
        self.vault.add_reference(name, reference)?;
        self.staged.adopt(name, size)?;
        Ok(Sealed { root, size })
    }
}

/// The files of an object, or of a transfer that grows: they keep their bytes under any name and without one.
struct FsObject {
    /// What it has; of one that grows, nothing is known.
    size: Option<u64>,
    data: File,
    tree: File,
}

impl Object for FsObject {
    fn size(&self) -> u64 {
        self.size.unwrap_or_else(|| self.data.metadata().map_or(0, |meta| meta.len()))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.data, offset, into)
    }

    fn read_outboard(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.tree, offset, into)
    }
}

/// Opens an object in the directory of them.
pub(crate) fn open_object(objects: &Dir, root: Root) -> Result<Box<dyn Object>, VaultError> {
    let data = objects.open_file(&object_name(root), false)?.ok_or(VaultError::NotFound)?;
    let tree = objects.open_file(&tree_name(root), false)?.ok_or(VaultError::NotFound)?;
    Ok(Box::new(FsObject { size: Some(data.metadata()?.len()), data, tree }))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = into.get_mut(filled..) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}

/// How many bytes a file has; none when there is none.
fn length(dir: &Dir, name: &SafeName) -> io::Result<u64> {
    Ok(dir.stat(name)?.map_or(0, |(_, length)| length))
}

/// So many bytes in lower-case hexadecimal, as names in the vault are written.
fn hex<const N: usize>(name: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.len() != 2 * N || !name.iter().all(digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(name.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn object_name(root: Root) -> SafeName {
    SafeName::own(root.to_string())
}

fn tree_name(root: Root) -> SafeName {
    SafeName::own(format!("{root}.tree"))
}

#[cfg(test)]
mod tests;
