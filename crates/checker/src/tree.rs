//! The tree that is sent, and how another one is compared with it.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::plan::Random;

/// Makes a tree of one large file and many small ones, with links, empty files and directories, and modes of all kinds.
pub(crate) fn make(at: &Path, large: u64, small: u64, seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed ^ 0x5eed);
    fs::create_dir_all(at.join("empty"))?;
    let mut file = io::BufWriter::new(fs::File::create(at.join("large"))?);
    let mut piece = vec![0; 65_536];
    for _ in 0..large.div_ceil(65_536) {
        // One piece of sixteen is a hole.
        let hole = random.below(16) == 0;
        for part in piece.chunks_exact_mut(8) {
            part.copy_from_slice(&if hole { 0 } else { random.next() }.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    file.flush()?;
    for number in 0..small {
        let directory = at.join(format!("d{}", number % 37)).join(format!("e{}", number % 3));
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("f{number}"));
        let content: Vec<u8> = (0..random.below(2_000)).flat_map(|_| random.next().to_le_bytes()).collect();
        fs::write(&path, content)?;
        let mode = [0o644, 0o600, 0o755, 0o444][usize::try_from(number % 4).unwrap_or(0)];
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if number % 50 == 0 {
            symlink(format!("f{number}"), directory.join(format!("l{number}")))?;
            fs::hard_link(&path, directory.join(format!("z{number}")))?;
        }
    }
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(981_173_106, 123_456_789);
    fs::File::options().write(true).open(at.join("large"))?.set_modified(long_ago)
}

/// The names in a directory; none when there is none.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Compares what has arrived with what was sent. `whole`: nothing is missing. `merged`: it came into a directory that
/// was there, with something in it that was not sent.
pub(crate) fn compare(sent: &Path, there: &Path, whole: bool, merged: bool) -> Result<(), String> {
    let there_is = fs::symlink_metadata(there).is_ok();
    if !there_is {
        return if whole { Err(format!("{} is not there", there.display())) } else { Ok(()) };
    }
    let failed = |error: io::Error| format!("{}: {error}", there.display());
    let (mut todo, mut seen) = (vec![std::path::PathBuf::new()], 0_u64);
    while let Some(path) = todo.pop() {
        for name in names(&there.join(&path)) {
            let path = path.join(name);
            if merged && path.starts_with("kept") {
                continue;
            }
            let Ok(theirs) = fs::symlink_metadata(there.join(&path)) else { continue };
            let ours = fs::symlink_metadata(sent.join(&path));
            let ours = ours.map_err(|_| format!("{} was never sent", path.display()))?;
            if theirs.is_dir() {
                todo.push(path.clone());
            }
            equal(&path, (sent, &ours), (there, &theirs), whole || !theirs.is_dir())?;
            seen += 1;
        }
    }
    let all = if whole { count(sent).map_err(failed)? } else { seen };
    if seen == all { Ok(()) } else { Err(format!("{} of {all} entries are there", seen)) }
}

fn count(at: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        count += 1;
        if entry.file_type()?.is_dir() {
            count += self::count(&entry.path())?;
        }
    }
    Ok(count)
}

fn equal(
    path: &Path,
    (sent, ours): (&Path, &fs::Metadata),
    (there, theirs): (&Path, &fs::Metadata),
    finished: bool,
) -> Result<(), String> {
    let differs = |what: &str| Err(format!("{} has another {what} than was sent", path.display()));
    if ours.file_type() != theirs.file_type() {
        return differs("kind");
    }
    if ours.is_symlink() {
        let same = fs::read_link(sent.join(path)).ok() == fs::read_link(there.join(path)).ok();
        return if same { Ok(()) } else { differs("target") };
    }
    if finished
        && (ours.mode() & 0o777, ours.mtime(), ours.mtime_nsec())
            != (theirs.mode() & 0o777, theirs.mtime(), theirs.mtime_nsec())
    {
        return differs("mode or time");
    }
    if ours.is_dir() {
        return Ok(());
    }
    if ours.len() != theirs.len() {
        return differs("size");
    }
    if same_file(&sent.join(path), &there.join(path))? { Ok(()) } else { differs("content") }
}

/// Whether two files have the same bytes.
pub(crate) fn same_file(one: &Path, other: &Path) -> Result<bool, String> {
    let failed = |error: io::Error| format!("{} or {}: {error}", one.display(), other.display());
    let mut files = (fs::File::open(one).map_err(failed)?, fs::File::open(other).map_err(failed)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        ours.clear();
        theirs.clear();
        let length = (&mut files.0).take(1 << 20).read_to_end(&mut ours).map_err(failed)?;
        (&mut files.1).take(1 << 20).read_to_end(&mut theirs).map_err(failed)?;
        if ours != theirs || length == 0 {
            return Ok(ours == theirs);
        }
    }
}
