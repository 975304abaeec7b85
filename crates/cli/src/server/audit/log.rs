//! The files of the audit record: lines are added to one, which is moved aside when it is full; so many older ones are kept.
//! What is not durable is not there, and a line that a crash cut off does not take the next one with it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How many older files are kept.
pub(super) const KEPT: u32 = 4;

/// The files.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    max: u64,
}

impl Log {
    pub(super) fn open(path: PathBuf, max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        sync_directory(&path)?;
        let mut log = Self { path, file, length, max };
        log.end_line()?;
        Ok(log)
    }

    /// A line that a crash cut off ends here, so that the next one is whole.
    fn end_line(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let mut last = [b'\n'];
        if self.length > 0 {
            File::open(&self.path)?.read_exact_at(&mut last, self.length - 1)?;
        }
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.length += 1;
        }
        Ok(())
    }

    pub(super) fn write<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let bytes: Vec<u8> = lines.flatten().copied().collect();
        if self.length > 0 && self.length + bytes.len() as u64 > self.max {
            self.rotate()?;
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What is not durable is not there: nothing follows half a line.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |number: u32| self.path.with_extension(format!("{number}.jsonl"));
        // Moved aside already, where a new file could not be opened: nothing older goes for that.
        if self.path.exists() {
            for number in (1..KEPT).rev() {
                rename_if_there(&older(number), &older(number + 1))?;
            }
            rename_if_there(&self.path, &older(1))?;
        }
        let (path, max) = (self.path.clone(), self.max);
        *self = Self::open(path, max)?;
        Ok(())
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn sync_directory(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_record_is_bounded_and_the_oldest_of_it_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("transfers.jsonl");
        let mut log = Log::open(path.clone(), 20).unwrap();
        for line in 0..40 {
            log.write([format!("line {line:03}\n").as_bytes()].into_iter()).unwrap();
        }
        assert_eq!(all(&path), "line 038\nline 039\n");
        assert_eq!(all(&path.with_extension("4.jsonl")), "line 030\nline 031\n");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1 + KEPT as usize);
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_take_the_next_one_with_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("transfers.jsonl");
        std::fs::write(&path, "whole\nha").unwrap();
        let mut log = Log::open(path.clone(), 1_000).unwrap();
        log.write([&b"next\n"[..], b"and next\n"].into_iter()).unwrap();
        assert_eq!(all(&path), "whole\nha\nnext\nand next\n");
    }
}
