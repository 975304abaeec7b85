//! Directories that cannot be left: every path operation is relative to a held handle.
//!
//! Paths go through `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, so neither `..` nor a symbolic link, nor
//! one swapped in while we look, leads outside; the last component is always used alone, relative to the handle of
//! its directory. All file system calls of this crate that take a name are in this file. Spec: S5.22.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::disk::{self, Call};
use crate::names::{Dots, SafeName, SafeRelPath};

mod marks;
mod trees;

pub(crate) use marks::{Entry, OWN_ATTRIBUTES, mark};
pub(crate) use trees::{Found, set_metadata};

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A held directory. Names are resolved in it and never outside.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// Which file system and which file of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Dir {
    /// Opens a directory that the user of this program named. Symbolic links are followed: the path is trusted.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A second handle of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Opens a directory below this one; no component may be a symbolic link.
    //= S5.22
    pub fn open_dir(&self, path: &SafeRelPath) -> io::Result<Self> {
        self.open_at(&path.to_os_string(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// Opens a directory below this one, making the components that are missing (mode 0755).
    pub fn ensure_dir(&self, path: &SafeRelPath) -> io::Result<Self> {
        let mut at = self.try_clone()?;
        for name in path.components() {
            at = at.ensure_child(name, Mode::from_raw_mode(0o755))?;
        }
        Ok(at)
    }

    /// Opens a child directory of the program's own, making it (mode 0700) when it is missing.
    pub(crate) fn ensure_own(&self, name: &str) -> io::Result<Self> {
        self.ensure_child(&SafeName::own(name.to_owned()), Mode::RWXU)
    }

    fn ensure_child(&self, name: &SafeName, mode: Mode) -> io::Result<Self> {
        disk::call(Call::Make, &self.0)?;
        match rustix::fs::mkdirat(&self.0, name.as_os_str(), mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // Also where it exists: whoever made it may have ended before this.
        self.sync()?;
        self.open_at(name.as_os_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// Makes a new file, readable and writable by its owner alone; an error when the name exists in any form.
    pub fn create(&self, name: &SafeName) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        disk::call(Call::Make, &self.0)?;
        self.open_at(name.as_os_str(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Opens a regular file that exists; `None` when it does not.
    pub fn open_file(&self, name: &SafeName, write: bool) -> io::Result<Option<File>> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        // Without NONBLOCK, opening a FIFO that somebody put here would wait for ever.
        let opened =
            self.open_at(name.as_os_str(), access | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty());
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Some(File::from(file)))
    }

    /// Which file a name is, links not followed; `None` when there is none.
    pub fn identify(&self, name: &SafeName) -> io::Result<Option<FileId>> {
        Ok(self.stat(name)?.map(|(id, _)| id))
    }

    /// Which file a name is, and how many bytes it has.
    pub(crate) fn stat(&self, name: &SafeName) -> io::Result<Option<(FileId, u64)>> {
        match rustix::fs::statat(&self.0, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((FileId::of(&stat), u64::try_from(stat.st_size).unwrap_or(0)))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file its final name in another directory of the same file system; never replaces anything.
    pub fn publish(&self, name: &SafeName, into: &Dir, new: &SafeName) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        disk::call(Call::Publish, &into.0)?;
        Ok(rustix::fs::renameat_with(&self.0, name.as_os_str(), &into.0, new.as_os_str(), flags)?)
    }

    /// Replaces a file of the program's own by another, atomically.
    pub(crate) fn replace(&self, name: &SafeName, new: &SafeName) -> io::Result<()> {
        disk::call(Call::Replace, &self.0)?;
        Ok(rustix::fs::renameat(&self.0, name.as_os_str(), &self.0, new.as_os_str())?)
    }

    /// Removes a file; nothing happens when there is none.
    pub fn remove(&self, name: &SafeName) -> io::Result<()> {
        unlink(&self.0, name, AtFlags::empty())
    }

    /// Removes an empty directory; nothing happens when there is none or it is not empty.
    pub(crate) fn remove_dir(&self, name: &SafeName) -> io::Result<()> {
        match unlink(&self.0, name, AtFlags::REMOVEDIR) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            result => result,
        }
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> io::Result<()> {
        disk::call(Call::Sync, &self.0)?;
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// The names in this directory that a peer or this program may have made; unspeakable ones are left out.
    pub fn names(&self) -> io::Result<Vec<SafeName>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            match std::str::from_utf8(bytes) {
                Ok(own) if bytes.starts_with(crate::names::OWN_PREFIX) && plain(own) => {
                    names.push(SafeName::own(own.to_owned()));
                }
                _ => names.extend(SafeName::parse(bytes, Dots::Allowed)),
            }
        }
        Ok(names)
    }

    /// How many bytes an ordinary user may still write here.
    pub fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.0)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Which directory this is.
    pub fn id(&self) -> io::Result<FileId> {
        Ok(FileId::of(&rustix::fs::fstat(&self.0)?))
    }

    fn open_at(&self, path: &std::ffi::OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        disk::call(Call::Open, &self.0)?;
        // The kernel answers AGAIN when a rename elsewhere raced with a BENEATH look-up: trying again is its advice.
        for _ in 0..128 {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, mode, RESOLVE) {
                Err(Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

impl FileId {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Which file an open one is.
    pub fn of_file(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }
}

/// Takes the lock of a file, or says that somebody has it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn unlink(dir: &OwnedFd, name: &SafeName, flags: AtFlags) -> io::Result<()> {
    disk::call(Call::Remove, dir)?;
    match rustix::fs::unlinkat(dir, name.as_os_str(), flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

#[cfg(test)]
mod tests;
