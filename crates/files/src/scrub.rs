//! Reading an object again to see whether it is still what it was: which bytes of it have decayed, and in a tree, of which
//! file.
//!
//! The chaining values beside an object prove its root, and each proves one group; so damage is known to a group of 64 KiB
//! as long as the values are whole. Where they are not, the whole is hashed instead. Nothing is changed. Spec: S5.1, S5.2, S5.70.

use std::ops::Range;
use std::path::Path;

use blake3::Hasher;
use hikyaku_storage::vault::{Object, ObjectId, VaultError};
use hikyaku_wire::files::CV_LEN;
use hikyaku_wire::parcel::{EntryKind, Root};

use crate::bundle::{Item, Position, Reader};
use crate::names::Dots;
use crate::tree::{self, GROUP, GROUP_LEN, Tree};

/// The most pieces that are named; the others are counted.
pub const MAX_NAMED: usize = 64;

/// What was found of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many bytes were read.
    pub bytes: u64,
    /// What has decayed, in order: at most [`MAX_NAMED`] pieces.
    pub decayed: Vec<Decayed>,
    /// How many bytes are in groups that have decayed.
    pub decayed_bytes: u64,
    /// Whether the chaining values themselves have decayed. When nothing else has, the content is whole.
    pub values: bool,
}

impl Scrubbed {
    /// Whether everything is as it was.
    pub fn is_whole(&self) -> bool {
        self.decayed.is_empty() && !self.values
    }
}

/// Neighbouring bytes that are not what they were, in whole groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decayed {
    /// Of a tree: the path of the file within it, as bytes. `None` for names and metadata, and for everything in a tree
    /// that can no longer be read because of them.
    pub path: Option<Vec<u8>>,
    /// Which bytes: of that file, or of the object.
    pub range: Range<u64>,
}

/// Opens an object of a vault in a directory that somebody else may be using, to read it.
///
/// # Errors
/// There is no such object, or it cannot be read.
pub fn open(vault: &Path, root: ObjectId) -> Result<Box<dyn Object>, VaultError> {
    let objects = crate::jail::Dir::open(&vault.join("objects"))?;
    crate::vault::open_object(&objects, Root(root.0))
}

/// Reads all of an object.
///
/// # Errors
/// The disk cannot be read.
pub fn scrub(object: &dyn Object, root: Root, kind: EntryKind) -> Result<Scrubbed, VaultError> {
    let proved = is_proved(object, root)?;
    let mut scrub = Scrub {
        found: Scrubbed { values: !proved && object.size() > GROUP_LEN, ..Scrubbed::default() },
        reader: (kind == EntryKind::Tree).then(|| Reader::new(Dots::Allowed)),
    };
    let (mut whole, mut buffer) = (Hasher::new(), vec![0; GROUP]);
    let mut suspicious = Vec::new();
    while scrub.found.bytes < object.size() {
        let offset = scrub.found.bytes;
        let read = object.read(offset, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        let group = tree::group(offset, bytes);
        let good = if object.size() <= GROUP_LEN {
            group.whole() == Some(root)
        } else {
            let mut cv = [0; 32];
            object.read_outboard(offset / GROUP_LEN * CV_LEN, &mut cv)?;
            group.cv == cv
        };
        whole.update(bytes);
        scrub.take(offset, bytes, good, &mut suspicious);
    }
    if object.size() == 0 && root.0 != *blake3::hash(b"").as_bytes() {
        scrub.name(None, 0..0);
    }
    // Values that prove nothing accuse nothing: the content may be whole.
    if !scrub.found.values || whole.finalize().as_bytes() != &root.0 {
        suspicious.into_iter().for_each(|(path, range)| scrub.name(path, range));
        if scrub.found.values && scrub.found.decayed.is_empty() {
            scrub.name(None, 0..object.size());
        }
    }
    Ok(scrub.found)
}

/// Whether the chaining values of an object prove its root. Those of one group prove nothing, and need not.
fn is_proved(object: &dyn Object, root: Root) -> Result<bool, VaultError> {
    let (mut tree, mut offset, mut buffer) = (Tree::new(), 0, vec![0; GROUP]);
    loop {
        let read = object.read_outboard(offset, &mut buffer)?;
        let (cvs, rest) = buffer.get(..read).unwrap_or_default().as_chunks::<32>();
        cvs.iter().for_each(|cv| tree.push_cv(*cv));
        offset += read as u64;
        if read < buffer.len() {
            let all = rest.is_empty() && tree.groups() == object.size().div_ceil(GROUP_LEN);
            return Ok(all && tree.root() == Some(root));
        }
    }
}

/// A scrub on its way.
struct Scrub {
    found: Scrubbed,
    /// Of a tree: where in it we are, as long as it can be read.
    reader: Option<Reader>,
}

/// What a group that is not good may be said to be.
type Suspicion = (Option<Vec<u8>>, Range<u64>);

impl Scrub {
    fn take(&mut self, offset: u64, bytes: &[u8], good: bool, suspicious: &mut Vec<Suspicion>) {
        let end = offset + bytes.len() as u64;
        self.found.bytes = end;
        let mut named = false;
        if let Some(mut reader) = self.reader.take() {
            let mut rest = bytes;
            loop {
                match reader.next(&mut rest) {
                    Ok(Some(Item::Bytes(piece))) if !good => {
                        if let Some(file) = reader.position().and_then(Position::file) {
                            named = true;
                            let begin = file.at.saturating_sub(piece.len() as u64);
                            suspect(suspicious, Some(reader.path()), begin..file.at);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        self.reader = Some(reader);
                        break;
                    }
                    // What follows has no path any more.
                    Err(_) => break,
                }
            }
        }
        if !good {
            self.found.decayed_bytes += end - offset;
            if !named {
                suspect(suspicious, None, offset..end);
            }
        }
    }

    fn name(&mut self, path: Option<Vec<u8>>, range: Range<u64>) {
        if self.found.decayed.len() < MAX_NAMED {
            self.found.decayed.push(Decayed { path, range });
        }
    }
}

/// Adds what may have decayed, to its neighbour if it has one.
fn suspect(suspicious: &mut Vec<Suspicion>, path: Option<Vec<u8>>, range: Range<u64>) {
    if let Some((last, known)) = suspicious.last_mut()
        && *last == path
        && known.end == range.start
    {
        known.end = range.end;
    } else if suspicious.len() <= MAX_NAMED {
        suspicious.push((path, range));
    }
}

#[cfg(test)]
mod tests;
