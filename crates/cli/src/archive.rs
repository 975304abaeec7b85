//! Backups of a data directory: what goes into one, and how a directory is made from one.
//!
//! The store goes first, the vault's objects after it: an object is durable before the event that names it, so every
//! object that the copied log names is there. Transfers on their way are left out; their senders begin again.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hikyaku::printable;
use hikyaku_sqlite::{Archive, ArchiveWriter, FILE_NAME, Owned, SqliteStore, epochs};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::exit::{self, Exit, Result, Trouble};
use crate::home;

/// The server's key within the data directory.
const KEY: &str = "host.pem";
/// Directories of the vault whose files belong into a backup.
const OBJECTS: &str = "vault/objects";
const REFERENCES: &str = "vault/refs";

/// What a backup holds, or a restoration gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// When the backup was made, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    pub(crate) rooms: u64,
    pub(crate) events: u64,
    /// Stored files and their bytes.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// The highest epoch that the restoration began.
    pub(crate) epoch: u32,
}

/// Backs up a directory that no server uses.
pub(crate) fn write_stopped(data: &Path, to: &Path, now_ms: u64) -> Result<Summary> {
    let path = data.join(FILE_NAME);
    fs::metadata(&path).map_err(|error| {
        exit::io(path.display(), &error).hint("name the server's data directory with --data DIR")
    })?;
    // Held while copying; this also brings an older store to this program's format.
    let _store = SqliteStore::open(data)?;
    write(data, to, now_ms)
}

/// Backs up a directory, beside the server that may be using it.
pub(crate) fn write(data: &Path, to: &Path, now_ms: u64) -> Result<Summary> {
    let mut writer = ArchiveWriter::create(data, to, now_ms)?;
    let mut summary = Summary::default();
    add(&mut writer, data, Path::new(KEY))?;
    for object in files_in(&data.join(OBJECTS))? {
        let relative = Path::new(OBJECTS).join(&object);
        if let Some(length) = add(&mut writer, data, &relative)?
            && is_hex(&object, 64)
        {
            summary.objects += 1;
            summary.bytes += length;
        }
    }
    for root in files_in(&data.join(REFERENCES))? {
        let directory = Path::new(REFERENCES).join(root);
        for reference in files_in(&data.join(&directory))? {
            add(&mut writer, data, &directory.join(reference))?;
        }
    }
    let contents = writer.finish()?;
    Ok(Summary { created_ms: contents.created_ms, rooms: contents.rooms, events: contents.events, ..summary })
}

/// Adds one file; `None` if it is gone meanwhile.
fn add(writer: &mut ArchiveWriter, data: &Path, relative: &Path) -> Result<Option<u64>> {
    let path = data.join(relative);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| exit::io(path.display(), &error))?,
    };
    // Names in the vault are the program's own: hexadecimal.
    Ok(Some(writer.add(&relative.to_string_lossy(), file)?))
}

/// The names in a directory, in order; none if it is not there.
pub(crate) fn files_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| exit::io(directory.display(), &error))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names =
        names.collect::<io::Result<Vec<_>>>().map_err(|error| exit::io(directory.display(), &error))?;
    names.sort();
    Ok(names)
}

/// Makes `data` from a backup. What is there already is moved aside if `replace` says so, and named in the answer.
pub(crate) fn restore(
    from: &Path,
    data: &Path,
    replace: bool,
    now_ms: u64,
) -> Result<(Summary, Option<PathBuf>)> {
    let archive = Archive::open(from)?;
    let there = fs::symlink_metadata(data).is_ok();
    if there && !replace && !files_in(data)?.is_empty() {
        return Err(Trouble::new(Exit::Failed, format!("{} is not empty", data.display()))
            .hint("--replace moves it aside and keeps it; or name another directory with --data DIR"));
    }
    let _owned = there.then(|| Owned::take(data)).transpose()?;
    let seen = if there && data.join(FILE_NAME).exists() {
        epochs(data).unwrap_or_else(|error| {
            tracing::warn!(%error, "the epochs of the store that is replaced cannot be read");
            HashMap::new()
        })
    } else {
        HashMap::new()
    };
    let making = beside(data, &format!("restoring-{}", std::process::id()))?;
    let made = fill(&archive, &making, &seen, minutes(archive.contents.created_ms, now_ms));
    let summary = made.inspect_err(|_| {
        // Half a directory is of no use to anybody; what failed is the news.
        let _ = fs::remove_dir_all(&making);
    })?;
    let aside = put_in_place(&making, data, there, now_ms)?;
    Ok((summary, aside))
}

/// Fills a new directory and makes all of it durable.
fn fill(
    archive: &Archive,
    making: &Path,
    seen: &HashMap<hikyaku_storage::RoomId, u32>,
    ahead: u32,
) -> Result<Summary> {
    make_directory(making)?;
    let restored = archive.restore(making, seen, ahead)?;
    let contents = archive.contents;
    let mut summary = Summary {
        created_ms: contents.created_ms,
        rooms: contents.rooms,
        events: contents.events,
        epoch: restored.epoch,
        ..Summary::default()
    };
    for name in archive.files()? {
        if !is_ours(&name) {
            return Err(damaged(&name, "is no file of a server"));
        }
        let path = making.join(&name);
        let parent = path.parent().unwrap_or(making);
        make_directory(parent)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map(|file| Hashing { file, hasher: blake3::Hasher::new(), length: 0 })
            .map_err(|error| exit::io(path.display(), &error))?;
        archive.read(&name, &mut file)?;
        file.file.sync_all().map_err(|error| exit::io(path.display(), &error))?;
        home::sync_directory(parent)?;
        if let Some(root) = name.strip_prefix("vault/objects/").filter(|root| is_hex(root, 64)) {
            if file.hasher.finalize().to_hex().as_str() != root {
                return Err(damaged(&name, "has not the content that its name says"));
            }
            summary.objects += 1;
            summary.bytes += file.length;
        }
    }
    for directory in ["vault/refs", "vault/objects", "vault", ""] {
        let path = making.join(directory);
        if path.is_dir() {
            home::sync_directory(&path)?;
        }
    }
    Ok(summary)
}

/// Gives the new directory its name in one step; where the old one went, if there was one that held something.
fn put_in_place(making: &Path, data: &Path, there: bool, now_ms: u64) -> Result<Option<PathBuf>> {
    let parent = making.parent().unwrap_or(Path::new("."));
    let trouble = |error: rustix::io::Errno| exit::io(data.display(), &error.into());
    if !there {
        renameat_with(CWD, making, CWD, data, RenameFlags::NOREPLACE).map_err(trouble)?;
        home::sync_directory(parent)?;
        return Ok(None);
    }
    renameat_with(CWD, making, CWD, data, RenameFlags::EXCHANGE).map_err(trouble)?;
    home::sync_directory(parent)?;
    // What has this name now is the old directory. The lock file alone is nothing to keep.
    if files_in(making)?.iter().all(|name| name == "lock") {
        fs::remove_dir_all(making).map_err(|error| exit::io(making.display(), &error))?;
        return Ok(None);
    }
    let aside = beside(data, &format!("replaced-{}", now_ms / 1_000))?;
    renameat_with(CWD, making, CWD, &aside, RenameFlags::NOREPLACE).map_err(trouble)?;
    home::sync_directory(parent)?;
    Ok(Some(aside))
}

/// `DIR.suffix`, in the same directory as `DIR`.
fn beside(data: &Path, suffix: &str) -> Result<PathBuf> {
    let absolute = std::path::absolute(data).map_err(|error| exit::io(data.display(), &error))?;
    let mut name = absolute.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    Ok(absolute.with_file_name(name))
}

fn make_directory(path: &Path) -> Result {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| exit::io(path.display(), &error))
}

/// The names that a backup of a server has, and no other: nothing of it can lead out of the directory.
fn is_ours(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [KEY] => true,
        ["vault", "objects", object] => is_hex(object.strip_suffix(".tree").unwrap_or(object), 64),
        ["vault", "refs", root, reference] => is_hex(root, 64) && is_hex(reference, 32),
        _ => false,
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn minutes(from_ms: u64, to_ms: u64) -> u32 {
    u32::try_from(to_ms.saturating_sub(from_ms) / 60_000).unwrap_or(u32::MAX)
}

fn damaged(name: &str, why: &str) -> Trouble {
    Trouble::new(Exit::Corrupt, format!("the backup is damaged: {} {why}", printable(name)))
        .hint("take another backup; this one was not used")
}

/// Writes and hashes.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    length: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_gives_back_no_file_outside_of_a_servers_directory() {
        let hex = "ab".repeat(32);
        let good =
            ["host.pem".to_owned(), format!("vault/objects/{hex}"), format!("vault/objects/{hex}.tree")];
        assert!(good.iter().all(|name| is_ours(name)));
        assert!(is_ours(&format!("vault/refs/{hex}/{}", "0f".repeat(16))));
        for name in [
            "",
            "/host.pem",
            "../host.pem",
            "store.sqlite",
            "vault/objects/..",
            "vault/objects/AB",
            "host.pem/",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(!is_ours(&format!("vault/refs/{hex}/../{hex}")));
    }

    #[test]
    fn a_file_is_never_lost_between_two_names() {
        let home = tempfile::tempdir().unwrap();
        let (making, data) = (home.path().join("data.restoring"), home.path().join("data"));
        for (directory, text) in [(&making, "new"), (&data, "old")] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("file"), text).unwrap();
        }
        let aside = put_in_place(&making, &data, true, 7_000).unwrap().unwrap();
        assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "new");
        assert_eq!(aside, home.path().join("data.replaced-7"));
        assert_eq!(fs::read_to_string(aside.join("file")).unwrap(), "old");
    }
}
