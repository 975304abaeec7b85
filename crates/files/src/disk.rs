//! The calls that change a disk, each noted before it is made, so that tests can make any one of them fail and can see
//! what was promised before it was durable.
//!
//! In the program itself nothing is noted and nothing costs anything: `faults` exists in this crate's tests alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[cfg(not(test))]
use rustix::fd::AsFd;

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A file, a directory or a link is made.
    Make,
    /// An existing one is opened.
    Open,
    /// Bytes are written, or the length is set.
    Write,
    /// A file or a directory becomes durable.
    Sync,
    /// Everything becomes durable.
    SyncAll,
    /// A temporary file replaces another one of ours.
    Replace,
    /// Something gets a final name.
    Publish,
    /// Something is removed.
    Remove,
    /// Permissions, times, attributes.
    Metadata,
}

/// What the journal says from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Bytes are durable.
    Data,
    /// Names are durable.
    Names,
}

/// Notes a call on an open file or directory.
#[cfg(not(test))]
#[inline]
pub(crate) fn call(_: Call, _: impl AsFd) -> io::Result<()> {
    Ok(())
}

/// Notes what is promised.
#[cfg(not(test))]
#[inline]
pub(crate) fn promise(_: Promise) {}

#[cfg(test)]
pub(crate) use faults::{call, promise};

/// Writes all of it.
pub(crate) fn write_all_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = faults::write(file, offset, data.len()) {
        // A write that fails may have written a part before.
        if faults::is_short() {
            file.write_all_at(&data[..data.len() / 2], offset)?;
        }
        return Err(error);
    }
    file.write_all_at(data, offset)
}

/// Sets the length.
pub(crate) fn set_len(file: &File, length: u64) -> io::Result<()> {
    call(Call::Write, file)?;
    file.set_len(length)
}

/// Makes the bytes durable.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    call(Call::Sync, file)?;
    file.sync_data()
}

/// Makes bytes and metadata durable.
pub(crate) fn sync_all(file: &File) -> io::Result<()> {
    call(Call::Sync, file)?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) mod faults;

#[cfg(test)]
mod tests;
