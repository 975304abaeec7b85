//! What trees need of a directory that cannot be left: entries of every kind, their metadata, moving and removing them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use hikyaku_wire::parcel::Metadata;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::Dir;
use crate::disk::{self, Call};
use crate::names::{Dots, SafeName, SafeRelPath};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Seconds and nanoseconds.
        modified: (i64, u32),
        /// Permission bits.
        mode: u32,
    },
    /// A link, a device, a pipe.
    Other,
}

impl Dir {
    /// What a name is, links not followed; `None` when there is nothing.
    pub(crate) fn find(&self, name: &SafeName) -> io::Result<Option<Found>> {
        match rustix::fs::statat(&self.0, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory for its owner alone, or finds the one that is there, and opens it.
    pub(crate) fn enter(&self, name: &SafeName) -> io::Result<Self> {
        match self.make_child(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_child(name),
            made => made,
        }
    }

    /// Makes a directory for its owner alone, and opens it; an error when the name exists in any form.
    pub(crate) fn make_child(&self, name: &SafeName) -> io::Result<Self> {
        disk::call(Call::Make, &self.0)?;
        rustix::fs::mkdirat(&self.0, name.as_os_str(), Mode::RWXU)?;
        self.open_child(name).inspect_err(|_| {
            // Made again, it must not look like somebody else's.
            let _ = rustix::fs::unlinkat(&self.0, name.as_os_str(), AtFlags::REMOVEDIR);
        })
    }

    /// Opens a directory in this one; a link is an error.
    pub(crate) fn open_child(&self, name: &SafeName) -> io::Result<Self> {
        self.open_at(name.as_os_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// Makes a symbolic link, which is never followed here; an error when the name exists in any form.
    pub(crate) fn symlink(
        &self,
        target: &[u8],
        name: &SafeName,
        modified: Option<(i64, u32)>,
    ) -> io::Result<()> {
        disk::call(Call::Make, &self.0)?;
        rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(target), &self.0, name.as_os_str())?;
        if let Some(modified) = modified {
            let (times, flags) = (times(modified), AtFlags::SYMLINK_NOFOLLOW);
            rustix::fs::utimensat(&self.0, name.as_os_str(), &times, flags)?;
        }
        Ok(())
    }

    /// Gives a file of this directory, at `path` from here, a second name in another directory, where it is free.
    pub(crate) fn link(&self, path: &SafeRelPath, into: &Dir, name: &SafeName) -> io::Result<()> {
        let Some((file, above)) = path.components().split_last() else { return Err(Errno::NOENT.into()) };
        let from = above.iter().try_fold(self.try_clone()?, |dir, name| dir.open_child(name))?;
        if !matches!(from.find(file)?, Some(Found::File { .. })) {
            return Err(Errno::NOENT.into());
        }
        disk::call(Call::Make, &into.0)?;
        Ok(rustix::fs::linkat(&from.0, file.as_os_str(), &into.0, name.as_os_str(), AtFlags::empty())?)
    }

    /// Moves an entry of any kind; with `replace` it takes the place of a file or an empty directory.
    pub(crate) fn rename(
        &self,
        name: &SafeName,
        into: &Dir,
        new: &SafeName,
        replace: bool,
    ) -> io::Result<()> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        disk::call(Call::Publish, &into.0)?;
        let rename = || rustix::fs::renameat_with(&self.0, name.as_os_str(), &into.0, new.as_os_str(), flags);
        match rename() {
            // A directory that its owner may not write to cannot be moved as it is.
            Err(Errno::ACCESS | Errno::PERM) if self.find(name)? == Some(Found::Directory) => {
                let moved = self.open_child(name)?;
                let mode = rustix::fs::fstat(&moved.0)?.st_mode & 0o777;
                rustix::fs::fchmod(&moved.0, Mode::RWXU)?;
                let renamed = rename();
                rustix::fs::fchmod(&moved.0, Mode::from_raw_mode(mode))?;
                Ok(renamed?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Opens a file that was written up to an offset; what it has behind that goes.
    pub(crate) fn open_from(&self, name: &SafeName, at: u64) -> io::Result<File> {
        let file = self.open_file(name, true)?.ok_or(Errno::NOENT)?;
        disk::set_len(&file, at)?;
        Ok(file)
    }

    /// Whether a name is a symbolic link here and in another directory, with the same text.
    pub(crate) fn is_same_link(&self, other: &Dir, name: &SafeName) -> io::Result<bool> {
        let text = |dir: &Dir| match rustix::fs::readlinkat(&dir.0, name.as_os_str(), Vec::new()) {
            Ok(text) => Ok(Some(text)),
            // Not a link, or gone.
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        let ours = text(self)?;
        Ok(ours.is_some() && ours == text(other)?)
    }

    /// Every name in this directory, of any form.
    pub(crate) fn all_names(&self) -> io::Result<Vec<SafeName>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            names.extend(SafeName::parse(entry?.file_name().to_bytes(), Dots::Inside));
        }
        Ok(names)
    }

    /// Removes what comes after a name in the order of bytes, or everything.
    pub(crate) fn remove_after(&self, last: Option<&[u8]>) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if last.is_none_or(|last| bytes > last)
                && let Ok(name) = SafeName::parse(bytes, Dots::Inside)
            {
                self.remove_all(&name)?;
            }
        }
        Ok(())
    }

    /// Removes an entry with everything in it; nothing happens when there is none.
    pub(crate) fn remove_all(&self, name: &SafeName) -> io::Result<()> {
        if self.find(name)? != Some(Found::Directory) {
            return self.remove(name);
        }
        // What cannot be listed or emptied as it is belongs to the same owner, who may change that.
        if let Ok(path) = self.open_at(name.as_os_str(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            chmod_path(&path)?;
        }
        let inner = self.open_child(name)?;
        for name in inner.all_names()? {
            inner.remove_all(&name)?;
        }
        super::unlink(&self.0, name, AtFlags::REMOVEDIR)
    }

    /// Sets a directory's permission bits and time.
    pub(crate) fn set_metadata(&self, meta: &Metadata) -> io::Result<()> {
        set_metadata(self.0.as_fd(), meta)
    }

    /// Lets the owner change a directory of his; its own permissions are set again when it is done.
    pub(crate) fn let_in(&self) -> io::Result<()> {
        let mode = rustix::fs::fstat(&self.0)?.st_mode & 0o777;
        if mode & 0o300 == 0o300 {
            return Ok(());
        }
        disk::call(Call::Metadata, &self.0)?;
        Ok(rustix::fs::fchmod(&self.0, Mode::from_raw_mode(mode | 0o300))?)
    }

    /// The metadata of this directory.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        Ok(crate::walk::metadata(&rustix::fs::fstat(&self.0)?))
    }

    /// Makes everything in this file system durable.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        disk::call(Call::SyncAll, &self.0)?;
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

impl Found {
    /// A regular file as a peer says it is.
    pub(crate) fn listed(size: u64, meta: &Metadata) -> Self {
        let modified = (meta.mtime.unwrap_or(0), meta.mtime_ns.unwrap_or(0));
        Self::File { size, modified, mode: meta.mode.unwrap_or(0) }
    }

    fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
                mode: stat.st_mode & 0o777,
            },
            _ => Self::Other,
        }
    }
}

/// Sets permission bits (never setuid, setgid, sticky) and, last, the time of modification.
//= S5.25
pub(crate) fn set_metadata(file: BorrowedFd<'_>, meta: &Metadata) -> io::Result<()> {
    disk::call(Call::Metadata, file)?;
    if let Some(mode) = meta.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o777))?;
    }
    if let Some(seconds) = meta.mtime {
        rustix::fs::futimens(file, &times((seconds, meta.mtime_ns.unwrap_or(0))))?;
    }
    Ok(())
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let last_modification = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds.min(999_999_999)) };
    Timestamps { last_access, last_modification }
}

/// Lets the owner into a directory of his that is held by its path alone.
fn chmod_path(dir: &OwnedFd) -> io::Result<()> {
    // fchmod refuses such a handle; its own "." does not exist without the right to search, so /proc names it.
    use std::os::fd::AsRawFd;
    let itself = format!("/proc/self/fd/{}", dir.as_raw_fd());
    Ok(rustix::fs::chmod(itself, Mode::RWXU)?)
}
