//! A sender without a disk: it lists a tree that is given to it, and says of it what the answers ask for. For fuzzing,
//! and for whoever wants to know what a receiver would be sent.

use std::collections::VecDeque;

use hikyaku_wire::bundle::{FileEnd, FileHead, Leave, LeftOut, PIECE_LEN, Reason};
use hikyaku_wire::files::{Accept, List, Listed, Pieces, Wants};
use hikyaku_wire::parcel::{Metadata, Root, TransferId};

use super::{Branches, Entry, ListedFile, Sifting, answers};
use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::progress::Progress;
use crate::reader::{Blocks, Said};
use crate::versions;

/// The byte that all files consist of.
pub const CONTENT: u8 = 7;

/// What a sender said, to the close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The listing, in its parts.
    pub lists: Vec<List>,
    /// The bundle.
    pub bundle: Vec<u8>,
    /// Its root.
    pub root: Root,
}

/// Says a tree to a receiver that gives these answers and no more: [`Listed::Other`] is something that is not carried.
///
/// # Errors
/// An answer breaks a rule, or one is missing. Nothing a receiver answers is a panic.
pub fn speak(tree: &[Listed], answers: Vec<Wants>) -> Result<Spoken> {
    speak_of(tree, answers, Vec::new())
}

/// The same to a receiver that tells these pieces of older versions, which its answers name: of files like those of the tree.
///
/// # Errors
/// As [`speak`], and what is told breaks a rule.
pub fn speak_of(tree: &[Listed], wants: Vec<Wants>, pieces: Vec<Pieces>) -> Result<Spoken> {
    let (to, from) = answers(wants.len().max(1));
    wants.into_iter().for_each(|wants| to.give(wants));
    pieces.into_iter().try_for_each(|pieces| to.pieces(pieces))?;
    drop(to);
    let accept = Accept { list: Some(true), ..Accept::new(TransferId([0; 16]), 0) };
    let grove = Grove { left: tree.iter().cloned().collect(), file: None };
    let mut sifting = Sifting::new(grove, &accept, from, |_| {})?;
    let (mut lists, mut bundle, progress) = (Vec::new(), Vec::new(), Progress::none());
    while let Some(said) = sifting.next(&progress)? {
        match said {
            Said::List(list) => lists.push(list),
            Said::Block(_, bytes) => bundle.extend_from_slice(&bytes),
            Said::Composed(composed, rest) => {
                let mut block = Vec::new();
                versions::compose(&composed, &rest, &mut block, |_, part| {
                    part.fill(CONTENT);
                    Ok(part.len())
                })?;
                bundle.extend(block);
            }
            // What packs them stands behind it.
            Said::Packed(..) => return Err(FilesError::Order("a block that is packed")),
        }
    }
    Ok(Spoken { lists, bundle, root: sifting.close()?.root })
}

/// A tree in memory.
struct Grove {
    left: VecDeque<Listed>,
    /// The file at hand: its size, and how far it is.
    file: Option<(u64, u64)>,
}

impl Branches for Grove {
    fn list(&mut self) -> Result<Option<Entry>> {
        Ok(self.left.pop_front().map(|listed| match listed {
            Listed::Enter(name) => Entry::Enter(name),
            Listed::Leave => Entry::Leave,
            Listed::Other(name) => Entry::LeftOut(LeftOut { name, reason: Reason::SPECIAL }),
            Listed::File { name, size, mtime, mtime_ns, mode, links, root, attributes } => {
                let meta = Metadata { mode: Some(mode), mtime: Some(mtime), mtime_ns: Some(mtime_ns) };
                Entry::File(ListedFile { name, size, meta, links, root, attributes, place: 0 })
            }
        }))
    }

    fn enter(&mut self, _: &[u8]) {}

    fn leave(&mut self) -> Leave {
        Leave::default()
    }

    fn begin(&mut self, file: &ListedFile, from: u64, writer: &mut Writer) -> Result<Result<(), Reason>> {
        let (name, size, meta) = (file.name.clone(), file.size, Some(file.meta));
        writer.file(&FileHead { name, size, meta, attributes: None, from: (from > 0).then_some(from) });
        self.file = Some((size, from));
        Ok(Ok(()))
    }

    fn step(&mut self, writer: &mut Writer) -> Result<Option<Result<u64, Reason>>> {
        let Some((size, at)) = &mut self.file else { return Ok(Some(Err(Reason::UNREADABLE))) };
        let len = PIECE_LEN.min(*size - *at);
        if len == 0 {
            writer.end(&FileEnd::default());
            return Ok(Some(Ok(*size)));
        }
        *at += len;
        writer.bytes(usize::try_from(len).unwrap_or(0), |bytes| {
            bytes.fill(CONTENT);
            Ok::<_, FilesError>(true)
        })?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sift::ANSWERS;

    /// What tells of an older version's pieces comes behind answers, and one task hears both: were there more answers than have
    /// room, and somebody waited for the pieces, neither would come.
    //= S5.108 (test)
    #[test]
    fn no_more_is_listed_than_answers_have_room_while_nobody_takes_them() {
        // Files so large that each is a part of the listing, as where they are compared by their roots.
        let file = |number: u64| Listed::File {
            name: number.to_be_bytes().to_vec(),
            size: 64 << 20,
            mtime: 0,
            mtime_ns: 0,
            mode: 0o644,
            links: false,
            root: Some(Root([0; 32])),
            attributes: None,
        };
        let grove = Grove { left: (0..3 * ANSWERS as u64).map(file).collect(), file: None };
        let (to, from) = answers(ANSWERS);
        let accept = Accept { list: Some(true), ..Accept::new(TransferId([0; 16]), 0) };
        let mut sifting = Sifting::new(grove, &accept, from, |_| {}).unwrap();
        let parts = |sifting: &mut Sifting<Grove>| std::iter::from_fn(|| sifting.list().unwrap()).count();
        assert_eq!(parts(&mut sifting), ANSWERS);
        for first in 0..2 {
            to.give(Wants { first, verdicts: vec![0], from: None, older: Vec::new() });
            sifting.hear().unwrap();
        }
        assert_eq!(parts(&mut sifting), 2, "as many as were answered");
    }
}
