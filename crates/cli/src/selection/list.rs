//! `--files-from`: a list of paths, one a line or ended by NUL bytes, all below one directory.
//!
//! A directory in the list is made; what is in it is sent when the list says so, or all of it when its path ends with a
//! slash.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use hikyaku_files::Pick;

use crate::exit::{self, Exit, Result, Trouble};

/// The longest list, in bytes: a million paths.
const MAX_LIST: u64 = 256 << 20;

/// What a list says of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// Something below it is listed.
    Above,
    /// It is listed.
    Itself,
    /// It is listed with everything in it.
    All,
}

/// Paths to be sent, relative to one directory.
#[derive(Debug, Default)]
pub(crate) struct List {
    marks: HashMap<PathBuf, Mark>,
    /// The hash of the list.
    key: Vec<u8>,
}

/// A list that was looked at.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) list: List,
    /// What is sent: the first component of every path, below the directory.
    pub(crate) tops: Vec<PathBuf>,
    /// Listed, and not there.
    pub(crate) vanished: Vec<PathBuf>,
}

impl Listed {
    /// Reads a list (`-` is standard input) of paths below `base`.
    pub(crate) fn read(from: &Path, base: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let read = if from.as_os_str() == "-" {
            std::io::stdin().lock().take(MAX_LIST + 1).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(from).and_then(|file| file.take(MAX_LIST + 1).read_to_end(&mut bytes))
        };
        read.map_err(|error| exit::io(from.display(), &error))?;
        if bytes.len() as u64 > MAX_LIST {
            return Err(Trouble::new(
                Exit::TimeoutOrLimit,
                format!("the list is longer than {MAX_LIST} bytes"),
            ));
        }
        Self::of(&bytes, base)
    }

    fn of(bytes: &[u8], base: &Path) -> Result<Self> {
        let list = List::parse(bytes, base)?;
        let (mut tops, mut vanished) = (BTreeSet::new(), Vec::new());
        for path in list.marks.iter().filter(|(_, mark)| **mark != Mark::Above).map(|(path, _)| path) {
            if base.join(path).symlink_metadata().is_err() {
                vanished.push(path.clone());
            } else {
                tops.extend(path.components().next().map(|top| base.join(top)));
            }
        }
        vanished.sort();
        Ok(Self { list, tops: tops.into_iter().collect(), vanished })
    }
}

impl List {
    fn parse(bytes: &[u8], base: &Path) -> Result<Self> {
        // A name may have a line break in it, and none has a NUL.
        let end = if bytes.contains(&0) { 0 } else { b'\n' };
        let mut marks = HashMap::new();
        for line in bytes.split(|byte| *byte == end).filter(|line| !line.is_empty()) {
            let path = relative(line, base)?;
            if path.as_os_str().is_empty() {
                continue;
            }
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                if marks.contains_key(above) {
                    break;
                }
                marks.insert(above.to_owned(), Mark::Above);
            }
            let mark = if line.ends_with(b"/") { Mark::All } else { Mark::Itself };
            let known = marks.entry(path).or_insert(mark);
            *known = mark.max(*known);
        }
        Ok(Self { marks, key: blake3::hash(bytes).as_bytes().to_vec() })
    }

    /// What failed, each with everything in it: paths as they are sent.
    pub(crate) fn of_failed(paths: &[Vec<u8>]) -> Self {
        let mut marks = HashMap::new();
        for path in paths.iter().map(|path| Path::new(OsStr::from_bytes(path))) {
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                marks.entry(above.to_owned()).or_insert(Mark::Above);
            }
            marks.insert(path.to_owned(), Mark::All);
        }
        Self { marks, key: blake3::hash(&paths.join(&0)).as_bytes().to_vec() }
    }

    pub(super) fn key(&self) -> Vec<u8> {
        self.key.clone()
    }

    /// Decides on a path, relative to the list's directory.
    pub(super) fn pick(&self, path: &Path) -> Pick {
        match self.marks.get(path) {
            Some(Mark::Itself | Mark::All) => Pick::Carry,
            Some(Mark::Above) if !self.is_inside(path) => Pick::Through,
            _ if self.is_inside(path) => Pick::Carry,
            _ => Pick::Leave,
        }
    }

    /// Whether it lies in a directory that is listed with everything in it.
    fn is_inside(&self, path: &Path) -> bool {
        path.ancestors().skip(1).any(|above| self.marks.get(above) == Some(&Mark::All))
    }
}

/// A listed path as one below the directory.
fn relative(line: &[u8], base: &Path) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(line));
    let below = if path.is_absolute() { path.strip_prefix(base).ok() } else { Some(path) };
    let shown = || hikyaku_files::escape(line).to_string();
    let outside =
        || Trouble::usage(format!("the list names {}, which is not below {}", shown(), base.display()));
    let mut clean = PathBuf::new();
    for part in below.ok_or_else(outside)?.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[u8]) -> List {
        List::parse(text, Path::new("/base")).unwrap()
    }

    #[test]
    fn a_list_names_files_directories_and_what_is_in_them() {
        let list = list(b"a/b/c.txt\n./d\n/base/e/f\nwhole/\n\n");
        let pick = |path: &str| list.pick(Path::new(path));
        assert_eq!(["a", "a/b", "e"].map(pick), [Pick::Through; 3]);
        assert_eq!(["a/b/c.txt", "d", "e/f", "whole", "whole/deep/x"].map(pick), [Pick::Carry; 5]);
        assert_eq!(["a/b/other", "d/inside", "e/g", "z"].map(pick), [Pick::Leave; 4]);
    }

    #[test]
    fn with_nul_bytes_a_line_break_is_part_of_a_name() {
        let list = list(b"two\nlines\0other\0");
        assert_eq!(list.pick(Path::new("two\nlines")), Pick::Carry);
        assert_eq!(list.pick(Path::new("two")), Pick::Leave);
    }

    #[test]
    fn a_directory_listed_twice_is_what_the_larger_says() {
        for text in [&b"d/x\nd/\n"[..], b"d/\nd/x\n", b"d/\nd\n"] {
            assert_eq!(list(text).pick(Path::new("d/y")), Pick::Carry, "{text:?}");
        }
    }

    #[test]
    fn what_leads_out_of_the_directory_is_refused() {
        for text in [&b"../x\n"[..], b"a/../../x\n", b"/etc/passwd\n"] {
            assert!(List::parse(text, Path::new("/base")).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_listed_and_not_there_is_known() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::write(temp.path().join("a/b/c"), b"").unwrap();
        let listed = Listed::of(b"a/b/c\na/gone\nlost\n", temp.path()).unwrap();
        assert_eq!(listed.tops, [temp.path().join("a")]);
        assert_eq!(listed.vanished, ["a/gone", "lost"].map(PathBuf::from));
    }
}
