//! What is sent: files and trees, each under a name of its own, so that a name tells what must arrive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::plan::Random;
use crate::tree::{compare, make, same_file};

/// Everything that was ever sent.
pub(super) struct Sources {
    directory: PathBuf,
    /// Names of files, which may be sent again.
    files: Vec<String>,
    trees: Vec<String>,
    /// Files by root, as senders were told.
    roots: BTreeMap<String, String>,
}

impl Sources {
    pub(super) fn new(directory: PathBuf, seed: u64) -> io::Result<Self> {
        let mut sources = Self { directory, files: Vec::new(), trees: Vec::new(), roots: BTreeMap::new() };
        for number in 0..2 {
            let name = format!("t{number}");
            make(&sources.path(&name), 256 << 10, 12, seed + number)?;
            sources.trees.push(name);
        }
        Ok(sources)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file with content that nobody has yet; its name and size.
    pub(super) fn fresh(&mut self, random: &mut Random, most: u64) -> io::Result<(String, u64)> {
        let size = 1 + random.below(most);
        let name = format!("f{}", self.files.len());
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            content.extend(random.next().to_le_bytes());
        }
        content.truncate(usize::try_from(size).unwrap_or(0));
        fs::write(self.path(&name), content)?;
        self.files.push(name.clone());
        Ok((name, size))
    }

    /// A file that has been sent, or a tree.
    pub(super) fn again(&self, random: &mut Random, trees: bool) -> Option<String> {
        let names = if trees { &self.trees } else { &self.files };
        let at = random.below((names.len() as u64).max(1));
        names.get(usize::try_from(at).unwrap_or(0)).cloned()
    }

    pub(super) fn is_file(name: &str) -> bool {
        name.starts_with('f')
    }

    /// A sender was told which root a source has.
    pub(super) fn has_root(&mut self, root: &str, name: &str) {
        if Self::is_file(name) {
            self.roots.insert(root.to_owned(), name.to_owned());
        }
    }

    /// Whether an object is what its source was, as far as that is known.
    pub(super) fn is_damaged(&self, root: &str, object: &Path) -> bool {
        self.roots.get(root).is_some_and(|name| same_file(&self.path(name), object) != Ok(true))
    }

    /// What is wrong with what has arrived under this name.
    pub(super) fn wrong(&self, name: &str, there: &Path) -> Option<String> {
        if !Self::is_file(name) {
            return compare(&self.path(name), there, true, false).err();
        }
        match same_file(&self.path(name), there) {
            Ok(true) => None,
            Ok(false) => Some("another content".to_owned()),
            Err(error) => Some(error),
        }
    }
}

/// Lines of a file that came since the last look, without one that is not ended yet.
pub(super) fn news(path: &Path, seen: &mut u64) -> io::Result<Vec<String>> {
    use std::io::Seek as _;
    let mut file = fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(*seen))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    *seen += whole as u64;
    let text = String::from_utf8_lossy(text.get(..whole).unwrap_or_default());
    Ok(text.lines().map(str::to_owned).collect())
}
