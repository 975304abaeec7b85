//! One regular file of a walk: piece by piece, holes as holes, and watched for changes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use hikyaku_wire::bundle::{Attribute, FileEnd, FileHead, PIECE_LEN, Reason};
use hikyaku_wire::files::Component;
use hikyaku_wire::parcel::Metadata;
use minicbor::{Decode, Encode};
use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use super::metadata;
use crate::attributes::carried;
use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::source::Fingerprint;
use crate::vault::read_at;

/// A file that is being read.
pub(super) struct Regular {
    file: File,
    name: Vec<u8>,
    fingerprint: Fingerprint,
    meta: Metadata,
    attributes: Option<Vec<Attribute>>,
    /// Where the next piece begins.
    at: u64,
    /// Zeros before it that are not written yet.
    hole: u64,
    /// The end of the data that `at` lies in, as far as the file system knows; 0 when it was not asked.
    data_until: u64,
    sparse: bool,
}

/// Where the reading of a file stands, for another process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct PlaceInFile {
    #[n(0)]
    name: Component,
    #[n(1)]
    at: u64,
    #[n(2)]
    fingerprint: Fingerprint,
}

impl PlaceInFile {
    pub(super) fn name(&self) -> &[u8] {
        &self.name.0
    }
}

impl Regular {
    pub(super) fn new(file: OwnedFd, stat: &Stat, name: &[u8], attributes: bool) -> Self {
        let attributes = attributes.then(|| carried(&file)).flatten();
        let (fingerprint, meta) = (Fingerprint::of_stat(stat), metadata(stat));
        let size = fingerprint.size();
        let sparse = u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(512) < size;
        let (file, name) = (File::from(file), name.to_vec());
        Self { file, name, fingerprint, meta, attributes, at: 0, hole: 0, data_until: 0, sparse }
    }

    pub(super) fn resume(file: OwnedFd, place: &PlaceInFile) -> Result<Self> {
        let stat =
            rustix::fs::fstat(&file).map_err(|error| FilesError::Vault(io::Error::from(error).into()))?;
        let mut file = Self::new(file, &stat, &place.name.0, false);
        if file.fingerprint != place.fingerprint {
            return Err(FilesError::SourceChanged("a file that was being sent was written to"));
        }
        file.at = place.at;
        Ok(file)
    }

    /// Where the next record begins.
    pub(super) fn place(&self) -> PlaceInFile {
        let name = Component(self.name.clone());
        PlaceInFile { name, at: self.at - self.hole, fingerprint: self.fingerprint }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn size(&self) -> u64 {
        self.fingerprint.size()
    }

    /// Leaves out what lies before an offset of whole pieces.
    pub(super) fn skip_to(&mut self, from: u64) {
        self.at = from;
    }

    pub(super) fn begin(&self, writer: &mut Writer) {
        let (name, size, meta) = (self.name.clone(), self.size(), Some(self.meta));
        let from = (self.at > 0).then_some(self.at);
        writer.file(&FileHead { name, size, meta, attributes: self.attributes.clone(), from });
    }

    /// Writes the next piece; at the end, the end, and how it went.
    pub(super) fn step(&mut self, writer: &mut Writer) -> Option<Result<(), Reason>> {
        if self.at == self.size() {
            let end = self.finish();
            if end.is_ok() {
                self.write_hole(writer);
            }
            writer.end(&FileEnd { failed: end.err() });
            return Some(end);
        }
        if let Err(reason) = self.piece(writer) {
            writer.end(&FileEnd { failed: Some(reason) });
            return Some(Err(reason));
        }
        None
    }

    fn piece(&mut self, writer: &mut Writer) -> Result<(), Reason> {
        self.skip_hole()?;
        let left = self.size() - self.at;
        if left == 0 {
            return Ok(());
        }
        let len = usize::try_from(PIECE_LEN.min(left)).unwrap_or(0);
        let whole = len as u64 == PIECE_LEN;
        // A hole before it must be written first; whether there is content behind it is only known once it is read.
        let mut content = Writer::default();
        let to = if self.hole > 0 { &mut content } else { &mut *writer };
        let (file, at) = (&self.file, self.at);
        let kept = to.bytes(len, |buffer| match read_at(file, at, buffer) {
            Ok(read) if read < len => Err(Reason::CHANGED),
            Ok(_) => Ok(!(whole && is_zero(buffer))),
            Err(_) => Err(Reason::UNREADABLE),
        })?;
        self.at += len as u64;
        if !kept {
            self.hole += len as u64;
        } else if self.hole > 0 {
            self.write_hole(writer);
            writer.append(content);
        }
        Ok(())
    }

    /// Jumps over what the file system says is a hole, in whole pieces.
    fn skip_hole(&mut self) -> Result<(), Reason> {
        if !self.sparse || self.at < self.data_until {
            return Ok(());
        }
        let size = self.size();
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
            Ok(data) => data.min(size),
            // No data behind here.
            Err(Errno::NXIO) => size,
            // A file system that does not know reads as data.
            Err(_) => self.at,
        };
        let skipped = (data - data % PIECE_LEN).saturating_sub(self.at);
        self.at += skipped;
        self.hole += skipped;
        self.data_until = match rustix::fs::seek(&self.file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > self.at => hole,
            _ => self.at + PIECE_LEN,
        };
        Ok(())
    }

    fn write_hole(&mut self, writer: &mut Writer) {
        if self.hole > 0 {
            writer.hole(std::mem::take(&mut self.hole));
        }
    }

    /// Whether the file is still what it was at the beginning.
    //= S5.19
    fn finish(&self) -> Result<(), Reason> {
        match rustix::fs::fstat(&self.file) {
            Ok(stat) if Fingerprint::of_stat(&stat) == self.fingerprint => Ok(()),
            Ok(_) => Err(Reason::CHANGED),
            Err(_) => Err(Reason::UNREADABLE),
        }
    }
}

/// Whether every byte is zero; content is seen at its first bytes.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
