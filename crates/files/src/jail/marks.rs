//! Whose an entry is: an extended attribute on it, which a peer can neither set nor ask for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, XattrFlags};
use rustix::io::Errno;

use super::{Dir, FileId};
use crate::names::SafeName;

/// What the program's own attributes begin with: no peer may set one, and none is sent.
pub(crate) const OWN_ATTRIBUTES: &[u8] = b"user.hikyaku.";
const OWNER: &str = "user.hikyaku.owner";

/// What is to be known of an entry to count it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) is_directory: bool,
    /// Of a regular file.
    pub(crate) size: Option<u64>,
    pub(crate) id: FileId,
    /// Whether it has other names.
    pub(crate) has_others: bool,
}

impl Dir {
    /// What a name is, links not followed.
    pub(crate) fn entry(&self, name: &SafeName) -> io::Result<Option<Entry>> {
        let stat = match rustix::fs::statat(&self.0, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(Entry {
            is_directory: kind == FileType::Directory,
            size: (kind == FileType::RegularFile).then_some(size),
            id: FileId::of(&stat),
            has_others: stat.st_nlink > 1,
        }))
    }

    /// Marks this directory as somebody's.
    pub(crate) fn mark(&self, owner: &[u8; 16]) -> io::Result<()> {
        mark(&self.0, owner)
    }

    /// Whose this directory is.
    pub(crate) fn marked(&self) -> Option<[u8; 16]> {
        let mut owner = [0; 16];
        let read = rustix::fs::fgetxattr(&self.0, OWNER, &mut owner);
        (read == Ok(owner.len())).then_some(owner)
    }

    /// Whose a file in this directory is. It need not be readable.
    pub(crate) fn marked_in(&self, name: &SafeName) -> Option<[u8; 16]> {
        let mut owner = [0; 16];
        // There is no call that takes a directory and a name: /proc names the directory. The last component is not followed.
        let mut path = std::path::PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        path.push(name.as_os_str());
        let read = rustix::fs::lgetxattr(&path, OWNER, &mut owner);
        (read == Ok(owner.len())).then_some(owner)
    }
}

/// Marks an open file or directory as somebody's.
pub(crate) fn mark(file: impl AsFd, owner: &[u8; 16]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, OWNER, owner, XattrFlags::empty())?)
}
